/**
 * The worker processes from their start to their end: hears what they and the system report, and tells the
 * supervisor. Not here: which ones there are to be (supervisor.ts), and how one is started (hiring.ts).
 *
 * @module
 */

import type { Events, OfService } from "../ops/events.ts";
import type { Log } from "../ops/log.ts";
import type { WorkerStats } from "../ops/stats.ts";
import type { WorkerStatus } from "../ops/status.ts";
import type { Look, LoopCommand, LoopEvent } from "../ports/messages.ts";
import { messageOf } from "../system/errors.ts";
import { Usages } from "../system/usages.ts";
import { type ExitReason, isExitReason, isPlanned } from "../wire/exit_reasons.ts";
import { LOAD_FAILED } from "../wire/worker_config.ts";
import {
  type Child,
  type ChildExit,
  type ChildSpec,
  DENO_FAILED,
  isFromOutside,
  likelyCause,
} from "./child.ts";
import type { Measured, Workers } from "./gauges.ts";
import { lateCause } from "./handler_code.ts";
import { hire, type HiringParts } from "./hiring.ts";
import type { OrderSettings } from "./orders.ts";
import type { KillSignal, Purpose, Supervisor, WorkerView } from "./supervisor.ts";
import { findRefusal, refusalError } from "./trials.ts";

/** What worker processes need around them. */
export interface ProcessParts extends HiringParts {
  /** What events say of the service. */
  readonly tag: OfService;
  readonly supervisor: Supervisor;
  readonly events: Events;
  readonly log: Log;
  send(command: LoopCommand): void;
  /** The options of now. */
  settings(): OrderSettings & { minWorkers: number };
}

/** What the server hears of its workers. */
export interface ProcessListener {
  /** As many workers are ready as always are to be. */
  ready(): void;
  /** No worker can ever be ready. */
  failed(error: Error): void;
  /** A process has ended: the supervisor may want others. */
  ended(): void;
}

/** What the loop says of workers. */
export type WorkerNews = Extract<LoopEvent, { worker: number }>;

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

const NO_JOB = { firstJob: undefined, firstJobAt: undefined };

/** The processes of a service. */
export class WorkerProcesses {
  readonly #parts: ProcessParts;
  readonly #listener: ProcessListener;
  readonly #processes = new Map<number, Process>();
  readonly #exits: Partial<Record<ExitReason, number>> = {};
  readonly #usages = new Usages();
  #spawned = 0;

  constructor(parts: ProcessParts, listener: ProcessListener) {
    this.#parts = parts;
    this.#listener = listener;
  }

  /** Processes started, and those that have ended, by reason. */
  get counts(): { spawned: number; exited: Partial<Record<ExitReason, number>> } {
    return { spawned: this.#spawned, exited: { ...this.#exits } };
  }

  /** Whether a worker is one of these, and its end was not told yet. */
  has(worker: number): boolean {
    return this.#processes.has(worker);
  }

  /** Each process. */
  list({ workers }: Look): WorkerStats[] {
    return [...this.#processes].map(([worker, { child, purpose }]) => {
      const { jobs = 0, answered = 0 } = workers.get(worker) ?? {};
      const state = stateOf(purpose, this.#parts.supervisor.worker(worker)?.state, jobs);
      return { worker, pid: child.pid, state, jobs, answered, ...this.#parts.tag };
    });
  }

  /** Each process, with all that is known of it here. */
  describe(look: Look, now: number): WorkerStatus[] {
    const { supervisor, service } = this.#parts;
    const restarts = this.#unexpected;
    return this.list(look).map(({ worker, pid, state, jobs, answered }) => {
      const { spawnedAt = now, generation = supervisor.generation } = supervisor.worker(worker) ??
        {};
      const { firstJob: job, firstJobAt } = look.workers.get(worker) ?? NO_JOB;
      const jobMs = firstJobAt === undefined
        ? undefined
        : Math.round(Math.max(0, now - firstJobAt));
      return {
        ...{ worker, pid, service, state, jobs, answered, ageMs: Math.round(now - spawnedAt) },
        ...{ ...this.#usages.of(pid, now), job, jobMs },
        ...{ generation, restarts },
      };
    });
  }

  /** How many have ended without being asked to. */
  get #unexpected(): number {
    return Object.entries(this.#exits).reduce(
      (sum, [reason, count]) => isExitReason(reason) && !isPlanned(reason) ? sum + count : sum,
      0,
    );
  }

  /** Those that serve clients. */
  serving(): Measured[] {
    return [...this.#processes].flatMap(([worker, { child, purpose }]) =>
      purpose === "serve" ? [{ worker, pid: child.pid }] : []
    );
  }

  /** Sends a signal to all workers that are in service. */
  forward(signal: Deno.Signal, workers: Workers): void {
    for (const [worker, { child }] of this.#processes) {
      if (workers.has(worker)) child.kill(signal);
    }
  }

  /** Kills all, behind the supervisor's back: the server itself ends. */
  killAll(): void {
    for (const { child } of this.#processes.values()) child.kill("SIGKILL");
  }

  /** Starts a worker, or tells the supervisor that it can't be started. */
  spawn(worker: number, purpose: Purpose): void {
    const { supervisor, events, log, tag } = this.#parts;
    const { starting } = supervisor.counts();
    try {
      const { child, expected } = hire(worker, purpose, starting, this.#parts);
      this.#processes.set(worker, processOf(child, purpose));
      const { service } = this.#parts;
      if (purpose === "serve") this.#parts.send({ type: "expect", service, ...expected });
      this.#spawned++;
      supervisor.spawned(worker, performance.now());
      events.emit("workerSpawned", { worker, pid: child.pid, purpose, ...tag });
      child.exited.then((exit) => this.#ended(worker, exit));
    } catch (error) {
      log.error("worker not spawned", { worker, error: messageOf(error) });
      supervisor.spawnFailed(worker, performance.now());
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

  /** A worker is in service. */
  #ready(worker: number, process: Process, now: number): void {
    const { supervisor, events, tag } = this.#parts;
    process.hasSpoken = true;
    // One that was told to stop while it started is late: it may leave in order.
    if (!supervisor.ready(worker, now)) return this.#parts.send({ type: "retire", worker });
    events.emit("workerReady", { worker, pid: process.child.pid, ...tag });
    if (supervisor.counts().ready >= this.#parts.settings().minWorkers) this.#listener.ready();
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

  /** Sends a signal to a worker, as the supervisor wants. */
  kill(worker: number, signal: KillSignal): void {
    const process = this.#processes.get(worker);
    if (process === undefined) return;
    this.#parts.log.debug("signal sent", { worker, signal });
    if (signal !== "SIGINT") process.isSignalled = true;
    // It may become ready in this very moment, and is to get no job then.
    if (!process.hasSpoken && signal === "SIGTERM") this.#parts.send({ type: "retire", worker });
    process.child.kill(signal);
  }

  /** Kills a worker, as an operator wants: what it had is run again elsewhere, as after a kill from outside. */
  slay(worker: number): void {
    this.#parts.supervisor.slain(worker, performance.now());
    this.#processes.get(worker)?.child.kill("SIGKILL");
  }

  /** The system reports a process's end, which may be before its last message is read. */
  #ended(worker: number, exit: ChildExit): void {
    const process = this.#processes.get(worker);
    if (process === undefined) return;
    process.exit = exit;
    const owesReason = exit.code === LOAD_FAILED;
    this.#parts.send({ type: "processEnded", worker, end: endOf(process, exit), owesReason });
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
    const { supervisor, events, code, tag } = this.#parts;
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
      expected: isPlanned(reason),
      cause: reason === "recycled" ? wear : undefined,
      likely: likelyReason(reason, process, exit, code.spec),
      ...tag,
    });
    this.#listener.ended();
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
