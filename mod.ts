/**
 * A preforking ZeroMQ job server: {@linkcode serve} runs a load-balancing broker in this process and
 * keeps a pool of worker processes alive that answer requests with your handler module.
 *
 * ```ts
 * import { serve } from "jsr:@zmq/prefork";
 *
 * await using server = serve({
 *   handler: new URL("./handler.ts", import.meta.url),
 *   handleSignals: true, // TERM and INT let running jobs end; without it they end the process
 * });
 * await server.finished;
 * ```
 *
 * This is the parent: the one place where signals, the broker's events and the pool's meet. Importing
 * it does nothing; run, it is the command.
 *
 * @module
 */

import { type AccessRules, readRules } from "./auth/access_control.ts";
import { readSecretKey } from "./auth/keys.ts";
import { type AccessOptions, BrokerLoop } from "./ports/loop.ts";
import type {
  BrokerCounters,
  End,
  Failure,
  Look,
  LoopEvent,
  LoopLimits,
  SocketCounters,
} from "./ports/messages.ts";
import { AccessLog } from "./ops/access_log.ts";
import { type Log, openLog } from "./ops/log.ts";
import { LogFollower } from "./ops/log_follower.ts";
import { addressLimit, connectionLimit } from "./options/connection_limits.ts";
import { resolveOptions } from "./options/resolve.ts";
import type {
  RequestErrorEvent,
  ServeOptions,
  Settings,
  WorkerExitEvent,
} from "./options/settings.ts";
import { isOpenToNetwork } from "./wire/endpoint.ts";
import { claimPidFile, type PidFile } from "./system/pid_file.ts";
import { requireHandler, requirePlainFiles } from "./ops/given_files.ts";
import { type StopSignal, StopWish, Terminal } from "./ops/signals.ts";
import { doubts, type Files, FILES_FOR_START, judgeFiles } from "./ops/start_checks.ts";
import {
  type Child,
  type ChildExit,
  type ChildSpec,
  DENO_FAILED,
  isFromOutside,
  likelyCause,
  spawnChild,
} from "./pool/child.ts";
import { readHandlerConfig } from "./pool/handler_config.ts";
import { scanModules } from "./pool/modules.ts";
import { type Printer, Prints } from "./pool/prints.ts";
import { unlistedVariables } from "./pool/environment.ts";
import { linksToRead } from "./pool/flags.ts";
import { callGrants, mayUseFfi, mayWriteFiles } from "./pool/grants.ts";
import { ownConfig, ownLock, ownMap } from "./pool/own_config.ts";
import {
  type Action,
  type ExitReason,
  type MemoryReading,
  type Purpose,
  Supervisor,
} from "./pool/supervisor.ts";
import { lookupAccount } from "./system/account.ts";
import { cpuTime, fileLimit, isAlive, openFiles, residentMemory } from "./system/proc.ts";
import { readVariable } from "./system/variables.ts";
import { StartFolder } from "./pool/start_folder.ts";
import { findRefusal, loadModules, type Refusal } from "./pool/trials.ts";
import { waitForChange } from "./ops/watch.ts";
import { Workplace } from "./system/workplace.ts";
import { LogQuota } from "./wire/log_quota.ts";
import { LOAD_FAILED, type WorkerConfig, type WorkerKeys } from "./wire/worker_config.ts";
import { makeKeyPair, publicKeyOf } from "./zmq/curve.ts";
import { shutDebugger } from "./system/debugger.ts";
import { IpcPaths } from "./system/ipc_path.ts";
import type { Library } from "./zmq/library.ts";
import { canConfine } from "./system/seccomp.ts";
import { Ticks, TickTimer } from "./system/ticks.ts";
import { shortEndpoint } from "./system/title.ts";
import { canOpen } from "./zmq/descriptors.ts";
import { locateLibrary } from "./zmq/locate.ts";

export type {
  Hooks,
  Level,
  ListenEvent,
  LogFormat,
  Permissions,
  ReloadEvent,
  RequestErrorEvent,
  ResizeEvent,
  ServeOptions,
  StopEvent,
  WorkerEvent,
  WorkerExitEvent,
} from "./options/settings.ts";
export type { BrokerCounters, ExitReason, SocketCounters };
export type {
  Handler,
  HandlerContext,
  HandlerLog,
  HandlerModule,
  HandlerResult,
  LogLineFields,
} from "./worker/handler.ts";
import { messageOf } from "./system/errors.ts";
import { filePath } from "./system/files.ts";

/** A server that runs. */
export interface Server {
  /** The endpoints really bound for clients: ports chosen by the system are filled in. */
  readonly frontend: readonly string[];
  /** The endpoint really bound for workers. */
  readonly backend: string;
  /** Fulfilled when `minWorkers` are ready; rejected when the handler can't be loaded. */
  readonly ready: Promise<void>;
  /** Fulfilled when the server has ended; rejected when it could not start or broke. */
  readonly finished: Promise<Finished>;
  /** What there is and what has happened. */
  stats(): Stats;
  /**
   * Changes the bounds of the pool.
   *
   * @throws {RangeError} when one is no integer >= 1 or min is above max.
   */
  resize(bounds: { min?: number; max?: number }): void;
  /**
   * Replaces all workers by fresh ones that load the handler anew; each new one is ready before an old
   * one leaves. Rejected if new ones can't start: then the old ones stay.
   *
   * @param options options to change; those of the sockets, the process and the log stay as they are.
   */
  reload(options?: ServeOptions): Promise<void>;
  /**
   * Takes no more requests, lets running jobs end and stops the workers, within `stopTimeout`. A second
   * call, once it is under way, does nothing but wait.
   *
   * @param options `queued`: whether waiting requests are answered 503 ("refuse") or served first.
   */
  shutdown(options?: { queued?: "refuse" | "serve" }): Promise<void>;
  /**
   * Opens the log file anew under its name. A rotation is followed within a second without it, where this
   * process may read the file.
   *
   * @returns whether it was opened; if not, the log goes on in the old file.
   */
  reopenLog(): boolean;
  /** The same as `shutdown()`, but does not reject with a failure if `ready` or `finished` was read. */
  [Symbol.asyncDispose](): Promise<void>;
}

/** How a server ended. */
export interface Finished {
  /** Whether a worker had to be killed because it did not leave in time. */
  forced: boolean;
}

/** A look at a server. Times are milliseconds. */
export interface Stats {
  /** Since the start. */
  uptime: number;
  /** Counts the reloads, from 1. */
  generation: number;
  /** Workers by state. */
  workers: {
    starting: number;
    idle: number;
    busy: number;
    stopping: number;
    dequeue: number;
    min: number;
    max: number;
  };
  /** Each worker process. */
  processes: WorkerStats[];
  /** Jobs that wait for a worker. */
  queue: { jobs: number; bytes: number };
  /** Jobs that workers have. */
  running: number;
  /** Clients that have asked something and are connected. */
  clients: number;
  /** Connections of clients; undefined where libzmq lacks its draft API, and so does not tell. */
  connections: number | undefined;
  /** The running estimate of the handler's time; undefined before the first reply. */
  serviceTime: number | undefined;
  /** What was counted since the start. */
  counters: BrokerCounters & SocketCounters & {
    /** Processes started. */
    spawned: number;
    /** Processes ended, by reason. */
    exited: Partial<Record<ExitReason, number>>;
  };
}

/** A worker process at a moment. */
export interface WorkerStats {
  /** Its number; never used twice. */
  worker: number;
  /** Its process id. */
  pid: number;
  /** What it does. */
  state: "starting" | "idle" | "busy" | "stopping" | "dequeue";
  /** Jobs that it has. */
  jobs: number;
  /** Jobs that it has answered. */
  answered: number;
}

/**
 * Starts a server. The sockets are bound when this returns; workers come up behind it.
 *
 * @throws {TypeError} when an option has a wrong type or no such option exists.
 * @throws {RangeError} when an option's value breaks its rule.
 * @throws {Error} when an endpoint can't be bound, libzmq can't be opened, or the pid file is taken.
 */
export function serve(options: ServeOptions = {}): Server {
  return start(options, () => undefined);
}

/** `reread` gives the options that a HUP should take up; undefined: the same. */
function start(options: ServeOptions, reread: () => ServeOptions | undefined): PreforkServer {
  warmUp();
  const settings = resolve(options);
  requireHandler(settings);
  const server = new PreforkServer(settings, options);
  if (settings.handleSignals) handleSignals(server, settings, reread);
  const abandon = () => server.abandon();
  addEventListener("unload", abandon);
  server.whenEnded(() => removeEventListener("unload", abandon));
  server.begin();
  if (settings.watch) watch(server, settings.handler);
  const abort = () => server.stop("refuse", "abort");
  options.signal?.addEventListener("abort", abort, { once: true });
  if (options.signal?.aborted) abort();
  server.whenEnded(() => options.signal?.removeEventListener("abort", abort));
  return server;
}

/**
 * Deno opens files when it looks at a stack or listens for a signal for the first time, and ends the
 * process if it can't: have both behind us before file descriptors may run out.
 */
function warmUp(): void {
  String(new Error().stack);
  const listener = () => {};
  Deno.addSignalListener("SIGCONT", listener);
  Deno.removeSignalListener("SIGCONT", listener);
}

function resolve(options: ServeOptions): Settings {
  return resolveOptions(options, { cpus: navigator.hardwareConcurrency, cwd: () => Deno.cwd() });
}

/** File descriptors that are left: enough, few, or too few to accept a client or to start a worker. */
type Supply = "enough" | "few" | "none";

interface Process {
  child: Child;
  purpose: Purpose;
  /** Its handler's module is loaded, and `init()` was begun. */
  isLoaded: boolean;
  /** It was ready, or has said why it never will be. */
  isHeard: boolean;
  /** Whether this process has sent it a signal to end it. */
  signalled: boolean;
  /** Whether it died while it had jobs. */
  diedBusy: boolean;
  /** How it has ended; undefined: it has not. */
  exit: ChildExit | undefined;
}

/** Whether Deno may have run nothing of a worker. */
function isRefused({ purpose, isHeard }: Process, { code, signal }: ChildExit): boolean {
  return purpose === "serve" && !isHeard && code === DENO_FAILED && signal === null;
}

/** Whether no job is left. */
function isIdle({ queued, running }: Look): boolean {
  return queued === 0 && running === 0;
}

/** What the supervisor needs to know of the jobs. */
function loadOf({ lastJobAt, workers }: Look): Parameters<Supervisor["tick"]>[1] {
  return {
    lastJobAt,
    idleSince: (worker) => workers.get(worker)?.spareSince,
    answered: (worker) => workers.get(worker)?.answered ?? 0,
    busy: (worker) => (workers.get(worker)?.jobs ?? 0) > 0,
  };
}

/** The options of the loop that a reload may change. */
function limitsOf(settings: Settings): LoopLimits {
  return {
    concurrency: settings.concurrency,
    prefetch: settings.prefetch,
    prefetchBudget: settings.prefetchBudget,
    dispatch: settings.dispatch,
    maxAttempts: settings.maxAttempts,
    queueLimit: settings.queueLimit,
    queueBytes: settings.queueBytes,
    overflow: settings.overflow,
    maxQueuePerClient: settings.maxQueuePerClient,
    requestTimeout: settings.requestTimeout,
    stopTimeout: settings.stopTimeout,
    abortGrace: settings.abortGrace,
    replyCacheTtl: settings.replyCacheTtl,
    replyCacheBytes: settings.replyCacheBytes,
    exposeErrors: settings.exposeErrors,
  };
}

/** Whether somebody else can have ended a process. */
function endOf({ signalled }: Process, exit: ChildExit): End {
  return isFromOutside(exit) && !signalled ? "outside" : "itself";
}

const MiB = 1024 ** 2;
/** Whose failed requests are counted: all workers' together. */
const NO_WORKER = 0;
/** Replies that are on their way at the end have at least this long, and at most what is left of `stopTimeout`, ms. */
const MIN_LINGER = 100;
/** How often the open files are counted at most, and how often at least, ms. */
const FILES_INTERVAL = 1000;
const FILES_REST = 5000;
/** The part of the limit that is near it. */
const FILES_SHARE = 0.9;
const FILES_CURE = "raise LimitNOFILE= or ulimit -n, or set maxConnections";
/** Sockets take so much longer to close than clients have to take their last replies, ms at most. */
const CLOSE_MARGIN = 200;
/** A stop is over when nothing was read from clients for so long, or so long after the last worker left, ms. */
const QUIET_TIME = 25;
const LAST_REQUESTS = 250;
/** Nothing asked for so long is called idle, ms. */
const IDLE_AFTER = 1000;
/** How often it is checked that what later workers need is still there, and again after a failure, ms. */
const WORKPLACE_INTERVAL = 1000;
const WORKPLACE_RETRY = 3000;
/** How often workers tell their memory, where this process can't see it, ms. */
const MEMORY_INTERVAL = 1000;

class PreforkServer implements Server {
  #settings: Settings;
  /** What was asked for; the settings follow from it. */
  #options: ServeOptions;
  #spec: ChildSpec;
  readonly #log: Log;
  readonly #follower: LogFollower;
  readonly #visits: AccessLog | undefined;
  readonly #library: Library;
  /** Whether the kernel can filter what workers ask of it. */
  readonly #canConfine: boolean;
  readonly #start: StartFolder;
  readonly #workplace: Workplace;
  readonly #pidFile: PidFile | undefined;
  readonly #prints = new Prints();
  /** What each worker may print. */
  readonly #lines = new LogQuota({ lines: 5000, bytes: 4 * MiB });
  /** What is logged of requests that fail. */
  readonly #failures = new LogQuota({ lines: 100, bytes: MiB });
  readonly #access: Access | undefined;
  readonly #loop: BrokerLoop;
  readonly #timer: TickTimer;
  /** Rejected when a tick has failed. */
  readonly #broken = Promise.withResolvers<never>();
  readonly #supervisor: Supervisor;
  readonly #processes = new Map<number, Process>();
  readonly #startedAt = performance.now();
  readonly #exits: Partial<Record<ExitReason, number>> = {};
  readonly #ready = Promise.withResolvers<void>();
  readonly #finished = Promise.withResolvers<Finished>();
  #reload: { resolvers: PromiseWithResolvers<void>; before: ChildSpec } | undefined;
  /** Deno is bringing the modules of a handler. */
  #loading: AbortController | undefined;
  /** What of the handler's configuration was said not to be used. */
  readonly #noted = new Set<string>();
  /** serving → draining: serves what waits → stopping: workers leave → (finished) */
  #phase: "serving" | "draining" | "stopping" = "serving";
  #stopAt = Infinity;
  /** When it ends though clients have not taken their replies. */
  #endAt = Infinity;
  /** When the last worker had left. */
  #leftAt: number | undefined;
  /** Ends the wait for clients to take their last replies. */
  #cutShort: (() => void) | undefined;
  #stopHook: Promise<void> | undefined;
  #failure: Error | undefined;
  #spawned = 0;
  #filesCheckedAt = -Infinity;
  #workplaceDueAt = -Infinity;
  /** It was said that the start folder is gone. */
  #homeless = false;
  /** Undefined where they can't be counted. */
  #files: Files | undefined;
  #supply: Supply = "enough";
  #idleTold = true;
  /** Somebody has `ready` or `finished`, and so is told of a failure. */
  #isAsked = false;
  /** It was said that new workers are above `maxMemory`. */
  #memoryWarned = false;

  constructor(settings: Settings, options: ServeOptions) {
    this.#settings = settings;
    this.#options = options;
    const { logLevel: level, logFile: file, logFormat: format } = settings;
    this.#log = openLog({ level, file, format });
    this.#follower = new LogFollower(this.#log, () => this.reopenLog());
    try {
      this.#visits = settings.accessLog === "off" ? undefined : new AccessLog(settings);
      this.#library = locateLibrary(readVariable("ZMQ_LIBRARY"));
      if (shutDebugger(this.#library.path) === "open") this.#log.warn(DEBUGGER_OPEN);
      this.#spec = childSpec(settings);
      requireRun(this.#spec.program);
      this.#checkStart();
      this.#supervisor = new Supervisor(settings, { cpus: navigator.hardwareConcurrency });
      this.#pidFile = this.#claimPidFile();
      this.#canConfine = canConfine(this.#library.path);
      if (!this.#canConfine && Deno.build.os === "linux") this.#log.warn(UNFILTERED);
      const paths = new IpcPaths(this.#library);
      this.#start = new StartFolder(() => paths.absolute("")?.replace(/(?<=.)\/$/, ""));
      this.#workplace = openWorkplace(settings, this.#spec, this.#library, paths);
      this.#spec = this.#place(this.#spec);
      const { backend, doubt } = this.#workplace;
      if (doubt !== undefined) this.#log.warn(doubt);
      this.#access = openAccess(settings, this.#library);
      const access = this.#access?.options;
      const visits = this.#visits !== undefined;
      const options = { ...settings, backend, access, visits };
      this.#loop = new BrokerLoop(this.#library, options, (event) => this.#hear(event));
      this.#timer = new TickTimer(this.#ticks(), (error) => this.#broken.reject(error));
      this.#workplace.handOver(this.#loop.backend);
    } catch (error) {
      this.#cleanUp();
      this.#closeLog();
      throw error;
    }
    this.#ready.promise.catch(() => {});
    this.#finished.promise.catch(() => {});
    this.#broken.promise.catch(() => {});
  }

  /** Lets workers come up, and serves. */
  begin(): void {
    this.#announce();
    if (this.#spec.graph === undefined) this.#loadModules(this.#spec);
    this.#timer.wake();
    this.#run();
  }

  /** The file of libzmq. */
  get library(): string {
    return this.#library.path;
  }

  get frontend(): readonly string[] {
    return this.#loop.frontend;
  }

  get backend(): string {
    return this.#loop.backend;
  }

  get ready(): Promise<void> {
    this.#isAsked = true;
    return this.#ready.promise;
  }

  get finished(): Promise<Finished> {
    this.#isAsked = true;
    return this.#finished.promise;
  }

  stats(): Stats {
    const seen = this.#loop.look();
    const processes = [...this.#processes].map(([worker, { child, purpose }]) =>
      this.#look(worker, child, purpose, seen)
    );
    const count = (state: WorkerStats["state"]) =>
      processes.filter((process) => process.state === state).length;
    return {
      uptime: performance.now() - this.#startedAt,
      generation: this.#supervisor.generation,
      workers: {
        starting: count("starting"),
        idle: count("idle"),
        busy: count("busy"),
        stopping: count("stopping"),
        dequeue: count("dequeue"),
        min: this.#settings.minWorkers,
        max: this.#settings.maxWorkers,
      },
      processes,
      queue: { jobs: seen.queued, bytes: seen.queuedBytes },
      running: seen.running,
      clients: seen.clients,
      connections: seen.connections,
      serviceTime: seen.serviceTime,
      counters: {
        ...seen.counters,
        spawned: this.#spawned,
        exited: { ...this.#exits },
      },
    };
  }

  resize({ min, max }: { min?: number; max?: number }): void {
    const minWorkers = min ?? Math.min(this.#settings.minWorkers, max ?? Infinity);
    const maxWorkers = max ?? Math.max(this.#settings.maxWorkers, min ?? 0);
    this.#supervisor.resize(minWorkers, maxWorkers, performance.now());
    this.#options = { ...this.#options, minWorkers, maxWorkers };
    const { minSpareWorkers, maxSpareWorkers } = resolve(this.#options);
    const changed = { minWorkers, maxWorkers, minSpareWorkers, maxSpareWorkers };
    this.#settings = { ...this.#settings, ...changed };
    this.#supervisor.configure(this.#settings, performance.now());
    this.#log.info("resized", { min: minWorkers, max: maxWorkers });
    this.#hook("onResize", () => this.#settings.onResize?.({ min: minWorkers, max: maxWorkers }));
    this.#timer.wake();
  }

  reload(options?: ServeOptions): Promise<void> {
    return this.reloadWith(options && { ...this.#options, ...options });
  }

  /** The same, with `options` in place of all that were given before. */
  reloadWith(options: ServeOptions | undefined): Promise<void> {
    if (this.#phase !== "serving") {
      return Promise.reject(new Error("Cannot reload as the server is shutting down"));
    }
    const before = this.#spec;
    const settings = options && resolve(options);
    let next: ChildSpec;
    try {
      next = this.#place(childSpec(settings ?? this.#settings, before.program), settings);
    } catch (error) {
      this.#log.error("not reloaded", { error: messageOf(error) });
      return Promise.reject(error);
    }
    if (options !== undefined && settings !== undefined) this.#reconfigure(options, settings);
    this.#takeUpRules();
    const resolvers = this.#reload?.resolvers ?? Promise.withResolvers<void>();
    resolvers.promise.catch(() => {});
    this.#reload = { resolvers, before: this.#reload?.before ?? before };
    this.#log.info("reloading");
    if (next.graph === undefined) this.#loadModules(next);
    else this.#replaceWorkers(next);
    return resolvers.promise;
  }

  async shutdown(options: { queued?: "refuse" | "serve" } = {}): Promise<void> {
    this.stop(options.queued ?? "refuse", "shutdown");
    await this.#finished.promise;
  }

  /** What `ready` or `finished` has told is not told again: it would hide the error that ends the block. */
  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.shutdown();
    } catch (error) {
      if (!this.#isAsked) throw error;
    }
  }

  /** Calls back at the end, however that comes. */
  whenEnded(callback: () => void): void {
    this.#finished.promise.then(callback, callback);
  }

  /** Begins to stop. */
  stop(queued: "refuse" | "serve", reason: string): void {
    if (this.#phase !== "serving") return;
    this.#log.info("stopping", { reason, queued });
    this.#phase = "draining";
    this.#endAt = performance.now() + this.#settings.stopTimeout;
    this.#stopAt = queued === "serve" ? this.#endAt : performance.now();
    this.#stopHook = this.#hook("onStop", () => this.#settings.onStop?.({ reason }));
    this.#loop.send({ type: "drain", waiting: queued });
    this.#timer.wake();
  }

  /** Kills all workers at once. */
  kill(): void {
    this.stop("refuse", "killed");
    this.#phase = "stopping";
    this.#endAt = performance.now();
    this.#supervisor.killAll(performance.now());
    this.#cutShort?.();
    this.#loop.send({ type: "drain", waiting: "refuse" });
    this.#timer.wake();
  }

  /** Leaves nothing behind, at once: the program ends, or `deno run --watch` starts it anew. */
  abandon(): void {
    for (const { child } of this.#processes.values()) child.kill("SIGKILL");
    this.#timer.stop();
    this.#loop.abandon();
    this.#cleanUp();
  }

  /** Whether it was told to stop. */
  get stopping(): boolean {
    return this.#phase !== "serving";
  }

  /** Sends a signal to every worker that is ready for it. */
  forward(signal: Deno.Signal): void {
    const { workers } = this.#loop.look();
    for (const [worker, { child }] of this.#processes) if (workers.has(worker)) child.kill(signal);
  }

  reopenLog(): boolean {
    const visits = this.#visits?.reopen() ?? true;
    if (this.#settings.logFile === undefined) return visits;
    const reopened = this.#log.reopen();
    if (reopened) this.#log.info("log reopened");
    return reopened && visits;
  }

  /** Writes the state to the log. */
  logStats(): void {
    const { workers, queue, running, clients, connections, counters, generation } = this.stats();
    const { exited, ...counts } = counters;
    const exits = Object.entries(exited).map(([reason, count]) => [`exited.${reason}`, count]);
    this.#log.info("state", {
      generation,
      ...workers,
      queued: queue.jobs,
      queuedBytes: queue.bytes,
      running,
      clients,
      connections,
      ...counts,
      ...Object.fromEntries(exits),
    });
  }

  /** The server's log. */
  get log(): Log {
    return this.#log;
  }

  // ---- the loop ----

  async #run(): Promise<void> {
    try {
      await Promise.race([this.#loop.run(), this.#broken.promise]);
      await this.#close();
      await this.#stopHook;
    } catch (error) {
      this.#failure ??= error instanceof Error ? error : new Error(String(error));
      this.#log.error("the broker failed", { error: this.#failure.message });
      for (const { child } of this.#processes.values()) child.kill("SIGKILL");
      this.#loop.send({ type: "stop" });
    }
    this.#timer.stop();
    this.#cleanUp();
    await this.#prints.close();
    if (this.#failure === undefined) {
      this.#log.info("stopped", { forced: this.#supervisor.forced });
    }
    await this.#closeLog();
    if (this.#failure === undefined) {
      const ended = new Error("Cannot be ready as the server has ended");
      this.#ready.reject(ended);
      this.#reload?.resolvers.reject(ended);
      this.#finished.resolve({ forced: this.#supervisor.forced });
    } else {
      this.#ready.reject(this.#failure);
      this.#finished.reject(this.#failure);
    }
  }

  /** Waits until the logs are written, if somebody takes them. */
  async #closeLog(): Promise<void> {
    await Promise.all([this.#log.close(), this.#visits?.close()]);
  }

  /** Closes the sockets, and waits for clients to take what is on its way to them. */
  async #close(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#cutShort = resolve;
    const linger = Math.max(MIN_LINGER, this.#endAt - performance.now());
    // libzmq 4.3.5 may never end when a client that has not read leaves in this very moment.
    const timer = setTimeout(resolve, linger + CLOSE_MARGIN);
    await Promise.race([this.#loop.close(linger), promise]);
    clearTimeout(timer);
  }

  #ticks(): Ticks {
    return new Ticks([
      this.#follower,
      ...this.#visits === undefined ? [] : [this.#visits],
      { tick: (now) => this.#tellDropped(now) },
      { tick: (now) => this.#watchFiles(now) },
      { tick: (now) => this.#keepWorkplace(now) },
      { tick: (now) => this.#runPool(now) },
    ]);
  }

  #runPool(now: number): number {
    const seen = this.#loop.look();
    this.#tellIdle(seen, now);
    if (this.#phase === "draining" && (now >= this.#stopAt || isIdle(seen))) {
      this.#phase = "stopping";
      this.#loop.send({ type: "drain", waiting: "refuse" });
      this.#supervisor.stop(now);
    }
    if (this.#supervisor.babysitDue(now)) this.#babysit(seen, now);
    if (this.#supervisor.memoryDue(now)) this.#readMemory(now);
    const sleep = this.#isLoading ? Infinity : this.#supervisor.tick(now, loadOf(seen));
    const actions = this.#supervisor.takeActions();
    for (const action of actions) this.#do(action);
    const left = this.#supervisor.stopped && seen.workers.size === 0;
    const end = left ? this.#endsIn(seen, now) : Infinity;
    if (end <= 0) this.#loop.send({ type: "stop" });
    const stop = this.#phase === "draining" ? this.#stopAt - now : Infinity;
    return actions.length > 0 ? 0 : Math.min(sleep, stop, end);
  }

  /**
   * When the server ends, ms from now, as no worker is left. What clients had sent before the stop is
   * answered, also what the system still holds; those who go on asking are not waited for.
   */
  #endsIn({ hasUnsent, readAt }: Look, now: number): number {
    if (hasUnsent) return this.#endAt - now;
    this.#leftAt ??= now;
    const quietAt = Math.min(readAt + QUIET_TIME, this.#leftAt + LAST_REQUESTS);
    return Math.min(quietAt, this.#endAt) - now;
  }

  #do(action: Action): void {
    switch (action.type) {
      case "spawn":
        return this.#spawn(action.worker, action.purpose);
      case "retire":
        return this.#loop.send({ type: "retire", worker: action.worker });
      case "evict":
        return this.#loop.send({ type: "evict", worker: action.worker });
      case "kill":
        return this.#kill(action.worker, action.signal);
      case "reloaded":
        return this.#reloaded();
      case "reloadFailed":
        return this.#reloadFailed(action.message);
    }
  }

  #kill(worker: number, signal: Deno.Signal): void {
    const process = this.#processes.get(worker);
    if (process === undefined) return;
    this.#log.debug("signal sent", { worker, signal });
    if (signal !== "SIGINT") process.signalled = true;
    process.child.kill(signal);
  }

  /** Acts on what the loop tells. */
  #hear(event: LoopEvent): void {
    const now = performance.now();
    this.#timer.wake();
    switch (event.type) {
      case "loaded":
        return this.#loaded(event.worker);
      case "ready":
        return this.#becameReady(event.worker, now);
      case "failed":
        return this.#loadFailed(event.worker, event.message);
      case "leaving":
        return this.#supervisor.leaving(event.worker, now);
      case "left":
        return this.#supervisor.left(event.worker, now);
      case "lost":
        return this.#processes.get(event.worker)?.child.kill("SIGKILL");
      case "diedBusy":
        return this.#diedBusy(event.worker);
      case "departed":
        return this.#departed(event.worker);
      case "memory":
        return this.#noteMemory([event], now);
      case "overran":
        return this.#overran(event.worker);
      case "isolated":
        return this.#isolated(event.worker, now);
      case "log":
        return this.#log[event.level](event.message, event.fields);
      case "line":
        return this.#logLine(event);
      case "dropped":
        return this.#logDropped(event.worker, event.lines);
      case "requestFailed":
        return this.#requestFailed(event.failure);
      case "visits":
        return event.visits.forEach((visit) => this.#visits?.write(visit));
      case "backendMoved":
        return this.#backendMoved(event.before, event.endpoint);
      case "mended":
        return this.#mended(event.endpoint);
      case "notBound":
        return this.#notMended(event.message, now);
      case "worked":
        return;
    }
  }

  #logLine({ worker, line }: Extract<LoopEvent, { type: "line" }>): void {
    const { level, message, fields, job } = line;
    this.#log[level](message, { ...fields, worker, job: job === 0 ? undefined : job });
  }

  #logDropped(worker: number, dropped: number): void {
    this.#log.warn("a worker logs too much: lines were dropped", { worker, dropped });
  }

  #diedBusy(worker: number): void {
    const process = this.#processes.get(worker);
    if (process !== undefined) process.diedBusy = true;
  }

  #isolated(worker: number, now: number): void {
    this.#log.warn("the handler does not stop, its worker gets no more jobs", { worker });
    this.#supervisor.isolated(worker, now);
  }

  /** Logs a request that has failed, unless there are too many, and tells whoever wants to know. */
  #requestFailed(failure: Failure): void {
    const { job, worker, attempt, code, message: error, client, stack } = failure;
    const size = error.length + stack.length;
    if (this.#failures.admits(NO_WORKER, size, performance.now())) {
      const fields = { job, worker, attempt, code, ...namesOf(client), error };
      this.#log.error("request failed", { ...fields, stack: stack === "" ? undefined : stack });
    }
    const { onError } = this.#settings;
    if (onError !== undefined) this.#hook("onError", () => onError(errorEventOf(failure)));
  }

  /** Says how much of the log was dropped; returns ms until it wants to again. */
  #tellDropped(now: number): number {
    for (const { subject, dropped } of this.#lines.report(now)) this.#logDropped(subject, dropped);
    for (const { dropped } of this.#failures.report(now)) {
      this.#log.error("more requests failed", { count: dropped });
    }
    return Math.min(this.#lines.wait(now), this.#failures.wait(now));
  }

  // ---- processes ----

  #spawn(worker: number, purpose: Purpose): void {
    const token = crypto.randomUUID();
    const keys = purpose === "serve" ? this.#access?.makeWorkerKeys() : undefined;
    try {
      this.#requireFiles();
      const { cwd, permissions } = this.#start.startOf(this.#spec.permissions);
      const spec = { ...this.#spec, permissions };
      const config = this.#workerConfig(purpose, token, keys);
      const child = spawnChild(spec, config, cwd, (from, stream) => {
        this.#prints.read(stream, this.#printer(worker, from));
      });
      this.#processes.set(worker, {
        child,
        purpose,
        isLoaded: false,
        isHeard: false,
        signalled: false,
        diedBusy: false,
        exit: undefined,
      });
      if (purpose === "serve") {
        this.#loop.send({ type: "expect", worker, token, publicKey: keys?.publicKey });
      }
      this.#spawned++;
      this.#supervisor.spawned(worker, performance.now());
      this.#log.debug("worker spawned", { worker, pid: child.pid, purpose });
      this.#hook("onWorkerSpawn", () => this.#settings.onWorkerSpawn?.({ worker, pid: child.pid }));
      child.exited.then((exit) => this.#ended(worker, exit));
    } catch (error) {
      this.#log.error("worker not spawned", { worker, error: messageOf(error) });
      this.#supervisor.spawnFailed(worker, performance.now());
    }
  }

  /** Logs what a worker prints. */
  #printer(worker: number, from: "stdout" | "stderr"): Printer {
    const level = from === "stdout" ? "info" : "warn";
    return {
      admits: (bytes) => this.#lines.admits(worker, bytes, performance.now()),
      drop: (lines) => {
        this.#lines.drop(worker, lines, performance.now());
        this.#timer.wake();
      },
      print: (line) => this.#log[level](line, { worker, from }),
    };
  }

  #workerConfig(
    purpose: WorkerConfig["purpose"],
    token: string,
    curve: WorkerKeys | undefined,
  ): WorkerConfig {
    const { concurrency, dequeueInterval, maxMessageSize, maxFrames, signalPassthrough } =
      this.#settings;
    const asked = this.#settings.maxMemory > 0 && residentMemory(Deno.pid) === undefined;
    const { backend } = this;
    return {
      purpose,
      token,
      backend,
      curve,
      library: this.#workplace.library,
      parent: Deno.pid,
      handler: this.#spec.handler ?? "echo",
      concurrency,
      maxMessageSize,
      maxFrames,
      keepFfi: mayUseFfi(this.#spec.permissions),
      callGrants: this.#canConfine ? callGrants(this.#spec.permissions) : undefined,
      mayWriteFiles: mayWriteFiles(this.#spec.permissions),
      links: linksToRead(this.#spec),
      needsDequeue: dequeueInterval > 0,
      memoryInterval: asked ? MEMORY_INTERVAL : 0,
      signals: [...signalPassthrough],
      title: `zmq worker ${shortEndpoint(backend)}`,
    };
  }

  #becameReady(worker: number, now: number): void {
    const process = this.#processes.get(worker);
    if (process === undefined) return;
    process.isHeard = true;
    const { pid } = process.child;
    // One that was told to stop while it started is late: it may leave in order.
    if (!this.#supervisor.ready(worker, now)) return this.#loop.send({ type: "retire", worker });
    this.#log.info("worker ready", { worker, pid });
    this.#hook("onWorkerReady", () => this.#settings.onWorkerReady?.({ worker, pid }));
    if (this.#supervisor.counts().ready >= this.#settings.minWorkers) this.#ready.resolve();
  }

  #loaded(worker: number): void {
    const process = this.#processes.get(worker);
    if (process !== undefined) process.isLoaded = true;
  }

  #loadFailed(worker: number, message: string): void {
    // Somebody has removed modules from Deno's cache: the next workers find them again.
    const isMissing = message.includes("--cached-only") && this.#supervisor.everReady;
    if (isMissing && this.#loading === undefined) this.#loadModules(this.#spec);
    this.#cannotLoad(worker, new Error(message));
  }

  /** A worker will never be ready; nor will any other, if none ever was. */
  #cannotLoad(worker: number, error: Error): void {
    const process = this.#processes.get(worker);
    if (process === undefined || process.isHeard) return;
    process.isHeard = true;
    this.#log.error(error.message, { worker });
    this.#supervisor.loadFailed(worker, error.message, performance.now());
    if (!this.#supervisor.everReady) this.#fail(error);
  }

  /** It can't start at all. */
  #fail(error: Error): void {
    if (this.#phase === "stopping") return;
    this.#failure ??= error;
    this.#ready.reject(error);
    this.kill();
  }

  /** The system tells of a process's end, which may be sooner than its last message is read. */
  #ended(worker: number, exit: ChildExit): void {
    const process = this.#processes.get(worker);
    if (process === undefined) return;
    process.exit = exit;
    const owesReason = exit.code === LOAD_FAILED;
    this.#loop.send({ type: "processEnded", worker, end: endOf(process, exit), owesReason });
  }

  /** A process has ended, and all that it said was read. */
  #departed(worker: number): void {
    const process = this.#processes.get(worker);
    if (process?.exit === undefined) return;
    if (isRefused(process, process.exit)) this.#explain(worker, process.exit);
    else this.#exited(worker, process.exit);
  }

  /** Asks Deno why it ended: what it refuses now, it refuses the next worker too. */
  async #explain(worker: number, exit: ChildExit): Promise<void> {
    const refusal = await findRefusal(this.#spec, this.#workplace.library).catch(() => undefined);
    if (refusal !== undefined) this.#cannotLoad(worker, refusalError(refusal));
    this.#exited(worker, exit);
  }

  #exited(worker: number, exit: ChildExit): void {
    const { code, signal } = exit;
    const now = performance.now();
    const process = this.#processes.get(worker);
    if (process === undefined) return;
    this.#processes.delete(worker);
    const { wear } = this.#supervisor.worker(worker) ?? {};
    const harmed = process.diedBusy || endOf(process, exit) === "outside";
    const ending = harmed ? "harmed" : code === 0 ? "ok" : "broken";
    const reason = this.#supervisor.exited(worker, now, ending) ?? "crashed";
    this.#exits[reason] = (this.#exits[reason] ?? 0) + 1;
    const event: WorkerExitEvent = { worker, pid: process.child.pid, code, signal, reason };
    const level = EXPECTED.has(reason) ? "info" : "warn";
    const cause = reason === "recycled" ? wear : undefined;
    const likely = reason === "crashed"
      ? likelyCause(exit, this.#spec)
      : reason === "timeout"
      ? lateCause(process.isLoaded)
      : undefined;
    this.#log[level]("worker exited", { ...event, signal: signal ?? undefined, cause, likely });
    this.#hook("onWorkerExit", () => this.#settings.onWorkerExit?.(event));
    this.#timer.wake();
  }

  /** Ends a worker whose handler does not stop. */
  #overran(worker: number): void {
    this.#log.warn("the handler does not stop, its worker is ended", {
      worker,
      pid: this.#processes.get(worker)?.child.pid,
    });
    this.#supervisor.overran(worker, performance.now());
  }

  #babysit({ workers }: Look, now: number): void {
    const readings = [...this.#processes].flatMap(([worker, { child, purpose }]) => {
      const used = purpose === "serve" ? cpuTime(child.pid) : undefined;
      if (used === undefined) return [];
      return [{ worker, job: workers.get(worker)?.firstJob, cpuTime: used }];
    });
    this.#supervisor.rogueReadings(readings, now);
  }

  #readMemory(now: number): void {
    const readings = [...this.#processes].flatMap(([worker, { child, purpose }]) => {
      const bytes = purpose === "serve" ? residentMemory(child.pid) : undefined;
      return bytes === undefined ? [] : [{ worker, bytes }];
    });
    this.#noteMemory(readings, now);
  }

  #noteMemory(readings: readonly MemoryReading[], now: number): void {
    this.#supervisor.memoryReadings(readings, now);
    const { maxMemory } = this.#settings;
    if (this.#memoryWarned) return;
    const { workers } = this.#loop.look();
    const large = readings.find(({ worker, bytes }) => {
      const { answered, jobs } = workers.get(worker) ?? {};
      return bytes >= maxMemory && answered === 0 && jobs === 0;
    });
    if (large === undefined) return;
    this.#memoryWarned = true;
    this.#log.warn('"maxMemory" is less than a new worker has: one job, and it is replaced', {
      maxMemory,
      memory: large.bytes,
    });
  }

  #look(worker: number, child: Child, purpose: Purpose, { workers }: Look): WorkerStats {
    const { jobs = 0, answered = 0 } = workers.get(worker) ?? {};
    const view = this.#supervisor.worker(worker);
    const ready = jobs > 0 ? "busy" : "idle";
    const unready = view?.state === "starting" ? "starting" : "stopping";
    const state = purpose === "dequeue" ? purpose : view?.state === "ready" ? ready : unready;
    return { worker, pid: child.pid, state, jobs, answered };
  }

  // ---- changes ----

  #reconfigure(options: ServeOptions, next: Settings): void {
    this.#options = options;
    const { handleSignals } = this.#settings;
    const kept = { ...next, handleSignals };
    for (const name of FIXED) {
      if (JSON.stringify(next[name]) !== JSON.stringify(this.#settings[name])) {
        this.#log.warn(`a changed "${name}" is taken up by a restart only`);
      }
      Object.assign(kept, { [name]: this.#settings[name] });
    }
    // The key stays, and so does the question who may use it.
    if (kept.curveSecretKey !== undefined) kept.curveClients ??= this.#settings.curveClients;
    this.#settings = kept;
    this.#supervisor.configure(kept, performance.now());
    this.#loop.send({ type: "configure", limits: limitsOf(kept) });
  }

  /** Has workers of a new kind take the place of all others. */
  #replaceWorkers(spec: ChildSpec): void {
    this.#spec = spec;
    this.#supervisor.reload(performance.now());
    this.#timer.wake();
  }

  // ---- the handler's modules ----

  /** Puts the workers' configuration where they can read it, and says what of the handler's is not used. */
  #place(spec: ChildSpec, { handlerLock } = this.#settings): ChildSpec {
    const { config, permissions } = spec;
    const unlisted = unlistedVariables(permissions)
      .map((grant) => `"${grant}" grants no variable: the server needs --allow-env to find them`);
    for (const note of [...config?.notes ?? [], ...unlisted]) {
      if (!this.#noted.has(note)) this.#log.warn(note);
      this.#noted.add(note);
    }
    if (config === undefined) return spec;
    return placeConfig(spec, this.#workplace, handlerLock);
  }

  /** Has Deno bring and list the modules of a handler; no new worker starts before that. */
  async #loadModules(spec: ChildSpec): Promise<void> {
    this.#loading?.abort();
    const loading = this.#loading = new AbortController();
    const startedAt = performance.now();
    const { startTimeout: ms } = this.#settings;
    const late = setTimeout(() => this.#log.warn(`the handler: ${MODULES_LATE}`, { ms }), ms);
    loading.signal.addEventListener("abort", () => clearTimeout(late));
    try {
      const { cwd } = this.#start.startOf(spec.permissions);
      const graph = await loadModules(spec, { signal: loading.signal, cwd });
      if (this.#loading !== loading) return;
      for (const failure of graph.failures) this.#log.warn("module not loaded", { error: failure });
      const ms = Math.round(performance.now() - startedAt);
      this.#log.debug("the handler's modules are in the cache", { ms, files: graph.files.length });
      this.#useModules({ ...spec, graph });
    } catch (error) {
      if (this.#loading === loading) this.#notLoaded(messageOf(error));
    } finally {
      clearTimeout(late);
    }
  }

  /** The local files that the handler is made of now; none if it is broken. */
  async listFiles(): Promise<string[]> {
    try {
      const spec = this.#place(childSpec(this.#settings, this.#spec.program));
      const { cwd } = this.#start.startOf(spec.permissions);
      const { files } = spec.graph ?? await loadModules(spec, { cwd });
      return [...files, ...spec.config?.files ?? []];
    } catch {
      return [];
    }
  }

  #useModules(spec: ChildSpec): void {
    this.#loading = undefined;
    if (this.#reload !== undefined) return this.#replaceWorkers(spec);
    this.#spec = spec;
    this.#timer.wake();
  }

  #notLoaded(message: string): void {
    this.#loading = undefined;
    if (this.#reload !== undefined && this.#supervisor.everReady) {
      return this.#reloadFailed(message);
    }
    this.#log.error(message);
    if (!this.#supervisor.everReady) this.#fail(new Error(message));
  }

  /** Whether workers must wait for modules: those that are there may stay, and leave. */
  get #isLoading(): boolean {
    return this.#loading !== undefined && this.#phase === "serving" && !this.#supervisor.everReady;
  }

  /** Lets clients in by the rules of now; if these can't be read, the ones that were stay. */
  #takeUpRules(): void {
    try {
      requirePlainFiles(this.#settings);
      const rules = rulesOf(this.#settings);
      this.#loop.send({ type: "rules", rules });
      if (this.#access === undefined && hasRules(this.#settings)) {
        this.#log.warn("rules for clients are taken up by a restart only, where there were none");
      }
    } catch (error) {
      this.#log.error("the rules for clients stay as they were", { error: messageOf(error) });
    }
  }

  #reloaded(): void {
    this.#log.info("reloaded", { generation: this.#supervisor.generation });
    this.#reload?.resolvers.resolve();
    this.#reload = undefined;
    this.#hook("onReload", () => this.#settings.onReload?.({ ok: true }));
  }

  #reloadFailed(message: string): void {
    this.#log.error("reload failed, the old workers stay", { error: message });
    this.#spec = this.#place(this.#reload?.before ?? this.#spec);
    this.#reload?.resolvers.reject(new Error(message));
    this.#reload = undefined;
    this.#hook("onReload", () => this.#settings.onReload?.({ ok: false, message }));
  }

  #announce(): void {
    const { frontend, backend } = this;
    const { minWorkers, maxWorkers } = this.#settings;
    const handler = this.#spec.handler ?? "echo";
    this.#log.info("listening", { frontend: frontend.join(","), backend, handler });
    this.#log.debug("pool", { min: minWorkers, max: maxWorkers, library: this.#library.path });
    const { curveClients = "any", allow } = this.#settings;
    const isOpen = curveClients === "any" && allow.length === 0;
    for (const endpoint of isOpen ? frontend.filter(isOpenToNetwork) : []) {
      this.#log.warn("anybody who reaches this endpoint can use it", { endpoint });
    }
    const { serverKey } = this.#access ?? {};
    if (serverKey !== undefined) this.#log.info("clients need the server's key", { serverKey });
    if (connectionLimit(this.#settings) > 0 && this.#loop.look().connections === undefined) {
      this.#log.warn('"maxConnections" does nothing here: this libzmq tells of no connections');
    }
    if (this.#settings.babysitInterval > 0 && cpuTime(Deno.pid) === undefined) {
      this.#log.warn('"babysitInterval" does nothing here: it needs Linux, and -A');
    }
    this.#hook("onListen", () => this.#settings.onListen?.({ frontend: [...frontend], backend }));
  }

  /**
   * Says what is likely to go wrong.
   *
   * @throws {Error} when it is certain to.
   */
  #checkStart(): void {
    const files = readFiles(undefined);
    const warning = files && judgeFiles(this.#settings, files, navigator.hardwareConcurrency);
    for (const doubt of [...warning === undefined ? [] : [warning], ...doubts(this.#settings)]) {
      this.#log.warn(doubt);
    }
  }

  /**
   * Warns when few file descriptors are left, and every time while there are none: then no client can
   * connect, and no worker start. Returns ms until it wants to look again though nothing happens, as
   * nothing tells of a silent peer.
   */
  #watchFiles(now: number): number {
    if (now - this.#filesCheckedAt >= FILES_INTERVAL) {
      this.#filesCheckedAt = now;
      this.#files = readFiles(this.#files);
      this.#judgeSupply();
    }
    if (this.#supply === "none") return this.#filesCheckedAt + FILES_INTERVAL - now;
    if (this.#files === undefined) return Infinity;
    return this.#filesCheckedAt + FILES_REST - now;
  }

  #judgeSupply(): void {
    const before = this.#supply;
    const { open, limit } = this.#files ?? { open: 0, limit: Infinity };
    const few = open >= limit * FILES_SHARE ? "few" : "enough";
    this.#supply = canOpen(this.#library, FILES_FOR_START) ? few : "none";
    if (this.#supply === "none") {
      const message = "file descriptors ran out, new clients and workers must wait";
      this.#log.warn(`${message}: ${FILES_CURE}`, { ...this.#files });
    } else if (before === "none") {
      this.#log.info("file descriptors are free again");
      this.#supervisor.forgiveStarts();
    } else if (this.#supply === "few" && before === "enough") {
      this.#log.warn("file descriptors are running out", { open, limit });
    }
  }

  /** libzmq ends the process when there is no file descriptor to accept a worker over ipc. */
  #requireFiles(): void {
    const starting = Math.max(1, this.#supervisor.counts().starting);
    if (canOpen(this.#library, FILES_FOR_START * starting)) return;
    throw new Error("Too few file descriptors are left");
  }

  /** Makes anew what somebody has removed and workers or clients need; returns ms until it looks again. */
  #keepWorkplace(now: number): number {
    if (this.stopping) return Infinity;
    if (now < this.#workplaceDueAt) return this.#workplaceDueAt - now;
    this.#workplaceDueAt = now + WORKPLACE_INTERVAL;
    try {
      this.#workplace.touch(now - this.#startedAt);
      if (!this.#homeless && this.#start.isGone) this.#loseStartFolder();
      if (this.#workplace.isGone) this.#moveWorkplace();
      this.#loop.send({ type: "mend" });
    } catch (error) {
      this.#notMended(messageOf(error), now);
    }
    return this.#workplaceDueAt - now;
  }

  #mended(endpoint: string): void {
    if (endpoint === this.backend) this.#workplace.handOver(endpoint);
    this.#log.warn("the socket file was removed, it is bound anew", { endpoint });
  }

  #notMended(error: string, now: number): void {
    this.#log.error("what was removed can't be made anew", { error });
    this.#workplaceDueAt = now + WORKPLACE_RETRY;
  }

  #loseStartFolder(): void {
    this.#homeless = true;
    const message = "the folder that the server was started in was removed, new workers start in /";
    this.#log.warn(message, { folder: this.#start.path });
  }

  #moveWorkplace(): void {
    const { backend: before } = this;
    this.#workplace.renew();
    this.#spec = this.#place(this.#spec);
    if (this.#settings.backend !== undefined) return this.#backendMoved(before, before);
    this.#loop.send({ type: "moveBackend", endpoint: this.#workplace.backend });
  }

  #backendMoved(before: string, backend: string): void {
    this.#workplace.handOver(backend);
    this.#log.warn("the private folder was removed, another one is made", { before, backend });
  }

  #tellIdle(seen: Look, now: number): void {
    if (!isIdle(seen) || now - seen.lastJobAt < IDLE_AFTER) {
      this.#idleTold = seen.lastJobAt === 0;
    } else if (!this.#idleTold) {
      this.#idleTold = true;
      this.#hook("onIdle", () => this.#settings.onIdle?.());
    }
  }

  /** Runs a hook; one that fails is logged. */
  async #hook(name: string, call: () => void | Promise<void>): Promise<void> {
    try {
      await call();
    } catch (error) {
      this.#log.error(`the hook "${name}" failed`, { error: messageOf(error) });
    }
  }

  #claimPidFile(): PidFile | undefined {
    const { pidFile } = this.#settings;
    if (pidFile === undefined) return undefined;
    return claimPidFile(pidFile, isAlive, (message) => this.#log.warn(message));
  }

  #cleanUp(): void {
    this.#loading?.abort();
    this.#loading = undefined;
    this.#pidFile?.release();
    this.#workplace?.remove();
  }
}

/**
 * Makes what workers need of files.
 *
 * @throws {Error} when it can't be made.
 */
function openWorkplace(
  { backend }: Settings,
  workers: ChildSpec,
  { path: library }: Library,
  paths: IpcPaths,
): Workplace {
  return new Workplace({ backend, workers, library }, {
    look: (path) => orNothing(() => paths.look(path)),
    identify: (path) => orNothing(() => paths.find(path)?.id),
    canExecute: (path) => paths.canExecute(path),
  });
}

/** Elsewhere than on Linux it takes a permission to look. */
function orNothing<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch (error) {
    if (!(error instanceof Deno.errors.NotCapable)) throw error;
  }
}

/** A client's names, those that it has. */
function namesOf({ address, identity, user }: Failure["client"]) {
  const named = (name: string) => name === "" ? undefined : name;
  return { client: named(address), identity: named(identity), user: named(user) };
}

function errorEventOf({ worker, stack, ...rest }: Failure): RequestErrorEvent {
  return {
    ...rest,
    ...(worker === undefined ? {} : { worker }),
    ...(stack === "" ? {} : { stack }),
  };
}

/** Options that only a restart can change. */
const FIXED = [
  "frontend",
  "backend",
  "curveSecretKey",
  "keepAlive",
  "maxMessageSize",
  "maxFrames",
  "pidFile",
  "user",
  "group",
  "background",
  "logFile",
  "logFormat",
  "logLevel",
  "accessLog",
] as const;

const EXPECTED: ReadonlySet<ExitReason> = new Set([
  "stopped",
  "culled",
  "recycled",
  "reload",
  "left",
  "dequeued",
]);

/** What nobody can serve with: a grant is a matter of usage. */
function refusalError({ reason, permission }: Refusal): Error {
  if (permission === undefined) return new Error(`Cannot start a worker: ${reason}`);
  const name = `"permissions.${permission}" (--handler-allow-${permission})`;
  return new RangeError(`Cannot start: ${name} must be what Deno can grant: ${reason}`);
}

const MODULES_LATE =
  "its modules did not come in time: does a host that it imports from not answer?";

/** What a worker was at when its time to become ready was over. */
function lateCause(isLoaded: boolean): string {
  return isLoaded
    ? "the handler's init() did not end in time"
    : "the handler's module was not loaded in time: does a top-level await never end?";
}

/** Open files and how many there may be; undefined where that can't be read. */
function readFiles(last: Files | undefined): Files | undefined {
  const [open, limit] = [openFiles(), fileLimit()];
  if (open !== undefined && limit !== undefined) return { open, limit };
  // It could be read before: now there is no descriptor left to read it with.
  return last && { open: last.limit, limit: last.limit };
}

function childSpec(
  { handler, permissions, memoryLimit, user, group }: Settings,
  program = Deno.execPath(),
): ChildSpec {
  const workerModule = new URL("./worker.ts", import.meta.url).href;
  const nobody = { uid: undefined, gid: undefined };
  const account = user === undefined && group === undefined ? nobody : lookupAccount(user, group);
  const config = readHandlerConfig(handler);
  // Hosts can be granted only once it is known which ones the handler itself comes from.
  const needsHosts = Array.isArray(permissions.import) && permissions.import.length > 0;
  const isRemote = !workerModule.startsWith("file:");
  return {
    program,
    workerModule,
    handler,
    permissions,
    memoryLimit,
    config,
    configFile: undefined,
    mapFile: undefined,
    lockFile: undefined,
    graph: needsHosts || isRemote ? undefined : scanModules(handler, config),
    ...account,
  };
}

/** Writes the workers' configuration into a folder that they can read. */
function placeConfig(
  spec: ChildSpec,
  workplace: Workplace,
  handlerLock: "frozen" | "off",
): ChildSpec {
  const { config } = spec;
  if (config === undefined) return spec;
  // Deno looks for it beside the configuration.
  if (config.npmrc !== undefined) workplace.write(".npmrc", config.npmrc);
  const lock = handlerLock === "off" ? undefined : config.lock;
  return {
    ...spec,
    configFile: workplace.place(ownConfig(config)),
    mapFile: workplace.place(ownMap(spec, config)),
    lockFile: lock && workplace.place(ownLock(config, lock)),
  };
}

/**
 * Makes sure that workers can be started at all.
 *
 * @throws {Deno.errors.NotCapable} when they can't.
 */
function requireRun(command: string): void {
  if (Deno.permissions.querySync({ name: "run", command }).state === "granted") return;
  throw new Deno.errors.NotCapable(
    `Cannot start workers: Requires run access to "${command}", run again with --allow-run`,
  );
}

/** Who may come in, and the keys that it takes. */
interface Access {
  readonly options: AccessOptions;
  /** The public key that clients must know; undefined where none is used. */
  readonly serverKey: string | undefined;
  /** Keys for a worker that is about to be started; undefined where it needs none. */
  makeWorkerKeys(): WorkerKeys | undefined;
}

/**
 * Reads keys and rules; undefined if there are none.
 *
 * @throws {Error} when a file can't be read or is wrong.
 */
function openAccess(settings: Settings, library: Library): Access | undefined {
  if (!hasRules(settings)) return undefined;
  requirePlainFiles(settings);
  const { curveSecretKey: file, backend } = settings;
  const secretKey = file === undefined ? undefined : readSecretKey(file);
  // Nobody but this process and its workers ever needs to know this one.
  const isRemote = secretKey !== undefined && backend?.startsWith("tcp://");
  const own = isRemote ? makeKeyPair(library) : undefined;
  return {
    options: { rules: rulesOf(settings), secretKey, backendKey: own?.secretKey },
    serverKey: secretKey && publicKeyOf(library, secretKey),
    makeWorkerKeys: () => own && { serverKey: own.publicKey, ...makeKeyPair(library) },
  };
}

/** Whether not everybody may come in who reaches the sockets. */
function hasRules(settings: Settings): boolean {
  const { curveSecretKey, allow, deny } = settings;
  return curveSecretKey !== undefined || allow.length + deny.length > 0 ||
    connectionLimit(settings) + addressLimit(settings) > 0;
}

/**
 * The rules for clients.
 *
 * @throws {Error} when the list of clients can't be read or is wrong.
 */
function rulesOf(settings: Settings): AccessRules {
  const maxConnections = connectionLimit(settings);
  const maxConnectionsPerAddress = addressLimit(settings);
  return readRules({ ...settings, maxConnections, maxConnectionsPerAddress });
}

// ---- signals ----

/** Obeys the signals of the main process, until the server has ended. */
function handleSignals(
  server: PreforkServer,
  { signalPassthrough }: Settings,
  reread: () => ServeOptions | undefined,
): void {
  const wish = new StopWish();
  const terminal = new Terminal();
  server.whenEnded(() => terminal.close());
  const stop = (signal: StopSignal) => {
    const meaning = wish.judge(signal, server.stopping, performance.now());
    if (meaning === "kill") server.kill();
    if (meaning === "stop") server.stop(signal === "SIGQUIT" ? "serve" : "refuse", signal);
  };
  const actions: Partial<Record<Deno.Signal, () => void>> = {
    SIGTERM: () => stop("SIGTERM"),
    SIGINT: () => stop("SIGINT"),
    SIGQUIT: () => stop("SIGQUIT"),
    SIGHUP: () => {
      if (terminal.isClosing) return server.stop("refuse", "terminal closed");
      server.reopenLog();
      reloadAgain(server, reread);
    },
    SIGTTIN: () => step(server, 1),
    SIGTTOU: () => step(server, -1),
    SIGUSR2: () => server.logStats(),
  };
  const signals = new Set([...Object.keys(actions) as Deno.Signal[], ...signalPassthrough]);
  for (const signal of signals) {
    const listener = () => {
      if (signalPassthrough.includes(signal)) server.forward(signal);
      actions[signal]?.();
    };
    Deno.addSignalListener(signal, listener);
    server.whenEnded(() => Deno.removeSignalListener(signal, listener));
  }
}

const UNFILTERED =
  "this kernel can't filter system calls: only Deno's own sandbox binds what handlers do";

const DEBUGGER_OPEN =
  "Deno's debugger is open on port 9229: every user of this machine can run code in this process";

function step(server: PreforkServer, by: number): void {
  const { min, max } = server.stats().workers;
  server.resize({ min: Math.max(1, min + by), max: Math.max(1, max + by) });
}

function reloadAgain(server: PreforkServer, reread: () => ServeOptions | undefined): void {
  try {
    // How it ends is logged where it ends.
    server.reloadWith(reread()).catch(() => {});
  } catch (error) {
    server.log.error("not reloaded", { error: messageOf(error) });
  }
}

/** Reloads whenever a local file changes that the handler is made of. */
async function watch(server: PreforkServer, handler: string | undefined): Promise<void> {
  if (!handler?.startsWith("file:")) return;
  const own = filePath(new URL(handler));
  let files = [own];
  let since = Date.now();
  const ended = new Promise<void>((resolve) => server.whenEnded(resolve));
  try {
    while (!server.stopping) {
      // A handler that is broken for now has no modules: those that it had will mend it.
      files = [...new Set([...files, ...await server.listFiles()])];
      if (!await waitForChange(files, since, ended)) continue;
      since = Date.now();
      await server.reload().catch(() => {});
    }
  } catch (error) {
    server.log.error("not watching", { error: messageOf(error) });
  }
}

// ---- a trial ----

/** Loads the handler once, in a worker, with all that a server would give it; false: it has said why not. */
async function check(settings: Settings, say: (remark: string) => void): Promise<boolean> {
  const plain = childSpec(settings);
  plain.config?.notes.forEach(say);
  const library = locateLibrary(readVariable("ZMQ_LIBRARY"));
  shutDebugger(library.path);
  openAccess(settings, library);
  // It needs no socket.
  const workplace = openWorkplace(
    { ...settings, backend: "" },
    plain,
    library,
    new IpcPaths(library),
  );
  try {
    let spec = placeConfig(plain, workplace, settings.handlerLock);
    workplace.handOver("");
    if (spec.graph === undefined) spec = { ...spec, graph: await loadInTime(spec, settings) };
    return await tryHandler(settings, spec, workplace.library, say);
  } finally {
    workplace.remove();
  }
}

async function loadInTime(
  spec: ChildSpec,
  { startTimeout }: Settings,
): Promise<ChildSpec["graph"]> {
  const signal = AbortSignal.timeout(startTimeout);
  try {
    return await loadModules(spec, { signal });
  } catch (error) {
    if (!signal.aborted) throw error;
    throw new Error(`Cannot load the handler "${spec.handler}": ${MODULES_LATE}`);
  }
}

async function tryHandler(
  settings: Settings,
  spec: ChildSpec,
  library: string,
  say: (remark: string) => void,
): Promise<boolean> {
  const config: WorkerConfig = {
    purpose: "check",
    token: "",
    backend: "",
    curve: undefined,
    library,
    parent: Deno.pid,
    handler: spec.handler ?? "echo",
    concurrency: 1,
    maxMessageSize: settings.maxMessageSize,
    maxFrames: settings.maxFrames,
    keepFfi: mayUseFfi(spec.permissions),
    callGrants: canConfine(library) ? callGrants(spec.permissions) : undefined,
    // What it prints may go to a file.
    mayWriteFiles: true,
    links: linksToRead(spec),
    needsDequeue: settings.dequeueInterval > 0,
    memoryInterval: 0,
    signals: [],
    title: "zmq worker",
  };
  const child = spawnChild(spec, config);
  const limit = setTimeout(() => {
    say(`Cannot load the handler "${config.handler}": ${lateCause(false)}`);
    child.kill("SIGKILL");
  }, settings.startTimeout);
  const { code, signal } = await child.exited;
  clearTimeout(limit);
  if (code === DENO_FAILED && signal === null) {
    const refusal = await findRefusal(spec, library);
    if (refusal !== undefined) throw refusalError(refusal);
  }
  return code === 0;
}

if (import.meta.main) {
  // Whoever imports this module needs no command line.
  const { main } = await import("./cli/serve.ts");
  Deno.exit(await main(Deno.args, { url: import.meta.url, resolve, start, check }));
}
