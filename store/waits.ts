/**
 * Questions about jobs that wait for news. Knows no clock: it is told the time.
 *
 * @module
 */

import type { StoreUser } from "./job_store.ts";

/** A question that is not answered yet. */
export interface Wait {
  from: StoreUser;
  /** The asker's. */
  number: number;
  /** The job, as its store names it. */
  job: number | string;
  /** The version that is known; of those who wait for the end, undefined. */
  since: number | undefined;
  wantsResult: boolean;
  /** When it is answered anyway, ms. */
  deadline: number;
}

/** Questions that wait at most: each takes some hundred bytes. */
const MOST = 65_536;
/** Deadlines that are so near to each other are kept together, ms. */
const GRAIN = 20;

/** Open questions. */
export class Waits {
  readonly #byJob = new Map<number | string, Wait[]>();
  readonly #byNumber: Record<StoreUser, Map<number, Wait>> = {
    plane: new Map(),
    server: new Map(),
  };
  /** No deadline is earlier. */
  #nextAt = Infinity;
  #lookedAt = -Infinity;

  /** Whether no more can wait. */
  get isFull(): boolean {
    return this.#byNumber.plane.size + this.#byNumber.server.size >= MOST;
  }

  /** Whether nobody waits. */
  get isEmpty(): boolean {
    return this.#byJob.size === 0;
  }

  /** How long until a deadline, ms. */
  waitMs(now: number): number {
    if (this.#nextAt === Infinity) return Infinity;
    return Math.max(this.#nextAt, this.#lookedAt + GRAIN) - now;
  }

  /** One more waits. */
  add(wait: Wait): void {
    const of = this.#byJob.get(wait.job);
    if (of === undefined) this.#byJob.set(wait.job, [wait]);
    else of.push(wait);
    this.#byNumber[wait.from].set(wait.number, wait);
    this.#nextAt = Math.min(this.#nextAt, wait.deadline);
  }

  /** Those that wait for a job. */
  of(job: number | string): readonly Wait[] {
    return this.#byJob.get(job) ?? [];
  }

  /** It was answered. */
  remove(wait: Wait): void {
    this.#byNumber[wait.from].delete(wait.number);
    const rest = this.of(wait.job).filter((one) => one !== wait);
    if (rest.length === 0) this.#byJob.delete(wait.job);
    else this.#byJob.set(wait.job, rest);
  }

  /** The answer is not needed any more. */
  withdraw(from: StoreUser, number: number): void {
    const wait = this.#byNumber[from].get(number);
    if (wait !== undefined) this.remove(wait);
  }

  /** Those whose time is over. */
  due(now: number): Wait[] {
    if (this.waitMs(now) > 0) return [];
    this.#lookedAt = now;
    const due: Wait[] = [];
    this.#nextAt = Infinity;
    for (const waits of Object.values(this.#byNumber)) {
      for (const wait of waits.values()) {
        if (wait.deadline <= now) due.push(wait);
        else this.#nextAt = Math.min(this.#nextAt, wait.deadline);
      }
    }
    return due;
  }

  /** All of them. */
  all(): Wait[] {
    return Object.values(this.#byNumber).flatMap((waits) => [...waits.values()]);
  }
}
