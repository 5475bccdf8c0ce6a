/**
 * How times are spread: counted in cells, four to each power of two of microseconds, so that a quantile is known to
 * some percent and the powers of two are buckets that metrics have. Knows no clock.
 *
 * @module
 */

/** What a histogram has counted: plain data, to be sent, kept, and compared with what it was. */
export interface Spread {
  /** How many times fell into each cell; `CELL_BOUNDS` has their upper bounds, and the last cell has none. */
  counts: number[];
  /** The sum of all times, µs. */
  sum: number;
}

/** The first and the last bound are these powers of two, µs: 16 µs and 67 s. */
const FIRST_POWER = 4;
const LAST_POWER = 26;
/** Cells to a power of two, and how many bits tell them apart. */
const CELLS = 4;
const CELL_BITS = 2;
const FIRST_BOUND = 2 ** FIRST_POWER;
const LAST_BOUND = 2 ** LAST_POWER;

/** The longest time of each cell but the last, µs. */
export const CELL_BOUNDS: readonly number[] = cellBounds();
const BEYOND = CELL_BOUNDS.length;

/** Those that are powers of two, µs: the bounds of `buckets`. */
export const BUCKET_BOUNDS: readonly number[] = CELL_BOUNDS.filter((_, cell) => cell % CELLS === 0);

/** Counts times. */
export class Histogram {
  readonly #counts = new Float64Array(BEYOND + 1);
  #sum = 0;

  /** Counts a time, µs; what is less than 0 counts as 0. */
  add(micros: number): void {
    const cell = micros <= LAST_BOUND ? cellOf(micros) : micros > 0 ? BEYOND : 0;
    this.#counts[cell] = (this.#counts[cell] ?? 0) + 1;
    if (micros > 0) this.#sum += micros;
  }

  /** What was counted so far, as a copy. */
  read(): Spread {
    return { counts: [...this.#counts], sum: this.#sum };
  }

  /** See the function of this name. */
  quantile(share: number): number | undefined {
    return quantile(this.read(), share);
  }
}

/** The cell of a time that is not beyond the last bound. */
function cellOf(micros: number): number {
  if (micros <= FIRST_BOUND) return 0;
  // A bound belongs to the cell below it.
  const whole = Math.ceil(micros) - 1;
  const power = 31 - Math.clz32(whole); // `Math.log2` would be a call into C
  return 1 + (power - FIRST_POWER) * CELLS + ((whole >> (power - CELL_BITS)) & (CELLS - 1));
}

function cellBounds(): number[] {
  const bounds = [FIRST_BOUND];
  for (let power = FIRST_POWER; power < LAST_POWER; power++) {
    for (let cell = 1; cell <= CELLS; cell++) bounds.push(2 ** power * (1 + cell / CELLS));
  }
  return bounds;
}

/** A spread of nothing. */
export function noSpread(): Spread {
  return { counts: new Array<number>(BEYOND + 1).fill(0), sum: 0 };
}

/** How many times a spread has. */
export function countOf({ counts }: Spread): number {
  return counts.reduce((sum, count) => sum + count, 0);
}

/** Two spreads together. */
export function together(one: Spread, other: Spread): Spread {
  const counts = one.counts.map((count, cell) => count + (other.counts[cell] ?? 0));
  return { counts, sum: one.sum + other.sum };
}

/** What came between two reads of a histogram. If the later one has less, it has begun again: then all of it. */
export function difference(later: Spread, earlier: Spread): Spread {
  const counts = later.counts.map((count, cell) => count - (earlier.counts[cell] ?? 0));
  if (counts.some((count) => count < 0)) return later;
  return { counts, sum: later.sum - earlier.sum };
}

/**
 * What a share (0 to 1) of the times stay at or below, µs, as if those of a cell were spread evenly over it; what is
 * beyond the last bound counts as that. Undefined: there are no times.
 */
export function quantile(spread: Spread, share: number): number | undefined {
  const count = countOf(spread);
  if (count === 0) return undefined;
  const rank = share * count;
  let below = 0;
  for (const [cell, bound] of CELL_BOUNDS.entries()) {
    const here = spread.counts[cell] ?? 0;
    const lower = CELL_BOUNDS[cell - 1] ?? 0;
    if (here > 0 && below + here >= rank) {
      return lower + (bound - lower) * Math.max(0, rank - below) / here;
    }
    below += here;
  }
  return LAST_BOUND;
}

/** How many times are at or below each of `BUCKET_BOUNDS`, and in all. */
export function buckets({ counts }: Spread): { upTo: number[]; count: number } {
  let count = 0;
  const upTo: number[] = [];
  for (const [cell, here] of counts.entries()) {
    count += here;
    if (cell < BEYOND && cell % CELLS === 0) upTo.push(count);
  }
  return { upTo, count };
}
