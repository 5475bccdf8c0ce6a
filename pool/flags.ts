/**
 * The flags that Deno is started with for workers, and to load a handler's modules: what they may do, and
 * how their imports are resolved.
 *
 * @module
 */

import { mayGiveAll, mayUseFfi } from "./grants.ts";
import type { Sandbox } from "./sandbox.ts";

const MiB = 1024 ** 2;

/** The flags of a worker, `deno run` included. */
export function workerFlags(sandbox: Sandbox, library: string): string[] {
  const { permissions, memoryLimit } = sandbox;
  const heap = Math.round(memoryLimit / MiB);
  return [
    "run",
    "--quiet",
    "--no-prompt",
    ...resolutionFlags(sandbox),
    ...frozenFlags(sandbox, sandbox.workerModule.startsWith("file:")),
    ...networkFlags(sandbox),
    ...(heap === 0 ? [] : [`--v8-flags=--max-old-space-size=${heap}`]),
    mayUseFfi(permissions) ? "--allow-ffi" : `--allow-ffi=${escapeComma(library)}`,
    ...permissionFlags(sandbox),
  ];
}

/** The flags of a process that loads the handler's modules into Deno's cache and lists them. */
export function loadFlags(sandbox: Sandbox): string[] {
  return ["info", "--json", ...moduleFlags(sandbox)];
}

/** The flags of a process that puts what Deno makes of the handler's modules into its cache. */
export function translateFlags(sandbox: Sandbox): string[] {
  return ["cache", ...moduleFlags(sandbox)];
}

function moduleFlags(sandbox: Sandbox): string[] {
  const { import: granted, all } = sandbox.permissions;
  const hosts = all || granted === true ? ["--allow-import"] : importFlag([
    ...DEFAULT_IMPORT_HOSTS,
    ...(Array.isArray(granted) ? granted : []),
    ...remoteHosts(sandbox),
  ]);
  const frozen = frozenFlags(sandbox, true);
  return ["--quiet", ...resolutionFlags(sandbox), ...frozen, ...hosts];
}

function resolutionFlags({ configFile, mapFile, lockFile }: Sandbox): string[] {
  return [
    lockFile === undefined ? "--no-lock" : `--lock=${lockFile}`,
    configFile === undefined ? "--no-config" : `--config=${configFile}`,
    ...(mapFile === undefined ? [] : [`--import-map=${mapFile}`]),
  ];
}

/** Refuses modules that the lock does not have; remote modules of our own are never in it. */
function frozenFlags({ lockFile }: Sandbox, isLocal: boolean): string[] {
  return lockFile === undefined || !isLocal ? [] : ["--frozen"];
}

/** Keeps out modules that are not in Deno's cache, unless hosts are granted. */
function networkFlags({ permissions, config, graph }: Sandbox): string[] {
  const { import: granted, all } = permissions;
  if (all || granted === true) return [];
  if (!Array.isArray(granted) || granted.length === 0) return ["--cached-only"];
  // A grant of hosts does not include the npm registry.
  const usesNpm = graph === undefined || graph.usesNpm || config?.nodeModules;
  return usesNpm ? [] : ["--no-npm"];
}

/**
 * All of `sys` that Deno has a name for. A grant without names would include the inspector, through which a
 * handler reads the private fields of the worker's own code, and with these writes to memory.
 */
const ALLOW_SYS = "--allow-sys=" + [
  "cpus",
  "getegid",
  "getPriority",
  "gid",
  "homedir",
  "hostname",
  "loadavg",
  "networkInterfaces",
  "osRelease",
  "osUptime",
  "setPriority",
  "statfs",
  "systemMemoryInfo",
  "uid",
  "userInfo",
  "username",
].join(",");

const KINDS = ["read", "write", "net", "env", "run", "sys"] as const;

function permissionFlags(sandbox: Sandbox): string[] {
  const { permissions } = sandbox;
  const flags = KINDS.flatMap((kind) => {
    // A process can't give more than it has.
    const grant = permissions.all ? mayGiveAll(kind) : permissions[kind];
    if (grant === true && kind === "sys" && !mayUseFfi(permissions)) return [ALLOW_SYS];
    if (grant === true) return [`--allow-${kind}`];
    const values = Array.isArray(grant) ? grant : [];
    const own = kind === "read" ? linksToRead(sandbox) : [];
    return valuesFlag(`--allow-${kind}`, [...values, ...own]);
  });
  return [...flags, ...importFlags(sandbox)];
}

/**
 * Symbolic links that a worker may read until its handler is loaded. Deno takes a link that is newer than its
 * target for a module that was changed since it was read, and then asks for a permission.
 */
export function linksToRead({ permissions, graph }: Sandbox): string[] {
  const { read, all } = permissions;
  if (all || read === true || graph === undefined) return [];
  const granted = Array.isArray(read) ? read.flatMap(pathsOf) : [];
  // These grants are taken back later, and must not take others with them.
  const isCovered = (path: string) =>
    granted.some((grant) => path === grant || path.startsWith(`${grant.replace(/\/$/, "")}/`));
  return graph.links.filter((link) => !pathsOf(link).some(isCovered));
}

/** A path from the root, and where it leads. */
function pathsOf(path: string): string[] {
  try {
    return [path.startsWith("/") ? path : `${Deno.cwd()}/${path}`, Deno.realPathSync(path)];
  } catch {
    return [path];
  }
}

/** Deno's own defaults: naming any host replaces them. */
const DEFAULT_IMPORT_HOSTS = [
  "deno.land:443",
  "jsr.io:443",
  "esm.sh:443",
  "raw.githubusercontent.com:443",
  "gist.githubusercontent.com:443",
];

function importFlags(sandbox: Sandbox): string[] {
  const { all, import: granted } = sandbox.permissions;
  const grant = all ? mayGiveAll("import") : granted;
  if (grant === true) return ["--allow-import"];
  const needed = remoteHosts(sandbox);
  if (Array.isArray(grant) && grant.length > 0) {
    return importFlag([...grant, ...needed, ...sandbox.graph?.hosts ?? []]);
  }
  // Deno grants its default hosts by itself only where nothing comes from the network.
  return importFlag([...DEFAULT_IMPORT_HOSTS, ...needed]);
}

function importFlag(hosts: readonly string[]): string[] {
  return valuesFlag("--allow-import", [...new Set(hosts)]);
}

/** Where the worker's own code and the handler come from, if that is the network. */
function remoteHosts({ workerModule, handler }: Sandbox): string[] {
  return [workerModule, handler ?? ""].flatMap((specifier) => hostOf(specifier) ?? []);
}

/** The host and port that a module comes from; undefined if that is not the network. */
export function hostOf(specifier: string): string | undefined {
  if (!/^https?:/.test(specifier)) return undefined;
  const { hostname, port, protocol } = new URL(specifier);
  return `${hostname}:${port || (protocol === "https:" ? 443 : 80)}`;
}

function valuesFlag(flag: string, values: readonly string[]): string[] {
  return values.length === 0 ? [] : [`${flag}=${values.map(escapeComma).join(",")}`];
}

function escapeComma(value: string): string {
  return value.replaceAll(",", ",,");
}
