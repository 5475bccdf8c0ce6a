/**
 * A look at a server, as `Server.stats()` gives it and the log has it.
 *
 * @module
 */

import type { ExitReason } from "../pool/supervisor.ts";
import type { BrokerCounters, Look, SocketCounters } from "../ports/messages.ts";
import type { Fields } from "./log.ts";

/** A look at a server. Times are milliseconds. */
export interface Stats {
  /** Since the start. */
  uptime: number;
  /** Counts the reloads, from 1. */
  generation: number;
  /** Workers by state. */
  workers: {
    starting: number;
    idle: number;
    busy: number;
    stopping: number;
    dequeue: number;
    min: number;
    max: number;
  };
  /** Each worker process. */
  processes: WorkerStats[];
  /** Jobs that wait for a worker. */
  queue: { jobs: number; bytes: number };
  /** Jobs that workers have. */
  running: number;
  /** Clients that have asked something and are connected. */
  clients: number;
  /** Connections of clients; undefined where libzmq lacks its draft API, and so does not report them. */
  connections: number | undefined;
  /** The running estimate of the handler's time; undefined before the first reply. */
  serviceTime: number | undefined;
  /** What was counted since the start. */
  counters: BrokerCounters & SocketCounters & {
    /** Processes started. */
    spawned: number;
    /** Processes ended, by reason. */
    exited: Partial<Record<ExitReason, number>>;
  };
}

/** A worker process at a moment. */
export interface WorkerStats {
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
}

/** What the parts of a server report of themselves. */
export interface Reports {
  uptime: number;
  generation: number;
  bounds: { min: number; max: number };
  processes: WorkerStats[];
  counts: Pick<Stats["counters"], "spawned" | "exited">;
  look: Look;
}

/** Puts a look together. */
export function statsOf({ bounds, processes, counts, look, ...rest }: Reports): Stats {
  const count = (state: WorkerStats["state"]) =>
    processes.filter((process) => process.state === state).length;
  return {
    ...rest,
    workers: {
      starting: count("starting"),
      idle: count("idle"),
      busy: count("busy"),
      stopping: count("stopping"),
      dequeue: count("dequeue"),
      ...bounds,
    },
    processes,
    queue: { jobs: look.queued, bytes: look.queuedBytes },
    running: look.running,
    clients: look.clients,
    connections: look.connections,
    serviceTime: look.serviceTime,
    counters: { ...look.counters, ...counts },
  };
}

/** The same as fields of one line of the log. */
export function stateFields(stats: Stats): Fields {
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
