/**
 * Answers that are wanted no more: a client takes a request back, is gone or does not read, or an operator ends a job.
 * A job that waits ends here; one that a worker has is returned, to be cancelled there.
 *
 * @module
 */

import type { BrokerCounters } from "./counters.ts";
import type { Endings } from "./endings.ts";
import { type Asker, askersOf, type Client, isFrom, type Job } from "./job.ts";
import type { Roster } from "./roster.ts";
import type { SharedRequests } from "./shared_requests.ts";
import type { Starving } from "./stream.ts";
import type { TimeLimits } from "./time_limits.ts";
import type { Waiting } from "./waiting.ts";

/** What jobs are in when they are cancelled. */
export interface CancelledParts<B> {
  readonly waiting: Waiting<B>;
  readonly shared: SharedRequests<B>;
  readonly roster: Pick<Roster<B>, "jobsOf">;
  readonly timeLimits: Pick<TimeLimits<B>, "aborted">;
  readonly starving: Starving;
  readonly endings: Endings<B>;
  readonly counters: BrokerCounters;
}

/** Ends jobs ahead of their answers, and has workers stop. */
export class Cancellations<B> {
  readonly #parts: CancelledParts<B>;

  /** Takes jobs from `waiting`, and counts. */
  constructor(parts: CancelledParts<B>) {
    this.#parts = parts;
  }

  /**
   * A client takes a request back: a job that waits ends, one that a worker has is returned, to be
   * cancelled there. Unknown requests, and those that others wait for too, change nothing.
   */
  cancel(
    client: Client<B>,
    requestId: number,
    envelope: Asker<B>["envelope"],
    now: number,
  ): Job<B> | undefined {
    const job = client.asked.get(requestId);
    const asker = job && askersOf(job).find((one) => isFrom(one, client, requestId, envelope));
    if (job === undefined || asker === undefined || job.state === "aborted") return undefined;
    this.#parts.counters.cancelled++;
    if (job.others.length > 0) {
      this.#parts.shared.leave(job, asker);
      this.#parts.endings.cancelFor(asker, job);
      return undefined;
    }
    if (job.state === "assigned") return this.#abort(job, now);
    this.#parts.waiting.remove(job);
    this.#parts.endings.cancel(job);
    return undefined;
  }

  /** A client is gone: its waiting jobs end; returns those that workers have, to be cancelled there. */
  disconnect(client: Client<B>, now: number): Job<B>[] {
    client.peer.connected = false;
    if (client.live === 0) return [];
    this.#parts.counters.abandoned += this.#parts.shared.leaveAll(client);
    for (const job of this.#parts.waiting.of(client)) {
      this.#parts.counters.abandoned++;
      this.#parts.waiting.remove(job);
      this.#parts.endings.cancel(job);
    }
    if (client.live === 0) return [];
    const running = this.#parts.roster.jobsOf(client).filter(({ state }) => state !== "aborted");
    this.#parts.counters.abandoned += running.length;
    for (const job of running) this.#abort(job, now);
    return running;
  }

  /** A part can't be brought to its client: nobody wants the rest; returns the job, to be cancelled at its worker. */
  loseAsker(job: Job<B>, now: number): Job<B> {
    this.#parts.counters.abandoned++;
    return this.#abort(job, now);
  }

  /** Answers 503 what a client has waiting, but for what others wait for too. */
  refuseWaiting(client: Client<B>, message: string): void {
    for (const job of this.#parts.waiting.inLineOf(client)) {
      if (job.others.length > 0) continue;
      this.#parts.waiting.remove(job);
      this.#parts.endings.refuse(job, message);
    }
  }

  /**
   * Ends a job, found just now, as if all who wait for it had given up: they are answered 499. Returns it if a worker
   * has it, to be cancelled there.
   */
  cancelForAll(job: Job<B>, now: number): Job<B> | undefined {
    if (job.state === "aborted") return undefined;
    this.#parts.counters.cancelled += askersOf(job).length;
    if (job.state === "assigned") {
      this.#parts.endings.cancelForAll(job);
      return this.#abort(job, now);
    }
    this.#parts.waiting.remove(job);
    this.#parts.endings.cancel(job);
    return undefined;
  }

  /** Nobody wants a job that a worker has. */
  #abort(job: Job<B>, now: number): Job<B> {
    this.#parts.timeLimits.aborted(job, now);
    this.#parts.starving.forget(job);
    this.#parts.shared.withdraw(job);
    return job;
  }
}
