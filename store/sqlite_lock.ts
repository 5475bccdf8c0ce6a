/**
 * One server holds a file of jobs: a lock on a file beside it, in which the holder's number stands.
 *
 * @module
 */

import { tryLock } from "../system/files.ts";
import { realPath } from "./sqlite_place.ts";

/** A lock that is held. */
export interface StoreLock {
  release(): void;
}

/** Bytes of a number at most. */
const MAX_BYTES = 32;

/** The path of the lock of a file of jobs. */
export function lockPath(path: string): string {
  return `${path}-lock`;
}

/**
 * Takes hold of a file of jobs, by whatever link it is reached.
 *
 * @throws {Error} when another process has it, or the lock can't be made.
 */
export function lockStore(path: string): StoreLock {
  const file = Deno.openSync(lockPath(realPath(path)), {
    read: true,
    write: true,
    create: true,
    mode: 0o600,
  });
  try {
    // Undefined: files can't be locked here, and SQLite's own locks must do.
    if (tryLock(file) === false) throw new Error(`${holderOf(file)} has "${path}"`);
    file.truncateSync(0);
    file.writeSync(new TextEncoder().encode(`${Deno.pid}\n`));
  } catch (error) {
    file.close();
    throw error;
  }
  // The file stays: to remove it would let two hold locks of the same name.
  return { release: () => file.close() };
}

/** Who has the lock of a file. */
function holderOf(file: Deno.FsFile): string {
  const bytes = new Uint8Array(MAX_BYTES);
  const size = file.readSync(bytes) ?? 0;
  const text = new TextDecoder().decode(bytes.subarray(0, size)).trim();
  if (!/^\d+$/.test(text)) return "Another server";
  // A thread that does not answer can't be ended: it lets go once it moves again, or with the process.
  const isOwn = Number(text) === Deno.pid;
  return isOwn
    ? `A store of this very process ${text}, which may not have ended yet,`
    : `Another server (process ${text})`;
}
