/**
 * A worker as a process: how it is started, what it may do, and how it is ended. The only user of
 * Deno.Command. Decides nothing: that is supervisor.ts.
 *
 * @module
 */

import { buildWorkerConfig, type WorkerConfig } from "../wire/worker_config.ts";
import type { Permissions } from "../ops/options.ts";

/** How workers are started; the same for all workers of a server. */
export interface ChildSpec {
  /** The deno to run; asked for once, since its file may be replaced while this process runs. */
  program: string;
  /** URL of worker.ts. */
  workerModule: string;
  /** URL or specifier of the handler module; undefined: echo. */
  handler: string | undefined;
  /** What the handler may do. */
  permissions: Permissions;
  /** Bytes of JavaScript's heap at most; 0: as V8 sees fit. */
  memoryLimit: number;
  /** User to run as. */
  uid: number | undefined;
  /** Group to run as. */
  gid: number | undefined;
}

/** How a process ended. */
export interface ChildExit {
  /** Its exit code; 128 + number for a signal. */
  code: number;
  /** The signal that ended it. */
  signal: Deno.Signal | null;
}

/** A process that was started. */
export interface Child {
  readonly pid: number;
  /** Settles when it has ended. */
  readonly exited: Promise<ChildExit>;
  /** Sends a signal; does nothing if it has ended. */
  kill(signal: Deno.Signal): void;
}

/** What takes the streams that a process prints to. */
export type TakeStream = (
  from: "stdout" | "stderr",
  stream: ReadableStream<Uint8Array<ArrayBuffer>>,
) => void;

/**
 * Starts a worker. Its stdin stays open for as long as this process lives: its end tells the worker
 * to leave. What it prints goes where this process prints, or to `take`.
 *
 * @param cwd The folder to start it in; undefined: this process's.
 * @throws {Error} when the system can't start a process.
 */
export function spawnChild(
  spec: ChildSpec,
  config: WorkerConfig,
  cwd?: string,
  take?: TakeStream,
): Child {
  // What is carried to a log has no colours.
  const plain: Record<string, string> = take === undefined ? {} : { NO_COLOR: "1" };
  const env = { DENO_NO_UPDATE_CHECK: "1", ...environment(spec.permissions), ...plain };
  const process = new Deno.Command(spec.program, {
    args: [...flags(spec, config.library), mainModule(spec)],
    stdin: "piped",
    stdout: take === undefined ? "inherit" : "piped",
    stderr: take === undefined ? "inherit" : "piped",
    clearEnv: true,
    env,
    // A session of its own: Ctrl-C in a terminal is for the parent, which then asks its workers.
    detached: true,
    ...(cwd === undefined ? {} : { cwd }),
    ...(spec.uid === undefined ? {} : { uid: spec.uid }),
    ...(spec.gid === undefined ? {} : { gid: spec.gid }),
  }).spawn();
  take?.("stdout", process.stdout);
  take?.("stderr", process.stderr);
  const lifeline = process.stdin.getWriter();
  // A process that has died at once takes no line; its exit tells the story.
  lifeline.write(buildWorkerConfig(config)).catch(() => {});
  const exited = process.status.then(({ code, signal }) => {
    lifeline.abort().catch(() => {});
    return { code, signal };
  });
  return { pid: process.pid, exited, kill: (signal) => killProcess(process, signal) };
}

function killProcess(process: Deno.ChildProcess, signal: Deno.Signal): void {
  try {
    process.kill(signal);
  } catch (error) {
    // It has ended a moment ago.
    if (!(error instanceof TypeError || error instanceof Deno.errors.NotFound)) throw error;
  }
}

/**
 * The main module of a worker: it names the handler literally, so that importing it needs no read
 * permission.
 */
function mainModule({ workerModule, handler }: ChildSpec): string {
  const load = handler === undefined ? "" : `() => import(${JSON.stringify(handler)})`;
  const code = `import { main } from ${JSON.stringify(workerModule)}; await main(${load});`;
  return `data:application/typescript,${encodeURIComponent(code)}`;
}

/** Signals that nothing but a call of kill() sends, in the ways in which processes are ended. */
const SENT = new Set(["SIGKILL", "SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2"]);

/** Whether a signal ended a process that somebody else can have sent; a crash has signals of its own. */
export function isFromOutside({ signal }: ChildExit): boolean {
  return signal !== null && SENT.has(signal);
}

/**
 * What has most likely ended a process that crashed; undefined: nothing is known. V8 itself says more
 * on stderr.
 */
export function likelyCause(
  { signal }: ChildExit,
  { memoryLimit }: ChildSpec,
): string | undefined {
  // V8's fatal errors end in a trap instruction.
  if (signal !== "SIGTRAP" && signal !== "SIGILL") return undefined;
  const limit = memoryLimit === 0 ? "V8's own limit" : '"memoryLimit"';
  return `out of memory: its heap has reached ${limit}`;
}

const MiB = 1024 ** 2;

function flags(spec: ChildSpec, library: string): string[] {
  const { handler, permissions, memoryLimit } = spec;
  const heap = Math.round(memoryLimit / MiB);
  const config = handler === undefined ? undefined : nearestConfig(handler);
  return [
    "run",
    "--quiet",
    "--no-prompt",
    "--no-lock",
    ...(heap === 0 ? [] : [`--v8-flags=--max-old-space-size=${heap}`]),
    config === undefined ? "--no-config" : `--config=${config}`,
    mayUseFfi(permissions) ? "--allow-ffi" : `--allow-ffi=${escapeComma(library)}`,
    ...permissionFlags(permissions, remoteHosts(spec)),
  ];
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

const KINDS = ["read", "write", "net", "env", "run", "sys", "import"] as const;

function permissionFlags(granted: Permissions, hosts: string[]): string[] {
  return KINDS.flatMap((kind) => {
    // Nobody can give more than he has.
    const grant = granted.all ? isGranted(kind) : granted[kind];
    if (grant === true && kind === "sys" && !mayUseFfi(granted)) return [ALLOW_SYS];
    if (grant === true) return [`--allow-${kind}`];
    const values = Array.isArray(grant) ? grant : [];
    const all = kind === "import" ? importHosts(values, hosts) : values;
    return all.length === 0 ? [] : [`--allow-${kind}=${all.map(escapeComma).join(",")}`];
  });
}

/** Whether the handler may use FFI: only if it may do everything, and so may this process. */
export function mayUseFfi({ all }: Permissions): boolean {
  return all === true && isGranted("ffi");
}

function isGranted(name: typeof KINDS[number] | "ffi"): boolean {
  return Deno.permissions.querySync({ name }).state === "granted";
}

/** Deno's own defaults: naming any host replaces them. */
const DEFAULT_IMPORT_HOSTS = [
  "deno.land:443",
  "jsr.io:443",
  "esm.sh:443",
  "raw.githubusercontent.com:443",
  "gist.githubusercontent.com:443",
];

function importHosts(granted: readonly string[], needed: readonly string[]): string[] {
  if (granted.length === 0 && needed.length === 0) return [];
  return [...new Set([...DEFAULT_IMPORT_HOSTS, ...granted, ...needed])];
}

/** Where the worker's own code and the handler come from, if that is the network. */
function remoteHosts({ workerModule, handler }: ChildSpec): string[] {
  return [workerModule, handler ?? ""]
    .filter((specifier) => /^https?:/.test(specifier))
    .map((specifier) => new URL(specifier))
    .map(({ hostname, port, protocol }) =>
      `${hostname}:${port || (protocol === "https:" ? 443 : 80)}`
    );
}

function escapeComma(value: string): string {
  return value.replaceAll(",", ",,");
}

/** The configuration file that `deno run` would find for a local handler. */
function nearestConfig(handler: string): string | undefined {
  if (!handler.startsWith("file:")) return undefined;
  for (let folder = new URL(".", handler);; folder = new URL("..", folder)) {
    for (const name of ["deno.json", "deno.jsonc", "package.json"]) {
      const file = new URL(name, folder);
      if (isFile(file)) return name === "package.json" ? undefined : filePath(file);
    }
    if (folder.pathname === "/") return undefined;
  }
}

function isFile(url: URL): boolean {
  try {
    return Deno.statSync(url).isFile;
  } catch {
    return false;
  }
}

/** The path of a file: URL. */
export function filePath(url: URL): string {
  return decodeURIComponent(url.pathname);
}

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

function environment(granted: Permissions): Record<string, string> {
  // It can have Deno open its debugger.
  const { NODE_OPTIONS: _, ...variables } = grantedVariables(granted);
  return variables;
}

function grantedVariables({ all, env }: Permissions): Record<string, string> {
  if ((all || env === true) && isGranted("env")) return Deno.env.toObject();
  // Deno looks for a newer one of itself, over the network, unless it is told not to.
  const variables: Record<string, string> = { DENO_NO_UPDATE_CHECK: "1" };
  for (const name of [...NEEDED_BY_DENO, ...(Array.isArray(env) ? env : [])]) {
    const value = readVariable(name);
    if (value !== undefined) variables[name] = value;
  }
  return variables;
}

/** An environment variable, or undefined if it is not set or may not be read. */
export function readVariable(variable: string): string | undefined {
  const { state } = Deno.permissions.querySync({ name: "env", variable });
  return state === "granted" ? Deno.env.get(variable) : undefined;
}

/**
 * The local files that a handler is made of: itself and what it imports.
 *
 * @throws {Error} with Deno's own message when they can't be read.
 */
export async function localModules(handler: string): Promise<string[]> {
  const args = ["info", "--json", "--no-lock", handler];
  const options = { args, stdin: "null", stdout: "piped", stderr: "piped" } as const;
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), options).output();
  const decoder = new TextDecoder();
  if (!success) throw new Error(decoder.decode(stderr).trim());
  const graph: { modules?: { local?: string | null; specifier: string }[] } = JSON.parse(
    decoder.decode(stdout),
  );
  return (graph.modules ?? [])
    .filter(({ specifier }) => specifier.startsWith("file:"))
    .flatMap(({ local }) => typeof local === "string" ? [local] : []);
}

/** What keeps Deno from running any worker of a spec. */
export interface Refusal {
  /** Deno's own message. */
  reason: string;
  /** The permission that Deno can't grant so; undefined: a file is at fault, such as a configuration. */
  permission: string | undefined;
}

/** Deno's exit code when it runs nothing: an argument or a file that it can't use. */
export const DENO_FAILED = 1;
/** A process that runs nothing is over by then, ms. */
const TRIAL_LIMIT = 10_000;

/** Asks Deno, by a process that loads no handler, whether it refuses to run workers at all. */
export async function findRefusal(spec: ChildSpec, library: string): Promise<Refusal | undefined> {
  const reason = await tryFlags(spec, library);
  if (reason === undefined) return undefined;
  const plain = await tryFlags({ ...spec, permissions: {} }, library);
  for (const [name, granted] of plain === undefined ? Object.entries(spec.permissions) : []) {
    const refused = await tryFlags({ ...spec, permissions: { [name]: granted } }, library);
    if (refused !== undefined) return { reason: refused, permission: name };
  }
  return { reason, permission: undefined };
}

/** Why Deno does not run the worker's own modules with these flags; undefined: it does. */
async function tryFlags(spec: ChildSpec, library: string): Promise<string | undefined> {
  const main = `data:application/javascript,import ${JSON.stringify(spec.workerModule)}`;
  const { success, stderr } = await new Deno.Command(spec.program, {
    args: [...flags(spec, library), main],
    stdin: "null",
    stdout: "null",
    stderr: "piped",
    clearEnv: true,
    env: { ...environment(spec.permissions), NO_COLOR: "1" },
    signal: AbortSignal.timeout(TRIAL_LIMIT),
    ...(spec.uid === undefined ? {} : { uid: spec.uid }),
    ...(spec.gid === undefined ? {} : { gid: spec.gid }),
  }).output();
  return success ? undefined : shorten(new TextDecoder().decode(stderr));
}

/** Deno's message in one line, without its own stack; one of several causes only repeats it. */
function shorten(message: string): string {
  return message.replace(/\s*Stack backtrace:[^]*$/, "").replace(/\s*Caused by:\s*0:[^]*$/, "")
    .replace(/^error: /, "").trim()
    .replace(/\.?\s*Caused by:\s*/, ": ").replaceAll(/\s*\n\s*/g, " ");
}

/** The environment variable that tells a program in the background who waits for it. */
export const STARTER_VARIABLE = "PREFORK_STARTER";

/**
 * Starts this program again in the background, with nothing on its stdin and all that it prints at the
 * end of `logFile`.
 *
 * @throws {Error} when the system can't start a process.
 */
export function spawnInBackground(program: string, args: string[], logFile: string): Child {
  const script = 'exec "$@" >>"$0" 2>&1 </dev/null';
  const process = new Deno.Command("/bin/sh", {
    args: ["-c", script, logFile, Deno.execPath(), "run", "-A", program, ...args],
    stdin: "null",
    stdout: "null",
    stderr: "null",
    env: { [STARTER_VARIABLE]: String(Deno.pid) },
    detached: true,
  }).spawn();
  const exited = process.status.then(({ code, signal }) => ({ code, signal }));
  return { pid: process.pid, exited, kill: (signal) => killProcess(process, signal) };
}
