/**
 * Jobs of a worker that were not started, in their order.
 *
 * @module
 */

import { harden } from "../zmq/library.ts";
import type { Job } from "./job_context.ts";

/** Jobs that wait: taking the first one moves no other. */
export class PendingJobs {
  /** Those before `#first` were taken. */
  readonly #jobs: (Job | undefined)[] = [];
  #first = 0;

  /** Puts a job behind the others. */
  add(job: Job): void {
    this.#jobs[this.#jobs.length] = job;
  }

  /** The job that `take` would take; undefined: there is none. */
  get next(): Job | undefined {
    return this.#first < this.#jobs.length ? this.#jobs[this.#first] : undefined;
  }

  /** Takes the first job; undefined: there is none. */
  take(): Job | undefined {
    if (this.#first === this.#jobs.length) return undefined;
    const job = this.#jobs[this.#first];
    this.#jobs[this.#first++] = undefined;
    if (this.#first === this.#jobs.length) this.#jobs.length = this.#first = 0;
    return job;
  }

  /** The job with this id; undefined: it is not here. */
  find(id: number): Job | undefined {
    for (let index = this.#first; index < this.#jobs.length; index++) {
      if (this.#jobs[index]?.id === id) return this.#jobs[index];
    }
    return undefined;
  }

  /** Takes the job with this id; returns whether it was here. */
  remove(id: number): boolean {
    const jobs = this.#jobs;
    for (let index = this.#first; index < jobs.length; index++) {
      if (jobs[index]?.id !== id) continue;
      for (let at = index; at > this.#first; at--) jobs[at] = jobs[at - 1];
      this.take();
      return true;
    }
    return false;
  }
}

harden(PendingJobs);
