/**
 * Copies of a file of jobs: one that is made while a server works on it, and one that is put in its place.
 *
 * @module
 */

import { backup, DatabaseSync } from "node:sqlite";
import { messageOf } from "../system/errors.ts";
import { folderOf, isFile, isFolder } from "../system/files.ts";
import { lockStore } from "./sqlite_lock.ts";
import { makeFolder, realPath, refuseFolder } from "./sqlite_place.ts";
import { numberOf, prepareFile, requireOurs, versionOf } from "./sqlite_schema.ts";

/** What is made is called so until it is whole. */
const PARTIAL = ".partial";

/**
 * Writes all that is committed in a file now to another one, which must not be there; others may go on writing
 * meanwhile. It is on the disk when this is fulfilled.
 *
 * @throws {Error} when it can't be written.
 */
export async function copyStore(path: string, copy: string): Promise<void> {
  const folder = folderOf(copy);
  if (!isFolder(folder)) throw new Error(`There is no folder "${folder}"`);
  refuseFolder(copy);
  if (isThere(copy)) throw new Error(`"${copy}" is there already`);
  const partial = copy + PARTIAL;
  await makeCopy(path, partial);
  try {
    // Fails if somebody has made that file meanwhile.
    Deno.linkSync(partial, copy);
  } finally {
    Deno.removeSync(partial);
  }
  sync(folderOf(copy));
}

/**
 * Puts a copy in place of a file of jobs that no server has open: all of it, or nothing.
 *
 * @returns how many jobs are in it.
 * @throws {Error} when a server has the file, or the copy is not whole, or of a newer program, or can't be written.
 */
export async function restoreStore(copy: string, path: string): Promise<number> {
  try {
    return await putInPlace(copy, realPath(path));
  } catch (error) {
    throw new Error(`Cannot restore "${path}": ${messageOf(error)}`, { cause: error });
  }
}

async function putInPlace(copy: string, path: string): Promise<number> {
  refuseFolder(copy);
  if (!isFile(copy)) throw new Error(`"${copy}" is not there`);
  refuseFolder(path);
  makeFolder(path);
  const lock = lockStore(path);
  try {
    requireWhole(copy);
    const partial = path + PARTIAL;
    await makeCopy(copy, partial);
    settleOld(path);
    Deno.renameSync(partial, path);
    sync(folderOf(path));
    return jobsIn(path);
  } finally {
    lock.release();
  }
}

/** Writes a copy that nobody else may read. */
async function makeCopy(path: string, copy: string): Promise<void> {
  removeIfThere(copy);
  Deno.openSync(copy, { write: true, createNew: true, mode: 0o600 }).close();
  try {
    using db = openReadOnly(path);
    // All pages in one step: it sees one moment, and what others write then does not make it begin again. VACUUM INTO
    // would need all permissions.
    await backup(db.file, copy, { rate: -1 });
    leaveLog(copy);
    sync(copy);
  } catch (error) {
    removeIfThere(copy);
    throw error;
  }
}

/** A copy is one file, without a log beside it. */
function leaveLog(copy: string): void {
  const db = new DatabaseSync(copy);
  try {
    db.exec("PRAGMA journal_mode = DELETE");
  } finally {
    db.close();
  }
}

/**
 * Refuses a copy that is damaged, or none of ours.
 *
 * @throws {Error} when it is.
 */
function requireWhole(copy: string): void {
  using db = openReadOnly(copy);
  try {
    requireOurs(db.file, copy);
  } catch (error) {
    const message = messageOf(error);
    // SQLite does not say of which file it speaks.
    throw message.includes(copy) ? error : new Error(`"${copy}" can't be read: ${message}`);
  }
  if (versionOf(db.file) === 0) throw new Error(`"${copy}" is empty`);
  const found = db.file.prepare("PRAGMA quick_check(1)").get()?.quick_check;
  if (found !== "ok") throw new Error(`"${copy}" is damaged: ${found}`);
}

/** What the old file has in its log is not to be taken for that of the new one. */
function settleOld(path: string): void {
  try {
    const db = new DatabaseSync(path);
    try {
      db.exec("PRAGMA wal_checkpoint(TRUNCATE)");
    } finally {
      db.close();
    }
  } catch {
    // It is damaged, which may be why it is replaced.
  }
  for (const ending of ["-wal", "-shm"]) removeIfThere(path + ending);
}

function jobsIn(path: string): number {
  const db = new DatabaseSync(path);
  try {
    prepareFile(db, path);
    return numberOf(db, "SELECT count(*) AS n FROM job", "n");
  } finally {
    db.close();
  }
}

function openReadOnly(path: string): Disposable & { file: DatabaseSync } {
  const file = new DatabaseSync(path, { readOnly: true });
  return { file, [Symbol.dispose]: () => file.close() };
}

/** Whether there is anything of that name. */
function isThere(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch {
    return false;
  }
}

function removeIfThere(path: string): void {
  try {
    Deno.removeSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

/** Waits until a file, or the names in a folder, are on the disk. */
function sync(path: string): void {
  using file = Deno.openSync(path, { read: true });
  try {
    file.syncSync();
  } catch (error) {
    // Some systems can't do it for a folder.
    if (isFile(path)) throw new Error(`Cannot write "${path}": ${messageOf(error)}`);
  }
}
