/**
 * Requests of one key that wait for one job together: which job a key names, who has joined it, and who has left.
 *
 * @module
 */

import {
  type Asker,
  askersOf,
  type Client,
  forgetRequest,
  type Job,
  type JobRequest,
  noteRequest,
} from "./job.ts";
import type { BrokerLimits } from "./limits.ts";
import type { Waiting } from "./waiting.ts";

/** Maximum number of requests that join one job. */
const MAX_JOINED = 1000;

/** Live jobs by their keys, and those who share them. */
export class SharedRequests<B> {
  #limit: number;
  readonly #keyed = new Map<string, Job<B>>();
  /** Jobs that several wait for. */
  readonly #shared = new Set<Job<B>>();
  /** Requests that have joined them. */
  #joined = 0;
  readonly #waiting: Pick<Waiting<B>, "handOver" | "postpone">;

  /**
   * Starts without a job. Requests that join are not in the queue, so they have its limit once more; `waiting`
   * learns whose turns a job takes, and how long it may wait.
   */
  constructor(
    { queueLimit }: Pick<BrokerLimits, "queueLimit">,
    waiting: Pick<Waiting<B>, "handOver" | "postpone">,
  ) {
    this.#limit = queueLimit;
    this.#waiting = waiting;
  }

  /** Applies another limit from now on. */
  configure({ queueLimit }: Pick<BrokerLimits, "queueLimit">): void {
    this.#limit = queueLimit;
  }

  /** The job that requests of a key may join; undefined: there is none, or no key. */
  find(key: string): Job<B> | undefined {
    return key === "" ? undefined : this.#keyed.get(key);
  }

  /** Whether one more request may join a job. */
  hasRoom(job: Job<B>): boolean {
    return job.others.length < MAX_JOINED && this.#joined < this.#limit;
  }

  /** Others may join a job from now on, if it has a key. */
  offer(job: Job<B>): void {
    if (job.request.key !== "") this.#keyed.set(job.request.key, job);
  }

  /** Nobody else may join a job. */
  withdraw(job: Job<B>): void {
    const { key } = job.request;
    if (key !== "" && this.#keyed.get(key) === job) this.#keyed.delete(key);
  }

  /** One more waits for the answer to a job. */
  join(job: Job<B>, { client, envelope, requestId, deadline }: JobRequest<B>): void {
    // Without the body, which is not needed.
    const asker = { client, envelope, requestId };
    noteRequest(job, asker);
    job.others = [...job.others, asker];
    if (deadline > job.deadline) this.#waiting.postpone(job, deadline);
    this.#joined++;
    this.#shared.add(job);
  }

  /** One of several no longer waits for a job. */
  leave(job: Job<B>, asker: Asker<B>): void {
    this.#keep(job, askersOf(job).filter((other) => other !== asker));
  }

  /** Only the first of those who wait for a job still does. */
  leaveToFirst(job: Job<B>): void {
    if (job.others.length > 0) this.#keep(job, [job.asker]);
  }

  /**
   * A client no longer waits for what it shares with others; how many of its requests that drops. Where all who
   * wait for a job are this client, the last of them stays.
   */
  leaveAll(client: Client<B>): number {
    let dropped = 0;
    for (const job of this.#shared) {
      const all = askersOf(job);
      const others = all.filter((asker) => asker.client !== client);
      const staying = others.length > 0 ? others : all.slice(-1);
      dropped += all.length - staying.length;
      if (staying.length < all.length) this.#keep(job, staying);
    }
    return dropped;
  }

  /** A job has ended: those who wait for it get its answer. */
  end(job: Job<B>): void {
    this.withdraw(job);
    if (job.others.length === 0) return;
    this.#joined -= job.others.length;
    this.#shared.delete(job);
  }

  #keep(job: Job<B>, staying: readonly Asker<B>[]): void {
    const kept = new Set(staying);
    for (const asker of askersOf(job)) if (!kept.has(asker)) forgetRequest(job, asker);
    const [first = job.asker, ...others] = staying;
    this.#joined -= job.others.length - others.length;
    job.others = others;
    if (others.length === 0) this.#shared.delete(job);
    if (first !== job.asker) this.#waiting.handOver(job, first);
  }
}
