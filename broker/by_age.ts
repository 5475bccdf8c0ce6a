/**
 * Jobs of many rows in the order in which they came, one by one: whoever wants the oldest few need not look at all.
 *
 * @module
 */

/** What has a number that says in which order it came. */
interface Numbered {
  readonly id: number;
}

/** Items in the order in which they came: the first of them, and what is behind each. */
export interface Row<T extends Numbered> {
  job: T;
  next(job: T): T | undefined;
}

/**
 * Gives the items of all rows, the oldest first. The rows are used up, and nothing may join or leave them meanwhile.
 * Costs one step for each row, and a few for each item that is given.
 */
export function* byAge<T extends Numbered>(rows: Row<T>[]): Generator<T> {
  for (let index = rows.length >> 1; index >= 0; index--) sink(rows, index);
  for (let first = rows[0]; first !== undefined; first = rows[0]) {
    const { job } = first;
    const next = first.next(job);
    if (next !== undefined) first.job = next;
    else {
      const last = rows.pop();
      if (last !== undefined && last !== first) rows[0] = last;
    }
    sink(rows, 0);
    yield job;
  }
}

/** Lets a row of the heap sink to its place: no row is older than the one that it hangs from. */
function sink<T extends Numbered>(rows: Row<T>[], start: number): void {
  let index = start;
  for (;;) {
    const oldest = oldestOf(rows, index);
    if (oldest === index) return;
    const [row, other] = [rows[index], rows[oldest]];
    if (row === undefined || other === undefined) return;
    rows[index] = other;
    rows[oldest] = row;
    index = oldest;
  }
}

/** Of a row and the two that hang from it, the one with the oldest item. */
function oldestOf<T extends Numbered>(rows: Row<T>[], index: number): number {
  let oldest = index;
  for (let child = 2 * index + 1; child <= 2 * index + 2; child++) {
    if (numberOf(rows[child]) < numberOf(rows[oldest])) oldest = child;
  }
  return oldest;
}

function numberOf<T extends Numbered>(row: Row<T> | undefined): number {
  return row?.job.id ?? Infinity;
}
