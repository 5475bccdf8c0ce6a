/**
 * Answers in parts: what each client takes of its own, what it has got, and which ones wait for their clients. Knows
 * no body and no socket.
 *
 * @module
 */

import { Credit, type StreamCredit } from "../wire/credit.ts";

/** An answer that may come in parts. */
export class Stream {
  /** What the client takes before it grants more. */
  readonly credit: Credit;
  /** Whether it takes parts at all; if not, it wants to know how far its job is. */
  readonly takesParts: boolean;
  /** Whether another worker may go on where one has died. */
  readonly resumable: boolean;
  /** Whether the worker that sends it does not know where another has stopped. */
  #isStrangers = false;
  /** Parts that the client was sent, and their bytes. */
  sent = 0;
  bytes = 0;

  /** Nothing was sent yet. */
  constructor(credit: StreamCredit, resumable: boolean) {
    this.credit = new Credit(credit);
    this.takesParts = credit.parts > 0;
    this.resumable = resumable;
  }

  /** A part has come from the worker; false: it must not have sent it. */
  take(bytes: number): boolean {
    if (!this.takesParts || !this.credit.take(bytes)) return false;
    this.sent++;
    this.bytes += bytes;
    return true;
  }

  /** A worker sends it that could not go on where another has stopped. */
  tie(): void {
    this.#isStrangers = true;
  }

  /** Whether the client would get something twice, or not at all, if another worker ran the job. */
  get isTied(): boolean {
    return this.sent > 0 && (!this.resumable || this.#isStrangers);
  }
}

/** A job that may be answered in parts. */
interface Streamed {
  stream: Stream | undefined;
}

/** Jobs of workers that wait until their clients take more. */
export class Starving {
  readonly #jobs = new Set<Streamed>();

  /** Whether there are some: what their clients send must be read, whatever else is full. */
  get areThere(): boolean {
    return this.#jobs.size > 0;
  }

  /** A worker has got a job, has sent a part, or may send more. */
  look(job: Streamed): void {
    const { stream } = job;
    if (stream === undefined || !stream.takesParts) return;
    if (stream.credit.isOpen) this.#jobs.delete(job);
    else this.#jobs.add(job);
  }

  /** A worker has a job no more. */
  forget(job: Streamed): void {
    if (job.stream !== undefined) this.#jobs.delete(job);
  }
}
