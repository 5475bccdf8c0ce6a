/**
 * Who may change a file, or put another one in its place, and who may read it: decided by owners and modes
 * alone. What a server uses by name, and what a handler's modules are resolved by, is as good as code, so
 * it counts only where nobody else can write it.
 *
 * @module
 */

import { type Account, isForeign, ownUser } from "./account.ts";
import { folderOf } from "./files.ts";

/** What stat(2) knows of a file. */
export interface FileStatus {
  /** The lower bits are permissions. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

/** Asks for a file, links followed; undefined: it is not there, or can't be seen. */
export type Look = (path: string) => FileStatus | undefined;

const ROOT = 0;
const STICKY = 0o1000;
const GROUP_WRITES = 0o020;
const OTHERS_WRITE = 0o002;
const READ = 4;
const ENTER = 1;

// ---- where a server's own files are ----

/**
 * The first of a folder and those above it in which all users of the machine, or the workers' user, can
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
  // Root may write anywhere, whoever owns the folder.
  if (workers.uid !== undefined && workers.uid !== ROOT && uid === workers.uid) return true;
  if ((mode & STICKY) !== 0) return false;
  if ((mode & OTHERS_WRITE) !== 0) return true;
  return (mode & GROUP_WRITES) !== 0 && isForeign(workers) && gid === workers.gid;
}

/** Whether an account can surely read a file where it is: by its mode, and those of all folders above. */
export function canRead(file: string, account: Account, look: Look): boolean {
  return allows(look(file), account, READ) &&
    upwards(folderOf(file)).every((each) => allows(look(each), account, ENTER));
}

/** The first class that fits decides, as for the system. */
function allows(status: FileStatus | undefined, account: Account, right: number): boolean {
  if (status === undefined) return false;
  const { mode, uid, gid } = status;
  if (uid === account.uid) return (mode >> 6 & right) !== 0;
  if (gid === account.gid) return (mode >> 3 & right) !== 0;
  return (mode & right) !== 0;
}

/** A folder and all above it. */
function upwards(folder: string): string[] {
  const folders = [folder];
  for (let each = folder; each !== "/";) folders.push(each = folderOf(each));
  return folders;
}

// ---- the files of a handler ----

/** Users whose files are taken for the handler's own. */
export type Owners = ReadonlySet<number>;

/** Root, this process's user and the handler's owner: each of them can change the handler anyway. */
export function ownersOf(handler: string): Owners {
  const { uid } = Deno.lstatSync(handler);
  return new Set([ROOT, uid, ownUser()].filter((user) => typeof user === "number"));
}

/** Whether a folder is the owners': others can't put files of their own into it for them. */
export function isOwnFolder(folder: string, owners: Owners): boolean {
  const stat = Deno.statSync(folder);
  return isOwned(stat, owners) && !isShared(stat);
}

/** Whether a folder is for everybody's files, each safe from the others, as /tmp is. */
function isShared({ mode }: Deno.FileInfo): boolean {
  const bits = OTHERS_WRITE | STICKY;
  return ((mode ?? 0) & bits) === bits;
}

function isOwned({ uid }: Deno.FileInfo, owners: Owners): boolean {
  return uid === null || owners.has(uid);
}

/**
 * Makes sure that only the owners can change a handler's file, or put another one in its place.
 *
 * @throws {Error} naming the file, and what to change.
 */
export function requireOwn(file: string, owners: Owners): void {
  const link = Deno.lstatSync(file);
  requireOwned(file, link, owners);
  requireFolder(file, file, owners);
  if (!link.isSymlink) return requireUnshared(file, file, link);
  const target = Deno.realPathSync(file);
  const stat = Deno.statSync(target);
  requireOwned(file, stat, owners);
  requireUnshared(file, target, stat);
  requireFolder(file, target, owners);
}

function requireFolder(file: string, path: string, owners: Owners): void {
  const folder = folderOf(path);
  const stat = Deno.statSync(folder);
  // In a shared folder nobody can replace the files of another user.
  if (isShared(stat)) return;
  requireOwned(file, stat, owners);
  requireUnshared(file, folder, stat);
}

function requireOwned(file: string, stat: Deno.FileInfo, owners: Owners): void {
  if (isOwned(stat, owners)) return;
  throw new Error(
    `Cannot use "${file}" for the handler: user ${stat.uid} can change it: the file and its folder ` +
      "must belong to root, the server's user or the handler's owner",
  );
}

function requireUnshared(file: string, path: string, stat: Deno.FileInfo): void {
  const mode = stat.mode ?? 0;
  // Many systems give each user a group of its own, with the user's number.
  const isOwnGroup = stat.gid === ROOT || stat.gid === stat.uid;
  if ((mode & OTHERS_WRITE) === 0 && ((mode & GROUP_WRITES) === 0 || isOwnGroup)) return;
  throw new Error(
    `Cannot use "${file}" for the handler: other users can write "${path}": ` +
      `its mode is ${(mode & 0o7777).toString(8)}, try chmod go-w`,
  );
}
