/**
 * Scenarios about clients that come and go.
 *
 * @module
 */

import { generate } from "../bench/generator.ts";
import type { Figures } from "../bench/load.ts";
import { ServerProcess } from "../tests/rig/server_process.ts";
import { describe, isFlawless, ms, total } from "./figures.ts";
import type { Outcome, Scale, Scenario } from "./scenario.ts";

const LATE = 250;
/** Fresh connections at a time. */
const BATCH = 20;

async function freshThenSteady(scale: Scale): Promise<Outcome> {
  await using server = await ServerProcess.start({ args: ["--workers", "2"] });
  const { endpoint } = server;
  const fresh: Figures[] = [];
  for (let count = 0; count < scale.of(10_000); count += BATCH) {
    const load = { endpoint, clients: BATCH, window: 1, size: 16, requests: BATCH, seed: count };
    fresh.push(await generate(load));
  }
  const shape = { clients: BATCH, window: 2, size: 16 };
  const steady = await generate({ endpoint, ...shape, requests: scale.of(100_000) });
  const slowest = Math.max(...fresh.map(({ slowest }) => slowest));
  const inTime = Math.max(slowest, steady.slowest) <= LATE * 1000 * scale.slack;
  return {
    reached: inTime && fresh.every((figures) => isFlawless(figures)) && isFlawless(steady),
    measured: `fresh: ${describe(total(fresh))}, slowest ${ms(slowest)}; ` +
      `steady: ${describe(steady)}, slowest ${ms(steady.slowest)}`,
  };
}

/** Clients that come and go. */
export const scenarios: Scenario[] = [{
  id: "R3",
  title: "10,000 fresh connections of one request each, then 100,000 requests on steady ones",
  figure: `none lost; no reply later than ${LATE} ms for want of a wake-up`,
  run: freshThenSteady,
}];
