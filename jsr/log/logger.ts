/**
 * `Logger` and `LogRecord` of `@std/log`. Messages are strings here; the original takes any value,
 * and functions that make one.
 *
 * @module
 */
import type { BaseHandler } from "./base_handler.ts";
import {
  getLevelByName,
  getLevelName,
  type LevelName,
  type LogLevel,
  LogLevels,
} from "./levels.ts";

export type { LevelName, LogLevel };

/** Options for {@linkcode LogRecord}. */
export interface LogRecordOptions {
  /** The message. */
  msg: string;
  /** What was given beside the message. */
  args: unknown[];
  /** The level. */
  level: LogLevel;
  /** Name of the logger. */
  loggerName: string;
}

/** One event. */
export class LogRecord {
  /** The message. */
  readonly msg: string;
  /** Number of the level. */
  readonly level: number;
  /** Name of the level. */
  readonly levelName: string;
  /** Name of the logger. */
  readonly loggerName: string;

  readonly #args: readonly unknown[];
  readonly #time = Date.now();

  /**
   * @param options What the record holds; its time is now.
   * @throws {Error} If there is no such level.
   */
  constructor(options: LogRecordOptions) {
    this.msg = options.msg;
    this.level = options.level;
    this.levelName = getLevelName(options.level);
    this.loggerName = options.loggerName;
    this.#args = [...options.args];
  }

  /** What was given beside the message: a copy. */
  get args(): unknown[] {
    return [...this.#args];
  }

  /** When it happened: a copy. */
  get datetime(): Date {
    return new Date(this.#time);
  }
}

/** Options for {@linkcode Logger}. */
export interface LoggerOptions {
  /** Who gets the records. @default {[]} */
  handlers?: BaseHandler[];
}

/** Makes a record of each message at or above its level, and gives it to its handlers. */
export class Logger {
  /** Who gets the records. */
  handlers: BaseHandler[];

  readonly #name: string;
  #level: LogLevel;

  /**
   * @param loggerName Name that the records carry.
   * @param levelName The lowest level that is logged.
   * @param options The handlers.
   * @throws {Error} If there is no level of that name.
   */
  constructor(loggerName: string, levelName: LevelName, options: LoggerOptions = {}) {
    this.#name = loggerName;
    this.#level = getLevelByName(levelName);
    this.handlers = options.handlers ?? [];
  }

  /** The lowest level that is logged. */
  get level(): LogLevel {
    return this.#level;
  }

  /** Name of the lowest level that is logged. */
  get levelName(): LevelName {
    return getLevelName(this.#level);
  }

  /** Name that the records carry. */
  get loggerName(): string {
    return this.#name;
  }

  /**
   * Logs at level DEBUG.
   *
   * @param msg The message.
   * @param args What the record carries beside it.
   * @returns The message.
   */
  debug(msg: string, ...args: unknown[]): string {
    return this.#log(LogLevels.DEBUG, msg, args);
  }

  /**
   * Logs at level INFO.
   *
   * @param msg The message.
   * @param args What the record carries beside it.
   * @returns The message.
   */
  info(msg: string, ...args: unknown[]): string {
    return this.#log(LogLevels.INFO, msg, args);
  }

  /**
   * Logs at level WARN.
   *
   * @param msg The message.
   * @param args What the record carries beside it.
   * @returns The message.
   */
  warn(msg: string, ...args: unknown[]): string {
    return this.#log(LogLevels.WARN, msg, args);
  }

  /**
   * Logs at level ERROR.
   *
   * @param msg The message.
   * @param args What the record carries beside it.
   * @returns The message.
   */
  error(msg: string, ...args: unknown[]): string {
    return this.#log(LogLevels.ERROR, msg, args);
  }

  /**
   * Logs at level CRITICAL.
   *
   * @param msg The message.
   * @param args What the record carries beside it.
   * @returns The message.
   */
  critical(msg: string, ...args: unknown[]): string {
    return this.#log(LogLevels.CRITICAL, msg, args);
  }

  #log(level: LogLevel, msg: string, args: unknown[]): string {
    if (level < this.#level) return msg;
    const record = new LogRecord({ msg, args, level, loggerName: this.#name });
    for (const handler of this.handlers) handler.handle(record);
    return msg;
  }
}
