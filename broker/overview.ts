/**
 * All jobs that have not ended, for those who look: by number, by age, and since when they run. Changes none of them.
 *
 * @module
 */

import type { Row } from "./by_age.ts";
import type { Job } from "./job.ts";
import type { BrokerLimits } from "./limits.ts";
import type { Roster } from "./roster.ts";
import type { Waiting } from "./waiting.ts";

const alone = () => undefined;

/** The jobs of one broker as others see them. */
export class Overview<B> {
  #concurrency: number;
  readonly #waiting: Pick<Waiting<B>, "find" | "rows">;
  readonly #roster: Pick<Roster<B>, "workers">;

  /** Shows those that wait, and those that workers have. */
  constructor(
    { concurrency }: Pick<BrokerLimits, "concurrency">,
    waiting: Pick<Waiting<B>, "find" | "rows">,
    roster: Pick<Roster<B>, "workers">,
  ) {
    this.#concurrency = concurrency;
    this.#waiting = waiting;
    this.#roster = roster;
  }

  /** Applies another limit from now on. */
  configure({ concurrency }: Pick<BrokerLimits, "concurrency">): void {
    this.#concurrency = concurrency;
  }

  /** The job of a number. Looks at all that wait: for a person, and not for each request. */
  find(id: number): Job<B> | undefined {
    for (const { jobs } of this.#roster.workers) {
      const job = jobs.get(id);
      if (job !== undefined) return job;
    }
    return this.#waiting.find(id);
  }

  /** The jobs that wait, or those that workers have, in rows by age. */
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
