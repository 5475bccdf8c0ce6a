/**
 * The broker's nouns: a client, its jobs, and a worker, as records. Who may change what is the
 * broker's business.
 *
 * @module
 */

import { Line, type Waiting } from "./fair_queue.ts";
import { type Linked, noLinks } from "./list.ts";

/** A peer of the frontend. */
export interface Client<B> {
  /** How the frontend's ROUTER knows it. */
  readonly routingId: Uint8Array<ArrayBuffer>;
  /** Its place in the queue. */
  readonly line: Line<Job<B>>;
  /** The JOB header of its jobs; the fixed part is written anew for each. */
  readonly header: Uint8Array<ArrayBuffer>;
  /** A view of `header`. */
  readonly view: DataView<ArrayBuffer>;
  /** Its jobs that have not ended. */
  live: number;
}

/** A request inside the broker. */
export interface Job<B> extends Waiting<Job<B>> {
  /** Counts up from 1, never used twice. */
  readonly id: number;
  readonly client: Client<B>;
  /** The envelope between the routing id and the empty frame. */
  readonly envelope: readonly Uint8Array<ArrayBuffer>[];
  /** Whether the reply carries a status frame. */
  readonly headed: boolean;
  readonly body: B;
  /** Not started after this time, ms; Infinity: none. */
  readonly deadline: number;
  /** Workers that died while they ran it. */
  deaths: number;
  /** queued ⇄ assigned → ended; abandoned: its client left while a worker had it */
  state: "queued" | "assigned" | "abandoned" | "ended";
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
  /** Since when it has had nothing to do, ms; meaningless while it has. */
  idleSince: number;
  /** When it last began or answered something, ms. */
  progressAt: number;
  /** Jobs that it has answered. */
  answered: number;
}

/** What a request brings along. */
export type NewJob<B> = Pick<Job<B>, "envelope" | "headed" | "body" | "bytes" | "deadline">;

/** A client that has just come. */
export function newClient<B>(
  routingId: Uint8Array<ArrayBuffer>,
  header: Uint8Array<ArrayBuffer>,
): Client<B> {
  const line = new Line<Job<B>>();
  return { routingId, line, header, view: new DataView(header.buffer), live: 0 };
}

/** A job that has just come. */
export function newJob<B>(id: number, client: Client<B>, request: NewJob<B>): Job<B> {
  const { envelope, headed, body, bytes, deadline } = request;
  const { line } = client;
  const links = noLinks<Job<B>>();
  const state = "queued";
  return { id, client, line, links, envelope, headed, body, bytes, deadline, deaths: 0, state };
}
