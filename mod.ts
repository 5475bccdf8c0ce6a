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

import { type Access, hasRules, openAccess } from "./auth/access.ts";
import { readRules } from "./auth/access_control.ts";
import { Events } from "./ops/events.ts";
import { keepFixed } from "./ops/fixed_options.ts";
import { requireHandler, requirePlainFiles } from "./ops/given_files.ts";
import { IdleWatch } from "./ops/idle_watch.ts";
import type { Log } from "./ops/log.ts";
import { accessOf, fixedOf, limitsOf } from "./ops/loop_options.ts";
import { Logs } from "./ops/logs.ts";
import { countFiles, OpenFiles } from "./ops/open_files.ts";
import { type Rest, Shutdown } from "./ops/shutdown.ts";
import { Signals } from "./ops/signals.ts";
import { checkStart } from "./ops/start_checks.ts";
import { logRemarks } from "./ops/start_remarks.ts";
import { stateFields, type Stats, statsOf, type WorkerStats } from "./ops/stats.ts";
import { reloadOnChange } from "./ops/watch.ts";
import { resolveOptions } from "./options/resolve.ts";
import type { ServeOptions, Settings } from "./options/settings.ts";
import { childSpec, requireRun } from "./pool/child_spec.ts";
import { type CodeListener, HandlerCode } from "./pool/handler_code.ts";
import type { Workshop } from "./pool/orders.ts";
import { Pool, type PoolListener } from "./pool/pool.ts";
import { warnOfDropped } from "./pool/printed_lines.ts";
import { readVariable } from "./system/variables.ts";
import { checkSize } from "./pool/scaling.ts";
import { type ExitReason, Supervisor } from "./pool/supervisor.ts";
import { tryHandler } from "./pool/check.ts";
import { BrokerLoop } from "./ports/loop.ts";
import type { BrokerCounters, Look, LoopEvent, SocketCounters } from "./ports/messages.ts";
import { shutDebugger } from "./system/debugger.ts";
import { messageOf } from "./system/errors.ts";
import { filePath } from "./system/files.ts";
import { type Mending, Premises } from "./system/premises.ts";
import { cpuTime } from "./system/proc.ts";
import { canConfine } from "./system/seccomp.ts";
import { Ticks, TickTimer } from "./system/ticks.ts";
import { canOpen } from "./zmq/descriptors.ts";
import type { Library } from "./zmq/library.ts";
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
export type { BrokerCounters, ExitReason, SocketCounters, Stats, WorkerStats };
export type {
  Handler,
  HandlerContext,
  HandlerLog,
  HandlerModule,
  HandlerResult,
  LogLineFields,
} from "./worker/handler.ts";

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
   * @throws {RangeError} when one is not an integer >= 1 or min is above max.
   */
  resize(bounds: { min?: number; max?: number }): void;
  /**
   * Replaces all workers by new ones that load the handler again; each new one is ready before an old
   * one leaves. Rejected if new ones can't start: then the old ones stay.
   *
   * @param options options to change; those of the sockets, the process and the log stay as they are.
   */
  reload(options?: ServeOptions): Promise<void>;
  /**
   * Takes no more requests, lets running jobs end and stops the workers, within `stopTimeout`. A second
   * call only waits for the first.
   *
   * @param options `queued`: whether waiting requests are answered 503 ("refuse") or served first.
   */
  shutdown(options?: { queued?: "refuse" | "serve" }): Promise<void>;
  /**
   * Opens the log file again under its name. A rotation is followed within a second without it, where this
   * process may read the file.
   *
   * @returns whether it was opened; if not, lines still go to the old file.
   */
  reopenLog(): boolean;
  /** The same as `shutdown()`, but does not reject with a failure that `ready` or `finished` has reported. */
  [Symbol.asyncDispose](): Promise<void>;
}

/** How a server ended. */
export interface Finished {
  /** Whether a worker had to be killed because it did not leave in time. */
  forced: boolean;
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

/** `reread` gives the options that a HUP is to apply; undefined: the same. */
function start(options: ServeOptions, reread: () => ServeOptions | undefined): PreforkServer {
  warmUp();
  const settings = resolve(options);
  requireHandler(settings);
  const server = new PreforkServer(settings, options, reread);
  const abandon = () => server.abandon();
  const abort = () => server.stop("refuse", "abort");
  addEventListener("unload", abandon);
  options.signal?.addEventListener("abort", abort, { once: true });
  server.ended.then(() => {
    removeEventListener("unload", abandon);
    options.signal?.removeEventListener("abort", abort);
  });
  server.begin();
  if (options.signal?.aborted) abort();
  return server;
}

/**
 * Deno opens files when it reads a stack or listens for a signal for the first time, and ends the process
 * if it can't: both are done before file descriptors may run out.
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

const WORKER_MODULE = new URL("./worker.ts", import.meta.url).href;
/** Replies that are on their way at the end have at least this time, and at most what is left of `stopTimeout`, ms. */
const MIN_LINGER = 100;
/** Sockets may take this much longer to close than clients have to take their last replies, ms. */
const CLOSE_MARGIN = 200;

/** The parent: owns the loop, the pool and all else of one server, and carries news from one to the other. */
class PreforkServer implements Server {
  readonly #startedAt = performance.now();
  readonly #reread: () => ServeOptions | undefined;
  /** What was asked for; the settings follow from it. */
  #options: ServeOptions;
  #settings: Settings;
  readonly #logs: Logs;
  readonly #events: Events;
  readonly #library: Library;
  readonly #premises: Premises;
  readonly #access: Access | undefined;
  readonly #loop: BrokerLoop;
  readonly #code: HandlerCode;
  readonly #supervisor: Supervisor;
  readonly #pool: Pool;
  readonly #signals: Signals | undefined;
  readonly #timer: TickTimer;
  readonly #shutdown = new Shutdown();
  readonly #ready = Promise.withResolvers<void>();
  readonly #finished = Promise.withResolvers<Finished>();
  /** Ends the wait for clients to take their last replies. */
  readonly #cutShort = Promise.withResolvers<void>();
  #stopHook: Promise<void> | undefined;
  #failure: Error | undefined;
  /** Somebody has `ready` or `finished`, and so hears of a failure. */
  #isAsked = false;

  constructor(
    settings: Settings,
    options: ServeOptions,
    reread: () => ServeOptions | undefined,
  ) {
    this.#settings = settings;
    this.#options = options;
    this.#reread = reread;
    this.#logs = new Logs(settings);
    try {
      const { log } = this;
      this.#events = new Events(log, settings);
      this.#library = locateLibrary(readVariable("ZMQ_LIBRARY"));
      if (shutDebugger(this.#library.path) === "open") log.warn(DEBUGGER_OPEN);
      const spec = childSpec(settings, WORKER_MODULE, Deno.execPath());
      requireRun(spec.program);
      checkStart(settings, countFiles(), (doubt) => log.warn(doubt));
      const confines = canConfine(this.#library.path);
      if (!confines && Deno.build.os === "linux") log.warn(UNFILTERED);
      this.#supervisor = new Supervisor(settings, { cpus: navigator.hardwareConcurrency });
      const { backend, pidFile } = settings;
      const premises = this.#premises = new Premises(
        this.#library,
        { backend, pidFile, workers: spec },
        log,
      );
      const places = { files: premises, start: premises.start };
      this.#code = new HandlerCode(spec, settings, places, log, this.#codeListener());
      requirePlainFiles(settings);
      this.#access = openAccess(accessOf(settings), this.#library);
      this.#loop = new BrokerLoop(
        this.#library,
        {
          ...limitsOf(settings),
          ...fixedOf(settings),
          backend: premises.backend,
          access: this.#access,
          visits: this.#logs.hasVisits,
        },
        (event) => this.#hear(event),
      );
      premises.handOver(this.#loop.backend);
      const files = new OpenFiles(
        { count: countFiles, canOpen: (count) => canOpen(this.#library, count) },
        log,
        () => this.#supervisor.forgiveStarts(),
      );
      this.#pool = new Pool(settings, {
        supervisor: this.#supervisor,
        code: this.#code,
        plane: this.#loop,
        files,
        events: this.#events,
        log,
        workshop: () => this.#workshop(confines),
        makeKeys: () => this.#access?.makeWorkerKeys(),
        isWaiting: () => this.#isWaiting,
        wake: () => this.#timer.wake(),
      }, this.#poolListener());
      const wake = () => this.#timer.wake();
      if (settings.handleSignals) {
        this.#signals = new Signals(this, settings.signalPassthrough, wake);
      }
      this.#timer = this.#makeTimer(files);
    } catch (error) {
      this.#cleanUp();
      this.#logs.close();
      throw error;
    }
    this.#ready.promise.catch(() => {});
    this.#finished.promise.catch(() => {});
  }

  /** All that is done from time to time; the loop has a list of its own. */
  #makeTimer(files: OpenFiles): TickTimer {
    const idle = new IdleWatch(() => this.#events.emit("idle", undefined));
    const ticks = new Ticks([
      ...(this.#signals === undefined ? [] : [this.#signals]),
      this.#events,
      this.#logs,
      files,
      { tick: (now) => this.#premises.tick(now, this.#mending()) },
      this.#pool,
      { tick: (now) => this.#tickShutdown(now) },
      { tick: (now) => idle.tick(now, activityOf(this.#loop.look())) },
    ]);
    return new TickTimer(ticks, (error) => this.#broke(error));
  }

  /** Lets workers come up, and serves. */
  begin(): void {
    const { frontend, backend } = this;
    const { handler = "echo" } = this.#code.spec;
    const { minWorkers: min, maxWorkers: max } = this.#settings;
    this.#events.emit("listening", { frontend, backend, handler });
    this.log.debug("pool", { min, max, library: this.library });
    logRemarks(this.log, this.#settings, {
      frontend,
      serverKey: this.#access?.serverKey,
      countsConnections: this.#loop.look().connections !== undefined,
      readsCpuTime: cpuTime(Deno.pid) !== undefined,
    });
    this.#code.start();
    this.#timer.wake();
    this.#run();
    if (this.#settings.watch) this.#watch();
  }

  // ---- what it is asked ----

  /** The server's log. */
  get log(): Log {
    return this.#logs.log;
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

  /** Fulfilled when the server has ended, in whatever way. */
  get ended(): Promise<void> {
    return this.#finished.promise.then(() => {}, () => {});
  }

  /** Whether it was told to stop. */
  get stopping(): boolean {
    return this.#shutdown.phase !== "serving";
  }

  stats(): Stats {
    const { minWorkers: min, maxWorkers: max } = this.#settings;
    const look = this.#loop.look();
    return statsOf({
      uptime: performance.now() - this.#startedAt,
      generation: this.#supervisor.generation,
      bounds: { min, max },
      processes: this.#pool.list(look),
      counts: this.#pool.counts,
      look,
    });
  }

  // ---- what it is told ----

  resize({ min, max }: { min?: number; max?: number }): void {
    const minWorkers = min ?? Math.min(this.#settings.minWorkers, max ?? Infinity);
    const maxWorkers = max ?? Math.max(this.#settings.maxWorkers, min ?? 0);
    checkSize({ ...this.#settings, minWorkers, maxWorkers });
    this.#options = { ...this.#options, minWorkers, maxWorkers };
    const { minSpareWorkers, maxSpareWorkers } = resolve(this.#options);
    const changed = { minWorkers, maxWorkers, minSpareWorkers, maxSpareWorkers };
    this.#settings = { ...this.#settings, ...changed };
    this.#pool.configure(this.#settings, performance.now());
    this.#events.emit("resized", { min: minWorkers, max: maxWorkers });
  }

  growBy(workers: number): void {
    const { minWorkers, maxWorkers } = this.#settings;
    const [min, max] = [Math.max(1, minWorkers + workers), Math.max(1, maxWorkers + workers)];
    this.resize({ min, max });
  }

  reload(options?: ServeOptions): Promise<void> {
    return this.#reloadWith(options && { ...this.#options, ...options });
  }

  reloadAgain(): void {
    try {
      // How it ends is logged where it ends.
      this.#reloadWith(this.#reread()).catch(() => {});
    } catch (error) {
      this.log.error("not reloaded", { error: messageOf(error) });
    }
  }

  /** Reloads with `options` in place of all that were given before; undefined: with the same. */
  #reloadWith(options: ServeOptions | undefined): Promise<void> {
    if (this.stopping) return Promise.reject(new Error("Cannot reload: the server is stopping"));
    const settings = options && resolve(options);
    let next: ReturnType<HandlerCode["prepare"]>;
    try {
      next = this.#code.prepare(settings ?? this.#settings);
    } catch (error) {
      this.log.error("not reloaded", { error: messageOf(error) });
      return Promise.reject(error);
    }
    if (options !== undefined && settings !== undefined) this.#reconfigure(options, settings);
    this.#applyRules();
    this.#events.emit("reloading", undefined);
    return this.#code.reload(next, this.#settings);
  }

  #reconfigure(options: ServeOptions, next: Settings): void {
    this.#options = options;
    this.#settings = keepFixed(this.#settings, next, (remark) => this.log.warn(remark));
    this.#events.configure(this.#settings);
    this.#pool.configure(this.#settings, performance.now());
    this.#loop.send({ type: "configure", limits: limitsOf(this.#settings) });
  }

  /** Lets clients in by the rules of now; if these can't be read, the ones that were stay. */
  #applyRules(): void {
    const settings = accessOf(this.#settings);
    if (!hasRules(settings)) return;
    try {
      requirePlainFiles(this.#settings);
      const rules = readRules(settings);
      if (this.#access === undefined) this.log.warn(RULES_LATE);
      else this.#loop.send({ type: "rules", rules });
    } catch (error) {
      this.log.error("the access rules stay as they were", { error: messageOf(error) });
    }
  }

  reopenLog(): boolean {
    return this.#logs.reopen();
  }

  logState(): void {
    this.log.info("state", stateFields(this.stats()));
  }

  forward(signal: Deno.Signal): void {
    this.#pool.forward(signal);
  }

  async shutdown(options: { queued?: "refuse" | "serve" } = {}): Promise<void> {
    this.stop(options.queued ?? "refuse", "shutdown");
    await this.#finished.promise;
  }

  /** What `ready` or `finished` has reported is not reported again: it would hide the error that ends the block. */
  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.shutdown();
    } catch (error) {
      if (!this.#isAsked) throw error;
    }
  }

  stop(queued: "refuse" | "serve", reason: string): void {
    const { stopTimeout } = this.#settings;
    if (!this.#shutdown.start(queued, stopTimeout, performance.now())) return;
    this.#stopHook = this.#events.emit("stopping", { reason, queued });
    this.#premises.leave();
    this.#loop.send({ type: "drain", waiting: queued });
    this.#timer.wake();
  }

  kill(): void {
    this.stop("refuse", "killed");
    this.#shutdown.kill(performance.now());
    this.#supervisor.killAll(performance.now());
    this.#cutShort.resolve();
    this.#loop.send({ type: "drain", waiting: "refuse" });
    this.#timer.wake();
  }

  /** Leaves nothing behind, at once: the program ends, or `deno run --watch` starts it again. */
  abandon(): void {
    this.#pool.killAll();
    this.#loop.abandon();
    this.#cleanUp();
  }

  // ---- what happens ----

  #hear(event: LoopEvent): void {
    switch (event.type) {
      case "log":
        return this.log[event.level](event.message, event.fields);
      case "line": {
        const { worker, line: { level, message, fields, job } } = event;
        return this.log[level](message, { ...fields, worker, job: job === 0 ? undefined : job });
      }
      case "dropped":
        return warnOfDropped(this.log, event.worker, event.lines);
      case "requestFailed":
        return void this.#events.emit("requestFailed", event.failure);
      case "visits":
        return event.visits.forEach((visit) => this.#logs.visit(visit));
      case "backendMoved":
        return this.#backendMoved(event.before, event.endpoint);
      case "mended":
        return this.#mended(event.endpoint);
      case "notBound":
        return this.#premises.failed(event.message, performance.now());
      case "worked":
        return this.#timer.wake();
      default:
        this.#hearOfWorker(event);
        return this.#timer.wake();
    }
  }

  #hearOfWorker(event: WorkerNews): void {
    const pool = this.#pool;
    switch (event.type) {
      case "loaded":
        return pool.loaded(event.worker);
      case "ready":
        return pool.ready(event.worker);
      case "failed":
        return pool.loadFailed(event.worker, event.message);
      case "leaving":
        return pool.leaving(event.worker);
      case "left":
        return pool.left(event.worker);
      case "lost":
        return pool.lost(event.worker);
      case "diedBusy":
        return pool.diedBusy(event.worker);
      case "departed":
        return pool.departed(event.worker);
      case "memory":
        return pool.measured(event.worker, event.bytes);
      case "overran":
        return pool.overran(event.worker);
      case "isolated":
        return pool.isolated(event.worker);
    }
  }

  #codeListener(): CodeListener {
    return {
      everReady: () => this.#supervisor.everReady,
      loaded: () => this.#timer.wake(),
      changed: () => {
        this.#supervisor.reload(performance.now());
        this.#timer.wake();
      },
      failed: (error) => this.#fail(error),
      reloadFailed: (message) => this.#reloadFailed(message),
    };
  }

  #poolListener(): PoolListener {
    return {
      ready: () => this.#ready.resolve(),
      failed: (error) => this.#fail(error),
      reloaded: () => {
        this.#code.reloaded();
        this.#events.emit("reloaded", { generation: this.#supervisor.generation });
      },
      reloadFailed: (message) => this.#reloadFailed(message),
    };
  }

  #reloadFailed(message: string): void {
    this.#code.reloadFailed(message);
    this.#events.emit("reloadFailed", { message });
  }

  /** Whether workers must wait for modules: those that are there may stay, and leave. */
  get #isWaiting(): boolean {
    return this.#code.isLoading && !this.stopping && !this.#supervisor.everReady;
  }

  #workshop(confines: boolean): Workshop {
    return { backend: this.backend, library: this.#premises.library, canConfine: confines };
  }

  #mending(): Mending {
    return {
      moved: () => {
        this.#code.placeAgain();
        if (this.#settings.backend !== undefined) this.#backendMoved(this.backend, this.backend);
        else this.#loop.send({ type: "moveBackend", endpoint: this.#premises.backend });
      },
      sockets: () => this.#loop.send({ type: "mend" }),
    };
  }

  /** There is a new private folder, and workers connect there. */
  #backendMoved(before: string, backend: string): void {
    this.#premises.handOver(backend);
    this.log.warn("the private folder was removed, there is a new one", { before, backend });
  }

  #mended(endpoint: string): void {
    if (endpoint === this.backend) this.#premises.handOver(endpoint);
    this.log.warn("the socket file was removed, it is bound again", { endpoint });
  }

  async #watch(): Promise<void> {
    const { handler } = this.#settings;
    if (!handler?.startsWith("file:")) return;
    const watched = {
      isStopping: () => this.stopping,
      listFiles: () => this.#code.listFiles(),
      reload: () => this.reload(),
    };
    const failed = (error: unknown) => this.log.error("not watching", { error: messageOf(error) });
    await reloadOnChange(watched, filePath(new URL(handler)), this.ended, failed);
  }

  // ---- the end ----

  /** It can't start at all. */
  #fail(error: Error): void {
    if (this.#shutdown.phase === "stopping") return;
    this.#failure ??= error;
    this.#ready.reject(error);
    this.kill();
  }

  /** Something that must not fail has failed: nothing can be relied on. */
  #broke(error: unknown): void {
    this.#failure ??= error instanceof Error ? error : new Error(String(error));
    this.log.error("the broker failed", { error: this.#failure.message });
    this.#pool.killAll();
    this.#loop.send({ type: "stop" });
  }

  #tickShutdown(now: number): number {
    const rest = this.#rest();
    const step = this.#shutdown.next(now, rest);
    if (step === "end") this.#loop.send({ type: "stop" });
    if (step !== "stopWorkers") return this.#shutdown.wait(now, rest);
    this.#loop.send({ type: "drain", waiting: "refuse" });
    this.#supervisor.stop(now);
    this.#timer.wake();
    return 0;
  }

  #rest(): Rest {
    const look = this.#loop.look();
    const { isIdle } = activityOf(look);
    const isDeserted = this.#supervisor.stopped && look.workers.size === 0;
    return { isIdle, isDeserted, hasUnsent: look.hasUnsent, readAt: look.readAt };
  }

  async #run(): Promise<void> {
    try {
      await this.#loop.run();
      await this.#closeSockets();
      await this.#stopHook;
    } catch (error) {
      this.#broke(error);
    }
    this.#cleanUp();
    await this.#pool.close();
    const { forced } = this.#supervisor;
    if (this.#failure === undefined) this.#events.emit("stopped", { forced });
    await this.#logs.close();
    this.#timer.stop();
    this.#signals?.close();
    this.#ready.reject(this.#failure ?? new Error("Cannot be ready: the server has ended"));
    if (this.#failure === undefined) this.#finished.resolve({ forced });
    else this.#finished.reject(this.#failure);
  }

  /** Closes the sockets, and waits for clients to take what is on its way to them. */
  async #closeSockets(): Promise<void> {
    const linger = Math.max(MIN_LINGER, this.#shutdown.endAt - performance.now());
    // libzmq 4.3.5 may never end when a client that has not read leaves in this very moment.
    const timer = setTimeout(() => this.#cutShort.resolve(), linger + CLOSE_MARGIN);
    await Promise.race([this.#loop.close(linger), this.#cutShort.promise]);
    clearTimeout(timer);
  }

  #cleanUp(): void {
    this.#code?.close(this.#failure ?? new Error("The server has ended"));
    this.#premises?.remove();
  }
}

/** What the loop says of a worker. */
type WorkerNews = Exclude<
  LoopEvent,
  {
    type:
      | "backendMoved"
      | "dropped"
      | "line"
      | "log"
      | "mended"
      | "notBound"
      | "requestFailed"
      | "visits"
      | "worked";
  }
>;

function activityOf({ queued, running, lastJobAt }: Look): { isIdle: boolean; lastJobAt: number } {
  return { isIdle: queued === 0 && running === 0, lastJobAt };
}

const UNFILTERED =
  "this kernel can't filter system calls: only Deno's own sandbox confines handlers";

const DEBUGGER_OPEN =
  "Deno's debugger is open on port 9229: every user of this machine can run code in this process";

const RULES_LATE =
  "access rules cannot be added to a server that started without any: restart it to apply them";

/** Loads the handler once, in a worker, with all that a server would give it; false: it has said why not. */
async function check(settings: Settings, say: (remark: string) => void): Promise<boolean> {
  const spec = childSpec(settings, WORKER_MODULE, Deno.execPath());
  spec.config?.notes.forEach(say);
  const library = locateLibrary(readVariable("ZMQ_LIBRARY"));
  shutDebugger(library.path);
  requirePlainFiles(settings);
  openAccess(accessOf(settings), library);
  // It needs no socket and claims no pid file.
  const options = { backend: "", pidFile: undefined, workers: spec };
  const premises = new Premises(library, options, { warn: () => {}, error: () => {} });
  try {
    premises.handOver("");
    const confines = canConfine(library.path);
    const workshop = { backend: "", library: premises.library, canConfine: confines };
    return await tryHandler(settings, spec, premises, workshop, say);
  } finally {
    premises.remove();
  }
}

if (import.meta.main) {
  // Whoever imports this module needs no command line.
  const { main } = await import("./cli/serve.ts");
  Deno.exit(await main(Deno.args, { url: import.meta.url, resolve, start, check }));
}
