/**
 * The records of jobs, which are used again once their jobs have ended.
 *
 * @module
 */

import { type Job, type JobRequest, newJob, renewJob } from "./job.ts";

/** Maximum number of records that are kept to be used again, 300 bytes each. */
const SPARE_JOBS = 10_000;

/** Numbers jobs: one counter for all that belong to a server. */
export class JobNumbers {
  #last = 0;

  /** A number that no job has had. */
  next(): number {
    return ++this.#last;
  }
}

/** Keeps the records of ended jobs. */
export class JobRecords<B> {
  readonly #numbers: JobNumbers;
  #spare: Job<B>[] = [];

  /** Gives each job a number of `numbers`. */
  constructor(numbers: JobNumbers) {
    this.#numbers = numbers;
  }

  /** The record of a job that has just come. */
  take(request: JobRequest<B>): Job<B> {
    const spare = this.#spare.pop();
    const id = this.#numbers.next();
    return spare === undefined ? newJob(id, request) : renewJob(spare, id, request);
  }

  /** A job has ended and was answered: nobody reads its record any more. */
  putBack(job: Job<B>): void {
    if (this.#spare.length < SPARE_JOBS) this.#spare.push(job);
  }

  /** Forgets the records that are not needed now. */
  drop(): void {
    this.#spare = [];
  }
}
