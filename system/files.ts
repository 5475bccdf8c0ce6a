/**
 * What is asked of files everywhere: whether they may be read, what they hold, what lies at a path, and
 * whether two names are one file. Not here: whose files they are, which is file_rights.ts.
 *
 * @module
 */

import { messageOf } from "./errors.ts";

/** The path of a file: URL. */
export function filePath(url: URL): string {
  return decodeURIComponent(url.pathname);
}

/** The folder that a file is in, by its path. */
export function folderOf(path: string): string {
  return path.slice(0, path.lastIndexOf("/")) || "/";
}

/** Whether this process may read a file: asked first, or Deno would ask the user. */
export function mayRead(path: string): boolean {
  return Deno.permissions.querySync({ name: "read", path }).state === "granted";
}

/** The text of a file; undefined if it is not there, or can't be read. */
export function readText(path: string | URL): string | undefined {
  try {
    return Deno.readTextFileSync(path);
  } catch {
    return undefined;
  }
}

/**
 * The text of a file that must be there.
 *
 * @param what Names the file in the error: `the client list "clients.txt"`.
 * @throws {Error} when it can't be read; its cause is what the system says.
 */
export function requireText(path: string | URL, what: string): string {
  try {
    return Deno.readTextFileSync(path);
  } catch (error) {
    throw new Error(`Cannot read ${what}: ${messageOf(error)}`, { cause: error });
  }
}

/** A word for the type of what was found. */
export function typeOf(found: Deno.FileInfo): string {
  if (found.isSymlink) return "symbolic link";
  if (found.isDirectory) return "folder";
  if (found.isFifo) return "named pipe";
  if (found.isSocket) return "socket";
  return found.isFile ? "file" : "device";
}

/** Whether a path leads to a file. */
export function isFile(path: string | URL): boolean {
  return ask(() => Deno.statSync(path).isFile);
}

/** Whether a path leads to a folder. */
export function isFolder(path: string | URL): boolean {
  return ask(() => Deno.statSync(path).isDirectory);
}

/** Whether a path is a symbolic link. */
export function isLink(path: string): boolean {
  return ask(() => Deno.lstatSync(path).isSymlink);
}

/** Whether a path leads to a named pipe. */
export function isNamedPipe(path: string): boolean {
  return ask(() => Deno.lstatSync(Deno.realPathSync(path)).isFifo === true);
}

/** False also where the system does not answer. */
function ask(question: () => boolean): boolean {
  try {
    return question();
  } catch {
    return false;
  }
}

/**
 * Refuses a named pipe: to open it is to wait until another process opens its other end. What a shell
 * makes of `<(command)`, and `/dev/stderr`, are pipes that have both ends, and no name.
 *
 * @throws {Error} when it is one.
 */
export function refuseNamedPipe(path: string): void {
  if (!mayRead(path) || !isNamedPipe(path)) return;
  throw new Error("it is a named pipe, and opening it would wait for its other end");
}

/** Whether two names, or a name and an open file, are one file. */
export function isSameFile(one: Identity, other: Identity): boolean {
  return one.dev === other.dev && one.ino === other.ino;
}

/** What tells a file from all others that exist. */
type Identity = Pick<Deno.FileInfo, "dev" | "ino">;

/** Locks an open file for this process alone: whether it did, undefined where files can't be locked. */
export function tryLock(file: Deno.FsFile): boolean | undefined {
  try {
    return file.tryLockSync(true);
  } catch {
    return undefined;
  }
}
