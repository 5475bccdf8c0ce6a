/**
 * The kinds of values that options have: how a value from code is accepted, how text from a flag,
 * the environment or the conf file is read, and how a value is shown. Kinds of lists, endpoints and
 * grants are in files of their own. Not here: which options there are (table.ts), and where a text came
 * from (command.ts).
 *
 * @module
 */
import { isRecord } from "../wire/json_object.ts";
import { missingUnit, parseDuration, showDuration } from "./durations.ts";
import type { Level } from "./settings.ts";
import { parseSize, showSize } from "./sizes.ts";

/** How values of one kind are accepted, read and shown. */
export interface Kind<T> {
  /** Stands for the value in --help: `N`, `TIME`; empty for a switch. */
  readonly placeholder: string;
  /** What a value in code must be: `an integer >= 1`. */
  readonly rule: string;
  /** What a text must be: `a duration such as 500ms, 10s or 5m, from 0 to 24 days`. */
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

/** The longest time that something is kept, in milliseconds (10 years): no timer waits for all of it. */
export const LONGEST_KEPT_MS = 3650 * 86_400_000;

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

/** Our levels and Net::Server's; its 2 is syslog's "notice". */
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

const SCHEMES: readonly string[] = ["file:", "http:", "https:", "npm:", "jsr:", "data:"];

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
 * A duration: a number of milliseconds in code; in a text a number with its unit, `ms`, `s`, `m`, `h`
 * or `d`.
 *
 * @param min The least that is allowed, in milliseconds.
 * @param max The most.
 * @returns The kind.
 */
export function duration(min: number, max = LONGEST_MS): Kind<number> {
  const fits = (value: number) => value >= min && value <= max;
  const days = Math.floor(max / 86_400_000);
  return {
    placeholder: "TIME",
    rule: `a number of milliseconds from ${min} to ${max}`,
    textRule: `a duration such as 500ms, 10s or 5m, from ${showDuration(min)} to ${days} days`,
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
      const bytes = parseSize(text);
      return bytes !== undefined && fits(bytes) ? bytes : undefined;
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

function isNumber(value: unknown): value is number {
  return typeof value === "number";
}

/** Whether a value is a boolean. */
export function isBoolean(value: unknown): value is boolean {
  return typeof value === "boolean";
}

/** Whether a value is a string. */
export function isText(value: unknown): value is string {
  return typeof value === "string";
}

/** Whether a value is a list of strings. */
export function isTextList(value: unknown): value is string[] {
  return Array.isArray(value) && value.every(isText);
}

/** Things by their names, which have no form in a text; what each thing has is checked elsewhere. */
export function byName<T extends object>(
  placeholder: string,
  rule: string,
  isGiven: (value: unknown) => value is T,
): Kind<T> {
  return {
    ...{ placeholder, rule, textRule: "", isList: false, isType: isRecord },
    accept: (value) => isGiven(value) ? { ...value } : undefined,
    parse: () => undefined,
    show: (value) => JSON.stringify(value),
  };
}

function isFraction(value: number): boolean {
  return value >= 0 && value <= 1;
}

function isSpecifier(text: string): boolean {
  const [scheme] = /^[a-z][a-z0-9+.-]*:/i.exec(text) ?? [];
  return /^\P{Cc}+$/u.test(text) &&
    (scheme === undefined || SCHEMES.includes(scheme.toLowerCase()));
}
