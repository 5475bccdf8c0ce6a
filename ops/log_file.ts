/**
 * The file of the log: opened so that nobody who may write to its folder can lead this process to another
 * file, and followed when its path leads to a new one, as after a rotation. Not here: what is written.
 *
 * @module
 */

import { ownUser } from "../system/account.ts";
import { isSameFile, mayRead } from "../system/files.ts";

/**
 * Opens a file to append to, and makes it where there is none. What its path leads to is checked first,
 * as far as this process may read it: a link counts only if this user or root has made it.
 *
 * @throws {Error} when it can't be opened, or is not what may be written to.
 */
export function openLogFile(path: string): Deno.FsFile {
  if (!mayRead(path)) return Deno.openSync(path, { append: true, create: true });
  const entry = look(() => Deno.lstatSync(path));
  // An exclusive creation follows no link.
  if (entry === undefined) return Deno.openSync(path, { append: true, createNew: true });
  refuseForeign(entry, "link", entry.isSymlink);
  const target = entry.isSymlink ? look(() => Deno.statSync(path)) : entry;
  if (target === undefined) return Deno.openSync(path, { append: true, create: true });
  refuseForeign(target, "hard link", target.isFile && (target.nlink ?? 1) > 1);
  const file = Deno.openSync(path, { append: true });
  if (isSameFile(file.statSync(), target)) return file;
  file.close();
  throw new Error("it was replaced while it was opened");
}

/**
 * Whether the path of an open file leads to another one by now, or to none. False for what is no plain
 * file, and where this process may not read the path.
 */
export function isMoved(path: string, file: Deno.FsFile): boolean {
  if (!mayRead(path)) return false;
  try {
    const open = file.statSync();
    if (!open.isFile) return false;
    const now = look(() => Deno.statSync(path));
    return now === undefined || !isSameFile(open, now);
  } catch {
    // Its folder may not be entered any more: the open file is the best there is.
    return false;
  }
}

function look(stat: () => Deno.FileInfo): Deno.FileInfo | undefined {
  try {
    return stat();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/** Another user's link would have this process write where that user may not. */
function refuseForeign({ uid }: Deno.FileInfo, what: string, applies: boolean): void {
  const own = ownUser();
  // Without the permission to ask, nothing is known of who made a file.
  if (!applies || uid === null || uid === 0 || own === undefined || uid === own) return;
  throw new Error(`it is a ${what} that belongs to user ${uid}`);
}
