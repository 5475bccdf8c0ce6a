/**
 * Jobs of many rows in the order in which they came: whoever wants the oldest few need not look at all.
 *
 * @module
 */

/** What has a number that says in which order it came. */
interface Numbered {
  readonly id: number;
}

/** Items in the order in which they came: the first of them, and what is behind each. */
export interface Row<T extends Numbered> {
  readonly first: T;
  next(item: T): T | undefined;
}

/**
 * The oldest items of all rows, up to `most`, the oldest first. Costs one step for each row, and a few for each item
 * that is given.
 */
export function oldestOf<T extends Numbered>(rows: readonly Row<T>[], most: number): T[] {
  const heap = new Heap(rows);
  const oldest: T[] = [];
  while (oldest.length < most) {
    const item = heap.take();
    if (item === undefined) break;
    oldest.push(item);
  }
  return oldest;
}

/** The first items of rows that are not used up, the oldest of them on top. */
class Heap<T extends Numbered> {
  readonly #rows: Row<T>[];
  readonly #items: T[];
  /** The numbers of the items. */
  readonly #ids: number[];

  constructor(rows: readonly Row<T>[]) {
    this.#rows = [...rows];
    this.#items = rows.map(({ first }) => first);
    this.#ids = this.#items.map(({ id }) => id);
    for (let index = (rows.length >> 1) - 1; index >= 0; index--) this.#sink(index);
  }

  /** Takes the oldest item out; the next one of its row takes its place. */
  take(): T | undefined {
    const item = this.#items[0];
    const row = this.#rows[0];
    if (item === undefined || row === undefined) return undefined;
    const next = row.next(item);
    if (next === undefined) this.#drop();
    else {
      this.#items[0] = next;
      this.#ids[0] = next.id;
    }
    this.#sink(0);
    return item;
  }

  /** The row on top is used up: the last one takes its place. */
  #drop(): void {
    const [row, item, id] = [this.#rows.pop(), this.#items.pop(), this.#ids.pop()];
    if (this.#rows.length === 0 || row === undefined || item === undefined) return;
    this.#rows[0] = row;
    this.#items[0] = item;
    this.#ids[0] = id ?? Infinity;
  }

  /** Lets an item sink to its place: none is older than the one that it hangs from. */
  #sink(start: number): void {
    const ids = this.#ids;
    for (let index = start;;) {
      const left = 2 * index + 1;
      const child = (ids[left + 1] ?? Infinity) < (ids[left] ?? Infinity) ? left + 1 : left;
      if ((ids[child] ?? Infinity) >= (ids[index] ?? Infinity)) return;
      swap(ids, index, child);
      swap(this.#items, index, child);
      swap(this.#rows, index, child);
      index = child;
    }
  }
}

function swap<T>(list: T[], one: number, other: number): void {
  const [former, latter] = [list[one], list[other]];
  if (former === undefined || latter === undefined) return;
  list[one] = latter;
  list[other] = former;
}
