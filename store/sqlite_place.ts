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

/** Makes its folder, which nobody else may enter, unless it is there. */
export function makeFolder(path: string): void {
  const folder = folderOf(path);
  if (!isFolder(folder)) Deno.mkdirSync(folder, { recursive: true, mode: 0o700 });
}

/** Makes the file, which nobody else may read, and its folder, unless they are there. */
export function makePlace(path: string): void {
  makeFolder(path);
  if (!isFile(path)) Deno.openSync(path, { write: true, createNew: true, mode: 0o600 }).close();
}
