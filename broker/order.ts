/**
 * Finds workers that have lost a job. A worker that runs one job at a time answers its jobs in the order in
 * which it got them, so a job that stays open while later ones are answered will never be answered.
 *
 * @module
 */

import type { Worker } from "./job.ts";

interface Seen {
  /** The number of the job that the worker has had for longest. */
  first: number;
  /** Jobs that the worker had answered. */
  answered: number;
}

/** How often workers are checked, ms. */
const LOOK_INTERVAL = 1000;

/** Watches workers that run one job at a time. */
export class OrderWatch<B> {
  #seen = new Map<Worker<B>, Seen>();
  #lookAt = 0;

  /** ms until workers are to be checked again; Infinity: there is nothing to see. */
  wait(now: number): number {
    return this.#seen.size === 0 ? Infinity : Math.max(0, this.#lookAt - now);
  }

  /** Workers that have answered other jobs and kept the same one open since the last check. */
  look(workers: Iterable<Worker<B>>, now: number): readonly Worker<B>[] {
    if (now < this.#lookAt) return NOBODY;
    this.#lookAt = now + LOOK_INTERVAL;
    const before = this.#seen;
    this.#seen = new Map();
    const lost: Worker<B>[] = [];
    for (const worker of workers) {
      const { first } = worker.jobs;
      if (first === undefined || first.state === "aborted") continue;
      const seen = before.get(worker);
      if (seen?.first === first.id && worker.answered > seen.answered) lost.push(worker);
      else this.#seen.set(worker, { first: first.id, answered: worker.answered });
    }
    return lost;
  }
}

const NOBODY: readonly never[] = [];
