/**
 * The folder of a server's own, for the socket that its workers connect to: how it is made, and what
 * becomes of it when the server is killed. A lock on a file in it tells a folder in use from one that
 * was left behind: the system frees the lock when its holder dies, however that comes.
 *
 * All that is in it stays this user's, also where workers run as somebody else: they may enter and read,
 * so that nothing that this process does there by name can be led elsewhere.
 *
 * @module
 */

import { type Account, isForeign } from "./account.ts";
import { folderOf, mayRead, tryLock } from "./files.ts";

/** A folder that this process holds. */
export interface PrivateFolder {
  /** Its path. Only this user can enter, until it is opened. */
  readonly path: string;
  /** Lets workers of another user in, once all that they need is there; they can't change anything. */
  open(): void;
  /**
   * Makes it, and the configurations of these names in it, new again to those who remove what is old from
   * folders for temporary files.
   */
  touch(names: readonly string[]): void;
  /** Removes it, with all that is in it. */
  remove(): void;
  /** Gives up one that somebody else has removed. */
  forget(): void;
}

const PREFIX = "zmq-prefork-";
/** As Deno names them: the prefix and a random number. */
const NAME = /^zmq-prefork-[0-9a-f]{8,16}$/;
const LOCK = "lock";
/** What earlier versions made for workers of another user. */
const SHARED = "workers";
/** All that a server puts there. */
const CONTENT: readonly string[] = [LOCK, SHARED, "backend", "libzmq", "trial", ".npmrc"];
/** What configures workers, numbered. */
const CONFIGURATION = /^config-\d+\.json$/;

/**
 * Makes a folder that only this user can enter, and removes those that servers of this user have left
 * behind, as far as this process may.
 *
 * @param workers Whom to let in later.
 * @throws {Error} when it can't be made, or files can't be given to that user.
 */
export function makePrivateFolder(workers: Account): PrivateFolder {
  const { path, lock } = claimFolder();
  const remove = () => {
    try {
      Deno.removeSync(path, { recursive: true });
    } catch {
      // Somebody else has removed it: that was all that was wanted.
    }
    lock?.close();
  };
  try {
    removeLeftovers(path);
    if (isForeign(workers)) tryToGive(`${path}/trial`, workers);
    const open = () => {
      if (isForeign(workers)) Deno.chmodSync(path, ENTER_ONLY);
    };
    return {
      path,
      open,
      touch: (names) => touch(path, names),
      remove,
      forget: () => lock?.close(),
    };
  } catch (error) {
    remove();
    throw error;
  }
}

const ENTER_ONLY = 0o711;

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

/** What goes by age looks at each file, and at the folder. Sockets in use are spared by it. */
function touch(path: string, names: readonly string[]): void {
  const now = new Date();
  for (const name of [path, ...[...CONTENT, ...names].map((name) => `${path}/${name}`)]) {
    try {
      Deno.utimeSync(name, now, now);
    } catch {
      // Not all that a server may put there is there.
    }
  }
}

/** A new folder and its lock, which is undefined where files can't be locked. */
function claimFolder(): { path: string; lock: Deno.FsFile | undefined } {
  for (;;) {
    // Made with mode 0700: nobody else can enter it.
    const path = makeFolder();
    const lock = claimLock(`${path}/${LOCK}`);
    if (lock !== "lost") return { path, lock };
  }
}

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
 * Locks a new file. "lost": another server, which took it for a leftover before it was locked, is
 * removing the folder. Without a lock nobody removes it, ever.
 */
function claimLock(name: string): Deno.FsFile | undefined | "lost" {
  const file = Deno.openSync(name, { write: true, createNew: true, mode: 0o600 });
  const locked = tryLock(file);
  // It may have been removed before it was locked: then the lock is on a file that has no name.
  if (locked && exists(name)) return file;
  file.close();
  if (locked !== undefined) return "lost";
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

/** What is left behind does no harm, so nothing that goes wrong here matters. */
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

/** Removes a folder if it is this user's and nobody holds its lock. */
function removeLeftover(path: string, uid: number | null): void {
  try {
    const isOurs = (name: string) => Deno.lstatSync(name).uid === uid;
    const lockName = `${path}/${LOCK}`;
    // One that has no lock yet was made a moment ago. What is no plain file would be waited for.
    if (!isOurs(path) || !isOurs(lockName) || !Deno.lstatSync(lockName).isFile) return;
    using lock = Deno.openSync(lockName, { write: true });
    if (lock.tryLockSync(true)) removeContent(path);
  } catch {
    // It is in use in a way not thought of here, or another server removes it too.
  }
}

/** The lock comes last: up to then nobody else can take this for anything but a folder in use. */
function removeContent(path: string): void {
  const names = [...Deno.readDirSync(path)].map(({ name }) => name);
  if (!names.every((name) => CONTENT.includes(name) || CONFIGURATION.test(name))) return;
  for (const name of names) {
    if (name !== LOCK) Deno.removeSync(`${path}/${name}`, { recursive: name === SHARED });
  }
  Deno.removeSync(`${path}/${LOCK}`);
  Deno.removeSync(path);
}
