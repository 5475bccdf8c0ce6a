/**
 * Which modules a handler is made of. Local files that import only each other are read here; otherwise a
 * process of Deno's finds the modules, and fetches those that come from the network, see trials.ts. Workers
 * themselves fetch nothing.
 *
 * @module
 */

import { isRecord } from "../wire/json_object.ts";
import type { HandlerConfig } from "./handler_config.ts";
import { lookUp } from "./import_map.ts";
import { filePath, isLink, readText } from "../system/files.ts";

/** The modules of a handler, its own first. */
export interface Graph {
  /** Paths of local files. */
  files: string[];
  /** Paths of those local files that are symbolic links. */
  links: string[];
  /** Hosts that remote modules come from, with ports. */
  hosts: string[];
  /** Whether any module is of an npm package. */
  usesNpm: boolean;
  /** Deno's messages about modules that could not be fetched. */
  failures: string[];
}

/** The graph of a handler that imports nothing. */
export const NO_MODULES: Graph = { files: [], links: [], hosts: [], usesNpm: false, failures: [] };

/** Handlers of more files are left to Deno. */
const MOST_FILES = 1000;

/**
 * The graph of a handler whose modules are all local files; undefined if it is not certain that they
 * are, or they can't be read.
 */
export function scanModules(
  handler: string | undefined,
  config: HandlerConfig | undefined,
): Graph | undefined {
  const found = new Set(handler === undefined ? [] : [handler]);
  for (const module of found) {
    const imports = found.size > MOST_FILES ? undefined : importsOf(module, config);
    if (imports === undefined) return undefined;
    for (const one of imports) found.add(one);
  }
  return graphOf([...found].map((module) => filePath(new URL(module))));
}

function graphOf(files: string[]): Graph {
  return { ...NO_MODULES, files, links: files.filter(isLink) };
}

/** Whole lines of comments: words in them are not statements. */
const COMMENT_LINE = /^\s*(?:\/\/|\* (?!from)).*$/gm;
/** `import … from "x"`, `export … from "x"`, `import "x"`, `import("x")`. */
const IMPORT =
  /\b(?:import|export)\b(\s+type\b(?!\s*(?:from|,)))?(?:(?!\b(?:im|ex)port\b)[\w\s{},*$])*?\bfrom\s*(["'])([^"'\n]+)\2|\bimport\s*\(?\s*(["'])([^"'\n]+)\4/g;
/** What is left of a module that imports in another way. */
const OTHER_IMPORT = /\bimport\b(?!\s*\.\s*meta\b)|\bfrom\s*["'`/]|\brequire\b/;

/** The local modules that a module imports; undefined if there may be other imports. */
function importsOf(module: string, config: HandlerConfig | undefined): string[] | undefined {
  if (!module.startsWith("file:") || module.includes("/node_modules/")) return undefined;
  if (module.endsWith(".json")) return [];
  const source = /\.m?[jt]s$/.test(module) ? readText(new URL(module)) : undefined;
  if (source === undefined) return undefined;
  const specifiers: string[] = [];
  const rest = source.replace(COMMENT_LINE, "").replace(
    IMPORT,
    (_match, type: string | undefined, _quote, from: string | undefined, _other, only: string) => {
      // Imports of types are gone when it runs.
      if (type === undefined) specifiers.push(from ?? only);
      return "";
    },
  );
  if (OTHER_IMPORT.test(rest)) return undefined;
  const targets = specifiers.filter((specifier) => !specifier.startsWith("node:"))
    .map((specifier) => resolve(specifier, module, config));
  return targets.every((target) => target !== undefined) ? targets : undefined;
}

function resolve(
  specifier: string,
  referrer: string,
  config: HandlerConfig | undefined,
): string | undefined {
  const url = /^\.{0,2}\/|^file:/.test(specifier) ? new URL(specifier, referrer).href : specifier;
  const target = config === undefined ? url : lookUp(config, url, referrer) ?? url;
  return target.startsWith("file:") ? target : undefined;
}

/** The graph that `deno info --json` has written. */
export function readGraph(text: string, hostOf: (specifier: string) => string | undefined): Graph {
  const listed: unknown = JSON.parse(text);
  const modules = isRecord(listed) && Array.isArray(listed.modules) ? listed.modules : [];
  const files: string[] = [];
  const hosts = new Set<string>();
  const failures: string[] = [];
  for (const module of modules.filter(isRecord)) {
    const { specifier, local, error } = module;
    if (typeof specifier !== "string") continue;
    if (typeof error === "string" && !specifier.startsWith("file:")) failures.push(error);
    if (specifier.startsWith("file:") && typeof local === "string") files.push(local);
    const host = hostOf(specifier);
    if (host !== undefined) hosts.add(host);
  }
  const packages = isRecord(listed) && isRecord(listed.npmPackages) ? listed.npmPackages : {};
  const usesNpm = Object.keys(packages).length > 0;
  return { ...graphOf(files), hosts: [...hosts], usesNpm, failures };
}
