/**
 * The arguments of the control command: which command it is, its words and its options. Not here: what the
 * commands do (ctl_commands.ts).
 *
 * @module
 */

import { missingUnit, parseDuration } from "../options/durations.ts";
import { complaint, suggest } from "../options/errors.ts";
import type { Choice } from "./control_places.ts";
import { CTL_OPTIONS } from "./ctl_options.ts";
import { parseKnownFlags } from "./known_flags.ts";

/** How a command is written. */
export interface Grammar {
  /** Its name, of one word or two: `worker stop`. */
  readonly name: string;
  /** The words that follow; `[SERVICE]` may be left out. */
  readonly words: readonly string[];
  /** Options that only some commands have: `running`. */
  readonly options: readonly string[];
}

/** What a command line asks for. */
export interface Order<Command extends Grammar> {
  /** Undefined: none was given. */
  command: Command | undefined;
  mode: "run" | "help" | "version";
  /** The words by the names that the grammar has, without brackets. */
  words: ReadonlyMap<string, string>;
  /** Switches that are on. */
  switches: ReadonlySet<string>;
  /** Options with a value. */
  values: ReadonlyMap<string, string>;
  choice: Choice;
  json: boolean;
  /** How long an answer may take, ms. */
  timeout: number;
}

const SWITCHES = CTL_OPTIONS.filter(({ value }) => value === undefined).map(({ name }) => name);
const TEXTS = CTL_OPTIONS.filter(({ value }) => value !== undefined).map(({ name }) => name);
const LETTERS = Object.fromEntries(
  CTL_OPTIONS.flatMap(({ name, letter }) => letter === undefined ? [] : [[name, letter]]),
);
/** Those that only some commands have. */
const OWN = CTL_OPTIONS.filter(({ group }) => group === undefined).map(({ name }) => name);

const TIMEOUT_MS = 10_000;

/**
 * Reads the arguments.
 *
 * @throws {TypeError | RangeError} when they can't be understood.
 */
export function readOrder<Command extends Grammar>(
  args: readonly string[],
  commands: readonly Command[],
): Order<Command> {
  const known = { texts: TEXTS, switches: SWITCHES, letters: LETTERS };
  const flags = parseKnownFlags(args, known, () => "--help lists them");
  const switches = new Set(SWITCHES.filter((name) => flags[name] === true));
  const values = new Map(TEXTS.flatMap((name) => valueOf(name, flags[name])));
  const rest = Array.isArray(flags._) ? flags._.map(String).filter((word) => word !== "") : [];
  const mode = switches.has("help") ? "help" : switches.has("version") ? "version" : "run";
  const command = findCommand(rest, commands, mode);
  if (mode === "run" && command !== undefined) {
    const given = OWN.filter((name) => switches.has(name) || values.has(name));
    refuseStrays(command, given, commands);
  }
  return {
    command,
    mode,
    words: mode === "run" && command !== undefined ? wordsOf(command, rest) : new Map(),
    switches,
    values,
    choice: {
      name: values.get("name"),
      socket: values.get("socket"),
      url: values.get("url"),
      tokenFile: values.get("token-file"),
    },
    json: switches.has("json"),
    timeout: readTime("--timeout", values.get("timeout")) ?? TIMEOUT_MS,
  };
}

function valueOf(name: string, value: unknown): [name: string, value: string][] {
  if (typeof value !== "string") return [];
  if (value !== "") return [[name, value]];
  throw new TypeError(`Cannot use "--${name}" without a value: give one, as in --${name}=VALUE`);
}

/** The command whose name the first words are. */
function findCommand<Command extends Grammar>(
  words: readonly string[],
  commands: readonly Command[],
  mode: Order<Command>["mode"],
): Command | undefined {
  const [first = "", second = ""] = words;
  if (first === "") return undefined;
  const named = (name: string) => commands.find((command) => command.name === name);
  const found = named(`${first} ${second}`) ?? named(first);
  if (found !== undefined) return found;
  const names = commands.map(({ name }) => name);
  const family = names.filter((name) => name.startsWith(`${first} `));
  if (family.length === 0) {
    throw unknownCommand(
      first,
      names.map((name) => name.split(" ")[0] ?? ""),
    );
  }
  if (second !== "") throw unknownCommand(`${first} ${second}`, family);
  if (mode !== "run") return undefined;
  const last = family.pop();
  const all = family.length === 0 ? "" : `"${family.join('", "')}" or `;
  throw new TypeError(`Cannot run "${first}" alone: give ${all}"${last}"`);
}

function unknownCommand(name: string, names: readonly string[]): TypeError {
  const known = [...new Set(names)];
  const hint = suggest(name, known) ||
    (known.length < 4 ? `: give "${known.join('" or "')}"` : `: "help" lists them`);
  return new TypeError(`Unknown command "${name}"${hint}`);
}

function refuseStrays(
  { name, options }: Grammar,
  given: readonly string[],
  commands: readonly Grammar[],
): void {
  const stray = given.find((option) => !options.includes(option));
  if (stray === undefined) return;
  const owners = commands.filter((one) => one.options.includes(stray)).map((one) => one.name);
  throw new TypeError(
    `Cannot use "--${stray}" with "${name}": it belongs to "${owners.join('" and "')}"`,
  );
}

/** Gives each word its name. */
function wordsOf({ name, words }: Grammar, rest: readonly string[]): Map<string, string> {
  const given = rest.slice(name.split(" ").length);
  const needed = words.filter((word) => !word.startsWith("["));
  // Either all of them stand there, or those that must.
  const form = given.length >= words.length ? words : needed;
  const usage = `it is used as "${[name, ...words].join(" ")}"`;
  const missing = form[given.length];
  if (missing !== undefined) {
    throw new TypeError(`Cannot run "${name}" without ${missing}: ${usage}`);
  }
  const surplus = given[form.length];
  if (surplus !== undefined) {
    throw new TypeError(`Cannot run "${name}" with "${surplus}": ${usage}`);
  }
  return new Map(form.map((word, index) => [word.replaceAll(/[[\]]/g, ""), given[index] ?? ""]));
}

/** A duration with its unit. */
function readTime(flag: string, text: string | undefined): number | undefined {
  const ms = text === undefined ? undefined : parseDuration(text);
  if (text === undefined || ms !== undefined) return ms;
  const lack = missingUnit(text);
  const rule = "a duration, such as 500ms, 10s or 5m";
  const fault = lack === undefined ? complaint(`"${flag}"`, rule, text) : `"${flag}" ${lack}`;
  throw new TypeError(`Cannot ask: ${fault}`);
}

/** A number of seconds, or a duration with its unit; returns ms. */
export function readSeconds(flag: string, text: string): number {
  const ms = parseDuration(/^[\d.]+$/.test(text) ? `${text}s` : text);
  if (ms !== undefined) return ms;
  const rule = "a number of seconds or a duration, such as 2, 500ms or 5m";
  throw new TypeError(`Cannot ask: ${complaint(`"${flag}"`, rule, text)}`);
}

/** A whole number. */
export function readWhole(subject: string, text: string, least: number): number {
  const number = Number(text);
  if (/^\d{1,15}$/.test(text) && number >= least) return number;
  throw new RangeError(`Cannot ask: ${complaint(subject, `an integer >= ${least}`, text)}`);
}
