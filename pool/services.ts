/**
 * All services of a server together: which one a worker belongs to, and what is done to all of them. What happens
 * in one is not told to the others.
 *
 * @module
 */

import type { OfService } from "../ops/events.ts";
import type { Log } from "../ops/log.ts";
import type { Reports } from "../ops/stats.ts";
import type { Settings } from "../options/settings.ts";
import type { Look } from "../ports/messages.ts";
import type { StartFolder } from "../system/start_folder.ts";
import type { ChildSpec } from "./child.ts";
import type { WorkerFiles } from "./child_spec.ts";
import type { PoolListener } from "./pool.ts";
import { type HostParts, ServiceHost, subfolderOf } from "./service_host.ts";
import type { WorkerNews } from "./worker_processes.ts";

/** A service that is to be there. */
export interface ServicePlan {
  /** "": the service without a name. */
  readonly name: string;
  readonly settings: Settings;
  readonly spec: ChildSpec;
}

/** What all services share. */
export interface SharedParts
  extends Omit<HostParts, "service" | "tag" | "log" | "places" | "nextWorker"> {
  /** What events say of a service. */
  tagOf(name: string): OfService;
  /** The log, with what its lines say of a service. */
  logOf(tag: OfService): Log;
  /** Where files of a service's workers are put; "": in no folder of their own. */
  filesIn(subfolder: string): WorkerFiles;
  /** The folder that workers start in. */
  readonly start: StartFolder;
  /** Numbers the workers: none is given twice. */
  nextWorker(service: string): number;
}

/** The services of one server, by their names. */
export class Services {
  readonly #hosts: ReadonlyMap<string, ServiceHost>;
  /** Those of which fewer workers are ready than always are to be. */
  readonly #unready: Set<string>;
  /** Workers of each service that may be starting at a time. */
  readonly #cpus: number;

  /**
   * Places the configurations of all workers; starts none before the first tick.
   *
   * @param listener hears that all are ready, or that one never will be.
   * @throws {Error} when they can't be written.
   */
  constructor(plans: readonly ServicePlan[], shared: SharedParts, listener: PoolListener) {
    this.#unready = new Set(plans.map(({ name }) => name));
    const cpus = this.#cpus = Math.ceil(shared.cpus / plans.length);
    const files = { require: () => shared.files.require(this.starting) };
    const hosts = plans.map(({ name, settings, spec }, index) => {
      const tag = shared.tagOf(name);
      const log = shared.logOf(tag);
      const places = { files: shared.filesIn(subfolderOf(name, index)), start: shared.start };
      const nextWorker = () => shared.nextWorker(name);
      const own = { service: name, tag, log, places, nextWorker, cpus, files };
      return new ServiceHost(spec, settings, { ...shared, ...own }, {
        ready: () => this.#ready(name, listener),
        failed: (error) => listener.failed(error),
      });
    });
    this.#hosts = new Map(hosts.map((host) => [host.name, host]));
  }

  #ready(name: string, listener: PoolListener): void {
    this.#unready.delete(name);
    if (this.#unready.size === 0) listener.ready();
  }

  // ---- what it is asked ----

  /** Each service, the one without a name first. */
  [Symbol.iterator](): IterableIterator<ServiceHost> {
    return this.#hosts.values();
  }

  /** The service of a name. */
  get(name: string): ServiceHost | undefined {
    return this.#hosts.get(name);
  }

  /** Whether any has a name. */
  get hasNames(): boolean {
    return this.#map(({ name }) => name !== "").some(Boolean);
  }

  /** The service of a worker whose process has not ended, or whose end was not told yet. */
  of(worker: number): ServiceHost | undefined {
    for (const host of this) if (host.has(worker)) return host;
    return undefined;
  }

  /** How many workers are not ready yet. */
  get starting(): number {
    return sum(this.#map((host) => host.starting));
  }

  /** Whether each has had as many workers ready as always are to be. */
  get wereReady(): boolean {
    return this.#unready.size === 0;
  }

  /** Whether all were told to stop and no worker is left. */
  get stopped(): boolean {
    return this.#map((host) => host.stopped).every(Boolean);
  }

  /** Whether a worker had to be killed in order to stop. */
  get forced(): boolean {
    return this.#map((host) => host.forced).some(Boolean);
  }

  /** What there is, and what has happened; the generation is that of the service that was reloaded most often. */
  report(look: Look): Reports {
    const reports = this.#map((host) => host.report(look));
    const exited: Reports["counts"]["exited"] = {};
    for (const { counts } of reports) addAll(exited, counts.exited);
    return {
      generation: Math.max(...reports.map(({ generation }) => generation)),
      bounds: {
        min: sum(reports.map(({ bounds }) => bounds.min)),
        max: sum(reports.map(({ bounds }) => bounds.max)),
      },
      processes: reports.flatMap(({ processes }) => processes),
      counts: { spawned: sum(reports.map(({ counts }) => counts.spawned)), exited },
    };
  }

  // ---- what it is told ----

  /**
   * Starts the first processes, of one service after the other, ahead of the first tick.
   *
   * @param most How many may be started.
   * @param library The file that workers open through FFI.
   */
  recruit(most: number, library: string): void {
    let left = most;
    for (const host of this) left -= host.recruit(Math.min(left, this.#cpus), library);
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

function addAll(counts: Record<string, number>, more: Readonly<Record<string, number>>): void {
  for (const [name, count] of Object.entries(more)) counts[name] = (counts[name] ?? 0) + count;
}
