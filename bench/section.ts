/**
 * Sections that are a list of single figures.
 *
 * @module
 */

import { count, type Section, short, type Target } from "./report.ts";

/** One figure with its limit, if it has one. */
export interface Measured {
  name: string;
  value: number;
  unit: string;
  atMost?: number;
  atLeast?: number;
}

/** A section of single figures. */
export function sectionOf(
  title: string,
  notes: readonly string[],
  all: readonly Measured[],
): Section {
  const text = ({ value, unit }: Measured) =>
    `${value >= 1000 ? count(value) : short(value)} ${unit}`;
  return {
    title,
    notes,
    tables: [{ head: ["", "measured"], rows: all.map((one) => [one.name, text(one)]) }],
    targets: all.flatMap((one): Target[] => {
      const { name, value, unit, atMost, atLeast } = one;
      if (atMost === undefined && atLeast === undefined) return [];
      const wanted = atMost === undefined
        ? `≥ ${limitText(atLeast ?? 0)}`
        : `≤ ${limitText(atMost)}`;
      const reached = value <= (atMost ?? Infinity) && value >= (atLeast ?? -Infinity);
      return [{ name, wanted: `${wanted} ${unit}`, measured: text(one), reached }];
    }),
    figures: all,
  };
}

/** A limit for people: 0.98, 350, 80,000. */
function limitText(limit: number): string {
  return limit < 1000 ? String(limit) : count(limit);
}
