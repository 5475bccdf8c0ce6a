/**
 * The worker processes: starts them, hears what becomes of them and ends them, as the supervisor decides.
 * Not here: the decisions (supervisor.ts), the code that workers run (handler_code.ts), and their jobs.
 *
 * @module
 */

import type { Events } from "../ops/events.ts";
import type { Log } from "../ops/log.ts";
import type { WorkerStats } from "../ops/stats.ts";
import type { Look, LoopCommand, LoopEvent } from "../ports/messages.ts";
import { messageOf } from "../system/errors.ts";
import { LOAD_FAILED } from "../wire/worker_config.ts";
import {
  type Child,
  type ChildExit,
  type ChildSpec,
  DENO_FAILED,
  isFromOutside,
  likelyCause,
} from "./child.ts";
import { Gauges, type Measured, type Workers } from "./gauges.ts";
import { lateCause } from "./handler_code.ts";
import { hire, type HiringParts } from "./hiring.ts";
import type { OrderSettings } from "./orders.ts";
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
export interface PoolParts extends HiringParts {
  readonly supervisor: Supervisor;
  readonly plane: Plane;
  readonly events: Events;
  readonly log: Log;
  /** Whether no worker may be started yet. */
  isWaiting(): boolean;
  /** `tick` is due. */
  wake(): void;
}

/** What the loop says of workers. */
export type WorkerNews = Extract<LoopEvent, { worker: number }>;

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
    const workers = this.#workers;
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

  /** Hears what the loop says of a worker. */
  hear(news: WorkerNews): void {
    const { worker } = news;
    const { supervisor, log } = this.#parts;
    const process = this.#processes.get(worker);
    if (process === undefined) return;
    const now = performance.now();
    switch (news.type) {
      case "loaded":
        process.isLoaded = true;
        return;
      case "ready":
        return this.#ready(worker, process, now);
      case "failed":
        return this.#loadFailed(worker, process, news.message);
      case "leaving":
        return supervisor.leaving(worker, now);
      case "left":
        return supervisor.left(worker, now);
      case "lost":
        return process.child.kill("SIGKILL");
      case "diedBusy":
        process.diedBusy = true;
        return;
      case "departed":
        return this.#departed(worker, process);
      case "memory":
        return this.#gauges.note([news], now, this.#workers, this.#settings.maxMemory);
      case "overran":
        log.warn("the handler does not stop, its worker is stopped", {
          worker,
          pid: process.child.pid,
        });
        return supervisor.overran(worker, now);
      case "isolated":
        log.warn("the handler does not stop, its worker gets no more jobs", { worker });
        return supervisor.isolated(worker, now);
    }
  }

  // ---- a worker's life ----

  #spawn(worker: number, purpose: Purpose): void {
    const { supervisor, plane, events, log } = this.#parts;
    const { starting } = supervisor.counts();
    try {
      const { child, expected } = hire(
        worker,
        purpose,
        starting,
        this.#settings,
        this.#parts,
        this.#prints,
      );
      this.#processes.set(worker, processOf(child, purpose));
      if (purpose === "serve") plane.send({ type: "expect", ...expected });
      this.#spawned++;
      supervisor.spawned(worker, performance.now());
      events.emit("workerSpawned", { worker, pid: child.pid, purpose });
      child.exited.then((exit) => this.#ended(worker, exit));
    } catch (error) {
      log.error("worker not spawned", { worker, error: messageOf(error) });
      supervisor.spawnFailed(worker, performance.now());
    }
  }

  /** A worker is in service. */
  #ready(worker: number, process: Process, now: number): void {
    const { supervisor, events, plane } = this.#parts;
    process.hasSpoken = true;
    // One that was told to stop while it started is late: it may leave in order.
    if (!supervisor.ready(worker, now)) return plane.send({ type: "retire", worker });
    events.emit("workerReady", { worker, pid: process.child.pid });
    if (supervisor.counts().ready >= this.#settings.minWorkers) this.#listener.ready();
  }

  /** A worker can't load the handler. */
  #loadFailed(worker: number, process: Process, message: string): void {
    const { supervisor, code } = this.#parts;
    // Somebody has removed modules from Deno's cache: the next workers find them again.
    if (message.includes("--cached-only") && supervisor.everReady) code.loadAgain();
    this.#cannotLoad(worker, process, new Error(message));
  }

  /** Nor can any other worker, if none ever was ready. */
  #cannotLoad(worker: number, process: Process, error: Error): void {
    if (process.hasSpoken) return;
    process.hasSpoken = true;
    const { supervisor, log } = this.#parts;
    log.error(error.message, { worker });
    supervisor.loadFailed(worker, error.message, performance.now());
    if (!supervisor.everReady) this.#listener.failed(error);
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
  #departed(worker: number, process: Process): void {
    const { exit } = process;
    if (exit === undefined) return;
    if (isRefused(process, exit)) this.#explain(worker, process, exit);
    else this.#exited(worker, process, exit);
  }

  /** Asks Deno why it ended: what it refuses now, it refuses the next worker too. */
  async #explain(worker: number, process: Process, exit: ChildExit): Promise<void> {
    const { code, workshop } = this.#parts;
    const refusal = await findRefusal(code.spec, workshop().library).catch(() => undefined);
    if (refusal !== undefined) this.#cannotLoad(worker, process, refusalError(refusal));
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

  /** Workers in service. */
  get #workers(): Workers {
    return this.#parts.plane.look().workers;
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

function processOf(child: Child, purpose: Purpose): Process {
  return {
    child,
    purpose,
    hasSpoken: purpose === "dequeue",
    isLoaded: false,
    isSignalled: false,
    diedBusy: false,
    exit: undefined,
  };
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
