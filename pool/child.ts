/**
 * Processes that are started: workers, runs of Deno without a handler, and the server in the background.
 * The only user of Deno.Command. Not here: when a worker is started or ended, which supervisor.ts decides.
 *
 * @module
 */

import { environment, workerEnvironment } from "./environment.ts";
import { workerFlags } from "./flags.ts";
import { mainModule, type Sandbox } from "./sandbox.ts";
import { ownProgram, type WorkerProgram } from "./worker_program.ts";
import type { Permissions } from "../options/settings.ts";
import { buildWorkerConfig, WORKER_ARGUMENT, type WorkerConfig } from "../wire/worker_config.ts";

/** How workers are started; the same for all workers of a server. */
export interface ChildSpec extends Sandbox {
  program: WorkerProgram;
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
  /** Resolves when it has ended. */
  readonly exited: Promise<ChildExit>;
  /** Sends a signal; does nothing if it has ended. */
  kill(signal: Deno.Signal): void;
}

/** Takes a stream that a process prints to. */
export type TakeStream = (
  from: "stdout" | "stderr",
  stream: ReadableStream<Uint8Array<ArrayBuffer>>,
) => void;

/** A worker's process that waits for its orders: until then it loads the worker's own modules and runs nothing else. */
export interface Recruit {
  /** Gives it its orders; what it prints goes to `take` if it was started with "piped". */
  enlist(config: WorkerConfig, take?: TakeStream): Child;
  /** Ends it. */
  dismiss(): void;
}

/** Processes that were started here and have not ended. */
const alive = new Set<number>();

/** Whether a process was started here, and its end is waited for. */
export function isOwnChild(pid: number): boolean {
  return alive.has(pid);
}

function spawn(program: string, options: Deno.CommandOptions): Deno.ChildProcess {
  const process = new Deno.Command(program, options).spawn();
  alive.add(process.pid);
  process.status.finally(() => alive.delete(process.pid));
  return process;
}

/**
 * Starts a worker. Its stdin stays open for as long as this process lives: when it ends, the worker leaves.
 * What it prints goes where this process prints, or to `take`.
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
  const output = take === undefined ? "inherit" : "piped";
  return spawnRecruit(spec, config.library, cwd, output).enlist(config, take);
}

/**
 * Starts the process of a worker, which waits for its orders.
 *
 * @param library The file that its orders will name for FFI.
 * @param cwd The folder to start it in; undefined: this process's.
 * @throws {Error} when the system can't start a process.
 */
export function spawnRecruit(
  spec: ChildSpec,
  library: string,
  cwd: string | undefined,
  output: "inherit" | "piped",
): Recruit {
  // Lines that go to a log have no colours.
  const plain: Record<string, string> = output === "piped" ? { NO_COLOR: "1" } : {};
  const process = spawn(spec.program.path, {
    args: argumentsOf(spec, library),
    stdin: "piped",
    stdout: output,
    stderr: output,
    clearEnv: true,
    env: { ...workerEnvironment(spec.permissions), ...plain },
    // In a session of its own it is spared by Ctrl-C in a terminal: the parent asks its workers to leave.
    detached: true,
    ...(cwd === undefined ? {} : { cwd }),
    ...account(spec),
  });
  return {
    enlist: (config, take) => enlist(process, config, take),
    dismiss: () => dismiss(process, output),
  };
}

/** Its orders say what a compiled program needs besides. */
function argumentsOf(spec: ChildSpec, library: string): string[] {
  if (spec.program.isCompiled) return [WORKER_ARGUMENT];
  return [...workerFlags(spec, library), mainModule(spec)];
}

function enlist(process: Deno.ChildProcess, config: WorkerConfig, take?: TakeStream): Child {
  take?.("stdout", process.stdout);
  take?.("stderr", process.stderr);
  const lifeline = process.stdin.getWriter();
  // A process that has died at once takes no line; its exit is reported anyway.
  lifeline.write(buildWorkerConfig(config)).catch(() => {});
  const exited = process.status.then(({ code, signal }) => {
    lifeline.abort().catch(() => {});
    return { code, signal };
  });
  return { pid: process.pid, exited, kill: (signal) => killProcess(process, signal) };
}

function dismiss(process: Deno.ChildProcess, output: "inherit" | "piped"): void {
  killProcess(process, "SIGKILL");
  process.stdin.abort().catch(() => {});
  if (output === "inherit") return;
  process.stdout.cancel().catch(() => {});
  process.stderr.cancel().catch(() => {});
}

function killProcess(process: Deno.ChildProcess, signal: Deno.Signal): void {
  try {
    process.kill(signal);
  } catch (error) {
    // The process has ended a moment ago.
    if (!(error instanceof TypeError || error instanceof Deno.errors.NotFound)) throw error;
  }
}

/** Signals that end a process and are sent by kill(2) alone. */
const SENT = new Set(["SIGKILL", "SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2"]);

/** Whether a process was ended by a signal that another one can have sent; a crash has signals of its own. */
export function isFromOutside({ signal }: ChildExit): boolean {
  return signal !== null && SENT.has(signal);
}

/**
 * What has most likely ended a process that crashed; undefined: nothing is known. V8 itself writes more
 * to stderr.
 */
export function likelyCause(
  { signal }: ChildExit,
  { memoryLimit }: ChildSpec,
): string | undefined {
  // V8 ends its process by a trap instruction after a fatal error.
  if (signal !== "SIGTRAP" && signal !== "SIGILL") return undefined;
  const limit = memoryLimit === 0 ? "V8's own limit" : '"memoryLimit"';
  return `out of memory: its heap has reached ${limit}`;
}

/** Deno's exit code when it runs nothing: an argument or a file that it can't use. */
export const DENO_FAILED = 1;

/** A run of Deno that is waited for. */
export interface Run {
  args: string[];
  /** What decides its environment. */
  permissions: Permissions;
  /** Ends it. */
  signal?: AbortSignal;
  /** The folder to start it in; undefined: this process's. */
  cwd?: string;
}

/** Runs Deno as the workers' user, and gives what it writes; `error`: its stderr, if it has failed. */
export async function runDeno(
  spec: ChildSpec,
  { args, permissions, ...options }: Run,
): Promise<{ stdout: string; error: string | undefined }> {
  const { success, stdout, stderr } = await spawn(spec.program.path, {
    args,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    clearEnv: true,
    env: { ...environment(permissions), NO_COLOR: "1" },
    ...options,
    ...account(spec),
  }).output();
  const decoder = new TextDecoder();
  return {
    stdout: decoder.decode(stdout),
    error: success ? undefined : decoder.decode(stderr),
  };
}

function account({ uid, gid }: ChildSpec): { uid?: number; gid?: number } {
  return { ...uid === undefined ? {} : { uid }, ...gid === undefined ? {} : { gid } };
}

/** The environment variable that names, to a server in the background, the process that waits for it. */
export const STARTER_VARIABLE = "PREFORK_STARTER";

/**
 * Starts this program again in the background, with nothing on its stdin and all that it prints at the
 * end of `logFile`.
 *
 * @param module its main module, for Deno to run.
 * @throws {Error} when the system can't start a process.
 */
export function spawnInBackground(module: string, args: string[], logFile: string): Child {
  const script = 'exec "$@" >>"$0" 2>&1 </dev/null';
  const { path, isCompiled } = ownProgram();
  const program = isCompiled ? [path] : [path, "run", "-A", module];
  const process = spawn("/bin/sh", {
    args: ["-c", script, logFile, ...program, ...args],
    stdin: "null",
    stdout: "null",
    stderr: "null",
    env: { [STARTER_VARIABLE]: String(Deno.pid) },
    detached: true,
  });
  const exited = process.status.then(({ code, signal }) => ({ code, signal }));
  return { pid: process.pid, exited, kill: (signal) => killProcess(process, signal) };
}
