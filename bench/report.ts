/**
 * What a bench has found, and how it is shown: as Markdown, which a terminal can show too, or
 * as JSON.
 *
 * @module
 */

import type { Figures } from "./load.ts";
import { fault } from "./peer.ts";
import type { Spread } from "./statistics.ts";

/** Rows under a head; the first column is text, others are figures. */
export interface Table {
  head: readonly string[];
  rows: readonly (readonly string[])[];
}

/** A figure that must be reached. */
export interface Target {
  /** What it is about. */
  name: string;
  /** What must be reached. */
  wanted: string;
  /** What was measured. */
  measured: string;
  /** Whether it was; undefined: it could not be measured. */
  reached: boolean | undefined;
}

/** What came of one scenario. */
export interface Section {
  /** Its heading. */
  title: string;
  /** Paragraphs above the tables. */
  notes: readonly string[];
  tables: readonly Table[];
  targets: readonly Target[];
  /** The same figures for programs. */
  figures: unknown;
}

/** Counts the loads of a run, and keeps what was wrong with them. */
export class Ledger {
  readonly #faults: string[] = [];
  /** Loads whose replies were all there and all right. */
  passed = 0;

  /** Takes the figures of one load in. */
  enter(what: string, figures: Figures): Figures {
    this.check(what, fault(figures));
    return figures;
  }

  /** Takes anything in that can be wrong. */
  check(what: string, fault: string | undefined): void {
    if (fault === undefined) this.passed++;
    else this.#faults.push(`${what}: ${fault}`);
  }

  /** What was wrong, a line each. */
  get faults(): readonly string[] {
    return this.#faults;
  }
}

/** All of a run. */
export interface Report {
  /** On what it was measured. */
  machine: Record<string, string>;
  /** Peers by name, and what they are. */
  peers: Record<string, string>;
  /** Why some were left out. */
  missing: Record<string, string>;
  sections: readonly Section[];
  /** What was lost or wrong. */
  faults: readonly string[];
}

/** The report as Markdown. */
export function toMarkdown({ machine, peers, missing, sections, faults }: Report): string {
  const targets = sections.flatMap((section) => section.targets);
  return [
    `Measured on ${Object.entries(machine).map(([name, value]) => `${name} ${value}`).join(", ")}.`,
    ...Object.entries(peers).map(([name, what]) => `- **${name}**: ${what}`).join("\n").split(
      "\n\n",
    ),
    ...Object.entries(missing).map(([name, why]) => `Not measured: **${name}**, as ${why}.`),
    ...(faults.length > 0 ? [`**Lost or wrong**: ${faults.join("; ")}`] : []),
    ...(targets.length > 0 ? ["### Targets", tableOfTargets(targets)] : []),
    ...sections.flatMap(({ title, notes, tables }) => [
      `### ${title}`,
      ...notes,
      ...tables.map(markdownTable),
    ]),
  ].filter((part) => part !== "").join("\n\n") + "\n";
}

function tableOfTargets(targets: readonly Target[]): string {
  const word = ({ reached }: Target) =>
    reached === undefined ? "not measured" : reached ? "yes" : "**no**";
  return markdownTable({
    head: ["target", "at least / at most", "measured", "reached"],
    rows: targets.map((target) => [target.name, target.wanted, target.measured, word(target)]),
  });
}

/** As `deno fmt` writes tables: cells as wide as the widest of their column. */
function markdownTable({ head, rows }: Table): string {
  const width = (column: number) =>
    Math.max(3, ...[head, ...rows].map((row) => row[column]?.length ?? 0));
  const widths = head.map((_, column) => width(column));
  const line = (cells: readonly string[]) =>
    `| ${widths.map((width, column) => (cells[column] ?? "").padEnd(width)).join(" | ")} |`;
  return [line(head), line(widths.map((width) => "-".repeat(width))), ...rows.map(line)].join("\n");
}

/** A count for people: 1,234,567. */
export function count(value: number): string {
  return Number.isFinite(value) ? Math.round(value).toLocaleString("en-US") : "–";
}

/** A value with few digits: 0.123, 1.23, 12.3, 123. */
export function short(value: number): string {
  if (!Number.isFinite(value)) return "–";
  const digits = value < 0.1 ? 3 : value < 10 ? 2 : value < 100 ? 1 : 0;
  return value.toFixed(digits);
}

/** A median and the quartiles: 1.23 (1.10–1.31). */
export function withSpread({ median, low, high }: Spread): string {
  return Number.isFinite(median) ? `${short(median)} (${short(low)}–${short(high)})` : "–";
}

/** Latencies at 50, 95 and 99 % in µs. */
export function latencies(values: readonly number[]): string {
  return values.map(count).join(" / ");
}

/** Whether a ratio is as large as it must be; undefined where nothing was compared. */
export function targetOf(name: string, ratio: Spread, least: number): Target {
  const reached = Number.isNaN(ratio.median) ? undefined : ratio.median >= least;
  return { name, wanted: `≥ ${least}`, measured: withSpread(ratio), reached };
}
