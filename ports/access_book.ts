/**
 * What the access log says of each request: when it came, when a worker got it, and how it ended. Made
 * only where there is an access log. Reads no clock.
 *
 * @module
 */

import { type Asker, attemptOf, type Client, type Job } from "../broker/job.ts";
import { type JobClient, readClient } from "../wire/job.ts";
import type { Body } from "./body.ts";
import { traceIn } from "./error_replies.ts";

/** A request that has ended. Times are ms. */
export interface Visit {
  /** The job that answered it; undefined: none did. */
  job: number | undefined;
  /** The id of the stored job that it was a try of, or that was submitted or asked about; undefined: there is none. */
  id: string | undefined;
  /** The service that was asked, there or not; "": the one without a name. */
  service: string;
  client: JobClient;
  code: number;
  /** Which try at the job this was; undefined: no worker ever had it. */
  attempt: number | undefined;
  /** From its arrival until a worker got it, or until its end. */
  queued: number;
  /** How long the handler took; undefined where no worker answered. */
  handler: number | undefined;
  /** From its arrival until its end. */
  total: number;
  /** Bytes of its body frames. */
  in: number;
  /** Bytes of the answer. */
  out: number;
  /** Whether it was answered together with an earlier one, or from the cache. */
  shared: "joined" | "cached" | undefined;
  /** The trace that it belongs to, 32 hex digits; undefined: none. */
  trace: string | undefined;
}

/** How a job has ended. */
export interface Outcome {
  code: number;
  out: number;
  /** µs that the handler took; undefined: no worker answered. */
  micros: number | undefined;
  /** The try that ended so. @default {that of the job} */
  attempt?: number;
}

interface Stay {
  arrivedAt: number;
  /** When the last worker that got it did; undefined: none has. */
  sentAt: number | undefined;
  in: number;
}

/** Keeps what is known of requests until they end. */
export class AccessBook {
  readonly #service: string;
  readonly #write: (visit: Visit) => void;
  /** By the numbers of jobs that have not ended. */
  readonly #stays = new Map<number, Stay>();

  /** Gives each request of a service that has ended to `write`. */
  constructor(service: string, write: (visit: Visit) => void) {
    this.#service = service;
    this.#write = write;
  }

  /** A request has become a job. */
  arrived(job: Job<Body>, bytes: number, now: number): void {
    this.#stays.set(job.id, { arrivedAt: now, sentAt: undefined, in: bytes });
  }

  /** A worker has got a job. */
  sent({ id }: Job<Body>, now: number): void {
    const stay = this.#stays.get(id);
    if (stay !== undefined) stay.sentAt = now;
  }

  /** A job has ended, for those who waited for it. */
  ended(job: Job<Body>, to: readonly Asker<Body>[], outcome: Outcome, now: number): void {
    for (const asker of to) this.#writeVisit(job, asker, outcome, now);
    if (job.state === "ended") this.#stays.delete(job.id);
  }

  /** A request was answered from the cache. */
  cached(
    client: Client<Body>,
    code: number,
    bytes: { in: number; out: number },
    trace: string | undefined,
  ): void {
    this.#write({
      job: undefined,
      id: undefined,
      service: this.#service,
      client: readClient(client.peer.header),
      code,
      attempt: undefined,
      queued: 0,
      handler: undefined,
      total: 0,
      ...bytes,
      shared: "cached",
      trace,
    });
  }

  #writeVisit(job: Job<Body>, asker: Asker<Body>, outcome: Outcome, now: number): void {
    const { code, out, micros, attempt = attemptOf(job) } = outcome;
    const { arrivedAt = now, sentAt, in: bytes = 0 } = this.#stays.get(job.id) ?? {};
    this.#write({
      job: job.id,
      id: job.request.stored?.id,
      service: this.#service,
      client: readClient(asker.client.peer.header),
      code,
      attempt: sentAt === undefined ? undefined : attempt,
      queued: (sentAt ?? now) - arrivedAt,
      handler: micros === undefined ? undefined : micros / 1000,
      total: now - arrivedAt,
      in: bytes,
      out,
      shared: asker === job.asker ? undefined : "joined",
      trace: traceIn(job.request),
    });
  }
}
