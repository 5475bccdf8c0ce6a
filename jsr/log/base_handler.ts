/**
 * `BaseHandler` of `@std/log`: what a logger gives its records to.
 *
 * @module
 */
import { getLevelByName, getLevelName, type LevelName, type LogLevel } from "./levels.ts";
import type { LogRecord } from "./logger.ts";

export type { LevelName, LogLevel, LogRecord };

/** Makes the text of a record. */
export type FormatterFunction = (logRecord: LogRecord) => string;

/** Options for {@linkcode BaseHandler}. */
export interface BaseHandlerOptions {
  /** Makes the text of each record. @default {level name, space, message} */
  formatter?: FormatterFunction;
}

/** Drops the records below its level, formats the others and gives them to `log`. */
export abstract class BaseHandler {
  #level: LogLevel;

  /** Makes the text of each record. */
  formatter: FormatterFunction;

  /**
   * @param levelName The lowest level that is logged.
   * @param options The formatter.
   * @throws {Error} If there is no level of that name.
   */
  constructor(levelName: LevelName, options: BaseHandlerOptions = {}) {
    this.#level = getLevelByName(levelName);
    this.formatter = options.formatter ?? (({ levelName, msg }) => `${levelName} ${msg}`);
  }

  /** The lowest level that is logged. */
  get level(): LogLevel {
    return this.#level;
  }

  /** Sets the lowest level that is logged. */
  set level(level: LogLevel) {
    getLevelName(level);
    this.#level = level;
  }

  /** Name of the lowest level that is logged. */
  get levelName(): LevelName {
    return getLevelName(this.#level);
  }

  /** Sets the lowest level that is logged, by its name. */
  set levelName(levelName: LevelName) {
    this.#level = getLevelByName(levelName);
  }

  /**
   * Logs a record, unless it is below this handler's level.
   *
   * @param logRecord The record.
   */
  handle(logRecord: LogRecord): void {
    if (logRecord.level >= this.level) this.log(this.format(logRecord));
  }

  /**
   * Makes the text of a record.
   *
   * @param logRecord The record.
   * @returns Its text.
   */
  format(logRecord: LogRecord): string {
    return this.formatter(logRecord);
  }

  /**
   * Writes the text of a record.
   *
   * @param msg The text.
   */
  abstract log(msg: string): void;

  /** Called before the first record; does nothing unless overridden. */
  setup(): void {}

  /** Called after the last record; does nothing unless overridden. */
  destroy(): void {}

  /** Calls {@linkcode BaseHandler.destroy}. */
  [Symbol.dispose](): void {
    this.destroy();
  }
}
