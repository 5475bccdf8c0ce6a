/**
 * Stored jobs: how many are acknowledged a second, and run, beside BullMQ and gearmand; what they take from requests;
 * and what a million that wait cost.
 *
 * @module
 */

import { pause } from "../tests/rig/wait.ts";
import { bullmq } from "./job_bullmq.ts";
import { gearmanQueue } from "./job_gearman.ts";
import type { JobPeer, JobQueue, JobShape } from "./job_peer.ts";
import { preforkQueue } from "./job_prefork.ts";
import type { Figures } from "./load.ts";
import { count, latencies, type Section, type Target, targetOf, withSpread } from "./report.ts";
import type { Span } from "./peer.ts";
import type { Bench, Scenario } from "./scenario.ts";
import { median, ratios, spread } from "./statistics.ts";

const PEERS: readonly JobPeer[] = [preforkQueue, bullmq, gearmanQueue];
const WORKERS = 2;
const SHAPE: JobShape = { width: 100, size: 200 };
const SUBMITS_WANTED = 20_000;
const RUNS_WANTED = 8000;
/** Turns that each peer has; those beside us take minutes for what we do in one. */
const TURNS = { full: 5, quick: 1, check: 1 };
/** How many jobs one turn goes through; of a peer, its part of them, but not fewer than are under way at a time. */
const JOBS = { full: 40_000, quick: 10_000, check: 300 };
/** Jobs that have been run before any counts. */
const WARM_UP = { full: 20_000, quick: 5000, check: 0 };
/** How often it is asked whether all are done, ms. */
const LOOK_INTERVAL = 10;
/** Longer than any number of jobs takes, ms. */
const LIMIT = 600_000;

/** What one turn of one peer came to. */
interface Turn {
  /** Acknowledged submits a second, while nothing runs. */
  submits: number;
  /** Until a submit is acknowledged: 50, 95 and 99 %, µs. */
  latencies: readonly number[];
  /** Jobs a second through submit, run and done. */
  runs: number;
}

/** So many submits, however long each takes. */
function spanFor(jobs: number): Span {
  return { requests: jobs, duration: LIMIT, grace: LIMIT };
}

/** Submits while nothing runs. */
async function submitOnly(bench: Bench, name: string, queue: JobQueue, jobs: number) {
  await queue.rest();
  const figures = await queue.submit(SHAPE, spanFor(jobs));
  return bench.ledger.enter(`${name}, submits`, figures);
}

/** Submits while workers run; jobs a second from the first submit until all are done. */
async function through(bench: Bench, name: string, queue: JobQueue, jobs: number) {
  await queue.work();
  await drained(queue);
  const figures = await queue.submit(SHAPE, spanFor(jobs));
  const submittedAt = performance.now();
  bench.ledger.enter(`${name}, submits beside runs`, figures);
  await drained(queue);
  const seconds = (performance.now() - submittedAt) / 1000 + figures.requests / figures.rate;
  return jobs / seconds;
}

/** Waits until no job is left. */
async function drained(queue: JobQueue): Promise<void> {
  const end = performance.now() + LIMIT;
  while (await queue.left() > 0) {
    if (performance.now() > end) throw new Error(`Jobs are left after ${LIMIT} ms`);
    await pause(LOOK_INTERVAL);
  }
}

function partOf({ part }: JobPeer, jobs: number): number {
  return jobs === 0 ? 0 : Math.max(SHAPE.width, Math.ceil(jobs * part));
}

async function turn(bench: Bench, peer: JobPeer, queue: JobQueue): Promise<Turn> {
  const { name } = peer;
  const jobs = partOf(peer, JOBS[bench.effort.depth]);
  const { rate, percentiles }: Figures = await submitOnly(bench, name, queue, jobs);
  return {
    submits: rate,
    latencies: percentiles,
    runs: await through(bench, name, queue, jobs),
  };
}

/** Submits and runs, each peer in turn. */
async function runJobs(bench: Bench): Promise<Section> {
  const { effort: { depth }, say } = bench;
  await using stack = new AsyncDisposableStack();
  const running = new Map<JobPeer, JobQueue>();
  const absent: string[] = [];
  for (const peer of PEERS) {
    const why = await peer.missing();
    if (why !== undefined) {
      absent.push(`Not measured: **${peer.name}**, as ${why}.`);
      continue;
    }
    say(`jobs, ${peer.name} starts`);
    const queue = stack.use(await peer.start(WORKERS));
    const warmUp = partOf(peer, WARM_UP[depth]);
    if (warmUp > 0) await through(bench, peer.name, queue, warmUp);
    running.set(peer, queue);
  }
  const turns = new Map<JobPeer, Turn[]>([...running.keys()].map((peer) => [peer, []]));
  for (let round = 1; round <= TURNS[depth]; round++) {
    for (const [peer, queue] of round % 2 === 1 ? running : [...running].reverse()) {
      say(`jobs, ${peer.name}, ${round} of ${TURNS[depth]}`);
      turns.get(peer)?.push(await turn(bench, peer, queue));
    }
  }
  return sectionOfTurns(turns, absent);
}

function sectionOfTurns(turns: Map<JobPeer, Turn[]>, absent: readonly string[]): Section {
  const [ours = [], ...others] = turns.values();
  const [, ...peers] = turns.keys();
  const ratioOf = (theirs: readonly Turn[], of: (turn: Turn) => number) =>
    ratios(theirs.map((turn, index) => [ours[index] ? of(ours[index]) : NaN, of(turn)]));
  const submits = (turn: Turn) => turn.submits;
  const runs = (turn: Turn) => turn.runs;
  const rows = [...turns].map(([{ name }, all]) => [
    name,
    count(median(all.map(submits))),
    latencies([0, 1, 2].map((at) => median(all.map(({ latencies }) => latencies[at] ?? NaN)))),
    count(median(all.map(runs))),
    ...(all === ours ? ["", ""] : [
      withSpread(ratioOf(all, submits)),
      withSpread(ratioOf(all, runs)),
    ]),
  ]);
  const least = (name: string, value: number, wanted: number): Target => ({
    name,
    wanted: `≥ ${count(wanted)}`,
    measured: count(value),
    reached: value >= wanted,
  });
  return {
    title: "Stored jobs",
    notes: [
      `${WORKERS} workers, bodies of ${SHAPE.size} B, ${SHAPE.width} submits under way; each is acknowledged ` +
      "once it would outlive a power cut. Submits are counted while nothing runs; jobs from the first submit " +
      "until all are done. Ratios are ours to theirs.",
      ...[...turns.keys()].map(({ name, description }) => `**${name}**: ${description}.`),
      ...absent,
    ],
    tables: [{
      head: [
        "",
        "submits/s",
        "p50 / p95 / p99, µs",
        "jobs/s, submitted, run, done",
        "submits, ratio",
        "jobs, ratio",
      ],
      rows,
    }],
    targets: [
      least("acknowledged submits/s, 100 in flight", median(ours.map(submits)), SUBMITS_WANTED),
      least("jobs/s through submit, run and done", median(ours.map(runs)), RUNS_WANTED),
      ...peers.flatMap(({ name }, index) => [
        targetOf(
          `acknowledged submits/s: ratio to ${name}`,
          ratioOf(others[index] ?? [], submits),
          1,
        ),
        targetOf(`jobs/s: ratio to ${name}`, ratioOf(others[index] ?? [], runs), 1),
      ]),
    ],
    figures: Object.fromEntries([...turns].map(([{ name }, all]) => [name, {
      submits: spread(all.map(submits)),
      runs: spread(all.map(runs)),
    }])),
  };
}

/** Stored jobs. */
export const scenarios: Scenario[] = [{ name: "jobs", run: runJobs }];
