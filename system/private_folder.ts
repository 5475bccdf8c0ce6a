/**
 * A server's own folder, for the socket that its workers connect to: how it is made, and how it is removed
 * when its server was killed. A lock on a file in it shows that a folder is in use: the system frees the
 * lock when the server ends, however that happens.
 *
 * Everything in it stays this user's, also where workers run as another user: they may enter and read, so
 * nothing that this process does there by name can be led to another place.
 *
 * @module
 */

import { type Account, isForeign } from "./account.ts";
import { folderOf, mayRead, tryLock } from "./files.ts";

const PREFIX = "zmq-prefork-";
/** How Deno names temporary folders: the prefix and a random number. */
const NAME = /^zmq-prefork-[0-9a-f]{8,16}$/;
const LOCK = "lock";
/** A folder that earlier versions made for workers of another user. */
const SHARED = "workers";
/** All that a server puts there. */
const CONTENT: readonly string[] = [LOCK, SHARED, "backend", "libzmq", "trial", ".npmrc"];
/** What configures workers, numbered. */
const CONFIGURATION = /^config-\d+\.json$/;
/** What configures the workers of one service, numbered. */
const SUBFOLDER = /^service-\d+$/;
/** Owner: all; others: enter, but not list. */
const ENTER_ONLY = 0o711;

/** A folder that this process holds. Only this user can enter it, until it is opened. */
export class PrivateFolder {
  /** Its path. */
  readonly path: string;
  /** Undefined where files can't be locked. */
  readonly #lock: Deno.FsFile | undefined;
  readonly #workers: Account;

  /** @param workers Whom to let in later. */
  constructor(path: string, lock: Deno.FsFile | undefined, workers: Account) {
    this.path = path;
    this.#lock = lock;
    this.#workers = workers;
  }

  /** Lets workers of another user in, once all that they need is there; they can't change anything. */
  open(): void {
    if (isForeign(this.#workers)) Deno.chmodSync(this.path, ENTER_ONLY);
  }

  /**
   * Makes the folder and what is in it, the configurations of these names included, look new to programs
   * that remove old files from folders for temporary ones. They check each file, and the folder, but spare
   * sockets in use.
   */
  touch(names: readonly string[]): void {
    const now = new Date();
    for (const name of ["", ...[...CONTENT, ...names].map((name) => `/${name}`)]) {
      try {
        Deno.utimeSync(this.path + name, now, now);
      } catch {
        // Not all that a server may put there is there.
      }
    }
  }

  /** Removes the folder, with all that is in it. */
  remove(): void {
    try {
      Deno.removeSync(this.path, { recursive: true });
    } catch {
      // Another process has removed it: nothing is left to do.
    }
    this.forget();
  }

  /** Gives up a folder that another process has removed. */
  forget(): void {
    this.#lock?.close();
  }
}

/**
 * Makes a folder that only this user can enter, and removes those that servers of this user have left
 * behind, as far as this process may.
 *
 * @param workers Whom to let in later.
 * @throws {Error} when it can't be made, or files can't be given to that user.
 */
export function makePrivateFolder(workers: Account): PrivateFolder {
  const { path, lock } = claimFolder();
  const folder = new PrivateFolder(path, lock, workers);
  try {
    removeLeftovers(path);
    if (isForeign(workers)) tryToGive(`${path}/trial`, workers);
    return folder;
  } catch (error) {
    folder.remove();
    throw error;
  }
}

/**
 * Makes sure that a file can be given to the workers' user.
 *
 * @throws {Error} when it can't.
 */
function tryToGive(name: string, { uid, gid }: Account): void {
  Deno.openSync(name, { write: true, createNew: true }).close();
  try {
    Deno.chownSync(name, uid ?? null, gid ?? null);
  } catch (error) {
    if (!(error instanceof Deno.errors.PermissionDenied)) throw error;
    throw new Error('Cannot run workers as another "user" or "group": the server must be root');
  } finally {
    Deno.removeSync(name);
  }
}

// ---- a new folder and its lock ----

/** A new folder and its lock; undefined where files can't be locked. */
function claimFolder(): { path: string; lock: Deno.FsFile | undefined } {
  for (;;) {
    const path = makeFolder();
    const lock = claimLock(`${path}/${LOCK}`);
    if (lock !== "lost") return { path, lock };
  }
}

/** Deno makes it with mode 0700: nobody else can enter it. */
function makeFolder(): string {
  try {
    return Deno.makeTempDirSync({ prefix: PREFIX });
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable || !(error instanceof Error)) throw error;
    throw new Error(
      'Cannot make a private folder for the backend, see TMPDIR, or set "backend": ' +
        error.message,
    );
  }
}

/**
 * Makes and locks the file that shows that the folder is in use. "lost": another server took the folder
 * for a leftover before it was locked, and is removing it. Undefined where files can't be locked: without
 * a lock file no server removes the folder, ever.
 */
function claimLock(name: string): Deno.FsFile | undefined | "lost" {
  const file = Deno.openSync(name, { write: true, createNew: true, mode: 0o600 });
  const isLocked = tryLock(file);
  // If the file was removed before it was locked, the lock is on a file that has no name.
  if (isLocked && exists(name)) return file;
  file.close();
  if (isLocked !== undefined) return "lost";
  Deno.removeSync(name);
  return undefined;
}

/** Whether there is a file of this name; found out by making one, which needs no permission to read. */
function exists(name: string): boolean {
  try {
    Deno.openSync(name, { write: true, createNew: true }).close();
    return false;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    if (error instanceof Deno.errors.AlreadyExists) return true;
    throw error;
  }
}

// ---- what killed servers have left behind ----

/** A leftover does no harm, so nothing that goes wrong here matters. */
function removeLeftovers(own: string): void {
  const folder = folderOf(own);
  if (!mayClean(folder)) return;
  try {
    const { uid } = Deno.lstatSync(own);
    for (const { name, isDirectory } of Deno.readDirSync(folder)) {
      const path = `${folder}/${name}`;
      if (isDirectory && NAME.test(name) && path !== own) removeLeftover(path, uid);
    }
  } catch {
    // The folder for temporary files can be written, but not listed.
  }
}

/** Asked first, or Deno would ask the user. */
function mayClean(path: string): boolean {
  const { state } = Deno.permissions.querySync({ name: "write", path });
  return mayRead(path) && state === "granted";
}

/** Removes a folder if it is this user's and no process holds its lock. */
function removeLeftover(path: string, uid: number | null): void {
  try {
    const isOurs = (name: string) => Deno.lstatSync(name).uid === uid;
    const lockName = `${path}/${LOCK}`;
    // A folder without a lock was made a moment ago. To open anything but a plain file may take forever.
    if (!isOurs(path) || !isOurs(lockName) || !Deno.lstatSync(lockName).isFile) return;
    using lock = Deno.openSync(lockName, { write: true });
    if (lock.tryLockSync(true)) removeContent(path);
  } catch {
    // It is in use in a way not thought of here, or another server removes it too.
  }
}

/** The lock is removed last: until then no other server can take this for anything but a folder in use. */
function removeContent(path: string): void {
  const names = [...Deno.readDirSync(path)].map(({ name }) => name);
  const isFolder = (name: string) => name === SHARED || SUBFOLDER.test(name);
  const isOurs = (name: string) =>
    CONTENT.includes(name) || CONFIGURATION.test(name) || isFolder(name);
  if (!names.every(isOurs)) return;
  for (const name of names) {
    if (name !== LOCK) Deno.removeSync(`${path}/${name}`, { recursive: isFolder(name) });
  }
  Deno.removeSync(`${path}/${LOCK}`);
  Deno.removeSync(path);
}
