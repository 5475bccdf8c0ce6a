/**
 * Scenarios about workers that are killed, by somebody or by what they are asked.
 *
 * @module
 */

import { type Figures, startLoad } from "../bench/load.ts";
import { linesOf } from "../tests/rig/log_lines.ts";
import { Peer } from "../tests/rig/peer.ts";
import { randomNumbers } from "../tests/rig/random.ts";
import { ServerProcess } from "../tests/rig/server_process.ts";
import { pause, until } from "../tests/rig/wait.ts";
import { describe, isFlawless, ms, quantile } from "./figures.ts";
import { waiting } from "./handlers.ts";
import type { Outcome, Scale, Scenario } from "./scenario.ts";

/** Takes about a millisecond, so that most kills hit a worker that runs a job. */
const SHORT = waiting(1);

// ---- at random ----

const WORKERS = 4;
const KILLS = 1000;
const REQUESTS = 100_000;
/** The small size kills no longer than this, however few were there to be killed, ms. */
export const SMALL_DURATION = 15_000;
/** Requests a second: what three workers can do, and still leaves time for starts. */
const RATE = 1500;
/** Chance may kill two workers on the same job, which is not the job's fault. */
const ATTEMPTS = 5;
/** Time between two kills, ms. */
const KILL_INTERVAL = { least: 40, spread: 120 };

/** What came of killing workers under load. */
interface Havoc {
  figures: Figures;
  kills: number;
  /** From each kill to the READY of the worker that came in place, ms. */
  respawns: number[];
}

async function killUnderLoad(scale: Scale): Promise<Havoc> {
  const args = ["--workers", String(WORKERS), "--max-attempts", String(ATTEMPTS)];
  await using server = await ServerProcess.start({ handler: SHORT, args });
  await server.line("worker ready", WORKERS);
  const shape = { clients: 8, window: 4, size: 64, rate: RATE, correlate: true };
  await using load = startLoad({ endpoint: server.endpoint, ...shape });
  const duration = scale.full ? Infinity : SMALL_DURATION;
  const killedAt = await killAtRandom(server, scale.of(KILLS), duration);
  await until(
    "enough was asked",
    async () => Number((await server.state()).requests) >= scale.of(REQUESTS),
  );
  load.stop();
  const figures = await load.figures;
  await server.line("worker ready", WORKERS + killedAt.size);
  return { figures, kills: killedAt.size, respawns: respawns(server, killedAt) };
}

/** Kills workers that are ready, but never the last one; when each of them was killed, by pid. */
export async function killAtRandom(
  server: ServerProcess,
  count: number,
  duration: number,
): Promise<Map<number, number>> {
  const random = randomNumbers(1);
  const killedAt = new Map<number, number>();
  const end = performance.now() + duration;
  while (killedAt.size < count && performance.now() < end) {
    const living = server.workers.filter((pid) => !killedAt.has(pid));
    const pid = living[random(Math.max(1, living.length))];
    if (pid !== undefined && living.length > 1) {
      killedAt.set(pid, Date.now());
      Deno.kill(pid, "SIGKILL");
    }
    await pause(KILL_INTERVAL.least + random(KILL_INTERVAL.spread));
  }
  return killedAt;
}

/** The n-th to die is followed by the n-th that was started after the first ones. */
function respawns(server: ServerProcess, killedAt: Map<number, number>): number[] {
  const successors = linesOf(server, "worker spawned").slice(WORKERS);
  const readyAt = new Map(
    linesOf(server, "worker ready").map(({ pid, time }) => [Number(pid), Date.parse(time)]),
  );
  return linesOf(server, "worker exited")
    .filter(({ pid }) => killedAt.has(Number(pid)))
    .map(({ pid }, index) => {
      const ready = readyAt.get(Number(successors[index]?.pid)) ?? Infinity;
      return ready - (killedAt.get(Number(pid)) ?? -Infinity);
    });
}

/** Two scenarios judge the same havoc. */
let havoc: Promise<Havoc> | undefined;

async function nothingLost(scale: Scale): Promise<Outcome> {
  const { figures, kills } = await (havoc ??= killUnderLoad(scale));
  return {
    reached: isFlawless(figures) && figures.slowest < 1_000_000 * scale.slack,
    measured: `${kills} kills, ${describe(figures)}, slowest ${ms(figures.slowest)}`,
  };
}

async function soonReady(scale: Scale): Promise<Outcome> {
  const { respawns } = await (havoc ??= killUnderLoad(scale));
  const [half, most] = [quantile(respawns, 0.5), quantile(respawns, 0.99)];
  // How long a start takes depends on the machine: the small size asks only that each comes to an end.
  const usual = scale.full ? half <= 100 : true;
  return {
    reached: usual && most <= 1000 * scale.slack,
    measured: `${respawns.length} respawns, median ${half} ms, 99 % ${most} ms`,
  };
}

// ---- by a request ----

const POISON = "poison";
const MAX_ATTEMPTS = 2;
const POOL = 3;

/** A request that says so kills its worker. */
const POISONABLE = `const decoder = new TextDecoder();
export default (body) => {
  if (decoder.decode(body) === ${JSON.stringify(POISON)}) Deno.kill(Deno.pid, "SIGKILL");
  return body;
};`;

async function poison(scale: Scale): Promise<Outcome> {
  const args = ["--workers", String(POOL), "--max-attempts", String(MAX_ATTEMPTS)];
  const granted = [...args, "--handler-allow-run"];
  await using server = await ServerProcess.start({ handler: POISONABLE, args: granted });
  await server.line("worker ready", POOL);
  const shape = { clients: 4, window: 2, size: 64, rate: 500, correlate: true };
  await using load = startLoad({ endpoint: server.endpoint, ...shape });
  await using peer = new Peer(server.endpoint);
  const doses: Dose[] = [];
  const rounds = scale.of(30);
  for (let round = 0; round < rounds; round++) doses.push(await swallow(server, peer));
  load.stop();
  const figures = await load.figures;
  const most = (of: (dose: Dose) => number) => Math.max(...doses.map(of));
  const [answer, full] = [most((dose) => dose.answer), most((dose) => dose.full)];
  const deaths = linesOf(server, "worker exited").length;
  const inTime = answer <= 2000 * scale.slack && full <= 2000 * scale.slack;
  return {
    reached: deaths === MAX_ATTEMPTS * rounds && doses.every(({ code }) => code === "502") &&
      inTime &&
      isFlawless(figures),
    measured: `${rounds} such requests: ${deaths} deaths, ` +
      `502 after ${answer.toFixed(0)} ms, full after ${full.toFixed(0)} ms; ` +
      `others: ${describe(figures)}`,
  };
}

/** What one request that kills has done; times are ms. */
interface Dose {
  code: string | undefined;
  /** Until its answer. */
  answer: number;
  /** From then until the pool was full again. */
  full: number;
}

async function swallow(server: ServerProcess, peer: Peer): Promise<Dose> {
  const deaths = linesOf(server, "worker exited").length + MAX_ATTEMPTS;
  const start = performance.now();
  const [, text = ""] = await peer.ask(POISON);
  const answered = performance.now();
  // The answer may be here before the system reports the last death.
  await server.line("worker exited", deaths);
  await until("the pool is full again", () => server.workers.length === POOL);
  return {
    code: text.split(" ")[0],
    answer: answered - start,
    full: performance.now() - answered,
  };
}

/** Workers that are killed. */
export const scenarios: Scenario[] = [
  {
    id: "R1",
    title: "KILL to random workers under load, 1,000 times",
    figure: "≥ 100,000 requests, 0 lost, 0 wrong, 0 duplicate; slowest < 1 s",
    run: nothingLost,
  },
  {
    id: "R2",
    title: "from a worker's death to the READY of the next one, during R1",
    figure: "median ≤ 100 ms, 99 % ≤ 1 s",
    run: soonReady,
  },
  {
    id: "R9",
    title: "a request that kills its worker each time",
    figure: `${MAX_ATTEMPTS} workers die of each, 502 ≤ 2 s, pool full again ≤ 2 s, others served`,
    run: poison,
  },
];
