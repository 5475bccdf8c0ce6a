/**
 * Pairs waiting jobs with workers: a synchronous state machine that has no clock and no socket and sees
 * a body as an opaque handle. ports/loop.ts feeds it; the processes of workers are pool/'s.
 *
 *     submit ──→ waiting ──next──→ at a worker ──takeReply──→ ended
 *        │         ↑ │                 │  └─ cancelled, or its client is gone ──→ aborted ──→ ended, once its
 *        │         └─┼─── given back,──┘                                                      worker says so
 *        │           │    or its worker is gone
 *        └─ refused  └─ cancelled, expired, or its client is gone ──→ ended
 *
 * Here is the way of a job that ends by its worker's reply. The other ways are in broker/: cancellations.ts has what
 * clients want no more, parts.ts answers in parts, workforce.ts what is left by workers that go, overruns.ts and
 * deaths.ts what becomes of the jobs of those that are given up or die. A job that ends so is answered by the broker
 * itself: `takeEnded`. Before a job is sent, waiting.ts, shared_requests.ts and admission.ts own its state, and
 * roster.ts, time_limits.ts and stream.ts from there on; dispatch.ts chooses its worker, endings.ts ends it.
 *
 * @module
 */

import { Admission } from "./broker/admission.ts";
import { Cancellations } from "./broker/cancellations.ts";
import { type BrokerCounters, newCounters } from "./broker/counters.ts";
import { Deaths } from "./broker/deaths.ts";
import { type Assignment, Dispatch, type Explanation, type Reason } from "./broker/dispatch.ts";
import { type Ended, Endings } from "./broker/endings.ts";
import { type Job, type JobRequest, NAMELESS, noteRequest, type Worker } from "./broker/job.ts";
import { JobNumbers, JobRecords } from "./broker/job_records.ts";
import type { BrokerLimits } from "./broker/limits.ts";
import { Meter } from "./broker/meter.ts";
import { type Overrun, Overruns } from "./broker/overruns.ts";
import { Overview } from "./broker/overview.ts";
import { Parts } from "./broker/parts.ts";
import { Roster } from "./broker/roster.ts";
import type { ServiceTimes } from "./broker/service_times.ts";
import { SharedRequests } from "./broker/shared_requests.ts";
import { StoredShare } from "./broker/stored_share.ts";
import { StoredTurns } from "./broker/stored_turns.ts";
import { Starving } from "./broker/stream.ts";
import { isSuspect } from "./broker/suspects.ts";
import { TimeLimits } from "./broker/time_limits.ts";
import { Waiting } from "./broker/waiting.ts";
import { Workforce } from "./broker/workforce.ts";
import { Code } from "./wire/request.ts";

const CROWDED = "Too many requests wait for the same answer";

/** Which job goes to which worker, and when a job has ended. */
export class Broker<B> {
  #concurrency: number;
  /** What `next` has returned: one record for all. */
  #assignment: Assignment<B> | undefined;
  readonly #records: JobRecords<B>;
  readonly #waiting = new Waiting<B>();
  readonly #shared: SharedRequests<B>;
  readonly #timeLimits: TimeLimits<B>;
  readonly #roster: Roster<B>;
  readonly #admission: Admission<B>;
  readonly #dispatch: Dispatch<B>;
  readonly #endings: Endings<B>;
  readonly #deaths: Deaths<B>;
  readonly #overruns: Overruns<B>;
  readonly #turns = new StoredTurns();
  /** Whether there is room for more. */
  readonly admission: Pick<Admission<B>, "isFull" | "isBlocked" | "isOverfull" | "room">;
  /** Workers come and go. */
  readonly workforce: Workforce<B>;
  /** Answers are wanted no more. */
  readonly cancellations: Cancellations<B>;
  /** Answers come in parts. */
  readonly parts: Parts<B>;
  /** What stored jobs get of the workers. */
  readonly stored: StoredShare<B>;
  /** The jobs, for those who look. */
  readonly overview: Overview<B>;
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
    this.#records = new JobRecords(numbers);
    const waiting = this.#waiting;
    const starving = new Starving();
    const shared = this.#shared = new SharedRequests(limits, waiting);
    const timeLimits = this.#timeLimits = new TimeLimits(limits);
    const roster = this.#roster = new Roster(timeLimits, starving);
    const admission = this.#admission = new Admission(limits, waiting, roster, starving);
    this.admission = admission;
    const dispatch = this.#dispatch = new Dispatch(limits, roster, wakeTime);
    const endings = this.#endings = new Endings(admission, waiting, shared, counters);
    const deaths = this.#deaths = new Deaths(limits, waiting, endings, counters);
    const overruns = this.#overruns = new Overruns(limits, timeLimits, roster, endings, counters);
    const parts = { waiting, shared, roster, timeLimits, starving, endings, counters };
    this.workforce = new Workforce({ ...parts, service, deaths, overruns });
    this.cancellations = new Cancellations(parts);
    this.parts = new Parts(roster, starving, endings, counters);
    this.stored = new StoredShare(limits, this.#turns, waiting, admission, roster, dispatch);
    this.overview = new Overview(limits, waiting, roster);
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
    this.stored.configure(limits);
    this.overview.configure(limits);
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
    const worker = this.stored.choose(now);
    const job = worker && this.#waiting.shiftStored();
    if (worker === undefined || job === undefined) return undefined;
    this.#turns.took();
    return this.#assign(job, worker, this.#dispatch.reason, now);
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

  // Time passes, and the server ends

  /** Does what is due at `now`; returns ms until it must run again. */
  tick(now: number): number {
    const verdict = this.#deaths.judge(now);
    for (const job of this.#waiting.takeExpired(now)) this.#endings.expire(job);
    const expiry = this.#waiting.wait(now);
    const check = this.#overruns.tick(now);
    const ending = this.#dispatch.endingIn(this.#startable, now);
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

  /** Requests in the queue that a worker may get. */
  get #startable(): number {
    return this.isPaused ? 0 : this.#waiting.queued;
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

  /** Since when a worker has been free, or as good as free, ms; undefined while it is not: see broker/dispatch.ts. */
  spareSince(worker: Worker<B>, now: number): number | undefined {
    return this.#dispatch.spareSince(worker, this.#startable, now);
  }
}
