/**
 * The files around a handler that may configure it: where they are searched, and which of them count. Not
 * here: what is in them.
 *
 * @module
 */

import { isRecord } from "../wire/json_object.ts";
import { parseJsonc } from "./jsonc.ts";
import { messageOf } from "../system/errors.ts";
import { isOwnFolder, type Owners, ownersOf, requireOwn } from "../system/file_rights.ts";
import { filePath, isFile, mayRead, requireText } from "../system/files.ts";

/** A configuration file and what is in it. */
export interface Source {
  url: URL;
  fields: Record<string, unknown>;
}

/** The names of Deno's own configuration. */
export const DENO_JSON: readonly string[] = ["deno.json", "deno.jsonc"];

/** Reads files that nobody but the handler's owners can change, and notes which they were. */
export class ConfigFiles {
  /** The folders that are searched, the handler's own first. */
  readonly folders: readonly URL[];
  /** The files that were read, by their paths. */
  readonly read: string[] = [];
  readonly #owners: Owners;

  private constructor(folders: readonly URL[], owners: Owners) {
    this.folders = folders;
    this.#owners = owners;
  }

  /**
   * The files around a handler: those in its folder and above, below the first folder that is not its
   * owners', or that this process may not read. Undefined if the handler can't be seen: the first worker
   * says so.
   */
  static around(handler: URL): ConfigFiles | undefined {
    try {
      const owners = ownersOf(filePath(handler));
      return new ConfigFiles(searched(handler, owners), owners);
    } catch {
      return undefined;
    }
  }

  /** The first that is there of some files in some folders. */
  find(names: readonly string[], folders: readonly URL[] = this.folders): Source | undefined {
    for (const folder of folders) {
      const url = names.map((name) => new URL(name, folder)).find(isFile);
      if (url !== undefined) return { url, fields: this.fields(url) };
    }
    return undefined;
  }

  /** The searched folders above a file's own. */
  above({ url }: Source): URL[] {
    const own = new URL(".", url).href;
    return this.folders.filter(({ href }) => own.startsWith(href) && own !== href);
  }

  /**
   * The text of a file.
   *
   * @throws {Error} naming it, when it can't be read or others can write it.
   */
  text(url: URL): string {
    const file = filePath(url);
    const what = `"${file}" for the handler`;
    try {
      requireOwn(file, this.#owners);
    } catch (error) {
      if (!isOfSystem(error)) throw error;
      throw new Error(`Cannot read ${what}: ${messageOf(error)}`);
    }
    this.read.push(file);
    return requireText(url, what);
  }

  /**
   * The fields of a configuration file; an empty file counts as {}.
   *
   * @throws {Error} naming it, when it can't be read or parsed.
   */
  fields(url: URL): Record<string, unknown> {
    const text = this.text(url);
    return explain(url, () => {
      const fields = text.trim() === "" ? {} : parseJsonc(text);
      if (!isRecord(fields)) throw new TypeError("it must be an object");
      return fields;
    });
  }
}

function searched(handler: URL, owners: Owners): URL[] {
  const folders = [new URL(".", handler)];
  for (let at = folders[0]; at !== undefined && at.pathname !== "/";) {
    const above: URL = new URL("..", at);
    const path = filePath(above);
    if (!mayRead(path) || !isOwnFolder(path, owners)) break;
    folders.push(above);
    at = above;
  }
  return folders;
}

/** Whether the system refused something; other errors name the file already. */
function isOfSystem(error: unknown): boolean {
  return error instanceof Error && error.constructor !== Error;
}

/** Runs `read`, and names the file in what it throws. */
export function explain<T>(url: URL, read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw wrong(url, messageOf(error));
  }
}

/** What is said of a file that can't be used. */
export function wrong(url: URL, what: string): Error {
  return new Error(`Cannot use "${filePath(url)}" for the handler: ${what}`);
}
