/**
 * Medians, spreads, and ratios of pairs.
 *
 * @module
 */

/** What several measurements of one thing come to: half of them lie between `low` and `high`. */
export interface Spread {
  median: number;
  /** The lower quartile. */
  low: number;
  /** The upper one. */
  high: number;
}

/** The middle one of `values`, and the quartiles; NaN without any. */
export function spread(values: readonly number[]): Spread {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (share: number) => {
    const place = (sorted.length - 1) * share;
    const [below = NaN, above = NaN] = [sorted[Math.floor(place)], sorted[Math.ceil(place)]];
    return below + (above - below) * (place % 1);
  };
  return { median: at(0.5), low: at(0.25), high: at(0.75) };
}

/** The middle one of `values`. */
export function median(values: readonly number[]): number {
  return spread(values).median;
}

/** What was measured first in each pair, in terms of what was measured right after it. */
export function ratios(pairs: readonly (readonly [number, number])[]): Spread {
  return spread(pairs.map(([ours, theirs]) => ours / theirs));
}
