/**
 * Kinds of lists: what they have in common, addresses and signals. A text separates the items by commas.
 *
 * @module
 */
import { parseRange } from "../auth/address.ts";
import { isText, isTextList, type Kind } from "./kinds.ts";

const RANGE_RULE =
  "a list of IP addresses or CIDR ranges, with 0 bits after the prefix as in 10.0.0.0/8";

/** Signals that a process can listen to and whose meaning a handler may choose. USR1 is the debugger's. */
const SIGNALS: readonly Deno.Signal[] = [
  "SIGHUP",
  "SIGINT",
  "SIGQUIT",
  "SIGTERM",
  "SIGUSR2",
  "SIGTTIN",
  "SIGTTOU",
  "SIGALRM",
  "SIGCONT",
  "SIGWINCH",
];

/** Addresses and CIDR ranges. */
export const ranges: Kind<string[]> = {
  ...listOf((text) => isRange(text) ? text : undefined),
  placeholder: "RANGE",
  rule: RANGE_RULE,
  textRule: RANGE_RULE,
  isType: (value) => isText(value) || isTextList(value),
  accept(value) {
    const list = isText(value) ? [value] : value;
    return isTextList(list) && list.every(isRange) ? [...list] : undefined;
  },
};

const NAMES_RULE = "a name, or a list of names, without spaces";

/** Names of clients. */
export const names: Kind<string[]> = {
  ...listOf((text) => isName(text) ? text : undefined),
  placeholder: "NAME",
  rule: NAMES_RULE,
  textRule: NAMES_RULE,
  isType: (value) => isText(value) || isTextList(value),
  accept(value) {
    const list = isText(value) ? [value] : value;
    return isTextList(list) && list.every(isName) ? [...list] : undefined;
  },
};

/** Who may be a worker that speaks Majordomo. */
export type MdpWorkers = "none" | "any" | string[];

const MDP_WORKERS_RULE = `"none", "any", or a list of the names of clients`;

/** None, any, or names of clients. */
export const mdpWorkers: Kind<MdpWorkers> = {
  placeholder: "none|any|NAME",
  rule: MDP_WORKERS_RULE,
  textRule: MDP_WORKERS_RULE,
  isList: true,
  isType: (value) => isText(value) || isTextList(value),
  accept(value) {
    if (value === "none" || value === "any") return value;
    return isTextList(value) && isListOfWorkers(value) ? [...value] : undefined;
  },
  parse(text) {
    if (text === "none" || text === "any") return text;
    const list = names.parse(text);
    return list !== undefined && isListOfWorkers(list) ? list : undefined;
  },
  show: String,
};

/** The two words mean something else than clients of these names would. */
function isListOfWorkers(list: readonly string[]): boolean {
  return list.length > 0 && list.every((name) => isName(name) && name !== "none" && name !== "any");
}

/** Signals, with or without the `SIG`. */
export const signals: Kind<Deno.Signal[]> = {
  ...listOf(findSignal),
  placeholder: "SIGNAL",
  rule: `a list of ${SIGNALS.join(", ")}, not SIGUSR1, which opens Deno's debugger`,
  textRule: `a list of ${
    SIGNALS.map((name) => name.slice(3)).join(", ")
  }, not USR1, which opens Deno's debugger`,
  accept(value) {
    if (!isTextList(value)) return undefined;
    const found = value.flatMap((name) => SIGNALS.find((each) => each === name) ?? []);
    return found.length === value.length ? found : undefined;
  },
};

/**
 * What kinds of lists have in common.
 *
 * @param read Reads an item; `undefined` if it can't.
 * @param longest Maximum number of items.
 * @returns A kind without placeholder and rules, which takes no value from code.
 */
export function listOf<T>(read: (text: string) => T | undefined, longest = Infinity): ListKind<T> {
  return {
    rule: "a list",
    isList: true,
    isType: isTextList,
    accept: (_value: unknown): T[] | undefined => undefined,
    parse(text: string): T[] | undefined {
      const texts = splitList(text) ?? [];
      const list = texts.flatMap((each) => read(each) ?? []);
      const whole = list.length > 0 && list.length === texts.length && list.length <= longest;
      return whole ? list : undefined;
    },
    show: String,
  };
}

/** What {@linkcode listOf} brings: all of a kind but what it is called. */
export type ListKind<T> = Omit<Kind<T[]>, "placeholder" | "textRule">;

/** The items of a list, separated by commas; `undefined` if one is empty. */
export function splitList(text: string): string[] | undefined {
  const items = text.split(",").map((item) => item.trim());
  return items.includes("") ? undefined : items;
}

function isRange(text: string): boolean {
  return parseRange(text) !== undefined;
}

function isName(text: string): boolean {
  return /^[^\s,\p{Cc}]+$/u.test(text);
}

function findSignal(text: string): Deno.Signal | undefined {
  const name = text.toUpperCase();
  return SIGNALS.find((each) => each === name || each === `SIG${name}`);
}
