/**
 * What the server and the loop of its sockets (loop.ts) say to each other. Plain data that can be cloned:
 * no functions and no classes, so that the loop can have a thread of its own. Types only.
 *
 * @module
 */

import type { AccessRules } from "../auth/access_control.ts";
import type { ClientList } from "../auth/client_list.ts";
import type { BrokerCounters } from "../broker/counters.ts";
import type { End } from "../broker/inquest.ts";
import type { BrokerLimits } from "../broker/limits.ts";
import type { Settings } from "../options/settings.ts";
import type { LogFields, LogLevel } from "../wire/job.ts";
import type { Visit } from "./access_book.ts";
import type { WorkerLine } from "./lane.ts";
import type { Failure } from "./error_replies.ts";
import type { NewProcess } from "./processes.ts";

export type { BrokerCounters, End, Failure, NewProcess, Visit, WorkerLine };

/** What a reload may change. */
export type LoopLimits =
  & BrokerLimits
  & Pick<Settings, "replyCacheTtl" | "replyCacheBytes" | "exposeErrors">
  & Partial<Pick<Settings, "durable">>;

/** A service as the loop knows it. */
export interface ServiceSetup {
  /** "": the service without a name, which plain clients of the common endpoints ask. */
  name: string;
  limits: LoopLimits;
  /** Endpoints of its own: there nobody asks another service. */
  frontend: readonly string[];
  /** The CURVE users who may ask it; undefined: all. */
  users: readonly string[] | undefined;
  /** Which workers that speak Majordomo may work for it; "any" lets nobody, as it has a handler. @default {"none"} */
  mdpWorkers?: MdpWorkersRule;
}

/** Which workers that speak Majordomo may come: those of these CURVE users, or any. */
export type MdpWorkersRule = "none" | "any" | readonly string[];

/** What a reload may change of services that such workers make. */
export interface MadeChange {
  /** What bounds each; its workers run one job at a time. */
  limits: LoopLimits;
  workers: MdpWorkersRule;
}

/** What a reload may change of a service; `users` or `mdpWorkers` left out: those that were. */
export type ServiceChange = LoopLimits & {
  users?: readonly string[] | "all";
  mdpWorkers?: MdpWorkersRule;
};

/** What the server tells the loop. */
export type LoopCommand =
  /**
   * A worker's process was started for a service: its token and its key may be used. `host`: the other machine that it is on.
   */
  | { type: "expect"; service: string; host?: string } & NewProcess
  /** Let a worker finish what it has, and leave; one that is not in service yet gets no job when it is. */
  | { type: "retire"; worker: number }
  /** The place of an isolated worker is needed: it is to be ended now. */
  | { type: "evict"; worker: number }
  /**
   * A worker's process has ended, in service or not. The loop answers "departed" once it has read what
   * the process said before. `owesReason`: that is why it can't load its handler, by its exit code.
   */
  | { type: "processEnded"; worker: number; end: End; owesReason: boolean }
  /** Have services work by other bounds from now on; those that are left out keep theirs. */
  | { type: "configure"; services: Readonly<Record<string, ServiceChange>>; made?: MadeChange }
  /** Let clients in by other rules from now on; nothing where there were none at the start. */
  | { type: "rules"; rules: AccessRules }
  /** Take no more requests; those that wait are still served, or answered 503. */
  | { type: "drain"; waiting: "serve" | "refuse" }
  /** Listen to workers at another endpoint; connections stay. Answered "backendMoved" or "notBound". */
  | { type: "moveBackend"; endpoint: string }
  /** Tell those who have subscribed to a topic of the server's own; `json`: what there is to say. */
  | { type: "publish"; topic: string; json: string }
  /** Bind ipc endpoints again whose files somebody has removed. Answered "mended", each, or "notBound". */
  | { type: "mend" }
  /**
   * Give no job of a service to a worker: requests wait as where all workers are busy, and what runs ends. Nothing where
   * there is no such service, or where the server drains.
   */
  | { type: "pause"; service: string }
  /** Give jobs of a service to workers again. */
  | { type: "resume"; service: string }
  /** Tell a joiner something: see wire/join.ts. Nothing where its connection is gone. */
  | { type: "tellJoiner"; joiner: number; text: string }
  /** Let these machines join from now on: their names, by their public keys. */
  | { type: "joinable"; names: ClientList }
  /** The store of jobs can't be had, or has ended; why, for all who have asked. */
  | { type: "storeLost"; message: string }
  /** End `run`. */
  | { type: "stop" };

/** What the loop tells the server, in the order in which it happened. */
export type LoopEvent =
  /** A worker has loaded the module and calls its `init()`. */
  | { type: "loaded"; worker: number }
  /** A worker is in service. It may be late: then the answer is "retire", which was said before, too. */
  | { type: "ready"; worker: number }
  /** A worker can't load the handler. */
  | { type: "failed"; worker: number; message: string }
  /** A worker will leave of its own accord. */
  | { type: "leaving"; worker: number }
  /** A worker has said its last word. */
  | { type: "left"; worker: number }
  /** A worker's connection is gone though nobody asked it to leave, or it has lost a job: end it. */
  | { type: "lost"; worker: number }
  /** A worker has died while it had jobs. */
  | { type: "diedBusy"; worker: number }
  /** A worker's process has ended, and all that it said before was told. */
  | { type: "departed"; worker: number }
  /** A worker reports how many bytes it has in memory, as it was told to. */
  | { type: "memory"; worker: number; bytes: number }
  /** A worker's handler does not stop: it is to be ended. */
  | { type: "overran"; worker: number }
  /** The same, but others run along with it: it gets no more jobs until they have ended. */
  | { type: "isolated"; worker: number }
  /** A line of the loop's own for the log. */
  | { type: "log"; level: LogLevel; message: string; fields?: LogFields }
  /** A line for the log from a worker. */
  | { type: "line"; worker: number; line: WorkerLine }
  /** Lines of a worker that were dropped, as it logs too much. */
  | { type: "dropped"; worker: number; lines: number }
  /** A request ended in a 5xx that is not the broker's refusal (503). */
  | { type: "requestFailed"; failure: Failure }
  /** Requests that have ended, where there is an access log. */
  | { type: "visits"; visits: readonly Visit[] }
  /** A machine that has proved its name says something: see wire/join.ts. */
  | { type: "joinerSaid"; joiner: number; name: string; address: string; text: string }
  /** The connection of a machine that has said something is gone. */
  | { type: "joinerGone"; joiner: number }
  /** Workers connect to this endpoint from now on. */
  | { type: "backendMoved"; before: string; endpoint: string }
  /** The file of an endpoint was gone, and it is bound again. */
  | { type: "mended"; endpoint: string }
  /** An endpoint can't be bound again. */
  | { type: "notBound"; message: string }
  /** Somebody has something to be stored, or asks about what was: the store is to be started. */
  | { type: "storeWanted" }
  /** What `look` gives may have changed: jobs came or went. Comes every 2 ms or less often. */
  | { type: "worked" };

/** How things are in the loop, all services together. Times are monotonic ms. */
export interface Look {
  /** Jobs that wait for a worker, and their bytes. */
  queued: number;
  queuedBytes: number;
  /** Jobs that workers have. */
  running: number;
  /** Workers in service that speak Majordomo: no processes of the server's. */
  foreign: number;
  /** When a job was last given to a worker; 0: never. */
  lastJobAt: number;
  /** The running estimate of the handler's time, ms; undefined before the first reply. */
  serviceTime: number | undefined;
  /** Clients that have asked something and are connected. */
  clients: number;
  /** Connections of clients; undefined where libzmq does not report them. */
  connections: number | undefined;
  /** Connections that have subscribed to events; left out where nobody can. */
  subscribers?: number | undefined;
  /** Whether replies wait for slow clients. */
  hasUnsent: boolean;
  /** When something was last read from clients; -Infinity: never. */
  readAt: number;
  /** Workers in service, by their numbers. */
  workers: ReadonlyMap<number, WorkerLook>;
  /** The same of each service, by its name. */
  services: ReadonlyMap<string, ServiceLook>;
  /** What was counted since the start. */
  counters: BrokerCounters & SocketCounters;
}

/** How things are with jobs, of one service or of all. */
export interface JobsLook
  extends
    Pick<Look, "queued" | "queuedBytes" | "running" | "foreign" | "lastJobAt" | "serviceTime"> {
  counters: BrokerCounters;
}

/** How things are with a service. */
export interface ServiceLook extends JobsLook {
  /** Whether its jobs wait because it was paused. */
  paused: boolean;
  /** When the request came that has waited longest, ms; undefined: none waits. */
  oldestAt: number | undefined;
}

/** How things are with a worker in service. */
export interface WorkerLook {
  /** Jobs that it has. */
  jobs: number;
  /** The number of the job that it has had for longest; undefined: it has none. */
  firstJob: number | undefined;
  /** When it was given that one, ms. */
  firstJobAt: number | undefined;
  /** Jobs that it has answered. */
  answered: number;
  /** Since when it has had nothing to do, or now if it will be free in a moment, ms; undefined: it is busy. */
  spareSince: number | undefined;
}

/** What the sockets have seen since the start. */
export interface SocketCounters {
  /** Messages that were not requests. */
  malformed: number;
  /** Replies for clients that had left or took none. */
  undelivered: number;
  /** Messages to the backend from no worker. */
  intruders: number;
  /** Connections that asked to be let in and were not. */
  denied: number;
  /** Identities that another connection has taken over while their holder was there, as far as known. */
  takeovers: number;
  /** Peers that named themselves as only libzmq names peers, which can end the server. */
  squatters: number;
  /** Replies of workers that had no valid code, and were answered 500. */
  invalidReplies: number;
  /** Workers that were replaced as they had lost a job. */
  lostJobs: number;
  /** Events that were made for those who have subscribed. */
  events: number;
  /** Events that a subscriber did not get as it took too little, each counted; not known of libzmq's sockets. */
  eventsDropped: number;
}
