/**
 * Options that a conf file sets: a line `key value` each, under our names or Net::Server's. Lines that follow
 * `[service NAME]` are of that service, those that follow `[schedule NAME]` are of that schedule. Not here: reading the file, which the caller brings.
 *
 * @module
 */
import { messageOf } from "../system/errors.ts";
import { type Entry, IN_TEXT, Rank, UsageError } from "./entries.ts";
import { unknownOption } from "./errors.ts";
import { refusalOf } from "./net_server.ts";
import { scheduleOption, type ScheduleSection } from "./schedule_sections.ts";
import { belongsToServer, faultOfName, SERVICE_OPTIONS } from "./services.ts";
import { faultOfScheduleName } from "./stored_checks.ts";
import { type OptionSpec, separate } from "./table.ts";

/** A key of the conf file. */
interface ConfKey {
  readonly spec: OptionSpec;
  readonly isNetServer: boolean;
}

const CONF_KEYS: ReadonlyMap<string, ConfKey> = new Map(IN_TEXT.flatMap(confKeys));

/** Options that a section of a service may have, by their names. */
const IN_SERVICE: readonly string[] = IN_TEXT.filter(isOfService).map(({ name }) => name);

/** `[service NAME]` or `[schedule NAME]`: the lines after it belong to that service or schedule. */
const SECTION_LINE = /^\[\s*(service|schedule)\s+([^\]]*?)\s*\]$/;

/** `key value`, `key = value` or `key: value`; in `host ::1` the colons belong to the value. */
const CONF_LINE = /^(?:--)?([\w-]+)(?:\s*=\s*|:\s*|\s+:\s+|\s+|$)(.*)$/;

/** What a conf file sets. */
export interface Conf {
  entries: Entry[];
  /** Services that have a section, and what an error names that by. */
  services: [name: string, subject: string][];
  schedules: ScheduleSection[];
}

/**
 * Reads a conf file.
 *
 * @param path Its path, for the errors.
 * @param readFile Returns the text of a file; throws if it can't be read.
 * @returns What it sets.
 * @throws {UsageError} If it can't be read, or a line can't be used.
 */
export function readConf(path: string, readFile: (path: string) => string): Conf {
  const reader = new Reader();
  const lines = readText(path, readFile).split(/\r?\n/);
  for (const [i, line] of lines.entries()) reader.read(line, `${path}:${i + 1}`);
  return reader.found;
}

function readText(path: string, readFile: (path: string) => string): string {
  try {
    return readFile(path);
  } catch (error) {
    throw new UsageError(`Cannot read the conf file "${path}": ${messageOf(error)}`);
  }
}

/** Reads lines, and knows which section they stand in. */
class Reader {
  readonly #entries = new Map<string, Entry>();
  readonly #services = new Map<string, string>();
  readonly #schedules = new Map<string, ScheduleSection>();
  /** The service whose section this is; undefined: none's. */
  #service: string | undefined;
  /** The schedule whose section this is; undefined: none's. */
  #schedule: ScheduleSection | undefined;

  get found(): Conf {
    return {
      entries: [...this.#entries.values()],
      services: [...this.#services],
      schedules: [...this.#schedules.values()],
    };
  }

  /** Reads one line; a `#` that is part of a value is written `\#`. */
  read(line: string, place: string): void {
    const text = line.replace(/(?<!\\)#.*$/, "").replaceAll("\\#", "#").trim();
    if (text === "") return;
    if (text.startsWith("[")) return this.#enter(text, place);
    const [, key, value = ""] = CONF_LINE.exec(text) ?? [];
    if (key === undefined) {
      throw new UsageError(
        `Cannot read ${place}: a line must be "key value": current line is "${text}"`,
      );
    }
    this.#add(key, value, place);
  }

  #enter(text: string, place: string): void {
    const [, kind, name] = SECTION_LINE.exec(text) ?? [];
    if (name === undefined) {
      throw new UsageError(
        `Cannot read ${place}: a section must be "[service NAME]" or "[schedule NAME]": ` +
          `current line is "${text}"`,
      );
    }
    const isService = kind === "service";
    const fault = isService ? faultOfName(name) : faultOfScheduleName(name);
    if (fault !== undefined) throw new UsageError(`Cannot read ${place}: ${fault}`);
    const subject = `"${text}" in ${place}`;
    const first = isService ? this.#services.get(name) : this.#schedules.get(name)?.subject;
    if (first !== undefined) throw givenTwice(subject, first);
    this.#service = isService ? name : undefined;
    this.#schedule = isService ? undefined : { name, subject, lines: [] };
    if (isService) this.#services.set(name, subject);
    if (this.#schedule !== undefined) this.#schedules.set(name, this.#schedule);
  }

  #addToSchedule(section: ScheduleSection, key: string, text: string, place: string): void {
    const option = scheduleOption(key, place);
    if (option instanceof Error) throw new UsageError(option.message);
    const subject = `"${key}" in ${place}`;
    if (text === "") throw new UsageError(`Cannot start: ${subject} needs a value`);
    const first = section.lines.find((line) => line.option === option);
    if (first !== undefined) throw givenTwice(subject, first.subject);
    section.lines.push({ option, text, subject, source: `file ${place}` });
  }

  #add(key: string, value: string, place: string): void {
    if (this.#schedule !== undefined) {
      return this.#addToSchedule(this.#schedule, key, value, place);
    }
    const { spec, isNetServer: inSeconds } = findKey(key, place);
    const subject = `"${key}" in ${place}`;
    const service = this.#service;
    if (service !== undefined && !isOfService(spec)) {
      throw new UsageError(`Cannot start: ${belongsToServer(subject, service, IN_SERVICE)}`);
    }
    if (value === "") throw new UsageError(`Cannot start: ${subject} needs a value`);
    const id = `${service ?? ""}.${spec.name}`;
    const first = this.#entries.get(id);
    if (first === undefined) {
      const source = `file ${place}`;
      const rank = Rank.file;
      const entry = { spec, texts: [value], source, subject, rank, inSeconds };
      this.#entries.set(id, service === undefined ? entry : { ...entry, service });
    } else if (spec.kind.isList) {
      first.texts.push(value);
    } else {
      throw givenTwice(subject, first.subject);
    }
  }
}

function givenTwice(subject: string, first: string): UsageError {
  return new UsageError(`Cannot start: ${subject} is given twice: first is ${first}`);
}

/** Whether a service may have an option; a port and a host make an endpoint of its own. */
function isOfService({ name, permission }: OptionSpec): boolean {
  return permission !== undefined || ["port", "host"].includes(name) ||
    SERVICE_OPTIONS.includes(name);
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
