/**
 * Jobs whose worker died while it had them, and how they get another try. It knows no clock and no worker.
 *
 *     its worker died → held ─excused→ in line ─its turn─┐
 *                        │                               ├→ ready → (a worker for itself)
 *                        ├─guilty, not the last time─────┤
 *                        └─stranded──────────────────────┘
 *
 * A job that was excused may have killed its worker all the same, at the same time as others. Excused jobs run
 * one at a time in the whole pool: a turn lasts until the job has ended, or the next death of its worker was
 * judged. So a worker that such a job kills dies alone, which is not an excuse any more.
 *
 * @module
 */

import type { Verdict } from "./inquest.ts";
import { type Linked, List } from "./list.ts";

/** What is known against a job. */
export interface Past {
  /** Workers that died because of the job, as far as is known. */
  deaths: number;
  /** 1 if a worker died that had several jobs, so that it is not known whether it ran this one; else 0. */
  doubts: number;
  /** Workers that died with the job, but at the same time as others. */
  excused: number;
  /** Times that its worker was ended because of another job there. */
  beside: number;
  /** Times that the machine of its worker was gone, or the network to it. */
  stranded: number;
}

/** A job that can be a suspect. */
export interface Suspect<T> extends Linked<T>, Past {
  /** Its number. */
  readonly id: number;
  /** What it takes in memory, bytes. */
  readonly bytes: number;
  /** Where it waits among the suspects; undefined: it does not. */
  shelf: Shelf | undefined;
}

/** held: for a verdict; inLine: for its turn; ready: for a worker. */
export type Shelf = "held" | "inLine" | "ready";

/** A job is given up after this many times `maxAttempts` deaths of any kind. */
const ANY_DEATHS = 3;
/** Not the number of any job. */
const NOBODY = 0;

/** Jobs under suspicion that wait. */
export class Suspects<T extends Suspect<T>> {
  readonly #shelves = { held: new List<T>(), inLine: new List<T>(), ready: new List<T>() };
  #size = 0;
  #bytes = 0;
  /** The excused job that has its turn. */
  #turn = NOBODY;

  /** How many wait. */
  get size(): number {
    return this.#size;
  }

  /** Their bytes in all. */
  get bytes(): number {
    return this.#bytes;
  }

  /** The next suspect for a worker; it stays here until it is removed. */
  next(): T | undefined {
    const next = this.#shelves.inLine.first;
    if (next !== undefined && this.#turn === NOBODY) {
      this.remove(next);
      this.#turn = next.id;
      this.#add(next, "ready");
    }
    return this.#shelves.ready.first;
  }

  /** Keeps a job until the death of its worker is judged. */
  hold(job: T): void {
    this.#add(job, "held");
  }

  /** Lets a job have its next try: at once, or in turn. */
  release(job: T): void {
    if (job.shelf !== undefined) this.remove(job);
    if (job.excused > 0 && this.#turn !== job.id) this.#add(job, "inLine");
    else {
      job.shelf = "ready";
      this.#shelves.ready.unshift(job);
      this.#count(job, 1);
    }
  }

  /** Takes out a job that waits here. */
  remove(job: T): void {
    if (job.shelf === undefined) return;
    this.#shelves[job.shelf].remove(job);
    job.shelf = undefined;
    this.#count(job, -1);
  }

  /** A job has ended, or was judged: its turn is over, if it had one. */
  endTurn(job: T): void {
    if (this.#turn === job.id) this.#turn = NOBODY;
  }

  /** All that wait; the item just given may be removed. */
  *[Symbol.iterator](): Generator<T> {
    yield* this.#shelves.held;
    yield* this.#shelves.inLine;
    yield* this.#shelves.ready;
  }

  #add(job: T, shelf: Shelf): void {
    job.shelf = shelf;
    this.#shelves[shelf].push(job);
    this.#count(job, 1);
  }

  #count({ bytes }: T, sign: 1 | -1): void {
    this.#size += sign;
    this.#bytes += sign * bytes;
  }
}

/**
 * Notes a death against a job. `known`: the job was running. If not, its worker had more jobs than it can run,
 * and the death counts only if the job ends its next worker as well: then both count.
 */
export function blame(job: Past, verdict: Verdict, known: boolean): void {
  if (verdict === "excused") job.excused++;
  else if (verdict === "stranded") job.stranded++;
  else if (known) {
    job.deaths += 1 + job.doubts;
    job.doubts = 0;
  } else job.doubts = 1;
}

/** Workers that had a job and are gone; it may have run in each of them. */
export function triesOf({ deaths, doubts, excused, beside, stranded }: Past): number {
  return deaths + doubts + excused + beside + stranded;
}

/** Whether a job gets a worker for itself: it may end the worker, or another job has ended its last one. */
export function isSuspect(job: Past): boolean {
  return triesOf(job) > 0;
}

/** Whether a job gets no further try. */
export function isHopeless(
  { deaths, doubts, excused, stranded }: Past,
  maxAttempts: number,
): boolean {
  const all = deaths + doubts + excused + stranded;
  return deaths >= maxAttempts || all >= ANY_DEATHS * maxAttempts;
}
