/**
 * The levels of `@std/log`: names, numbers, and the way from one to the other.
 *
 * @module
 */

/** Number of each level; a higher one is more urgent. */
export const LogLevels = {
  NOTSET: 0,
  DEBUG: 10,
  INFO: 20,
  WARN: 30,
  ERROR: 40,
  CRITICAL: 50,
} as const;

/** Name of a level. */
export type LevelName = keyof typeof LogLevels;

/** Number of a level. */
export type LogLevel = typeof LogLevels[LevelName];

const NAMES: ReadonlyMap<LogLevel, LevelName> = new Map([
  [LogLevels.NOTSET, "NOTSET"],
  [LogLevels.DEBUG, "DEBUG"],
  [LogLevels.INFO, "INFO"],
  [LogLevels.WARN, "WARN"],
  [LogLevels.ERROR, "ERROR"],
  [LogLevels.CRITICAL, "CRITICAL"],
]);

/**
 * Returns the number of a level.
 *
 * @param name The level's name.
 * @returns Its number.
 * @throws {Error} If there is no level of that name.
 */
export function getLevelByName(name: LevelName): LogLevel {
  const level = LogLevels[name];
  if (level === undefined) throw new Error(`Cannot get log level: no level named ${name}`);
  return level;
}

/**
 * Returns the name of a level.
 *
 * @param level The level's number.
 * @returns Its name.
 * @throws {Error} If there is no level of that number.
 */
export function getLevelName(level: LogLevel): LevelName {
  const name = NAMES.get(level);
  if (name === undefined) throw new Error(`Cannot get log level: no name for level: ${level}`);
  return name;
}
