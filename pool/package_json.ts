/**
 * The dependencies of a package.json as names of an import map.
 *
 * @module
 */

import { isRecord } from "../wire/json_object.ts";
import { absoluteNames, type Names } from "./import_map.ts";

/** Dependencies, as far as they can be named without node_modules. */
export interface Dependencies {
  names: Names;
  /** Names and versions of dependencies that only node_modules has. */
  unresolved: string[];
}

/** Reads a package.json; undefined if there is none, or it may not be read. */
export type ReadPackage = (folder: URL) => Record<string, unknown> | undefined;

/** The dependencies of the package.json in a folder. */
export function readDependencies(
  fields: Record<string, unknown>,
  folder: URL,
  read: ReadPackage,
): Dependencies {
  const found: Dependencies = { names: {}, unresolved: [] };
  const { devDependencies, optionalDependencies, dependencies } = fields;
  for (const group of [devDependencies, optionalDependencies, dependencies]) {
    for (const [name, version] of isRecord(group) ? Object.entries(group) : []) {
      const names = typeof version === "string" ? resolve(name, version, folder, read) : undefined;
      if (names === undefined) found.unresolved.push(`${name}@${version}`);
      else Object.assign(found.names, names);
    }
  }
  return found;
}

function resolve(name: string, version: string, base: URL, read: ReadPackage): Names | undefined {
  const local = /^(?:file|link):(.+)$/.exec(version)?.[1];
  if (local !== undefined) return localPackage(name, new URL(`${local}/`, base), read);
  if (/^(npm|jsr):/.test(version)) return absoluteNames({ [name]: version }, base);
  // Such a version names a place or a protocol: git, http, workspace, catalog …
  if (/^[a-z+]+:|\//.test(version)) return undefined;
  return absoluteNames({ [name]: `npm:${name}@${version || "*"}` }, base);
}

/** A package in a folder, by what its package.json exports. */
function localPackage(name: string, folder: URL, read: ReadPackage): Names | undefined {
  const fields = read(folder);
  if (fields === undefined) return undefined;
  const { exports, module, main } = fields;
  const paths = isRecord(exports) && Object.keys(exports).some((key) => key.startsWith("."))
    ? exports
    : { ".": exports ?? module ?? main ?? "./index.js" };
  const entries = Object.entries(paths).flatMap(([path, target]) => {
    const file = targetOf(target);
    const isPattern = path.includes("*");
    return file === undefined || isPattern
      ? []
      : [[name + path.slice(1), new URL(file, folder).href]];
  });
  return Object.fromEntries(entries);
}

/** The file that an export stands for, under Deno's conditions. */
function targetOf(target: unknown): string | undefined {
  if (typeof target === "string") return target;
  if (!isRecord(target)) return undefined;
  const conditions = ["deno", "node", "import", "default"];
  const chosen = Object.keys(target).find((key) => conditions.includes(key));
  return chosen === undefined ? undefined : targetOf(target[chosen]);
}
