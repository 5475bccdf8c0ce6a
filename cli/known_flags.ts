/**
 * Flags of a command that has options and words: what is no option of it ends it, with the one that was probably meant.
 *
 * @module
 */

import { parseArgs } from "@std/cli/parse-args";
import { unknownOption } from "../options/errors.ts";

/** What a command knows. */
export interface KnownFlags {
  /** Options with a value. */
  readonly texts: readonly string[];
  /** Those with a value that stand for others and are not named in errors. @default {none} */
  readonly hidden?: readonly string[];
  /** Options with a value that may be given more than once. @default {none} */
  readonly lists?: readonly string[];
  readonly switches: readonly string[];
  /** The letters of options, by their names. */
  readonly letters: Readonly<Record<string, string>>;
}

/**
 * The flags by their names, the words as `_`.
 *
 * @param hint What is said after an unknown option, given all that was read.
 * @throws {TypeError} when there is an unknown option.
 */
export function parseKnownFlags(
  args: readonly string[],
  { texts, hidden = [], lists = [], switches, letters }: KnownFlags,
  hint: (flags: Record<string, unknown>) => string,
): Record<string, unknown> {
  const unknown: string[] = [];
  const flags: Record<string, unknown> = parseArgs([...args], {
    string: [...texts, ...hidden, "_"],
    collect: [...lists],
    boolean: [...switches],
    alias: { ...letters },
    unknown: (arg, key) => key === undefined || (unknown.push(arg), false),
  });
  const [first] = unknown;
  if (first === undefined) return flags;
  const known = [...texts, ...switches].map((name) => `--${name}`);
  throw new TypeError(unknownOption(first.replace(/=[^]*$/, ""), known, hint(flags)));
}
