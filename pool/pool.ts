/**
 * The worker processes: starts them, hears what becomes of them and ends them, as the supervisor decides.
 * Not here: the decisions (supervisor.ts), the code that workers run (handler_code.ts), and their jobs.
 *
 * @module
 */

import type { Events } from "../ops/events.ts";
import type { Log } from "../ops/log.ts";
import type { OpenFiles } from "../ops/open_files.ts";
import type { WorkerStats } from "../ops/stats.ts";
import type { Look, LoopCommand } from "../ports/messages.ts";
import { messageOf } from "../system/errors.ts";
import { LOAD_FAILED, type WorkerKeys } from "../wire/worker_config.ts";
import {
  type Child,
  type ChildExit,
  type ChildSpec,
  DENO_FAILED,
  isFromOutside,
  likelyCause,
  spawnChild,
} from "./child.ts";
import { Gauges, type Measured } from "./gauges.ts";
import { type HandlerCode, lateCause } from "./handler_code.ts";
import { buildOrders, type OrderSettings, type Workshop } from "./orders.ts";
import { PrintedLines } from "./printed_lines.ts";
import { findRefusal, refusalError } from "./trials.ts";
import type {
  Action,
  ExitReason,
  Limits,
  Load,
  Purpose,
  Supervisor,
  WorkerView,
} from "./supervisor.ts";

/** The options that a pool needs. */
export type PoolSettings = Limits & OrderSettings;

/** The loop that gives jobs to workers. */
export interface Plane {
  send(command: LoopCommand): void;
  look(): Look;
}

/** What a pool is made of. */
export interface PoolParts {
  readonly supervisor: Supervisor;
  readonly code: HandlerCode;
  readonly plane: Plane;
  readonly files: OpenFiles;
  readonly events: Events;
  readonly log: Log;
  /** What workers are told of the server, as it is now. */
  workshop(): Workshop;
  /** Keys for a worker; undefined where it needs none. */
  makeKeys(): WorkerKeys | undefined;
  /** Whether no worker may be started yet. */
  isWaiting(): boolean;
  /** `tick` is due. */
  wake(): void;
}

/** What the server hears of its pool. */
export interface PoolListener {
  /** As many workers are ready as always are to be. */
  ready(): void;
  /** No worker can ever be ready. */
  failed(error: Error): void;
  /** All workers run new code. */
  reloaded(): void;
  /** Workers can't run new code: the old ones stay. */
  reloadFailed(message: string): void;
}

/** A process, until it has ended and all that it said was read. */
interface Process {
  readonly child: Child;
  readonly purpose: Purpose;
  /** It has said that it serves, or why it can't. */
  hasSpoken: boolean;
  /** Its handler's module is loaded, and `init()` was called. */
  isLoaded: boolean;
  /** This process has sent it a signal to end it. */
  isSignalled: boolean;
  /** It died while it had jobs. */
  diedBusy: boolean;
  /** How it ended; undefined: it has not. */
  exit: ChildExit | undefined;
}

const EXPECTED: ReadonlySet<ExitReason> = new Set([
  "stopped",
  "culled",
  "recycled",
  "reload",
  "left",
  "dequeued",
]);

/** The processes of a server. */
export class Pool {
  readonly #parts: PoolParts;
  readonly #listener: PoolListener;
  readonly #gauges: Gauges;
  readonly #prints: PrintedLines;
  readonly #processes = new Map<number, Process>();
  readonly #exits: Partial<Record<ExitReason, number>> = {};
  #spawned = 0;
  #settings: PoolSettings;

  /** Starts nothing before the first tick. */
  constructor(settings: PoolSettings, parts: PoolParts, listener: PoolListener) {
    this.#settings = settings;
    this.#parts = parts;
    this.#listener = listener;
    this.#gauges = new Gauges(parts.supervisor, parts.log);
    this.#prints = new PrintedLines(parts.log, () => parts.wake());
  }

  // ---- what the server asks ----

  /** Processes started, and those that have ended, by reason. */
  get counts(): { spawned: number; exited: Partial<Record<ExitReason, number>> } {
    return { spawned: this.#spawned, exited: { ...this.#exits } };
  }

  /** Each process. */
  list({ workers }: Look): WorkerStats[] {
    return [...this.#processes].map(([worker, { child, purpose }]) => {
      const { jobs = 0, answered = 0 } = workers.get(worker) ?? {};
      const state = stateOf(purpose, this.#parts.supervisor.worker(worker)?.state, jobs);
      return { worker, pid: child.pid, state, jobs, answered };
    });
  }

  // ---- what it says ----

  /** Works by other bounds from now on. */
  configure(settings: PoolSettings, now: number): void {
    this.#settings = settings;
    this.#parts.supervisor.configure(settings, now);
    this.#parts.wake();
  }

  /** Sends a signal to all workers that are ready. */
  forward(signal: Deno.Signal): void {
    const { workers } = this.#parts.plane.look();
    for (const [worker, { child }] of this.#processes) {
      if (workers.has(worker)) child.kill(signal);
    }
  }

  /** Kills all processes behind the supervisor's back: the server itself ends. */
  killAll(): void {
    for (const { child } of this.#processes.values()) child.kill("SIGKILL");
  }

  /** Resolves when what workers have printed is read. */
  close(): Promise<void> {
    return this.#prints.close();
  }

  /** Has the supervisor decide, and does what it says; returns ms until it must run again. */
  tick(now: number): number {
    const { supervisor, plane } = this.#parts;
    const prints = this.#prints.tick(now);
    const look = plane.look();
    this.#gauges.read(now, this.#serving(), look.workers, this.#settings.maxMemory);
    const sleep = this.#parts.isWaiting() ? Infinity : supervisor.tick(now, loadOf(look));
    const actions = supervisor.takeActions();
    for (const action of actions) this.#do(action);
    return actions.length > 0 ? 0 : Math.min(sleep, prints);
  }

  #do(action: Action): void {
    switch (action.type) {
      case "spawn":
        return this.#spawn(action.worker, action.purpose);
      case "retire":
      case "evict":
        return this.#parts.plane.send(action);
      case "kill":
        return this.#kill(action.worker, action.signal);
      case "reloaded":
        return this.#listener.reloaded();
      case "reloadFailed":
        return this.#listener.reloadFailed(action.message);
    }
  }

  // ---- a worker's life ----

  #spawn(worker: number, purpose: Purpose): void {
    const { supervisor, events, log } = this.#parts;
    try {
      const child = this.#start(worker, purpose);
      this.#spawned++;
      supervisor.spawned(worker, performance.now());
      events.emit("workerSpawned", { worker, pid: child.pid, purpose });
      child.exited.then((exit) => this.#ended(worker, exit));
    } catch (error) {
      log.error("worker not spawned", { worker, error: messageOf(error) });
      supervisor.spawnFailed(worker, performance.now());
    }
  }

  /** @throws {Error} when the system can't start a process. */
  #start(worker: number, purpose: Purpose): Child {
    const { supervisor, code, plane, files } = this.#parts;
    files.require(supervisor.counts().starting);
    const token = crypto.randomUUID();
    const keys = purpose === "serve" ? this.#parts.makeKeys() : undefined;
    const { spec, cwd } = code.placed;
    const hiring = { purpose, token, keys };
    // Its orders name what was granted, and `spec` what that means where it starts.
    const orders = buildOrders(hiring, code.spec, this.#settings, this.#parts.workshop());
    const child = spawnChild(spec, orders, cwd, (from, stream) => {
      this.#prints.read(worker, from, stream);
    });
    this.#processes.set(worker, {
      child,
      purpose,
      hasSpoken: purpose === "dequeue",
      isLoaded: false,
      isSignalled: false,
      diedBusy: false,
      exit: undefined,
    });
    if (purpose === "serve") {
      plane.send({ type: "expect", worker, token, publicKey: keys?.publicKey });
    }
    return child;
  }

  /** A worker has loaded the module and calls its `init()`. */
  loaded(worker: number): void {
    const process = this.#processes.get(worker);
    if (process !== undefined) process.isLoaded = true;
  }

  /** A worker is in service. */
  ready(worker: number): void {
    const process = this.#processes.get(worker);
    if (process === undefined) return;
    process.hasSpoken = true;
    const { supervisor, events, plane } = this.#parts;
    // One that was told to stop while it started is late: it may leave in order.
    if (!supervisor.ready(worker, performance.now())) return plane.send({ type: "retire", worker });
    events.emit("workerReady", { worker, pid: process.child.pid });
    if (supervisor.counts().ready >= this.#settings.minWorkers) this.#listener.ready();
  }

  /** A worker can't load the handler. */
  loadFailed(worker: number, message: string): void {
    const { supervisor, code } = this.#parts;
    // Somebody has removed modules from Deno's cache: the next workers find them again.
    if (message.includes("--cached-only") && supervisor.everReady) code.loadAgain();
    this.#cannotLoad(worker, new Error(message));
  }

  /** Nor can any other worker, if none ever was ready. */
  #cannotLoad(worker: number, error: Error): void {
    const process = this.#processes.get(worker);
    if (process === undefined || process.hasSpoken) return;
    process.hasSpoken = true;
    const { supervisor, log } = this.#parts;
    log.error(error.message, { worker });
    supervisor.loadFailed(worker, error.message, performance.now());
    if (!supervisor.everReady) this.#listener.failed(error);
  }

  /** A worker will leave of its own accord. */
  leaving(worker: number): void {
    this.#parts.supervisor.leaving(worker, performance.now());
  }

  /** A worker has said its last word. */
  left(worker: number): void {
    this.#parts.supervisor.left(worker, performance.now());
  }

  /** A worker's connection is gone though nobody asked it to leave. */
  lost(worker: number): void {
    this.#processes.get(worker)?.child.kill("SIGKILL");
  }

  /** A worker has died while it had jobs. */
  diedBusy(worker: number): void {
    const process = this.#processes.get(worker);
    if (process !== undefined) process.diedBusy = true;
  }

  /** A worker reports its memory. */
  measured(worker: number, bytes: number): void {
    const { workers } = this.#parts.plane.look();
    const { maxMemory } = this.#settings;
    this.#gauges.note([{ worker, bytes }], performance.now(), workers, maxMemory);
  }

  /** A worker's handler does not stop: it is to be ended. */
  overran(worker: number): void {
    const pid = this.#processes.get(worker)?.child.pid;
    this.#parts.log.warn("the handler does not stop, its worker is stopped", { worker, pid });
    this.#parts.supervisor.overran(worker, performance.now());
  }

  /** The same, but others run along with it. */
  isolated(worker: number): void {
    this.#parts.log.warn("the handler does not stop, its worker gets no more jobs", { worker });
    this.#parts.supervisor.isolated(worker, performance.now());
  }

  #kill(worker: number, signal: Deno.Signal): void {
    const process = this.#processes.get(worker);
    if (process === undefined) return;
    this.#parts.log.debug("signal sent", { worker, signal });
    if (signal !== "SIGINT") process.isSignalled = true;
    process.child.kill(signal);
  }

  /** The system reports a process's end, which may be before its last message is read. */
  #ended(worker: number, exit: ChildExit): void {
    const process = this.#processes.get(worker);
    if (process === undefined) return;
    process.exit = exit;
    const owesReason = exit.code === LOAD_FAILED;
    this.#parts.plane.send({ type: "processEnded", worker, end: endOf(process, exit), owesReason });
  }

  /** A process has ended, and all that it said before was told. */
  departed(worker: number): void {
    const process = this.#processes.get(worker);
    if (process?.exit === undefined) return;
    if (isRefused(process, process.exit)) this.#explain(worker, process, process.exit);
    else this.#exited(worker, process, process.exit);
  }

  /** Asks Deno why it ended: what it refuses now, it refuses the next worker too. */
  async #explain(worker: number, process: Process, exit: ChildExit): Promise<void> {
    const { code, workshop } = this.#parts;
    const refusal = await findRefusal(code.spec, workshop().library).catch(() => undefined);
    if (refusal !== undefined) this.#cannotLoad(worker, refusalError(refusal));
    this.#exited(worker, process, exit);
  }

  #exited(worker: number, process: Process, exit: ChildExit): void {
    const { supervisor, events, code, wake } = this.#parts;
    this.#processes.delete(worker);
    const { wear } = supervisor.worker(worker) ?? {};
    const harmed = process.diedBusy || endOf(process, exit) === "outside";
    const ending = harmed ? "harmed" : exit.code === 0 ? "ok" : "broken";
    const reason = supervisor.exited(worker, performance.now(), ending) ?? "crashed";
    this.#exits[reason] = (this.#exits[reason] ?? 0) + 1;
    events.emit("workerExited", {
      worker,
      pid: process.child.pid,
      ...exit,
      reason,
      expected: EXPECTED.has(reason),
      cause: reason === "recycled" ? wear : undefined,
      likely: likelyReason(reason, process, exit, code.spec),
    });
    wake();
  }

  #serving(): Measured[] {
    return [...this.#processes].flatMap(([worker, { child, purpose }]) =>
      purpose === "serve" ? [{ worker, pid: child.pid }] : []
    );
  }
}

/** What a worker does, in a word. */
function stateOf(
  purpose: Purpose,
  state: WorkerView["state"] | undefined,
  jobs: number,
): WorkerStats["state"] {
  if (purpose === "dequeue") return purpose;
  if (state === "ready") return jobs > 0 ? "busy" : "idle";
  return state === "starting" ? state : "stopping";
}

function loadOf({ lastJobAt, workers }: Look): Load {
  return {
    lastJobAt,
    idleSince: (worker) => workers.get(worker)?.spareSince,
    answered: (worker) => workers.get(worker)?.answered ?? 0,
    busy: (worker) => (workers.get(worker)?.jobs ?? 0) > 0,
  };
}

/** Whether somebody else can have ended a process. */
function endOf({ isSignalled }: Process, exit: ChildExit): "outside" | "itself" {
  return isFromOutside(exit) && !isSignalled ? "outside" : "itself";
}

/** Whether Deno may have run nothing of a worker. */
function isRefused({ hasSpoken }: Process, { code, signal }: ChildExit): boolean {
  return code === DENO_FAILED && signal === null && !hasSpoken;
}

function likelyReason(
  reason: ExitReason,
  { isLoaded }: Process,
  exit: ChildExit,
  spec: ChildSpec,
): string | undefined {
  if (reason === "crashed") return likelyCause(exit, spec);
  return reason === "timeout" ? lateCause(isLoaded) : undefined;
}
