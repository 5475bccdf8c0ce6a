/**
 * A look at a server, as `Server.stats()` gives it and the log has it.
 *
 * @module
 */

import type { BrokerCounters, JobsLook, Look, SocketCounters } from "../ports/messages.ts";
import type { ExitReason } from "../wire/exit_reasons.ts";
import type { Fields } from "./log.ts";

/** A look at a server, all services together. Times are milliseconds. */
export interface Stats extends Omit<ServiceStats, "counters"> {
  /** Since the start. */
  uptime: number;
  /** Clients that have asked something and are connected. */
  clients: number;
  /** Connections of clients; undefined where libzmq lacks its draft API, and so does not report them. */
  connections: number | undefined;
  /** Connections that have subscribed to events; left out where nobody can. */
  subscribers?: number;
  /** What was counted since the start. */
  counters: ServiceStats["counters"] & SocketCounters;
  /** Each service by its name, where some have names; "" is the one without. */
  services: Record<string, ServiceStats>;
}

/** A look at one service. Times are milliseconds. */
export interface ServiceStats {
  /** Counts the reloads, from 1. */
  generation: number;
  /** Workers by state, those on other machines included; `min` and `max` are for this one. */
  workers: {
    starting: number;
    idle: number;
    busy: number;
    stopping: number;
    dequeue: number;
    /** Those that speak Majordomo, and are no processes of the server's. */
    foreign: number;
    min: number;
    max: number;
  };
  /** Each worker process, on whatever machine. */
  processes: WorkerStats[];
  /** Jobs that wait for a worker. */
  queue: { jobs: number; bytes: number };
  /** Jobs that workers have. */
  running: number;
  /** The running estimate of the handler's time; undefined before the first reply. */
  serviceTime: number | undefined;
  /** What was counted since the start. */
  counters: BrokerCounters & {
    /** Processes started. */
    spawned: number;
    /** Processes ended, by reason. */
    exited: Partial<Record<ExitReason, number>>;
  };
}

/** A worker process at a moment. */
export interface WorkerStats {
  /** The service that it works for; left out where that has no name. */
  service?: string;
  /** Its number; never used twice. */
  worker: number;
  /** Its process id. */
  pid: number;
  /** What it does. */
  state: "starting" | "idle" | "busy" | "stopping" | "dequeue";
  /** Jobs that it has. */
  jobs: number;
  /** Jobs that it has answered. */
  answered: number;
  /** The other machine that it runs on, as the server's list calls it; left out: it is this one. */
  host?: string;
}

/** What the parts of a service, or of all of them, report. */
export interface Reports {
  generation: number;
  bounds: { min: number; max: number };
  processes: WorkerStats[];
  counts: Pick<ServiceStats["counters"], "spawned" | "exited">;
}

/** Puts a look at a service together, or at all. */
export function serviceStats<Counters extends BrokerCounters>(
  { generation, bounds, processes, counts }: Reports,
  look: JobsLook & { counters: Counters },
) {
  const count = (state: WorkerStats["state"]) =>
    processes.filter((process) => process.state === state).length;
  return {
    generation,
    workers: {
      starting: count("starting"),
      idle: count("idle"),
      busy: count("busy"),
      stopping: count("stopping"),
      dequeue: count("dequeue"),
      foreign: look.foreign,
      ...bounds,
    },
    processes,
    queue: { jobs: look.queued, bytes: look.queuedBytes },
    running: look.running,
    serviceTime: look.serviceTime,
    counters: { ...look.counters, ...counts },
  };
}

/** Puts a look at a server together. */
export function statsOf(
  uptime: number,
  reports: Reports,
  look: Look,
  services: Stats["services"],
): Stats {
  const { clients, connections, subscribers } = look;
  return {
    ...{ uptime, ...serviceStats(reports, look), clients, connections },
    ...subscribers === undefined ? {} : { subscribers },
    services,
  };
}

/** The same as fields of one line of the log. */
export function stateFields(
  stats: ServiceStats & Partial<Pick<Stats, "clients" | "connections">>,
): Fields {
  const { workers, queue, running, clients, connections, counters, generation } = stats;
  const { exited, ...counts } = counters;
  const exits = Object.entries(exited).map(([reason, count]) => [`exited.${reason}`, count]);
  return {
    generation,
    ...workers,
    queued: queue.jobs,
    queuedBytes: queue.bytes,
    running,
    clients,
    connections,
    ...counts,
    ...Object.fromEntries(exits),
  };
}
