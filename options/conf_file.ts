/**
 * Options that a conf file sets: a line `key value` each, under our names or Net::Server's. Not here:
 * reading the file, which the caller brings.
 *
 * @module
 */
import { messageOf } from "../system/errors.ts";
import { type Entry, IN_TEXT, Rank, UsageError } from "./entries.ts";
import { unknownOption } from "./errors.ts";
import { refusalOf } from "./net_server.ts";
import { type OptionSpec, separate } from "./table.ts";

/** A key of the conf file. */
interface ConfKey {
  readonly spec: OptionSpec;
  readonly isNetServer: boolean;
}

const CONF_KEYS: ReadonlyMap<string, ConfKey> = new Map(IN_TEXT.flatMap(confKeys));

/** `key value`, `key = value` or `key: value`; in `host ::1` the colons belong to the value. */
const CONF_LINE = /^(?:--)?([\w-]+)(?:\s*=\s*|:\s*|\s+:\s+|\s+|$)(.*)$/;

/**
 * Reads a conf file.
 *
 * @param path Its path, for the errors.
 * @param readFile Returns the text of a file; throws if it can't be read.
 * @returns What it sets.
 * @throws {UsageError} If it can't be read, or a line can't be used.
 */
export function readConf(path: string, readFile: (path: string) => string): Entry[] {
  const entries = new Map<string, Entry>();
  const lines = readText(path, readFile).split(/\r?\n/);
  for (const [i, line] of lines.entries()) readLine(line, `${path}:${i + 1}`, entries);
  return [...entries.values()];
}

function readText(path: string, readFile: (path: string) => string): string {
  try {
    return readFile(path);
  } catch (error) {
    throw new UsageError(`Cannot read the conf file "${path}": ${messageOf(error)}`);
  }
}

/** Reads one line; a `#` that is part of a value is written `\#`. */
function readLine(line: string, place: string, entries: Map<string, Entry>): void {
  const text = line.replace(/(?<!\\)#.*$/, "").replaceAll("\\#", "#").trim();
  if (text === "") return;
  const [, key, value = ""] = CONF_LINE.exec(text) ?? [];
  if (key === undefined) {
    throw new UsageError(
      `Cannot read ${place}: a line must be "key value": current line is "${text}"`,
    );
  }
  const { spec, isNetServer: inSeconds } = findKey(key, place);
  const subject = `"${key}" in ${place}`;
  if (value === "") throw new UsageError(`Cannot start: ${subject} needs a value`);
  const first = entries.get(spec.name);
  if (first === undefined) {
    const source = `file ${place}`;
    entries.set(spec.name, { spec, texts: [value], source, subject, rank: Rank.file, inSeconds });
  } else if (spec.kind.isList) {
    first.texts.push(value);
  } else {
    throw new UsageError(`Cannot start: ${subject} is given twice: first is ${first.subject}`);
  }
}

function findKey(key: string, place: string): ConfKey {
  const found = CONF_KEYS.get(key);
  const reason = found?.spec.name === "config" ? "a conf file can't name another" : refusalOf(key);
  if (reason !== undefined) {
    throw new UsageError(`Cannot start: "${key}" in ${place} has no meaning here: ${reason}`);
  }
  if (found !== undefined) return found;
  throw new UsageError(unknownOption(key, CONF_KEYS.keys(), "", ` in ${place}`));
}

/** Our name in three spellings, then Net::Server's, which wins where the two are the same. */
function confKeys(spec: OptionSpec): [string, ConfKey][] {
  const ours = [spec.name, separate(spec.name, "-"), separate(spec.name, "_")];
  return [
    ...ours.map((key): [string, ConfKey] => [key, { spec, isNetServer: false }]),
    ...spec.netServer.map((key): [string, ConfKey] => [key, { spec, isNetServer: true }]),
  ];
}
