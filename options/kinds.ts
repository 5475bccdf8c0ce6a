/**
 * The kinds of values that options have: how a value from code is accepted, how text from a flag,
 * the environment or the conf file is read, and how a value is shown. Not here: which options there
 * are (table.ts), and where a text came from (command.ts).
 *
 * @module
 */
import { parseRange } from "../auth/address.ts";
import { bracket, canBind, ENDPOINT_RULE, isHost, isPort } from "../wire/endpoint.ts";
import { missingUnit, parseDuration, showDuration } from "./durations.ts";
import type { Level, Permissions } from "./settings.ts";

/** How values of one kind are accepted, read and shown. */
export interface Kind<T> {
  /** Stands for the value in --help: `N`, `TIME`; empty for a switch. */
  readonly placeholder: string;
  /** What a value in code must be: `an integer >= 1`. */
  readonly rule: string;
  /** What a text must be: `a duration from 0 to 2147483647 ms, such as 500ms, 10s or 5m`. */
  readonly textRule: string;
  /** Whether the value is a list, so that its flag or key may be repeated. */
  readonly isList: boolean;
  /** Whether a value has the right type, be it in range or not. */
  isType(value: unknown): boolean;
  /** Takes a value from code; `undefined` if its type or its range is wrong. */
  accept(value: unknown): T | undefined;
  /** Reads a text; `undefined` if it can't be read or its value is out of range. */
  parse(text: string): T | undefined;
  /** Says what a text that can't be read lacks, as the rest of a sentence, if it is plain. */
  lack?(text: string): string | undefined;
  /** Writes a value as a text that `parse` reads. */
  show(value: T): string;
}

/** The longest duration, in milliseconds: timers go no further (24 days). */
const LONGEST_MS = 2 ** 31 - 1;

const RANGE_RULE = "a list of IP addresses or CIDR ranges whose other bits are 0, as in 10.0.0.0/8";

const SIZE_UNITS: ReadonlyMap<string, number> = new Map([
  ["g", 1024 ** 3],
  ["m", 1024 ** 2],
  ["k", 1024],
]);

const SWITCH_WORDS: ReadonlyMap<string, boolean> = new Map([
  ["true", true],
  ["yes", true],
  ["on", true],
  ["1", true],
  ["false", false],
  ["no", false],
  ["off", false],
  ["0", false],
]);

/** Net::Server's levels beside ours; its 2 is syslog's "notice". */
const LEVELS: ReadonlyMap<string, Level> = new Map([
  ["debug", "debug"],
  ["info", "info"],
  ["warn", "warn"],
  ["error", "error"],
  ["critical", "critical"],
  ["0", "error"],
  ["1", "warn"],
  ["2", "info"],
  ["3", "info"],
  ["4", "debug"],
]);

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

const SCHEMES: readonly string[] = ["file:", "http:", "https:", "npm:", "jsr:", "data:"];

const PERMISSION_NAMES: readonly string[] = [
  "read",
  "write",
  "net",
  "env",
  "run",
  "sys",
  "import",
  "all",
];

/**
 * An integer.
 *
 * @param min The least that is allowed.
 * @returns The kind.
 */
export function integer(min: number): Kind<number> {
  const fits = (value: number) => Number.isSafeInteger(value) && value >= min;
  return {
    placeholder: "N",
    rule: `an integer >= ${min}`,
    textRule: `an integer >= ${min}`,
    isList: false,
    isType: isNumber,
    accept: (value) => isNumber(value) && fits(value) ? value : undefined,
    parse: (text) => /^-?\d+$/.test(text) && fits(Number(text)) ? Number(text) : undefined,
    show: String,
  };
}

/**
 * A duration: a number of milliseconds in code; in a text a number with its unit, `ms`, `s`, `m` or `h`.
 *
 * @param min The least that is allowed, in milliseconds.
 * @returns The kind.
 */
export function duration(min: number): Kind<number> {
  const fits = (value: number) => value >= min && value <= LONGEST_MS;
  return {
    placeholder: "TIME",
    rule: `a number of milliseconds from ${min} to ${LONGEST_MS}`,
    textRule: `a duration from ${min} to ${LONGEST_MS} ms, such as 500ms, 10s or 5m`,
    isList: false,
    isType: isNumber,
    accept: (value) => isNumber(value) && fits(value) ? value : undefined,
    parse(text) {
      const ms = parseDuration(text);
      return ms !== undefined && fits(ms) ? ms : undefined;
    },
    lack: missingUnit,
    show: showDuration,
  };
}

/**
 * A size in bytes; in a text also with `k`, `M` or `G` (or `KiB`, `MiB`, `GiB`), powers of 1024.
 *
 * @param min The least that is allowed, in bytes.
 * @returns The kind.
 */
export function size(min: number): Kind<number> {
  const fits = (value: number) => Number.isSafeInteger(value) && value >= min;
  return {
    placeholder: "SIZE",
    rule: `an integer number of bytes >= ${min}`,
    textRule: `a size >= ${min}, such as 1048576, 512k, 64MiB or 1G`,
    isList: false,
    isType: isNumber,
    accept: (value) => isNumber(value) && fits(value) ? value : undefined,
    parse(text) {
      const [, number = "", unit = ""] = /^(\d+(?:\.\d+)?)(?:([kmg])(?:ib)?)?$/i.exec(text) ?? [];
      const value = Number(number) * (SIZE_UNITS.get(unit.toLowerCase()) ?? 1);
      return number !== "" && fits(value) ? value : undefined;
    },
    show: showSize,
  };
}

/** A number from 0 to 1; in a text also a percentage. */
export const fraction: Kind<number> = {
  placeholder: "PERCENT",
  rule: "a number from 0 to 1",
  textRule: "a percentage from 0% to 100%, or a number from 0 to 1",
  isList: false,
  isType: isNumber,
  accept: (value) => isNumber(value) && isFraction(value) ? value : undefined,
  parse(text) {
    const [, number = "", percent = ""] = /^(\d+(?:\.\d+)?|\.\d+)(%)?$/.exec(text) ?? [];
    const value = percent === "" ? Number(number) : Number(number) / 100;
    return number !== "" && isFraction(value) ? value : undefined;
  },
  // rounded, because 0.07 * 100 is 7.000000000000001
  show: (value) => `${Number((value * 100).toPrecision(12))}%`,
};

/** A switch. */
export const toggle: Kind<boolean> = {
  placeholder: "",
  rule: "true or false",
  textRule: "true or false",
  isList: false,
  isType: isBoolean,
  accept: (value) => isBoolean(value) ? value : undefined,
  parse: (text) => SWITCH_WORDS.get(text.toLowerCase()),
  show: String,
};

/** A file's path. */
export const path: Kind<string> = word("FILE", "a path that is not empty");

/** A user's or group's name or number. */
export const account: Kind<string> = word("NAME", "a name or number that is not empty");

/**
 * One of a few words.
 *
 * @param words The words.
 * @returns The kind.
 */
export function choice<T extends string>(words: readonly T[]): Kind<T> {
  return choiceOf(new Map(words.map((word) => [word, word])), words.join("|"));
}

/** A log level; in a text also Net::Server's 0 to 4. */
export const level: Kind<Level> = {
  ...choiceOf(LEVELS, "LEVEL"),
  rule: "one of debug, info, warn, error, critical",
  textRule: "one of debug, info, warn, error, critical, or 0 to 4",
  accept: (value) => isText(value) && !/\d/.test(value) ? LEVELS.get(value) : undefined,
};

/** A module: a path, a URL, or a specifier. */
export const specifier: Kind<string> = {
  placeholder: "HANDLER",
  rule: `a path, a URL or a specifier (${SCHEMES.join(", ")})`,
  textRule: `a path or a specifier (${SCHEMES.join(", ")})`,
  isList: false,
  isType: (value) => isText(value) || value instanceof URL,
  accept(value) {
    const text = value instanceof URL ? value.href : value;
    return isText(text) && isSpecifier(text) ? text : undefined;
  },
  parse: (text) => isSpecifier(text) ? text : undefined,
  show: String,
};

/** An endpoint: `tcp://host:port`, where the port may be `*` or 0, or `ipc://path`. */
export const endpoint: Kind<string> = {
  placeholder: "ENDPOINT",
  rule: ENDPOINT_RULE,
  textRule: ENDPOINT_RULE,
  isList: false,
  isType: isText,
  accept: (value) => isText(value) && canBind(value) ? value : undefined,
  parse: (text) => canBind(text) ? text : undefined,
  show: String,
};

/** One endpoint or several. */
export const endpoints: Kind<string[]> = {
  ...listOf(endpoint.parse),
  placeholder: "ENDPOINT",
  rule: `one or more of ${endpoint.rule}`,
  textRule: `one or more of ${endpoint.textRule}`,
  isType: (value) => isText(value) || isTextList(value),
  accept(value) {
    const list = isText(value) ? [value] : value;
    return isTextList(list) && list.length > 0 && list.every(canBind) ? [...list] : undefined;
  },
};

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

/** Host names or addresses; `*` is every address. */
export const hosts: Kind<string[]> = {
  ...listOf((text) => isHost(bracket(text)) ? bracket(text) : undefined),
  placeholder: "HOST",
  textRule: "a host name, an address or *",
};

/** The frontend's port, or the frontend's and the backend's; each may bring its host. */
export const ports: Kind<string[]> = {
  ...listOf((text) => isHostAndPort(text) ? text : undefined, 2),
  placeholder: "F[,B]",
  textRule: "one or two ports from 0 to 65535",
};

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
 * What one permission is granted for: all, nothing, or a list.
 *
 * @param permission Its name, as Deno has it.
 * @returns The kind.
 */
export function grant(permission: keyof Permissions): Kind<boolean | string[]> {
  const { what, fits } = GRANTED[permission] ?? ANYTHING;
  return {
    ...listOf((text) => text),
    placeholder: "LIST",
    textRule: `true, false, or a list of ${what} separated by commas`,
    parse(text) {
      const items = splitList(text) ?? [];
      const words = items.map(toggle.parse);
      if (words.includes(true)) return true;
      if (words.includes(false)) return items.length === 1 ? false : undefined;
      return items.length > 0 && items.every(fits) ? items : undefined;
    },
  };
}

/** What a list may grant, as far as Deno's own rules are plain; Deno judges the rest when it starts. */
interface Granted {
  readonly what: string;
  fits(item: string): boolean;
}

const HOSTS: Granted = { what: "hosts (host or host:port)", fits: isGrantedHost };
const ANYTHING: Granted = { what: "items", fits: isGrantedName };
const GRANTED: Partial<Record<string, Granted>> = {
  read: { what: "paths", fits: isGrantedName },
  write: { what: "paths", fits: isGrantedName },
  net: HOSTS,
  env: { what: "variables' names", fits: (item) => isGrantedName(item) && !item.includes("=") },
  run: { what: "programs", fits: isGrantedName },
  import: HOSTS,
};

/** Permissions; in code also `none` and `inherit`. */
export const permissions: Kind<Permissions> = {
  placeholder: "PERMISSIONS",
  rule: `"none", "inherit", or true, false or a list for ${PERMISSION_NAMES.join(", ")} ` +
    "(for net and import of host or host:port, for env without =)",
  textRule: "",
  isList: false,
  isType: (value) => isText(value) || isRecord(value),
  accept(value) {
    if (value === "none") return {};
    if (value === "inherit") return { all: true };
    const granted = isRecord(value) ? withoutEmptyLists(value) : undefined;
    return isPermissions(granted) ? granted : undefined;
  },
  parse: () => undefined,
  show: (value) => JSON.stringify(value),
};

/**
 * A text that is not empty and has no control characters.
 *
 * @param placeholder Stands for it in --help.
 * @param rule What it must be.
 * @returns The kind.
 */
export function word(placeholder: string, rule: string): Kind<string> {
  const fits = (text: string) => text !== "" && !/\p{Cc}/u.test(text);
  return {
    placeholder,
    rule,
    textRule: rule,
    isList: false,
    isType: isText,
    accept: (value) => isText(value) && fits(value) ? value : undefined,
    parse: (text) => fits(text) ? text : undefined,
    show: String,
  };
}

function choiceOf<T extends string>(words: ReadonlyMap<string, T>, placeholder: string): Kind<T> {
  const rule = `one of ${[...words.keys()].join(", ")}`;
  return {
    placeholder,
    rule,
    textRule: rule,
    isList: false,
    isType: isText,
    accept: (value) => isText(value) ? words.get(value) : undefined,
    parse: (text) => words.get(text.toLowerCase()),
    show: String,
  };
}

/** What kinds of lists have in common; a text separates the items by commas. */
function listOf<T>(read: (text: string) => T | undefined, longest = Infinity) {
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

function splitList(text: string): string[] | undefined {
  const items = text.split(",").map((item) => item.trim());
  return items.includes("") ? undefined : items;
}

function showSize(value: number): string {
  for (const [unit, factor] of SIZE_UNITS) {
    if (value > 0 && value % factor === 0) return `${value / factor}${unit.toUpperCase()}iB`;
  }
  return String(value);
}

function isNumber(value: unknown): value is number {
  return typeof value === "number";
}

function isBoolean(value: unknown): value is boolean {
  return typeof value === "boolean";
}

function isText(value: unknown): value is string {
  return typeof value === "string";
}

function isTextList(value: unknown): value is string[] {
  return Array.isArray(value) && value.every(isText);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isFraction(value: number): boolean {
  return value >= 0 && value <= 1;
}

function isSpecifier(text: string): boolean {
  const [scheme] = /^[a-z][a-z0-9+.-]*:/i.exec(text) ?? [];
  return /^\P{Cc}+$/u.test(text) &&
    (scheme === undefined || SCHEMES.includes(scheme.toLowerCase()));
}

function isRange(text: string): boolean {
  return parseRange(text) !== undefined;
}

/** A port, or a host and a port. */
function isHostAndPort(text: string): boolean {
  const at = text.lastIndexOf(":");
  return isPort(text.slice(at + 1)) && (at < 0 || isHost(text.slice(0, at)));
}

function findSignal(text: string): Deno.Signal | undefined {
  const name = text.toUpperCase();
  return SIGNALS.find((each) => each === name || each === `SIG${name}`);
}

/** A copy in which an empty list is what it says, nothing; Deno's flags would read it as all. */
function withoutEmptyLists(value: Record<string, unknown>): Record<string, unknown> {
  const copy = (granted: unknown): unknown =>
    Array.isArray(granted) ? granted.length > 0 && [...granted] : granted;
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, copy(each)]));
}

function isPermissions(value: unknown): value is Permissions {
  if (!isRecord(value)) return false;
  return Object.entries(value).every(([name, granted]) =>
    PERMISSION_NAMES.includes(name) && isGranted(name, granted)
  );
}

function isGranted(name: string, granted: unknown): boolean {
  if (granted === undefined || isBoolean(granted)) return true;
  const { fits } = GRANTED[name] ?? ANYTHING;
  return name !== "all" && isTextList(granted) && granted.every(fits);
}

function isGrantedName(text: string): boolean {
  return text !== "" && !text.includes("\0");
}

/** `host`, `[address]` or a range, each also with a port; also Deno's `unix:path` and `vsock:…`. */
function isGrantedHost(text: string): boolean {
  if (/^(unix|vsock):./.test(text)) return true;
  const [whole, port = "0"] =
    /^(?:\[[^\]\s]+\]|[^\s:/[\]@?]+(?:\/\d{1,3})?|(?=:))(?::(\d{1,5}))?$/.exec(text) ?? [];
  return whole !== undefined && Number(port) <= 65535;
}
