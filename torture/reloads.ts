/**
 * Scenarios about reloads under load.
 *
 * @module
 */

import { type Figures, startLoad } from "../bench/load.ts";
import type { ServerProcess } from "../tests/harness.ts";
import { describe, isFlawless, ms, pause, startServer } from "./ground.ts";
import type { Outcome, Scale, Scenario } from "./scenario.ts";

const HUPS = 20;
const REQUESTS = 100_000;
/** Requests a second: a load that leaves time for starts, as in production. */
const RATE = 3000;
/** How much slower the slowest hundredth may be than on a quiet day. */
const RATIO = 3;

async function reloads(scale: Scale): Promise<Outcome> {
  await using server = await startServer({ args: ["--workers", "2"] });
  await server.line("worker ready", 2);
  const count = scale.of(REQUESTS);
  const quiet = await load(server, count / 2);
  const running = load(server, count);
  const between = count / RATE / scale.of(HUPS) * 1000;
  for (let round = 1; round <= scale.of(HUPS); round++) {
    server.signal("SIGHUP");
    await server.line("reloaded", round);
    await pause(between / 2);
  }
  const figures = await running;
  const [, , before] = quiet.percentiles;
  const [, , during] = figures.percentiles;
  return {
    reached: isFlawless(quiet) && isFlawless(figures) && during <= RATIO * scale.slack * before,
    measured: `${scale.of(HUPS)} reloads, ${describe(figures)}; 99 % in ${ms(during)}, ` +
      `quiet ${ms(before)}: ${(during / before).toFixed(1)} ×, slowest ${ms(figures.slowest)}`,
  };
}

async function load({ endpoint }: ServerProcess, requests: number): Promise<Figures> {
  const shape = { clients: 8, window: 4, size: 64, rate: RATE, correlate: true };
  await using load = startLoad({ endpoint, ...shape, requests });
  return await load.figures;
}

/** Reloads. */
export const scenarios: Scenario[] = [{
  id: "R4",
  title: "20 HUPs under load",
  figure: `≥ 100,000 requests, 0 failed; 99 % of replies ≤ ${RATIO} × as late as without`,
  run: reloads,
}];
