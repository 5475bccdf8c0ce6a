/**
 * Pairs waiting jobs with workers: a synchronous state machine that has no clock and no socket and sees
 * a body as an opaque handle. ports/loop.ts feeds it; the processes of workers are pool/'s.
 *
 *     submit ──→ waiting ──next──→ at a worker ──takeReply──→ ended
 *        │         ↑ │                 │  └─ cancel, disconnect ──→ aborted ──→ ended, once its worker says so
 *        │         └─┼─── giveBack, ───┘
 *        │           │    or its worker is gone
 *        └─ refused  └─ cancelled, expired, or its client is gone ──→ ended
 *
 * A job that ends in another way than by a worker's reply is answered by the broker itself: `takeEnded`. Each part
 * of the state has an owner in broker/: waiting.ts, shared_requests.ts and admission.ts before a job is sent;
 * dispatch.ts and roster.ts from there on; time_limits.ts, overruns.ts and deaths.ts where a worker is given up or
 * dies; endings.ts where a job ends or comes back.
 *
 * @module
 */

import { Admission } from "./broker/admission.ts";
import type { Row } from "./broker/by_age.ts";
import { type BrokerCounters, newCounters } from "./broker/counters.ts";
import { Deaths } from "./broker/deaths.ts";
import { type Assignment, Dispatch, type Explanation, type Reason } from "./broker/dispatch.ts";
import type { End } from "./broker/inquest.ts";
import {
  type Asker,
  askersOf,
  type Client,
  isFrom,
  type Job,
  type JobRequest,
  NAMELESS,
  newWorker,
  noteRequest,
  type Worker,
} from "./broker/job.ts";
import { JobNumbers, JobRecords } from "./broker/job_records.ts";
import type { BrokerLimits } from "./broker/limits.ts";
import { type Ended, Endings } from "./broker/endings.ts";
import { Meter } from "./broker/meter.ts";
import { type Overrun, Overruns } from "./broker/overruns.ts";
import { Roster } from "./broker/roster.ts";
import type { ServiceTimes } from "./broker/service_times.ts";
import { SharedRequests } from "./broker/shared_requests.ts";
import { StoredTurns } from "./broker/stored_turns.ts";
import { isSuspect } from "./broker/suspects.ts";
import { Starving } from "./broker/stream.ts";
import { TimeLimits } from "./broker/time_limits.ts";
import { Waiting } from "./broker/waiting.ts";
import { Code } from "./wire/request.ts";
import type { StreamCredit } from "./wire/credit.ts";

const alone = () => undefined;
/** A job costs its worker and this process at least so much, whatever its handler takes, ms. */
const MIN_HANDLER_MS = 0.02;
const CROWDED = "Too many requests wait for the same answer";

/** More of an answer in parts may be sent. */
export interface Grant<B> {
  worker: Worker<B>;
  job: Job<B>;
  credit: StreamCredit;
}

/** Which job goes to which worker, and when a job has ended. */
export class Broker<B> {
  #concurrency: number;
  /** What `next` has returned: one record for all. */
  #assignment: Assignment<B> | undefined;
  readonly #records: JobRecords<B>;
  /** The number of its service. */
  readonly #service: number;
  readonly #waiting = new Waiting<B>();
  readonly #shared: SharedRequests<B>;
  readonly #timeLimits: TimeLimits<B>;
  readonly #roster: Roster<B>;
  readonly #admission: Admission<B>;
  readonly #dispatch: Dispatch<B>;
  readonly #endings: Endings<B>;
  readonly #deaths: Deaths<B>;
  readonly #overruns: Overruns<B>;
  readonly #starving = new Starving();
  readonly #turns = new StoredTurns();
  /** Whether no worker ever ran several jobs at a time: each then ends its jobs in order. */
  inOrder = true;
  /** When a job was last given to a worker, ms. */
  lastJobAt = 0;
  /** What happened so far. */
  readonly counters: BrokerCounters = newCounters();
  /** The same for metrics, and how long jobs took. */
  readonly meter: Meter = new Meter();

  /**
   * Makes an empty broker.
   *
   * @param options `service`: the number of its service. `numbers`: those of its jobs, which it shares with other
   * brokers. `wakeTime`, how long a sleeping worker takes to wake up, ms, is for tests.
   */
  constructor(
    limits: BrokerLimits,
    { service = NAMELESS, numbers = new JobNumbers(), wakeTime }: {
      service?: number;
      numbers?: JobNumbers;
      wakeTime?: number;
    } = {},
  ) {
    const { counters } = this;
    this.#service = service;
    this.#records = new JobRecords(numbers);
    const waiting = this.#waiting;
    const shared = this.#shared = new SharedRequests(limits, waiting);
    const timeLimits = this.#timeLimits = new TimeLimits(limits);
    const starving = this.#starving;
    const roster = this.#roster = new Roster(timeLimits, starving);
    const admission = this.#admission = new Admission(limits, waiting, roster, starving);
    const endings = this.#endings = new Endings(admission, waiting, shared, counters);
    this.#dispatch = new Dispatch(limits, roster, wakeTime);
    this.#deaths = new Deaths(limits, waiting, endings, counters);
    this.#overruns = new Overruns(limits, timeLimits, roster, endings, counters);
    this.#concurrency = limits.concurrency;
    this.inOrder = limits.concurrency === 1;
    this.#turns.configure(limits);
  }

  /** Applies other limits from now on. */
  configure(limits: BrokerLimits): void {
    this.#concurrency = limits.concurrency;
    this.inOrder &&= limits.concurrency === 1;
    this.#shared.configure(limits);
    this.#timeLimits.configure(limits);
    this.#admission.configure(limits);
    this.#dispatch.configure(limits);
    this.#deaths.configure(limits);
    this.#overruns.configure(limits);
    this.#turns.configure(limits);
  }

  // A request comes

  /** How long a handler may run, ms, if it was asked to take a maximum of `asked`; 0: it was not asked. */
  timeLimit(asked: number): number {
    return this.#timeLimits.limitOf(asked);
  }

  /**
   * Takes a request in that has come at `now`: it waits, or it is refused, which `takeEnded` tells. If a job of the
   * same key is alive, that one is returned, and answers both.
   */
  submit(request: JobRequest<B>, now = 0): Job<B> {
    const alike = this.#shared.find(request.key);
    if (alike !== undefined && this.#shared.hasRoom(alike)) return this.#join(alike, request);
    const job = this.#newJob(request);
    job.arrivedAt = now;
    if (alike === undefined && !this.#admission.isOpen) this.#endings.turnAway(job);
    else {
      const refusal = alike === undefined ? this.#admission.refusal(request.client) : CROWDED;
      if (refusal === undefined) this.#enqueue(job);
      else this.#endings.refuse(job, refusal);
    }
    return job;
  }

  /**
   * Takes in a try of a stored job: it waits, behind requests, for the share of the workers that such jobs have. No
   * bound of the queue holds for it, as the store sends no more than it was asked for.
   */
  submitStored(request: JobRequest<B>, now: number): Job<B> {
    const job = this.#newJob(request);
    job.arrivedAt = now;
    if (this.#admission.isOpen) this.#waiting.add(job);
    else this.#endings.turnAway(job);
    return job;
  }

  /** Takes a request in only to answer it with an error at once. */
  reject(request: JobRequest<B>, code: number, message: string): void {
    this.counters.rejected++;
    this.#endings.answer(this.#newJob(request), code, message);
  }

  /** Takes a request in only to answer it 503. */
  refuse(request: JobRequest<B>, message: string): void {
    this.#endings.refuse(this.#newJob(request), message);
  }

  #newJob(request: JobRequest<B>): Job<B> {
    this.counters.requests++;
    const job = this.#records.take(request);
    noteRequest(job, request);
    return job;
  }

  #enqueue(job: Job<B>): void {
    this.#shared.offer(job);
    this.#waiting.add(job);
  }

  #join(job: Job<B>, request: JobRequest<B>): Job<B> {
    this.counters.requests++;
    this.counters.joined++;
    this.#shared.join(job, request);
    return job;
  }

  // A job goes to a worker

  /** The next job to send, now assigned to the worker that comes with it. The record is valid until the next call. */
  next(now: number): Assignment<B> | undefined {
    if (!this.#admission.isServing || this.#admission.isPaused) return undefined;
    const suspect = this.#nextSuspect(now);
    if (suspect !== undefined) return suspect;
    if (this.#waiting.stored > 0) {
      const stored = this.#nextStored(now);
      if (stored !== undefined) return stored;
    }
    return this.#nextRequest(now);
  }

  #nextRequest(now: number): Assignment<B> | undefined {
    while (this.#waiting.queued > 0) {
      const worker = this.#dispatch.choose(now);
      if (worker === undefined) return undefined;
      const job = this.#waiting.shift();
      if (job === undefined) return undefined;
      if (job.deadline > now) {
        if (this.#waiting.stored > 0) this.#turns.passed();
        return this.#assign(job, worker, this.#dispatch.reason, now);
      }
      this.#endings.expire(job);
    }
    return undefined;
  }

  /** The next try of a stored job, if it has its turn, and a worker within its share. */
  #nextStored(now: number): Assignment<B> | undefined {
    if (!this.#turns.isDue(this.#waiting.queued)) return undefined;
    const worker = this.#workerForStored(now);
    const job = worker && this.#waiting.shiftStored();
    if (worker === undefined || job === undefined) return undefined;
    this.#turns.took();
    return this.#assign(job, worker, this.#dispatch.reason, now);
  }

  #workerForStored(now: number): Worker<B> | undefined {
    const { withStored, workers } = this.#roster;
    const hasRoom = withStored.size < this.#turns.most(workers.size);
    return hasRoom ? this.#dispatch.choose(now) : this.#dispatch.chooseAmong(withStored, now);
  }

  /**
   * How many tries of stored jobs would be started within `aheadMs`, from those that it has taken in on: what the
   * share has room for at once, and what is done by then if handlers take as long as they did.
   */
  storedRoom(aheadMs: number, most: number): number {
    if (!this.#admission.isOpen || this.#admission.isPaused) return 0;
    const { workers } = this.#roster;
    if (workers.size === 0) return 0;
    const slots = Math.min(this.#turns.most(workers.size), workers.size) * this.#concurrency;
    const { mean } = this.#dispatch.times;
    const ahead = mean === undefined ? 1 : aheadMs / Math.max(mean, MIN_HANDLER_MS);
    return Math.min(most, slots + Math.floor(slots * ahead));
  }

  /** The next suspect gets an idle worker; where there is none, one is kept until it is. */
  #nextSuspect(now: number): Assignment<B> | undefined {
    for (let job = this.#waiting.nextSuspect(); job; job = this.#waiting.nextSuspect()) {
      const worker = this.#roster.newest(0);
      if (worker === undefined) {
        this.#roster.keepOne();
        return undefined;
      }
      this.#waiting.remove(job);
      if (job.deadline > now) return this.#assign(job, worker, "alone", now);
      this.#endings.expire(job);
    }
    this.#roster.keepNone();
    return undefined;
  }

  /** What an assignment that was just made was based on, for the log. */
  explain(assignment: Assignment<B>): Explanation {
    return this.#dispatch.explain(assignment, this.queued);
  }

  #assign(job: Job<B>, worker: Worker<B>, reason: Reason, now: number): Assignment<B> {
    const isAlone = isSuspect(job);
    job.running = worker.jobs.size < this.#concurrency && !isAlone;
    job.startedAt = now;
    this.meter.assigned(job);
    job.sentAt = now;
    this.#roster.assign(job, worker, isAlone ? "alone" : "any", now);
    if (isAlone) worker.unsent = job;
    this.lastJobAt = now;
    const assignment = this.#assignment ??= { job, worker, reason };
    assignment.job = job;
    assignment.worker = worker;
    assignment.reason = reason;
    return assignment;
  }

  // A worker answers

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
    this.#roster.unassign(job, worker, now);
    worker.progressAt = now;
    if (job.state === "aborted") {
      this.#endings.cancel(job);
      return undefined;
    }
    this.#dispatch.learn(worker, micros);
    this.meter.answered(job, micros, now);
    this.counters.answered++;
    if (code !== Code.ok) this.counters.failed++;
    this.#endings.finish(job);
    return job;
  }

  /**
   * A worker's part of an answer, of so many bytes: the job, whose asker gets it; undefined: nobody does. A worker
   * that sends parts of what it has not, or that nobody takes, is not believed: a job that it has ends.
   */
  takePart(worker: Worker<B>, id: number, bytes: number, now: number): Job<B> | undefined {
    const job = worker.jobs.get(id);
    if (job === undefined) {
      if (worker.isolation === undefined) this.counters.strayReplies++;
      return undefined;
    }
    worker.progressAt = now;
    if (job.state === "aborted") return undefined;
    // What was not sent yet can't be answered.
    if (worker.unsent === job || !job.stream?.take(bytes)) {
      this.counters.strayReplies++;
      this.counters.answered++;
      this.counters.failed++;
      this.#roster.unassign(job, worker, now);
      this.#endings.disbelieve(job);
      return undefined;
    }
    if (!job.running) job.startedAt = now;
    job.running = job.begun = true;
    this.#starving.look(job);
    return job;
  }

  /** A worker says how far a job is: the job, whose asker wants to know; undefined: nobody does. */
  takeProgress(worker: Worker<B>, id: number): Job<B> | undefined {
    const job = worker.jobs.get(id);
    if (job === undefined) {
      if (worker.isolation === undefined) this.counters.strayReplies++;
      return undefined;
    }
    // Those who have joined have not said that they want to know.
    const isWanted = job.stream !== undefined && job.state === "assigned" &&
      job.asker === job.request;
    return isWanted ? job : undefined;
  }

  /** A part can't be brought to its client: nobody wants the rest; returns the job, to be cancelled at its worker. */
  loseAsker(job: Job<B>, now: number): Job<B> {
    this.counters.abandoned++;
    return this.#abort(job, now);
  }

  /** A worker gives a job back that it has not started. */
  giveBack(worker: Worker<B>, id: number, now: number): void {
    const job = worker.jobs.get(id);
    if (job === undefined) {
      this.counters.strayReplies++;
      return;
    }
    this.#roster.unassign(job, worker, now);
    this.#endings.putBack(job);
  }

  /** A worker has shown that it lives: the job that it was to get once it does. */
  proven(worker: Worker<B>, now: number): Job<B> | undefined {
    this.#timeLimits.proven(worker);
    const job = worker.unsent;
    if (job === undefined) return undefined;
    worker.unsent = undefined;
    if (job.state === "aborted") {
      this.#roster.unassign(job, worker, now);
      this.#endings.cancel(job);
      return undefined;
    }
    job.running = true;
    job.startedAt = worker.progressAt = now;
    return job;
  }

  // A client wants no answer any more

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
    const asker = job && askersOf(job).find((one) => isFrom(one, client, requestId, envelope));
    if (job === undefined || asker === undefined || job.state === "aborted") return undefined;
    this.counters.cancelled++;
    if (job.others.length > 0) {
      this.#shared.leave(job, asker);
      this.#endings.cancelFor(asker, job);
      return undefined;
    }
    if (job.state === "assigned") return this.#abort(job, now);
    this.#waiting.remove(job);
    this.#endings.cancel(job);
    return undefined;
  }

  /** A client takes more of an answer in parts: what its worker is to be told of that, if it has the job. */
  grant(
    client: Client<B>,
    requestId: number,
    envelope: Asker<B>["envelope"],
    credit: StreamCredit,
  ): Grant<B> | undefined {
    const job = client.asked.get(requestId);
    if (job?.stream === undefined || !isFrom(job.asker, client, requestId, envelope)) {
      return undefined;
    }
    const more = job.stream.credit.grant(credit);
    const { worker } = job;
    if (worker === undefined || job.state !== "assigned") return undefined;
    this.#starving.look(job);
    // A job that is not sent yet takes its credit along.
    const isTold = worker.unsent !== job && (more.bytes > 0 || more.parts > 0);
    return isTold ? { worker, job, credit: more } : undefined;
  }

  /** A client is gone: its waiting jobs end; returns those that workers have, to be cancelled there. */
  disconnect(client: Client<B>, now: number): Job<B>[] {
    client.peer.connected = false;
    if (client.live === 0) return [];
    this.counters.abandoned += this.#shared.leaveAll(client);
    for (const job of this.#waiting.of(client)) {
      this.counters.abandoned++;
      this.#waiting.remove(job);
      this.#endings.cancel(job);
    }
    if (client.live === 0) return [];
    const running = this.#roster.jobsOf(client).filter(({ state }) => state !== "aborted");
    this.counters.abandoned += running.length;
    for (const job of running) this.#abort(job, now);
    return running;
  }

  /** Answers 503 what a client has waiting, but for what others wait for too. */
  refuseWaiting(client: Client<B>, message: string): void {
    for (const job of this.#waiting.inLineOf(client)) {
      if (job.others.length > 0) continue;
      this.#waiting.remove(job);
      this.#endings.refuse(job, message);
    }
  }

  /** The job of a number that has not ended. Looks at all that wait: for a person, and not for each request. */
  find(id: number): Job<B> | undefined {
    for (const { jobs } of this.#roster.workers) {
      const job = jobs.get(id);
      if (job !== undefined) return job;
    }
    return this.#waiting.find(id);
  }

  /**
   * Ends a job, found just now, as if all who wait for it had given up: they are answered 499. Returns it if a worker
   * has it, to be cancelled there.
   */
  release(job: Job<B>, now: number): Job<B> | undefined {
    if (job.state === "aborted") return undefined;
    this.counters.cancelled += askersOf(job).length;
    if (job.state === "assigned") {
      this.#endings.release(job);
      return this.#abort(job, now);
    }
    this.#waiting.remove(job);
    this.#endings.cancel(job);
    return undefined;
  }

  /** Nobody wants a job that a worker has. */
  #abort(job: Job<B>, now: number): Job<B> {
    this.#timeLimits.aborted(job, now);
    this.#starving.forget(job);
    this.#shared.withdraw(job);
    return job;
  }

  // A worker comes and goes

  /** A worker that is ready for jobs; `most`: how many it has at a time. */
  addWorker(id: number, now: number, most: "many" | "one" = "many"): Worker<B> {
    const worker = newWorker<B>(id, now, this.#service, most);
    this.#roster.add(worker);
    return worker;
  }

  /** Gives a worker no more jobs; it keeps those that it has. */
  retire(worker: Worker<B>): void {
    this.#roster.retire(worker);
  }

  /**
   * A worker is gone. If it left in order, its jobs go back to the front of the queue. If it died, they
   * are held until it is known what of: see broker/inquest.ts and broker/suspects.ts.
   */
  removeWorker(worker: Worker<B>, end: "left" | "died", now: number): void {
    if (worker.state === "gone") return;
    this.#timeLimits.forget(worker);
    // A suspect that was not sent yet has not ended it.
    const wasIdle = worker.unsent !== undefined;
    const jobs = this.#roster.remove(worker);
    if (end === "died" && !wasIdle) return this.#deaths.died(worker, jobs, now);
    for (const job of jobs.toReversed()) this.#endings.putBack(job);
  }

  /** The process of a worker, in service or not, has ended; its connection may not have yet. */
  processEnded(id: number, worker: Worker<B> | undefined, end: End, now: number): void {
    if (worker !== undefined) worker.end = end;
    this.#deaths.processEnded(id, end, now);
  }

  /** An isolated worker is ended now: its place is needed. */
  endIsolated(worker: Worker<B>): void {
    this.#overruns.endIsolated(worker);
  }

  // Time passes, and the server ends

  /** Does what is due at `now`; returns ms until it must run again. */
  tick(now: number): number {
    const verdict = this.#deaths.judge(now);
    for (const job of this.#waiting.takeExpired(now)) this.#endings.expire(job);
    const expiry = this.#waiting.wait(now);
    const check = this.#overruns.tick(now);
    const ending = this.#dispatch.endingIn(this.#startable(this.#waiting.queued), now);
    return Math.min(verdict, expiry, check, ending);
  }

  /** Starts no job before `resume`: those that come wait, within the bounds, and those that workers have end. */
  pause(): void {
    this.#admission.pause();
  }

  /** Starts jobs again. */
  resume(): void {
    this.#admission.resume();
  }

  /** Whether no job is started before `resume`. The end of service ends a pause, too. */
  get isPaused(): boolean {
    return this.#admission.isPaused;
  }

  /** Of jobs that wait, how many a worker may get. */
  #startable(jobs: number): number {
    return this.isPaused ? 0 : jobs;
  }

  /** Takes no more requests; those that wait are still served, or answered 503. */
  drain(waiting: "serve" | "refuse"): void {
    this.#admission.drain(waiting);
    if (waiting === "serve") return;
    for (const job of this.#waiting) {
      this.#waiting.remove(job);
      this.#endings.turnAway(job);
    }
  }

  /** Answers all that waits with an error: nobody will ever serve it. */
  rejectWaiting(code: number, message: string): void {
    for (const job of this.#waiting) {
      this.counters.rejected++;
      this.#waiting.remove(job);
      this.#endings.answer(job, code, message);
    }
  }

  // What the loop fetches, and what others read

  /** The answers that the broker itself has given since the last call. */
  takeEnded(): readonly Ended<B>[] {
    return this.#endings.take();
  }

  /** The workers that are to be isolated or ended since the last call, because their handlers don't stop. */
  takeOverruns(): readonly Overrun<B>[] {
    return this.#overruns.take();
  }

  /** A job has ended and was answered: nobody reads its record any more. */
  recycle(job: Job<B>): void {
    this.#records.putBack(job);
  }

  /** Forgets the records that are not needed now. */
  dropSpares(): void {
    this.#records.drop();
  }

  /** Jobs waiting for a worker. */
  get queued(): number {
    return this.#waiting.size;
  }

  /** Their bytes. */
  get queuedBytes(): number {
    return this.#waiting.bytes;
  }

  /** Bytes of tries of stored jobs that wait for a worker. */
  get storedBytes(): number {
    return this.#waiting.storedBytes;
  }

  /** When the job came that has waited for longest, ms; undefined: none waits. */
  get oldestArrival(): number | undefined {
    return this.#waiting.oldestArrival;
  }

  /** Jobs that workers have. */
  get assigned(): number {
    return this.#roster.jobs;
  }

  /** Whether no job is left. */
  get idle(): boolean {
    return this.queued === 0 && this.assigned === 0;
  }

  /** Every worker that is not gone. */
  get workers(): ReadonlySet<Worker<B>> {
    return this.#roster.workers;
  }

  /** How long the handler takes. */
  get times(): Readonly<Pick<ServiceTimes, "mean" | "tail">> {
    return this.#dispatch.times;
  }

  /** Whether the queue is at one of its bounds. */
  get full(): boolean {
    return this.#admission.isFull;
  }

  /** Whether the frontend should not be read now. */
  get blocked(): boolean {
    return this.#admission.isBlocked;
  }

  /** For how many more requests there is room before that is so; Infinity: it never is. */
  get room(): number {
    return this.#admission.room;
  }

  /** Whether the queue is at twice one of its bounds. */
  get overfull(): boolean {
    return this.#admission.isOverfull;
  }

  /** Since when a worker has been free, or as good as free, ms; undefined while it is not: see broker/dispatch.ts. */
  spareSince(worker: Worker<B>, now: number): number | undefined {
    return this.#dispatch.spareSince(worker, this.#startable(this.#waiting.queued), now);
  }

  /** The jobs that wait, and those that workers have, in rows by age. */
  rows(state: "waiting" | "running"): Row<Job<B>>[] {
    if (state === "waiting") return this.#waiting.rows;
    const rows: Row<Job<B>>[] = [];
    for (const { jobs } of this.#roster.workers) {
      for (const first of jobs.values()) rows.push({ first, next: alone });
    }
    return rows;
  }

  /** When a worker started a job that it has, ms; undefined: it is not known to have. */
  startedAt(job: Job<B>): number | undefined {
    const { worker } = job;
    if (worker === undefined || worker.unsent === job) return undefined;
    if (job.running) return job.startedAt;
    // One that runs its jobs in turn has started this one when it ended the one before.
    const isNext = this.#concurrency === 1 && worker.jobs.first === job;
    return isNext ? Math.max(job.startedAt, worker.progressAt) : undefined;
  }
}
