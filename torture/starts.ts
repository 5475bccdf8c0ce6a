/**
 * Scenarios about handlers that do not come up.
 *
 * @module
 */

import { linesOf } from "../tests/rig/log_lines.ts";
import { cpuMillisWithChildren } from "../tests/rig/processes.ts";
import { ServerProcess } from "../tests/rig/server_process.ts";
import { pause } from "../tests/rig/wait.ts";
import type { Outcome, Scale, Scenario } from "./scenario.ts";

/** Its process ends while it is imported, without a word. */
const STILLBORN = "Deno.exit(3);";
const SPAN = 60_000;
const SPAWNS = 20;
/** Part of a core. */
const CPU = 0.05;
const STOP_LIMIT = 250;

/**
 * Counts the starts of the first minute, in which they are most frequent, and all CPU time of main
 * process and children in it, their loading included.
 */
async function stillborn(scale: Scale): Promise<Outcome> {
  const args = ["--workers", "2"];
  await using server = await ServerProcess.start({ handler: STILLBORN, args, raw: true });
  const started = performance.now();
  await server.line("listening");
  await pause(scale.of(SPAN));
  const share = cpuMillisWithChildren(server.pid) / (performance.now() - started);
  const spawns = linesOf(server, "worker spawned").length;
  const signalledAt = performance.now();
  server.signal("SIGTERM");
  const { code } = await server.ended();
  const took = performance.now() - signalledAt;
  return {
    reached: spawns > 2 && spawns <= SPAWNS && share <= CPU * scale.slack &&
      took <= STOP_LIMIT * scale.slack && code === 0,
    measured: `${spawns} spawns in ${scale.of(SPAN) / 1000} s, ${(share * 100).toFixed(1)} % of ` +
      `a core (children and start included), gone ${took.toFixed(0)} ms after TERM, code ${code}`,
  };
}

/** Handlers that do not come up. */
export const scenarios: Scenario[] = [{
  id: "R10",
  title: "a handler whose process ends whenever it is started",
  figure: "≤ 20 spawns a minute, ≤ 5 % of a core; TERM ends the server in < 250 ms",
  run: stillborn,
}];
