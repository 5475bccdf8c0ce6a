/**
 * The log: one line an event, to stderr or to a file. A line that can't be written is lost and
 * counted, and never stops or delays the server (line_writer.ts). Not here: rotation (log_file.ts sees
 * it, and `reopen` follows it), and request bodies, which are never logged.
 *
 * @module
 */
import { BaseHandler, type LogRecord } from "@std/log/base-handler";
import { type LevelName, LogLevels } from "@std/log/levels";
import { Logger, LogRecord as Event } from "@std/log/logger";
import { refuseNamedPipe } from "../system/files.ts";
import { LineWriter, type Sink, stderrSink } from "./line_writer.ts";
import { isMoved, openLogFile } from "./log_file.ts";
import type { Level, LogFormat } from "../options/settings.ts";
import { messageOf } from "../system/errors.ts";
import type { LogLine } from "./status.ts";

/** What an event carries along with its message; an undefined field is left out. */
export type Fields = Readonly<Record<string, string | number | boolean | undefined>>;

/** Gets each line that is logged; must not throw. */
export type LineListener = (line: LogLine) => void;

/** Where events are logged. No method ever throws. */
export interface Log {
  /** The least urgent level that is logged. */
  readonly level: Level;
  /** Logs from another level on. */
  setLevel(level: Level): void;
  /** Passes each later line on to a listener too, until the function that it returns is called. */
  listen(listener: LineListener): () => void;
  /** Logs what helps to find a fault. */
  debug(message: string, fields?: Fields): void;
  /** Logs what an operator wants to know. */
  info(message: string, fields?: Fields): void;
  /** Logs what an operator should check. */
  warn(message: string, fields?: Fields): void;
  /** Logs what went wrong. */
  error(message: string, fields?: Fields): void;
  /** Whether the file's path leads to another file than the one that is open. */
  readonly moved: boolean;
  /**
   * Opens the file again under its name (after a rotation); keeps the old one if that fails.
   *
   * @returns Whether it was opened.
   */
  reopen(): boolean;
  /** Closes the file once the last lines are written, or after 1 s; what is logged later is lost. */
  close(): Promise<void>;
}

/** Options for {@linkcode openLog}. */
export interface LogOptions {
  /** The least urgent level that is logged. */
  level: Level;
  /** Path of the file to append to. @default {stderr} */
  file?: string;
  /** How a line is written. */
  format: LogFormat;
}

const LOGGER_NAME = "prefork";

const LEVEL_NAMES: Readonly<Record<Level, LevelName>> = {
  debug: "DEBUG",
  info: "INFO",
  warn: "WARN",
  error: "ERROR",
  critical: "CRITICAL",
};

/**
 * Opens a log.
 *
 * A line in text form is the time, the level, the message and the fields:
 * `2026-11-21T11:30:04.123Z info  worker is ready worker=3 pid=4711`. In JSON it is an object with
 * `time`, `level`, `message` and the fields, which can't replace those three.
 *
 * @param options Level, file and format.
 * @param open Opens the place to write to; called again by `reopen`.
 * @returns The log.
 * @throws {Error} If the file can't be opened.
 *
 * @example
 * ```ts
 * const log = openLog({ level: "info", format: "text" });
 * log.info("worker is ready", { worker: 3, pid: 4711 });
 * ```
 */
export function openLog(options: LogOptions, open?: () => Sink): Log {
  const place = open === undefined ? placeOf(options.file) : { open, isMoved: () => false };
  const lines = new LineHandler(options.format === "json" ? toJson : toText, place.open);
  const loggerOf = (level: Level) =>
    new Logger(LOGGER_NAME, LEVEL_NAMES[level], { handlers: [lines] });
  let { level } = options;
  let logger = loggerOf(level);
  return {
    get level() {
      return level;
    },
    setLevel(changed) {
      level = changed;
      logger = loggerOf(changed);
    },
    listen: (listener) => lines.listen(listener),
    debug: (message, fields) => void logger.debug(message, fields),
    info: (message, fields) => void logger.info(message, fields),
    warn: (message, fields) => void logger.warn(message, fields),
    error: (message, fields) => void logger.error(message, fields),
    get moved() {
      return place.isMoved();
    },
    reopen() {
      const trouble = lines.reopen();
      if (trouble === undefined) return true;
      logger.warn("cannot reopen the log file", { error: messageOf(trouble) });
      return false;
    },
    close: () => lines.close(),
  };
}

/** The same log, with fields that each of its lines has in addition. */
export function withFields(log: Log, fields: Fields): Log {
  if (Object.keys(fields).length === 0) return log;
  return {
    get level() {
      return log.level;
    },
    setLevel: (level) => log.setLevel(level),
    listen: (listener) => log.listen(listener),
    debug: (message, own) => log.debug(message, { ...own, ...fields }),
    info: (message, own) => log.info(message, { ...own, ...fields }),
    warn: (message, own) => log.warn(message, { ...own, ...fields }),
    error: (message, own) => log.error(message, { ...own, ...fields }),
    get moved() {
      return log.moved;
    },
    reopen: () => log.reopen(),
    close: () => log.close(),
  };
}

/** Gives lines to the writer. */
class LineHandler extends BaseHandler {
  readonly #writer: LineWriter;
  readonly #listeners = new Set<LineListener>();

  constructor(formatter: (record: LogRecord) => string, open: () => Sink) {
    super("NOTSET", { formatter });
    this.#writer = new LineWriter(open, (lost) => this.#lossLine(lost));
  }

  override handle(record: LogRecord): void {
    super.handle(record);
    if (this.#listeners.size === 0) return;
    const line = lineOf(record);
    for (const listener of this.#listeners) listener(line);
  }

  log(line: string): void {
    this.#writer.write(line);
  }

  listen(listener: LineListener): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** Returns why the file could not be opened. */
  reopen(): unknown {
    return this.#writer.reopen();
  }

  close(): Promise<void> {
    return this.#writer.close();
  }

  #lossLine(lost: number): string {
    const options = { level: LogLevels.WARN, loggerName: LOGGER_NAME };
    return this.format(new Event({ ...options, msg: "log lines were lost", args: [{ lost }] }));
  }
}

/** Where a log goes. */
interface Place {
  open(): Sink;
  isMoved(): boolean;
}

function placeOf(file: string | undefined): Place {
  if (file === undefined) return { open: stderrSink, isMoved: () => false };
  let current: Deno.FsFile | undefined;
  return {
    open() {
      try {
        refuseNamedPipe(file);
        return current = openLogFile(file);
      } catch (cause) {
        throw new Error(`Cannot open the log file "${file}": ${messageOf(cause)}`, { cause });
      }
    },
    isMoved: () => current !== undefined && isMoved(file, current),
  };
}

function toText(record: LogRecord): string {
  const time = record.datetime.toISOString();
  const fields = fieldsOf(record).map(([name, value]) => ` ${escape(name)}=${quote(value)}`);
  return `${time} ${levelOf(record).padEnd(5)} ${escape(record.msg)}${fields.join("")}\n`;
}

function toJson(record: LogRecord): string {
  return `${escapeSpecial(JSON.stringify(lineOf(record)))}\n`;
}

/** A record as an object; its fields can't replace the first three. */
function lineOf(record: LogRecord): LogLine {
  const message = cut(record.msg);
  const head = { time: record.datetime.toISOString(), level: levelOf(record), message };
  const fields = fieldsOf(record).map(([name, value]) => [
    name,
    typeof value === "string" ? cut(value) : value,
  ]);
  return { ...head, ...Object.fromEntries(fields), ...head };
}

function levelOf({ level }: LogRecord): Level {
  return LEVELS.get(level) ?? "info";
}

const LEVELS: ReadonlyMap<number, Level> = new Map([
  [LogLevels.DEBUG, "debug"],
  [LogLevels.INFO, "info"],
  [LogLevels.WARN, "warn"],
  [LogLevels.ERROR, "error"],
  [LogLevels.CRITICAL, "critical"],
]);

function fieldsOf(record: LogRecord): [string, unknown][] {
  const [fields] = record.args;
  if (typeof fields !== "object" || fields === null) return [];
  return Object.entries(fields).filter(([, value]) => value !== undefined);
}

/** A value as it is if it is one plain word, else in quotes. */
function quote(value: unknown): string {
  const text = String(value);
  return PLAIN_WORD.test(text) ? cut(text) : escapeSpecial(JSON.stringify(cut(text)));
}

const PLAIN_WORD = /^[^\s"=\\\p{C}]+$/u;

/** One line, of a length that a log stands. */
function escape(text: string): string {
  return escapeSpecial(cut(text));
}

/** What ends a line, moves a cursor or hides text. */
const SPECIAL = /[\p{C}\p{Zl}\p{Zp}]+/gu;
const IS_SPECIAL = /[\p{C}\p{Zl}\p{Zp}]/u;
/** Maximum characters of a message or a field, escapes included. */
const MAX_TEXT = 8192;
const ESCAPE_LENGTH = 6;
/** How each of the first characters is escaped. */
const ESCAPES = Array.from({ length: 256 }, (_, unit) => unit === 10 ? "\\n" : escapeUnit(unit));

function escapeUnit(unit: number): string {
  return `\\u${unit.toString(16).padStart(4, "0")}`;
}

/** Escapes whole runs: a call for each character would take ms a line. */
function escapeSpecial(text: string): string {
  return text.replace(SPECIAL, (run) => {
    let escaped = "";
    for (let at = 0; at < run.length; at++) {
      const unit = run.charCodeAt(at);
      escaped += ESCAPES[unit] ?? escapeUnit(unit);
    }
    return escaped;
  });
}

/** So much of a text as takes `MAX_TEXT` characters once it is escaped. */
function cut(text: string): string {
  const start = text.slice(0, MAX_TEXT);
  if (start.length * ESCAPE_LENGTH <= MAX_TEXT || !IS_SPECIAL.test(start)) {
    return start.length < text.length ? `${start}…` : text;
  }
  let room = MAX_TEXT;
  let at = 0;
  for (const char of start) {
    room -= IS_SPECIAL.test(char) ? char.length * ESCAPE_LENGTH : char.length;
    if (room < 0) return `${start.slice(0, at)}…`;
    at += char.length;
  }
  return at < text.length ? `${start.slice(0, at)}…` : text;
}
