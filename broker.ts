/**
 * Pairs waiting jobs with workers: a synchronous state machine that has no clock and no socket and sees
 * a body as an opaque handle. What feeds it is ports/loop.ts; processes are pool/'s.
 *
 * @module
 */

import { type End, Inquest, type Verdict } from "./broker/inquest.ts";
import {
  type Asker,
  askersOf,
  type Client,
  type Job,
  type JobRequest,
  newJob,
  newWorker,
  renewJob,
  type Worker,
} from "./broker/job.ts";
import { FairQueue } from "./broker/fair_queue.ts";
import { List } from "./broker/list.ts";
import { ServiceTimes } from "./broker/service_times.ts";
import { blame, isHopeless, isSuspect, Suspects, triesOf } from "./broker/suspects.ts";
import { Code, StatusFlag } from "./wire/request.ts";

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
  submit(request: JobRequest<B>): Job<B> {
    const { client } = request;
    const alike = request.key === "" ? undefined : this.#keyed.get(request.key);
    if (alike !== undefined && this.#mayJoin(alike)) return this.#join(alike, request);
    const job = this.#newJob(request);
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
  reject(request: JobRequest<B>, code: number, message: string): void {
    this.counters.rejected++;
    this.#answer(this.#newJob(request), code, message);
  }

  /** Takes a request in only to answer it 503. */
  refuse(request: JobRequest<B>, message: string): void {
    this.#refuse(this.#newJob(request), message);
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
    const { isolation, unsent: job } = worker;
    if (isolation !== undefined) isolation.until = isolation.since + this.#limits.stopTimeout;
    if (job === undefined) return undefined;
    worker.unsent = undefined;
    if (job.state === "aborted") {
      this.#unassign(worker, job, now);
      this.#endAborted(job);
      return undefined;
    }
    job.running = true;
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

  /** A worker's reply: the job that it ends, or undefined if it had no such job or nobody wants it. */
  takeReply(
    worker: Worker<B>,
    id: number,
    code: number,
    micros: number,
    now: number,
  ): Job<B> | undefined {
    const job = worker.jobs.get(id);
    if (job === undefined) {
      // An isolated worker may yet end what was answered for it.
      if (worker.isolation === undefined) this.counters.strayReplies++;
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
    this.#finish(job);
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
    const worker = newWorker<B>(id, routingId, now);
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
    this.#endIsolation(worker);
    const unsent = worker.unsent !== undefined;
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

  #sentence({ jobs, known }: Estate<B>, verdict: Verdict): void {
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
   * A client takes a request back: a job that waits ends, one that a worker has is returned, to be
   * cancelled there. Unknown requests, and those that others wait for too, change nothing.
   */
  cancel(
    client: Client<B>,
    requestId: number,
    envelope: Asker<B>["envelope"],
    now: number,
  ): Job<B> | undefined {
    const job = client.asked.get(requestId);
    const asker = job && askersOf(job).find((asker) => isFrom(asker, client, requestId, envelope));
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
      this.#abort(job, now);
      return job;
    }
    return undefined;
  }

  /** A client is gone: its waiting jobs end; returns those that workers have, to be cancelled there. */
  disconnect(client: Client<B>, now: number): Job<B>[] {
    client.connected = false;
    if (client.live === 0) return [];
    for (const job of this.#shared) this.#leaveShared(job, client);
    for (const job of this.#waitingOf(client)) {
      this.counters.abandoned++;
      this.#unqueue(job);
      this.#answer(job, CANCELLED.code, CANCELLED.message);
    }
    const running: Job<B>[] = [];
    for (const { jobs } of this.#workers) {
      for (const job of jobs.values()) {
        if (job.asker.client !== client || job.state === "aborted") continue;
        this.counters.abandoned++;
        this.#abort(job, now);
        running.push(job);
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
    for (const job of this.#suspects) if (job.asker.client === client) yield job;
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
  drain(waiting: "serve" | "refuse"): void {
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
      if (job.running) job.startedAt += forgiven;
      else if (left > 0) {
        job.running = true;
        job.startedAt = now;
      }
      left--;
      job.abortedAt += forgiven;
      if (late === undefined && now >= this.#overrunAt(job)) late = job;
    }
    return late;
  }

  /** When the worker of a job is given up for it, ms. */
  #overrunAt({ running, startedAt, state, abortedAt, request }: Job<B>): number {
    const { abortGrace } = this.#limits;
    const cancelledAt = state === "aborted" ? abortedAt : Infinity;
    if (!running) return cancelledAt + abortGrace;
    const stopAt = Math.min(startedAt + request.requestTimeout, Math.max(startedAt, cancelledAt));
    return stopAt + abortGrace;
  }

  /**
   * A handler does not stop: its job is answered, what waits behind it goes back. If others run beside it,
   * its worker is isolated: they may end first.
   */
  #overrun(worker: Worker<B>, job: Job<B>, now: number): void {
    this.retire(worker);
    this.#unassign(worker, job, now);
    // One that only waited was not even given back: the whole worker is stuck.
    const stuck = !job.running;
    this.#endStubborn(job);
    if (stuck || ![...worker.jobs.values()].some(isRunning)) return this.#endWorker(worker);
    if (worker.isolation === undefined) this.#isolate(worker, now);
  }

  /** What runs may end, if the worker shows in time that not all of it is stuck. */
  #isolate(worker: Worker<B>, now: number): void {
    const { abortGrace, stopTimeout } = this.#limits;
    worker.isolation = { since: now, until: now + Math.min(abortGrace, stopTimeout) };
    this.#beginWatch(now);
    const jobs = [...worker.jobs.values()].filter(({ running }) => !running);
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
    const limit = `The handler ran past its limit of ${job.request.requestTimeout} ms`;
    this.#answer(job, Code.handlerTimeout, limit);
  }

  /** Whether an isolated worker has run out of time, or of jobs that anybody waits for. */
  #isOver(worker: Worker<B>, now: number): boolean {
    if (worker.isolation === undefined) return false;
    return now >= worker.isolation.until || ![...worker.jobs.values()].some(isRunning);
  }

  /** A worker is to be ended for a handler that does not stop; an isolated one's place is needed, perhaps. */
  endIsolated(worker: Worker<B>): void {
    if (worker.isolation !== undefined) this.#endWorker(worker);
  }

  /** What still runs in it has its next try alone, where nobody else's job can end its worker. */
  #endWorker(worker: Worker<B>): void {
    this.#endIsolation(worker);
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

  #newJob(request: JobRequest<B>): Job<B> {
    const { client, requestId } = request;
    this.counters.requests++;
    client.live++;
    const spare = this.#spare.pop();
    const id = ++this.#lastId;
    const job = spare === undefined ? newJob(id, request) : renewJob(spare, id, request);
    if (requestId !== undefined) client.asked.set(requestId, job);
    return job;
  }

  #enqueue(job: Job<B>): void {
    if (job.request.key !== "") this.#keyed.set(job.request.key, job);
    if (job.deadline !== Infinity) this.#withDeadline++;
    this.#queue.push(job);
  }

  /** Requests that join others are no jobs in the queue, so they are bounded apart. */
  #mayJoin(job: Job<B>): boolean {
    return job.others.length < MAX_JOINED && this.#others < this.#limits.queueLimit;
  }

  /** One more client waits for the answer to a job. */
  #join(job: Job<B>, request: JobRequest<B>): Job<B> {
    const { client, envelope, requestId, deadline } = request;
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
    const all = askersOf(job);
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
    forget(job, asker);
    this.#keepFor(job, askersOf(job).filter((other) => other !== asker));
    return asker;
  }

  /** Only these still wait for a job; if its own client is not one of them, the first takes its place. */
  #keepFor(job: Job<B>, [first, ...others]: readonly Asker<B>[]): void {
    this.#others -= job.others.length - others.length;
    job.others = others;
    if (first !== job.asker && first !== undefined) {
      const inLine = job.state === "queued" && job.shelf === undefined;
      if (inLine) this.#queue.remove(job);
      job.asker = first;
      job.line = first.client.line;
      if (inLine) this.#queue.push(job);
    }
    if (others.length === 0) this.#shared.delete(job);
  }

  /** Nobody wants a job that a worker has. */
  #abort(job: Job<B>, now: number): void {
    if (job.request.requestTimeout === Infinity) this.#beginWatch(now);
    job.state = "aborted";
    job.abortedAt = now;
    if (job.request.key !== "") this.#keyed.delete(job.request.key);
  }

  #beginWatch(now: number): void {
    if (this.#watched++ === 0) this.#watchAt = now + WATCH_INTERVAL;
  }

  #endWatch(job: Job<B>): void {
    if (job.request.requestTimeout !== Infinity || job.state === "aborted") this.#watched--;
  }

  #endIsolation(worker: Worker<B>): void {
    if (worker.isolation !== undefined) this.#watched--;
    worker.isolation = undefined;
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
    job.running = worker.jobs.size < this.#limits.concurrency && !suspect;
    job.startedAt = now;
    if (job.request.requestTimeout !== Infinity) this.#beginWatch(now);
    worker.jobs.set(job.id, job);
    worker.alone = suspect;
    if (suspect) worker.unsent = job;
    this.#assigned++;
    this.#assignedBytes += job.bytes;
    this.#place(worker);
    job.state = "assigned";
    job.worker = worker;
    this.lastJobAt = now;
    return { job, worker };
  }

  #unassign(worker: Worker<B>, job: Job<B>, now: number): void {
    this.#unplace(worker);
    worker.jobs.delete(job.id);
    job.worker = undefined;
    if (worker === this.#kept && worker.jobs.size === 0) this.#kept = undefined;
    worker.alone = worker === this.#kept;
    worker.unsent = undefined;
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
    worker.unsent = undefined;
    this.#assigned -= jobs.length;
    for (const job of jobs) {
      job.worker = undefined;
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
    this.#finish(job);
    const to = askersOf(job).filter(({ client }) => client.connected);
    this.#ended.push({ job, to, code, message, flags, last: true });
  }

  /** The end of a job. */
  #finish(job: Job<B>): void {
    job.state = "ended";
    this.#suspects.endTurn(job);
    const { key } = job.request;
    if (key !== "" && this.#keyed.get(key) === job) this.#keyed.delete(key);
    forget(job, job.asker);
    for (const other of job.others) forget(job, other);
    this.#others -= job.others.length;
    if (job.others.length > 0) this.#shared.delete(job);
  }
}

const NONE: readonly never[] = [];
const NO_FLAGS = 0;
const CANCELLED = { code: Code.cancelled, message: "The request was cancelled" };

/** Whether a worker has begun a job that somebody waits for. */
function isRunning<B>({ state, running }: Job<B>): boolean {
  return state === "assigned" && running;
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
