/**
 * Handlers that take time: how much of it the server leaves unused, and whether quick jobs wait behind
 * slow ones.
 *
 * @module
 */

import type { Figures } from "./load.ts";
import { type Handler, Server } from "./peer_prefork.ts";
import { count, latencies, type Section, type Target, withSpread } from "./report.ts";
import { type Bench, dealer, req, type Scenario, spanOf } from "./scenario.ts";
import { median, ratios, spread } from "./statistics.ts";

/** Jobs a second that one worker can do of the handler that waits. */
const WAITS_PER_SECOND = 100;
const USED_AT_LEAST = 0.97;
/** The maximum of slices for each handler: nothing is compared. */
const ROUNDS = 3;
/** One request of so many is a slow one: see handler_mix.ts. */
const SLOW_EVERY = 100;
/** Requests a second of the mix that keep 4 workers busy a quarter of the time. */
const GENTLE_RATE = 2000;
/** So many workers need so many askers to be busy all the time. */
const SHAPE = req(16);

const WHAT: Record<Handler, string> = {
  echo: "echo",
  busy: "100 µs of CPU",
  wait: "10 ms of waiting",
  mix: "1 % 50 ms, 99 % echo",
  hold: "",
  parts: "",
  none: "",
};

async function measure(bench: Bench, handler: Handler, workers: number): Promise<Figures[]> {
  const { effort, ledger, say } = bench;
  await using server = await Server.start({ workers, handler });
  const all: Figures[] = [];
  const rounds = Math.min(ROUNDS, effort.pairs);
  for (let round = 1; round <= rounds; round++) {
    say(`${WHAT[handler]}, workers: ${workers}, ${round} of ${rounds}`);
    const span = { ...spanOf(effort, SHAPE), ...(handler === "mix" ? { mark: SLOW_EVERY } : {}) };
    all.push(ledger.enter(`${handler}, workers: ${workers}`, await server.load(SHAPE, span)));
  }
  return all;
}

async function runHandlers(bench: Bench): Promise<Section> {
  const rows: string[][] = [];
  const targets: Target[] = [];
  const figures: unknown[] = [];
  for (const handler of ["busy", "wait", "mix"] as const) {
    for (const workers of bench.effort.depth === "full" ? [1, 2, 4] : [4]) {
      const all = await measure(bench, handler, workers);
      const rate = spread(all.map(({ rate }) => rate));
      const percentiles = [0, 1, 2].map((at) =>
        median(all.map(({ percentiles }) => percentiles[at] ?? NaN))
      );
      rows.push([
        `${WHAT[handler]}, workers: ${workers}`,
        count(rate.median),
        latencies(percentiles),
      ]);
      if (handler === "wait") targets.push(waitTarget(workers, rate.median));
      figures.push({ handler, workers, rate, percentiles });
    }
  }
  return {
    title: "Handlers that take time",
    notes: [`${SHAPE.name}, 16 B. Of the mix, the latencies are those of the quick jobs.`],
    tables: [{ head: ["handler", "requests/s", "p50 / p95 / p99, µs"], rows }],
    targets,
    figures,
  };
}

function waitTarget(workers: number, rate: number): Target {
  const share = rate / (workers * WAITS_PER_SECOND);
  return {
    name: `10 ms handler, ${workers} workers: share of ${workers * WAITS_PER_SECOND} jobs/s`,
    wanted: `≥ ${USED_AT_LEAST}`,
    measured: share.toFixed(3),
    reached: share >= USED_AT_LEAST,
  };
}

/** Quick and slow jobs mixed, with the server's own dispatch and with one job per worker at a time. */
async function runBalance(bench: Bench): Promise<Section> {
  await using own = await Server.start({ workers: 4, handler: "mix" });
  await using single = await Server.start({
    workers: 4,
    handler: "mix",
    flags: ["--prefetch", "1"],
  });
  const rows: string[][] = [];
  const figures: unknown[] = [];
  const loads = [
    {
      name: `${GENTLE_RATE.toLocaleString("en-US")} requests/s`,
      shape: dealer(1000),
      rate: GENTLE_RATE,
    },
    { name: "REQ 16, as many as it takes", shape: req(16) },
  ];
  for (const { name, shape, ...more } of loads) {
    const pairs: [Figures, Figures][] = [];
    for (let round = 1; round <= bench.effort.pairs; round++) {
      bench.say(`balance, ${name}, ${round} of ${bench.effort.pairs}`);
      const span = { ...spanOf(bench.effort, shape, 2), mark: SLOW_EVERY, ...more };
      const ask = async (server: Server) =>
        bench.ledger.enter(`balance, ${name}`, await server.load(shape, span));
      pairs.push([await ask(own), await ask(single)]);
    }
    const p99 = (figures: Figures) => figures.percentiles[2];
    const rate = (figures: Figures) => figures.rate;
    const columns = [p99, rate].flatMap((of) => [
      ...[0, 1].map((at) => count(median(pairs.map((pair) => of(pair[at] ?? pair[0]))))),
      withSpread(ratios(pairs.map(([a, b]) => [of(a), of(b)]))),
    ]);
    rows.push([name, ...columns]);
    figures.push({ name, pairs });
  }
  return {
    title: "Balance",
    notes: [
      `4 workers; every ${SLOW_EVERY}th request takes 50 ms, the others nothing. Latencies are those ` +
      "of the quick ones. Ratios are the default to `--prefetch 1`, which gives a worker one job at a time.",
    ],
    tables: [{
      head: [
        "load",
        "p99, µs",
        "with --prefetch 1",
        "ratio",
        "requests/s",
        "with --prefetch 1",
        "ratio",
      ],
      rows,
    }],
    targets: [],
    figures,
  };
}

/** What depends on what handlers do. */
export const scenarios: Scenario[] = [
  { name: "handlers", run: runHandlers },
  { name: "balance", run: runBalance },
];
