/**
 * Jobs whose workers died: each is held until the inquest has judged the death, and then gets another try or
 * is given up. Who is to blame is inquest.ts's and suspects.ts's business.
 *
 * @module
 */

import type { BrokerCounters } from "./counters.ts";
import { type End, Inquest, type Verdict } from "./inquest.ts";
import type { Job, Worker } from "./job.ts";
import type { BrokerLimits } from "./limits.ts";
import type { Endings } from "./endings.ts";
import { blame, isHopeless } from "./suspects.ts";
import type { Waiting } from "./waiting.ts";

/** What `Deaths` go by. */
export type DeathLimits = Pick<BrokerLimits, "concurrency" | "maxAttempts">;

/** What a dead worker had, with the jobs' numbers: their records may be used again. */
interface Estate<B> {
  jobs: readonly (readonly [id: number, job: Job<B>])[];
  /** Whether it was running all of them. */
  known: boolean;
}

/** The deaths of workers, and what they mean for jobs. */
export class Deaths<B> {
  #limits: DeathLimits;
  readonly #waiting: Waiting<B>;
  readonly #endings: Endings<B>;
  readonly #counters: BrokerCounters;
  readonly #inquest = new Inquest<Estate<B>>();

  /** Holds jobs in `waiting`, and counts. */
  constructor(
    limits: DeathLimits,
    waiting: Waiting<B>,
    endings: Endings<B>,
    counters: BrokerCounters,
  ) {
    this.#limits = limits;
    this.#waiting = waiting;
    this.#endings = endings;
    this.#counters = counters;
  }

  /** Applies other limits from now on. */
  configure(limits: DeathLimits): void {
    this.#limits = limits;
  }

  /** A worker that had these jobs has died. */
  died(worker: Worker<B>, jobs: readonly Job<B>[], now: number): void {
    if (jobs.length === 0) return;
    const known = jobs.length <= this.#limits.concurrency;
    const estate = { jobs: jobs.map((job) => [job.id, job] as const), known };
    for (const job of jobs) {
      job.begun = true;
      if (this.#endings.comesBack(job)) this.#waiting.hold(job);
    }
    // What must not be started twice has had its only try, whoever is to blame.
    if (this.#limits.maxAttempts === 1) return this.#sentence(estate, "guilty");
    this.#inquest.notice(worker.id, estate, worker.end, now);
    this.judge(now);
  }

  /** The process of a worker, in service or not, has ended. */
  processEnded(worker: number, end: End, now: number): void {
    this.#inquest.end(worker, end, now);
    this.judge(now);
  }

  /** Applies the verdicts that are due; returns ms until it must run again. */
  judge(now: number): number {
    for (const { about, verdict } of this.#inquest.judge(now)) this.#sentence(about, verdict);
    return this.#inquest.wait;
  }

  #sentence({ jobs, known }: Estate<B>, verdict: Verdict): void {
    for (const [id, job] of jobs.toReversed()) {
      if (job.id !== id || job.shelf !== "held") continue; // it has ended meanwhile
      blame(job, verdict, known);
      this.#waiting.endTurn(job);
      // The store has tries of its own, with a time between them.
      const isStored = job.request.stored !== undefined;
      if (isHopeless(job, isStored ? 1 : this.#limits.maxAttempts)) {
        this.#waiting.remove(job);
        this.#endings.giveUp(job);
      } else {
        this.#counters.returned++;
        this.#waiting.release(job);
      }
    }
  }
}
