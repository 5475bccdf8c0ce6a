/**
 * A scenario about programs that reach the server over HTTP and hold on to it.
 *
 * @module
 */

import { runLoad } from "../bench/load.ts";
import { MemoryWatch } from "../tests/rig/memory_watch.ts";
import { ask, connectTo } from "../tests/rig/operator.ts";
import { ServerProcess } from "../tests/rig/server_process.ts";
import { pause } from "../tests/rig/wait.ts";
import { compare, describe, isFlawless, ms } from "./figures.ts";
import type { Outcome, Scale, Scenario } from "./scenario.ts";

const STUCK = 200;
const DURATION = 20_000;
const ROUNDS = 3;
const MAX_DELAY = 1.5;
const MB = 1_000_000;
const MAX_GROWTH = 64 * MB;
/** How long an honest probe may take, ms. */
const MAX_PROBE = 1000;
const PROBE_INTERVAL = 250;

const HOST = "Host: 127.0.0.1\r\n";
/** What a connection sends at first, and then again and again; it never reads. */
const KINDS: readonly { first: string; then: string }[] = [
  // Silence.
  { first: "", then: "" },
  // A head that never ends.
  { first: `GET / HTTP/1.1\r\n${HOST}`, then: "X: y\r\n" },
  // A body that never comes.
  { first: `POST /login HTTP/1.1\r\n${HOST}Content-Length: 60000\r\n\r\n`, then: "x" },
  // Events that nobody reads.
  { first: `GET /api/events?only=status HTTP/1.1\r\n${HOST}\r\n`, then: "" },
  // Answers that nobody reads.
  {
    first: `GET /metrics HTTP/1.1\r\n${HOST}\r\n`.repeat(50),
    then: `GET /api/stats HTTP/1.1\r\n${HOST}\r\n`,
  },
];
const SEND_INTERVAL = 500;
/** A connection that sends nothing more can't see that it was closed, and is opened again after this time, ms. */
const HOLD_TIME = 15_000;

const GOOD = { clients: 4, window: 1, size: 100, correlate: true, grace: 60_000 };

async function clog(scale: Scale): Promise<Outcome> {
  const args = ["--workers", "2", "--http", "127.0.0.1:0"];
  await using server = await ServerProcess.start({ args, permissions: ["-A"] });
  const { http } = await server.line("listening to operators");
  const port = Number(/:(\d+)$/.exec(String(http))?.[1]);
  const load = { ...GOOD, endpoint: server.endpoint, duration: scale.of(DURATION) };
  const probes: number[] = [];
  const files: number[] = [];
  const quietly = async () => await runLoad(load);
  await quietly();
  // What a first scrape loads stays.
  await ask({ port }, "/metrics");
  using memory = new MemoryWatch(server.pid);
  const before = memory.bytes;
  const { loads, quiet, disturbed, ratio } = await compare(ROUNDS, quietly, async () => {
    const end = new AbortController();
    const stuck = Array.from({ length: STUCK }, (_, number) => hold(port, number, end.signal));
    await pause(2 * SEND_INTERVAL); // until all are there
    const probing = probe(port, probes, end.signal);
    const figures = await runLoad(load);
    files.push([...Deno.readDirSync(`/proc/${server.pid}/fd`)].length);
    end.abort();
    await Promise.all([probing, ...stuck]);
    return figures;
  });
  const growth = memory.mostBytes - before;
  const [worst, most] = [Math.max(...probes), Math.max(...files)];
  return {
    reached: loads.every((figures) => isFlawless(figures)) && ratio <= MAX_DELAY * scale.slack &&
      worst <= MAX_PROBE * scale.slack && growth <= MAX_GROWTH && most <= 400,
    measured: `99 % in ${disturbed.toFixed(2)} ms, quiet ${quiet.toFixed(2)} ms: ` +
      `${ratio.toFixed(2)} ×; ${Math.round(growth / MB)} MB more, ${most} open files; ` +
      `${probes.length} probes, the slowest in ${ms(worst * 1000)}; ` +
      loads.map((figures) => describe(figures)).join("; "),
  };
}

/** One hostile connection after the other: a new one when the server has closed the last. */
async function hold(port: number, number: number, signal: AbortSignal): Promise<void> {
  const { first, then } = KINDS[number % KINDS.length] ?? { first: "", then: "" };
  const send = new TextEncoder();
  while (!signal.aborted) {
    try {
      using conn = await connectTo({ port });
      await conn.write(send.encode(first));
      const until = performance.now() + HOLD_TIME;
      while (!signal.aborted && (then !== "" || performance.now() < until)) {
        await pause(SEND_INTERVAL);
        if (then !== "") await conn.write(send.encode(then));
      }
    } catch {
      // The server has closed it: that is its right.
      await pause(SEND_INTERVAL);
    }
  }
}

/** Asks as a load balancer does; notes how long each answer took, ms. */
async function probe(port: number, times: number[], signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    const start = performance.now();
    const { status } = await ask({ port }, "/readyz");
    times.push(status === 200 ? performance.now() - start : Infinity);
    await pause(PROBE_INTERVAL);
  }
}

/** Stuck operators. */
export const scenarios: Scenario[] = [{
  id: "R30",
  title: `${STUCK} stuck HTTP connections of ${KINDS.length} kinds`,
  figure: `requests' 99 % ≤ ${MAX_DELAY} ×, none lost; ≤ ${MAX_GROWTH / MB} MB more; ` +
    `each probe answered within ${MAX_PROBE / 1000} s`,
  run: clog,
}];
