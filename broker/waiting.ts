/**
 * The jobs that no worker has: those in the queue, those under suspicion, and their deadlines. Takes `now` where
 * it matters, and has no say in what becomes of a job that it gives out.
 *
 * @module
 */

import { FairQueue } from "./fair_queue.ts";
import type { Asker, Client, Job } from "./job.ts";
import type { Row } from "./by_age.ts";
import { isSuspect, Suspects } from "./suspects.ts";

/** How often deadlines are checked, ms. */
const EXPIRY_INTERVAL = 100;
const NONE: readonly never[] = [];

const alone = () => undefined;

/** Jobs that wait for a worker. */
export class Waiting<B> {
  readonly #queue = new FairQueue<Job<B>>();
  /** Tries of stored jobs, which wait apart: requests go first. */
  readonly #stored = new FairQueue<Job<B>>();
  readonly #suspects = new Suspects<Job<B>>();
  /** Jobs that stand behind younger ones, as they have changed their lines. */
  readonly #moved = new Set<Job<B>>();
  /** How many of them have a deadline. */
  #withDeadline = 0;
  /** When deadlines are checked next, ms. */
  #checkAt = 0;

  /** How many wait. */
  get size(): number {
    return this.#queue.size + this.#stored.size + this.#suspects.size;
  }

  /** Their bytes. */
  get bytes(): number {
    return this.#queue.bytes + this.#stored.bytes + this.#suspects.bytes;
  }

  /** How many of them wait in the queue: clients' requests that are under no suspicion. */
  get queued(): number {
    return this.#queue.size;
  }

  /** The same of tries of stored jobs. */
  get stored(): number {
    return this.#stored.size;
  }

  /** Their bytes. */
  get storedBytes(): number {
    return this.#stored.bytes;
  }

  /** When the one came that has waited for longest, ms; undefined: none waits. */
  get oldestArrival(): number | undefined {
    let oldest = Infinity;
    for (const job of this.#single()) oldest = Math.min(oldest, job.arrivedAt);
    for (const job of this.#heads()) oldest = Math.min(oldest, job.arrivedAt);
    return oldest === Infinity ? undefined : oldest;
  }

  /** Adds a job that has just come. */
  add(job: Job<B>): void {
    this.#countDeadline(job);
    this.#queueOf(job).push(job);
  }

  /** Adds a job that a worker had, in front of the queue or of the suspects. */
  putBack(job: Job<B>): void {
    job.state = "queued";
    this.#countDeadline(job);
    if (isSuspect(job)) this.#suspects.release(job);
    else this.#queueOf(job).unshift(job);
  }

  /** Adds a job that a dead worker had, to wait for the verdict. */
  hold(job: Job<B>): void {
    job.state = "queued";
    this.#countDeadline(job);
    this.#suspects.hold(job);
  }

  /** The verdict on a job that is held is known: it may have its next try. */
  release(job: Job<B>): void {
    this.#suspects.release(job);
  }

  /** The last try of a job is over. */
  endTurn(job: Job<B>): void {
    this.#suspects.endTurn(job);
  }

  /** Takes out the request whose turn it is in the queue. */
  shift(): Job<B> | undefined {
    return this.#taken(this.#queue.shift());
  }

  /** The same of tries of stored jobs. */
  shiftStored(): Job<B> | undefined {
    return this.#taken(this.#stored.shift());
  }

  #taken(job: Job<B> | undefined): Job<B> | undefined {
    if (job === undefined) return undefined;
    if (job.deadline !== Infinity) this.#withDeadline--;
    if (this.#moved.size > 0) this.#moved.delete(job);
    return job;
  }

  /** The suspect whose turn it is; it stays here until it is removed. */
  nextSuspect(): Job<B> | undefined {
    return this.#suspects.next();
  }

  /** Takes out a job that waits. */
  remove(job: Job<B>): void {
    if (job.shelf === undefined) this.#queueOf(job).remove(job);
    else this.#suspects.remove(job);
    if (job.deadline !== Infinity) this.#withDeadline--;
    if (this.#moved.size > 0) this.#moved.delete(job);
  }

  /** Another asker is the first of a job, waiting or not; in the queue, it waits in the line of that one. */
  handOver(job: Job<B>, asker: Asker<B>): void {
    const isInLine = job.state === "queued" && job.shelf === undefined;
    if (isInLine) this.#queueOf(job).remove(job);
    job.asker = asker;
    job.line = asker.client.line;
    if (!isInLine) return;
    this.#queueOf(job).push(job);
    this.#moved.add(job);
  }

  /** A job that has a deadline, waiting or not, has a later one from now on. */
  postpone(job: Job<B>, deadline: number): void {
    if (job.state === "queued" && deadline === Infinity) this.#withDeadline--;
    job.deadline = deadline;
  }

  /** Takes out jobs whose deadline has passed, if it is time to check. */
  takeExpired(now: number): readonly Job<B>[] {
    if (this.wait(now) > 0) return NONE;
    this.#checkAt = now + EXPIRY_INTERVAL;
    const expired: Job<B>[] = [];
    for (const job of this) {
      if (job.deadline > now) continue;
      this.remove(job);
      expired.push(job);
    }
    return expired;
  }

  /** When deadlines are to be checked, ms from now; Infinity: no job has one. */
  wait(now: number): number {
    return this.#withDeadline === 0 ? Infinity : Math.max(0, this.#checkAt - now);
  }

  /** What waits in the queue in the line of a client; the job just given may be removed. */
  inLineOf(client: Client<B>): Generator<Job<B>> {
    return this.#queue.of(client.line);
  }

  /** All that waits for a client first; the job just given may be removed. */
  *of(client: Client<B>): Generator<Job<B>> {
    for (const job of this.#suspects) if (job.asker.client === client) yield job;
    yield* this.inLineOf(client);
  }

  /** All that waits; the job just given may be removed. */
  *[Symbol.iterator](): Generator<Job<B>> {
    yield* this.#suspects;
    yield* this.#queue;
    yield* this.#stored;
  }

  /** All that waits, in rows by age. */
  get rows(): Row<Job<B>>[] {
    const next = (job: Job<B>) => this.#nextInLine(job);
    const rows: Row<Job<B>>[] = [];
    for (const head of this.#heads()) {
      const first = this.#moved.has(head) ? next(head) : head;
      if (first !== undefined) rows.push({ first, next });
    }
    for (const first of this.#single()) rows.push({ first, next: alone });
    return rows;
  }

  /** The job of a number, if it waits. */
  find(id: number): Job<B> | undefined {
    for (const job of this.#single()) if (job.id === id) return job;
    for (const head of this.#heads()) {
      let job: Job<B> | undefined = head;
      while (job !== undefined && job.id !== id) job = job.links.next;
      if (job !== undefined) return job;
    }
    return undefined;
  }

  #nextInLine({ links }: Job<B>): Job<B> | undefined {
    let { next } = links;
    if (this.#moved.size === 0) return next;
    while (next !== undefined && this.#moved.has(next)) next = next.links.next;
    return next;
  }

  /** What waits in no line, or stands behind younger ones there. */
  *#single(): Generator<Job<B>> {
    yield* this.#suspects;
    yield* this.#queue.returned;
    yield* this.#stored.returned;
    yield* this.#moved;
  }

  /** The first of each line. */
  #heads(): Job<B>[] {
    return this.#stored.size === 0
      ? this.#queue.heads()
      : [...this.#queue.heads(), ...this.#stored.heads()];
  }

  #queueOf({ request }: Job<B>): FairQueue<Job<B>> {
    return request.stored === undefined ? this.#queue : this.#stored;
  }

  #countDeadline({ deadline }: Job<B>): void {
    if (deadline !== Infinity) this.#withDeadline++;
  }
}
