/**
 * What waits for a worker, in memory: in turn among the clients that have something waiting, in order
 * within each. What a worker gave back comes first. Knows no limit: the broker asks for the size.
 *
 * @module
 */

import { type Linked, List } from "./list.ts";

/** What can wait here. */
export interface Waiting<T extends Waiting<T>> extends Linked<T> {
  /** Whose turn it takes. */
  readonly line: Line<T>;
  /** Its weight, for the sum. */
  readonly bytes: number;
}

/** One client's place: the items that it has waiting. */
export class Line<T extends Waiting<T>> implements Linked<Line<T>> {
  /** Its place in the round. */
  readonly links: { previous: Line<T> | undefined; next: Line<T> | undefined } = {
    previous: undefined,
    next: undefined,
  };
  /** Its items, the oldest first. */
  readonly items: List<T> = new List<T>();
  /** How many they are. */
  size = 0;
}

/** Items that wait, fairly. */
export class FairQueue<T extends Waiting<T>> {
  readonly #returned = new List<T>();
  readonly #round = new List<Line<T>>();
  readonly #inReturned = new Set<T>();
  #size = 0;
  #bytes = 0;

  /** How many wait. */
  get size(): number {
    return this.#size;
  }

  /** Their bytes in all. */
  get bytes(): number {
    return this.#bytes;
  }

  /** The one that `shift` takes. */
  get first(): T | undefined {
    return this.#returned.first ?? this.#round.first?.items.first;
  }

  /** Adds an item behind the others of its line. */
  push(item: T): void {
    if (item.line.items.first === undefined) this.#round.push(item.line);
    item.line.items.push(item);
    item.line.size++;
    this.#grow(item);
  }

  /** Adds an item ahead of all others: a worker gave it back. */
  unshift(item: T): void {
    this.#returned.unshift(item);
    this.#inReturned.add(item);
    this.#grow(item);
  }

  /** Takes the next one out; its line moves to the end of the round. */
  shift(): T | undefined {
    const returned = this.#returned.first;
    if (returned !== undefined) {
      this.remove(returned);
      return returned;
    }
    const line = this.#round.first;
    const item = line?.items.first;
    if (line === undefined || item === undefined) return undefined;
    this.#round.remove(line);
    line.items.remove(item);
    line.size--;
    if (line.items.first !== undefined) this.#round.push(line);
    this.#shrink(item);
    return item;
  }

  /** Takes out an item that waits here. */
  remove(item: T): void {
    if (this.#inReturned.delete(item)) {
      this.#returned.remove(item);
    } else {
      item.line.items.remove(item);
      item.line.size--;
      if (item.line.items.first === undefined) this.#round.remove(item.line);
    }
    this.#shrink(item);
  }

  /** All that waits, in no particular order among lines; the item just given may be removed. */
  *[Symbol.iterator](): Generator<T> {
    yield* this.#returned;
    for (const line of this.#round) yield* line.items;
  }

  /** What waits of one line; the item just given may be removed. */
  *of(line: Line<T>): Generator<T> {
    for (const item of this.#returned) if (item.line === line) yield item;
    yield* line.items;
  }

  #grow(item: T): void {
    this.#size++;
    this.#bytes += item.bytes;
  }

  #shrink(item: T): void {
    this.#size--;
    this.#bytes -= item.bytes;
  }
}
