/**
 * The log: one line an event, to stderr or to a file. A line that can't be written is lost and
 * counted, and never stops the server. Not here: rotation (send USR1 and `reopen` follows it), and
 * request bodies, which are never logged.
 *
 * @module
 */
import { BaseHandler, type LogRecord } from "@std/log/base-handler";
import { type LevelName, LogLevels } from "@std/log/levels";
import { Logger, LogRecord as Event } from "@std/log/logger";

/** How urgent an event must be to be logged. `critical` silences the server's own events. */
export type Level = "debug" | "info" | "warn" | "error" | "critical";

/** How a line is written: `key=value` pairs, or a JSON object. */
export type LogFormat = "text" | "json";

/** What an event carries beside its message; an undefined field is left out. */
export type Fields = Readonly<Record<string, string | number | boolean | undefined>>;

/** Where events are logged. No method ever throws. */
export interface Log {
  /** The least urgent level that is logged. */
  readonly level: Level;
  /** Logs what only somebody who looks for a fault wants to know. */
  debug(message: string, fields?: Fields): void;
  /** Logs what an operator wants to know. */
  info(message: string, fields?: Fields): void;
  /** Logs what an operator should look at. */
  warn(message: string, fields?: Fields): void;
  /** Logs what went wrong. */
  error(message: string, fields?: Fields): void;
  /** Opens the file anew under its name (after a rotation); keeps the old one if that fails. */
  reopen(): void;
  /** Closes the file; what is logged later is lost. */
  close(): void;
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

/** Where bytes go: a file, stderr, or a test's own. */
export interface Sink {
  /** Writes the bytes or the first of them, and returns how many; throws if it can't. */
  writeSync(bytes: Uint8Array): number;
  /** Closes it. */
  close(): void;
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
export function openLog(options: LogOptions, open: () => Sink = opener(options.file)): Log {
  const lines = new LineHandler(options.format === "json" ? toJson : toText, open);
  const logger = new Logger(LOGGER_NAME, LEVEL_NAMES[options.level], { handlers: [lines] });
  return {
    level: options.level,
    debug: (message, fields) => void logger.debug(message, fields),
    info: (message, fields) => void logger.info(message, fields),
    warn: (message, fields) => void logger.warn(message, fields),
    error: (message, fields) => void logger.error(message, fields),
    reopen() {
      const trouble = lines.reopen();
      if (trouble !== undefined) logger.warn("cannot reopen the log file", { error: trouble });
    },
    close: () => lines.close(),
  };
}

/** Writes lines, and keeps count of those it can't write. */
class LineHandler extends BaseHandler {
  readonly #open: () => Sink;
  #sink: Sink | undefined;
  #lost = 0;
  /** Whether the last write stopped in the middle of a line. */
  #isTorn = false;

  constructor(formatter: (record: LogRecord) => string, open: () => Sink) {
    super("NOTSET", { formatter });
    this.#open = open;
    this.#sink = open();
  }

  log(line: string): void {
    if (this.#lost > 0 && this.#write(this.#lossLine())) this.#lost = 0;
    // after a failure the line is not tried, so that it never comes before the word of the loss
    if (this.#lost > 0 || !this.#write(line)) this.#lost++;
  }

  /** Returns why the file could not be opened. */
  reopen(): string | undefined {
    try {
      const sink = this.#open();
      this.close();
      this.#sink = sink;
      this.#isTorn = false;
    } catch (error) {
      return messageOf(error);
    }
  }

  close(): void {
    const sink = this.#sink;
    this.#sink = undefined;
    try {
      sink?.close();
    } catch {
      // closed by somebody else: what matters is that it is closed
    }
  }

  #lossLine(): string {
    const options = { level: LogLevels.WARN, loggerName: LOGGER_NAME };
    const args = [{ lost: this.#lost }];
    return this.format(new Event({ ...options, msg: "log lines were lost", args }));
  }

  #write(line: string): boolean {
    let bytes = new TextEncoder().encode(this.#isTorn ? `\n${line}` : line);
    try {
      while (bytes.length > 0) {
        const written = this.#sink?.writeSync(bytes) ?? 0;
        if (written === 0) return false;
        bytes = bytes.subarray(written);
        this.#isTorn = bytes.length > 0;
      }
      return true;
    } catch {
      return false;
    }
  }
}

function opener(file: string | undefined): () => Sink {
  if (file === undefined) return () => ({ writeSync: (b) => Deno.stderr.writeSync(b), close() {} });
  return () => {
    try {
      return Deno.openSync(file, { append: true, create: true });
    } catch (cause) {
      throw new Error(`Cannot open the log file "${file}": ${messageOf(cause)}`, { cause });
    }
  };
}

function toText(record: LogRecord): string {
  const time = record.datetime.toISOString();
  const fields = fieldsOf(record).map(([name, value]) => ` ${escape(name)}=${quote(value)}`);
  return `${time} ${levelOf(record).padEnd(5)} ${escape(record.msg)}${fields.join("")}\n`;
}

function toJson(record: LogRecord): string {
  const { msg: message } = record;
  const head = { time: record.datetime.toISOString(), level: levelOf(record), message };
  return `${
    escape(JSON.stringify({ ...head, ...Object.fromEntries(fieldsOf(record)), ...head }))
  }\n`;
}

function levelOf(record: LogRecord): string {
  return record.levelName.toLowerCase();
}

function fieldsOf(record: LogRecord): [string, unknown][] {
  const [fields] = record.args;
  if (typeof fields !== "object" || fields === null) return [];
  return Object.entries(fields).filter(([, value]) => value !== undefined);
}

/** A value as it is if it is one plain word, else in quotes. */
function quote(value: unknown): string {
  const text = String(value);
  return /^[^\s"=\\\p{C}]+$/u.test(text) ? text : escape(JSON.stringify(text));
}

/** Leaves nothing that ends a line, moves a cursor or hides text. */
function escape(text: string): string {
  return text.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (char) => {
    if (char === "\n") return "\\n";
    const units = Array.from({ length: char.length }, (_, i) => char.charCodeAt(i));
    return units.map((unit) => `\\u${unit.toString(16).padStart(4, "0")}`).join("");
  });
}

/** What an error says, never its stack; anything else that was thrown, as text. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
