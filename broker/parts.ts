/**
 * Answers in parts, as workers send them and clients take them: which part counts, and what a worker may send after
 * it. How much a client takes is stream.ts's business.
 *
 * @module
 */

import type { StreamCredit } from "../wire/credit.ts";
import type { BrokerCounters } from "./counters.ts";
import type { Endings } from "./endings.ts";
import { type Asker, type Client, isFrom, type Job, type Worker } from "./job.ts";
import type { Roster } from "./roster.ts";
import type { Starving } from "./stream.ts";

/** More of an answer in parts may be sent. */
export interface Grant<B> {
  worker: Worker<B>;
  job: Job<B>;
  credit: StreamCredit;
}

/** Parts of answers, and how far jobs are. */
export class Parts<B> {
  readonly #roster: Pick<Roster<B>, "unassign">;
  readonly #starving: Starving;
  readonly #endings: Pick<Endings<B>, "disbelieve">;
  readonly #counters: BrokerCounters;

  /** Takes jobs from workers that are not believed, and counts. */
  constructor(
    roster: Pick<Roster<B>, "unassign">,
    starving: Starving,
    endings: Pick<Endings<B>, "disbelieve">,
    counters: BrokerCounters,
  ) {
    this.#roster = roster;
    this.#starving = starving;
    this.#endings = endings;
    this.#counters = counters;
  }

  /**
   * A worker's part of an answer, of so many bytes: the job, whose asker gets it; undefined: nobody does. A worker
   * that sends parts of what it has not, or that nobody takes, is not believed: a job that it has ends.
   */
  take(worker: Worker<B>, id: number, bytes: number, now: number): Job<B> | undefined {
    const job = worker.jobs.get(id);
    if (job === undefined) {
      if (worker.isolation === undefined) this.#counters.strayReplies++;
      return undefined;
    }
    worker.progressAt = now;
    if (job.state === "aborted") return undefined;
    // What was not sent yet can't be answered.
    if (worker.unsent === job || !job.stream?.take(bytes)) {
      this.#counters.strayReplies++;
      this.#counters.answered++;
      this.#counters.failed++;
      this.#roster.unassign(job, worker, now);
      this.#endings.disbelieve(job);
      return undefined;
    }
    if (!job.running) job.startedAt = now;
    job.running = job.begun = true;
    this.#starving.look(job);
    return job;
  }

  /** A worker says how far a job is: the job, whose asker wants to know; undefined: nobody does. */
  takeProgress(worker: Worker<B>, id: number): Job<B> | undefined {
    const job = worker.jobs.get(id);
    if (job === undefined) {
      if (worker.isolation === undefined) this.#counters.strayReplies++;
      return undefined;
    }
    // Those who have joined have not said that they want to know.
    const isWanted = job.stream !== undefined && job.state === "assigned" &&
      job.asker === job.request;
    return isWanted ? job : undefined;
  }

  /** A client takes more of an answer in parts: what its worker is to be told of that, if it has the job. */
  grant(
    client: Client<B>,
    requestId: number,
    envelope: Asker<B>["envelope"],
    credit: StreamCredit,
  ): Grant<B> | undefined {
    const job = client.asked.get(requestId);
    if (job?.stream === undefined || !isFrom(job.asker, client, requestId, envelope)) {
      return undefined;
    }
    const more = job.stream.credit.grant(credit);
    const { worker } = job;
    if (worker === undefined || job.state !== "assigned") return undefined;
    this.#starving.look(job);
    // A job that is not sent yet takes its credit along.
    const isTold = worker.unsent !== job && (more.bytes > 0 || more.parts > 0);
    return isTold ? { worker, job, credit: more } : undefined;
  }
}
