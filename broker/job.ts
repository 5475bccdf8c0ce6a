/**
 * The broker's nouns: a client, its jobs, and a worker, as records. Each field is changed by one of broker.ts
 * and its organs only.
 *
 * @module
 */

import type { StreamCredit } from "../wire/credit.ts";
import { Line, type Queued } from "./fair_queue.ts";
import type { End } from "./inquest.ts";
import { JobTable } from "./job_table.ts";
import { type Linked, noLinks } from "./list.ts";
import { NumberTable } from "./number_table.ts";
import { Stream } from "./stream.ts";
import { type Past, type Suspect, triesOf } from "./suspects.ts";

/** Who asks: a connection of a source. */
export interface Peer<B> {
  /** Where its source keeps its connection: a number that the source has given it. */
  readonly place: number;
  /** The name that it has proved to have, "" if none. */
  readonly user: string;
  /** The JOB header of its jobs; the fixed part is written anew for each. */
  readonly header: Uint8Array<ArrayBuffer>;
  /** A view of `header`. */
  readonly view: DataView<ArrayBuffer>;
  /** The service that alone can be asked where it has connected; undefined: all can. */
  readonly bound: number | undefined;
  /** The peer as the client of the service that it asks if it names none. */
  readonly home: Client<B>;
  /** The same of other services that it has asked. */
  readonly others: Client<B>[];
  /** Whether the peer is connected, as far as is known. */
  connected: boolean;
}

/** A peer in one service: what the broker of that service knows of it. */
export interface Client<B> {
  readonly peer: Peer<B>;
  /** The number of the service. */
  readonly service: number;
  /** The client's place in the queue. */
  readonly line: Line<Job<B>>;
  /** Requests of the client that have not ended. */
  live: number;
  /** The jobs of those requests that can be cancelled, by the client's own number. */
  readonly asked: NumberTable<Job<B>>;
}

/** Somebody who waits for a job's answer. */
export interface Asker<B> {
  client: Client<B>;
  /** The envelope between the routing id and the empty frame. */
  envelope: readonly Uint8Array<ArrayBuffer>[];
  /** The client's own number for the request, which its reply's status belongs to; undefined: plain. */
  requestId: number | undefined;
}

/** What a request is known by that is a try of a stored job. */
export interface StoredTry {
  /** The store's number for the run. */
  readonly run: number;
  /** The job's id. */
  readonly id: string;
  /** 1 for the first try. */
  readonly attempt: number;
  /** Tries in all. */
  readonly tries: number;
  /** Whether the last frame of the body is what a try before has kept. */
  readonly hasKept: boolean;
}

/** What was asked, and by whom: a request as it came. */
export interface JobRequest<B> extends Asker<B> {
  body: B;
  /** What the body takes in memory, bytes. */
  bytes: number;
  /** Not started after this time, ms; Infinity: none. */
  deadline: number;
  /** How long its handler may run, ms; Infinity: any time. */
  requestTimeout: number;
  /** Requests of the same key wait for the same answer; "": none do. */
  key: string;
  /** What the client takes of an answer in parts; without parts: progress alone; undefined: neither. */
  stream?: StreamCredit | undefined;
  /** Whether another worker may go on with an answer in parts. @default {false} */
  resumable?: boolean;
  /** Services that it has gone through before this one: a handler of each has asked the next. @default {0} */
  hops?: number;
  /** The trace that it belongs to, of wire/trace.ts. @default {none} */
  trace?: Uint8Array<ArrayBuffer> | undefined;
  /** Undefined: it is no try of a stored job, but a client's. */
  stored?: StoredTry | undefined;
}

/** A request inside the broker: what was asked, and where it is. */
export interface Job<B> extends Queued<Job<B>>, Suspect<Job<B>> {
  /** Counts up from 1, never used twice. */
  id: number;
  /** What was asked: the job's own copy. It stays what it was, whoever waits for the answer. */
  readonly request: JobRequest<B>;
  /** The first of those who wait for the answer. The job waits in the line of this one's client. */
  asker: Readonly<Asker<B>>;
  /** What the asker gets before the answer has ended; undefined: nothing. */
  stream: Stream | undefined;
  /** The others who wait for the answer. */
  others: readonly Asker<B>[];
  line: Client<B>["line"];
  bytes: number;
  /** The latest deadline of those who wait for the answer, ms; Infinity: none. */
  deadline: number;
  /** Whether a worker that is gone may have started it. */
  begun: boolean;
  /** When it came, ms. */
  arrivedAt: number;
  /** When its last worker got it, ms; 0: none has. */
  sentAt: number;
  /** The worker that has it; undefined: none. */
  worker: Worker<B> | undefined;
  /** Whether its worker is known to have started it; if not, it may still wait there. */
  running: boolean;
  /** Since when it is known to be running, ms; meaningless while it is not. */
  startedAt: number;
  /** When its worker was told that nobody wants the answer, ms; meaningless unless it is aborted. */
  abortedAt: number;
  /** queued ⇄ assigned → ended; aborted: given up by its client while a worker had it */
  state: "queued" | "assigned" | "aborted" | "ended";
}

/** Why a worker gets no more jobs though it still runs some: the handler of another does not stop. */
export interface Isolation {
  /** Since when, ms. */
  since: number;
  /** When the worker is ended, whatever still runs there, ms. */
  until: number;
}

/** A worker as the broker sees it. */
export interface Worker<B> extends Linked<Worker<B>> {
  /** The pool's number for it. */
  readonly id: number;
  /** The number of the service that it works for. */
  readonly service: number;
  /** Whether it has more than one job at a time, if the limits allow that. */
  readonly most: "many" | "one";
  /** What it was given and has not answered, in order; the first ones run. */
  readonly jobs: JobTable<Job<B>>;
  /** Jobs of these that are about to be sent, in an array that is used again: empty between two calls. */
  readonly outgoing: Job<B>[];
  /** ready → retiring: given no more jobs → gone */
  state: "ready" | "retiring" | "gone";
  /** Undefined: all its handlers stop when they are told to. */
  isolation: Isolation | undefined;
  /** Whether it has a job that may end it, or is kept for one, and so gets no other. */
  alone: boolean;
  /** The job that is sent to it once it has shown that it lives. */
  unsent: Job<B> | undefined;
  /** How its process ended; undefined as long as that is not known. */
  end: End | undefined;
  /** Since when it has had nothing to do, ms; meaningless while it has. */
  idleSince: number;
  /** When it last started or answered something, ms. */
  progressAt: number;
  /** Jobs that it has answered. */
  answered: number;
  /** Of its jobs, those that are tries of stored ones. */
  stored: number;
}

/** The number of the service without a name, whether there is one or not. */
export const NAMELESS = 0;
/** Services that a peer has asked and asks no more are forgotten when there are so many. */
const MOST_OTHERS = 8;

/** A peer that has just come; `bound`: see `Peer`. */
export function newPeer<B>(
  place: number,
  header: Uint8Array<ArrayBuffer>,
  user = "",
  bound?: number,
): Peer<B> {
  return new Connected<B>(place, header, user, bound);
}

/** Refers to itself through its client. */
class Connected<B> implements Peer<B> {
  readonly place: number;
  readonly user: string;
  readonly header: Uint8Array<ArrayBuffer>;
  readonly view: DataView<ArrayBuffer>;
  readonly bound: number | undefined;
  readonly home: Client<B>;
  readonly others: Client<B>[] = [];
  connected = true;

  constructor(
    place: number,
    header: Uint8Array<ArrayBuffer>,
    user: string,
    bound: number | undefined,
  ) {
    this.place = place;
    this.user = user;
    this.header = header;
    this.view = new DataView(header.buffer);
    this.bound = bound;
    this.home = newClient(this, bound ?? NAMELESS);
  }
}

function newClient<B>(peer: Peer<B>, service: number): Client<B> {
  return { peer, service, line: new Line<Job<B>>(), live: 0, asked: new NumberTable() };
}

/** A peer as the client of a service. */
export function clientIn<B>(peer: Peer<B>, service: number): Client<B> {
  const { home, others } = peer;
  if (home.service === service) return home;
  for (const other of others) if (other.service === service) return other;
  // What a peer makes us keep is bounded by what it has asked and waits for.
  if (others.length >= MOST_OTHERS) others.splice(0, Infinity, ...others.filter(isLive));
  const client = newClient(peer, service);
  others.push(client);
  return client;
}

/** A peer as the client of each service that it may have asked something. */
export function clientsOf<B>({ home, others }: Peer<B>): readonly Client<B>[] {
  return [home, ...others];
}

/** Whether a client waits for an answer. */
export function isLive<B>({ live }: Client<B>): boolean {
  return live > 0;
}

/** A worker of a service that is ready for its first job. */
export function newWorker<B>(
  id: number,
  now: number,
  service = NAMELESS,
  most: Worker<B>["most"] = "many",
): Worker<B> {
  return {
    id,
    service,
    most,
    links: noLinks(),
    jobs: new JobTable(),
    outgoing: [],
    state: "ready",
    isolation: undefined,
    alone: false,
    unsent: undefined,
    end: undefined,
    idleSince: now,
    progressAt: now,
    answered: 0,
    stored: 0,
  };
}

/** A job that has just come. What it is made of is copied. */
export function newJob<B>(id: number, from: JobRequest<B>): Job<B> {
  const { client, envelope, requestId, body, bytes, deadline, requestTimeout, key } = from;
  const { stream, resumable = false, hops = 0, trace, stored } = from;
  const request: JobRequest<B> = {
    client,
    envelope,
    requestId,
    body,
    bytes,
    deadline,
    requestTimeout,
    key,
    stream,
    resumable,
    hops,
    trace,
    stored,
  };
  return {
    id,
    request,
    asker: request,
    stream: streamOf(from),
    others: NO_OTHERS,
    line: client.line,
    links: noLinks<Job<B>>(),
    bytes,
    deadline,
    begun: false,
    arrivedAt: 0,
    sentAt: 0,
    deaths: 0,
    doubts: 0,
    excused: 0,
    beside: 0,
    stranded: 0,
    shelf: undefined,
    worker: undefined,
    running: false,
    startedAt: 0,
    abortedAt: 0,
    state: "queued",
  };
}

/** A job that has just come, in the record of one that has ended, is in no list, and is not read any more. */
export function renewJob<B>(job: Job<B>, id: number, from: JobRequest<B>): Job<B> {
  const { request } = job;
  request.client = from.client;
  request.envelope = from.envelope;
  request.requestId = from.requestId;
  request.body = from.body;
  request.bytes = from.bytes;
  request.deadline = from.deadline;
  request.requestTimeout = from.requestTimeout;
  request.key = from.key;
  request.hops = from.hops ?? 0;
  request.trace = from.trace;
  request.stored = from.stored;
  request.stream = from.stream;
  request.resumable = from.resumable ?? false;
  job.id = id;
  job.asker = request;
  job.stream = streamOf(from);
  job.others = NO_OTHERS;
  job.line = from.client.line;
  job.bytes = from.bytes;
  job.deadline = from.deadline;
  job.begun = false;
  job.arrivedAt = job.sentAt = 0;
  job.deaths =
    job.doubts =
    job.excused =
    job.beside =
    job.stranded =
      0;
  job.shelf = undefined;
  job.worker = undefined;
  job.running = false;
  job.startedAt = job.abortedAt = 0;
  job.state = "queued";
  return job;
}

/** Only our own client takes parts: a plain one has no number that they could come back with. */
function streamOf<B>({ stream, resumable = false, requestId }: JobRequest<B>): Stream | undefined {
  return stream === undefined || requestId === undefined
    ? undefined
    : new Stream(stream, resumable);
}

/** Shared by all jobs that only one asker waits for, and so never changed. */
const NO_OTHERS: readonly never[] = [];

/** All who wait for a job, the one whose turn it takes first. */
export function askersOf<B>({ asker, others }: Job<B>): readonly Asker<B>[] {
  return [asker, ...others];
}

/** Which try at a job this is: 1, or that of a stored one, and one more for each worker that may have died of it. */
export function attemptOf(
  job: Past & { readonly request: Pick<JobRequest<unknown>, "stored"> },
): number {
  return triesOf(job) + (job.request.stored?.attempt ?? 1);
}

/** Which try a job has had last; unlike `attemptOf` where no worker has it after one was lost with it. */
export function lastAttemptOf(
  job: Past & Pick<Job<unknown>, "worker"> & {
    readonly request: Pick<JobRequest<unknown>, "stored">;
  },
): number {
  const isBetween = job.worker === undefined && triesOf(job) > 0;
  return attemptOf(job) - (isBetween ? 1 : 0);
}

/** Whether a worker runs a job that somebody waits for. */
export function isRunning<B>({ state, running }: Job<B>): boolean {
  return state === "assigned" && running;
}

/** One more waits for a job: its client can take the request back. */
export function noteRequest<B>(job: Job<B>, { client, requestId }: Asker<B>): void {
  client.live++;
  if (requestId !== undefined) client.asked.set(requestId, job);
}

/** One no longer waits for a job. */
export function forgetRequest<B>(job: Job<B>, { client, requestId }: Asker<B>): void {
  client.live--;
  if (requestId !== undefined && client.asked.get(requestId) === job) {
    client.asked.take(requestId);
  }
}

/** Whether a request is the one that `client` has this number for, and came by way of the same peers as `envelope`. */
export function isFrom<B>(
  asker: Asker<B>,
  client: Client<B>,
  requestId: number,
  envelope: Asker<B>["envelope"],
): boolean {
  if (asker.client !== client || asker.requestId !== requestId) return false;
  // The last frame is the header, which is another one.
  const way = envelope.slice(0, -1);
  return asker.envelope.length === envelope.length &&
    way.every((frame, index) => isSameFrame(frame, asker.envelope[index]));
}

function isSameFrame(one: Uint8Array, other: Uint8Array | undefined): boolean {
  return one.length === other?.length && one.every((byte, index) => byte === other[index]);
}
