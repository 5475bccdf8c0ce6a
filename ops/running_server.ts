/**
 * The server in the hands of whoever has started it, and of operators: what it is asked and what it is told, each by
 * the part of it that knows. Not here: what happens in it by itself (../server.ts).
 *
 * @module
 */

import type { Operated } from "../admin/operated.ts";
import type { Joiners } from "../join/joiners.ts";
import type { Level, ServeOptions, ServiceOptions, Settings } from "../options/settings.ts";
import type { Services } from "../pool/services.ts";
import type { Measures } from "../ports/measures.ts";
import type { DataPlane } from "../ports/plane.ts";
import type { StoreFigures } from "../store/messages.ts";
import type { Configuration } from "./configuration.ts";
import type { Ending } from "./ending.ts";
import type { Events } from "./events.ts";
import type { Log } from "./log.ts";
import type { LogRing } from "./log_ring.ts";
import type { Logs } from "./logs.ts";
import { Operators } from "./operators.ts";
import type { Finished, Outcome } from "./outcome.ts";
import type { RunningService, Server } from "./server.ts";
import { statsOfService, viewServices, withJoined } from "./service_views.ts";
import type { Shutdown } from "./shutdown.ts";
import { stateFields, type Stats, statsOf } from "./stats.ts";
import type {
  ClientList,
  ConfigEntry,
  JobFilter,
  JobList,
  LogLine,
  LogOptions,
  Status,
} from "./status.ts";
import { Steering } from "./steering.ts";
import { StoreGauge } from "./store_gauge.ts";
import type { StoreHost } from "./store_host.ts";
import type { StoredJobs } from "./stored.ts";
import { StoredDesk } from "./stored_desk.ts";

/** What answers and obeys. */
export interface RunningParts {
  /** When the server was started, ms. */
  readonly startedAt: number;
  /** What happens. */
  readonly events: Events;
  readonly logs: Logs;
  /** The file of libzmq. */
  readonly library: string;
  readonly plane: DataPlane;
  readonly services: Services;
  readonly configuration: Configuration;
  readonly store: StoreHost;
  readonly joiners: Joiners | undefined;
  readonly outcome: Outcome;
  readonly shutdown: Shutdown;
  /** What ends it; made after this. */
  ending(): Pick<Ending, "stop" | "kill">;
  /** The version of libzmq. */
  libzmq(): string;
}

/** A server that runs. */
export class RunningServer implements Server, Operated {
  readonly #parts: RunningParts;
  readonly #views: Readonly<Record<string, RunningService>>;
  readonly #steering: Steering;
  readonly #gauge: StoreGauge;
  /** The ways by which operators reach it. */
  readonly operators: Operators;
  readonly stored: StoredJobs;

  /** Opens nothing; `settings`: those of the start. */
  constructor(parts: RunningParts, settings: Settings) {
    const { configuration, joiners, logs, plane, services, shutdown, store } = parts;
    this.#parts = parts;
    this.#views = viewServices(services, {
      frontendOf: (name) => this.frontendOf(name),
      look: () => plane.look("now"),
      joined: (name, look) => joiners?.stats(look, performance.now(), name) ?? [],
      resize: (bounds, name) => this.resize(bounds, name),
      reload: (name, options) => this.#reloadService(name, options),
    });
    this.#steering = new Steering({
      ...{ log: logs.log, services, plane, joiners },
      settings: () => configuration.settings,
      stop: () => shutdown.phase,
      endpoints: () => this.#endpoints,
      frontendOf: (name) => this.frontendOf(name),
      rates: (service) => this.operators.rates(service),
    });
    this.#gauge = new StoreGauge(store);
    this.stored = new StoredDesk(store, this.#gauge, () => configuration.settings);
    this.operators = new Operators(this, settings);
  }

  // ---- what it is asked ----

  /** The server's log. */
  get log(): Log {
    return this.#parts.logs.log;
  }

  get news(): Events {
    return this.#parts.events;
  }

  /** The file of libzmq. */
  get library(): string {
    return this.#parts.library;
  }

  get libzmq(): string {
    return this.#parts.libzmq();
  }

  get frontend(): readonly string[] {
    return this.#parts.plane.frontend;
  }

  /** The endpoints that are bound for a service alone. */
  frontendOf(service: string): readonly string[] {
    return this.#parts.plane.serviceFrontends[service] ?? [];
  }

  get mdp(): readonly string[] {
    return this.#parts.plane.mdp;
  }

  get jobEndpoints(): readonly string[] {
    return this.frontendOf("job.");
  }

  get events(): readonly string[] {
    return this.#parts.plane.events;
  }

  get backend(): string {
    return this.#parts.plane.backend;
  }

  get joinEndpoint(): string | undefined {
    return this.#parts.plane.join;
  }

  get control(): string | undefined {
    return this.operators.control;
  }

  get http(): string | undefined {
    return this.operators.http;
  }

  get #endpoints(): Status["endpoints"] {
    const { frontend, mdp, events, backend, control, http } = this;
    const bound = { frontend: [...frontend], mdp: [...mdp], events: [...events] };
    return { ...bound, backend, control, http, join: this.joinEndpoint };
  }

  get ready(): Promise<void> {
    return this.#parts.outcome.ready;
  }

  get finished(): Promise<Finished> {
    return this.#parts.outcome.finished;
  }

  /** Whether it was told to stop. */
  get stopping(): boolean {
    return this.#parts.shutdown.phase !== "serving";
  }

  get services(): Readonly<Record<string, RunningService>> {
    return this.#views;
  }

  get serviceNames(): readonly string[] {
    return [...this.#parts.services].map(({ name }) => name);
  }

  get ring(): LogRing {
    return this.#steering.ring;
  }

  followLog(options?: LogOptions): AsyncIterable<LogLine> {
    return this.#steering.followLog(options);
  }

  stats(): Stats {
    const { joiners, plane, services, startedAt } = this.#parts;
    const look = plane.look("now");
    const now = performance.now();
    const joined = (name?: string) => joiners?.stats(look, now, name) ?? [];
    const named = services.hasNames
      ? [...services].map((host) =>
        [host.name, statsOfService(host, look, joined(host.name))] as const
      )
      : [];
    const report = withJoined(services.report(look), joined());
    return statsOf(now - startedAt, report, look, Object.fromEntries(named));
  }

  async status(): Promise<Status> {
    const status = this.#steering.status();
    const stored = await this.#gauge.glance();
    return stored === undefined ? status : { ...status, stored };
  }

  measures(): Promise<Measures> {
    return this.#parts.plane.ask("measures", {});
  }

  storeFigures(): Promise<StoreFigures | undefined> {
    return this.#gauge.figures();
  }

  jobs(filter?: JobFilter): Promise<JobList> {
    return this.#steering.jobs(filter);
  }

  clients(options?: { limit?: number }): Promise<ClientList> {
    return this.#steering.clients(options);
  }

  config(): ConfigEntry[] {
    return this.#parts.configuration.list();
  }

  // ---- what it is told ----

  resize(bounds: { min?: number; max?: number }, service?: string): void {
    this.#parts.configuration.resize(bounds, service);
  }

  growBy(workers: number): void {
    this.#parts.configuration.growBy(workers);
  }

  reload(options?: ServeOptions): Promise<void> {
    if (this.stopping) return Promise.reject(new Error("Cannot reload: the server is stopping"));
    return this.#parts.configuration.reload(options);
  }

  #reloadService(name: string, options?: Partial<ServiceOptions>): Promise<void> {
    if (this.stopping) return Promise.reject(new Error("Cannot reload: the server is stopping"));
    return this.#parts.configuration.reloadService(name, options);
  }

  reloadAgain(service?: string): Promise<void> {
    if (service !== undefined) return this.#reloadService(service);
    if (!this.stopping) return this.#parts.configuration.reloadAgain();
    const refused = Promise.reject(new Error("Cannot reload: the server is stopping"));
    refused.catch(() => {});
    return refused;
  }

  stopWorker(worker: number): void {
    this.#steering.dismiss(worker, "stop");
  }

  killWorker(worker: number): void {
    this.#steering.dismiss(worker, "kill");
  }

  cancelJob(job: number): Promise<void> {
    return this.#steering.cancelJob(job);
  }

  pause(service?: string): void {
    this.#steering.hold("pause", service);
  }

  resume(service?: string): void {
    this.#steering.hold("resume", service);
  }

  setLogLevel(level: Level): void {
    this.#steering.setLogLevel(level);
  }

  reopenLog(): boolean {
    return this.#parts.logs.reopen();
  }

  logState(): void {
    const { services, ...all } = this.stats();
    this.log.info("state", stateFields(all));
    for (const [service, stats] of Object.entries(services)) {
      this.log.info("state", { ...stateFields(stats), service });
    }
  }

  forward(signal: Deno.Signal): void {
    this.#parts.services.forward(signal);
  }

  // ---- its end ----

  stop(queued: "refuse" | "serve", reason: string): void {
    this.#parts.ending().stop(queued, reason);
  }

  kill(): void {
    this.#parts.ending().kill();
  }

  async shutdown(options: { queued?: "refuse" | "serve" } = {}): Promise<void> {
    this.stop(options.queued ?? "refuse", "shutdown");
    await this.#parts.outcome.finished;
  }

  async drain(): Promise<void> {
    this.stop("serve", "drain");
    await this.#parts.outcome.finished;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.stop("refuse", "shutdown");
    await this.#parts.outcome.dispose();
  }
}
