/**
 * What waits for a worker: clients that have something waiting take turns, and each client's items go in order.
 * A client whose items move many bytes misses turns for it. What a worker gave back goes first. There is no
 * bound here: admission.ts has it.
 *
 * @module
 */

import { type Linked, List } from "./list.ts";

/** What can wait here. */
export interface Queued<T extends Queued<T>> extends Linked<T> {
  /** Whose turn it takes. */
  readonly line: Line<T>;
  /** What it takes in memory, bytes. */
  readonly bytes: number;
}

/** Bytes that cost a turn: moving them takes longer than a small job. */
const TURN_BYTES = 16_384;
/** Maximum number of turns in a row that a line misses. */
const MAX_DEBT = 16;

/** One client's place: the items that it has waiting. */
export class Line<T extends Queued<T>> implements Linked<Line<T>> {
  /** The place of the line in the round. */
  readonly links: { previous: Line<T> | undefined; next: Line<T> | undefined } = {
    previous: undefined,
    next: undefined,
  };
  /** The items of the line, the oldest first. */
  readonly items: List<T> = new List<T>();
  /** How many items that are. */
  size = 0;
  /** Turns that it is to miss while others wait. */
  debt = 0;

  /** Bytes were moved for the line: it misses a turn for each 16 KiB, up to 16 turns. */
  charge(bytes: number): void {
    if (bytes < TURN_BYTES) return;
    this.debt = Math.min(MAX_DEBT, this.debt + Math.floor(bytes / TURN_BYTES));
  }
}

/** Items that wait, fairly. */
export class FairQueue<T extends Queued<T>> {
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

  /** Adds an item behind the others of its line. */
  push(item: T): void {
    if (item.line.items.first === undefined) this.#round.push(item.line);
    item.line.items.push(item);
    item.line.size++;
    this.#count(item, 1);
  }

  /** Adds an item ahead of all others: a worker gave it back. */
  unshift(item: T): void {
    this.#returned.unshift(item);
    this.#inReturned.add(item);
    this.#count(item, 1);
  }

  /** Takes the next item out; its line moves to the end of the round. */
  shift(): T | undefined {
    const returned = this.#returned.first;
    if (returned !== undefined) {
      this.remove(returned);
      return returned;
    }
    const line = this.#nextLine();
    const item = line?.items.first;
    if (line === undefined || item === undefined) return undefined;
    line.items.remove(item);
    line.size--;
    if (line.size === 0) this.#round.remove(line);
    else this.#round.toBack(line);
    this.#count(item, -1);
    return item;
  }

  /** The line whose turn it is; lines that are to miss theirs go to the end of the round, unless no other is there. */
  #nextLine(): Line<T> | undefined {
    const round = this.#round;
    for (;;) {
      const line = round.first;
      if (line === undefined || line.debt === 0 || line === round.last) return line;
      line.debt--;
      round.toBack(line);
    }
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
    this.#count(item, -1);
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

  /** What was given back, in its order. */
  get returned(): Iterable<T> {
    return this.#returned;
  }

  /** The first item of each line; the others follow it by its links. */
  heads(): T[] {
    const heads: T[] = [];
    for (let line = this.#round.first; line !== undefined; line = line.links.next) {
      if (line.items.first !== undefined) heads.push(line.items.first);
    }
    return heads;
  }

  #count({ bytes }: T, sign: 1 | -1): void {
    this.#size += sign;
    this.#bytes += sign * bytes;
  }
}
