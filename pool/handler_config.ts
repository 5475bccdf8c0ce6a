/**
 * How the imports of a handler are resolved, by the files in its folder and above: deno.json, an import map,
 * package.json, a workspace, a lock. No worker gets these files: what it gets is made in own_config.ts.
 *
 * @module
 */

import { isRecord } from "../wire/json_object.ts";
import { ConfigFiles, DENO_JSON, explain, type Source } from "./config_files.ts";
import type { ImportMap } from "./import_map.ts";
import { readDependencies } from "./package_json.ts";
import { mapOf, rootOf } from "./workspace.ts";
import { filePath, isFile, isFolder } from "../system/files.ts";

/** How the imports of a local handler are resolved. */
export interface HandlerConfig extends ImportMap {
  /** The files that were read for it. */
  files: string[];
  /** How its modules are transpiled: JSX and decorators. */
  compilerOptions: Record<string, unknown>;
  /** Whether packages come from node_modules, which is left as it is. */
  nodeModules: boolean;
  /** The lock file, and what is in it. */
  lock: Lock | undefined;
  /** The text of the .npmrc in the same folder. */
  npmrc: string | undefined;
  /** What of it workers do not use, for the log. */
  notes: string[];
}

/** A lock file. */
export interface Lock {
  file: string;
  text: string;
}

const OWN_CONFIG = new URL("../deno.json", import.meta.url).href;

/** What the compiler does to code that runs; its other options are for type checks, or would resolve modules. */
const COMPILER_OPTIONS = [
  "jsx",
  "jsxFactory",
  "jsxFragmentFactory",
  "jsxImportSource",
  "jsxImportSourceTypes",
  "jsxPrecompileSkipElements",
  "experimentalDecorators",
  "emitDecoratorMetadata",
];

/** Fields of deno.json that are used, and those that nobody expects a server to use. */
const KNOWN = new Set([
  ...["imports", "scopes", "importMap", "compilerOptions", "lock", "workspace", "nodeModulesDir"],
  ...["name", "version", "exports", "license", "description", "$schema", "tasks", "fmt", "lint"],
  ...["test", "bench", "publish", "exclude", "compile", "deploy"],
]);

/**
 * Reads the configuration of a handler; undefined if there is none, the handler is not a local file, or this
 * process may not read its folder.
 *
 * @throws {Error} naming a file that can't be read or parsed, or that others can write.
 */
export function readHandlerConfig(handler: string | undefined): HandlerConfig | undefined {
  if (!handler?.startsWith("file:")) return undefined;
  const files = ConfigFiles.around(new URL(handler));
  return files && readConfig(files);
}

function readConfig(files: ConfigFiles): HandlerConfig | undefined {
  const config = files.find(DENO_JSON);
  const above = config && files.above(config);
  const pack = files.find(
    ["package.json"],
    files.folders.filter((folder) => !above?.includes(folder)),
  );
  if (config === undefined && pack === undefined) return undefined;
  const root = config && (rootOf(files, config) ?? config);
  const nodeModules = usesNodeModules(files, root, pack);
  const map = mapOf(files, root, config);
  const unresolved = pack === undefined || nodeModules ? [] : addDependencies(files, map, pack);
  const sources = [...new Set([root, config].filter((source) => source !== undefined))];
  return {
    ...map,
    files: files.read,
    compilerOptions: Object.assign({}, ...sources.map(compilerOptions)),
    nodeModules,
    lock: readLock(files, root ?? pack),
    npmrc: readNpmrc(files, [pack, config, root]),
    notes: [...unresolved, ...sources.flatMap(unusedFields)],
  };
}

/** Adds the names that a package.json gives; notes those that can't be imported. */
function addDependencies(
  files: ConfigFiles,
  { scopes }: ImportMap,
  { url, fields }: Source,
): string[] {
  const folder = new URL(".", url);
  const { names, unresolved } = readDependencies(
    fields,
    folder,
    (folder) => files.find(["package.json"], [folder])?.fields,
  );
  scopes[folder.href] = { ...names, ...scopes[folder.href] };
  if (unresolved.length === 0) return [];
  return [
    `dependencies of "${filePath(url)}" can't be imported without node_modules, ` +
    `run "npm install" there: ${unresolved.join(", ")}`,
  ];
}

/** Notes the fields of a deno.json that workers don't use. */
function unusedFields({ url, fields }: Source): string[] {
  const unused = Object.keys(fields).filter((name) => !KNOWN.has(name));
  if (fields.nodeModulesDir === "auto" || fields.nodeModulesDir === true) {
    unused.push("nodeModulesDir");
  }
  // Our own has fields for those who work on it: a newcomer's first handler is one of our examples.
  if (unused.length === 0 || url.href === OWN_CONFIG) return [];
  const names = unused.map((name) => `"${name}"`).join(", ");
  return [`workers don't use ${names} of "${filePath(url)}"`];
}

/** As in Deno, node_modules is used next to a package.json or above, and where a deno.json asks for it. */
function usesNodeModules(
  files: ConfigFiles,
  root: Source | undefined,
  pack: Source | undefined,
): boolean {
  const { nodeModulesDir } = root?.fields ?? {};
  if (nodeModulesDir === "manual") return true;
  if (pack === undefined || nodeModulesDir === "none" || nodeModulesDir === false) return false;
  return [new URL(".", pack.url), ...files.above(pack)]
    .some((folder) => isFolder(new URL("node_modules", folder)));
}

function compilerOptions({ fields: { compilerOptions } }: Source): Record<string, unknown> {
  if (!isRecord(compilerOptions)) return {};
  return Object.fromEntries(
    Object.entries(compilerOptions).filter(([name]) => COMPILER_OPTIONS.includes(name)),
  );
}

function readLock(files: ConfigFiles, source: Source | undefined): Lock | undefined {
  if (source === undefined || source.fields.lock === false) return undefined;
  const { lock } = source.fields;
  const path = isRecord(lock) ? lock.path : lock;
  const url = new URL(typeof path === "string" ? path : "deno.lock", source.url);
  if (!isFile(url)) return undefined;
  const text = files.text(url);
  explain(url, () => JSON.parse(text));
  return { file: filePath(url), text };
}

function readNpmrc(
  files: ConfigFiles,
  sources: readonly (Source | undefined)[],
): string | undefined {
  const urls = sources.flatMap((source) => source ? [new URL(".npmrc", source.url)] : []);
  const url = urls.find(isFile);
  return url && files.text(url);
}
