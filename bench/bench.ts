/**
 * `deno task bench`: starts the server with an ordinary echo handler, loads it in several shapes and
 * prints a table. Every reply is checked; a lost or wrong one fails the run.
 *
 *     deno task bench [--seconds N] [--workers N]
 *
 * The load generator shares the machine with the server, so the figures are a lower bound.
 *
 * @module
 */

import { parseArgs } from "@std/cli/parse-args";
import { serve } from "../mod.ts";
import { startLoad } from "./load.ts";

const SHAPES = [
  { name: "REQ 1", clients: 1, window: 1, size: 16 },
  { name: "REQ 16", clients: 16, window: 1, size: 16 },
  { name: "REQ 64", clients: 64, window: 1, size: 16 },
  { name: "window 100", clients: 1, window: 100, size: 16 },
  { name: "window 1000", clients: 1, window: 1000, size: 16 },
  { name: "64 KiB, REQ 16", clients: 16, window: 1, size: 65_536 },
  { name: "1 MiB, REQ 16", clients: 16, window: 1, size: 1_048_576 },
];

const HANDLER = "data:application/javascript,export default (body) => body";

if (import.meta.main) {
  const flags: Record<string, unknown> = parseArgs(Deno.args, { string: ["seconds", "workers"] });
  const duration = Number(flags.seconds ?? 3) * 1000;
  const workers = Number(flags.workers ?? 2);
  Deno.exit(await bench(duration, workers) ? 0 : 1);
}

async function bench(duration: number, workers: number): Promise<boolean> {
  const frontend = "tcp://127.0.0.1:0";
  const options = { handler: HANDLER, frontend, minWorkers: workers, maxWorkers: workers };
  const started = performance.now();
  await using server = serve({ ...options, logLevel: "error" });
  await server.ready;
  console.log(`${workers} workers ready after ${(performance.now() - started).toFixed(0)} ms\n`);
  const [endpoint = ""] = server.frontend;
  console.log(row("shape", "replies/s", "p50 µs", "p95 µs", "p99 µs", "wrong", "missing"));
  let good = true;
  for (const { name, ...shape } of SHAPES) {
    // In a process of its own: the broker runs in this one.
    await using load = startLoad({ endpoint, duration, ...shape });
    const { rate, percentiles, wrong, duplicates, missing } = await load.figures;
    const cells = [rate, ...percentiles].map((value) => value.toFixed(0));
    console.log(row(name, ...cells, `${wrong + duplicates}`, `${missing}`));
    good &&= wrong + duplicates + missing === 0;
  }
  return good;
}

function row(name: string, ...cells: string[]): string {
  return name.padEnd(16) + cells.map((cell) => cell.padStart(11)).join("");
}
