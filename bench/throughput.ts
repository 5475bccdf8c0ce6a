/**
 * Requests a second and latencies, compared with what a user would take instead. All are asked in turn, in
 * short slices, so that whatever the machine does meanwhile meets all of them.
 *
 * @module
 */

import { cpuMillis } from "../tests/rig/processes.ts";
import type { Figures } from "./load.ts";
import type { Peer, Running, Shape } from "./peer.ts";
import { count, latencies, type Section, type Target, withSpread } from "./report.ts";
import { type Bench, dealer, req, type Scenario, spanOf } from "./scenario.ts";
import { median, ratios, type Spread, spread } from "./statistics.ts";

/** One slice of one peer. */
interface Slice extends Figures {
  /** CPU time of its processes, ms per 100,000 requests; NaN: they are those that ask. */
  cpu: number;
}

/** All slices of one shape, by peer. */
interface Round {
  shape: Shape;
  slices: Map<string, Slice[]>;
}

const SHAPES = [
  req(1),
  req(16),
  req(64),
  dealer(1),
  dealer(100),
  dealer(1000),
  req(16, 1024),
  req(16, 65_536),
  req(16, 1_048_576),
];
/** Without what no target asks for. */
const QUICK = SHAPES.filter(({ name }) => name !== "window 1" && name !== "REQ 16, 1 KiB");
const CHECK = [req(1), req(64), dealer(1000), req(16, 1_048_576)];

/** What our rate must be in terms of a peer's, at least. */
const WANTED: Record<string, Record<string, number>> = {
  zmq_proxy: {
    "REQ 1": 1.2,
    "REQ 16": 0.9,
    "REQ 64": 0.7,
    "window 100": 0.6,
    "window 1,000": 0.3,
    "REQ 16, 64 KiB": 0.7,
    "REQ 16, 1 MiB": 0.7,
  },
  NATS: { "REQ 1": 1, "REQ 16": 1, "REQ 64": 1, "window 100": 3, "window 1,000": 3 },
  piscina: { "REQ 16": 1, "REQ 64": 1, "window 100": 1, "window 1,000": 1 },
};

/** Asks peers that run already, in turn. */
export async function interleave(
  { effort, ledger, say }: Bench,
  running: ReadonlyMap<string, Running>,
  shape: Shape,
): Promise<Round> {
  const slices = new Map<string, Slice[]>([...running.keys()].map((name) => [name, []]));
  for (let round = 1; round <= effort.pairs; round++) {
    for (const [name, peer] of running) {
      say(`${shape.name}, ${name}, ${round} of ${effort.pairs}`);
      const before = cpuMillis(...peer.pids);
      const figures = await peer.load(shape, spanOf(effort, shape));
      const used = peer.pids.length === 0 ? NaN : cpuMillis(...peer.pids) - before;
      ledger.enter(`${name}, ${shape.name}`, figures);
      slices.get(name)?.push({ ...figures, cpu: used / figures.replies * 100_000 });
    }
  }
  return { shape, slices };
}

/** The first peer's rates in terms of another's, pair by pair. */
export function ratioOf({ slices }: Round, peer: string): Spread {
  const [ours = []] = slices.values();
  const theirs = slices.get(peer) ?? [];
  return ratios(theirs.map(({ rate }, index) => [ours[index]?.rate ?? NaN, rate]));
}

/** The medians of some slices. */
function summary(slices: readonly Slice[]) {
  const percentile = (index: number) =>
    median(slices.map((slice) => slice.percentiles[index] ?? NaN));
  return {
    rate: spread(slices.map(({ rate }) => rate)),
    percentiles: [percentile(0), percentile(1), percentile(2)],
    cpu: median(slices.map(({ cpu }) => cpu)),
  };
}

/** Starts peers and gives their JITs time: a server that is asked has been running for long. */
async function startAll(
  { effort, say }: Bench,
  peers: readonly Peer[],
  workers: number,
  stack: AsyncDisposableStack,
) {
  const running = new Map<string, Running>();
  for (const peer of peers) {
    say(`${peer.name} starts, workers: ${workers}`);
    const started = stack.use(await peer.start(workers));
    running.set(peer.name, started);
    const shape = dealer(100);
    if (effort.depth !== "check") await started.load(shape, spanOf(effort, shape, 2));
  }
  return running;
}

async function runPeers(bench: Bench): Promise<Section> {
  const { depth } = bench.effort;
  const shapes = depth === "full" ? SHAPES : depth === "quick" ? QUICK : CHECK;
  await using stack = new AsyncDisposableStack();
  const running = await startAll(bench, bench.peers, 2, stack);
  const rounds: Round[] = [];
  for (const shape of shapes) rounds.push(await interleave(bench, running, shape));
  const names = [...running.keys()];
  return {
    title: "Requests a second, compared with others",
    notes: [
      "2 workers, bodies of 16 B unless said. A ratio is ours to theirs: the median of " +
      `${bench.effort.pairs} pairs of slices of ${bench.effort.slice / 1000} s in turn (min–max).`,
    ],
    tables: [rateTable(rounds, names), latencyTable(rounds, names), cpuTable(rounds, names)],
    targets: Object.entries(WANTED).flatMap(([peer, wanted]) => targets(rounds, peer, wanted)),
    figures: rounds.map(({ shape, slices }) => ({
      shape,
      peers: Object.fromEntries([...slices].map(([name, all]) => [name, summary(all)])),
    })),
  };
}

function rateTable(rounds: readonly Round[], [ours = "", ...others]: readonly string[]) {
  const rate = ({ slices }: Round, name: string) =>
    count(summary(slices.get(name) ?? []).rate.median);
  return {
    head: ["requests/s", ours, ...others.flatMap((name) => [name, "ratio"])],
    rows: rounds.map((round) => [
      round.shape.name,
      rate(round, ours),
      ...others.flatMap((name) => [rate(round, name), withSpread(ratioOf(round, name))]),
    ]),
  };
}

function latencyTable(rounds: readonly Round[], names: readonly string[]) {
  return {
    head: ["p50 / p95 / p99, µs", ...names],
    rows: rounds.map(({ shape, slices }) => [
      shape.name,
      ...names.map((name) => latencies(summary(slices.get(name) ?? []).percentiles)),
    ]),
  };
}

function cpuTable(rounds: readonly Round[], names: readonly string[]) {
  return {
    head: ["CPU ms per 100,000 requests, askers left out", ...names],
    rows: rounds.map(({ shape, slices }) => [
      shape.name,
      ...names.map((name) => count(summary(slices.get(name) ?? []).cpu)),
    ]),
  };
}

function targets(rounds: readonly Round[], peer: string, wanted: Record<string, number>): Target[] {
  return Object.entries(wanted).map(([name, least]) => {
    const round = rounds.find(({ shape }) => shape.name === name);
    const ratio = round === undefined ? spread([]) : ratioOf(round, peer);
    const reached = Number.isNaN(ratio.median) ? undefined : ratio.median >= least;
    return {
      name: `${name}: ratio to ${peer}`,
      wanted: `≥ ${least}`,
      measured: withSpread(ratio),
      reached,
    };
  });
}

/** Few and many workers, compared with the yardstick. */
async function runWorkers(bench: Bench): Promise<Section> {
  const peers = bench.peers.filter(({ name }) => name === "prefork" || name === "zmq_proxy");
  const rows: string[][] = [];
  const figures: unknown[] = [];
  for (const workers of bench.effort.depth === "full" ? [1, 4] : [4]) {
    await using stack = new AsyncDisposableStack();
    const running = await startAll(bench, peers, workers, stack);
    for (const shape of [req(16), dealer(100)]) {
      const round = await interleave(bench, running, shape);
      const all = [...round.slices.values()].map(summary);
      const ratio = ratioOf(round, "zmq_proxy");
      const rates = peers.map((_, index) => count(all[index]?.rate.median ?? NaN));
      rows.push([`${shape.name}, workers: ${workers}`, ...rates, withSpread(ratio)]);
      figures.push({ workers, shape, all, ratio });
    }
  }
  const head = ["requests/s", ...peers.map(({ name }) => name), "ratio"];
  return {
    title: "Few and many workers",
    notes: ["Bodies of 16 B; 2 workers are above."],
    tables: [{ head, rows }],
    targets: [],
    figures,
  };
}

/** What is compared with others. */
export const scenarios: Scenario[] = [
  { name: "peers", run: runPeers },
  { name: "workers", run: runWorkers },
];
