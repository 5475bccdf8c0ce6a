/**
 * A page of a list of jobs, in the order in which they were submitted: NATS keeps records in the order of their last
 * change, so a page is what is first among all of them. Pure.
 *
 * @module
 */

import type { JobRecord } from "./nats_record.ts";

/** What a job's place in a list comes from; it stays the same for its whole life. */
export type Place = Pick<JobRecord, "createdAt" | "nth" | "id">;

/** Negative: the first one was submitted before the other, by the clocks of the nodes that have taken them. */
export function compareBirths(one: Place, other: Place): number {
  const difference = one.createdAt - other.createdAt || (one.nth ?? 0) - (other.nth ?? 0);
  return difference || (one.id < other.id ? -1 : one.id > other.id ? 1 : 0);
}

/** The first ones of all that are added. */
export class Page<T> {
  readonly #most: number;
  readonly #after: Place | undefined;
  readonly #found: { place: Place; what: T }[] = [];

  /** Has `most` of them, all behind `after`; undefined: from the first on. */
  constructor(most: number, after: Place | undefined) {
    this.#most = most;
    this.#after = after;
  }

  /** In their order. */
  get all(): T[] {
    return this.#found.map(({ what }) => what);
  }

  /** Takes one into account. */
  add(place: Place, what: T): void {
    const found = this.#found;
    if (this.#after !== undefined && compareBirths(place, this.#after) <= 0) return;
    const last = found.at(-1);
    const isBehind = last === undefined || compareBirths(last.place, place) < 0;
    if (isBehind && found.length >= this.#most) return;
    found.splice(isBehind ? found.length : this.#indexFor(place), 0, { place, what });
    if (found.length > this.#most) found.pop();
  }

  #indexFor(place: Place): number {
    let low = 0;
    let high = this.#found.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      const there = this.#found[middle];
      if (there !== undefined && compareBirths(there.place, place) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
