/**
 * Requests a second and latencies, compared with what a user would take instead. All are asked in turn, in
 * short slices, so that whatever the machine does meanwhile meets all of them.
 *
 * @module
 */

import { cpuMillis } from "../tests/rig/processes.ts";
import type { Figures } from "./load.ts";
import type { Peer, Running, Shape } from "./peer.ts";
import {
  count,
  latencies,
  type Section,
  short,
  type Target,
  targetOf,
  withSpread,
} from "./report.ts";
import { type Bench, dealer, numberOf, req, type Scenario, spanOf } from "./scenario.ts";
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
    "REQ 1": 1.5,
    "REQ 16": 1.2,
    "REQ 64": 1,
    "window 100": 1.1,
    "window 1,000": 0.8,
    "REQ 16, 64 KiB": 1.2,
    "REQ 16, 1 MiB": 0.95,
  },
  NATS: { "REQ 1": 1, "REQ 16": 1, "REQ 64": 1, "window 100": 3, "window 1,000": 3 },
  piscina: { "REQ 16": 1, "REQ 64": 1, "window 100": 1, "window 1,000": 1 },
  gearmand: { "REQ 1": 1, "REQ 16": 1, "REQ 64": 1, "window 100": 1, "window 1,000": 1 },
};
/** The same with other numbers of workers than 2, to zmq_proxy. */
const WORKERS = { full: [1, 8, 32], quick: [8], check: [4] };
const WANTED_WITH_WORKERS = { usual: 0.8, "window 1,000": 0.6 };

/** Asks peers that run already, in turn. */
export async function interleave(
  { effort, ledger, say }: Bench,
  running: ReadonlyMap<string, Running>,
  shape: Shape,
): Promise<Round> {
  const slices = new Map<string, Slice[]>([...running.keys()].map((name) => [name, []]));
  for (let round = 1; round <= effort.pairs; round++) {
    // There and back: whoever is first is last the next time.
    for (const [name, peer] of round % 2 === 1 ? running : [...running].reverse()) {
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

/** CPU time of all of some slices, ms per 100,000 requests: it is counted in steps of 10 ms. */
function costOf(slices: readonly Slice[]): number {
  const sum = (of: (slice: Slice) => number) => slices.reduce((sum, slice) => sum + of(slice), 0);
  return sum(({ cpu, replies }) => cpu * replies) / sum(({ replies }) => replies);
}

/** The medians of some slices. */
function summary(slices: readonly Slice[]) {
  const percentile = (index: number) =>
    median(slices.map((slice) => slice.percentiles[index] ?? NaN));
  return {
    rate: spread(slices.map(({ rate }) => rate)),
    percentiles: [percentile(0), percentile(1), percentile(2)],
    cpu: costOf(slices),
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
  const takes = (name: string, shape: Shape) =>
    bench.peers.find((peer) => peer.name === name)?.takes?.(shape) ?? true;
  for (const shape of shapes) {
    const able = new Map([...running].filter(([name]) => takes(name, shape)));
    rounds.push(await interleave(bench, able, shape));
  }
  const names = [...running.keys()];
  return {
    title: "Requests a second, compared with others",
    notes: [
      "2 workers, bodies of 16 B unless said. A ratio is ours to theirs: the median of " +
      `${bench.effort.pairs} pairs of slices of ${
        bench.effort.slice / 1000
      } s in turn (quartiles).`,
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
    return targetOf(`${name}: ratio to ${peer}`, ratio, least);
  });
}

/** Few and many workers, compared with the yardstick. */
async function runWorkers(bench: Bench): Promise<Section> {
  const peers = yardstickOf(bench);
  const rows: string[][] = [];
  const found: Target[] = [];
  const figures: unknown[] = [];
  const { depth } = bench.effort;
  const shapes = depth === "full" ? [req(16), req(200), dealer(100), dealer(1000)] : [req(16)];
  for (const workers of WORKERS[depth]) {
    await using stack = new AsyncDisposableStack();
    const running = await startAll(bench, peers, workers, stack);
    for (const shape of shapes) {
      const round = await interleave(bench, running, shape);
      const all = [...round.slices.values()].map(summary);
      const ratio = ratioOf(round, "zmq_proxy");
      const name = `${shape.name}, workers: ${workers}`;
      const rates = peers.map((_, index) => count(all[index]?.rate.median ?? NaN));
      rows.push([name, ...rates, withSpread(ratio), ...all.map(({ cpu }) => count(cpu))]);
      const isWide = shape.name === "window 1,000";
      const least = WANTED_WITH_WORKERS[isWide ? "window 1,000" : "usual"];
      found.push(targetOf(`${name}: ratio to zmq_proxy`, ratio, least));
      figures.push({ workers, shape, all, ratio });
    }
  }
  const names = peers.map(({ name }) => name);
  const head = ["requests/s", ...names, "ratio", ...names.map((name) => `CPU, ${name}`)];
  return {
    title: "Few and many workers",
    notes: [
      "Bodies of 16 B; 2 workers are above. A ratio is the median of " +
      `${bench.effort.pairs} pairs (quartiles); CPU is ms per 100,000 requests.`,
    ],
    tables: [{ head, rows }],
    targets: found,
    figures,
  };
}

/** The server and zmq_proxy. */
function yardstickOf({ peers }: Bench): readonly Peer[] {
  return peers.filter(({ name }) => name === "prefork" || name === "zmq_proxy");
}

/** How much CPU time is counted over: so many requests, or as many as move so many bytes. */
const COST_REQUESTS = { full: 1_000_000, quick: 60_000, check: 500 };
const COST_BYTES = { full: 16 * 1024 ** 3, quick: 512 * 1024 ** 2, check: 8 * 1024 ** 2 };
/** REQ 1 mostly waits. */
const COST_ALONE = 100_000;
/** Turns that each peer has. */
const COST_TURNS = 4;
/** CPU time per request in terms of zmq_proxy's, at most. */
const COST_WANTED = { usual: 1, "window 1,000": 1.3 };

/** What a request costs, counted over many. */
async function runCost(bench: Bench): Promise<Section> {
  const peers = yardstickOf(bench);
  const { depth } = bench.effort;
  await using stack = new AsyncDisposableStack();
  const running = await startAll(bench, peers, 2, stack);
  const rows: string[][] = [];
  const found: Target[] = [];
  const figures: unknown[] = [];
  for (const shape of depth === "check" ? CHECK : QUICK) {
    const bound = Math.min(COST_REQUESTS[depth], COST_BYTES[depth] / shape.size);
    const turns = depth === "check" ? 1 : COST_TURNS;
    const requests = Math.ceil((shape.width === 1 ? Math.min(bound, COST_ALONE) : bound) / turns);
    const sums = new Map([...running.keys()].map((name) => [name, { cpu: 0, replies: 0 }]));
    for (let turn = 0; turn < turns; turn++) {
      for (const [name, peer] of turn % 2 === 0 ? running : [...running].reverse()) {
        bench.say(`cost, ${shape.name}, ${name}, ${turn + 1} of ${turns}`);
        const before = cpuMillis(...peer.pids);
        const { replies } = bench.ledger.enter(
          `cost, ${name}, ${shape.name}`,
          await peer.load(shape, numberOf(requests)),
        );
        const sum = sums.get(name) ?? { cpu: 0, replies: 0 };
        sum.cpu += cpuMillis(...peer.pids) - before;
        sum.replies += replies;
      }
    }
    const costs = [...sums.values()].map(({ cpu, replies }) => cpu * 1000 / replies);
    const [ours = NaN, theirs = NaN] = costs;
    const most = COST_WANTED[shape.name === "window 1,000" ? "window 1,000" : "usual"];
    const ratio = ours / theirs;
    rows.push([shape.name, count(requests * turns), ...costs.map(short), short(ratio)]);
    found.push({
      name: `${shape.name}: CPU per request, ratio to zmq_proxy`,
      wanted: `≤ ${most}`,
      measured: short(ratio),
      reached: Number.isNaN(ratio) ? undefined : ratio <= most,
    });
    figures.push({ shape, sums: Object.fromEntries(sums) });
  }
  return {
    title: "What a request costs",
    notes: ["µs of CPU time per request, of all threads of broker and workers; 2 workers."],
    tables: [{ head: ["", "requests", ...peers.map(({ name }) => name), "ratio"], rows }],
    targets: found,
    figures,
  };
}

/** What is compared with others. */
export const scenarios: Scenario[] = [
  { name: "peers", run: runPeers },
  { name: "workers", run: runWorkers },
  { name: "cost", run: runCost },
];
