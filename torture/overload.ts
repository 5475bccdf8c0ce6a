/**
 * Scenarios about clients that ask more than the workers can do.
 *
 * @module
 */

import { runLoad, startLoad } from "../bench/load.ts";
import { MemoryWatch } from "../tests/rig/memory_watch.ts";
import { ServerProcess } from "../tests/rig/server_process.ts";
import { until } from "../tests/rig/wait.ts";
import { describe, isFlawless, ms } from "./figures.ts";
import { waiting } from "./handlers.ts";
import type { Outcome, Scale, Scenario } from "./scenario.ts";

/** A handler that waits: `WORKERS` answer about 2,000 requests a second. */
const SLOW = waiting(1);
const WORKERS = ["--workers", "2", "--concurrency", "4"];
const OVERLOAD = { clients: 50, size: 1000, correlate: true, rate: 20_000 };
/** Requests under way on each client: all together are more than the queue holds. */
const WINDOW = 300;
const OVERLOAD_TIME = 60_000;
/** What an overload took is given back within this time, ms. */
const REST = 30_000;
const QUEUED = 10_000;
const MB = 1_000_000;
/** 145 to 223 MB were measured: V8's new space grows to 64 MiB in all, when much outlives a collection. */
const MAX_BYTES = 250 * MB;
const MAX_GROWTH = 1.5;
const MAX_DELAY = 5;

/** Clients that ask too much. */
export const scenarios: Scenario[] = [{
  id: "R13",
  title: "10 × more load than the workers can take for 60 s, 1 kB bodies, in both overflow modes",
  figure:
    `memory of the main process <= ${MAX_BYTES / MB} MB with 10,000 queued, <= ${MAX_GROWTH} × ` +
    "the start 30 s later; each request answered or refused",
  run: overload,
}, {
  id: "R19",
  title: "one client with 10,000 requests queued and ten light ones",
  figure: `light ones' 99 % <= ${MAX_DELAY} × their quiet 99 %`,
  run: heavyClient,
}];

async function overload(scale: Scale): Promise<Outcome> {
  const outcomes = [await overloadOnce("block", scale), await overloadOnce("reject", scale)];
  return {
    reached: outcomes.every(({ reached }) => reached),
    measured: outcomes.map(({ measured }) => measured).join("; "),
  };
}

async function overloadOnce(overflow: "block" | "reject", scale: Scale): Promise<Outcome> {
  const args = [...WORKERS, "--overflow", overflow, "--queue-limit", `${scale.of(QUEUED)}`];
  await using server = await ServerProcess.start({ args, handler: SLOW });
  using memory = new MemoryWatch(server.pid);
  const start = memory.bytes;
  const load = { endpoint: server.endpoint, duration: scale.of(OVERLOAD_TIME), grace: 120_000 };
  await using peers = startLoad({ ...OVERLOAD, ...load, window: scale.of(WINDOW) });
  const queued = await until("the queue is full", async () => {
    const { queued } = await server.state();
    return Number(queued) >= scale.of(QUEUED) && Number(queued);
  });
  const figures = await peers.figures;
  const most = memory.mostBytes;
  const enough = () => memory.bytes <= start * MAX_GROWTH;
  await until("memory is given back", enough, REST * scale.slack).catch(() => {});
  const end = memory.bytes;
  const errors = overflow === "reject";
  const small = most <= MAX_BYTES && end <= start * MAX_GROWTH;
  return {
    reached: small && isFlawless(figures, { errors }),
    measured: `${overflow}: ${queued} queued, ${mb(start)} at the start, maximum ${mb(most)}, ` +
      `${mb(end)} at the end; ${describe(figures)}`,
  };
}

async function heavyClient(scale: Scale): Promise<Outcome> {
  const args = [...WORKERS, "--queue-limit", `${2 * QUEUED}`];
  await using server = await ServerProcess.start({ args, handler: SLOW });
  const light = () => runLoad({ ...LIGHT, endpoint: server.endpoint, requests: scale.of(3000) });
  const quiet = await light();
  const shape = {
    clients: 1,
    window: scale.of(QUEUED) + 100,
    size: 1000,
    correlate: true,
    grace: 60_000,
  };
  await using heavy = startLoad({ endpoint: server.endpoint, ...shape });
  await until(
    "the queue is long",
    async () => Number((await server.state()).queued) >= scale.of(QUEUED),
  );
  const busy = await light();
  heavy.stop();
  const others = await heavy.figures;
  const [, , before] = quiet.percentiles;
  const [, , after] = busy.percentiles;
  const fair = after <= before * MAX_DELAY * scale.slack;
  return {
    reached: fair && [quiet, busy, others].every((figures) => isFlawless(figures)),
    measured: `99 % of light ones: ${ms(before)} quiet, ${ms(after)} along with the heavy one; ` +
      `light: ${describe(busy)}; heavy: ${describe(others)}`,
  };
}

/** Ten clients that ask now and then. */
const LIGHT = { clients: 10, window: 1, size: 100, correlate: true, rate: 100 };

function mb(bytes: number): string {
  return `${Math.round(bytes / MB)} MB`;
}
