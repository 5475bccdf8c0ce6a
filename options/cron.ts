/**
 * Checks cron patterns when options are read, so that an error names the field. Not here: when a pattern is due, which
 * croner says (store/schedules.ts); it takes each pattern that passes here.
 *
 * @module
 */

/** A field of a pattern. */
interface Field {
  readonly name: string;
  readonly min: number;
  readonly max: number;
  /** Names of its values, the first one is `min`. */
  readonly names?: readonly string[];
  /** What else an item may be, beside numbers, ranges and steps. */
  readonly special?: RegExp;
}

const SECOND: Field = { name: "second", min: 0, max: 59 };
const MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const FIELDS: readonly Field[] = [
  { name: "minute", min: 0, max: 59 },
  { name: "hour", min: 0, max: 23 },
  // L: the last day; 15W: the weekday that is nearest to the 15th.
  { name: "day", min: 1, max: 31, special: /^(?:L|LW|(?:[1-9]|[12]\d|3[01])W)$/ },
  { name: "month", min: 1, max: 12, names: MONTHS },
  {
    name: "weekday",
    min: 0,
    max: 7,
    names: ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"],
    // FRI#2: the second Friday of the month; FRI#L: the last one.
    special: /^(?:[0-7]|SUN|MON|TUE|WED|THU|FRI|SAT)#[1-5L]$/,
  },
];

const NICKNAMES: readonly string[] = [
  "@yearly",
  "@annually",
  "@monthly",
  "@weekly",
  "@daily",
  "@midnight",
  "@hourly",
];

/** Days of each month, February in a leap year. */
const DAYS: readonly number[] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/** The longest pattern. */
const MAX_LENGTH = 200;

/** What a pattern must be. */
export const CRON_RULE =
  "a cron pattern of 5 fields (minute, hour, day, month, weekday), or of 6 with seconds first";

/**
 * Says what is wrong with a cron pattern.
 *
 * @param pattern Such as `0 3 * * *`, `30 9-17 * * MON-FRI` or `@daily`.
 * @returns The rest of a sentence about it: `field "hour" must be from 0 to 23: current value is "25"`; "": it is no
 * pattern at all; undefined: nothing is wrong.
 */
export function faultOfCron(pattern: string): string | undefined {
  if (NICKNAMES.includes(pattern)) return undefined;
  const texts = pattern.trim().split(/\s+/);
  if (pattern.length > MAX_LENGTH || texts.length < 5 || texts.length > 6) return "";
  const fields = texts.length === 6 ? [SECOND, ...FIELDS] : FIELDS;
  for (const [i, field] of fields.entries()) {
    const text = texts[i] ?? "";
    const fault = faultOfField(field, text.toUpperCase());
    if (fault !== undefined) {
      return `field "${field.name}" ${fault}: current value is ${JSON.stringify(text)}`;
    }
  }
  const [day = "", month = "", weekday = ""] = texts.slice(-3).map((text) => text.toUpperCase());
  return isNever(day, month, weekday) ? "is never due: no such month has such a day" : undefined;
}

function faultOfField(field: Field, text: string): string | undefined {
  if (text === "?") return undefined;
  const items = text.split(",");
  if (items.length > 1 && items.includes("LW")) return "can't have LW in a list";
  for (const item of items) {
    const fault = faultOfItem(field, item);
    if (fault !== undefined) return fault;
  }
}

function faultOfItem(field: Field, item: string): string | undefined {
  const { min, max } = field;
  if (field.special?.test(item)) return undefined;
  const [range = "", step, ...more] = item.split("/");
  if (more.length > 0) return "has two steps in one item";
  if (step !== undefined) {
    const isStep = /^\d{1,2}$/.test(step) && Number(step) >= 1 && Number(step) <= max;
    if (!isStep) return `must have steps from 1 to ${max}`;
    if (range !== "*" && !range.includes("-")) return "has a step without a range, as in */5";
  }
  if (range === "*") return undefined;
  const [from, to, ...others] = range.split("-").map((text) => valueOf(field, text));
  if (others.length > 0) return "has a range of more than two ends";
  if (from === undefined || (range.includes("-") && to === undefined)) {
    return `must be from ${min} to ${max}${field.names ? `, or ${field.names.join(", ")}` : ""}`;
  }
  return to !== undefined && to < from ? "has a range that ends before it starts" : undefined;
}

function valueOf({ min, max, names = [] }: Field, text: string): number | undefined {
  const named = names.indexOf(text);
  if (named >= 0) return min + named;
  const value = /^\d{1,2}$/.test(text) ? Number(text) : -1;
  return value >= min && value <= max ? value : undefined;
}

/** Whether it asks for days that none of its months has, such as 30 February. */
function isNever(day: string, month: string, weekday: string): boolean {
  const [, , days, months] = FIELDS;
  if (days === undefined || months === undefined) return false;
  if (!/^[*?]$/.test(weekday) || /[*?LW]/.test(day) || /[*?]/.test(month)) return false;
  const firstDay = Math.min(...startsOf(days, day));
  const longest = Math.max(...allOf(months, month).map((value) => DAYS[value - 1] ?? 0));
  return firstDay > longest;
}

/** The first value of each item. */
function startsOf(field: Field, text: string): number[] {
  return text.split(",").map((item) => valueOf(field, item.split(/[-/]/)[0] ?? "") ?? field.min);
}

/** Each value of a field without `*`. */
function allOf(field: Field, text: string): number[] {
  return text.split(",").flatMap((item) => {
    const [range = "", step = "1"] = item.split("/");
    const [from = field.min, to = from] = range.split("-").map((end) => valueOf(field, end));
    const values: number[] = [];
    for (let value = from; value <= to; value += Number(step)) values.push(value);
    return values;
  });
}
