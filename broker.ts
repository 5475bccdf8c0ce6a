/**
 * Pairs waiting jobs with workers. `Broker` decides: a synchronous state machine that has no clock and
 * no socket and sees a body as an opaque handle. `BrokerLoop` feeds it: it owns the two sockets (see
 * ports/) and waits for them. Neither knows processes: those are pool/'s, and mod.ts translates.
 *
 * @module
 */

import { AccessBook, type Outcome, type Visit } from "./ports/access_book.ts";
import { Backend, type BackendEvents, type WorkerLine } from "./ports/backend.ts";
import { Door } from "./ports/door.ts";
import { clientOf, ErrorReplies, type Failure, textOf } from "./ports/error_replies.ts";
import { type Frames, Frontend, type Request } from "./ports/frontend.ts";
import { IpcFiles } from "./ports/ipc_files.ts";
import { FRAME_WEIGHT } from "./ports/outbox.ts";
import { FairQueue } from "./broker/fair_queue.ts";
import { type End, Inquest, type Verdict as Finding } from "./broker/inquest.ts";
import {
  type Asker,
  attemptOf,
  type Client,
  type Job,
  type NewJob,
  newJob,
  renewJob,
  type Worker,
} from "./broker/job.ts";
import { List, noLinks } from "./broker/list.ts";
import { OrderWatch } from "./broker/order.ts";
import { ReplyCache } from "./broker/reply_cache.ts";
import { ServiceTimes } from "./broker/service_times.ts";
import { blame, isHopeless, isSuspect, Suspects, triesOf } from "./broker/suspects.ts";
import { Code, isFinal, StatusFlag } from "./wire/request.ts";
import { isReplyCode, type LogFields, type LogLevel, ReplyFlag } from "./wire/job.ts";
import type { Verdict, ZapRequest } from "./wire/zap.ts";
import type { Demand } from "./zmq/curve.ts";
import type { Library } from "./zmq/library.ts";
import { MessagePool } from "./zmq/message.ts";
import { Poller } from "./zmq/poller.ts";
import { Context } from "./zmq/socket.ts";

export type { End, Failure, Visit };

/** What bounds a `Broker`, as operators set it. */
export interface BrokerLimits {
  /** Jobs at a time in one worker. */
  concurrency: number;
  /** Jobs assigned to one worker at most, the running ones included. */
  prefetch: number;
  /** A job may wait at a busy worker only if the work ahead of it takes less, ms. */
  prefetchBudget: number;
  /** Which of several idle workers is taken: the most or the least recently used. */
  dispatch: "mru" | "lru";
  /** A job whose workers died this often is given up. */
  maxAttempts: number;
  /** Jobs waiting at most. */
  queueLimit: number;
  /** Bytes waiting at most. */
  queueBytes: number;
  /** What a full queue does: the frontend is not read, or requests are answered 503. */
  overflow: "block" | "reject";
  /** Jobs of one client waiting at most; 0: any number. */
  maxQueuePerClient: number;
  /** How long a handler may run, ms; 0: any time. */
  requestTimeout: number;
  /** How long others may go on in the worker of one that does not stop, ms. */
  stopTimeout: number;
  /** How long a handler may go on that was told to stop, before its worker is given up, ms; 0: any time. */
  abortGrace: number;
}

/** What else a `Broker` goes by. */
export interface BrokerTimes {
  /** How long a worker that sleeps takes to begin, ms: a job waits less for quick ones elsewhere. */
  wakeTime: number;
}

/** An answer that the broker itself gives. */
export interface Ended<B> {
  job: Job<B>;
  /** Who gets it; those who have left don't. */
  to: readonly Asker<B>[];
  code: number;
  message: string;
  /** `StatusFlag`s of the answer. */
  flags: number;
  /** Whether the job has ended; if not, others still wait for it. */
  last: boolean;
}

/** A worker whose handler does not stop: it is to be ended. */
export interface Overrun<B> {
  worker: Worker<B>;
  /** What it had beside the job that overran; taken from it. */
  jobs: readonly Job<B>[];
  /** isolate: it gets no more jobs, and those that it runs may end; end: it is to be ended now. */
  step: "isolate" | "end";
}

/** A job, and the worker that has it; one that comes as its `asked` is sent once that shows that it lives. */
export interface Assignment<B> {
  job: Job<B>;
  worker: Worker<B>;
}

/** What a dead worker had, with the jobs' numbers: their records may be used again. */
interface Estate<B> {
  jobs: readonly (readonly [id: number, job: Job<B>])[];
  /** Whether it was running all of them. */
  known: boolean;
}

/** What a `Broker` has counted since its start. */
export interface BrokerCounters {
  /** Requests that were well formed. */
  requests: number;
  /** Jobs that a worker answered, error replies included. */
  answered: number;
  /** Those of them that are error replies. */
  failed: number;
  /** Requests answered 503: full, or shutting down. */
  refused: number;
  /** Requests answered 4xx before they became a job: too large. */
  rejected: number;
  /** Jobs whose deadline passed before they started. */
  expired: number;
  /** Jobs whose client left first. */
  abandoned: number;
  /** Times a job went back to the queue. */
  returned: number;
  /** Jobs given up because their workers died. */
  lost: number;
  /** Jobs whose handlers ran past their limit and did not stop. */
  overran: number;
  /** Times a running job lost its worker because another one there did not stop. */
  displaced: number;
  /** Requests that their clients took back. */
  cancelled: number;
  /** Requests that were answered together with an earlier one of the same key. */
  joined: number;
  /** Requests that were answered from the cache. */
  cached: number;
  /** Replies that belong to no job in flight at that worker. */
  strayReplies: number;
}

/** A job may wait behind others although one in 200 takes long, if those take at most so many budgets. */
const TAIL_BUDGETS = 10;
/** A worker that has shown no progress for this many budgets is given nothing more to hold. */
const STUCK_BUDGETS = 5;
/** One that ends a job of known length within so many budgets gets the next: waits are in whole ms. */
const ENDING_BUDGETS = 3;
/** What a job costs its worker beside the handler, ms. */
const JOB_OVERHEAD = 0.005;
/** A worker that began or ended something within this time has not gone to sleep, ms. */
const AWAKE_TIME = 1;
const EXPIRY_INTERVAL = 100;
/** How often running jobs are held against their limits, ms. */
const WATCH_INTERVAL = 50;
/** Requests that join one job at most. */
const MAX_JOINED = 1000;
/** At the next tick, whenever that is, ms. */
const NOW = 0;
/** If that was late by more, the whole machine slept, and so did the handlers, ms. */
const OVERSLEPT = 1000;
/** A worker that is free again within this time is as good as idle, ms. */
const SPARE_WAIT = 10;
/** Unless it has shown no progress for so long: it may be one of quick jobs that has met a slow one, ms. */
const SPARE_STALL = 50;
/** Records that are kept to be used again, 300 bytes each. */
const SPARE_JOBS = 10_000;

/** Which job goes to which worker, and when a job has ended. */
export class Broker<B> {
  #limits: BrokerLimits;
  readonly #wakeTime: number;
  /** Whether no worker ever ran several jobs at a time: each then ends its jobs in order. */
  inOrder: boolean;
  readonly #queue = new FairQueue<Job<B>>();
  readonly #suspects = new Suspects<Job<B>>();
  readonly #inquest = new Inquest<Estate<B>>();
  /** A worker that gets no more jobs until it has none: then it is free for a suspect. */
  #kept: Worker<B> | undefined;
  readonly #workers = new Set<Worker<B>>();
  /** Ready workers by the number of jobs that they have. */
  readonly #levels: List<Worker<B>>[] = [];
  #lowest = 0;
  #assigned = 0;
  #assignedBytes = 0;
  #lastId = 0;
  #ended: Ended<B>[] = [];
  readonly #times = new ServiceTimes();
  /**
   * Records of ended jobs to be used again. New ones for each request cost a seventh of the CPU, and what
   * waits for seconds and is then thrown away fills the memory long before V8 looks at it.
   */
  #spare: Job<B>[] = [];
  #withDeadline = 0;
  #expiryAt = 0;
  /** Jobs at workers that may overrun. */
  #watched = 0;
  #watchAt = 0;
  #overruns: Overrun<B>[] = [];
  /** Live jobs by their keys. */
  readonly #keyed = new Map<string, Job<B>>();
  /** Live jobs that several clients wait for. */
  readonly #shared = new Set<Job<B>>();
  /** Requests that have joined live jobs. */
  #others = 0;
  /** open → serving: the queue only → refusing: nothing new is started */
  #phase: "open" | "serving" | "refusing" = "open";
  /** When a job was last given to a worker, ms. */
  lastJobAt = 0;
  /** What happened so far. */
  readonly counters: BrokerCounters = {
    requests: 0,
    answered: 0,
    failed: 0,
    refused: 0,
    rejected: 0,
    expired: 0,
    abandoned: 0,
    returned: 0,
    lost: 0,
    overran: 0,
    displaced: 0,
    cancelled: 0,
    joined: 0,
    cached: 0,
    strayReplies: 0,
  };

  /** Makes an empty broker. */
  constructor(limits: BrokerLimits, { wakeTime }: BrokerTimes) {
    this.#limits = limits;
    this.#wakeTime = wakeTime;
    this.inOrder = limits.concurrency === 1;
  }

  /** Jobs waiting for a worker. */
  get queued(): number {
    return this.#queue.size + this.#suspects.size;
  }

  /** Their bytes. */
  get queuedBytes(): number {
    return this.#queue.bytes + this.#suspects.bytes;
  }

  /** Jobs that workers have. */
  get assigned(): number {
    return this.#assigned;
  }

  /** Every worker that is not gone. */
  get workers(): ReadonlySet<Worker<B>> {
    return this.#workers;
  }

  /** How long the handler takes. */
  get times(): Readonly<Pick<ServiceTimes, "mean" | "tail">> {
    return this.#times;
  }

  /**
   * Whether the queue is at one of its bounds. The bytes of what workers have count too: they are held
   * until the answer is there.
   */
  get full(): boolean {
    const { queueLimit, queueBytes } = this.#limits;
    return this.queued >= queueLimit || this.queuedBytes + this.#assignedBytes >= queueBytes;
  }

  /** Whether the frontend should not be read now. */
  get blocked(): boolean {
    return this.#phase === "open" && this.#limits.overflow === "block" && this.full;
  }

  /** Works by other bounds from now on. */
  configure(limits: BrokerLimits): void {
    this.#limits = limits;
    this.inOrder &&= limits.concurrency === 1;
    this.#watchAt = NOW; // nothing is late that was not watched until now
  }

  /** How long a handler may run, ms, if it was asked to take `asked` at most; 0: it was not asked. */
  timeLimit(asked: number): number {
    const { requestTimeout } = this.#limits;
    return Math.min(
      requestTimeout === 0 ? Infinity : requestTimeout,
      asked === 0 ? Infinity : asked,
    );
  }

  /**
   * Takes a request in: it waits, or it is refused, which `takeEnded` tells. If a job of the same key is
   * alive, that one is returned, and answers both.
   */
  submit(client: Client<B>, request: NewJob<B>): Job<B> {
    const alike = request.key === "" ? undefined : this.#keyed.get(request.key);
    if (alike !== undefined && this.#mayJoin(alike)) return this.#join(alike, client, request);
    const job = this.#newJob(client, request);
    const { overflow, maxQueuePerClient } = this.#limits;
    if (alike !== undefined) this.#refuse(job, "Too many requests wait for the same answer");
    else if (this.#phase !== "open") this.#turnAway(job);
    else if (overflow === "reject" && this.full) this.#refuse(job, "The queue is full");
    else if (maxQueuePerClient > 0 && client.line.size >= maxQueuePerClient) {
      this.#refuse(job, `The client has ${maxQueuePerClient} requests waiting, which is the limit`);
    } else this.#enqueue(job);
    return job;
  }

  /** Takes a request in only to answer it with an error at once. */
  reject(client: Client<B>, request: NewJob<B>, code: number, message: string): void {
    this.counters.rejected++;
    this.#answer(this.#newJob(client, request), code, message);
  }

  /** Takes a request in only to answer it 503. */
  refuse(client: Client<B>, request: NewJob<B>, message: string): void {
    this.#refuse(this.#newJob(client, request), message);
  }

  /** The next job to send, now assigned to the worker that comes with it. */
  next(now: number): Assignment<B> | undefined {
    if (this.#phase === "refusing") return undefined;
    const suspect = this.#nextSuspect(now);
    if (suspect !== undefined) return suspect;
    while (this.#queue.size > 0) {
      const worker = this.#chooseWorker(now);
      if (worker === undefined) return undefined;
      const job = this.#dequeue();
      if (job === undefined) return undefined;
      if (job.deadline > now) return this.#assign(job, worker, now);
      this.#expire(job);
    }
    return undefined;
  }

  /** The next suspect gets an idle worker; where there is none, one is kept until it is. */
  #nextSuspect(now: number): Assignment<B> | undefined {
    if (this.#suspects.size === 0 && this.#kept === undefined) return undefined;
    for (let job = this.#suspects.next(); job !== undefined; job = this.#suspects.next()) {
      const worker = this.#level(0).first ?? this.#keep();
      if (worker === undefined) return undefined;
      this.#unqueue(job);
      if (job.deadline > now) return this.#assign(job, worker, now);
      this.#expire(job);
    }
    this.#unkeep();
    return undefined;
  }

  /** The least loaded worker gets no more jobs, so that it is free some time. */
  #keep(): undefined {
    if (this.#kept !== undefined) return;
    for (let level = 0; level < this.#levels.length; level++) {
      const worker = this.#level(level).last;
      if (worker === undefined) continue;
      this.#unplace(worker);
      worker.alone = true;
      this.#kept = worker;
      return;
    }
  }

  #unkeep(): void {
    const worker = this.#kept;
    if (worker === undefined) return;
    this.#kept = undefined;
    worker.alone = false;
    this.#place(worker);
  }

  /** A worker has shown that it lives: the job that it was to get once it does. */
  proven(worker: Worker<B>, now: number): Job<B> | undefined {
    if (worker.isolatedUntil < Infinity) {
      worker.isolatedUntil = worker.isolatedAt + this.#limits.stopTimeout;
    }
    const job = worker.asked;
    if (job === undefined) return undefined;
    worker.asked = undefined;
    if (job.state === "aborted") {
      this.#unassign(worker, job, now);
      this.#endAborted(job);
      return undefined;
    }
    job.startedAt = worker.progressAt = now;
    return job;
  }

  /** A job has ended and was answered: nobody looks at its record any more. */
  recycle(job: Job<B>): void {
    if (this.#spare.length < SPARE_JOBS) this.#spare.push(job);
  }

  /** Forgets the records that are not needed now. */
  dropSpares(): void {
    this.#spare = [];
  }

  /** A worker's answer: the job that it ends, or undefined if it had no such job or nobody wants it. */
  settle(
    worker: Worker<B>,
    id: number,
    code: number,
    micros: number,
    now: number,
  ): Job<B> | undefined {
    const job = worker.jobs.get(id);
    if (job === undefined) {
      // An isolated worker may yet end what was answered for it.
      if (worker.isolatedUntil === Infinity) this.counters.strayReplies++;
      return undefined;
    }
    this.#unassign(worker, job, now);
    worker.progressAt = now;
    if (job.state === "aborted") {
      this.#endAborted(job);
      return undefined;
    }
    if (worker.answered === 0) this.#times.guess(micros / 1000);
    else this.#times.observe(micros / 1000);
    worker.answered++;
    this.counters.answered++;
    if (code !== Code.ok) this.counters.failed++;
    this.#close(job);
    return job;
  }

  /** A worker gives a job back that it has not started. */
  giveBack(worker: Worker<B>, id: number, now: number): void {
    const job = worker.jobs.get(id);
    if (job === undefined) {
      this.counters.strayReplies++;
      return;
    }
    this.#unassign(worker, job, now);
    this.#requeue(job);
  }

  /** A worker that is ready for jobs. */
  addWorker(id: number, routingId: Uint8Array<ArrayBuffer>, now: number): Worker<B> {
    const worker: Worker<B> = {
      id,
      routingId,
      links: noLinks(),
      jobs: new Map(),
      state: "ready",
      alone: false,
      asked: undefined,
      end: undefined,
      isolatedAt: 0,
      isolatedUntil: Infinity,
      idleSince: now,
      progressAt: now,
      answered: 0,
    };
    this.#workers.add(worker);
    this.#place(worker);
    return worker;
  }

  /** Gives a worker no more jobs; it keeps those that it has. */
  retire(worker: Worker<B>): void {
    if (worker.state !== "ready") return;
    this.#unplace(worker);
    worker.state = "retiring";
    if (worker === this.#kept) this.#kept = undefined;
  }

  /**
   * A worker is gone. If it left in order, its jobs go back to the front of the queue. If it died, they
   * are held until it is known what of: see broker/inquest.ts and broker/suspects.ts.
   */
  removeWorker(worker: Worker<B>, end: "left" | "died", now: number): void {
    if (worker.state === "gone") return;
    this.retire(worker);
    worker.state = "gone";
    this.#workers.delete(worker);
    if (worker.isolatedUntil < Infinity) this.#watched--;
    worker.isolatedUntil = Infinity;
    const unsent = worker.asked !== undefined;
    const jobs = this.#takeJobs(worker);
    if (end === "died" && !unsent) return this.#hold(worker, jobs, now);
    for (const job of jobs.toReversed()) this.#requeue(job);
  }

  /** The process of a worker, in service or not, has ended; its connection may not have yet. */
  processEnded(id: number, worker: Worker<B> | undefined, end: End, now: number): void {
    if (worker !== undefined) worker.end = end;
    this.#inquest.end(id, end, now);
    this.#judge(now);
  }

  #hold(worker: Worker<B>, jobs: readonly Job<B>[], now: number): void {
    if (jobs.length === 0) return;
    const known = jobs.length <= this.#limits.concurrency;
    for (const job of jobs) job.begun = true;
    const estate = { jobs: jobs.map((job) => [job.id, job] as const), known };
    for (const job of jobs) if (this.#comesBack(job)) this.#suspects.hold(job);
    // What must not be begun twice has had its only try, whoever is to blame.
    if (this.#limits.maxAttempts === 1) return this.#sentence(estate, "guilty");
    this.#inquest.notice(worker.id, estate, worker.end, now);
    this.#judge(now);
  }

  /** Does what is due about deaths; returns ms until it must run again. */
  #judge(now: number): number {
    for (const { about, verdict } of this.#inquest.judge(now)) this.#sentence(about, verdict);
    return this.#inquest.wait;
  }

  #sentence({ jobs, known }: Estate<B>, verdict: Finding): void {
    for (const [id, job] of jobs.toReversed()) {
      if (job.id !== id || job.shelf !== "held") continue; // it has ended meanwhile
      blame(job, verdict, known);
      this.#suspects.endTurn(job);
      if (isHopeless(job, this.#limits.maxAttempts)) {
        this.#unqueue(job);
        this.#giveUp(job);
      } else {
        this.counters.returned++;
        this.#suspects.release(job);
      }
    }
  }

  /**
   * A client takes a request back: one that waits ends, one that a worker has is returned, to be
   * cancelled there. Unknown requests, and those that others wait for too, change nothing.
   */
  cancel(
    client: Client<B>,
    requestId: number,
    envelope: Asker<B>["envelope"],
    now: number,
  ): Assignment<B> | undefined {
    const job = client.asked.get(requestId);
    const asker = job && askers(job).find((asker) => isFrom(asker, client, requestId, envelope));
    if (job === undefined || asker === undefined || job.state === "aborted") return undefined;
    this.counters.cancelled++;
    if (job.others.length > 0) {
      this.#ended.push({
        job,
        to: [this.#leave(job, asker)],
        ...CANCELLED,
        flags: NO_FLAGS,
        last: false,
      });
    } else if (job.state === "queued") {
      this.#unqueue(job);
      this.#answer(job, CANCELLED.code, CANCELLED.message);
    } else {
      for (const worker of this.#workers) {
        if (worker.jobs.has(job.id)) return this.#abort(job, worker, now);
      }
    }
    return undefined;
  }

  /** A client is gone: its waiting jobs end; returns those that workers have, to be cancelled. */
  disconnect(client: Client<B>, now: number): Assignment<B>[] {
    client.connected = false;
    if (client.live === 0) return [];
    for (const job of this.#shared) this.#leaveShared(job, client);
    for (const job of this.#waitingOf(client)) {
      this.counters.abandoned++;
      this.#unqueue(job);
      this.#answer(job, CANCELLED.code, CANCELLED.message);
    }
    const running: Assignment<B>[] = [];
    for (const worker of this.#workers) {
      for (const job of worker.jobs.values()) {
        if (job.client !== client || job.state === "aborted") continue;
        this.counters.abandoned++;
        running.push(this.#abort(job, worker, now));
      }
    }
    return running;
  }

  /** Answers 503 what a client has waiting, but for what others wait for too. */
  refuseWaiting(client: Client<B>, message: string): void {
    for (const job of this.#queue.of(client.line)) {
      if (job.others.length > 0) continue;
      this.#unqueue(job);
      this.#refuse(job, message);
    }
  }

  *#waitingOf(client: Client<B>): Generator<Job<B>> {
    for (const job of this.#suspects) if (job.client === client) yield job;
    yield* this.#queue.of(client.line);
  }

  *#waiting(): Generator<Job<B>> {
    yield* this.#suspects;
    yield* this.#queue;
  }

  /**
   * Since when a worker has been free, undefined while it is not. One that is expected to be through
   * with its jobs and its share of the queue in a moment counts as free now: quick jobs at a high rate
   * are no reason to start more workers.
   */
  spareSince(worker: Worker<B>, now: number): number | undefined {
    if (worker.jobs.size === 0) return worker.idleSince;
    const { concurrency } = this.#limits;
    const ahead = worker.jobs.size + this.#queue.size / this.#workers.size;
    const wait = (this.#times.mean ?? Infinity) * ahead / concurrency;
    const stalled = now - worker.progressAt > SPARE_STALL;
    return wait < SPARE_WAIT && !stalled ? now : undefined;
  }

  /** Takes no more requests; those that wait are still served, or answered 503. */
  close(waiting: "serve" | "refuse"): void {
    this.#phase = waiting === "serve" ? "serving" : "refusing";
    if (waiting === "serve") return;
    for (const job of this.#waiting()) {
      this.#unqueue(job);
      this.#turnAway(job);
    }
  }

  /** Whether no job is left. */
  get idle(): boolean {
    return this.queued === 0 && this.assigned === 0;
  }

  /** Does what is due at `now`; returns ms until it must run again. */
  tick(now: number): number {
    const sleep = Math.min(this.#judge(now), this.#expireDue(now));
    return Math.min(sleep, this.#watch(now), this.#endingIn(now));
  }

  /** The answers that the broker itself has given since the last call. */
  takeEnded(): readonly Ended<B>[] {
    if (this.#ended.length === 0) return NONE;
    const ended = this.#ended;
    this.#ended = [];
    return ended;
  }

  /** The workers that are to be ended since the last call, because their handlers don't stop. */
  takeOverruns(): readonly Overrun<B>[] {
    if (this.#overruns.length === 0) return NONE;
    const overruns = this.#overruns;
    this.#overruns = [];
    return overruns;
  }

  #expireDue(now: number): number {
    if (this.#withDeadline === 0) return Infinity;
    if (now < this.#expiryAt) return this.#expiryAt - now;
    for (const job of this.#waiting()) {
      if (job.deadline > now) continue;
      this.#unqueue(job);
      this.#expire(job);
    }
    this.#expiryAt = now + EXPIRY_INTERVAL;
    return EXPIRY_INTERVAL;
  }

  /** Looks for running jobs that are past their limits. */
  #watch(now: number): number {
    if (this.#watched === 0 || this.#limits.abortGrace === 0) return Infinity;
    if (now < this.#watchAt) return this.#watchAt - now;
    const late = this.#watchAt === NOW ? 0 : now - this.#watchAt;
    for (const worker of this.#workers) {
      const job = this.#watchWorker(worker, late > OVERSLEPT ? late : 0, now);
      if (job !== undefined) this.#overrun(worker, job, now);
      if (this.#isOver(worker, now)) this.#endWorker(worker);
    }
    this.#watchAt = now + WATCH_INTERVAL;
    return WATCH_INTERVAL;
  }

  /**
   * The first of a worker's jobs that has overrun; `forgiven` ms count for none. One that only waits there
   * ends at once when it is taken back, unless it has begun after all or the worker is stuck.
   */
  #watchWorker(worker: Worker<B>, forgiven: number, now: number): Job<B> | undefined {
    let left = this.#limits.concurrency;
    let late: Job<B> | undefined;
    for (const job of worker.jobs.values()) {
      if (job.startedAt !== 0) job.startedAt += forgiven;
      else if (left > 0) job.startedAt = now;
      left--;
      job.abortedAt += forgiven;
      if (late === undefined && now >= this.#overrunAt(job)) late = job;
    }
    return late;
  }

  /** When the worker of a job is given up for it, ms. */
  #overrunAt({ startedAt, requestTimeout, abortedAt }: Job<B>): number {
    if (startedAt === 0) return abortedAt + this.#limits.abortGrace;
    const stopAt = Math.min(startedAt + requestTimeout, Math.max(startedAt, abortedAt));
    return stopAt + this.#limits.abortGrace;
  }

  /**
   * A handler does not stop: its job is answered, what waits behind it goes back. If others run beside it,
   * its worker is isolated: they may end first.
   */
  #overrun(worker: Worker<B>, job: Job<B>, now: number): void {
    this.retire(worker);
    this.#unassign(worker, job, now);
    // One that only waited was not even given back: the whole worker is stuck.
    const stuck = job.startedAt === 0;
    this.#endStubborn(job);
    if (stuck || ![...worker.jobs.values()].some(isRunning)) return this.#endWorker(worker);
    if (worker.isolatedUntil === Infinity) this.#isolate(worker, now);
  }

  /** What runs may end, if the worker shows in time that not all of it is stuck. */
  #isolate(worker: Worker<B>, now: number): void {
    const { abortGrace, stopTimeout } = this.#limits;
    worker.isolatedAt = now;
    worker.isolatedUntil = now + Math.min(abortGrace, stopTimeout);
    this.#beginWatch(now);
    const jobs = [...worker.jobs.values()].filter(({ startedAt }) => startedAt === 0);
    for (const other of jobs.toReversed()) {
      this.#unassign(worker, other, now);
      other.begun = true;
      this.#requeue(other);
    }
    this.#overruns.push({ worker, jobs, step: "isolate" });
  }

  #endStubborn(job: Job<B>): void {
    if (job.state === "aborted") return this.#endAborted(job);
    this.counters.overran++;
    const limit = `The handler ran past its limit of ${job.requestTimeout} ms`;
    this.#answer(job, Code.handlerTimeout, limit);
  }

  /** Whether an isolated worker has run out of time, or of jobs that anybody waits for. */
  #isOver(worker: Worker<B>, now: number): boolean {
    if (worker.isolatedUntil === Infinity) return false;
    return now >= worker.isolatedUntil || ![...worker.jobs.values()].some(isRunning);
  }

  /** A worker is to be ended for a handler that does not stop; an isolated one's place is needed, perhaps. */
  endIsolated(worker: Worker<B>): void {
    if (worker.isolatedUntil < Infinity) this.#endWorker(worker);
  }

  /** What still runs in it has its next try alone, where nobody else's job can end its worker. */
  #endWorker(worker: Worker<B>): void {
    if (worker.isolatedUntil < Infinity) this.#watched--;
    worker.isolatedUntil = Infinity;
    const jobs = this.#takeJobs(worker);
    for (const job of jobs.toReversed()) {
      job.begun = true;
      if (!isRunning(job)) this.#requeue(job);
      else this.#displace(job);
    }
    this.#overruns.push({ worker, jobs, step: "end" });
  }

  #displace(job: Job<B>): void {
    job.beside++;
    this.counters.displaced++;
    if (this.#limits.maxAttempts > 1) return this.#requeue(job);
    const reason = "The worker was ended because of another job, and maxAttempts is 1";
    this.counters.lost++;
    this.#answer(job, Code.workerDied, reason);
  }

  #newJob(client: Client<B>, request: NewJob<B>): Job<B> {
    this.counters.requests++;
    client.live++;
    const spare = this.#spare.pop();
    const id = ++this.#lastId;
    const job = spare === undefined
      ? newJob(id, client, request)
      : renewJob(spare, id, client, request);
    if (job.requestId !== undefined) client.asked.set(job.requestId, job);
    return job;
  }

  #enqueue(job: Job<B>): void {
    if (job.key !== "") this.#keyed.set(job.key, job);
    if (job.deadline !== Infinity) this.#withDeadline++;
    this.#queue.push(job);
  }

  /** Requests that join others are no jobs in the queue, so they are bounded apart. */
  #mayJoin(job: Job<B>): boolean {
    return job.others.length < MAX_JOINED && this.#others < this.#limits.queueLimit;
  }

  /** One more client waits for the answer to a job. */
  #join(job: Job<B>, client: Client<B>, request: NewJob<B>): Job<B> {
    const { envelope, requestId, deadline } = request;
    this.counters.requests++;
    this.counters.joined++;
    client.live++;
    this.#others++;
    job.others = [...job.others, { client, envelope, requestId }];
    this.#shared.add(job);
    if (requestId !== undefined) client.asked.set(requestId, job);
    if (deadline > job.deadline) this.#postpone(job, deadline);
    return job;
  }

  #postpone(job: Job<B>, deadline: number): void {
    if (job.state === "queued" && deadline === Infinity) this.#withDeadline--;
    job.deadline = deadline;
  }

  /** Lets go of what a client shares with others; if it is all of them itself, the last one stays. */
  #leaveShared(job: Job<B>, client: Client<B>): void {
    const all = askers(job);
    const others = all.filter((asker) => asker.client !== client);
    const staying = others.length > 0 ? others : all.slice(-1);
    if (staying.length === all.length) return;
    this.counters.abandoned += all.length - staying.length;
    for (const asker of all) {
      if (asker.client === client && asker !== staying[0]) forget(job, asker);
    }
    this.#keepFor(job, staying);
  }

  /** One of several no longer waits for a job. */
  #leave(job: Job<B>, asker: Asker<B>): Asker<B> {
    const { client, envelope, requestId } = asker;
    forget(job, asker);
    this.#keepFor(job, askers(job).filter((other) => other !== asker));
    return { client, envelope, requestId };
  }

  /** Only these still wait for a job; if its own client is not one of them, the first takes its place. */
  #keepFor(job: Job<B>, [first, ...others]: readonly Asker<B>[]): void {
    this.#others -= job.others.length - others.length;
    if (first === job || first === undefined) job.others = others;
    else {
      const inLine = job.state === "queued" && job.shelf === undefined;
      if (inLine) this.#queue.remove(job);
      Object.assign(job, first, { line: first.client.line, others });
      if (inLine) this.#queue.push(job);
    }
    if (others.length === 0) this.#shared.delete(job);
  }

  /** Nobody wants a job that a worker has. */
  #abort(job: Job<B>, worker: Worker<B>, now: number): Assignment<B> {
    if (job.requestTimeout === Infinity) this.#beginWatch(now);
    job.state = "aborted";
    job.abortedAt = now;
    if (job.key !== "") this.#keyed.delete(job.key);
    return { job, worker };
  }

  #beginWatch(now: number): void {
    if (this.#watched++ === 0) this.#watchAt = now + WATCH_INTERVAL;
  }

  #endWatch(job: Job<B>): void {
    if (job.requestTimeout !== Infinity || job.state === "aborted") this.#watched--;
  }

  #dequeue(): Job<B> | undefined {
    const job = this.#queue.shift();
    if (job !== undefined && job.deadline !== Infinity) this.#withDeadline--;
    return job;
  }

  #unqueue(job: Job<B>): void {
    if (job.shelf === undefined) this.#queue.remove(job);
    else this.#suspects.remove(job);
    if (job.deadline !== Infinity) this.#withDeadline--;
  }

  /** Back to the front of the queue, or of the suspects. */
  #requeue(job: Job<B>): void {
    if (!this.#comesBack(job)) return;
    this.counters.returned++;
    if (isSuspect(job)) this.#suspects.release(job);
    else this.#queue.unshift(job);
  }

  /** A job waits again, unless nobody waits for it or nothing is started any more. */
  #comesBack(job: Job<B>): boolean {
    if (job.state === "aborted") this.#endAborted(job);
    else {
      job.state = "queued";
      if (this.#phase === "refusing") this.#turnAway(job);
      else if (job.deadline !== Infinity) this.#withDeadline++;
    }
    return job.state === "queued";
  }

  #assign(job: Job<B>, worker: Worker<B>, now: number): Assignment<B> {
    this.#unplace(worker);
    if (worker.jobs.size === 0) worker.progressAt = now;
    const suspect = isSuspect(job);
    job.startedAt = worker.jobs.size < this.#limits.concurrency && !suspect ? now : 0;
    if (job.requestTimeout !== Infinity) this.#beginWatch(now);
    worker.jobs.set(job.id, job);
    worker.alone = suspect;
    if (suspect) worker.asked = job;
    this.#assigned++;
    this.#assignedBytes += job.bytes;
    this.#place(worker);
    job.state = "assigned";
    this.lastJobAt = now;
    return { job, worker };
  }

  #unassign(worker: Worker<B>, job: Job<B>, now: number): void {
    this.#unplace(worker);
    worker.jobs.delete(job.id);
    if (worker === this.#kept && worker.jobs.size === 0) this.#kept = undefined;
    worker.alone = worker === this.#kept;
    worker.asked = undefined;
    this.#assigned--;
    this.#assignedBytes -= job.bytes;
    this.#endWatch(job);
    if (worker.jobs.size === 0) worker.idleSince = now;
    this.#place(worker);
  }

  /** Takes all jobs from a worker that gets no more. */
  #takeJobs(worker: Worker<B>): Job<B>[] {
    const jobs = [...worker.jobs.values()];
    worker.jobs.clear();
    worker.asked = undefined;
    this.#assigned -= jobs.length;
    for (const job of jobs) {
      this.#assignedBytes -= job.bytes;
      this.#endWatch(job);
    }
    return jobs;
  }

  /** One that is awake and quickly through; else an idle one; else the least loaded that soon will be. */
  #chooseWorker(now: number): Worker<B> | undefined {
    const { concurrency, dispatch } = this.#limits;
    const awake = this.#awake(now);
    if (awake !== undefined) return awake;
    while (this.#lowest < this.#levels.length && this.#level(this.#lowest).first === undefined) {
      this.#lowest++;
    }
    for (let level = this.#lowest; level < this.#levels.length; level++) {
      const list = this.#level(level);
      if (level < concurrency) {
        const idle = dispatch === "mru" ? list.first : list.last;
        if (idle !== undefined) return idle;
      } else {
        if (level >= this.#prefetch) return undefined;
        if (!this.#soon(level)) return level === 1 ? this.#ending(now) : undefined;
        let worker = list.first;
        while (worker !== undefined && this.#stuck(worker, now)) worker = worker.links.next;
        if (worker !== undefined) return worker;
      }
    }
    return undefined;
  }

  /** The least loaded worker that does its jobs sooner than one that sleeps begins, if there is one. */
  #awake(now: number): Worker<B> | undefined {
    const each = (this.#times.mean ?? Infinity) + JOB_OVERHEAD;
    const limit = Math.min(this.#levels.length, this.#prefetch, this.#wakeTime / each);
    for (let level = 1; level < limit; level++) {
      const worker = this.#level(level).first;
      if (worker !== undefined && now - worker.progressAt < AWAKE_TIME && this.#soon(level)) {
        return worker;
      }
    }
    return undefined;
  }

  /** A job that must not run twice must not wait where another may end the worker. */
  get #prefetch(): number {
    const { concurrency, prefetch, maxAttempts } = this.#limits;
    return maxAttempts === 1 ? concurrency : prefetch;
  }

  /**
   * Whether a worker that has `level` jobs is expected to be free within the budget. Quick jobs don't wait
   * where slow ones are not rare: the mean would hide those.
   */
  #soon(level: number): boolean {
    const { concurrency, prefetchBudget } = this.#limits;
    const { mean = Infinity, tail } = this.#times;
    const ahead = (level + 1 - concurrency) / concurrency;
    return mean * ahead < prefetchBudget && tail * ahead < prefetchBudget * TAIL_BUDGETS;
  }

  /** A worker whose only job is expected to end in a moment: so it need not wait for the next one. */
  #ending(now: number): Worker<B> | undefined {
    const { concurrency, prefetchBudget } = this.#limits;
    if (concurrency > 1 || !this.#steady) return undefined;
    // Those that began first are the last in their level.
    for (let worker = this.#level(1).last; worker; worker = worker.links.previous) {
      const left = this.#left(worker, now);
      if (left >= prefetchBudget * ENDING_BUDGETS) return undefined;
      if (left > -prefetchBudget * STUCK_BUDGETS) return worker;
    }
    return undefined;
  }

  /** How long a worker's first job is expected to take yet, ms. */
  #left(worker: Worker<B>, now: number): number {
    return worker.progressAt + (this.#times.mean ?? Infinity) - now;
  }

  /** Whether all jobs take about the same time, and long; the tail is told to a factor of two. */
  get #steady(): boolean {
    const { prefetchBudget } = this.#limits;
    const { mean = 0, tail } = this.#times;
    return mean > prefetchBudget * ENDING_BUDGETS && tail < 2.5 * mean &&
      tail - mean < prefetchBudget * TAIL_BUDGETS;
  }

  /** When a worker will be ending, ms from now; Infinity: that does not matter, or one is already. */
  #endingIn(now: number): number {
    const { concurrency, prefetchBudget } = this.#limits;
    if (this.#queue.size === 0 || concurrency > 1 || this.#prefetch === 1) return Infinity;
    const worker = this.#level(1).last;
    if (worker === undefined || !this.#steady) return Infinity;
    const wait = this.#left(worker, now) - prefetchBudget * ENDING_BUDGETS;
    return wait > 0 ? wait : Infinity;
  }

  #stuck(worker: Worker<B>, now: number): boolean {
    return now - worker.progressAt > this.#limits.prefetchBudget * STUCK_BUDGETS;
  }

  /** Puts a worker that may get jobs among those that have as many; the newest in front. */
  #place(worker: Worker<B>): void {
    if (worker.state !== "ready" || worker.alone) return;
    const level = worker.jobs.size;
    this.#level(level).unshift(worker);
    if (level < this.#lowest) this.#lowest = level;
  }

  #unplace(worker: Worker<B>): void {
    if (worker.state === "ready" && !worker.alone) this.#level(worker.jobs.size).remove(worker);
  }

  #level(level: number): List<Worker<B>> {
    return this.#levels[level] ??= new List<Worker<B>>();
  }

  #refuse(job: Job<B>, message: string): void {
    this.counters.refused++;
    this.#answer(job, Code.unavailable, message);
  }

  /** Answers a job that this server will not start. One that never ran may be sent to another server. */
  #turnAway(job: Job<B>): void {
    this.counters.refused++;
    const flags = job.begun ? NO_FLAGS : StatusFlag.unstarted;
    this.#answer(job, Code.unavailable, "The server is shutting down", flags);
  }

  #expire(job: Job<B>): void {
    this.counters.expired++;
    this.#answer(job, Code.expired, "The deadline passed before the job was started");
  }

  #giveUp(job: Job<B>): void {
    if (job.state === "aborted") return this.#endAborted(job);
    this.counters.lost++;
    this.#answer(job, Code.workerDied, `The worker died ${triesOf(job)} times on this job`);
  }

  #endAborted(job: Job<B>): void {
    this.#answer(job, CANCELLED.code, CANCELLED.message);
  }

  /** Ends a job by an answer of the broker's own, for those who still wait for one. */
  #answer(job: Job<B>, code: number, message: string, flags = NO_FLAGS): void {
    this.#close(job);
    const to = askers(job).filter(({ client }) => client.connected);
    this.#ended.push({ job, to, code, message, flags, last: true });
  }

  /** The end of a job. */
  #close(job: Job<B>): void {
    job.state = "ended";
    this.#suspects.endTurn(job);
    if (this.#keyed.get(job.key) === job) this.#keyed.delete(job.key);
    forget(job, job);
    for (const other of job.others) forget(job, other);
    this.#others -= job.others.length;
    if (job.others.length > 0) this.#shared.delete(job);
  }
}

const NONE: readonly never[] = [];
const NO_FLAGS = 0;
const CANCELLED = { code: Code.cancelled, message: "The request was cancelled" };

/** Whether a worker has begun a job that somebody waits for. */
function isRunning<B>({ state, startedAt }: Job<B>): boolean {
  return state === "assigned" && startedAt !== 0;
}

/** All who wait for a job. */
function askers<B>(job: Job<B>): readonly Asker<B>[] {
  return [job, ...job.others];
}

/** A client waits for a job no more. */
function forget<B>(job: Job<B>, { client, requestId }: Asker<B>): void {
  client.live--;
  if (requestId !== undefined && client.asked.get(requestId) === job) {
    client.asked.delete(requestId);
  }
}

/** Whether a request is one that came from `client`, by way of the same peers as `envelope`. */
function isFrom<B>(
  asker: Asker<B>,
  client: Client<B>,
  requestId: number,
  envelope: Asker<B>["envelope"],
): boolean {
  if (asker.client !== client || asker.requestId !== requestId) return false;
  // The last frame is the header, which is another one.
  const way = envelope.slice(0, -1);
  return asker.envelope.length === envelope.length &&
    way.every((frame, index) => isEqual(frame, asker.envelope[index]));
}

function isEqual(one: Uint8Array, other: Uint8Array | undefined): boolean {
  return one.length === other?.length && one.every((byte, index) => byte === other[index]);
}

/** The worker that a token was made for, and whether it is to leave at once. */
export interface Admission {
  worker: number;
  leave: boolean;
}

/** What a `BrokerLoop` tells of; called from its loop, must not throw. */
export interface LoopEvents {
  /** A peer shows a token: the worker that it was made for; undefined: nobody's. */
  admit(token: string): Admission | undefined;
  /** The worker will leave of its own accord. */
  leaving(worker: number): void;
  /** The worker has said its last word. */
  left(worker: number): void;
  /** The worker that this token was made for has loaded the module and calls its `init()`; false: nobody's. */
  loaded(token: string): boolean;
  /** The worker that this token was made for can't load the handler; false: it is nobody's. */
  failed(token: string, message: string): boolean;
  /** The worker has died while it had jobs. */
  diedBusy(worker: number): void;
  /** The worker's connection is gone though nobody asked it to leave. */
  lost(worker: number): void;
  /** A worker says how many bytes it has in memory, which it was told to. */
  memory(worker: number, bytes: number): void;
  /** The worker's handler does not stop: it is to be ended. */
  overran(worker: number): void;
  /** The same, but others run beside it: it is given no more jobs until they have ended. */
  isolated(worker: number): void;
  /** A line of the broker's own for the log. */
  log(level: LogLevel, message: string, fields?: LogFields): void;
  /** Whether the log takes a worker's next line, of so many bytes. */
  wantsLine(worker: number, bytes: number): boolean;
  /** A line for the log from a worker. */
  line(worker: number, line: WorkerLine): void;
  /** A request ended in a 5xx that is not the broker's refusal (503). */
  requestFailed(failure: Failure): void;
  /** A request has ended; left out, nobody keeps an account of them. */
  visit?(visit: Visit): void;
  /** Runs in every pass: does what is due; returns ms until it must run again. */
  tick(now: number): number;
}

/** What a `BrokerLoop` is made of, beside the broker's limits. */
export interface LoopOptions extends BrokerLimits {
  /** Endpoints to bind for clients. */
  frontend: readonly string[];
  /** Endpoint to bind for workers. */
  backend: string;
  /** Bytes of all body frames of one request at most. */
  maxMessageSize: number;
  /** Body frames of one request at most. */
  maxFrames: number;
  /** How long a tcp client may be silent before its host is probed, ms; 0: for ever. */
  keepAlive?: number;
  /** How long answers to requests with a key are kept, ms; 0: not at all. */
  replyCacheTtl: number;
  /** Bytes of the answers kept at most. */
  replyCacheBytes: number;
  /** Whether clients get errors as handlers threw them; undefined: those of this machine do. */
  exposeErrors?: boolean;
  /** Who may come in; undefined: all who reach the sockets. */
  guard?: Guard;
}

/** What a reload may change beside the broker's limits. */
type Reloadable = "replyCacheTtl" | "replyCacheBytes" | "exposeErrors";

/** Decides who may come in to which of the sockets. */
export interface Guard {
  /** What clients must bring; undefined: all may come in. */
  frontend: Demand | undefined;
  /** What workers must bring beside their token. */
  backend: Demand | undefined;
  /** Decides about one that asks, as things are. */
  judge(request: ZapRequest, scene: Scene): Verdict;
}

/** How a moment looks to who decides: as auth/crowd.ts has it. */
export interface Scene {
  /** ms. */
  now: number;
  /** Connections of all that were let in; 0 also where that is not known. */
  connections: number;
  /** The addresses of those of them that have sent something, and how many of each. */
  speakers: Iterable<readonly [address: string, count: number]>;
  /** Whether a peer is there that has named itself as only libzmq names peers. */
  isAttacked: boolean;
  /** The addresses of all tcp peers, also those who are not let in. */
  peers(): Iterable<Uint8Array>;
}

/** As measured on a virtual machine of two cores, ms. */
const WAKE_TIME = 0.1;
/** Messages read from one socket before the other has its turn, at most. */
const BATCH = 500;
/** How long one socket is read before the other has its turn, ms: some messages take much longer than others. */
const BATCH_TIME = 0.3;
/** Messages after which the clock is looked at. */
const LOOK_EVERY = 16;
/** The error of a client that does not read. */
const STALLED = "The client does not take its replies";
/** Questions whether a peer may come in that are answered before jobs have their turn. */
const QUESTIONS = 50;
/** Turns before signals and timers have theirs. */
const ROUNDS = 4;
const SLOW_CLIENT_RETRY = 5;
/** While workers have no more jobs, there are cores to spare: each job keeps about two busy. */
const QUIET_JOBS = navigator.hardwareConcurrency > 1 ? navigator.hardwareConcurrency / 2 : -1;
const REPORT_INTERVAL = 1000;
const MIN_UNREAD = 16 * 1024 ** 2;
/** A queue of so many jobs, or bytes, has taken memory that is worth being given back. */
const LONG_QUEUE = 1000;
const LARGE_QUEUE = 1024 ** 2;
/** When it has been shorter for so long, ms. */
const TIDY_DELAY = 5000;
/** How often clients' connections are checked while a full queue keeps their messages from being read, ms. */
const GONE_INTERVAL = 500;
/** What peers do wrong, and how the log tells of it behind the number. */
const WRONGS = [
  ["denied", "connections denied"],
  ["takeovers", "identities taken over by another connection"],
  ["squatters", "peers named themselves as only libzmq names peers: an attack to end the server"],
  ["malformed", "malformed requests dropped"],
  ["intruders", "messages of no worker dropped"],
  ["strayReplies", "replies of workers to no job of theirs dropped"],
  ["invalidReplies", "replies of workers without a valid code, answered 500"],
  ["undelivered", "replies not delivered: the client left or took none"],
] as const;

type Wrongs = Record<typeof WRONGS[number][0], number>;

/** Replies that clients have not taken, bytes: however small the queue, a burst of them must fit. */
function unreadBytes({ queueBytes }: BrokerLimits): number {
  return Math.max(queueBytes, MIN_UNREAD);
}

/** A worker's answer that is yet to be sent. */
interface Answer {
  job: Job<Frames>;
  code: number;
  /** `ReplyFlag`s. */
  flags: number;
  /** How long the handler took, µs. */
  micros: number;
  frames: Frames;
  worker: number;
  /** Bytes of the frames. */
  bytes: number;
}

function bytesOf(frames: Frames): number {
  return frames.reduce((sum, frame) => sum + frame.size, 0);
}

/** The loop between the sockets and a `Broker`. */
export class BrokerLoop {
  readonly #events: LoopEvents;
  readonly #context: Context;
  readonly #messages: MessagePool;
  readonly #front: Frontend;
  readonly #back: Backend;
  readonly #door: Door | undefined;
  readonly #files: IpcFiles;
  readonly #poller: Poller;
  readonly #workers = new Map<number, Worker<Frames>>();
  readonly #cache: ReplyCache<Frames>;
  /** What workers have answered and is yet to be sent: in a row it costs fewer changes of threads. */
  readonly #answers: Answer[] = [];
  readonly #errors: ErrorReplies;
  /** Undefined where there is no access log. */
  readonly #book: AccessBook | undefined;
  readonly #order = new OrderWatch<Frames>();
  /** Workers that were given up as they had lost a job. */
  #losers = 0;
  /** Jobs that are about to be sent, by their workers. */
  readonly #groups = new Map<Worker<Frames>, Job<Frames>[]>();
  #now = performance.now();
  #open = true;
  /** The sockets are closed. */
  #closed = false;
  /** The program has ended, or starts anew. */
  #abandoned = false;
  /** Something was done to the broker since the pass began. */
  #again = false;
  #reported: Wrongs = {
    denied: 0,
    takeovers: 0,
    squatters: 0,
    malformed: 0,
    intruders: 0,
    undelivered: 0,
    strayReplies: 0,
    invalidReplies: 0,
  };
  #reportAt = 0;
  /** When memory is to be given back, ms; Infinity: there is none. */
  #tidyAt = Infinity;
  /** When something was last read from clients, ms. */
  #readAt = -Infinity;
  /** When connections are to be checked, if nothing is read until then. */
  #goneAt = 0;
  /** The state machine, to be read. */
  readonly broker: Broker<Frames>;
  readonly #endpoints: string[] = [];
  #backend: string;

  /**
   * Binds both sockets.
   *
   * @throws {ZmqError} when an endpoint can't be bound.
   */
  constructor(library: Library, options: LoopOptions, events: LoopEvents) {
    this.#events = events;
    this.broker = new Broker(options, { wakeTime: WAKE_TIME });
    this.#context = new Context(library);
    this.#messages = new MessagePool(library);
    this.#cache = new ReplyCache((frames) => this.#release(frames));
    this.#book = events.visit && new AccessBook((visit) => events.visit?.(visit));
    this.#errors = new ErrorReplies(this.#messages, () => this.frontend);
    this.#files = new IpcFiles(library);
    const ipv6 = [...options.frontend, options.backend].some((endpoint) => endpoint.includes("["));
    const { guard } = options;
    const bounds = { ...options, ipv6 };
    const front = { ...bounds, unreadBytes: unreadBytes(options), demand: guard?.frontend };
    this.#front = new Frontend(this.#context, this.#messages, front, {
      request: (client, request) => this.#request(client, request),
      cancel: (client, requestId, envelope) => {
        this.#cancel(this.broker.cancel(client, requestId, envelope, this.#now));
      },
      gone: (client) => {
        for (const running of this.broker.disconnect(client, this.#now)) this.#cancel(running);
      },
      stalled: (client) => this.broker.refuseWaiting(client, STALLED),
      catchUp: () => {
        const hasRead = this.#readFrontend() > 0;
        this.#again ||= hasRead;
        return hasRead;
      },
    });
    this.configure(options);
    const opened: { close(linger: number): void }[] = [this.#front];
    try {
      const back = { ...bounds, demand: guard?.backend };
      this.#back = new Backend(this.#context, this.#messages, back, this.#backendEvents());
      opened.push(this.#back);
      this.#door = guard &&
        new Door(this.#context, this.#messages, (request) => this.#judge(guard, request));
      if (this.#door !== undefined) opened.push(this.#door);
      for (const endpoint of options.frontend) {
        this.#endpoints.push(this.#files.bind(endpoint, () => this.#front.bind(endpoint)));
      }
      const { backend } = options;
      this.#backend = this.#files.bind(backend, () => this.#back.bind(backend));
      const sockets = [this.#front, this.#back, ...(this.#door === undefined ? [] : [this.#door])];
      this.#poller = new Poller(this.#context, sockets.map(({ socket }) => socket));
    } catch (error) {
      this.#files.remove();
      // Open sockets would keep the context from ever terminating.
      for (const socket of opened) socket.close(0);
      this.#context.terminateSync();
      throw error;
    }
  }

  /** The endpoints really bound for clients. */
  get frontend(): readonly string[] {
    return this.#endpoints;
  }

  /** The endpoint really bound for workers. */
  get backend(): string {
    return this.#backend;
  }

  /**
   * Listens to workers at another endpoint from now on; connections stay. Returns the one really bound.
   *
   * @throws {ZmqError} when it can't be bound.
   */
  moveBackend(endpoint: string): string {
    const bound = this.#files.bind(endpoint, () => this.#back.bind(endpoint));
    this.#files.forget(this.#backend);
    return this.#backend = bound;
  }

  /**
   * Binds ipc endpoints anew whose files somebody has removed, and returns them; connections stay.
   *
   * @throws {Error} when one can't be bound.
   */
  mendEndpoints(): string[] {
    return this.#files.mend();
  }

  /** What the sockets have seen. */
  get counters(): SocketCounters {
    const { malformed, undelivered, clients } = this.#front;
    const denied = this.#door?.denied ?? 0;
    const takeovers = this.#front.takeovers.count;
    const squatters = this.#front.squatters.count;
    const { intruders } = this.#back;
    return {
      malformed,
      undelivered,
      clients,
      intruders,
      denied,
      takeovers,
      squatters,
      invalidReplies: this.#errors.replaced,
      lostJobs: this.#losers,
    };
  }

  /** Connections of clients; undefined where libzmq does not tell of them. */
  get connections(): number | undefined {
    return this.#front.notified ? this.#front.connections(performance.now()) : undefined;
  }

  /** Whether replies wait for slow clients. */
  get hasUnsent(): boolean {
    return this.#front.blocked;
  }

  /** When something was last read from clients, ms. */
  get readAt(): number {
    return this.#readAt;
  }

  /** The worker of this number, if it is in service. */
  worker(number: number): Worker<Frames> | undefined {
    return this.#workers.get(number);
  }

  /** Serves until `stop`. */
  async run(): Promise<void> {
    while (this.#open) {
      this.#again = false;
      this.#now = performance.now();
      const busy = this.#pass();
      const sleep = this.#tick(this.#now);
      const report = this.#report();
      if (!this.#open) break;
      // Asked last, after all that was sent: a send can eat a socket's wake-up.
      const ready = busy || this.#again || this.#back.socket.readable() || this.#frontReadable() ||
        this.#door?.socket.readable();
      const retry = this.#front.blocked ? SLOW_CLIENT_RETRY : Infinity;
      const cores = this.broker.assigned <= QUIET_JOBS ? "spare" : "taken";
      const turn = this.#poller.rest(ready ? 0 : Math.min(sleep, retry, report), cores);
      if (turn !== undefined) await turn;
    }
    // Whoever waits for this would use sockets that are closed.
    if (this.#abandoned) await new Promise(() => {});
  }

  /** Does what is due; returns ms until it must run again. */
  #tick(now: number): number {
    const sleep = Math.min(this.broker.tick(now), this.#cache.tick(now), this.#findGone(now));
    this.#answerEnded();
    this.#endOverruns();
    this.#endLosers(now);
    return Math.min(sleep, this.#events.tick(now), this.#tidy(now), this.#order.wait(now));
  }

  /** Finds clients that have left while nothing is read from any; returns ms until it must run again. */
  #findGone(now: number): number {
    if (!this.broker.blocked) {
      this.#goneAt = now + GONE_INTERVAL;
      return Infinity;
    }
    if (now >= this.#goneAt) {
      this.#front.findGone();
      this.#goneAt = now + GONE_INTERVAL;
    }
    return this.#goneAt - now;
  }

  /** Gives memory back some time after much was waiting; returns ms until it must run again. */
  #tidy(now: number): number {
    const { queued, queuedBytes } = this.broker;
    if (queued >= LONG_QUEUE || queuedBytes >= LARGE_QUEUE || this.#front.blocked) {
      this.#tidyAt = now + TIDY_DELAY;
      return Infinity; // there will be a pass when it is shorter
    }
    if (now < this.#tidyAt) return this.#tidyAt - now; // Infinity, mostly
    this.#tidyAt = Infinity;
    this.#messages.shrink();
    this.broker.dropSpares();
    this.#context.trim();
    return Infinity;
  }

  /** Works by other bounds from now on. */
  configure(options: BrokerLimits & Pick<LoopOptions, Reloadable>): void {
    this.broker.configure(options);
    this.#errors.configure(options);
    // Replies have as much room as requests, but not the same: who takes none must not stop the others.
    this.#front.unreadBytes = unreadBytes(options);
    this.#cache.configure({ ttl: options.replyCacheTtl, bytes: options.replyCacheBytes });
  }

  /** Makes the loop run a pass now. */
  wake(): void {
    this.#again = true;
    this.#poller.wake();
  }

  /** Lets a worker finish what it has, and leave. */
  retire(number: number): void {
    const worker = this.#workers.get(number);
    if (worker === undefined) return;
    this.broker.retire(worker);
    this.#back.stop(worker);
    this.wake();
  }

  /** The place of an isolated worker is needed: it is ended now. */
  evict(number: number): void {
    const worker = this.#workers.get(number);
    if (worker !== undefined) this.broker.endIsolated(worker);
    this.wake();
  }

  /** A worker's process has ended, in service or not; what it said before may still be to be read. */
  processEnded(number: number, end: End): void {
    this.broker.processEnded(number, this.#workers.get(number), end, performance.now());
    this.wake();
  }

  /** A worker's process has ended: what it said before was read, and what it had goes back. */
  remove(number: number): void {
    const worker = this.#workers.get(number);
    if (worker !== undefined) this.#forget(worker, "died");
    this.wake();
  }

  /** Takes no more requests; those that wait are still served, or answered 503. */
  drain(waiting: "serve" | "refuse"): void {
    this.broker.close(waiting);
    this.wake();
  }

  /** Ends `run`. */
  stop(): void {
    this.#open = false;
    this.wake();
  }

  /**
   * Closes all at once, on this thread, for a program that ends or starts anew: `run` never returns then,
   * and replies that are on their way are lost.
   */
  abandon(): void {
    if (this.#closed) return;
    this.#open = false;
    this.#abandoned = this.#closed = true;
    this.#closeSockets(0);
    this.#context.terminateSync();
  }

  /** Closes the sockets after `run` has ended; replies are delivered for up to `linger` ms. */
  async close(linger: number): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#front.flush(performance.now());
    this.#closeSockets(linger);
    await this.#context.terminate();
  }

  #closeSockets(linger: number): void {
    // While the socket is open, no other file can get the number that this one is known by.
    this.#files.remove();
    this.#poller.close();
    this.#back.close();
    this.#front.close(linger);
    this.#door?.close();
  }

  /** Reads and sends all that can be now, up to a bound; true if there is more. */
  #pass(): boolean {
    for (let round = 0; round < ROUNDS; round++) {
      const read = this.#readBackend() + this.#readFrontend() + this.#readDoor();
      this.#answerEnded();
      this.#dispatch();
      if (this.#front.blocked) this.#front.flush(this.#now);
      if (read === 0) return false;
    }
    return true;
  }

  #readBackend(): number {
    const read = readSome(() => this.#back.read());
    for (const answer of this.#answers.splice(0)) this.#deliver(answer);
    return read;
  }

  #readFrontend(): number {
    const read = readSome(() => !this.broker.blocked && this.#front.read(this.#now));
    if (read > 0) this.#readAt = this.#now;
    return read;
  }

  #readDoor(): number {
    let read = 0;
    while (read < QUESTIONS && this.#door?.read()) read++;
    return read;
  }

  #judge(guard: Guard, request: ZapRequest): Verdict {
    const front = this.#front;
    const verdict = guard.judge(request, {
      now: this.#now,
      connections: front.connections(this.#now),
      speakers: front.speakers,
      isAttacked: front.squatters.isPresent,
      peers: () => front.peers(),
    });
    const isClient = request.domain === guard.frontend?.domain;
    if (isClient && verdict.outcome === "allowed") this.#front.expect(this.#now);
    return verdict;
  }

  #frontReadable(): boolean {
    // Asked in any case: news that nobody takes in would end each wait at once.
    return this.#front.socket.readable() && !this.broker.blocked;
  }

  #dispatch(): void {
    for (let next = this.broker.next(this.#now); next; next = this.broker.next(this.#now)) {
      this.#book?.sent(next.job, this.#now);
      const group = this.#groups.get(next.worker);
      if (next.worker.asked !== undefined) this.#ask(next);
      else if (group === undefined) this.#groups.set(next.worker, [next.job]);
      else group.push(next.job);
    }
    if (this.#groups.size > 0) this.#sendGroups();
    this.#answerEnded();
  }

  /** A suspect is sent once its worker has shown that it lives. */
  #ask({ worker, job }: Assignment<Frames>): void {
    if (this.#back.ask(worker) === "gone") this.#unsendable(worker, [job]);
  }

  #sendGroups(): void {
    for (const [worker, jobs] of this.#groups) {
      const sent = this.#back.send(worker, jobs, this.#now);
      if (sent < jobs.length) this.#unsendable(worker, jobs.slice(sent));
    }
    this.#groups.clear();
  }

  /** The worker has just gone; what it said before that is still to be read. */
  #unsendable(worker: Worker<Frames>, jobs: readonly Job<Frames>[]): void {
    for (const job of jobs.toReversed()) this.broker.giveBack(worker, job.id, this.#now);
    this.broker.retire(worker);
  }

  #answerEnded(): void {
    for (const { job, to, code, message, flags, last } of this.broker.takeEnded()) {
      for (const asker of to) this.#front.replyError(asker, code, message, this.#now, flags);
      if (code === Code.workerDied || code === Code.handlerTimeout) {
        this.#tellFailure(job, code, message, undefined, "");
      }
      if (this.#book !== undefined) {
        // Nobody may be left to answer, but somebody has asked.
        const out = message.length;
        this.#account(job, to.length > 0 ? to : [job], { code, out, micros: undefined });
      }
      if (!last) continue;
      this.#release(job.body);
      this.broker.recycle(job);
    }
  }

  /** Sends a worker's answer to all who wait for it. The frames are given away. */
  #deliver(answer: Answer): void {
    const { job, code, micros, frames, bytes } = answer;
    if (code !== Code.ok) return this.#deliverError(answer);
    if (this.#book !== undefined) {
      this.#account(job, [job, ...job.others], { code, out: bytes, micros });
    }
    if (job.key !== "") this.#keep(job.key, code, frames, bytes);
    for (const other of job.others) {
      this.#front.reply(other, code, this.#copy(frames), bytes, this.#now);
    }
    job.line.charge(job.bytes + bytes + FRAME_WEIGHT * frames.length);
    this.#front.reply(job, code, frames, bytes, this.#now);
    this.#release(job.body);
    this.broker.recycle(job);
  }

  /** The same of an error: the log gets all of it, each client what it may see. */
  #deliverError({ job, code, flags, micros, frames, worker }: Answer): void {
    const stack = this.#errors.takeStack(flags, frames);
    this.#release(frames.splice(1)); // a message is one frame, whatever a worker sends
    this.#account(job, [job, ...job.others], { code, out: bytesOf(frames), micros });
    if (code >= Code.handlerFailed) this.#tellFailure(job, code, textOf(frames), worker, stack);
    if (job.key !== "" && (flags & ReplyFlag.PRIVATE) === 0) {
      this.#keep(job.key, code, frames, bytesOf(frames));
    }
    for (const asker of [job, ...job.others]) {
      const shown = this.#errors.shows(flags, asker.client);
      const said = shown ? this.#copy(frames) : this.#errors.veil(job);
      this.#front.reply(asker, code, said, bytesOf(said), this.#now);
    }
    this.#release(frames);
    this.#release(job.body);
    this.broker.recycle(job);
  }

  #account(job: Job<Frames>, to: readonly Asker<Frames>[], outcome: Outcome): void {
    this.#book?.ended(job, to, outcome, this.#now);
  }

  #tellFailure(
    job: Job<Frames>,
    code: number,
    message: string,
    worker: number | undefined,
    stack: string,
  ): void {
    const attempt = attemptOf(job);
    const client = clientOf(job);
    this.#events.requestFailed({ job: job.id, worker, attempt, code, message, stack, client });
  }

  #keep(key: string, code: number, frames: Frames, bytes: number): void {
    if (!this.#cache.enabled || !isFinal(code)) return;
    const weight = bytes + FRAME_WEIGHT * frames.length;
    this.#cache.put(key, { code, body: this.#copy(frames), bytes, weight }, this.#now);
  }

  /** Frames that share their content with `frames`. */
  #copy(frames: Frames): Frames {
    return frames.map((frame) => {
      const copy = this.#messages.take();
      copy.copyFrom(frame);
      return copy;
    });
  }

  #request(client: Client<Frames>, request: Request): void {
    const { body, bytes, excess } = request;
    // Nobody gets another user's answer, whatever he calls his own request.
    if (request.key !== "") request.key = `${client.user}\0${request.key}`;
    request.requestTimeout = this.broker.timeLimit(request.requestTimeout);
    request.bytes += FRAME_WEIGHT * Math.max(0, body.length - 1);
    if (excess !== undefined) {
      this.broker.reject(client, { ...request, bytes: 0 }, Code.tooLarge, excess);
    } else if (this.#front.isStalled(client, this.#now)) {
      // What it has asked for before would be run for nothing, too.
      this.broker.refuseWaiting(client, STALLED);
      this.broker.refuse(client, { ...request, key: "" }, STALLED);
    } else if (request.key === "" || !this.#answerFromCache(client, request)) {
      // A job of the same key stands for this one too: its own body is not needed.
      const taken = this.broker.submit(client, request);
      if (taken.body !== body) this.#release(body);
      else this.#book?.arrived(taken, bytes, this.#now);
    }
  }

  #answerFromCache(client: Client<Frames>, request: NewJob<Frames>): boolean {
    const { key, envelope, requestId, body } = request;
    const kept = this.#cache.get(key, this.#now);
    if (kept === undefined) return false;
    this.broker.counters.requests++;
    this.broker.counters.cached++;
    const { code, bytes } = kept;
    const to = { client, envelope, requestId };
    this.#book?.cached(client, code, { in: bytesOf(body), out: bytes });
    this.#front.reply(to, code, this.#copy(kept.body), bytes, this.#now);
    this.#release(body);
    return true;
  }

  #cancel(running: Assignment<Frames> | undefined): void {
    if (running !== undefined) this.#back.cancel(running.worker, running.job.id, Code.cancelled);
  }

  /** Gives up workers whose handlers don't stop; what they have not begun, they must not begin. */
  #endOverruns(): void {
    for (const { worker, jobs, step } of this.broker.takeOverruns()) {
      for (const job of jobs) this.#cancel({ worker, job });
      if (step === "end") this.#events.overran(worker.id);
      else this.#isolated(worker);
    }
  }

  /** It shows that it is not stuck as a whole, or it is not there any more. */
  #isolated(worker: Worker<Frames>): void {
    this.#back.ask(worker);
    this.#events.isolated(worker.id);
  }

  /** Ends workers that answer later jobs and keep an earlier one: that one is never answered there. */
  #endLosers(now: number): void {
    if (!this.broker.inOrder) return;
    for (const worker of this.#order.look(this.broker.workers, now)) {
      const [job] = worker.jobs.keys();
      this.#losers++;
      this.#events.log("error", "a worker has lost a job and is replaced", {
        worker: worker.id,
        job: job ?? 0,
      });
      this.broker.retire(worker);
      this.#events.lost(worker.id);
    }
  }

  #backendEvents(): BackendEvents {
    return {
      admit: (token, routingId) => this.#admit(token, routingId),
      reply: (worker, reply, frames, bytes) => {
        const code = isReplyCode(reply.code) ? reply.code : this.#errors.replace(frames);
        const job = this.broker.settle(worker, reply.job, code, reply.micros, this.#now);
        if (job === undefined) this.#release(frames);
        else {
          const { micros } = reply;
          const flags = code === reply.code ? reply.flags : 0;
          this.#answers.push({ job, code, flags, micros, frames, bytes, worker: worker.id });
        }
      },
      alive: (worker) => {
        const job = this.broker.proven(worker, this.#now);
        if (job === undefined) return;
        if (this.#back.send(worker, [job], this.#now) === 0) this.#unsendable(worker, [job]);
      },
      returned: (worker, job) => this.broker.giveBack(worker, job, this.#now),
      retiring: (worker) => {
        this.broker.retire(worker);
        this.#events.leaving(worker.id);
      },
      gone: (worker, end) => {
        const asked = worker.state === "retiring";
        this.#forget(worker, end);
        if (end === "left") this.#events.left(worker.id);
        if (end === "died" && !asked) this.#events.lost(worker.id);
      },
      loaded: (token) => this.#events.loaded(token),
      failed: (token, message) => this.#events.failed(token, message),
      memory: (worker, bytes) => this.#events.memory(worker.id, bytes),
      wantsLog: (worker, bytes) => this.#events.wantsLine(worker.id, bytes),
      log: (worker, line) => this.#events.line(worker.id, line),
    };
  }

  #admit(token: string, routingId: Uint8Array<ArrayBuffer>): Worker<Frames> | undefined {
    const admission = this.#events.admit(token);
    if (admission === undefined) return undefined;
    const worker = this.broker.addWorker(admission.worker, routingId, this.#now);
    this.#workers.set(worker.id, worker);
    if (admission.leave) this.retire(worker.id);
    return worker;
  }

  #forget(worker: Worker<Frames>, end: "left" | "died"): void {
    if (end === "died" && worker.jobs.size > 0) this.#events.diedBusy(worker.id);
    this.broker.removeWorker(worker, end, this.#now);
    this.#back.forget(worker);
    this.#workers.delete(worker.id);
  }

  #release(frames: Frames): void {
    for (const frame of frames) this.#messages.release(frame);
  }

  /** Logs what peers did wrong, at most once a second; returns ms until it wants to again. */
  #report(): number {
    const counts = this.#wrongs;
    const news = WRONGS.filter(([name]) => counts[name] > this.#reported[name]);
    if (news.length === 0) return Infinity;
    if (this.#now < this.#reportAt) return this.#reportAt - this.#now;
    for (const [name, what] of news) {
      this.#events.log(
        "warn",
        `${counts[name] - this.#reported[name]} ${what}${this.#detail(name)}`,
      );
    }
    this.#reported = counts;
    this.#reportAt = this.#now + REPORT_INTERVAL;
    return Infinity;
  }

  get #wrongs(): Wrongs {
    const { malformed, undelivered } = this.#front;
    const { intruders } = this.#back;
    const { strayReplies } = this.broker.counters;
    const { denied, takeovers, squatters, invalidReplies } = this.counters;
    return {
      denied,
      takeovers,
      squatters,
      malformed,
      undelivered,
      intruders,
      strayReplies,
      invalidReplies,
    };
  }

  /** What else is to be said of a wrong: nobody else could tell why a client is denied. */
  #detail(wrong: keyof Wrongs): string {
    if (wrong === "takeovers") {
      const { identity, address } = this.#front.takeovers.last;
      return `: the last one was ${JSON.stringify(identity)}${address && `, from "${address}"`}`;
    }
    if (wrong !== "denied" || this.#door === undefined) return "";
    const { address, reason } = this.#door.lastRefusal;
    return `: the last one, from "${address}", as ${reason}`;
  }
}

/** Reads messages as long as there are some, up to a bound; how many. */
function readSome(read: () => boolean): number {
  const end = performance.now() + BATCH_TIME;
  let count = 0;
  while (count < BATCH && read()) {
    count++;
    if (count % LOOK_EVERY === 0 && performance.now() >= end) break;
  }
  return count;
}

/** What the two sockets have seen since the start. */
export interface SocketCounters {
  /** Clients known now. */
  clients: number;
  /** Messages that were no requests. */
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
}
