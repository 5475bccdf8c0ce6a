/**
 * Latencies, counted by size in a memory of fixed size. Also runs under Node: names nothing of Deno.
 *
 * @module
 */

/** A double has its exponent in the 12 highest bits; so many bits behind them are a step. */
const STEP_BITS = 6;
/** Steps from one power of two to the next: values are kept to 1 in 64. */
const STEPS = 1 << STEP_BITS;
const POWERS = 40;
/** What the 18 highest bits of the double 1 are. */
const FIRST = 1023 << STEP_BITS;

/** Counts values >= 0 by size. */
export class Histogram {
  readonly #counts = new Float64Array(STEPS * POWERS);
  readonly #double = new Float64Array(1);
  /** The highest bits last, as in all that Deno runs on. */
  readonly #words = new Uint32Array(this.#double.buffer);
  /** Values added. */
  count = 0;
  /** The greatest of them. */
  slowest = 0;

  /** Counts one. */
  add(value: number): void {
    this.count++;
    if (value > this.slowest) this.slowest = value;
    this.#double[0] = value + 1;
    const slot = ((this.#words[1] ?? 0) >>> (20 - STEP_BITS)) - FIRST;
    const last = STEPS * POWERS - 1;
    this.#counts[slot < last ? slot : last]! += 1;
  }

  /** The value that `share` of all do not exceed; NaN without any. */
  at(share: number): number {
    let left = this.count * share;
    for (const [slot, count] of this.#counts.entries()) {
      left -= count;
      if (count > 0 && left <= 0) {
        const upper = 2 ** Math.floor(slot / STEPS) * (1 + (slot % STEPS + 1) / STEPS) - 1;
        return Math.min(this.slowest, upper);
      }
    }
    return NaN;
  }

  /** The values at 50, 95 and 99 %. */
  get percentiles(): [number, number, number] {
    return [this.at(0.5), this.at(0.95), this.at(0.99)];
  }
}
