/**
 * A worker as a process: how it is started, what it may do, and how it is ended. The only user of
 * Deno.Command. Decides nothing: that is supervisor.ts.
 *
 * @module
 */

import { buildWorkerConfig, type WorkerConfig } from "../wire/worker_config.ts";
import { type Graph, NO_MODULES, readGraph } from "./modules.ts";
import {
  environment,
  hostOf,
  loadFlags,
  mainModule,
  type Sandbox,
  trialModule,
  workerFlags,
} from "./sandbox.ts";
import { messageOf } from "../system/errors.ts";

/** How workers are started; the same for all workers of a server. */
export interface ChildSpec extends Sandbox {
  /** The deno to run; asked for once, since its file may be replaced while this process runs. */
  program: string;
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
  const process = new Deno.Command(spec.program, {
    args: [...workerFlags(spec, config.library), mainModule(spec)],
    stdin: "piped",
    stdout: take === undefined ? "inherit" : "piped",
    stderr: take === undefined ? "inherit" : "piped",
    clearEnv: true,
    env: { ...environment(spec.permissions), ...plain },
    // A session of its own: Ctrl-C in a terminal is for the parent, which then asks its workers.
    detached: true,
    ...(cwd === undefined ? {} : { cwd }),
    ...account(spec),
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

/**
 * Has Deno bring the modules of a handler into its cache, as the workers' user and under the workers'
 * rules of resolution, and gives what they are. Runs none of them.
 *
 * @param options `cwd`: the folder to do so in; undefined: this process's.
 * @throws {Error} naming the lock, or with Deno's own message, when they can't be loaded so.
 */
export async function loadModules(
  spec: ChildSpec,
  options: { signal?: AbortSignal; cwd?: string } = {},
): Promise<Graph> {
  const { handler = "", workerModule } = spec;
  if (!workerModule.startsWith("file:")) {
    const plain = { ...spec, configFile: undefined, mapFile: undefined, lockFile: undefined };
    await runDeno(spec, [...loadFlags(plain), workerModule], options);
  }
  // Deno tells nothing of these, and what they import is not known before they run.
  if (/^(data|blob):/.test(handler)) return NO_MODULES;
  try {
    return readGraph(await runDeno(spec, [...loadFlags(spec), handler], options), hostOf);
  } catch (error) {
    throw new Error(`Cannot load the handler "${handler}": ${explain(spec, error)}`);
  }
}

/** Deno's message, and the name of the lock if that is at fault: what Deno saw is a copy. */
function explain({ config, lockFile }: ChildSpec, error: unknown): string {
  const message = messageOf(error);
  const lock = lockFile !== undefined && message.includes("lockfile") ? config?.lock : undefined;
  return lock === undefined ? message : `"${lock.file}" does not fit it: ${message}`;
}

/** Characters of what Deno says of a lock that does not fit. */
const LONGEST_REASON = 2000;

/** What a process of Deno's writes to stdout. */
async function runDeno(
  spec: ChildSpec,
  args: string[],
  options: { signal?: AbortSignal; cwd?: string },
): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(spec.program, {
    args,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    clearEnv: true,
    env: { ...environment({}), NO_COLOR: "1" },
    ...options,
    ...account(spec),
  }).output();
  const decoder = new TextDecoder();
  if (!success) throw new Error(shorten(decoder.decode(stderr)).slice(0, LONGEST_REASON));
  return decoder.decode(stdout);
}

function account({ uid, gid }: ChildSpec): { uid?: number; gid?: number } {
  return { ...uid === undefined ? {} : { uid }, ...gid === undefined ? {} : { gid } };
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
  const { success, stderr } = await new Deno.Command(spec.program, {
    args: [...workerFlags(spec, library), trialModule(spec)],
    stdin: "null",
    stdout: "null",
    stderr: "piped",
    clearEnv: true,
    env: { ...environment(spec.permissions), NO_COLOR: "1" },
    signal: AbortSignal.timeout(TRIAL_LIMIT),
    ...account(spec),
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
