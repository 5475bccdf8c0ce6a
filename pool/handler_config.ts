/**
 * What lies beside a handler and says how its imports are resolved: deno.json, an import map,
 * package.json, a workspace, a lock. Read here and never handed to a worker: what the worker gets is
 * made of it, in sandbox.ts.
 *
 * @module
 */

import { absoluteNames, type ImportMap, isRecord, readImportMap } from "./import_map.ts";
import { parseJsonc } from "./jsonc.ts";
import { isOwnFolder, type Owners, ownersOf, requireOwn } from "./owners.ts";
import { readDependencies } from "./package_json.ts";
import { messageOf } from "../system/errors.ts";

/** How the imports of a local handler are resolved. */
export interface HandlerConfig extends ImportMap {
  /** The files that say so. */
  files: string[];
  /** How its modules are transpiled: JSX and decorators. */
  compilerOptions: Record<string, unknown>;
  /** Whether packages are those in node_modules, which is left as it is. */
  nodeModules: boolean;
  /** The lock file that belongs to it, and what is in it. */
  lock: Lock | undefined;
  /** The text of the .npmrc beside it. */
  npmrc: string | undefined;
  /** What of it is not used, for the log. */
  notes: string[];
}

/** A lock file. */
export interface Lock {
  file: string;
  text: string;
}

const OWN_CONFIG = new URL("../deno.json", import.meta.url).href;

/** A configuration file and what is in it. */
interface Source {
  url: URL;
  fields: Record<string, unknown>;
}

/** The path of a file: URL. */
export function filePath(url: URL): string {
  return decodeURIComponent(url.pathname);
}

/**
 * Reads what belongs to a handler; undefined if there is nothing, it is not a local file, or this process
 * may not look.
 *
 * @throws {Error} naming a file that can't be read or parsed, or that others can write.
 */
export function readHandlerConfig(handler: string | undefined): HandlerConfig | undefined {
  if (!handler?.startsWith("file:")) return undefined;
  const search = openSearch(new URL(handler));
  return search && new Reader(search).read();
}

/** Whether the system refused something; other errors name the file already. */
function isOfSystem(error: unknown): boolean {
  return error instanceof Error && error.constructor !== Error;
}

/** The folders that are searched, the handler's own first, and whose files may count. */
interface Search {
  folders: URL[];
  owners: Owners;
}

/** Ends below the first folder that is not the owners', or that this process may not read. */
function openSearch(handler: URL): Search | undefined {
  try {
    const owners = ownersOf(filePath(handler));
    const folders = [new URL(".", handler)];
    for (let at = folders[0]; at !== undefined && at.pathname !== "/";) {
      const above: URL = new URL("..", at);
      if (!mayRead(above) || !isOwnFolder(filePath(above), owners)) break;
      folders.push(above);
      at = above;
    }
    return { folders, owners };
  } catch {
    // It is not there, or not to be seen: the first worker says so.
    return undefined;
  }
}

function mayRead(url: URL): boolean {
  return Deno.permissions.querySync({ name: "read", path: filePath(url) }).state === "granted";
}

/** What the compiler does to code that runs; the rest is for type checks, or would resolve modules. */
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

/** Reads the files of one search, and notes which they are. */
class Reader {
  readonly #folders: URL[];
  readonly #owners: Owners;
  readonly #files: string[] = [];
  readonly #notes: string[] = [];

  constructor({ folders, owners }: Search) {
    this.#folders = folders;
    this.#owners = owners;
  }

  read(): HandlerConfig | undefined {
    const config = this.#find(["deno.json", "deno.jsonc"], this.#folders);
    const above = config && this.#above(config);
    const pack = this.#find(
      ["package.json"],
      this.#folders.filter((folder) => !above?.includes(folder)),
    );
    if (config === undefined && pack === undefined) return undefined;
    const root = config && (this.#rootOf(config) ?? config);
    const nodeModules = this.#usesNodeModules(root, pack);
    const map = this.#map(root, config);
    if (pack !== undefined && !nodeModules) this.#addDependencies(map, pack);
    const sources = [...new Set([root, config].filter((source) => source !== undefined))];
    for (const source of sources) this.#noteUnused(source);
    return {
      ...map,
      files: this.#files,
      compilerOptions: Object.assign({}, ...sources.map(compilerOptions)),
      nodeModules,
      lock: this.#lock(root ?? pack),
      npmrc: this.#npmrc([pack, config, root]),
      notes: this.#notes,
    };
  }

  /** The first of some files in some folders. */
  #find(names: string[], folders: readonly URL[]): Source | undefined {
    for (const folder of folders) {
      for (const name of names) {
        const url = new URL(name, folder);
        if (isFile(url)) return { url, fields: this.#fields(url) };
      }
    }
    return undefined;
  }

  #text(url: URL): string {
    const file = filePath(url);
    try {
      requireOwn(file, this.#owners);
      this.#files.push(file);
      return Deno.readTextFileSync(url);
    } catch (error) {
      if (!isOfSystem(error)) throw error;
      throw new Error(`Cannot read "${file}" for the handler: ${messageOf(error)}`);
    }
  }

  #fields(url: URL): Record<string, unknown> {
    const text = this.#text(url);
    return explain(url, () => {
      // An empty deno.json counts as {}.
      const fields = text.trim() === "" ? {} : parseJsonc(text);
      if (!isRecord(fields)) throw new TypeError("it must be an object");
      return fields;
    });
  }

  /** The folders above a file's own. */
  #above({ url }: Source): URL[] {
    const own = new URL(".", url).href;
    return this.#folders.filter(({ href }) => own.startsWith(href) && own !== href);
  }

  // ---- maps ----

  #map(root: Source | undefined, config: Source | undefined): ImportMap {
    if (root === undefined) return { imports: {}, scopes: {} };
    const { imports, scopes } = this.#ownMap(root);
    const map: ImportMap = { imports: exportsOf(root), scopes };
    const members = this.#members(root).map((folder) =>
      folder.href === new URL(".", config?.url).href && config !== undefined
        ? config
        : this.#find(["deno.json", "deno.jsonc", "package.json"], [folder])
    ).filter((member) => member !== undefined);
    for (const member of members) {
      Object.assign(map.imports, exportsOf(member));
      const own = this.#ownMap(member);
      map.scopes[new URL(".", member.url).href] = own.imports;
      Object.assign(map.scopes, own.scopes);
    }
    Object.assign(map.imports, imports);
    this.#addLinked(map, new URL(".", root.url).href);
    return map;
  }

  /** The map in a deno.json, or that it names. */
  #ownMap({ url, fields }: Source): ImportMap {
    const { imports, scopes, importMap } = fields;
    const isOwn = imports !== undefined || scopes !== undefined ||
      url.href.endsWith("package.json");
    if (isOwn || importMap === undefined) return explain(url, () => readImportMap(fields, url));
    if (typeof importMap !== "string") throw wrong(url, '"importMap" must be a text');
    const file = new URL(importMap, url);
    if (file.protocol !== "file:") {
      throw wrong(url, `"importMap" must name a local file: current value is "${importMap}"`);
    }
    const named = this.#fields(file);
    return explain(file, () => readImportMap(named, file));
  }

  /** Local packages that names stand for have names of their own. */
  #addLinked({ imports, scopes }: ImportMap, root: string): void {
    const targets = [imports, ...Object.values(scopes)].flatMap((names) => Object.values(names));
    const local = targets.filter((target) => target.startsWith("file:"));
    for (const folder of new Set(local.map((target) => new URL(".", target).href))) {
      if (folder === root || folder in scopes) continue;
      const linked = this.#find(["deno.json", "deno.jsonc"], [new URL(folder)]);
      if (linked !== undefined) scopes[folder] = this.#ownMap(linked).imports;
    }
  }

  #addDependencies({ scopes }: ImportMap, { url, fields }: Source): void {
    const folder = new URL(".", url);
    const { names, unresolved } = readDependencies(fields, folder, (folder) => {
      const file = new URL("package.json", folder);
      return isFile(file) ? this.#fields(file) : undefined;
    });
    scopes[folder.href] = { ...names, ...scopes[folder.href] };
    if (unresolved.length === 0) return;
    this.#notes.push(
      `dependencies of "${filePath(url)}" can't be imported without node_modules, ` +
        `run "npm install" there: ${unresolved.join(", ")}`,
    );
  }

  // ---- workspaces ----

  /** The workspace that a configuration file is a member of, or the root of. */
  #rootOf(config: Source): Source | undefined {
    if (config.fields.workspace !== undefined) return config;
    const folder = new URL(".", config.url).href;
    for (const above of this.#above(config)) {
      const url = ["deno.json", "deno.jsonc"].map((name) => new URL(name, above)).find(isFile);
      if (url === undefined) continue;
      const source = { url, fields: this.#fields(url) };
      if (this.#members(source).some(({ href }) => href === folder)) return source;
    }
    return undefined;
  }

  /** The folders of a workspace's members. */
  #members({ url, fields: { workspace } }: Source): URL[] {
    const list = isRecord(workspace) ? workspace.members : workspace;
    if (list === undefined) return [];
    if (!Array.isArray(list)) throw wrong(url, '"workspace" must be a list of folders');
    return list.flatMap((pattern) => matches(String(pattern), new URL(".", url)));
  }

  // ---- the rest ----

  #noteUnused({ url, fields }: Source): void {
    const unused = Object.keys(fields).filter((name) => !KNOWN.has(name));
    if (fields.nodeModulesDir === "auto" || fields.nodeModulesDir === true) {
      unused.push("nodeModulesDir");
    }
    // Our own has fields for who works on it, not for handlers: a newcomer's first is an example of ours.
    if (unused.length === 0 || url.href === OWN_CONFIG) return;
    const names = unused.map((name) => `"${name}"`).join(", ");
    this.#notes.push(`workers don't use ${names} of "${filePath(url)}"`);
  }

  /** Deno uses those that are there where a package.json is, and where it is told to. */
  #usesNodeModules(root: Source | undefined, pack: Source | undefined): boolean {
    const { nodeModulesDir } = root?.fields ?? {};
    if (nodeModulesDir === "manual") return true;
    if (pack === undefined || nodeModulesDir === "none" || nodeModulesDir === false) return false;
    return [new URL(".", pack.url), ...this.#above(pack)]
      .some((folder) => isFolder(new URL("node_modules", folder)));
  }

  #lock(source: Source | undefined): Lock | undefined {
    if (source === undefined || source.fields.lock === false) return undefined;
    const { lock } = source.fields;
    const path = isRecord(lock) ? lock.path : lock;
    const url = new URL(typeof path === "string" ? path : "deno.lock", source.url);
    if (!isFile(url)) return undefined;
    const text = this.#text(url);
    explain(url, () => JSON.parse(text));
    return { file: filePath(url), text };
  }

  #npmrc(sources: readonly (Source | undefined)[]): string | undefined {
    const urls = sources.flatMap((source) => source ? [new URL(".npmrc", source.url)] : []);
    const url = urls.find(isFile);
    return url && this.#text(url);
  }
}

function compilerOptions({ fields: { compilerOptions } }: Source): Record<string, unknown> {
  if (!isRecord(compilerOptions)) return {};
  return Object.fromEntries(
    Object.entries(compilerOptions).filter(([name]) => COMPILER_OPTIONS.includes(name)),
  );
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

function isFile(url: URL): boolean {
  try {
    return Deno.statSync(url).isFile;
  } catch {
    return false;
  }
}

function isFolder(url: URL): boolean {
  try {
    return Deno.statSync(url).isDirectory;
  } catch {
    return false;
  }
}

/** Runs `read`, and names the file in what it throws. */
function explain<T>(url: URL, read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw wrong(url, messageOf(error));
  }
}

function wrong(url: URL, what: string): Error {
  return new Error(`Cannot use "${filePath(url)}" for the handler: ${what}`);
}
