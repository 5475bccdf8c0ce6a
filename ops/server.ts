/**
 * What whoever starts a server sees of it. Types only.
 *
 * @module
 */

import type { Level, ServeOptions, ServiceOptions } from "../options/settings.ts";
import type { Finished } from "./outcome.ts";
import type { ServiceStats, Stats } from "./stats.ts";
import type {
  ClientList,
  ConfigEntry,
  JobFilter,
  JobList,
  LogLine,
  LogOptions,
  Status,
} from "./status.ts";
import type { StoredJobs } from "./stored.ts";

/** One of the services of a server that runs. */
export interface RunningService {
  /** The endpoints really bound for this service alone; those of the server serve it too. */
  readonly frontend: readonly string[];
  /** What there is of it and what has happened. */
  stats(): ServiceStats;
  /**
   * Changes the bounds of its pool.
   *
   * @throws {RangeError} when one is not an integer >= 1 (0 for both, if other machines can join) or min is above max.
   */
  resize(bounds: { min?: number; max?: number }): void;
  /**
   * Replaces its workers by new ones that load the handler again; the other services go on as they are.
   * Rejected if new ones can't start: then the old ones stay.
   *
   * @param options options to change; its `frontend` stays as it is.
   */
  reload(options?: Partial<ServiceOptions>): Promise<void>;
}

/** A server that runs. */
export interface Server {
  /**
   * The endpoints really bound for clients: ports chosen by the system are filled in. Those of single services
   * are `services.NAME.frontend`.
   */
  readonly frontend: readonly string[];
  /** The same of those for clients that speak Majordomo. */
  readonly mdp: readonly string[];
  /** The same of those for plain clients that submit background jobs. */
  readonly jobEndpoints: readonly string[];
  /** The same of those for SUB sockets, which hear what happens. */
  readonly events: readonly string[];
  /** The endpoint really bound for workers. */
  readonly backend: string;
  /** The endpoint where pools on other machines join, with its real port; undefined: none can. */
  readonly joinEndpoint: string | undefined;
  /** The file of the control socket; undefined: there is none, or not yet. It is there when `ready` is fulfilled. */
  readonly control: string | undefined;
  /** The address of HTTP, such as `http://127.0.0.1:9660`; undefined likewise. */
  readonly http: string | undefined;
  /** The services that have names, by these. */
  readonly services: Readonly<Record<string, RunningService>>;
  /** Fulfilled when each service has its `minWorkers` ready; rejected when a handler can't be loaded. */
  readonly ready: Promise<void>;
  /** Fulfilled when the server has ended; rejected when it could not start or broke. */
  readonly finished: Promise<Finished>;
  /** Background jobs, which are stored: how many there are, each of them, and what can be done with it. */
  readonly stored: StoredJobs;
  /** What there is and what has happened. */
  stats(): Stats;
  /**
   * Changes the bounds of the pool of a service.
   *
   * @param service its name. Left out: the service without a name, or each service where all have names.
   * @throws {RangeError} when one is not an integer >= 1 (0 for both, if other machines can join) or min is above max, or there is no such service.
   */
  resize(bounds: { min?: number; max?: number }, service?: string): void;
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
  /**
   * The state of the server with all its parts.
   *
   * @throws {Error} when the server has ended.
   */
  status(): Promise<Status>;
  /**
   * Requests in memory, without their bodies: the oldest first.
   *
   * @throws {Error} when the server has ended.
   */
  jobs(filter?: JobFilter): Promise<JobList>;
  /**
   * Clients that have asked something and are connected: those that wait for most answers first.
   *
   * @param options `limit`: how many of them are listed, at most 1,000; by default 100.
   * @throws {Error} when the server has ended.
   */
  clients(options?: { limit?: number }): Promise<ClientList>;
  /** Each option in force, with where it was set. */
  config(): ConfigEntry[];
  /**
   * Lets a worker finish its requests and leave; another one takes its place.
   *
   * @throws {RangeError} when there is no such worker.
   */
  stopWorker(worker: number): void;
  /**
   * Kills a worker; its requests are run again elsewhere, which counts as no attempt.
   *
   * @throws {RangeError} when there is no such worker.
   */
  killWorker(worker: number): void;
  /**
   * Ends a request as if its client had given up: it is answered 499, and its handler's signal aborts.
   *
   * @throws {RangeError} when there is no such request, or it was answered before.
   */
  cancelJob(job: number): Promise<void>;
  /**
   * Gives workers no more requests: they wait as in a full pool, within the same limits, and those that run go on.
   *
   * @param service its name. Left out: each service.
   * @throws {RangeError} when there is no such service.
   */
  pause(service?: string): void;
  /**
   * Gives workers requests again.
   *
   * @param service its name. Left out: each service.
   * @throws {RangeError} when there is no such service.
   */
  resume(service?: string): void;
  /**
   * Takes no more requests, serves those that wait and stops, as QUIT does.
   *
   * @throws {Error} when the server breaks meanwhile.
   */
  drain(): Promise<void>;
  /** Logs from another level on, until the server ends. */
  setLogLevel(level: Level): void;
  /**
   * The lines of the log as they come, until `signal` aborts or the loop is left. A reader that falls 1,000 lines
   * behind gets a line that says how many it has missed.
   *
   * @param options `lines`: the last ones are given first; without a control socket and HTTP, lines are kept from
   * the first call of this only.
   */
  followLog(options?: LogOptions): AsyncIterable<LogLine>;
  /** The same as `shutdown()`, but does not reject with a failure that `ready` or `finished` has reported. */
  [Symbol.asyncDispose](): Promise<void>;
}
