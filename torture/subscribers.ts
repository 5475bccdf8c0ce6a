/**
 * A scenario about many who have subscribed to everything, one of whom never reads.
 *
 * @module
 */

import { type Figures, runLoad } from "../bench/load.ts";
import { path } from "../tests/rig/checkout.ts";
import { MemoryWatch } from "../tests/rig/memory_watch.ts";
import { ServerProcess } from "../tests/rig/server_process.ts";
import { pause } from "../tests/rig/wait.ts";
import { compare, describe, isFlawless, ratioInWords, total } from "./figures.ts";
import type { Outcome, Scale, Scenario } from "./scenario.ts";

const ECHO = `export default (body) => body;`;
const SUBSCRIBERS = 100;
/** Each makes three events: it is queued, started and done. */
const REQUESTS_PER_SECOND = 6667;
const REQUESTS = 200_000;
const DAYS = 3;
const MB = 1_000_000;
/** The main process may grow by this, MB: 1 MiB waits for the one that never reads, and others may be late. */
const GROWTH = 100;
const RATIO = 1.2;

async function crowd(scale: Scale): Promise<Outcome> {
  const args = ["--workers", "2", "--events", "tcp://127.0.0.1:0"];
  await using server = await ServerProcess.start({ handler: ECHO, args });
  await server.line("worker ready", 2);
  const { events } = await server.line("listening");
  const shape = { clients: 8, window: 4, size: 64, rate: REQUESTS_PER_SECOND, correlate: true };
  const load = { endpoint: server.endpoint, ...shape, warmUp: 500, requests: scale.of(REQUESTS) };
  let grown = 0;
  const disturbed = async () => {
    using memory = new MemoryWatch(server.pid);
    const before = memory.bytes;
    const figures = await beside(`${events}`, () => runLoad(load));
    grown = Math.max(grown, memory.mostBytes - before);
    return figures;
  };
  // Its heap is as large as under any such load.
  await runLoad(load);
  const comparison = await compare(scale.full ? DAYS : 1, () => runLoad(load), disturbed);
  const all = total(comparison.loads);
  const isFlat = grown <= GROWTH * MB;
  return {
    reached: isFlat && isFlawless(all) && comparison.ratio <= RATIO * scale.slack,
    measured: `${SUBSCRIBERS} subscribers, one of whom never reads: ` +
      `${(grown / MB).toFixed(0)} MB more; ${describe(all)}; ${ratioInWords(comparison)}`,
  };
}

/** Runs a load while all have subscribed. */
async function beside(endpoint: string, run: () => Promise<Figures>): Promise<Figures> {
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "-A", "--no-check", path("torture/event_readers.ts")],
      ...[endpoint, `${SUBSCRIBERS - 1}`, "1"],
    ],
    stdout: "piped",
  }).spawn();
  try {
    const reader = child.stdout.getReader();
    await reader.read();
    await reader.cancel();
    await pause(100); // until the server has heard of all
    return await run();
  } finally {
    child.kill("SIGKILL");
    await child.status;
  }
}

/** Subscribers. */
export const scenarios: Scenario[] = [{
  id: "R32",
  title: `${SUBSCRIBERS} subscribers to all events, 20,000 a second, one of whom never reads`,
  figure: `server ≤ ${GROWTH} MB more; 99 % of replies ≤ ${RATIO} × as late as without`,
  run: crowd,
}];
