/**
 * Medians, spreads, and ratios of pairs.
 *
 * @module
 */

/** What several measurements of one thing come to. */
export interface Spread {
  median: number;
  min: number;
  max: number;
}

/** The middle one of `values`, and the outermost; NaN without any. */
export function spread(values: readonly number[]): Spread {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = (sorted.length - 1) / 2;
  const [below = NaN, above = NaN] = [sorted[Math.floor(middle)], sorted[Math.ceil(middle)]];
  return { median: (below + above) / 2, min: sorted[0] ?? NaN, max: sorted.at(-1) ?? NaN };
}

/** The middle one of `values`. */
export function median(values: readonly number[]): number {
  return spread(values).median;
}

/** What was measured first in each pair, in terms of what was measured right after it. */
export function ratios(pairs: readonly (readonly [number, number])[]): Spread {
  return spread(pairs.map(([ours, theirs]) => ours / theirs));
}
