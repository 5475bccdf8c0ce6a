/**
 * What is done about handlers that do not stop:
 *
 *     a job overruns: it is answered 504, and its worker gets no more jobs
 *         ├─ nothing else runs there, or the worker is stuck ──────────────→ its worker is ended
 *         └─ others run there: isolated ─ they have ended, or time is up ──→ its worker is ended
 *
 * A job that was running when its worker was ended because of another has its next try alone, where no other job
 * can end its worker. Which jobs overrun, and when, is time_limits.ts's business.
 *
 * @module
 */

import type { BrokerCounters } from "./counters.ts";
import { isRunning, type Job, type Worker } from "./job.ts";
import type { BrokerLimits } from "./limits.ts";
import type { Endings } from "./endings.ts";
import type { Roster } from "./roster.ts";
import type { TimeLimits } from "./time_limits.ts";

/** A worker whose handler does not stop. */
export interface Overrun<B> {
  worker: Worker<B>;
  /** What was taken from it: jobs that it had along with the one that overran. */
  jobs: readonly Job<B>[];
  /** isolate: it gets no more jobs, and those that it runs may end; end: it is to be ended now. */
  step: "isolate" | "end";
}

const NONE: readonly never[] = [];

/** Workers that are given up for a handler that does not stop. */
export class Overruns<B> {
  #limits: Pick<BrokerLimits, "maxAttempts">;
  readonly #timeLimits: TimeLimits<B>;
  readonly #roster: Roster<B>;
  readonly #endings: Endings<B>;
  readonly #counters: BrokerCounters;
  #overruns: Overrun<B>[] = [];

  /** Takes jobs from the workers of `roster`, and counts. */
  constructor(
    limits: Pick<BrokerLimits, "maxAttempts">,
    timeLimits: TimeLimits<B>,
    roster: Roster<B>,
    endings: Endings<B>,
    counters: BrokerCounters,
  ) {
    this.#limits = limits;
    this.#timeLimits = timeLimits;
    this.#roster = roster;
    this.#endings = endings;
    this.#counters = counters;
  }

  /** Applies other limits from now on. */
  configure(limits: Pick<BrokerLimits, "maxAttempts">): void {
    this.#limits = limits;
  }

  /** Gives up workers whose jobs are past their limits; returns ms until it must run again. */
  tick(now: number): number {
    if (this.#timeLimits.wait(now) > 0) return this.#timeLimits.wait(now);
    const forgiven = this.#timeLimits.startCheck(now);
    for (const worker of this.#roster.workers) {
      const job = this.#timeLimits.overrun(worker, forgiven, now);
      if (job !== undefined) this.#giveUp(worker, job, now);
      if (this.#timeLimits.isOver(worker, now)) this.#end(worker);
    }
    return this.#timeLimits.wait(now);
  }

  /** Ends a worker now if it is isolated: its place is needed. */
  endIsolated(worker: Worker<B>): void {
    if (worker.isolation !== undefined) this.#end(worker);
  }

  /** The workers to be isolated or ended since the last call. */
  take(): readonly Overrun<B>[] {
    if (this.#overruns.length === 0) return NONE;
    const overruns = this.#overruns;
    this.#overruns = [];
    return overruns;
  }

  #giveUp(worker: Worker<B>, job: Job<B>, now: number): void {
    this.#roster.retire(worker);
    this.#roster.unassign(job, worker, now);
    // A prefetched job that was taken back, and not even given back by the worker: all of it is stuck.
    const isStuck = !job.running;
    this.#endings.overrun(job);
    if (isStuck || ![...worker.jobs.values()].some(isRunning)) this.#end(worker);
    else if (worker.isolation === undefined) this.#isolate(worker, now);
  }

  /** What runs in a worker may end there; what waits there goes back. */
  #isolate(worker: Worker<B>, now: number): void {
    this.#timeLimits.isolate(worker, now);
    const jobs = [...worker.jobs.values()].filter(({ running }) => !running);
    for (const job of jobs.toReversed()) {
      this.#roster.unassign(job, worker, now);
      job.begun = true;
      this.#endings.putBack(job);
    }
    this.#overruns.push({ worker, jobs, step: "isolate" });
  }

  #end(worker: Worker<B>): void {
    this.#timeLimits.forget(worker);
    const jobs = this.#roster.empty(worker);
    for (const job of jobs.toReversed()) {
      job.begun = true;
      if (isRunning(job)) this.#displace(job);
      else this.#endings.putBack(job);
    }
    this.#overruns.push({ worker, jobs, step: "end" });
  }

  #displace(job: Job<B>): void {
    job.beside++;
    this.#counters.displaced++;
    if (this.#limits.maxAttempts > 1) this.#endings.putBack(job);
    else this.#endings.giveUpDisplaced(job);
  }
}
