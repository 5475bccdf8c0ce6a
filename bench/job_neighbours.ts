/**
 * What stored jobs and other work take from each other: requests beside jobs that fill their share, and jobs beside a
 * million that wait.
 *
 * @module
 */

import { pause, until } from "../tests/rig/wait.ts";
import { BACKLOG, preforkQueue, QUICK, StoreServer } from "./job_prefork.ts";
import type { Figures } from "./load.ts";
import type { Shape } from "./peer.ts";
import { count, type Section, short } from "./report.ts";
import { type Bench, numberOf, type Scenario, spanOf } from "./scenario.ts";
import { type Measured, sectionOf } from "./section.ts";
import { median } from "./statistics.ts";

const WORKERS = 2;
const JOB = { width: 100, size: 200 };
const REQUESTS: Shape = { name: "window 100", socket: "dealer", width: 100, size: 16 };
const P99 = 2;
/** More than any server can: so the generator that can keep a rate gives what it can. */
const ANY_RATE = 1e9;
/** Jobs that wait so that they fill their share all the time, for each second of it. */
const FILL_PER_SECOND = 30_000;
const FILL_CHECK = 500;
/** After that what the store says is new, ms. */
const READ_INTERVAL = 1100;
const RATE_KEPT = 0.98;
const LATENCY_RATIO = 2;

/** One measurement without and one with jobs beside. */
interface Pair {
  alone: Figures;
  beside: Figures;
  /** Jobs a second that were run meanwhile. */
  jobs: number;
}

async function besideJobs(bench: Bench): Promise<Section> {
  const title = "Requests beside stored jobs";
  const missing = await preforkQueue.missing();
  if (missing !== undefined) return sectionOf(title, [`Not measured, as ${missing}.`], []);
  await using server = new StoreServer(WORKERS);
  await server.start();
  await server.rest();
  const { effort, say } = bench;
  const isCheck = effort.depth === "check";
  const span = isCheck ? numberOf(FILL_CHECK) : spanOf(effort, REQUESTS, 4);
  const ask = async (rate: number) =>
    bench.ledger.enter("requests beside jobs", await server.request(REQUESTS, { ...span, rate }));
  await ask(ANY_RATE); // warms up
  const most = median([(await ask(ANY_RATE)).rate, (await ask(ANY_RATE)).rate]);
  const seconds = (span.duration ?? 0) / 1000;
  const fill = isCheck ? FILL_CHECK : Math.ceil(FILL_PER_SECOND * (seconds + 1));
  const pairs: Pair[] = [];
  for (let round = 1; round <= effort.pairs; round++) {
    say(`requests beside jobs, ${round} of ${effort.pairs}`);
    const alone = await ask(most / 2);
    await fillUp(bench, server, fill);
    const before = await leftNow(server);
    await server.work();
    const startedAt = performance.now();
    const beside = await ask(most / 2);
    await server.rest();
    const ran = (performance.now() - startedAt) / 1000;
    const left = await leftNow(server);
    if (!isCheck) bench.ledger.check("jobs fill their share", left > 0 ? undefined : "they ended");
    pairs.push({ alone, beside, jobs: (before - left) / ran });
  }
  return sectionOf(title, [
    `${WORKERS} workers; ${REQUESTS.name} at half of the most that the same generator reaches, without jobs and ` +
    "while more wait than can be run. Medians of pairs.",
  ], measured(pairs, most, isCheck));
}

/** How many jobs are left, as the store says now: the server asks it once a second at most. */
async function leftNow(server: StoreServer): Promise<number> {
  await pause(READ_INTERVAL);
  return await server.left();
}

async function fillUp(bench: Bench, server: StoreServer, jobs: number): Promise<void> {
  const missing = jobs - await server.left();
  if (missing <= 0) return;
  const figures = await server.submit(JOB, numberOf(missing));
  bench.ledger.enter("jobs that wait", figures);
}

function measured(pairs: readonly Pair[], most: number, isCheck: boolean): Measured[] {
  const of = (value: (pair: Pair) => number) => median(pairs.map(value));
  const p99 = (figures: Figures) => figures.percentiles[P99];
  const limits = isCheck ? {} : { atLeast: RATE_KEPT };
  return [
    { name: "requests, at most", value: most, unit: "requests/s" },
    {
      name: "at half of that, without jobs",
      value: of(({ alone }) => alone.rate),
      unit: "requests/s",
    },
    { name: "beside jobs", value: of(({ beside }) => beside.rate), unit: "requests/s" },
    {
      name: "rate of requests that is kept beside jobs",
      value: of(({ alone, beside }) => beside.rate / alone.rate),
      unit: "×",
      ...limits,
    },
    { name: "p99 without jobs", value: of(({ alone }) => p99(alone)) / 1000, unit: "ms" },
    { name: "p99 beside jobs", value: of(({ beside }) => p99(beside)) / 1000, unit: "ms" },
    {
      name: "p99 of requests, beside jobs to without",
      value: of(({ alone, beside }) => p99(beside) / p99(alone)),
      unit: "×",
      atMost: isCheck ? undefined : LATENCY_RATIO,
    },
    { name: "jobs run beside", value: of(({ jobs }) => jobs), unit: "jobs/s" },
  ];
}

// ---- a million ----

const WAITING = { full: 1_000_000, quick: 50_000, check: 1000 };
/** Jobs that go through beside, and turns. */
const THROUGH = { full: 40_000, quick: 10_000, check: 300 };
const TURNS = { full: 3, quick: 1, check: 1 };
/** How long waiting jobs are run, ms. */
const DRAIN = { full: 5000, quick: 1000, check: 100 };
/** How often memory is looked at meanwhile, ms. */
const LOOK_INTERVAL = 50;
const START_MOST = 2000;
const MEMORY_MOST = 150;
const THROUGHPUT_LEAST = 0.8;
/** Longer than any of it takes, ms. */
const LIMIT = 300_000;

/** Submits a second, and jobs a second from the first submit until all are done. */
async function through(bench: Bench, server: StoreServer) {
  const jobs = THROUGH[bench.effort.depth];
  await server.rest();
  const submits = bench.ledger.enter("submits", await server.submit(JOB, numberOf(jobs)));
  await server.work();
  await drained(server);
  const figures = bench.ledger.enter("through", await server.submit(JOB, numberOf(jobs)));
  const since = performance.now() - figures.requests / figures.rate * 1000;
  await drained(server);
  return { submits: submits.rate, runs: jobs * 1000 / (performance.now() - since) };
}

async function drained(server: StoreServer): Promise<void> {
  await until("all jobs are done", async () => await server.left(QUICK) === 0, LIMIT);
}

/** Medians of several. */
async function throughput(bench: Bench, server: StoreServer, name: string) {
  const all: { submits: number; runs: number }[] = [];
  for (let turn = 1; turn <= TURNS[bench.effort.depth]; turn++) {
    bench.say(`${name}, ${turn} of ${TURNS[bench.effort.depth]}`);
    all.push(await through(bench, server));
  }
  return {
    submits: median(all.map(({ submits }) => submits)),
    runs: median(all.map(({ runs }) => runs)),
  };
}

/** From the start of the command until a request and a submit were answered, ms. */
async function startUp(bench: Bench, server: StoreServer): Promise<number> {
  const startedAt = performance.now();
  await server.start(true);
  bench.ledger.enter("first reply", await server.request({ ...REQUESTS, width: 1 }, numberOf(1)));
  bench.ledger.enter("first submit", await server.submit({ ...JOB, width: 1 }, numberOf(1)));
  return performance.now() - startedAt;
}

/** Runs those that wait for a while: how many that were, how many a second, and the highest RSS meanwhile, MB. */
async function drainFor(server: StoreServer, left: number, ms: number) {
  await server.resume(BACKLOG);
  const startedAt = performance.now();
  let highest = server.megabytes;
  while (performance.now() < startedAt + ms) {
    await pause(Math.min(ms, LOOK_INTERVAL));
    highest = Math.max(highest, server.megabytes);
  }
  const run = left - await server.left(BACKLOG);
  return { run, rate: run * 1000 / (performance.now() - startedAt), highest };
}

async function million(bench: Bench): Promise<Section> {
  const waiting = WAITING[bench.effort.depth];
  const title = `${count(waiting)} waiting jobs`;
  const missing = await preforkQueue.missing();
  if (missing !== undefined) return sectionOf(title, [`Not measured, as ${missing}.`], []);
  await using server = new StoreServer(WORKERS);
  await server.start();
  await through(bench, server); // warms up
  const empty = await throughput(bench, server, "an empty store");
  bench.say(title);
  await server.pause(BACKLOG);
  const filled = await server.submit(JOB, numberOf(waiting), BACKLOG);
  bench.ledger.enter(title, filled);
  const full = await throughput(bench, server, title);
  await server.stop();
  const start = await startUp(bench, server);
  await pause(bench.effort.depth === "check" ? 0 : 2000);
  const memory = server.megabytes;
  const left = await server.left(BACKLOG);
  bench.ledger.check(title, left === waiting ? undefined : `${left} of them wait after a start`);
  const { run, rate: drain, highest } = await drainFor(server, left, DRAIN[bench.effort.depth]);
  const isFull = bench.effort.depth === "full";
  const ratios = { submits: full.submits / empty.submits, runs: full.runs / empty.runs };
  const least = isFull ? { atLeast: THROUGHPUT_LEAST } : {};
  return sectionOf(title, [
    `${JOB.size} B each, of a service that is paused; ${WORKERS} workers. The store with them beside an empty one.`,
  ], [
    {
      name: "from the start until a request and a submit are answered",
      value: start,
      unit: "ms",
      atMost: isFull ? START_MOST : undefined,
    },
    {
      name: "RSS of the main process, at rest",
      value: memory,
      unit: "MB",
      atMost: isFull ? MEMORY_MOST : undefined,
    },
    {
      name: "highest RSS while they are run",
      value: highest,
      unit: "MB",
      atMost: isFull ? MEMORY_MOST : undefined,
    },
    { name: "submits, empty store", value: empty.submits, unit: "submits/s" },
    { name: "submits, while they wait", value: full.submits, unit: "submits/s" },
    { name: "submits, with to without them", value: ratios.submits, unit: "×", ...least },
    { name: "jobs, empty store", value: empty.runs, unit: "jobs/s" },
    { name: "jobs, while they wait", value: full.runs, unit: "jobs/s" },
    { name: "jobs, with to without them", value: ratios.runs, unit: "×", ...least },
    {
      name: "jobs of those that waited",
      value: drain,
      unit: `jobs/s (${short(run / 1000)} thousand)`,
    },
  ]);
}

/** Stored jobs and their neighbours. */
export const scenarios: Scenario[] = [
  { name: "beside", run: besideJobs },
  { name: "million", run: million },
];
