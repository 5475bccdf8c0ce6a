/**
 * The file that holds the number of the main process. A lock on the file shows that this process is running:
 * the system frees the lock when the process ends, while its number may soon be another process's.
 *
 * @module
 */

import { messageOf } from "./errors.ts";
import { isSameFile, tryLock, typeOf } from "./files.ts";

/** A pid file that this process holds. */
export interface PidFile {
  /** Removes the file, if it still is this process's. */
  release(): void;
}

/** Maximum bytes that are read of a pid file: a number has fewer. */
const MAX_BYTES = 64;

/**
 * Writes this process's number into a file, and keeps the file locked.
 *
 * @param isAlive whether a process of a number is running; asked only where files can't be locked.
 * @param warn hears of a stale file that is overwritten.
 * @throws {Error} when another process holds the file, when it is not a pid file, or when it can't be
 * written.
 */
export function claimPidFile(
  path: string,
  isAlive: (pid: number) => boolean,
  warn: (message: string) => void,
): PidFile {
  const file = openLocked(path, isAlive);
  try {
    const before = read(file);
    requireNumber(path, before);
    if (before !== "") warn(`Overwriting the stale pid file "${path}"`);
    file.truncateSync(0);
    file.seekSync(0, Deno.SeekMode.Start);
    file.writeSync(new TextEncoder().encode(`${Deno.pid}\n`));
  } catch (error) {
    file.close();
    throw error;
  }
  return { release: () => release(path, file) };
}

/** Opens the file, or makes it, and locks it. */
function openLocked(path: string, isAlive: (pid: number) => boolean): Deno.FsFile {
  for (;;) {
    const file = open(path);
    if (file === undefined) continue;
    try {
      requireUnheld(path, file, isAlive);
      // Its last holder may have removed it a moment ago.
      if (isAt(path, file)) return file;
      file.close();
    } catch (error) {
      file.close();
      throw error;
    }
  }
}

/** Opens without following a link; undefined: another process made, removed or replaced the file meanwhile. */
function open(path: string): Deno.FsFile | undefined {
  const found = look(path);
  if (found !== undefined && !found.isFile) {
    throw new Error(
      `Cannot use the pid file "${path}": it must be a file: it is a ${typeOf(found)}`,
    );
  }
  try {
    const file = Deno.openSync(path, { read: true, write: true, createNew: found === undefined });
    if (found === undefined || isSameFile(found, file.statSync())) return file;
    file.close();
  } catch (error) {
    const { AlreadyExists, NotFound } = Deno.errors;
    const isLate = found === undefined ? error instanceof AlreadyExists : error instanceof NotFound;
    if (!isLate) throw new Error(`Cannot write the pid file "${path}": ${messageOf(error)}`);
  }
}

function requireUnheld(path: string, file: Deno.FsFile, isAlive: (pid: number) => boolean): void {
  const isLocked = tryLock(file);
  if (isLocked === true) return;
  const holder = Number(read(file));
  const isKnown = Number.isInteger(holder) && holder > 0;
  if (isLocked === undefined && !(isKnown && holder !== Deno.pid && isAlive(holder))) return;
  const name = isKnown ? `process ${holder}` : "another process";
  throw new Error(
    `Cannot use the pid file "${path}": it is held by ${name}, which is still running`,
  );
}

/** A file that holds anything else is not a pid file: its path was named by mistake. */
function requireNumber(path: string, text: string): void {
  if (/^\s*\d*\s*$/.test(text)) return;
  throw new Error(
    `Cannot use the pid file "${path}": it must be empty or hold a number: ` +
      `current text is ${JSON.stringify(text)}`,
  );
}

function release(path: string, file: Deno.FsFile): void {
  try {
    if (isAt(path, file) && read(file).trim() === String(Deno.pid)) Deno.removeSync(path);
  } catch {
    // The file is gone, or its folder may not be written any more: nothing depends on it now.
  }
  file.close();
}

/** Whether a path still leads to a file that is open. */
function isAt(path: string, file: Deno.FsFile): boolean {
  const found = look(path);
  return found !== undefined && isSameFile(found, file.statSync());
}

function look(path: string): Deno.FileInfo | undefined {
  try {
    return Deno.lstatSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw new Error(`Cannot read the pid file "${path}": ${messageOf(error)}`);
  }
}

/** The text at the start of a file. */
function read(file: Deno.FsFile): string {
  const bytes = new Uint8Array(MAX_BYTES);
  file.seekSync(0, Deno.SeekMode.Start);
  const size = file.readSync(bytes) ?? 0;
  return new TextDecoder().decode(bytes.subarray(0, size));
}
