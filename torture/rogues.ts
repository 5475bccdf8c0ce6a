/**
 * Scenarios about handlers that never end.
 *
 * @module
 */

import { type Figures, type Load, runLoad, startLoad } from "../bench/load.ts";
import { linesOf } from "../tests/rig/log_lines.ts";
import { Peer } from "../tests/rig/peer.ts";
import { ServerProcess } from "../tests/rig/server_process.ts";
import { pause, until } from "../tests/rig/wait.ts";
import { compare, describe, isFlawless, ms, ratioInWords, total } from "./figures.ts";
import type { Outcome, Scale, Scenario } from "./scenario.ts";

const LOOPS = 20;
const DAYS = 4;
const WORKERS = 3;
const REQUEST_TIMEOUT = 400;
const ABORT_GRACE = 200;
/** How much later than the limit and two graces a worker's end may be, ms. */
const MARGIN = 250;
/** How much later the slowest hundredth of the others' replies may be. */
const RATIO = 2;
const RATE = 1000;
const WARM_UP = 1000;
/** Time between two of them, ms. */
const PAUSE = 500;

const ENDLESS = "endless";

/** A request that says so keeps its worker busy forever. */
const HANDLER = `const decoder = new TextDecoder();
export default (body) => {
  if (decoder.decode(body) === ${JSON.stringify(ENDLESS)}) for (;;);
  return body;
};`;

/** What became of a request that never ends; times from when it was sent, ms. */
interface Loop {
  code: string | undefined;
  answered: number;
  /** When its worker was gone. */
  ended: number;
}

async function rogues(scale: Scale): Promise<Outcome> {
  const limits = [
    ["--workers", WORKERS],
    ["--request-timeout", `${REQUEST_TIMEOUT}ms`],
    ["--abort-grace", `${ABORT_GRACE}ms`],
  ];
  await using server = await ServerProcess.start({
    handler: HANDLER,
    args: limits.flat().map(String),
  });
  await server.line("worker ready", WORKERS);
  const days = scale.full ? DAYS : 1;
  const count = Math.ceil(scale.of(LOOPS) / days);
  const span = WARM_UP + count * (REQUEST_TIMEOUT + 2 * ABORT_GRACE + PAUSE);
  const shape = { clients: 4, window: 4, size: 64, rate: RATE, correlate: true, warmUp: WARM_UP };
  const load = { endpoint: server.endpoint, ...shape };
  const loops: Loop[] = [];
  const comparison = await compare(
    days,
    () => runLoad({ ...load, duration: span }),
    () => loadAndLoop(server, load, count, loops),
  );
  const all = total(comparison.loads);
  const ended = Math.max(...loops.map(({ ended }) => ended));
  const answered = Math.max(...loops.map(({ answered }) => answered));
  const codes = [...new Set(loops.map(({ code }) => code))].join();
  const limit = REQUEST_TIMEOUT + 2 * ABORT_GRACE + MARGIN * scale.slack;
  return {
    reached: isFlawless(all) && codes === "504" && ended <= limit &&
      comparison.ratio <= RATIO * scale.slack,
    measured: `${loops.length} such requests, error ${codes}: answered after ` +
      `${answered.toFixed(0)} ms, worker gone after ${ended.toFixed(0)} ms or less; others: ` +
      `${describe(all)}, ${ratioInWords(comparison)}, slowest ${ms(all.slowest)}`,
  };
}

/** Sends requests that never end, one after the other, during a load. */
async function loadAndLoop(
  server: ServerProcess,
  load: Load,
  count: number,
  loops: Loop[],
): Promise<Figures> {
  await using running = startLoad(load);
  await using peer = new Peer(server.endpoint);
  await pause(WARM_UP);
  for (let sent = 0; sent < count; sent++) {
    loops.push(await loop(server, peer));
    await until("the pool is full again", () => server.workers.length === WORKERS);
    await pause(PAUSE);
  }
  running.stop();
  return await running.figures;
}

async function loop(server: ServerProcess, peer: Peer): Promise<Loop> {
  const exits = linesOf(server, "worker exited").length;
  const sent = Date.now();
  const [, text = ""] = await peer.ask(ENDLESS);
  const answered = Date.now() - sent;
  const { time } = await server.line("worker exited", exits + 1);
  return { code: text.split(" ")[0], answered, ended: Date.parse(time) - sent };
}

/** Handlers that never end. */
export const scenarios: Scenario[] = [{
  id: "R8",
  title: "requests whose handler never ends, under load",
  figure: `answered 504, its worker gone ≤ limit + 2 × abortGrace + ${MARGIN} ms; ` +
    `99 % of the others' replies ≤ ${RATIO} × as late as without`,
  run: rogues,
}];
