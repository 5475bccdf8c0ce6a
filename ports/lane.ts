/**
 * How workers are reached: the seam between the broker's loop and the sockets that workers talk to. Types only.
 * Two kinds stand behind it: record_lane.ts, over unix sockets of this machine, and zmq_lane.ts.
 *
 * @module
 */

import type { Job, Worker } from "../broker/job.ts";
import type { LogFields, LogLevel, ReplyHeader } from "../wire/job.ts";
import type { StreamCredit } from "../wire/credit.ts";
import type { Pollable } from "../system/poller.ts";
import type { Body } from "./body.ts";
import type { Content } from "./content.ts";

/** A line of the log, as a worker says it. */
export interface WorkerLine {
  level: LogLevel;
  message: string;
  fields: LogFields;
  /** The job that it is of; 0: none. */
  job: number;
}

/** What a lane reports while it is read. */
export interface LaneEvents {
  /** Whether a token is that of a worker that starts; `pid`: who shows it, where the system tells. */
  expects(token: string, pid: number | undefined): boolean;
  /** A peer shows a token: its worker, in service now; undefined: it is not a worker's. */
  admit(token: string, pid?: number): Worker<Body> | undefined;
  /** A worker's answer. The header record and the content are valid during the call only. */
  reply(worker: Worker<Body>, reply: ReplyHeader, content: Content): void;
  /** A part of a worker's answer to a job. The content is valid during the call only. */
  part(worker: Worker<Body>, job: number, content: Content): void;
  /**
   * What a worker asks on behalf of a job: the first frame is the head of wire/question.ts. The content is valid
   * during the call only.
   */
  question(worker: Worker<Body>, job: number, content: Content): void;
  /** A worker does not wait for the answer to a question any more. */
  withdrawn(worker: Worker<Body>, question: number): void;
  /** A worker publishes: the first frame is the topic; `retain`: it is kept. The content is valid during the call only. */
  publish(worker: Worker<Body>, content: Content, retain: boolean): void;
  /** How far a worker is with a job. The content is valid during the call only. */
  progress(worker: Worker<Body>, job: number, content: Content): void;
  /** A worker shows that it lives, as it was asked to. */
  alive(worker: Worker<Body>): void;
  /** A worker gives a job back that it has not started. */
  returned(worker: Worker<Body>, job: number): void;
  /** A worker will leave of its own accord. */
  retiring(worker: Worker<Body>): void;
  /** A worker's last word, or its connection is gone. */
  gone(worker: Worker<Body>, end: "left" | "died"): void;
  /** A worker has loaded the module and calls its `init()`; false: the token is not a worker's. */
  loaded(token: string, pid?: number): boolean;
  /** A worker can't load the handler; false: the token is not a worker's. */
  failed(token: string, message: string, pid?: number): boolean;
  /** A worker reports how many bytes it has in memory. */
  memory(worker: Worker<Body>, bytes: number): void;
  /** Whether a worker may log another line, of so many bytes: it has its share. */
  mayLog(worker: Worker<Body>, bytes: number): boolean;
  /** A worker has something for the log. */
  log(worker: Worker<Body>, line: WorkerLine): void;
}

/** The way to the workers. */
export interface Lane {
  /** What is to be waited for. */
  readonly port: Pollable;
  /** Messages from peers that are not workers, and those that no worker sends. */
  readonly intruders: number;
  /**
   * Listens, and returns the endpoint really bound. The one before it is given up; connections stay.
   *
   * @throws {Error} when it can't be bound.
   */
  bind(endpoint: string): string;
  /** Reads some of what has come, up to a bound; returns how many messages that was. */
  read(now: number): number;
  /** Whether something is to be read now. Asked last before a wait. */
  isReadable(): boolean;
  /** Sends jobs that were assigned to `worker`; returns how many, fewer if the worker is gone. */
  send(worker: Worker<Body>, jobs: readonly Job<Body>[], now: number): number;
  /** Sends what was not taken so far; called at the end of each pass. */
  flush(): void;
  /** Asks a worker to show that it lives. */
  ask(worker: Worker<Body>): "asked" | "gone";
  /** Tells a worker that nobody waits for a job any more. */
  cancel(worker: Worker<Body>, job: number, code: number): void;
  /** Tells a worker that more of its answer to a job may be sent; `flush` sends it. */
  grant(worker: Worker<Body>, job: number, credit: StreamCredit): void;
  /** Tells a worker the answer to a question; `flush` sends it. */
  answer(worker: Worker<Body>, question: number, code: number, content: Content): void;
  /** Tells a worker to finish what it has, and leave. */
  stop(worker: Worker<Body>): void;
  /** Tells a joiner something; nothing where none can join. */
  tellJoiner?(joiner: number, text: string): void;
  /** Ends a worker that is no process of the server's; false, or not there: it is one. */
  end?(worker: Worker<Body>): boolean;
  /** A worker is gone: nothing that comes over its connection counts any more. */
  forget(worker: Worker<Body>): void;
  /** Gives memory back that is not in use. */
  giveBackMemory(): void;
  /** Closes all at once. */
  close(): void;
}
