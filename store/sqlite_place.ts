/**
 * Where a file of jobs lies.
 *
 * @module
 */

import { folderOf, isFile, isFolder } from "../system/files.ts";

const PREFIX = "sqlite:";

/** The path of the file that a store of this name has. */
export function pathOf(store: string): string {
  return store.startsWith(PREFIX) ? store.slice(PREFIX.length) : store;
}

/** The file that a path leads to by its own name, as far as it is there: a link has another, and a lock goes by names. */
export function realPath(path: string): string {
  try {
    return Deno.realPathSync(path);
  } catch {
    return path;
  }
}

/** Makes its folder, which nobody else may enter, unless it is there. */
export function makeFolder(path: string): void {
  const folder = folderOf(path);
  if (!isFolder(folder)) Deno.mkdirSync(folder, { recursive: true, mode: 0o700 });
}

/** @throws {Error} when a path leads to a folder. */
export function refuseFolder(path: string): void {
  if (isFolder(path)) throw new Error(`"${path}" is a folder: give the path of a file`);
}

/**
 * Makes the file, which nobody else may read, and its folder, unless they are there.
 *
 * @throws {Error} when they can't be made, or the path leads to a folder.
 */
export function makePlace(path: string): void {
  refuseFolder(path);
  makeFolder(path);
  if (!isFile(path)) Deno.openSync(path, { write: true, createNew: true, mode: 0o600 }).close();
}
