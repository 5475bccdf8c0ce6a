/**
 * The broker's nouns: a client, its jobs, and a worker, as records. Who may change what is the
 * broker's business.
 *
 * @module
 */

import { Line, type Waiting } from "./fair_queue.ts";
import type { End } from "./inquest.ts";
import { type Linked, noLinks } from "./list.ts";
import { type Past, type Suspect, triesOf } from "./suspects.ts";

/** A peer of the frontend. */
export interface Client<B> {
  /** How the frontend's ROUTER knows it. */
  readonly routingId: Uint8Array<ArrayBuffer>;
  /** The name that it has proved to have, "" if none. */
  readonly user: string;
  /** Its place in the queue. */
  readonly line: Line<Job<B>>;
  /** The JOB header of its jobs; the fixed part is written anew for each. */
  readonly header: Uint8Array<ArrayBuffer>;
  /** A view of `header`. */
  readonly view: DataView<ArrayBuffer>;
  /** Its requests that have not ended. */
  live: number;
  /** Those of them that can be cancelled, by the client's own number. */
  readonly asked: Map<number, Job<B>>;
  /** Whether it is connected, as far as is known. */
  connected: boolean;
}

/** Somebody who waits for a job's answer. */
export interface Asker<B> {
  client: Client<B>;
  /** The envelope between the routing id and the empty frame. */
  envelope: readonly Uint8Array<ArrayBuffer>[];
  /** The client's own number for the request, which its reply's status belongs to; undefined: plain. */
  requestId: number | undefined;
}

/** A request inside the broker. It is itself the first of those who wait for its answer. */
export interface Job<B> extends Waiting<Job<B>>, Asker<B>, Suspect<Job<B>> {
  /** Counts up from 1, never used twice. */
  id: number;
  line: Client<B>["line"];
  bytes: number;
  body: B;
  /** Not started after this time, ms; Infinity: none. */
  deadline: number;
  /** How long its handler may run, ms; Infinity: any time. */
  requestTimeout: number;
  /** Requests of the same key wait for the same answer; "": none do. */
  key: string;
  /** Who else waits for the answer. */
  others: readonly Asker<B>[];
  /** Whether a worker that is gone may have started it. */
  begun: boolean;
  /** When it is known to have been running at its worker, ms; 0: it may still wait there. */
  startedAt: number;
  /** When its worker was told that nobody wants the answer, ms. */
  abortedAt: number;
  /** queued ⇄ assigned → ended; aborted: given up by its client while a worker had it */
  state: "queued" | "assigned" | "aborted" | "ended";
}

/** A worker as the broker sees it. */
export interface Worker<B> extends Linked<Worker<B>> {
  /** The pool's number for it. */
  readonly id: number;
  /** How the backend's ROUTER knows it. */
  readonly routingId: Uint8Array<ArrayBuffer>;
  /** What it was given and has not answered, in order; the first ones run. */
  readonly jobs: Map<number, Job<B>>;
  /** ready → retiring: given no more jobs → gone */
  state: "ready" | "retiring" | "gone";
  /** Since when it gets no more jobs as one did not stop, ms, while `isolatedUntil` says that it is so. */
  isolatedAt: number;
  /** When it is ended though jobs run beside that one, ms; Infinity: there is no such one. */
  isolatedUntil: number;
  /** Whether it has a job that may end it, or is kept for one, and so gets no other. */
  alone: boolean;
  /** The job that it gets once it has shown that it lives. */
  asked: Job<B> | undefined;
  /** How its process ended; undefined as long as that is not known. */
  end: End | undefined;
  /** Since when it has had nothing to do, ms; meaningless while it has. */
  idleSince: number;
  /** When it last began or answered something, ms. */
  progressAt: number;
  /** Jobs that it has answered. */
  answered: number;
}

/** What a request brings along. */
export type NewJob<B> = Pick<
  Job<B>,
  "envelope" | "requestId" | "body" | "bytes" | "deadline" | "requestTimeout" | "key"
>;

/** A client that has just come. */
export function newClient<B>(
  routingId: Uint8Array<ArrayBuffer>,
  header: Uint8Array<ArrayBuffer>,
  user = "",
): Client<B> {
  return {
    routingId,
    user,
    line: new Line<Job<B>>(),
    header,
    view: new DataView(header.buffer),
    live: 0,
    asked: new Map(),
    connected: true,
  };
}

/** A job that has just come. */
export function newJob<B>(id: number, client: Client<B>, request: NewJob<B>): Job<B> {
  const { envelope, requestId, body, bytes, deadline, requestTimeout, key } = request;
  return {
    id,
    client,
    line: client.line,
    links: noLinks<Job<B>>(),
    envelope,
    requestId,
    body,
    bytes,
    deadline,
    requestTimeout,
    key,
    others: NOBODY,
    begun: false,
    deaths: 0,
    doubts: 0,
    excused: 0,
    beside: 0,
    shelf: undefined,
    startedAt: 0,
    abortedAt: Infinity,
    state: "queued",
  };
}

/** The same, in the record of a job that has ended, is in no list, and that nobody looks at any more. */
export function renewJob<B>(
  job: Job<B>,
  id: number,
  client: Client<B>,
  request: NewJob<B>,
): Job<B> {
  job.id = id;
  job.client = client;
  job.line = client.line;
  job.envelope = request.envelope;
  job.requestId = request.requestId;
  job.body = request.body;
  job.bytes = request.bytes;
  job.deadline = request.deadline;
  job.requestTimeout = request.requestTimeout;
  job.key = request.key;
  job.others = NOBODY;
  job.begun = false;
  job.deaths = 0;
  job.doubts = 0;
  job.excused = 0;
  job.beside = 0;
  job.shelf = undefined;
  job.startedAt = 0;
  job.abortedAt = Infinity;
  job.state = "queued";
  return job;
}

/** Shared by all jobs that only one client waits for, and so never changed. */
const NOBODY: readonly never[] = [];

/** Which try at a job this is: 1, and one more for each worker that may have died of it. */
export function attemptOf(job: Past): number {
  return triesOf(job) + 1;
}
