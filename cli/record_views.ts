/**
 * What the control command shows of options, counters and log lines.
 *
 * @module
 */

import type { ConfigEntry, LogLine } from "../ops/status.ts";
import type { ServiceStats, Stats } from "../ops/stats.ts";
import { type Paint, printable, type Tone } from "./paint.ts";
import { type Column, type Pair, pairs, type Sheet, table } from "./table.ts";
import { showBytes, showSpan, spanOf } from "./units.ts";

/** `ctl config`: a line for each option. */
export function configView(
  { options }: { options: readonly ConfigEntry[] },
  sheet: Sheet,
): string[] {
  return table(options, OPTION_COLUMNS, sheet);
}

const OPTION_COLUMNS: readonly Column<ConfigEntry>[] = [
  { title: "SERVICE", cell: ({ service }) => service, least: 7, rare: true },
  { title: "OPTION", cell: ({ name }) => name },
  { title: "VALUE", cell: ({ value }) => value, least: 16 },
  {
    title: "SOURCE",
    cell: ({ source }) => source,
    least: 12,
    tone: ({ source }) => source === "default" ? "dim" : undefined,
  },
];

/** `ctl stats`: what was counted since the start, in all or of one service. */
export function statsView(stats: Stats | ServiceStats, sheet: Sheet): string[] {
  const rows = serviceRows(stats);
  if (!("uptime" in stats)) return pairs(rows, sheet);
  const { clients, connections, uptime } = stats;
  return pairs([...rowsOf({ uptime: showSpan(uptime), clients, connections }), ...rows], sheet);
}

function serviceRows(stats: ServiceStats): Pair[] {
  const { generation, workers, queue, running, serviceTime, counters } = stats;
  const { exited, ...counts } = counters;
  const pool = Object.entries(workers).map(([name, count]) => [`workers.${name}`, count]);
  const exits = Object.entries(exited).map(([reason, count]) => [`exited.${reason}`, count]);
  return rowsOf({
    generation,
    ...Object.fromEntries(pool),
    "queue.jobs": queue.jobs,
    "queue.bytes": showBytes(queue.bytes),
    running,
    serviceTime: spanOf(serviceTime),
    ...counts,
    ...Object.fromEntries(exits),
  });
}

function rowsOf(values: Readonly<Record<string, unknown>>): Pair[] {
  return Object.entries(values).flatMap(([name, value]): Pair[] =>
    value === undefined || value === null ? [] : [[name, String(value)]]
  );
}

/** A line as the text log has it. */
export function logLine({ time, level, message, ...fields }: LogLine, paint: Paint): string {
  const more = Object.entries(fields).filter(([, value]) => value !== undefined && value !== null)
    .map(([name, value]) => ` ${printable(name)}=${quote(String(value))}`).join("");
  const head = `${paint(printable(time), "dim")} ${
    paint(printable(level).padEnd(5), TONES[level])
  }`;
  return `${head} ${printable(message)}${more}`;
}

const TONES: Readonly<Record<string, Tone>> = {
  debug: "dim",
  warn: "warn",
  error: "bad",
  critical: "bad",
};

/** A value as it is if it is one plain word, else in quotes. */
function quote(text: string): string {
  return /^[^\s"=\\\p{C}]+$/u.test(text) ? text : printable(JSON.stringify(text));
}
