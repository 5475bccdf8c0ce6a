/**
 * Import maps, as texts and with absolute URLs, so that a handler's map means the same in another place.
 * Nothing here touches a file.
 *
 * @module
 */

import { isRecord } from "../wire/json_object.ts";

/** Specifiers and what they stand for. */
export type Names = Record<string, string>;

/** An import map whose targets are absolute. */
export interface ImportMap {
  /** For all modules. */
  imports: Names;
  /** For the modules below each URL. */
  scopes: Record<string, Names>;
}

/**
 * The map that lies at `base`.
 *
 * @throws {TypeError} when it is not one.
 */
export function readImportMap(fields: Record<string, unknown>, base: URL): ImportMap {
  const { imports, scopes } = fields;
  if (scopes !== undefined && !isRecord(scopes)) throw new TypeError('"scopes" must be an object');
  const entries = Object.entries(scopes ?? {}).map(([prefix, names]) =>
    [absolute(prefix, base), readNames(names, base)] as const
  );
  return { imports: readNames(imports, base), scopes: Object.fromEntries(entries) };
}

function readNames(value: unknown, base: URL): Names {
  if (value === undefined) return {};
  if (!isRecord(value)) throw new TypeError('"imports" and each scope must be an object');
  const names = Object.entries(value).map(([key, target]) => {
    if (typeof target !== "string") throw new TypeError(`"${key}" must be a text`);
    return [key, target] as const;
  });
  return absoluteNames(Object.fromEntries(names), base);
}

/** The same names with absolute targets; a package also gets a name for what is below it, as in Deno. */
export function absoluteNames(names: Names, base: URL): Names {
  const entries = Object.entries(names).flatMap(([key, target]) => {
    const name = isRelative(key) ? absolute(key, base) : key;
    const own = [name, isRelative(target) ? absolute(target, base) : target] as const;
    const below = `${key}/`;
    const [, scheme, rest] = /^(npm|jsr):\/?(.+[^/])$/.exec(target) ?? [];
    if (rest === undefined || key.endsWith("/") || below in names) return [own];
    return [own, [below, `${scheme}:/${rest}/`] as const];
  });
  return Object.fromEntries(entries);
}

function isRelative(specifier: string): boolean {
  return /^\.{0,2}\//.test(specifier);
}

function absolute(specifier: string, base: URL): string {
  return new URL(specifier, base).href;
}

/** What a specifier in the module `referrer` stands for; undefined: the map has nothing for it. */
export function lookUp(
  { imports, scopes }: ImportMap,
  specifier: string,
  referrer: string,
): string | undefined {
  const fitting = Object.keys(scopes)
    .filter((scope) => scope === referrer || scope.endsWith("/") && referrer.startsWith(scope))
    .sort((a, b) => b.length - a.length);
  for (const names of [...fitting.map((scope) => scopes[scope] ?? {}), imports]) {
    const target = lookUpName(names, specifier);
    if (target !== undefined) return target;
  }
  return undefined;
}

function lookUpName(names: Names, specifier: string): string | undefined {
  if (Object.hasOwn(names, specifier)) return names[specifier];
  const [prefix] = Object.keys(names)
    .filter((name) => name.endsWith("/") && specifier.startsWith(name))
    .sort((a, b) => b.length - a.length);
  return prefix === undefined ? undefined : names[prefix] + specifier.slice(prefix.length);
}
