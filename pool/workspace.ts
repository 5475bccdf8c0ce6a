/**
 * Workspaces and the import maps of their members, as one map with absolute targets: what a handler's own
 * configuration says of the names that it imports.
 *
 * @module
 */

import { isRecord } from "../wire/json_object.ts";
import { type ConfigFiles, DENO_JSON, explain, type Source, wrong } from "./config_files.ts";
import { absoluteNames, type ImportMap, readImportMap } from "./import_map.ts";

/** The workspace that a configuration file is a member of, or the root of; undefined: none. */
export function rootOf(files: ConfigFiles, config: Source): Source | undefined {
  if (config.fields.workspace !== undefined) return config;
  const folder = new URL(".", config.url).href;
  for (const above of files.above(config)) {
    const source = files.find(DENO_JSON, [above]);
    const isMember = source && membersOf(source).some(({ href }) => href === folder);
    if (isMember) return source;
  }
  return undefined;
}

/** The map of a workspace and its members, or of a configuration that is `root` itself. */
export function mapOf(
  files: ConfigFiles,
  root: Source | undefined,
  config: Source | undefined,
): ImportMap {
  if (root === undefined) return { imports: {}, scopes: {} };
  const { imports, scopes } = ownMap(files, root);
  const map: ImportMap = { imports: exportsOf(root), scopes };
  for (const member of readMembers(files, root, config)) {
    Object.assign(map.imports, exportsOf(member));
    const own = ownMap(files, member);
    map.scopes[new URL(".", member.url).href] = own.imports;
    Object.assign(map.scopes, own.scopes);
  }
  Object.assign(map.imports, imports);
  addLinked(files, map, new URL(".", root.url).href);
  return map;
}

/** The configurations of a workspace's members; `config` is one that was read before. */
function readMembers(files: ConfigFiles, root: Source, config: Source | undefined): Source[] {
  const own = config && new URL(".", config.url).href;
  return membersOf(root).flatMap((folder) => {
    const member = folder.href === own
      ? config
      : files.find([...DENO_JSON, "package.json"], [folder]);
    return member ?? [];
  });
}

/** The map in a deno.json, or that it names. */
function ownMap(files: ConfigFiles, { url, fields }: Source): ImportMap {
  const { imports, scopes, importMap } = fields;
  const isOwn = imports !== undefined || scopes !== undefined || url.href.endsWith("package.json");
  if (isOwn || importMap === undefined) return explain(url, () => readImportMap(fields, url));
  if (typeof importMap !== "string") throw wrong(url, '"importMap" must be a text');
  const file = new URL(importMap, url);
  if (file.protocol !== "file:") {
    throw wrong(url, `"importMap" must name a local file: current value is "${importMap}"`);
  }
  const named = files.fields(file);
  return explain(file, () => readImportMap(named, file));
}

/** Local packages that names stand for have names of their own. */
function addLinked(files: ConfigFiles, { imports, scopes }: ImportMap, root: string): void {
  const targets = [imports, ...Object.values(scopes)].flatMap((names) => Object.values(names));
  const local = targets.filter((target) => target.startsWith("file:"));
  for (const folder of new Set(local.map((target) => new URL(".", target).href))) {
    if (folder === root || folder in scopes) continue;
    const linked = files.find(DENO_JSON, [new URL(folder)]);
    if (linked !== undefined) scopes[folder] = ownMap(files, linked).imports;
  }
}

/** A workspace member by its name, as the others import it. */
function exportsOf({ url, fields: { name, exports } }: Source): Record<string, string> {
  if (typeof name !== "string") return {};
  const paths = isRecord(exports) ? exports : { ".": exports };
  const entries = Object.entries(paths).flatMap(([path, target]) =>
    typeof target === "string" ? [[name + path.slice(1), target]] : []
  );
  return absoluteNames(Object.fromEntries(entries), url);
}

/** The folders of a workspace's members. */
function membersOf({ url, fields: { workspace } }: Source): URL[] {
  const list = isRecord(workspace) ? workspace.members : workspace;
  if (list === undefined) return [];
  if (!Array.isArray(list)) throw wrong(url, '"workspace" must be a list of folders');
  return list.flatMap((pattern) => matches(String(pattern), new URL(".", url)));
}

/** The folders that a pattern of a workspace stands for: `*` for any name. */
function matches(pattern: string, base: URL): URL[] {
  const parts = pattern.replace(/\/+$/, "").split("/");
  return parts.reduce<URL[]>(
    (folders, part) =>
      folders.flatMap((folder) =>
        part.includes("*") ? matching(part, folder) : [new URL(`${part}/`, folder)]
      ),
    [base],
  );
}

function matching(part: string, folder: URL): URL[] {
  const escaped = part.split("*").map((text) => text.replace(/[^\w]/g, "\\$&"));
  const name = new RegExp(`^${escaped.join(".*")}$`);
  return [...Deno.readDirSync(folder)]
    .filter((entry) => entry.isDirectory && name.test(entry.name))
    .map((entry) => new URL(`${encodeURIComponent(entry.name)}/`, folder));
}
