/**
 * What a worker is started with: Deno's flags, its environment, its main module, and a configuration of
 * our own. Nothing that a handler brings reaches the modules of the worker itself, which run before FFI
 * is given up.
 *
 * @module
 */

import type { Permissions } from "../options/settings.ts";
import { readVariable } from "../system/variables.ts";
import type { HandlerConfig, Lock } from "./handler_config.ts";
import type { ImportMap, Names } from "./import_map.ts";
import type { Graph } from "./modules.ts";
import { readVariable } from "../system/variables.ts";

export { readVariable };

/** What decides what a handler may do, and which modules it is made of. */
export interface Sandbox {
  /** URL of worker.ts. */
  workerModule: string;
  /** URL or specifier of the handler module; undefined: echo. */
  handler: string | undefined;
  /** What the handler may do. */
  permissions: Permissions;
  /** Bytes of JavaScript's heap at most; 0: as V8 sees fit. */
  memoryLimit: number;
  /** What lies beside the handler; undefined: nothing. */
  config: HandlerConfig | undefined;
  /** The files that hold `ownConfig` and `ownMap`; undefined: workers have no configuration. */
  configFile: string | undefined;
  mapFile: string | undefined;
  /** The file that holds `ownLock`; undefined: there is no lock. */
  lockFile: string | undefined;
  /** The modules of the handler; undefined: not known yet. */
  graph: Graph | undefined;
}

/**
 * The modules that a worker runs before and beside the handler, by their paths from the root of this
 * package. A test holds that they are all.
 */
export const RUNTIME = [
  "worker.ts",
  "worker/handler.ts",
  "worker/job_context.ts",
  "wire/byte_cache.ts",
  "worker/handler_module.ts",
  "wire/job.ts",
  "wire/rate.ts",
  "wire/request.ts",
  "worker/replies.ts",
  "worker/result.ts",
  "worker/service.ts",
  "worker/show.ts",
  "wire/worker_config.ts",
  "zmq/curve.ts",
  "system/debugger.ts",
  "system/file_limit.ts",
  "zmq/descriptors.ts",
  "zmq/library.ts",
  "system/lifeline.ts",
  "zmq/message.ts",
  "zmq/poller.ts",
  "system/seccomp.ts",
  "zmq/socket.ts",
  "system/title.ts",
];

/**
 * The main module of a worker: it names the handler literally, so that importing it needs no read
 * permission.
 */
export function mainModule({ workerModule, handler }: Sandbox): string {
  const load = handler === undefined ? "" : `() => import(${JSON.stringify(handler)})`;
  const code = `import { main } from ${JSON.stringify(workerModule)}; await main(${load});`;
  return `data:application/typescript,${encodeURIComponent(code)}`;
}

/** A main module that loads the worker's own code and does nothing. */
export function trialModule({ workerModule }: Sandbox): string {
  return `data:application/javascript,import ${encodeURIComponent(JSON.stringify(workerModule))}`;
}

/**
 * The import map that workers get in place of the handler's: its names, and above them, for each module
 * of ours, that our modules are what they are. Deno asks the scope with the longest URL first.
 */
export function ownMap(sandbox: Sandbox, { imports, scopes }: ImportMap): string {
  const root = new URL(".", sandbox.workerModule).href;
  const same: Names = { [root]: root };
  const pins = Object.fromEntries(RUNTIME.map((path) => [new URL(path, root).href, same]));
  const handler = sandbox.handler ?? "";
  return JSON.stringify({
    imports,
    scopes: {
      ...scopes,
      [root]: { ...scopes[root], ...same },
      ...pins,
      [trialModule(sandbox)]: same,
      [mainModule(sandbox)]: { ...same, [handler]: handler },
    },
  });
}

/** The configuration that workers get in place of the handler's: what neither resolves nor runs anything. */
export function ownConfig({ compilerOptions, nodeModules }: HandlerConfig): string {
  return JSON.stringify({ compilerOptions, nodeModulesDir: nodeModules ? "manual" : "none" });
}

/**
 * The lock that workers get in place of the handler's: the same versions, and what our own configuration
 * depends on, as Deno refuses a lock that names other dependencies.
 */
export function ownLock({ compilerOptions }: HandlerConfig, { text }: Lock): string {
  // All else stays as it is, to the letter: Deno compares texts.
  const rest = text.replace(/,\n {2}"workspace": \{[^]*\n {2}\}(?=\n\}\s*$)/, "");
  const name = requirement(String(compilerOptions.jsxImportSource));
  if (name === undefined) return rest;
  const own = `"workspace": {\n    "dependencies": [\n      ${JSON.stringify(name)}\n    ]\n  }`;
  return rest.replace(/\n\}\s*$/, `,\n  ${own}\n}\n`);
}

/** The package and versions that an npm: or jsr: specifier asks for, as a lock has them. */
function requirement(specifier: string): string | undefined {
  const pattern = /^(npm|jsr):\/?((?:@[^/@]+\/)?[^/@]+)(?:@([^/]+))?/;
  const [, scheme, name, versions = "*"] = pattern.exec(specifier) ?? [];
  return scheme && `${scheme}:${name}@${decodeURIComponent(versions)}`;
}

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
  const { import: granted, all } = sandbox.permissions;
  const hosts = all || granted === true ? ["--allow-import"] : importFlag([
    ...DEFAULT_IMPORT_HOSTS,
    ...(Array.isArray(granted) ? granted : []),
    ...remoteHosts(sandbox),
  ]);
  const frozen = frozenFlags(sandbox, true);
  return ["info", "--json", "--quiet", ...resolutionFlags(sandbox), ...frozen, ...hosts];
}

function resolutionFlags({ configFile, mapFile, lockFile }: Sandbox): string[] {
  return [
    lockFile === undefined ? "--no-lock" : `--lock=${lockFile}`,
    configFile === undefined ? "--no-config" : `--config=${configFile}`,
    ...(mapFile === undefined ? [] : [`--import-map=${mapFile}`]),
  ];
}

/** Refuses what the lock does not have, which for our own modules is so if they come from the network. */
function frozenFlags({ lockFile }: Sandbox, isLocal: boolean): string[] {
  return lockFile === undefined || !isLocal ? [] : ["--frozen"];
}

/** What is not in Deno's cache stays away, unless hosts are granted. */
function networkFlags({ permissions, config, graph }: Sandbox): string[] {
  const { import: granted, all } = permissions;
  if (all || granted === true) return [];
  if (!Array.isArray(granted) || granted.length === 0) return ["--cached-only"];
  // A grant of hosts is no grant of the npm registry.
  const usesNpm = graph === undefined || graph.usesNpm || config?.nodeModules;
  return usesNpm ? [] : ["--no-npm"];
}

/**
 * All of `sys` that Deno has a name for. Without names it would bring the inspector too, through which a
 * handler reads the private fields of the worker's own code, and writes to memory by what it finds there.
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
    // Nobody can give more than he has.
    const grant = permissions.all ? isGranted(kind) : permissions[kind];
    if (grant === true && kind === "sys" && !mayUseFfi(permissions)) return [ALLOW_SYS];
    if (grant === true) return [`--allow-${kind}`];
    const values = Array.isArray(grant) ? grant : [];
    const own = kind === "read" ? linksToRead(sandbox) : [];
    return valuesFlag(`--allow-${kind}`, [...values, ...own]);
  });
  return [...flags, ...importFlags(sandbox)];
}

/**
 * Deno takes a link that is newer than its target for a module that was changed since it was read, and
 * then wants a permission. It lasts until the handler is loaded.
 */
export function linksToRead({ permissions, graph }: Sandbox): string[] {
  const { read, all } = permissions;
  if (all || read === true || graph === undefined) return [];
  const granted = Array.isArray(read) ? read.flatMap(pathsOf) : [];
  // What is granted already must not be taken back with them.
  const isCovered = (path: string) =>
    granted.some((grant) => path === grant || path.startsWith(`${grant.replace(/\/$/, "")}/`));
  return graph.links.filter((link) => !pathsOf(link).some(isCovered));
}

/** A path as it is called, from the root, and where it leads. */
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
  const grant = all ? isGranted("import") : granted;
  if (grant === true) return ["--allow-import"];
  const needed = remoteHosts(sandbox);
  if (Array.isArray(grant) && grant.length > 0) {
    return importFlag([...grant, ...needed, ...sandbox.graph?.hosts ?? []]);
  }
  // Deno takes it for granted where nothing comes from the network.
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

/** Whether the handler may use FFI: only if it may do everything, and so may this process. */
export function mayUseFfi({ all }: Permissions): boolean {
  return all === true && isGranted("ffi");
}

/**
 * Whether a worker may write to files at all: its handler may, or the programs that this starts, or Deno
 * keeps what is imported while it runs.
 */
export function mayWriteFiles({ all, write, run, import: hosts }: Permissions): boolean {
  const isGiven = (grant: boolean | string[] | undefined) =>
    Array.isArray(grant) ? grant.length > 0 : grant === true;
  return all === true || isGiven(write) || isGiven(run) || isGiven(hosts);
}

function isGranted(name: typeof KINDS[number] | "ffi" | "import"): boolean {
  return Deno.permissions.querySync({ name }).state === "granted";
}

// ---- the environment ----

/** What Deno itself needs to find its cache and the network; the handler can't read it. */
const NEEDED_BY_DENO = [
  "HOME",
  "PATH",
  "TMPDIR",
  "LANG",
  "TZ",
  "NO_COLOR",
  "XDG_CACHE_HOME",
  "DENO_DIR",
  "DENO_CERT",
  "DENO_TLS_CA_STORE",
  "DENO_AUTH_TOKENS",
  "SSL_CERT_FILE",
  "SSL_CERT_DIR",
  "NODE_EXTRA_CA_CERTS",
  "NPM_CONFIG_REGISTRY",
  "JSR_URL",
  "HTTP_PROXY",
  "HTTPS_PROXY",
  "NO_PROXY",
  "http_proxy",
  "https_proxy",
  "no_proxy",
];

/** The variables of a worker. */
export function environment(granted: Permissions): Record<string, string> {
  // It can have Deno open its debugger.
  const { NODE_OPTIONS: _, ...variables } = grantedVariables(granted);
  return variables;
}

function grantedVariables({ all, env }: Permissions): Record<string, string> {
  // Deno looks for a newer one of itself, over the network, unless it is told not to.
  const variables: Record<string, string> = { DENO_NO_UPDATE_CHECK: "1" };
  if ((all || env === true) && isGranted("env")) {
    return { ...variables, ...Deno.env.toObject() };
  }
  const granted = Array.isArray(env) ? env : [];
  for (const name of [...NEEDED_BY_DENO, ...granted.flatMap(matchingVariables)]) {
    const value = readVariable(name);
    if (value !== undefined) variables[name] = value;
  }
  return variables;
}

/** The variables that a grant stands for: its last `*` is anything, as Deno has it. */
function matchingVariables(grant: string): string[] {
  if (!grant.endsWith("*")) return [grant];
  if (!isGranted("env")) return [];
  const start = grant.slice(0, -1);
  return Object.keys(Deno.env.toObject()).filter((name) => name.startsWith(start));
}

/** Grants of variables that give none, as this process may not list its own. */
export function unlistedVariables({ all, env }: Permissions): string[] {
  const granted = !all && Array.isArray(env) ? env : [];
  return granted.filter((grant) => grant.endsWith("*") && !isGranted("env"));
}
