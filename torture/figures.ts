/**
 * What the figures of loads come to: whether nothing was lost, how late the slowest replies were on quiet
 * and on other days, and both in words.
 *
 * @module
 */

import type { Figures } from "../bench/load.ts";

/** Whether each request got exactly one answer, the right one; error replies count as answers if they are allowed. */
export function isFlawless(figures: Figures, allowed: { errors: boolean } = { errors: false }) {
  const { requests, wrong, duplicates, missing, errors } = figures;
  const failed = Object.keys(errors).length > 0 && !allowed.errors;
  return requests > 0 && wrong + duplicates + missing === 0 && !failed;
}

/** The counts of a load in words. */
export function describe({ requests, wrong, duplicates, missing, errors }: Figures): string {
  const failed = Object.entries(errors).map(([code, count]) => `, ${count} × error ${code}`);
  return `${requests} requests, ${missing} lost, ${wrong} wrong, ${duplicates} duplicate${
    failed.join("")
  }`;
}

/** A latency in ms for people. */
export function ms(micros: number): string {
  return `${(micros / 1000).toFixed(micros < 10_000 ? 1 : 0)} ms`;
}

/** The value that `share` of `values` do not exceed; NaN without any. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? NaN;
}

/** How late the slowest hundredth of replies is, in ms, on quiet days and on others. */
export interface Comparison {
  /** What came of all loads. */
  loads: Figures[];
  quiet: number;
  disturbed: number;
  ratio: number;
}

/**
 * Compares loads on quiet and on other days, one after the other and several times: the median of each
 * counts, since the machine has good and bad moments of its own.
 */
export async function compare(
  times: number,
  quiet: () => Promise<Figures>,
  disturbed: () => Promise<Figures>,
): Promise<Comparison> {
  const days: [quiet: Figures, disturbed: Figures][] = [];
  while (days.length < times) days.push([await quiet(), await disturbed()]);
  const late = (figures: Figures) => figures.percentiles[2] / 1000;
  const before = quantile(days.map(([quiet]) => late(quiet)), 0.5);
  const during = quantile(days.map(([, disturbed]) => late(disturbed)), 0.5);
  return { loads: days.flat(), quiet: before, disturbed: during, ratio: during / before };
}

/** A comparison in words. */
export function ratioInWords({ quiet, disturbed, ratio }: Comparison): string {
  const times = `${ratio.toFixed(1)} ×`;
  return `99 % in ${disturbed.toFixed(1)} ms, quiet ${quiet.toFixed(1)} ms: ${times}`;
}

/** The counts of several loads together. */
export function total(all: readonly Figures[]): Figures {
  return all.reduce((sum, figures) => ({
    ...sum,
    requests: sum.requests + figures.requests,
    replies: sum.replies + figures.replies,
    missing: sum.missing + figures.missing,
    wrong: sum.wrong + figures.wrong,
    duplicates: sum.duplicates + figures.duplicates,
    errors: addUp(sum.errors, figures.errors),
    slowest: Math.max(sum.slowest, figures.slowest),
  }));
}

function addUp(a: Record<string, number>, b: Record<string, number>): Record<string, number> {
  const sum = { ...a };
  for (const [code, count] of Object.entries(b)) sum[code] = (sum[code] ?? 0) + count;
  return sum;
}
