/**
 * One service of a server: the pool of its workers, who decides about it, the code that it runs, and the options
 * that it goes by. Nothing here is shared with another service but what is handed in. Not here: what the server
 * is told (server.ts), and which options there are.
 *
 * @module
 */

import type { Events } from "../ops/events.ts";
import type { Log } from "../ops/log.ts";
import type { Reports } from "../ops/stats.ts";
import type { WorkerStatus } from "../ops/status.ts";
import type { Look } from "../ports/messages.ts";
import type { Settings } from "../options/settings.ts";
import { openTracing } from "../system/tracing.ts";
import type { ChildSpec } from "./child.ts";
import { childSpec } from "./child_spec.ts";
import { EXPORT_GRACE_MS } from "./environment.ts";
import type { HandlerCode } from "./handler_code.ts";
import { Pool, type PoolListener, type PoolParts, type PoolSettings } from "./pool.ts";
import { Supervisor } from "./supervisor.ts";
import type { WorkerNews } from "./worker_processes.ts";
import type { WorkerProgram } from "./worker_program.ts";

/** What a service is made of. */
export interface HostParts extends Omit<PoolParts, "supervisor"> {
  readonly log: Log;
  readonly events: Events;
  /** Workers that may be starting at a time. */
  readonly cpus: number;
  /** Numbers the workers of all services: none is given twice. */
  nextWorker(): number;
}

/** The error of a start that failed because of one service. */
export function inService(name: string, error: Error): Error {
  if (name === "") return error;
  const reason = error.message.replace(/^Cannot start: /, "");
  const message = `Cannot start the service "${name}": ${reason}`;
  return error instanceof RangeError
    ? new RangeError(message, { cause: error })
    : new Error(message, { cause: error });
}

/** Where the files of a service's workers are put, as `Premises.filesIn` takes it; `index` is its place in the list. */
export function subfolderOf(name: string, index: number): string {
  return name === "" ? "" : `service-${index + 1}`;
}

/**
 * How the workers of a service are started.
 *
 * @throws {Error} naming the service, for the reasons of `childSpec`.
 */
export function specOf(
  name: string,
  settings: Settings,
  workerModule: string,
  program: WorkerProgram,
): ChildSpec {
  try {
    return childSpec(settings, workerModule, program);
  } catch (error) {
    throw error instanceof Error ? inService(name, error) : error;
  }
}

/** The workers of one service, and what they run. */
export class ServiceHost {
  /** Its name; "": the service without one. */
  readonly name: string;
  readonly #supervisor: Supervisor;
  readonly #pool: Pool;
  #settings: PoolSettings;

  /**
   * Places the configuration of its workers; starts none before the first tick.
   *
   * @throws {Error} when it can't be written.
   */
  constructor(spec: ChildSpec, settings: PoolSettings, parts: HostParts, listener: PoolListener) {
    const { cpus, nextWorker } = parts;
    const leftGrace = openTracing() === undefined ? undefined : EXPORT_GRACE_MS;
    this.name = parts.service;
    this.#settings = settings;
    const supervisor = this.#supervisor = new Supervisor({ ...settings, leftGrace }, {
      cpus,
      nextWorker,
    });
    this.#pool = new Pool(spec, settings, { ...parts, supervisor }, {
      ready: () => listener.ready(),
      failed: (error) => listener.failed(inService(this.name, error)),
    });
  }

  // ---- what it is asked ----

  /** What its workers run. */
  get code(): HandlerCode {
    return this.#pool.code;
  }

  /** The number of the code that new workers run: 1, and one more with each reload. */
  get generation(): number {
    return this.#supervisor.generation;
  }

  /** How many workers it may have. */
  get bounds(): { min: number; max: number } {
    const { minWorkers: min, maxWorkers: max } = this.#settings;
    return { min, max };
  }

  /** How many of its workers are not ready yet. */
  get starting(): number {
    return this.#supervisor.counts().starting;
  }

  /** Whether it was told to stop and no worker is left. */
  get stopped(): boolean {
    return this.#supervisor.stopped;
  }

  /** Whether a worker had to be killed in order to stop. */
  get forced(): boolean {
    return this.#supervisor.forced;
  }

  /** What there is of it, and what has happened. */
  report(look: Look): Reports {
    const { generation, bounds } = this;
    return { generation, bounds, processes: this.#pool.list(look), counts: this.#pool.counts };
  }

  /** Whether its workers are being replaced by new ones. */
  get reloading(): boolean {
    return this.#supervisor.reloading;
  }

  /** Each worker process, with all that is known of it here. */
  describe(look: Look, now: number): WorkerStatus[] {
    return this.#pool.describe(look, now);
  }

  /** Whether a worker is one of its own. */
  has(worker: number): boolean {
    return this.#pool.has(worker);
  }

  // ---- what it is told ----

  /** Starts its first processes ahead of the first tick: see `Pool.recruit`. */
  recruit(most: number, library: string): number {
    return this.#pool.recruit(most, library);
  }

  /** Works by other options from now on. */
  configure(settings: PoolSettings, now: number): void {
    this.#settings = settings;
    this.#pool.configure(settings, now);
  }

  /** Sends a signal to all of its workers that are ready. */
  forward(signal: Deno.Signal): void {
    this.#pool.forward(signal);
  }

  /** Hears what the loop says of one of its workers. */
  hear(news: WorkerNews): void {
    this.#pool.hear(news);
  }

  /** What kept processes from being made is over: the next start need not wait. */
  forgiveStarts(): void {
    this.#supervisor.forgiveStarts();
  }

  /** Lets workers finish and leave. */
  stop(now: number): void {
    this.#supervisor.stop(now);
  }

  /** Has a worker finish and leave, as an operator wants, or kills it; another one takes its place. */
  dismiss(worker: number, how: "stop" | "kill"): void {
    if (how === "kill") return this.#pool.slay(worker);
    this.#supervisor.dismiss(worker, performance.now());
    this.#pool.wake();
  }

  /** Kills all workers at once. */
  killAll(now: number): void {
    this.#supervisor.killAll(now);
  }

  /** Kills all processes behind the supervisor's back: the server itself ends. */
  abandon(): void {
    this.#pool.killAll();
  }

  /** Resolves when what workers have printed is read. */
  close(): Promise<void> {
    return this.#pool.close();
  }

  /** Does what is due; returns ms until it must run again. */
  tick(now: number): number {
    return this.#pool.tick(now);
  }
}
