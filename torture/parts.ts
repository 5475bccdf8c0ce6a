/**
 * Scenarios about answers in parts: workers that die in the middle of them, and readers that stop.
 *
 * @module
 */

import { runLoad } from "../bench/load.ts";
import { Client, ReplyError } from "../client.ts";
import { MemoryWatch } from "../tests/rig/memory_watch.ts";
import { ServerProcess } from "../tests/rig/server_process.ts";
import { pause } from "../tests/rig/wait.ts";
import { compare, describe, isFlawless, ratioInWords, total } from "./figures.ts";
import { killAtRandom, SMALL_DURATION } from "./kills.ts";
import type { Outcome, Scale, Scenario } from "./scenario.ts";

/** Answers with as many parts as the request says; each has the request's words and its own number. */
const COUNTING = `export default async function* (body, ctx) {
  const text = new TextDecoder().decode(body);
  const [, count] = text.split(" ");
  for (let number = ctx.partsSent; number < Number(count); number++) {
    if (number % 7 === 3) await new Promise((resolve) => setTimeout(resolve, 1));
    yield text + " " + number;
  }
}`;

// ---- workers that die

const WORKERS = 4;
const KILLS = 1000;
/** Streams that are under way at a time; every second one may be begun again. */
const STREAMS = 8;
const PARTS = 60;

/** What streams have brought. */
interface Sum {
  whole: number;
  parts: number;
  /** Streams that ended with 502, as they must if they can't be begun again. */
  cut: number;
  /** Parts that were another's, or not the next one. */
  wrong: number;
  /** Streams that ended early without an error, or with another one. */
  bad: number;
  errors: Set<string>;
}

async function killStorm(scale: Scale): Promise<Outcome> {
  const args = ["--workers", `${WORKERS}`, "--max-attempts", "10"];
  await using server = await ServerProcess.start({ handler: COUNTING, args });
  await server.line("worker ready", WORKERS);
  const sum: Sum = { whole: 0, parts: 0, cut: 0, wrong: 0, bad: 0, errors: new Set() };
  const over = new AbortController();
  await using client = new Client({ endpoint: server.endpoint, timeout: 60_000, retries: 0 });
  const readers = Array.from(
    { length: STREAMS },
    (_, index) => readAgain(client, index, sum, over.signal),
  );
  const duration = scale.full ? Infinity : SMALL_DURATION;
  const { size: kills } = await killAtRandom(server, scale.of(KILLS), duration);
  over.abort();
  await Promise.all(readers);
  return {
    reached: sum.wrong + sum.bad === 0 && sum.whole > 0 && sum.cut > 0,
    measured: `${kills} kills, ${sum.whole} whole streams, ${sum.cut} cut by 502, ` +
      `${sum.parts} parts: ${sum.wrong} wrong, ${sum.bad} streams bad ${[...sum.errors].join()}`,
  };
}

/** Reads one stream after the other. */
async function readAgain(
  client: Client,
  index: number,
  sum: Sum,
  signal: AbortSignal,
): Promise<void> {
  const resumable = index % 2 === 0;
  for (let round = 0; !signal.aborted; round++) {
    const words = `${index}-${round} ${PARTS}`;
    let next = 0;
    try {
      for await (const part of client.stream(words, { resumable })) {
        if (part.text() !== `${words} ${next++}`) sum.wrong++;
      }
      if (next === PARTS) sum.whole++;
      else sum.bad++;
    } catch (error) {
      const isCut = error instanceof ReplyError && error.code === 502 && !resumable;
      if (isCut) sum.cut++;
      else sum.bad++;
      if (!isCut) sum.errors.add(String(error));
    }
    sum.parts += next;
  }
}

// ---- readers that stop

const READERS = 50;
const REST = 30_000;
const MB = 1_000_000;
/** The main process and its workers may grow by this once the readers have stopped, MB. */
const GROWTH = 20;
const RATIO = 2;
const DAYS = 3;
/** Parts of 64 KiB without end for "endless", an echo for others. */
const ENDLESS = `const part = new Uint8Array(65536);
export default (body) => {
  if (body.length > 16) return body;
  return (async function* () { for (;;) yield part; })();
};`;

async function slowReaders(scale: Scale): Promise<Outcome> {
  const args = ["--workers", "2", "--concurrency", "100"];
  await using server = await ServerProcess.start({ handler: ENDLESS, args });
  await server.line("worker ready", 2);
  const shape = { clients: 8, window: 2, size: 64, rate: 2000, correlate: true, warmUp: 500 };
  const load = { endpoint: server.endpoint, ...shape, requests: scale.of(20_000) };
  const days = scale.full ? DAYS : 1;
  let grown = 0;
  const disturbed = async () => {
    await using client = new Client({ endpoint: server.endpoint, timeout: 600_000 });
    const streams = Array.from({ length: READERS }, () => client.stream("endless"));
    for (const stream of streams) await stream.next();
    await pause(1000); // until all is there that may come
    using memories = watch([server.pid, ...server.workers]);
    const before = memories.bytes();
    const figures = await runLoad(load);
    await pause(scale.of(REST));
    grown = Math.max(grown, memories.bytes() - before);
    for (const stream of streams) await stream.return();
    return figures;
  };
  const comparison = await compare(days, () => runLoad(load), disturbed);
  const all = total(comparison.loads);
  const isFlat = grown <= GROWTH * MB;
  return {
    reached: isFlat && isFlawless(all) && comparison.ratio <= RATIO * scale.slack,
    measured: `${READERS} readers stopped: ${(grown / MB).toFixed(1)} MB more; others: ` +
      `${describe(all)}; ${ratioInWords(comparison)}`,
  };
}

/** The memory of several processes. */
function watch(pids: readonly number[]) {
  const all = pids.map((pid) => new MemoryWatch(pid));
  return {
    bytes: () => all.reduce((sum, { bytes }) => sum + bytes, 0),
    [Symbol.dispose]() {
      for (const one of all) one[Symbol.dispose]();
    },
  };
}

/** Answers in parts. */
export const scenarios: Scenario[] = [{
  id: "R28",
  title: "KILL to random workers while they answer in parts, 1,000 times",
  figure: "no part twice, none missing, none of another's; what is resumable ends whole",
  run: killStorm,
}, {
  id: "R29",
  title: `${READERS} readers of endless answers in parts that stop reading`,
  figure:
    `server and workers ≤ ${GROWTH} MB more in 30 s; others' 99 % ≤ ${RATIO} × as late as without`,
  run: slowReaders,
}];
