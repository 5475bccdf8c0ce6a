/**
 * What can be asked of a server that runs: its state with all its parts, the options in force, and lines of its
 * log. Plain data, the same for code, over the control socket and over HTTP. Types only.
 *
 * @module
 */

import type { Level } from "../options/settings.ts";
import type { ClientView, JobView } from "../ports/inquiry.ts";
import type { StoreStatus } from "./stored.ts";

export type { ClientView, JobView };

/** What a server does as a whole. */
export type ServerPhase = "starting" | "serving" | "paused" | "draining" | "stopping";

/** How many requests are answered, and how quickly, over the last second. */
export interface Rates {
  /** Requests that were answered in a second. */
  requests: number;
  /** Those of them that were answered with an error of the server or of its handler (5xx). */
  errors: number;
  /**
   * The time that half of the requests took at most, from their arrival to their answer, ms; of the last 10 s if
   * there were none in the last one. Undefined: there were none then, either.
   */
  p50Ms: number | undefined;
  /** The time that 99 of 100 requests took at most, likewise, ms. */
  p99Ms: number | undefined;
}

/** A look at a server and all its parts. Times are milliseconds. */
export interface Status {
  /** What the server is called among others of this machine: it follows from its first frontend. */
  name: string;
  /** The version of this package. */
  version: string;
  /** Its process id. */
  pid: number;
  /** When it was started, ms since 1970. */
  startedAt: number;
  /** Time since then. */
  uptime: number;
  /** What it does as a whole. */
  phase: ServerPhase;
  /** Whether new requests are served now. */
  ready: boolean;
  /** Why it is not ready, as sentences without a full stop; empty if it is. */
  reasons: string[];
  /** The least urgent level that is logged. */
  logLevel: Level;
  /** The endpoints really bound. */
  endpoints: {
    /** Those of clients of any service. */
    frontend: string[];
    /** Those of clients and workers that speak Majordomo. */
    mdp: string[];
    /** Those of SUB sockets. */
    events: string[];
    /** The one of workers. */
    backend: string;
    /** The one of pools on other machines; left out: none can join. */
    join?: string | undefined;
    /** The file of the control socket; undefined: there is none. */
    control: string | undefined;
    /** The address of HTTP, as `http://127.0.0.1:9660`; undefined: there is none. */
    http: string | undefined;
  };
  /** All services together. */
  rates: Rates;
  /** Each service, the one without a name first. */
  services: ServiceStatus[];
  /** Each worker process. */
  workers: WorkerStatus[];
  /** Clients that have asked something and are connected. */
  clients: number;
  /** Connections of clients; undefined where libzmq does not report them. */
  connections: number | undefined;
  /** Counts the reloads, from 1, of the service that was reloaded most often. */
  generation: number;
  /** The store of background jobs; left out where nothing was ever stored. */
  stored?: Omit<StoreStatus, "schedules">;
}

/** A look at one service. Times are milliseconds. */
export interface ServiceStatus {
  /** "": the service without a name. */
  name: string;
  /** Whether its requests wait because somebody has paused it. */
  paused: boolean;
  /** Counts its reloads, from 1. */
  generation: number;
  /** Whether its workers are being replaced by new ones. */
  reloading: boolean;
  /** The module that answers; `echo` if none is set. */
  handler: string;
  /** Its workers by state, and how many it may have. */
  workers: {
    starting: number;
    idle: number;
    busy: number;
    stopping: number;
    min: number;
    max: number;
  };
  /** Requests that wait for a worker. */
  queue: {
    jobs: number;
    bytes: number;
    /** How long the one has waited that waits longest; undefined: none waits, or it is not known. */
    oldestMs: number | undefined;
  };
  /** Requests that workers have. */
  running: number;
  /** Requests since the start that were well formed. */
  requests: number;
  /** Those that workers have answered. */
  replies: number;
  /** Those of the answers that were an error. */
  errors: number;
  /** How many are answered now, and how quickly. */
  rates: Rates;
  /** The endpoints that are bound for it alone. */
  frontend: string[];
}

/** A look at one worker process. Times are milliseconds. */
export interface WorkerStatus {
  /** Its number; never used twice. */
  worker: number;
  /** Its process id. */
  pid: number;
  /** The service that it works for; "": the one without a name. */
  service: string;
  /** What it does. */
  state: "starting" | "idle" | "busy" | "stopping" | "dequeue";
  /** Requests that it has. */
  jobs: number;
  /** Requests that it has answered. */
  answered: number;
  /** Time since its process was started. */
  ageMs: number;
  /** Memory that it uses (RSS), in bytes; undefined where that can't be read. */
  residentBytes: number | undefined;
  /** CPU time that it has used; undefined where that can't be read. */
  cpuMs: number | undefined;
  /** The request that it has had for longest; undefined: it has none. */
  job: number | undefined;
  /** How long it has had that; undefined where that is not known. */
  jobMs: number | undefined;
  /** The generation of its code. */
  generation: number;
  /** How many workers of its service have ended without being asked to, since the start; of a joined pool, on its machine. */
  restarts: number;
  /** The machine that it runs on, as the list of those that may join names it; left out: the server's own. */
  host?: string;
}

/** Which requests in memory are wanted. */
export interface JobFilter {
  /** Those that workers have, or those that wait for one. @default {both} */
  state?: "running" | "waiting";
  /** Those that came longer ago than this, ms. @default {0} */
  slowerThanMs?: number;
  /** How many of them are listed, at most 1,000. @default {100} */
  limit?: number;
}

/** Requests in memory. */
export interface JobList {
  /** How many there are that were asked for, listed or not; with `slowerThanMs` they are counted up to some thousands. */
  total: number;
  /** The oldest first. */
  jobs: JobView[];
}

/** Clients that are connected and have asked something. */
export interface ClientList {
  /** How many there are, listed or not. */
  total: number;
  /** Those that wait for most answers first. */
  clients: ClientView[];
}

/** An option in force. */
export interface ConfigEntry {
  /** Its name. */
  name: string;
  /** The service whose option it is; left out: it stands above all services. */
  service?: string;
  /** Its value as a conf file has it; "": it has none. */
  value: string;
  /** Where it was set: `flag --workers`, `file prefork.conf:3`, `serve()` or `default`. */
  source: string;
}

/** A line of the log, as the log in JSON has it: what it says besides stands beside the three. */
export interface LogLine {
  /** When it was logged, as `2026-11-21T11:30:04.123Z`. */
  readonly time: string;
  /** How urgent it is. */
  readonly level: Level;
  /** What it says. */
  readonly message: string;
  /** What else the line says, by name. */
  readonly [field: string]: string | number | boolean | undefined;
}

/** Which lines of the log are wanted. */
export interface LogOptions {
  /** How many of the last lines are given first; the server keeps 1,000 at most. @default {0} */
  lines?: number;
  /** The least urgent level that is wanted. @default {"debug"} */
  level?: Level;
  /** Ends the iteration. */
  signal?: AbortSignal;
}
