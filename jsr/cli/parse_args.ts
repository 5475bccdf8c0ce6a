/**
 * `parseArgs` of `@std/cli`, read by minimist: what this project uses of the original, with the
 * original's results. It is not all of it: there is no `stopEarly`, no `boolean: true` and no
 * collected boolean, an undeclared flag must not have a dot or a name that every object has
 * (`--toString`), and every result is `unknown` to the type checker.
 *
 * minimist decides by its own rules what `--name value`, `--no-name` and a repeated flag mean. So
 * each long flag is first spelled `--name=value` by the original's rules, and what minimist found
 * is then given the original's shape.
 *
 * @module
 */
import minimist from "minimist";

/** One name or several. */
export type Names = string | readonly string[];

/** Options for {@linkcode parseArgs}. */
export interface ParseOptions {
  /** Put what follows `--` into the result's `--`, not into `_`. @default {false} */
  "--"?: boolean;
  /** Other names of a flag: `{ h: "help" }`. @default {{}} */
  alias?: Readonly<Record<string, Names>>;
  /** Flags without a value; `false` unless given. @default {[]} */
  boolean?: Names;
  /** String flags that collect the values of all their uses. @default {[]} */
  collect?: Names;
  /** Values of flags that are not given. @default {{}} */
  default?: Readonly<Record<string, unknown>>;
  /** Flags that `--no-<name>` sets to `false`. @default {[]} */
  negatable?: Names;
  /** Flags whose values stay strings; `_` keeps the other arguments strings. @default {[]} */
  string?: Names;
  /**
   * Told each undeclared flag, with its key and (unless it is a short one) its value, and each
   * other argument without a key; returns `false` to leave it out of the result.
   */
  unknown?: (arg: string, key?: string, value?: unknown) => unknown;
}

/** What {@linkcode parseArgs} found, by name. */
export interface Args {
  /** A flag: a string, a boolean, a number, or a list if it collects. */
  [name: string]: unknown;
  /** The arguments that belong to no flag. */
  _: Array<string | number>;
  /** What follows `--`, if asked for. */
  "--"?: string[];
}

/** The declared names, each with its aliases. */
interface Declared {
  readonly booleans: ReadonlySet<string>;
  readonly strings: ReadonlySet<string>;
  readonly collects: ReadonlySet<string>;
  readonly negatables: ReadonlySet<string>;
  readonly names: ReadonlySet<string>;
}

/** A long flag: as it was written, as the original reads it, and spelled for minimist. */
interface LongFlag {
  readonly arg: string;
  readonly key: string;
  readonly value: string | boolean;
  readonly spelling: string;
  readonly takesNext: boolean;
}

/** Stands for "no value": no real argument holds a NUL. */
const BARE = "\0";

const LONG = /^--(no-)?([^-].*?)(?:=(.*))?$/s;
const SHORT = /^-[^-]/;

/**
 * Reads command-line arguments.
 *
 * @param args The arguments, as `Deno.args` has them.
 * @param options What the flags are called and how they are read.
 * @returns The value of each flag by its name, and the other arguments as `_`.
 *
 * @example
 * ```ts
 * import { parseArgs } from "@std/cli/parse-args";
 *
 * const flags = parseArgs(Deno.args, { boolean: ["raw"], string: ["endpoint", "_"] });
 * const endpoint = typeof flags.endpoint === "string" ? flags.endpoint : "tcp://localhost:6660";
 * ```
 */
export function parseArgs(args: readonly string[], options: ParseOptions = {}): Args {
  const declared = declare(options);
  const { spelled, flags } = spell(args, declared);
  const found: Args = minimist(spelled, {
    "--": options["--"] ?? false,
    alias: options.alias ?? {},
    boolean: [...declared.booleans],
    default: options.default ?? {},
    string: [...declared.strings],
    unknown: (arg: string) => tell(arg, flags.get(arg), options, declared),
  });
  return shape(found, declared);
}

function declare(options: ParseOptions): Declared {
  const aliases = new Map<string, readonly string[]>();
  for (const [name, others] of Object.entries(options.alias ?? {})) {
    const all = [name, ...listOf(others)];
    for (const each of all) aliases.set(each, all);
  }
  const expand = (names: Names | undefined): ReadonlySet<string> =>
    new Set(listOf(names).flatMap((name) => aliases.get(name) ?? [name]));
  const booleans = expand(options.boolean);
  const strings = expand(options.string);
  const collects = expand(options.collect);
  const negatables = expand(options.negatable);
  // the original counts a name that is merely negatable as undeclared
  const names = new Set([...booleans, ...strings, ...collects, ...aliases.keys()]);
  return { booleans, strings, collects, negatables, names };
}

function listOf(names: Names | undefined): readonly string[] {
  if (names === undefined) return [];
  return typeof names === "string" ? [names] : names;
}

/** Spells the long flags for minimist, and keeps them by their spelling. */
function spell(args: readonly string[], declared: Declared) {
  const end = args.includes("--") ? args.indexOf("--") : args.length;
  const spelled: string[] = [];
  const flags = new Map<string, LongFlag>();
  for (let i = 0; i < end; i++) {
    const flag = readLong(args.slice(i, end), declared);
    if (flag === undefined) {
      spelled.push(args[i] ?? "");
      continue;
    }
    if (flag.takesNext) i++;
    // a flag that minimist can't read is told to `unknown` under a name that it can
    const spelling = breaksMinimist(flag.key) ? `--${BARE}${i}=` : flag.spelling;
    flags.set(spelling, flag);
    spelled.push(spelling);
  }
  return { spelled: [...spelled, ...args.slice(end)], flags };
}

/** Reads the long flag that `args` starts with, if it does. */
function readLong(args: readonly string[], declared: Declared): LongFlag | undefined {
  const [arg = "", next = ""] = args;
  const [, no = "", name = "", inline] = LONG.exec(arg) ?? [];
  if (name === "") return undefined;
  const flag = { arg, key: name, takesNext: false };
  if (inline !== undefined) return { ...flag, value: inline, spelling: `--${name}=${inline}` };
  if (no !== "" && declared.negatables.has(name)) return { ...flag, value: false, spelling: arg };
  flag.key = no + name;
  const isBoolean = declared.booleans.has(flag.key);
  if (isBoolean ? /^(true|false)$/.test(next) : next !== "" && !next.startsWith("-")) {
    return { ...flag, value: next, spelling: `--${flag.key}=${next}`, takesNext: true };
  }
  if (isBoolean) return { ...flag, value: true, spelling: `--${flag.key}=true` };
  if (declared.strings.has(flag.key)) return { ...flag, value: "", spelling: `--${flag.key}=` };
  return { ...flag, value: true, spelling: `--${flag.key}=${BARE}` };
}

/** minimist throws at an empty name, and at the names that every object inherits. */
function breaksMinimist(key: string): boolean {
  return key.startsWith("=") || key in Object.prototype;
}

function tell(
  arg: string,
  flag: LongFlag | undefined,
  options: ParseOptions,
  declared: Declared,
): unknown {
  if (flag !== undefined) {
    return declared.names.has(flag.key) || options.unknown?.(flag.arg, flag.key, flag.value);
  }
  if (!SHORT.test(arg)) return options.unknown?.(arg);
  const letter = [...arg.slice(1)].find((key) => !declared.names.has(key));
  return options.unknown?.(arg, letter);
}

function shape(found: Args, declared: Declared): Args {
  for (const [name, value] of Object.entries(found)) {
    if (name === "_" || name === "--") continue;
    if (name.startsWith(BARE)) {
      delete found[name];
      continue;
    }
    const values = Array.isArray(value) ? value : [value];
    const read = values.map((each) => each === BARE ? true : each);
    found[name] = declared.collects.has(name) ? read : read.at(-1);
  }
  for (const name of declared.collects) {
    if (declared.strings.has(name)) found[name] ??= [];
  }
  return found;
}
