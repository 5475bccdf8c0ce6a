/**
 * Which worker gets the next job. All that is tuned to a machine's behaviour is here: each constant says
 * what it is for, `Dispatch.choose` has one example with numbers, and bench/micro.ts times each case.
 *
 * @module
 */

import type { Job, Worker } from "./job.ts";
import type { BrokerLimits } from "./limits.ts";
import { mayGetMore, type Roster } from "./roster.ts";
import { ServiceTimes } from "./service_times.ts";

/**
 * Why a worker gets a job:
 * awake: it is through with what it has sooner than a sleeping worker wakes up;
 * free: it runs the job at once;
 * soon: all workers are busy, and its work ahead fits into the budget;
 * ending: the only job that it has is expected to end in a moment;
 * alone: the job may have ended a worker, and this one has no other.
 */
export type Reason = "awake" | "free" | "soon" | "ending" | "alone";

/** A job, and the worker that has it; a worker's `unsent` job is sent once the worker shows that it lives. */
export interface Assignment<B> {
  job: Job<B>;
  worker: Worker<B>;
  /** Why this worker has got it. */
  reason: Reason;
}

/** Why a job went where it went: plain fields for a log line. */
export type Explanation = Readonly<{
  job: number;
  worker: number;
  reason: Reason;
  /** Jobs that the worker had already. */
  ahead: number;
  /** Jobs that wait for a worker. */
  queued: number;
  /** What the handler takes on average, ms; 0: not known yet. */
  meanMs: number;
  /** What one handler in 200 takes longer than, ms; 0: not known yet. */
  tailMs: number;
}>;

/** How long a sleeping worker takes to wake up, ms: measured on a virtual machine of two cores. */
const WAKE_TIME = 0.1;
/** What a job costs its worker on top of the handler's time, ms. */
const JOB_OVERHEAD = 0.005;
/** A worker that started or answered something this recently has not gone to sleep, ms. */
const AWAKE_TIME = 1;
/** Jobs don't wait at a worker if one handler in 200 takes longer than this many budgets. */
const TAIL_BUDGETS = 10;
/** A worker without progress for this many budgets gets nothing more to hold. */
const STUCK_BUDGETS = 5;
/**
 * A worker gets its next job this many budgets before the end of its only one: less than a budget would
 * often be missed, as waits are rounded to whole ms.
 */
const ENDING_BUDGETS = 3;
/** Handlers take about the same time if the slow ones take less than this many times the mean. */
const STEADY_FACTOR = 2.5;
/** A busy worker that is expected to be free within this time counts as spare, ms. */
const SPARE_WAIT = 10;
/**
 * A busy worker without progress for this long is not spare, whatever is expected, ms: among many quick
 * jobs it may have met a slow one.
 */
const SPARE_STALL = 50;

/** What a `Dispatch` goes by. */
export type DispatchLimits = Pick<
  BrokerLimits,
  "concurrency" | "prefetch" | "prefetchBudget" | "dispatch" | "maxAttempts"
>;

/** The choice of workers, and what it has learned of the handler. */
export class Dispatch<B> {
  #limits: DispatchLimits;
  readonly #roster: Roster<B>;
  readonly #wakeTime: number;
  readonly #times = new ServiceTimes();
  #reason: Reason = "free";

  /** Chooses from the workers of `roster`; `wakeTime` is for tests. */
  constructor(limits: DispatchLimits, roster: Roster<B>, wakeTime = WAKE_TIME) {
    this.#limits = limits;
    this.#roster = roster;
    this.#wakeTime = wakeTime;
  }

  /** Applies other limits from now on. */
  configure(limits: DispatchLimits): void {
    this.#limits = limits;
  }

  /** How long the handler takes. */
  get times(): Readonly<Pick<ServiceTimes, "mean" | "tail">> {
    return this.#times;
  }

  /** Why `choose` has taken the last worker. */
  get reason(): Reason {
    return this.#reason;
  }

  /** A worker has answered a job whose handler took so many µs. */
  learn(worker: Worker<B>, micros: number): void {
    if (worker.answered === 0) this.#times.guess(micros / 1000);
    else this.#times.observe(micros / 1000);
    worker.answered++;
  }

  /**
   * The worker for the next job; undefined: the job waits on.
   *
   * An example: `concurrency` 1, `prefetch` 20, `prefetchBudget` 1 ms.
   *
   * - The handler takes 0.01 ms, so a job costs its worker 0.015 ms. Worker A has 3 jobs and has just answered
   *   one; worker B is idle. A starts a fourth job in 0.045 ms, B would wake up in 0.1 ms: A gets it (awake). Had
   *   A 7 jobs, which take 0.105 ms, B would get the next one (free).
   * - Both are busy, A has 8 jobs and B has 9. A's take 0.08 ms, which is less than the budget: A gets it (soon).
   *   Nobody gets more than 20. Had A answered nothing for more than 5 ms, it would be stuck, and B would get
   *   the job.
   * - The handler mostly takes 0.01 ms, but 50 ms for one job in 100. The mean of 0.5 ms would fit into the budget,
   *   but a job behind a slow one would wait for 50 ms, which is more than 10 budgets: it waits in the queue for
   *   whoever is free first.
   * - The handler always takes 10 ms. A started its job 3 ms ago, B 8 ms ago. 10 ms of work never fit into the
   *   budget, but B is expected to be through in 2 ms, less than 3 budgets: B gets the job now (ending), and so need not wait
   *   for it later. Had B started 15 ms ago, it would be late by 5 budgets, and nobody would get the job.
   */
  choose(now: number): Worker<B> | undefined {
    return this.#awake(now) ?? this.#leastLoaded(now);
  }

  /** The least loaded of these workers, which have jobs, if it may get one more; undefined: the job waits on. */
  chooseAmong(workers: Iterable<Worker<B>>, now: number): Worker<B> | undefined {
    const { concurrency } = this.#limits;
    let best: Worker<B> | undefined;
    for (const worker of workers) {
      const level = worker.jobs.size;
      if (!mayGetMore(worker) || level >= Math.max(concurrency, this.#prefetch)) continue;
      if (level >= concurrency && (!this.#isSoon(level) || this.#isStuck(worker, now))) continue;
      if (best === undefined || level < best.jobs.size) best = worker;
    }
    return best && this.#choice(best, best.jobs.size < concurrency ? "free" : "soon");
  }

  /** The least loaded worker that is through with its jobs sooner than a sleeping one wakes up. */
  #awake(now: number): Worker<B> | undefined {
    const each = this.#times.expected + JOB_OVERHEAD;
    const limit = Math.min(this.#roster.height, this.#prefetch, this.#wakeTime / each);
    for (let level = Math.max(1, this.#roster.lowest); level < limit; level++) {
      const worker = this.#roster.newest(level);
      if (worker !== undefined && now - worker.progressAt < AWAKE_TIME && this.#isSoon(level)) {
        return this.#choice(worker, "awake");
      }
    }
    return undefined;
  }

  /** A worker that runs the job at once; if all are busy, the least loaded where it need not wait for long. */
  #leastLoaded(now: number): Worker<B> | undefined {
    const { concurrency, dispatch } = this.#limits;
    const roster = this.#roster;
    for (let level = roster.lowest; level < roster.height; level++) {
      if (level < concurrency) {
        const free = dispatch === "mru" ? roster.newest(level) : roster.oldest(level);
        if (free !== undefined) return this.#choice(free, "free");
        continue;
      }
      if (level >= this.#prefetch) return undefined;
      if (!this.#isSoon(level)) return level === 1 ? this.#ending(now) : undefined;
      let worker = roster.newest(level);
      while (worker !== undefined && this.#isStuck(worker, now)) worker = worker.links.next;
      if (worker !== undefined) return this.#choice(worker, "soon");
    }
    return undefined;
  }

  #choice(worker: Worker<B>, reason: Reason): Worker<B> {
    this.#reason = reason;
    return worker;
  }

  /** Where each job has one try, none waits at a worker that another job may end. */
  get #prefetch(): number {
    const { concurrency, prefetch, maxAttempts } = this.#limits;
    return maxAttempts === 1 ? concurrency : prefetch;
  }

  /**
   * Whether a worker that has `level` jobs is expected to start another within the budget. Where slow jobs are
   * not rare the mean would hide them, so that the tail counts too.
   */
  #isSoon(level: number): boolean {
    const { concurrency, prefetchBudget } = this.#limits;
    const { expected, tail } = this.#times;
    const ahead = (level + 1 - concurrency) / concurrency;
    return expected * ahead < prefetchBudget && tail * ahead < prefetchBudget * TAIL_BUDGETS;
  }

  /** A worker whose only job is expected to end in a moment. */
  #ending(now: number): Worker<B> | undefined {
    const { concurrency, prefetchBudget } = this.#limits;
    if (concurrency > 1 || !this.#isSteady) return undefined;
    // The worker whose job started first is the last in its level.
    for (let worker = this.#roster.oldest(1); worker; worker = worker.links.previous) {
      const left = this.#timeLeft(worker, now);
      if (left >= prefetchBudget * ENDING_BUDGETS) return undefined;
      if (left > -prefetchBudget * STUCK_BUDGETS) return this.#choice(worker, "ending");
    }
    return undefined;
  }

  /**
   * When the first of the busy workers can be given a job as its own is about to end, ms from now, while `queued`
   * jobs wait; Infinity: none can, or one can already.
   */
  endingIn(queued: number, now: number): number {
    const { concurrency, prefetchBudget } = this.#limits;
    if (queued === 0 || concurrency > 1 || this.#prefetch === 1) return Infinity;
    const worker = this.#roster.oldest(1);
    if (worker === undefined || !this.#isSteady) return Infinity;
    const wait = this.#timeLeft(worker, now) - prefetchBudget * ENDING_BUDGETS;
    return wait > 0 ? wait : Infinity;
  }

  /** How long the job that a worker runs is expected to take yet, ms. */
  #timeLeft(worker: Worker<B>, now: number): number {
    return worker.progressAt + this.#times.expected - now;
  }

  /** Whether all jobs take about the same time, and long. The tail is known to a factor of two only. */
  get #isSteady(): boolean {
    const { prefetchBudget } = this.#limits;
    const { mean = 0, tail } = this.#times;
    return mean > prefetchBudget * ENDING_BUDGETS && tail < STEADY_FACTOR * mean &&
      tail - mean < prefetchBudget * TAIL_BUDGETS;
  }

  #isStuck(worker: Worker<B>, now: number): boolean {
    return now - worker.progressAt > this.#limits.prefetchBudget * STUCK_BUDGETS;
  }

  /**
   * Since when a worker has been free, ms; undefined while it is not. A worker that is expected to be through with
   * its jobs and its share of the `queued` ones within 10 ms counts as free now: quick jobs at a high rate are no
   * reason to start more workers.
   */
  spareSince(worker: Worker<B>, queued: number, now: number): number | undefined {
    if (worker.jobs.size === 0) return worker.idleSince;
    const ahead = worker.jobs.size + queued / this.#roster.workers.size;
    const wait = this.#times.expected * ahead / this.#limits.concurrency;
    const stalled = now - worker.progressAt > SPARE_STALL;
    return wait < SPARE_WAIT && !stalled ? now : undefined;
  }

  /** What an assignment that was just made was based on, while `queued` jobs wait. */
  explain({ job, worker, reason }: Assignment<B>, queued: number): Explanation {
    const { mean = 0, tail } = this.#times;
    const [meanMs, tailMs] = [roundToMicros(mean), roundToMicros(tail)];
    const ahead = worker.jobs.size - 1;
    return { job: job.id, worker: worker.id, reason, ahead, queued, meanMs, tailMs };
  }
}

/** A time in ms, rounded to whole µs. */
function roundToMicros(time: number): number {
  return Math.round(time * 1000) / 1000;
}
