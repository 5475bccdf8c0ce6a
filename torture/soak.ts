/**
 * A scenario about what grows.
 *
 * @module
 */

import { type Figures, startLoad } from "../bench/load.ts";
import { residentMemory } from "../system/proc.ts";
import { linesOf } from "../tests/rig/log_lines.ts";
import { childrenOf, openFiles, trySignal } from "../tests/rig/processes.ts";
import { randomNumbers } from "../tests/rig/random.ts";
import { ServerProcess } from "../tests/rig/server_process.ts";
import { pause, until } from "../tests/rig/wait.ts";
import { describe, isFlawless } from "./figures.ts";
import type { Outcome, Scale, Scenario } from "./scenario.ts";

const REQUESTS = 10_000_000;
/** The small size ends after this, however much was asked, ms. */
const SMALL_DURATION = 10_000;
const WORKERS = 3;
/** Chance may kill several workers on the same job. */
const ATTEMPTS = 5;
/** Time between two disturbances, ms. */
const INTERVAL = 2000;
/** Time that the memory has to find its size, ms. */
const WARM_UP = 60_000;
const SAMPLE_INTERVAL = 200;
/** Memory breathes with the garbage collection: the least of each such span counts, ms. */
const SPAN = 10_000;
/** Bytes an hour. */
const GROWTH = 5_000_000;
/** At the small size, in bytes: it is too short to say anything about an hour. */
const SMALL_GROWTH = 150_000_000;

/** Connections and idle threads take a while to go, ms. */
const REST = 20_000;
const SMALL_REST = 2000;
/** A loaded machine lets them go late, ms. */
const PATIENCE = 30_000;

/** What a process holds. */
interface Holdings {
  files: number;
  threads: number;
  processes: number;
}

/** Resident memory at a moment: ms, bytes. */
interface Sample {
  time: number;
  memory: number;
}

async function soak(scale: Scale): Promise<Outcome> {
  const args = ["--workers", String(WORKERS), "--max-attempts", String(ATTEMPTS)];
  await using server = await ServerProcess.start({ args });
  await server.line("worker ready", WORKERS);
  const warmUp = await disturbed(server, { requests: scale.of(REQUESTS) / 100 });
  const rest = scale.full ? REST : SMALL_REST;
  const before = await settled(server, rest);
  const started = performance.now();
  const limit = scale.full ? {} : { duration: SMALL_DURATION };
  const main = await disturbed(server, { requests: scale.of(REQUESTS), ...limit });
  const minutes = (performance.now() - started) / 60_000;
  const after = await withdrawn(server.pid, before, await settled(server, rest));
  const growth = judgeGrowth(main.samples, scale);
  return {
    reached: isFlawless(warmUp.figures) && isFlawless(main.figures) && isConstant(before, after) &&
      growth.small,
    measured: `${describe(main.figures)} in ${minutes.toFixed(1)} min with ${main.disturbances} ` +
      `kills, reloads and resizes; memory ${growth.text}, ` +
      `${inMegabytes(main.samples[0])} → ${inMegabytes(main.samples.at(-1))}; ` +
      `${inWords(before)} → ${inWords(after)}`,
  };
}

/** A load while workers are killed, replaced, added and taken away. */
async function disturbed(
  server: ServerProcess,
  ends: { requests: number; duration?: number },
): Promise<{ figures: Figures; samples: Sample[]; disturbances: number }> {
  const shape = { clients: 4, window: 50, size: 64, correlate: true };
  await using load = startLoad({ endpoint: server.endpoint, ...shape, ...ends });
  let over = false;
  const figures = load.figures.finally(() => over = true);
  const samples: Sample[] = [];
  let disturbances = 0;
  let due = performance.now();
  while (!over) {
    samples.push({ time: performance.now(), memory: residentMemory(server.pid) ?? 0 });
    if (performance.now() >= due) {
      disturb(server, disturbances++);
      due += INTERVAL;
    }
    await pause(SAMPLE_INTERVAL);
  }
  return { figures: await figures, samples, disturbances };
}

function disturb(server: ServerProcess, turn: number): void {
  const round = ["kill", "SIGTTIN", "kill", "SIGTTOU", "kill", "SIGHUP"] as const;
  const what = round[turn % round.length] ?? "kill";
  if (what !== "kill") return server.signal(what);
  const { workers } = server;
  const pid = workers[randomNumbers(turn + 1)(Math.max(1, workers.length))];
  if (pid !== undefined && workers.length > 1) trySignal(pid, "SIGKILL");
}

/** What the server holds once nothing is asked, and the pool is as it was at the start, for a `rest`. */
async function settled(server: ServerProcess, rest: number): Promise<Holdings> {
  const count = linesOf(server, "reloaded").length;
  server.signal("SIGHUP"); // that also forgets what TTIN and TTOU have changed
  await server.line("reloaded", count + 1);
  await until("the pool has its size", () => childrenOf(server.pid).length === WORKERS);
  await pause(rest);
  return holdings(server.pid);
}

/** Waits, up to `PATIENCE`, until a process holds no more than before; what it holds then. */
async function withdrawn(pid: number, before: Holdings, after: Holdings): Promise<Holdings> {
  const end = performance.now() + PATIENCE;
  while (!isConstant(before, after) && performance.now() < end) {
    await pause(SAMPLE_INTERVAL);
    after = holdings(pid);
  }
  return after;
}

function holdings(pid: number): Holdings {
  const threads = [...Deno.readDirSync(`/proc/${pid}/task`)].length;
  return { files: openFiles(pid), threads, processes: childrenOf(pid).length };
}

/** Whether there is no more than there was. */
function isConstant(before: Holdings, after: Holdings): boolean {
  return after.files <= before.files && after.threads <= before.threads &&
    after.processes === before.processes;
}

function inWords({ files, threads, processes }: Holdings): string {
  return `${files} files, ${threads} threads, ${processes} workers`;
}

function inMegabytes(sample: Sample | undefined): string {
  return `${((sample?.memory ?? NaN) / 1e6).toFixed(0)} MB`;
}

/**
 * Whether the memory stays as it is. In a few minutes 5 MB an hour cannot be told from the breath of the
 * garbage collection: what counts is that the growth beyond what chance explains is not more than that.
 */
function judgeGrowth(samples: Sample[], { full }: Scale): { small: boolean; text: string } {
  const megabytes = (bytes: number) => (bytes / 1e6).toFixed(1);
  if (!full) {
    const bytes = rise(samples);
    return { small: bytes <= SMALL_GROWTH, text: `${megabytes(bytes)} MB more` };
  }
  const { slope, error } = trend(samples);
  const text = `${megabytes(slope)} ± ${megabytes(error)} MB/h`;
  return { small: slope - error <= GROWTH, text };
}

/** How much more memory there is at the end than after a fifth of the time, bytes. */
function rise(samples: readonly Sample[]): number {
  const fifth = Math.ceil(samples.length / 5);
  const least = (some: readonly Sample[]) => Math.min(...some.map(({ memory }) => memory));
  return least(samples.slice(-fifth)) - least(samples.slice(fifth, 2 * fifth));
}

/** A line through samples: bytes an hour, and how far chance alone may take it from the truth. */
interface Trend {
  slope: number;
  /** Two standard errors. */
  error: number;
}

/** By how much the memory grows after the warm-up: the line of least squares. */
function trend(samples: readonly Sample[]): Trend {
  const points = leastOfSpans(samples);
  const mean = (of: (sample: Sample) => number) =>
    points.reduce((sum, sample) => sum + of(sample), 0) / points.length;
  const [time, memory] = [mean((sample) => sample.time), mean((sample) => sample.memory)];
  const variance = mean((sample) => (sample.time - time) ** 2);
  const slope = mean((sample) => (sample.time - time) * (sample.memory - memory)) / variance;
  const rest = mean((sample) => (sample.memory - memory - slope * (sample.time - time)) ** 2);
  const error = 2 * Math.sqrt(rest / variance / (points.length - 2));
  const HOUR = 3_600_000;
  return { slope: slope * HOUR, error: error * HOUR };
}

/** The least of each span after the warm-up. */
function leastOfSpans(samples: readonly Sample[]): Sample[] {
  const first = (samples[0]?.time ?? 0) + WARM_UP;
  const spans = new Map<number, Sample>();
  for (const sample of samples.filter(({ time }) => time >= first)) {
    const span = Math.floor((sample.time - first) / SPAN);
    const least = spans.get(span);
    if (least === undefined || sample.memory < least.memory) spans.set(span, sample);
  }
  return [...spans.values()];
}

/** What grows. */
export const scenarios: Scenario[] = [{
  id: "R14",
  title: "10,000,000 requests, with kills, reloads and resizes now and then",
  figure: "none lost; memory of the main process grows ≤ 5 MB an hour after the first minute; " +
    "files, threads and processes constant",
  run: soak,
}];
