/**
 * What a service has done since its start, for metrics: how its requests ended, what was moved, and how long jobs
 * waited and took. Counts only, and has no clock.
 *
 * @module
 */

import { Code } from "../wire/request.ts";
import { Histogram, type Spread } from "./histogram.ts";
import type { Job } from "./job.ts";

/** What a `Meter` has counted. */
export interface Metered {
  /** Answers by code: one for each request that has ended, whether or not its client was still there. */
  replies: Record<number, number>;
  /** Bytes of requests' bodies. */
  bytesIn: number;
  /** Bytes of answers and of their parts, once for each who waited. */
  bytesOut: number;
  /** Times a job was given to a worker. */
  attempts: number;
  /** Those of the attempts that were not a job's first. */
  redelivered: number;
  /** From a job's arrival until its last worker got it, or until its deadline. */
  waiting: Spread;
  /** In the handler, by the worker's own clock: of jobs that a worker answered. */
  handling: Spread;
  /** From a job's arrival until its end. Refused and cancelled requests have no times. */
  total: Spread;
}

/** When a job came and went. */
type Dated = Pick<Job<unknown>, "arrivedAt" | "sentAt">;

/** Ends that the broker itself gives to jobs which it had taken in, and nobody has taken back. */
const BROKEN: ReadonlySet<number> = new Set([
  Code.expired,
  Code.handlerFailed,
  Code.workerDied,
  Code.handlerTimeout,
]);

/** The meter of one service. */
export class Meter {
  /** See `Metered`. */
  bytesIn = 0;
  /** The same. */
  bytesOut = 0;
  #attempts = 0;
  #redelivered = 0;
  #results = 0;
  readonly #errors = new Map<number, number>();
  readonly #waiting = new Histogram();
  readonly #handling = new Histogram();
  readonly #total = new Histogram();

  /** A worker gets a job, whose `sentAt` is still that of the attempt before, 0 if there was none. */
  assigned({ sentAt }: Dated): void {
    this.#attempts++;
    if (sentAt !== 0) this.#redelivered++;
  }

  /** So many requests were answered. */
  replied(code: number, requests: number): void {
    if (code === Code.ok) this.#results += requests;
    else this.#errors.set(code, (this.#errors.get(code) ?? 0) + requests);
  }

  /** A worker has answered a job, whose handler took so many µs. */
  answered({ arrivedAt, sentAt }: Dated, micros: number, now: number): void {
    this.#waiting.add((sentAt - arrivedAt) * 1000);
    this.#handling.add(micros);
    this.#total.add((now - arrivedAt) * 1000);
  }

  /** A job has ended without a worker's answer. */
  ended({ arrivedAt, sentAt }: Dated, code: number, now: number): void {
    if (!BROKEN.has(code)) return;
    const waitedUntil = code === Code.expired || sentAt === 0 ? now : sentAt;
    this.#waiting.add((waitedUntil - arrivedAt) * 1000);
    this.#total.add((now - arrivedAt) * 1000);
  }

  /** What was counted so far, as a copy. */
  read(): Metered {
    const results = this.#results > 0 ? [[Code.ok, this.#results] as const] : [];
    return {
      replies: Object.fromEntries([...results, ...this.#errors]),
      bytesIn: this.bytesIn,
      bytesOut: this.bytesOut,
      attempts: this.#attempts,
      redelivered: this.#redelivered,
      waiting: this.#waiting.read(),
      handling: this.#handling.read(),
      total: this.#total.read(),
    };
  }
}
