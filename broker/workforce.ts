/**
 * Workers as they come and go, in order or by dying, and what becomes of the jobs that they had and have not answered.
 * Which worker gets a job is dispatch.ts's business.
 *
 * @module
 */

import type { BrokerCounters } from "./counters.ts";
import type { Deaths } from "./deaths.ts";
import type { Endings } from "./endings.ts";
import type { End } from "./inquest.ts";
import { type Job, newWorker, type Worker } from "./job.ts";
import type { Overruns } from "./overruns.ts";
import type { Roster } from "./roster.ts";
import type { TimeLimits } from "./time_limits.ts";

/** What learns that a worker comes or goes. */
export interface WorkforceParts<B> {
  /** The number of the service that workers work for. */
  readonly service: number;
  readonly roster: Roster<B>;
  readonly timeLimits: Pick<TimeLimits<B>, "forget" | "proven">;
  readonly endings: Endings<B>;
  readonly deaths: Pick<Deaths<B>, "died" | "processEnded">;
  readonly overruns: Pick<Overruns<B>, "endIsolated">;
  readonly counters: BrokerCounters;
}

/** The workers of one broker. */
export class Workforce<B> {
  readonly #parts: WorkforceParts<B>;

  /** Keeps workers in `roster`, and counts. */
  constructor(parts: WorkforceParts<B>) {
    this.#parts = parts;
  }

  /** A worker that is ready for jobs; `most`: how many it has at a time. */
  add(id: number, now: number, most: "many" | "one" = "many"): Worker<B> {
    const worker = newWorker<B>(id, now, this.#parts.service, most);
    this.#parts.roster.add(worker);
    return worker;
  }

  /** A worker has shown that it lives: the job that it was to get once it does. */
  proven(worker: Worker<B>, now: number): Job<B> | undefined {
    this.#parts.timeLimits.proven(worker);
    const job = worker.unsent;
    if (job === undefined) return undefined;
    worker.unsent = undefined;
    if (job.state === "aborted") {
      this.#parts.roster.unassign(job, worker, now);
      this.#parts.endings.cancel(job);
      return undefined;
    }
    job.running = true;
    job.startedAt = worker.progressAt = now;
    return job;
  }

  /** A worker gives a job back that it has not started. */
  giveBack(worker: Worker<B>, id: number, now: number): void {
    const job = worker.jobs.get(id);
    if (job === undefined) {
      this.#parts.counters.strayReplies++;
      return;
    }
    this.#parts.roster.unassign(job, worker, now);
    this.#parts.endings.putBack(job);
  }

  /** Gives a worker no more jobs; it keeps those that it has. */
  retire(worker: Worker<B>): void {
    this.#parts.roster.retire(worker);
  }

  /** An isolated worker is ended now: its place is needed. */
  endIsolated(worker: Worker<B>): void {
    this.#parts.overruns.endIsolated(worker);
  }

  /**
   * A worker is gone. If it left in order, its jobs go back to the front of the queue. If it died, they
   * are held until it is known what of: see inquest.ts and suspects.ts.
   */
  remove(worker: Worker<B>, end: "left" | "died", now: number): void {
    if (worker.state === "gone") return;
    this.#parts.timeLimits.forget(worker);
    // A suspect that was not sent yet has not ended it.
    const wasIdle = worker.unsent !== undefined;
    const jobs = this.#parts.roster.remove(worker);
    if (end === "died" && !wasIdle) return this.#parts.deaths.died(worker, jobs, now);
    for (const job of jobs.toReversed()) this.#parts.endings.putBack(job);
  }

  /** The process of a worker, in service or not, has ended; its connection may not have yet. */
  processEnded(id: number, worker: Worker<B> | undefined, end: End, now: number): void {
    if (worker !== undefined) worker.end = end;
    this.#parts.deaths.processEnded(id, end, now);
  }
}
