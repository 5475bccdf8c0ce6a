/**
 * The options of stored jobs, checked along with others, and their paths made absolute. Not here: what each may be
 * alone (stored_table.ts).
 *
 * @module
 */
import { resolve as resolvePath } from "node:path";
import { isRecord } from "../wire/json_object.ts";
import { isServiceName, SERVICE_NAME_CHARACTERS } from "../wire/service_name.ts";
import { CRON_RULE, faultOfCron } from "./cron.ts";
import { complaint, CURRENT_VALUE, unknownOption } from "./errors.ts";
import { isText, LONGEST_KEPT_MS } from "./kinds.ts";
import type { ScheduleOptions, Settings } from "./settings.ts";

/** What a schedule may have. */
export const SCHEDULE_OPTIONS: readonly (keyof ScheduleOptions)[] = [
  "cron",
  "timeZone",
  "service",
  "body",
  "catchUp",
];

/** Most schedules of a server: each has a timer, and a mark in the store. */
const MAX_SCHEDULES = 1000;
/** Longest body of a schedule, bytes: it is sent to the store along with all others. */
const MAX_BODY = 65_536;
/** How late a due time that was missed is submitted by default, ms. */
const CATCH_UP = 3_600_000;

const FILES = ["natsCredentials", "natsNkey", "natsCa", "natsCert", "natsKey"] as const;

/** How an error names an option. */
type Naming = (option: string) => string;

/** The settings of stored jobs whose paths are absolute, however they were written. */
export function locateStored(
  settings: Settings,
  cwd: () => string,
): Pick<Settings, "store" | typeof FILES[number]> {
  const absolute = (path: string) => resolvePath(path.startsWith("/") ? "/" : cwd(), path);
  const { store } = settings;
  const files = FILES.map((name) => {
    const path = settings[name];
    return [name, path === undefined ? undefined : absolute(path)] as const;
  });
  return {
    store: store.startsWith("sqlite:") ? `sqlite:${absolute(store.slice(7))}` : store,
    ...Object.fromEntries(files),
  };
}

/**
 * Checks what concerns the whole server.
 *
 * @throws {TypeError} if an option lacks one that it needs.
 */
export function checkStored(settings: Settings, naming: Naming): void {
  const given = FILES.filter((name) => settings[name] !== undefined);
  for (const name of given) {
    if (/^(nats|tls):/.test(settings.store)) break;
    throw needs(naming(name), `${naming("store")} to be nats://HOST:PORT`, settings.store);
  }
  if (given.includes("natsCredentials") && given.includes("natsNkey")) {
    const names = `${naming("natsCredentials")} and ${naming("natsNkey")}`;
    throw new TypeError(`Cannot start: ${names} exclude each other`);
  }
  for (const [one, other] of [["natsCert", "natsKey"], ["natsKey", "natsCert"]] as const) {
    if (!given.includes(one) || given.includes(other)) continue;
    throw new TypeError(`Cannot start: ${naming(one)} needs ${naming(other)}, which is not set`);
  }
  checkDurable(settings, naming);
}

/**
 * Checks what a service may set itself.
 *
 * @throws {TypeError} if its requests are to be stored and there is no store.
 */
export function checkDurable({ durable, store }: Settings, naming: Naming): void {
  if (durable && store === "off") throw needs(naming("durable"), 'a "store"', store);
}

function needs(subject: string, what: string, store: string): TypeError {
  return new TypeError(`Cannot start: ${subject} needs ${what}${CURRENT_VALUE}"${store}"`);
}

/**
 * Schedules, checked and with their defaults.
 *
 * @param given What was set, of any type.
 * @param services Names of the services that there are.
 * @throws {TypeError} if an option of one is unknown, missing or has the wrong type.
 * @throws {RangeError} if a value is not allowed.
 */
export function resolveSchedules(
  given: object,
  services: readonly string[],
  store: string,
): Settings["schedules"] {
  const all = Object.entries(given);
  if (all.length > 0 && store === "off") throw needs('"schedules"', 'a "store"', store);
  if (all.length > MAX_SCHEDULES) {
    throw new RangeError(refusal('"schedules"', `at most ${MAX_SCHEDULES}`, all.length));
  }
  return Object.fromEntries(
    all.map(([name, each]) => [name, resolveSchedule(name, each, services)]),
  );
}

/** What is wrong with the name of a schedule, as a sentence; `undefined`: nothing. */
export function faultOfScheduleName(name: string): string | undefined {
  if (isServiceName(name)) return undefined;
  return complaint("the name of a schedule", SERVICE_NAME_CHARACTERS, name);
}

function resolveSchedule(
  name: string,
  given: unknown,
  services: readonly string[],
): Required<ScheduleOptions> {
  const fault = faultOfScheduleName(name);
  if (fault !== undefined) throw new RangeError(`Cannot start: ${fault}`);
  const naming = (option: string) => `"schedules.${name}.${option}"`;
  if (!isRecord(given)) {
    throw new TypeError(refusal(`"schedules.${name}"`, "an object of options", given));
  }
  for (const option of Object.keys(given)) {
    if (SCHEDULE_OPTIONS.some((known) => known === option)) continue;
    throw new TypeError(unknownOption(option, SCHEDULE_OPTIONS, "", ` of the schedule "${name}"`));
  }
  if (given.cron === undefined) {
    throw new TypeError(`Cannot start: ${naming("cron")} is missing: a schedule needs one`);
  }
  return {
    cron: cronOf(given.cron, naming("cron")),
    timeZone: timeZoneOf(given.timeZone ?? "", naming("timeZone")),
    service: serviceOf(given.service, services, naming("service")),
    body: bodyOf(given.body ?? "", naming("body")),
    catchUp: catchUpOf(given.catchUp ?? CATCH_UP, naming("catchUp")),
  };
}

function cronOf(value: unknown, subject: string): string {
  if (!isText(value)) throw new TypeError(refusal(subject, CRON_RULE, value));
  const fault = faultOfCron(value);
  if (fault === undefined) return value.trim();
  if (fault === "") throw new RangeError(refusal(subject, CRON_RULE, value));
  throw new RangeError(`Cannot start: ${subject}: ${fault}`);
}

function timeZoneOf(value: unknown, subject: string): string {
  const rule = 'the name of a time zone such as "Europe/Berlin"';
  if (!isText(value)) throw new TypeError(refusal(subject, rule, value));
  if (value === "" || isTimeZone(value)) return value;
  throw new RangeError(refusal(subject, rule, value));
}

/** Offsets such as +01:00 are none: summer would not move them. */
function isTimeZone(name: string): boolean {
  if (/^[+-]/.test(name)) return false;
  try {
    new Intl.DateTimeFormat("en", { timeZone: name });
    return true;
  } catch {
    return false;
  }
}

function serviceOf(value: unknown, services: readonly string[], subject: string): string {
  const known = services.filter((name) => name !== "").map((name) => `"${name}"`).join(", ");
  if (value !== undefined && !isText(value)) {
    throw new TypeError(refusal(subject, "the name of a service", value));
  }
  if (services.includes(value ?? "")) return value ?? "";
  if (value === undefined || value === "") {
    const reason = "there is no service without a name";
    throw new TypeError(`Cannot start: ${subject} is missing: ${reason}, but ${known}`);
  }
  throw new RangeError(
    refusal(subject, `one of the services ${known || "(there are none)"}`, value),
  );
}

function bodyOf(value: unknown, subject: string): string {
  const rule = `a text of at most ${MAX_BODY} bytes`;
  if (!isText(value)) throw new TypeError(refusal(subject, rule, value));
  const bytes = new TextEncoder().encode(value).length;
  if (bytes <= MAX_BODY) return value;
  throw new RangeError(`Cannot start: ${subject} must be ${rule}${CURRENT_VALUE}${bytes} bytes`);
}

function catchUpOf(value: unknown, subject: string): number {
  const rule = `a number of milliseconds from 0 to ${LONGEST_KEPT_MS}`;
  if (typeof value !== "number") throw new TypeError(refusal(subject, rule, value));
  if (value >= 0 && value <= LONGEST_KEPT_MS) return value;
  throw new RangeError(refusal(subject, rule, value));
}

function refusal(subject: string, rule: string, value: unknown): string {
  return `Cannot start: ${complaint(subject, rule, value)}`;
}
