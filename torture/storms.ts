/**
 * Scenarios about workers that die together: somebody kills all of them at once, again and again, or
 * several requests do so that each kill their worker.
 *
 * @module
 */

import { type Figures, startLoad } from "../bench/load.ts";
import { linesOf } from "../tests/rig/log_lines.ts";
import { Peer } from "../tests/rig/peer.ts";
import { childrenOf, isAlive, trySignal } from "../tests/rig/processes.ts";
import { ServerProcess } from "../tests/rig/server_process.ts";
import { pause, until } from "../tests/rig/wait.ts";
import { describe, isFlawless, total } from "./figures.ts";
import { waiting } from "./handlers.ts";
import type { Outcome, Scale, Scenario } from "./scenario.ts";

const WORKERS = 4;
/** Time from one storm to the next, ms. */
const INTERVAL = 800;
/** Requests whose handler answers at once, and those whose handler takes `SLOW_TIME`. */
const QUICK = 980_000;
const SLOW = 20_000;
const SLOW_TIME = 20;
/** The small size storms no longer than this, however little was answered, ms. */
const SMALL_DURATION = 8_000;
/** After the last kill the pool is to be full again within this, ms. */
const FULL_AGAIN = 1000;
/** REQ clients: each has one request under way. */
const CLIENTS = 8;

const ECHO = `export default (body) => body;`;
const SLEEP = waiting(SLOW_TIME);

/** What came of a run of storms. */
interface Storms {
  figures: Figures;
  storms: number;
  killed: number;
  /** From the last storm until all workers were ready again, ms. */
  fullAgain: number;
}

/** Kills all workers, those that start included, while `requests` are being answered. */
async function storm(handler: string, requests: number, duration: number): Promise<Storms> {
  await using server = await ServerProcess.start({ handler, args: ["--workers", `${WORKERS}`] });
  await server.line("worker ready", WORKERS);
  const shape = { clients: CLIENTS, socket: "req" as const, window: 1, size: 64, requests };
  const limits = duration === Infinity ? {} : { duration, grace: 60_000 };
  await using load = startLoad({ endpoint: server.endpoint, ...shape, ...limits });
  const end = performance.now() + duration;
  let open = true;
  const figures = load.figures.finally(() => open = false);
  let [storms, killed, last] = [0, 0, performance.now()];
  while (open && performance.now() < end) {
    await pause(last + INTERVAL - performance.now());
    last = performance.now();
    killed += killAll(server);
    storms++;
  }
  await until("the pool is full again", () => server.workers.filter(isAlive).length === WORKERS);
  const fullAgain = performance.now() - last;
  return { figures: await figures, storms, killed, fullAgain };
}

/** One after the other without a pause, which takes about as long as `kill -9` does. */
function killAll({ pid }: ServerProcess): number {
  return childrenOf(pid).filter((child) => trySignal(child, "SIGKILL")).length;
}

async function storms(scale: Scale): Promise<Outcome> {
  const duration = scale.full ? Infinity : SMALL_DURATION;
  const runs = [
    await storm(ECHO, scale.of(QUICK), duration),
    await storm(SLEEP, scale.of(SLOW), duration),
  ];
  const all = total(runs.map(({ figures }) => figures));
  const sum = (of: (run: Storms) => number) => runs.reduce((sum, run) => sum + of(run), 0);
  const fullAgain = Math.max(...runs.map(({ fullAgain }) => fullAgain));
  return {
    reached: isFlawless(all) && fullAgain <= FULL_AGAIN * scale.slack,
    measured: `${sum(({ storms }) => storms)} storms killed ${sum(({ killed }) => killed)} ` +
      `workers, ${describe(all)}; the pool was full ${fullAgain.toFixed(0)} ms after the last one`,
  };
}

// ---- several poisons at once

const POISONS = 8;
/** How a request ends its worker, by its body. */
const WAYS = {
  exit: "Deno.exit(1)",
  kill: 'Deno.kill(Deno.pid, "SIGKILL")',
  abort: 'Deno.kill(Deno.pid, "SIGABRT")',
};

const POISONABLE = `const decoder = new TextDecoder();
export default (body) => {
  const text = decoder.decode(body);
${
  Object.entries(WAYS).map(([word, code]) => `  if (text === ${JSON.stringify(word)}) ${code};`)
    .join("\n")
}
  return body;
};`;

async function poisons(scale: Scale): Promise<Outcome> {
  const args = ["--workers", `${WORKERS}`, "--handler-allow-run"];
  await using server = await ServerProcess.start({ handler: POISONABLE, args });
  await server.line("worker ready", WORKERS);
  const shape = { clients: 4, window: 2, size: 64, rate: 200, correlate: true };
  await using load = startLoad({ endpoint: server.endpoint, ...shape });
  const codes: string[] = [];
  let [answered, full, most] = [0, 0, 0];
  for (let round = 0; round < scale.of(10); round++) {
    for (const way of Object.keys(WAYS)) {
      const deaths = linesOf(server, "worker exited").length;
      const start = performance.now();
      codes.push(...await swallow(server, way));
      const end = performance.now();
      await until("the pool is full", () => server.workers.filter(isAlive).length === WORKERS);
      answered = Math.max(answered, end - start);
      full = Math.max(full, performance.now() - end);
      most = Math.max(most, linesOf(server, "worker exited").length - deaths);
    }
  }
  load.stop();
  const figures = await load.figures;
  const inTime = answered <= 20_000 * scale.slack && full <= FULL_AGAIN * scale.slack;
  return {
    reached: codes.every((code) => code === "502") && inTime && isFlawless(figures),
    measured: `${codes.length} such requests, error ${[...new Set(codes)].join()}, ` +
      `${POISONS} at once: maximum ${most} deaths, answered after ${answered.toFixed(0)} ms, ` +
      `full ${full.toFixed(0)} ms later; others: ${describe(figures)}`,
  };
}

/** The codes that `POISONS` requests that end their worker in this way get, all sent at once. */
async function swallow(server: ServerProcess, way: string): Promise<string[]> {
  await using peer = new Peer(server.endpoint);
  for (let sent = 0; sent < POISONS; sent++) peer.send("", way);
  const codes: string[] = [];
  while (codes.length < POISONS) {
    const [, , text = ""] = await peer.receiveText(60_000);
    codes.push(text.split(" ")[0] ?? "");
  }
  return codes;
}

/** Workers that die together. */
export const scenarios: Scenario[] = [
  {
    id: "R22",
    title: `KILL to all ${WORKERS} workers at once, every ${INTERVAL} ms, under load`,
    figure: "1,000,000 requests, 0 lost, 0 answered by an error; full again ≤ 1 s",
    run: storms,
  },
  {
    id: "R23",
    title: `${POISONS} requests at once that each end, or KILL, their worker each time`,
    figure: "all answered 502 ≤ 20 s, the pool full again ≤ 1 s, others served",
    run: poisons,
  },
];
