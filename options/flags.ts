/**
 * Options that flags set: `--min-workers 4`, and the handler, which is an argument.
 *
 * @module
 */
import { parseArgs } from "@std/cli/parse-args";
import { type Entry, IN_TEXT, Rank } from "./entries.ts";
import { unknownOption } from "./errors.ts";
import type { OptionSpec } from "./table.ts";

/** What a command line has. */
export interface Flags {
  /** Flags that ask for something else than to serve: `help`, `version`, `check`, `print-config`. */
  modes: string[];
  /** The options that were set. */
  entries: Entry[];
  /** Sentences about what can't be used; for the caller to throw, because --help forgives them. */
  faults: string[];
}

const MODES = ["help", "version", "check", "print-config"];
const WITH_FLAG = IN_TEXT.filter(({ flag }) => flag !== "");
const SWITCHES = WITH_FLAG.filter(isSwitch).map(nameOfFlag);
/** Flags that mean `true` without a value, and never take the next argument as one. */
const GRANTS = WITH_FLAG.filter((spec) => spec.permission && !isSwitch(spec)).map(({ flag }) =>
  flag
);

/**
 * Reads a command line.
 *
 * @param args The arguments, as `Deno.args` has them.
 */
export function readFlags(args: readonly string[]): Flags {
  const end = args.includes("--") ? args.indexOf("--") : args.length;
  const faults = args.slice(0, end).flatMap((arg) => faultOf(arg) ?? []);
  const found = parse(
    args.map((arg, i) => i < end && GRANTS.includes(arg) ? `${arg}=true` : arg),
    faults,
  );
  const entries = [...WITH_FLAG.flatMap((spec) => flagEntry(spec, found)), ...argumentEntry(found)];
  const missing = entries.find(({ spec, texts }) => spec.flag !== "" && texts.includes(""));
  // Before the others: in "--min-workers -1" the flag is at fault, not the -1.
  if (missing !== undefined) faults.unshift(needsValue(missing));
  const modes = MODES.filter((mode) => found[mode] === true);
  if (modes.length > 1) {
    faults.push(`Cannot start: "--${modes.join('" and "--')}" exclude each other`);
  }
  const handlers = textsOf(found._);
  if (handlers.length > 1) {
    faults.push(`Cannot start with several handlers: give one of "${handlers.join('", "')}"`);
  }
  return { modes, entries, faults };
}

function parse(args: string[], faults: string[]): Readonly<Record<string, unknown>> {
  return parseArgs(args, {
    alias: { h: "help", V: "version" },
    boolean: [...MODES, ...SWITCHES],
    collect: WITH_FLAG.filter(({ kind }) => kind.isList).map(nameOfFlag),
    // null is "not given": a switch that is off beats the environment, a missing one does not.
    default: Object.fromEntries(SWITCHES.map((name) => [name, null])),
    negatable: SWITCHES,
    string: ["_", ...WITH_FLAG.map(nameOfFlag).filter((name) => !SWITCHES.includes(name))],
    unknown(arg, key) {
      if (key !== undefined) faults.push(unknownFlag(arg));
      return key === undefined;
    },
  });
}

function needsValue({ subject, spec }: Entry): string {
  return `Cannot start: ${subject} needs a value, as in ${spec.flag}=${spec.kind.placeholder}`;
}

/** `--no-name=value` and `--switch=value`: parseArgs reads neither as an operator would. */
function faultOf(arg: string): string | undefined {
  const [, no, name = "", value = ""] = /^--(no-)?([^=]+)=(.*)$/s.exec(arg) ?? [];
  if (no !== undefined) return unknownFlag(arg);
  const isSwitch = MODES.includes(name) || SWITCHES.includes(name);
  if (!isSwitch || value === "true" || value === "false") return undefined;
  return `Cannot start: "--${name}" takes no value: current value is "${value}"`;
}

function unknownFlag(arg: string): string {
  const [name = arg] = arg.split("=");
  const flags = [...MODES.map((mode) => `--${mode}`), ...WITH_FLAG.map(({ flag }) => flag)];
  return unknownOption(name, flags, "--help lists all options");
}

function flagEntry(spec: OptionSpec, found: Readonly<Record<string, unknown>>): Entry[] {
  const texts = textsOf(found[nameOfFlag(spec)]);
  if (texts.length === 0) return [];
  const [source, subject] = [`flag ${spec.flag}`, `"${spec.flag}"`];
  return [{ spec, texts, source, subject, rank: Rank.flag }];
}

function argumentEntry(found: Readonly<Record<string, unknown>>): Entry[] {
  const [text] = textsOf(found._);
  const spec = IN_TEXT.find(({ name }) => name === "handler");
  if (text === undefined || spec === undefined) return [];
  return [{ spec, texts: [text], source: "argument", subject: "the handler", rank: Rank.flag }];
}

function textsOf(value: unknown): string[] {
  if (value === undefined || value === null) return [];
  return Array.isArray(value) ? value.map(String) : [String(value)];
}

function isSwitch({ kind }: OptionSpec): boolean {
  return kind.placeholder === "";
}

function nameOfFlag({ flag }: OptionSpec): string {
  return flag.slice(2);
}
