/**
 * Finds handlers that do not stop: those past their time limit, and those of jobs that nobody waits for any
 * more, once they have had `abortGrace` to stop. What is done about them is overruns.ts's business.
 *
 * @module
 */

import { isRunning, type Job, type Worker } from "./job.ts";
import type { BrokerLimits } from "./limits.ts";

/** What `TimeLimits` go by. */
export type WatchLimits = Pick<
  BrokerLimits,
  "concurrency" | "requestTimeout" | "stopTimeout" | "abortGrace"
>;

/** How often running jobs are checked, ms. */
const WATCH_INTERVAL = 50;
/** If a check comes this much too late, the whole machine slept, and the handlers slept with it, ms. */
const OVERSLEPT = 1000;

/** The time limits of jobs at workers. */
export class TimeLimits<B> {
  #limits: WatchLimits;
  /** Jobs at workers that may overrun, and isolated workers. */
  #watched = 0;
  /** When they are checked next, ms; meaningless while `#isPlanned` is false. */
  #checkAt = 0;
  /** Whether a time is set for the next check; if not, it is due and can't be late. */
  #isPlanned = false;

  /** Starts with nothing to watch. */
  constructor(limits: WatchLimits) {
    this.#limits = limits;
  }

  /** Applies other limits from now on. What was not checked until now is not late. */
  configure(limits: WatchLimits): void {
    this.#limits = limits;
    this.#isPlanned = false;
  }

  /** How long a handler may run whose client asks for a maximum of `asked` ms; 0: it does not. */
  limitOf(asked: number): number {
    const { requestTimeout } = this.#limits;
    return Math.min(
      requestTimeout === 0 ? Infinity : requestTimeout,
      asked === 0 ? Infinity : asked,
    );
  }

  /** A worker has got a job. */
  assigned(job: Job<B>, now: number): void {
    if (isWatched(job)) this.#watch(now);
  }

  /** Nobody waits for a job any more, and its worker is told so. */
  aborted(job: Job<B>, now: number): void {
    if (!isWatched(job)) this.#watch(now);
    job.state = "aborted";
    job.abortedAt = now;
  }

  /** A worker has a job no more; to be called before the job's state changes. */
  unassigned(job: Job<B>): void {
    if (isWatched(job)) this.#watched--;
  }

  /** When jobs are to be checked, ms from now; 0: now. */
  wait(now: number): number {
    if (this.#watched === 0 || this.#limits.abortGrace === 0) return Infinity;
    return this.#isPlanned ? Math.max(0, this.#checkAt - now) : 0;
  }

  /** Plans the next check; returns how long handlers are forgiven now as the machine slept, ms. */
  startCheck(now: number): number {
    const late = this.#isPlanned ? now - this.#checkAt : 0;
    this.#plan(now);
    return late > OVERSLEPT ? late : 0;
  }

  /**
   * The first of a worker's jobs that has overrun; `forgiven` ms count for none. Notes which jobs are running by
   * now. A prefetched job that was taken back overruns if the worker does not give it back in time.
   */
  overrun(worker: Worker<B>, forgiven: number, now: number): Job<B> | undefined {
    let free = this.#limits.concurrency;
    let late: Job<B> | undefined;
    for (const job of worker.jobs.values()) {
      if (job.running) job.startedAt += forgiven;
      else if (free > 0) {
        job.running = true;
        job.startedAt = now;
      }
      free--;
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

  /** A worker gets no more jobs, as one there does not stop; the others that it runs may end first. */
  isolate(worker: Worker<B>, now: number): void {
    const { abortGrace, stopTimeout } = this.#limits;
    // It has less time until it shows that not all of it is stuck.
    worker.isolation = { since: now, until: now + Math.min(abortGrace, stopTimeout) };
    this.#watch(now);
  }

  /** A worker has shown that it lives: its other jobs have all the time that they may have. */
  proven({ isolation }: Worker<B>): void {
    if (isolation !== undefined) isolation.until = isolation.since + this.#limits.stopTimeout;
  }

  /** Whether an isolated worker has run out of time, or of jobs that somebody waits for. */
  isOver({ isolation, jobs }: Worker<B>, now: number): boolean {
    if (isolation === undefined) return false;
    return now >= isolation.until || ![...jobs.values()].some(isRunning);
  }

  /** A worker has left, or is ended. */
  forget(worker: Worker<B>): void {
    if (worker.isolation !== undefined) this.#watched--;
    worker.isolation = undefined;
  }

  #watch(now: number): void {
    if (this.#watched++ === 0) this.#plan(now);
  }

  #plan(now: number): void {
    this.#isPlanned = true;
    this.#checkAt = now + WATCH_INTERVAL;
  }
}

/** Whether a job that a worker has may overrun. */
function isWatched<B>({ request, state }: Job<B>): boolean {
  return request.requestTimeout !== Infinity || state === "aborted";
}
