/**
 * The pool of workers: has the supervisor decide, and does what it says. Not here: the decisions
 * (supervisor.ts), a process's life (worker_processes.ts), the code that workers run (handler_code.ts).
 *
 * @module
 */

import type { Events, OfService } from "../ops/events.ts";
import type { Log } from "../ops/log.ts";
import type { WorkerStats } from "../ops/stats.ts";
import type { WorkerStatus } from "../ops/status.ts";
import type { Look, LoopCommand } from "../ports/messages.ts";
import type { ChildSpec } from "./child.ts";
import { Gauges } from "./gauges.ts";
import { type CodePlaces, type CodeSettings, HandlerCode } from "./handler_code.ts";
import type { HiringParts } from "./hiring.ts";
import type { OrderSettings } from "./orders.ts";
import { PrintedLines } from "./printed_lines.ts";
import { firstStarts, Recruits } from "./recruits.ts";
import type { Action, Limits, Load, Supervisor } from "./supervisor.ts";
import { type WorkerNews, WorkerProcesses } from "./worker_processes.ts";

/** The options that a pool needs. */
export type PoolSettings = CodeSettings & Limits & OrderSettings;

/** The loop that gives jobs to workers. */
export interface Plane {
  send(command: LoopCommand): void;
  /** How things are at `now`; what ticks at the same time shares one look. */
  look(now: number): Look;
  /** Whether workers can come into service; false: none is started. @default {true} */
  mayStart?(): boolean;
}

/** What a pool is made of. */
export interface PoolParts extends Omit<HiringParts, "code" | "prints" | "recruits" | "settings"> {
  /** What events say of it. */
  readonly tag: OfService;
  readonly supervisor: Supervisor;
  readonly plane: Plane;
  readonly places: CodePlaces;
  readonly events: Events;
  readonly log: Log;
  /** Whether the server was told to stop. */
  isStopping(): boolean;
  /** `tick` is due. */
  wake(): void;
}

/** What the server hears of its pool. */
export interface PoolListener {
  /** As many workers are ready as always are to be. */
  ready(): void;
  /** No worker can ever be ready. */
  failed(error: Error): void;
}

/** The workers of one service. */
export class Pool {
  readonly #parts: PoolParts;
  readonly #gauges: Gauges;
  readonly #prints: PrintedLines;
  readonly #recruits = new Recruits();
  readonly #processes: WorkerProcesses;
  readonly #listener: PoolListener;
  #settings: PoolSettings;
  /** It was told that no worker is needed. */
  #isComplete = false;
  /** What workers run. */
  readonly code: HandlerCode;

  /**
   * Places the configuration of workers; starts none before the first tick.
   *
   * @throws {Error} when it can't be written.
   */
  constructor(spec: ChildSpec, settings: PoolSettings, parts: PoolParts, listener: PoolListener) {
    const { log, places } = parts;
    this.#settings = settings;
    this.#parts = parts;
    this.#listener = listener;
    this.#gauges = new Gauges(parts.supervisor, log);
    this.#prints = new PrintedLines(log, () => parts.wake());
    this.code = new HandlerCode(spec, settings, places, log, {
      everReady: () => parts.supervisor.everReady,
      loaded: () => parts.wake(),
      changed: () => this.#changed(),
      failed: (error) => listener.failed(error),
      reloadFailed: (message) => this.#reloadFailed(message),
    });
    const { code } = this;
    const own = {
      code,
      prints: this.#prints,
      recruits: this.#recruits,
      settings: () => this.#settings,
    };
    const send = (command: LoopCommand) => parts.plane.send(command);
    this.#processes = new WorkerProcesses({ ...parts, ...own, send }, {
      ready: () => listener.ready(),
      failed: (error) => listener.failed(error),
      ended: () => parts.wake(),
    });
  }

  // ---- what it is asked ----

  /** Processes started, and those that have ended, by reason. */
  get counts(): WorkerProcesses["counts"] {
    return this.#processes.counts;
  }

  /** Whether a worker is one of these, and its end was not told yet. */
  has(worker: number): boolean {
    return this.#processes.has(worker);
  }

  /** Each process. */
  list(look: Look): WorkerStats[] {
    return this.#processes.list(look);
  }

  /** Each process, with all that is known of it here. */
  describe(look: Look, now: number): WorkerStatus[] {
    return this.#processes.describe(look, now);
  }

  // ---- what it is told ----

  /**
   * Starts the processes of the first workers ahead of the first tick, which has them serve; returns how many.
   *
   * @param most How many may be started.
   * @param library The file that workers open through FFI.
   */
  recruit(most: number, library: string): number {
    const count = firstStarts(this.#settings, most);
    return this.#recruits.gather(count, this.code, library, this.#parts.files);
  }

  /** Works by other bounds from now on. */
  configure(settings: PoolSettings, now: number): void {
    this.#settings = settings;
    this.#parts.supervisor.configure(settings, now);
    this.#parts.wake();
  }

  /** Somebody has told the supervisor something: it is to decide. */
  wake(): void {
    this.#parts.wake();
  }

  /** Sends a signal to all workers that are ready. */
  forward(signal: Deno.Signal): void {
    this.#processes.forward(signal, this.#parts.plane.look(performance.now()).workers);
  }

  /** Hears what the loop says of a worker. */
  hear(news: WorkerNews): void {
    if (news.type === "memory") {
      const now = performance.now();
      const { workers } = this.#parts.plane.look(now);
      this.#gauges.note([news], now, workers, this.#settings.maxMemory);
    } else this.#processes.hear(news);
    this.#parts.wake();
  }

  /** Kills a worker, as an operator wants. */
  slay(worker: number): void {
    this.#processes.slay(worker);
    this.#parts.wake();
  }

  /** Kills all processes behind the supervisor's back: the server itself ends. */
  killAll(): void {
    this.#recruits.dismiss();
    this.#processes.killAll();
  }

  /** Resolves when what workers have printed is read. */
  close(): Promise<void> {
    return this.#prints.close();
  }

  // ---- what it does ----

  /** Has the supervisor decide, and does what it says; returns ms until it must run again. */
  tick(now: number): number {
    const { supervisor, plane } = this.#parts;
    const prints = this.#prints.tick(now);
    const look = plane.look(now);
    const { maxMemory } = this.#settings;
    this.#gauges.read(now, () => this.#processes.serving(), look.workers, maxMemory);
    const sleep = this.#isWaiting
      ? Infinity
      : supervisor.tick(now, loadOf(look, this.#parts.service));
    const actions = supervisor.takeActions();
    for (const action of actions) this.#do(action);
    this.#recruits.dismiss();
    this.#noteUnmanned();
    return actions.length > 0 ? 0 : Math.min(sleep, prints);
  }

  /** Where all workers are on other machines, nothing is to be waited for. */
  #noteUnmanned(): void {
    if (this.#isComplete || this.#settings.minWorkers > 0) return;
    this.#isComplete = true;
    this.#listener.ready();
  }

  /** Whether the first workers wait for modules, or all for the broker; workers that are there may leave without. */
  get #isWaiting(): boolean {
    const { supervisor, isStopping, plane } = this.#parts;
    if (this.code.isLoading && !isStopping() && !supervisor.everReady) return true;
    return plane.mayStart?.() === false && !supervisor.isHalted;
  }

  #do(action: Action): void {
    switch (action.type) {
      case "spawn":
        return this.#processes.spawn(action.worker, action.purpose);
      case "retire":
      case "evict":
        return this.#parts.plane.send(action);
      case "kill":
        return this.#processes.kill(action.worker, action.signal);
      case "reloaded":
        return this.#reloaded();
      case "reloadFailed":
        return this.#reloadFailed(action.message);
    }
  }

  /** There is newer code for all workers. */
  #changed(): void {
    this.#parts.supervisor.reload(performance.now());
    this.#parts.wake();
  }

  #reloaded(): void {
    const { supervisor, events, tag } = this.#parts;
    this.code.reloaded();
    events.emit("reloaded", { generation: supervisor.generation, ...tag });
  }

  #reloadFailed(message: string): void {
    this.code.reloadFailed(message);
    const { events, tag } = this.#parts;
    events.emit("reloadFailed", { message, ...tag });
  }
}

function loadOf(look: Look, service: string): Load {
  const { workers } = look;
  const { lastJobAt } = look.services.get(service) ?? look;
  return {
    lastJobAt,
    idleSince: (worker) => workers.get(worker)?.spareSince,
    answered: (worker) => workers.get(worker)?.answered ?? 0,
    busy: (worker) => (workers.get(worker)?.jobs ?? 0) > 0,
  };
}
