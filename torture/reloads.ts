/**
 * Scenarios about reloads under load.
 *
 * @module
 */

import { type Figures, type Load, runLoad, startLoad } from "../bench/load.ts";
import { linesOf } from "../tests/rig/log_lines.ts";
import { ServerProcess } from "../tests/rig/server_process.ts";
import { pause } from "../tests/rig/wait.ts";
import { compare, describe, isFlawless, ms, ratioInWords, total } from "./figures.ts";
import type { Outcome, Scale, Scenario } from "./scenario.ts";

const HUPS = 20;
const DAYS = 4;
const REQUESTS = 100_000;
/** Requests a second: a load that leaves time for starts, as in production. */
const RATE = 3000;
/** How much later the slowest hundredth of replies may be than without reloads. */
const RATIO = 3;
/** Time that the load generator takes to run as fast as it can, ms. */
const WARM_UP = 1000;

async function reloads(scale: Scale): Promise<Outcome> {
  await using server = await ServerProcess.start({ args: ["--workers", "2"] });
  await server.line("worker ready", 2);
  const days = scale.full ? DAYS : 1;
  const requests = Math.ceil(scale.of(REQUESTS) / days);
  const hups = Math.ceil(scale.of(HUPS) / days);
  const shape = { clients: 8, window: 4, size: 64, rate: RATE, correlate: true, warmUp: WARM_UP };
  const load = { endpoint: server.endpoint, ...shape, requests };
  const comparison = await compare(
    days,
    () => runLoad({ ...load, requests: requests / 2 }),
    () => loadAndReload(server, load, hups),
  );
  const all = total(comparison.loads);
  return {
    reached: isFlawless(all) && comparison.ratio <= RATIO * scale.slack,
    measured: `${linesOf(server, "reloaded").length} reloads, ${describe(all)}; ` +
      `${ratioInWords(comparison)}, slowest ${ms(all.slowest)}`,
  };
}

/** Spreads HUPs over a load. */
async function loadAndReload(server: ServerProcess, load: Load, hups: number): Promise<Figures> {
  await using running = startLoad(load);
  const interval = ((load.requests ?? 0) / RATE * 1000 - WARM_UP) / hups;
  await pause(WARM_UP);
  for (let count = 0; count < hups; count++) {
    const next = performance.now() + interval;
    const reloads = linesOf(server, "reloaded").length;
    server.signal("SIGHUP");
    await server.line("reloaded", reloads + 1);
    await pause(next - performance.now());
  }
  return await running.figures;
}

/** Reloads. */
export const scenarios: Scenario[] = [{
  id: "R4",
  title: "20 HUPs under load",
  figure: `≥ 100,000 requests, 0 failed; 99 % of replies ≤ ${RATIO} × as late as without`,
  run: reloads,
}];
