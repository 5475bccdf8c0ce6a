/**
 * The jobs that a worker has: by their numbers, and in the order in which it got them.
 *
 * @module
 */

import { type Linked, List } from "./list.ts";
import { NumberTable } from "./number_table.ts";

/** Jobs by number, in the order in which they came. None of them is in a list of another kind. */
export class JobTable<T extends Linked<T>> {
  readonly #byNumber = new NumberTable<T>();
  readonly #inOrder = new List<T>();

  /** How many jobs there are. */
  get size(): number {
    return this.#byNumber.size;
  }

  /** The job that came first of those that are here. */
  get first(): T | undefined {
    return this.#inOrder.first;
  }

  /** The job of a number. */
  get(id: number): T | undefined {
    return this.#byNumber.get(id);
  }

  /** Adds a job, which is not here. */
  set(id: number, job: T): void {
    this.#byNumber.set(id, job);
    this.#inOrder.push(job);
  }

  /** Takes a job out; false: it was not here. */
  delete(id: number): boolean {
    const job = this.#byNumber.take(id);
    if (job === undefined) return false;
    this.#inOrder.remove(job);
    return true;
  }

  /** Takes all jobs out. */
  clear(): void {
    for (const job of this.#inOrder) this.#inOrder.remove(job);
    this.#byNumber.clear();
  }

  /** The jobs in order; the one just given may be taken out. */
  values(): Generator<T> {
    return this.#inOrder[Symbol.iterator]();
  }
}
