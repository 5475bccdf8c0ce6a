/**
 * All services of a server together: which one a worker belongs to, and what is done to all of them. What happens
 * in one is not told to the others.
 *
 * @module
 */

import type { WorkerStats } from "../ops/stats.ts";
import type { Look } from "../ports/messages.ts";
import type { ServiceHost } from "./service_host.ts";
import type { WorkerNews } from "./worker_processes.ts";

/** The services of one server, by their names. */
export class Services {
  readonly #hosts: ReadonlyMap<string, ServiceHost>;

  constructor(hosts: readonly ServiceHost[]) {
    this.#hosts = new Map(hosts.map((host) => [host.name, host]));
  }

  /** Each service, the one without a name first. */
  [Symbol.iterator](): IterableIterator<ServiceHost> {
    return this.#hosts.values();
  }

  /** The service of a name. */
  get(name: string): ServiceHost | undefined {
    return this.#hosts.get(name);
  }

  /** The service of a worker whose process has not ended, or whose end was not told yet. */
  of(worker: number): ServiceHost | undefined {
    for (const host of this) if (host.has(worker)) return host;
    return undefined;
  }

  /** The greatest number of reloads of any service, counted from 1. */
  get generation(): number {
    return Math.max(...this.#map((host) => host.generation));
  }

  /** How many workers there may be. */
  get bounds(): { min: number; max: number } {
    return {
      min: sum(this.#map(({ bounds }) => bounds.min)),
      max: sum(this.#map(({ bounds }) => bounds.max)),
    };
  }

  /** Processes started, and those that have ended, by reason. */
  get counts(): ServiceHost["counts"] {
    const exited: ServiceHost["counts"]["exited"] = {};
    for (const { counts } of this) {
      for (const [reason, count] of Object.entries(counts.exited)) add(exited, reason, count);
    }
    return { spawned: sum(this.#map(({ counts }) => counts.spawned)), exited };
  }

  /** How many workers are not ready yet. */
  get starting(): number {
    return sum(this.#map((host) => host.starting));
  }

  /** Whether all were told to stop and no worker is left. */
  get stopped(): boolean {
    return this.#map((host) => host.stopped).every(Boolean);
  }

  /** Whether a worker had to be killed in order to stop. */
  get forced(): boolean {
    return this.#map((host) => host.forced).some(Boolean);
  }

  /** Each process. */
  list(look: Look): WorkerStats[] {
    return this.#map((host) => host.list(look)).flat();
  }

  /**
   * Starts the first processes, of one service after the other, ahead of the first tick.
   *
   * @param most How many may be started.
   * @param library The file that workers open through FFI.
   */
  recruit(most: number, library: string): void {
    let left = most;
    for (const host of this) left -= host.recruit(left, library);
  }

  /** Passes on what the loop says of a worker. */
  hear(news: WorkerNews): void {
    this.of(news.worker)?.hear(news);
  }

  /** Sends a signal to all workers that are ready. */
  forward(signal: Deno.Signal): void {
    for (const host of this) host.forward(signal);
  }

  /** What kept processes from being made is over. */
  forgiveStarts(): void {
    for (const host of this) host.forgiveStarts();
  }

  /** Lets workers finish and leave. */
  stop(now: number): void {
    for (const host of this) host.stop(now);
  }

  /** Kills all workers at once. */
  killAll(now: number): void {
    for (const host of this) host.killAll(now);
  }

  /** Kills all processes behind the supervisors' backs: the server itself ends. */
  abandon(): void {
    for (const host of this) host.abandon();
  }

  /** Writes the configurations again: the folder that they were in is gone. */
  placeAgain(): void {
    for (const { code } of this) code.placeAgain();
  }

  /** Loads nothing more, and ends reloads, as the server ends. */
  closeCode(error: Error): void {
    for (const { code } of this) code.close(error);
  }

  /** Resolves when what workers have printed is read. */
  async close(): Promise<void> {
    await Promise.all(this.#map((host) => host.close()));
  }

  /** Does what is due; returns ms until it must run again. */
  tick(now: number): number {
    return Math.min(...this.#map((host) => host.tick(now)));
  }

  #map<T>(of: (host: ServiceHost) => T): T[] {
    return [...this.#hosts.values()].map(of);
  }
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, each) => total + each, 0);
}

function add(counts: Record<string, number>, name: string, count: number): void {
  counts[name] = (counts[name] ?? 0) + count;
}
