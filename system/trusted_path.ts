/**
 * Who can change what a server does by name: whether others may replace a file of a path, or a folder
 * above it; and whether workers of another user can read a file where it is. Decides by owners and modes
 * alone; where these can't be read, nothing is known.
 *
 * @module
 */

import { isForeign } from "./private_folder.ts";
import type { Account } from "./proc.ts";

/** What stat(2) knows of a file. */
export interface FileStatus {
  /** The lower bits are permissions. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

/** Asks for a file, links followed; undefined: it is not there, or can't be seen. */
export type Look = (path: string) => FileStatus | undefined;

const STICKY = 0o1000;
const GROUP_WRITES = 0o020;
const OTHERS_WRITE = 0o002;

/**
 * The first of a folder and those above it in which all users of the machine, or the workers' one, can
 * replace what is there; undefined: in none that can be seen.
 *
 * @param folder Its path from the root.
 */
export function replaceableBy(folder: string, workers: Account, look: Look): string | undefined {
  return upwards(folder).find((each) => {
    const status = look(each);
    return status !== undefined && canReplaceIn(status, workers);
  });
}

function canReplaceIn({ mode, uid, gid }: FileStatus, workers: Account): boolean {
  // Root needs nobody to let it in.
  if (workers.uid !== undefined && workers.uid !== 0 && uid === workers.uid) return true;
  if ((mode & STICKY) !== 0) return false;
  if ((mode & OTHERS_WRITE) !== 0) return true;
  return (mode & GROUP_WRITES) !== 0 && isForeign(workers) && gid === workers.gid;
}

const READ = 4;
const ENTER = 1;

/** Whether an account can surely read a file where it is: by its mode, and those of all folders above. */
export function canRead(file: string, account: Account, look: Look): boolean {
  const folder = folderOf(file);
  return allows(look(file), account, READ) &&
    upwards(folder).every((each) => allows(look(each), account, ENTER));
}

/** The first class that fits decides, as for the system. */
function allows(status: FileStatus | undefined, account: Account, right: number): boolean {
  if (status === undefined) return false;
  const { mode, uid, gid } = status;
  if (uid === account.uid) return (mode >> 6 & right) !== 0;
  if (gid === account.gid) return (mode >> 3 & right) !== 0;
  return (mode & right) !== 0;
}

/** The folder that a file is in. */
export function folderOf(file: string): string {
  return file.slice(0, file.lastIndexOf("/")) || "/";
}

/** A folder and all above it. */
function upwards(folder: string): string[] {
  const folders = [folder];
  for (let each = folder; each !== "/";) folders.push(each = folderOf(each));
  return folders;
}
