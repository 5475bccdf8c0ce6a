/**
 * What becomes of a job that no worker has any more: it waits again, or it ends, once. Answers that the broker
 * gives itself are kept here until they are fetched.
 *
 * @module
 */

import { Code, StatusFlag } from "../wire/request.ts";
import type { Admission } from "./admission.ts";
import type { BrokerCounters } from "./counters.ts";
import {
  type Asker,
  askersOf,
  attemptOf,
  forgetRequest,
  type Job,
  lastAttemptOf,
  newPeer,
  noteRequest,
} from "./job.ts";
import type { SharedRequests } from "./shared_requests.ts";
import { triesOf } from "./suspects.ts";
import type { Waiting } from "./waiting.ts";

/** An answer that the broker itself gives. */
export interface Ended<B> {
  job: Job<B>;
  /** Who gets it: those of the askers who are connected. */
  to: readonly Asker<B>[];
  code: number;
  message: string;
  /** `StatusFlag`s of the answer. */
  flags: number;
  /** The try that ended so, or the last one there was. */
  attempt: number;
  /** Whether the job has ended; if not, others still wait for it, or only its worker has not ended it. */
  last: boolean;
  /** Whether all who waited for the job were answered before. */
  wasAnswered: boolean;
}

const NONE: readonly never[] = [];
const NO_FLAGS = 0;
const CANCELLED = "The request was cancelled";

/** The ends of jobs, and their ways back. */
export class Endings<B> {
  readonly #admission: Pick<Admission<B>, "isServing">;
  readonly #waiting: Waiting<B>;
  readonly #shared: SharedRequests<B>;
  readonly #counters: BrokerCounters;
  #ended: Ended<B>[] = [];
  /** Takes the place of those who waited for a job that a worker has not ended. */
  readonly #nobody: Asker<B> = nobody();

  /** Puts jobs back to `waiting`, and counts. */
  constructor(
    admission: Pick<Admission<B>, "isServing">,
    waiting: Waiting<B>,
    shared: SharedRequests<B>,
    counters: BrokerCounters,
  ) {
    this.#admission = admission;
    this.#waiting = waiting;
    this.#shared = shared;
    this.#counters = counters;
  }

  /** A worker has a job no more: it goes to the front of the queue, or of the suspects, if it comes back. */
  putBack(job: Job<B>): void {
    if (!this.comesBack(job)) return;
    this.#counters.returned++;
    this.#waiting.putBack(job);
  }

  /**
   * Whether a job that a worker had waits again; it ends if nobody waits for it, its client has got parts of the
   * answer, or nothing is started any more.
   */
  comesBack(job: Job<B>): boolean {
    if (job.state === "aborted") this.cancel(job);
    else if (job.stream?.isTied) this.breakOff(job);
    else if (!this.#admission.isServing) this.turnAway(job);
    else return true;
    return false;
  }

  /** A worker has answered: what is to be sent to whom is in the job's record. */
  finish(job: Job<B>): void {
    job.state = "ended";
    this.#waiting.endTurn(job);
    this.#shared.end(job);
    forgetRequest(job, job.asker);
    for (const other of job.others) forgetRequest(job, other);
  }

  /** Ends a job by an answer of the broker's own, for those who still wait for one. */
  answer(
    job: Job<B>,
    code: number,
    message: string,
    flags = NO_FLAGS,
    attempt = lastAttemptOf(job),
  ): void {
    this.finish(job);
    const to = askersOf(job).filter(({ client }) => client.peer.connected);
    const wasAnswered = job.asker === this.#nobody;
    this.#ended.push({ job, to, code, message, flags, attempt, last: true, wasAnswered });
  }

  /** Answers 503: there is no room. */
  refuse(job: Job<B>, message: string): void {
    this.#counters.refused++;
    this.answer(job, Code.unavailable, message);
  }

  /** Answers 503: this server will not start the job. A job that never ran may be sent to another server. */
  turnAway(job: Job<B>): void {
    this.#counters.refused++;
    const flags = job.begun ? NO_FLAGS : StatusFlag.unstarted;
    this.answer(job, Code.unavailable, "The server is shutting down", flags);
  }

  /** Answers 408. */
  expire(job: Job<B>): void {
    this.#counters.expired++;
    this.answer(job, Code.expired, "The deadline passed before the job was started");
  }

  /** Answers 502: too many workers died on the job. */
  giveUp(job: Job<B>): void {
    this.#counters.lost++;
    // Whoever counts the tries of a stored job counts more than this one.
    const isStored = job.request.stored !== undefined;
    const died = isStored ? "while it ran this job" : `${triesOf(job)} times on this job`;
    this.answer(job, Code.workerDied, `The worker died ${died}`);
  }

  /** Answers 502: no other worker can go on with the answer. */
  breakOff(job: Job<B>): void {
    this.#counters.lost++;
    const message = "The worker died in the middle of the answer";
    // What is known of its worker's end is not put down any more.
    this.answer(job, Code.workerDied, message, NO_FLAGS, attemptOf(job));
  }

  /** Answers 500: a worker has sent what it must not send. */
  disbelieve(job: Job<B>): void {
    this.answer(job, Code.handlerFailed, "The worker has sent a part that nobody has asked for");
  }

  /** Answers 502: the job lost its worker because of another, and must not be started twice. */
  giveUpDisplaced(job: Job<B>): void {
    this.#counters.lost++;
    const reason = "The worker was ended because of another job, and maxAttempts is 1";
    this.answer(job, Code.workerDied, reason);
  }

  /** Answers 504: the handler does not stop. */
  overrun(job: Job<B>): void {
    if (job.state === "aborted") return this.cancel(job);
    this.#counters.overran++;
    const limit = `The handler ran past its limit of ${job.request.requestTimeout} ms`;
    this.answer(job, Code.handlerTimeout, limit, NO_FLAGS, attemptOf(job));
  }

  /** Answers 499: nobody wants the answer any more. */
  cancel(job: Job<B>): void {
    this.answer(job, Code.cancelled, CANCELLED);
  }

  /** Answers 499 to one of those who waited for a job, which goes on for the others. */
  cancelFor(asker: Asker<B>, job: Job<B>): void {
    this.#cancelFor([asker], job);
  }

  #cancelFor(to: readonly Asker<B>[], job: Job<B>): void {
    const attempt = lastAttemptOf(job);
    const answer = { code: Code.cancelled, message: CANCELLED, flags: NO_FLAGS, attempt };
    this.#ended.push({ job, to, ...answer, last: false, wasAnswered: false });
  }

  /** Answers 499 to all who wait for a job that a worker has: it ends once its worker says so, for nobody. */
  cancelForAll(job: Job<B>): void {
    this.#cancelFor(askersOf(job), job);
    this.#shared.leaveToFirst(job);
    forgetRequest(job, job.asker);
    this.#waiting.handOver(job, this.#nobody);
    noteRequest(job, this.#nobody);
  }

  /** The answers that were given since the last call. */
  take(): readonly Ended<B>[] {
    if (this.#ended.length === 0) return NONE;
    const ended = this.#ended;
    this.#ended = [];
    return ended;
  }
}

function nobody<B>(): Asker<B> {
  const peer = newPeer<B>(0, new Uint8Array(0));
  peer.connected = false;
  return { client: peer.home, envelope: [], requestId: undefined };
}
