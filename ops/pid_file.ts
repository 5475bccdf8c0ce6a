/**
 * The file that holds the number of the main process.
 *
 * @module
 */

import { messageOf } from "./log.ts";

/** A pid file that this process holds. */
export interface PidFile {
  /** Removes it, if it still is this process's. */
  release(): void;
}

/**
 * Writes this process's number into a file.
 *
 * @param isAlive whether a process of a number lives.
 * @param warn told of a stale file that is overwritten.
 * @throws {Error} when the file names another process that lives, or can't be written.
 */
export function claimPidFile(
  path: string,
  isAlive: (pid: number) => boolean,
  warn: (message: string) => void,
): PidFile {
  const before = read(path);
  const other = before === undefined ? NaN : Number(before.trim());
  const isOther = Number.isInteger(other) && other > 0 && other !== Deno.pid;
  if (isOther && lives(other, path, isAlive)) {
    throw new Error(`Cannot use the pid file "${path}": process ${other} lives and holds it`);
  }
  if (before !== undefined) warn(`Overwriting the stale pid file "${path}"`);
  try {
    Deno.writeTextFileSync(path, `${Deno.pid}\n`);
  } catch (error) {
    throw new Error(`Cannot write the pid file "${path}": ${messageOf(error)}`);
  }
  return { release: () => release(path) };
}

function lives(pid: number, path: string, isAlive: (pid: number) => boolean): boolean {
  try {
    return isAlive(pid);
  } catch (error) {
    throw new Error(
      `Cannot tell whether process ${pid} of the pid file "${path}" lives: ${messageOf(error)}`,
    );
  }
}

function release(path: string): void {
  if (read(path)?.trim() !== String(Deno.pid)) return;
  try {
    Deno.removeSync(path);
  } catch {
    // It is gone, or its folder may not be written any more: nothing depends on it now.
  }
}

function read(path: string): string | undefined {
  try {
    return Deno.readTextFileSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw new Error(`Cannot read the pid file "${path}": ${messageOf(error)}`);
  }
}
