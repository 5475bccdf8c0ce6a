/**
 * Scenarios about signals, to the main process and to workers. TERM, INT and QUIT to the main process
 * end it: see stops.ts.
 *
 * @module
 */

import { type Figures, startLoad } from "../bench/load.ts";
import { linesOf } from "../tests/rig/log_lines.ts";
import { trySignal } from "../tests/rig/processes.ts";
import { randomNumbers } from "../tests/rig/random.ts";
import { ServerProcess } from "../tests/rig/server_process.ts";
import { pause, until } from "../tests/rig/wait.ts";
import { describe, isFlawless, ms } from "./figures.ts";
import { waiting } from "./handlers.ts";
import type { Outcome, Scale, Scenario } from "./scenario.ts";

const TIMES = 100;
const WORKERS = 3;
const RATE = 1000;
/** Time between two signals, ms. */
const INTERVAL = 30;
/** Chance may send several signals that end workers to those of the same job. */
const ATTEMPTS = 10;

/** Takes about a millisecond, so that a worker that gets a signal runs a job. */
const SHORT = waiting(1);

/** To the main process: those that it obeys, those that it passes on, and those that mean nothing. */
const OBEYED = ["SIGHUP", "SIGTTIN", "SIGTTOU", "SIGUSR2"] as const;
const PASSED_ON = ["SIGALRM"] as const;
const IGNORED = ["SIGUSR1", "SIGCHLD", "SIGPIPE", "SIGWINCH", "SIGCONT", "SIGURG"] as const;
/** To workers. */
const FATAL = ["SIGTERM", "SIGQUIT", "SIGINT", "SIGKILL"] as const;

async function signals(scale: Scale): Promise<Outcome> {
  const attempts = ["--max-attempts", String(ATTEMPTS)];
  const passed = ["--signal-passthrough", PASSED_ON.map((name) => name.slice(3)).join()];
  const args = ["--min-workers", String(WORKERS), "--max-workers", "6", ...attempts, ...passed];
  await using server = await ServerProcess.start({ handler: SHORT, args });
  await server.line("worker ready", WORKERS);
  const shape = { clients: 4, window: 4, size: 64, rate: RATE, correlate: true };
  await using load = startLoad({ endpoint: server.endpoint, ...shape });
  const times = scale.of(TIMES);
  for (const signal of [...OBEYED, ...PASSED_ON, ...IGNORED]) {
    for (let time = 0; time < times; time++) {
      server.signal(signal);
      await pause(INTERVAL);
    }
  }
  await until("the last reload is over", () => linesOf(server, "reloaded").length > 0);
  // Signals that come while one of their kind waits are one: so there may have been fewer TTINs than TTOUs.
  await until("all workers are back", async () => {
    if (server.workers.length < WORKERS) server.signal("SIGTTIN");
    await pause(INTERVAL);
    return server.workers.length >= WORKERS;
  });
  for (const signal of FATAL) await toWorkers(server, signal, times);
  load.stop();
  return await judge(server, await load.figures, times);
}

/** Sends a signal to workers that are ready, one at a time and never the last one. */
async function toWorkers(server: ServerProcess, signal: Deno.Signal, times: number): Promise<void> {
  const random = randomNumbers(times);
  const reached = new Set<number>();
  for (let time = 0; time < times;) {
    // INT ends no worker, so the same one may get it again.
    const pid = await until(`a worker can get ${signal}`, () => {
      const fresh = server.workers.filter((pid) => signal === "SIGINT" || !reached.has(pid));
      return fresh.length > 1 && fresh[random(fresh.length)];
    });
    reached.add(pid);
    if (trySignal(pid, signal)) time++;
    await pause(INTERVAL);
  }
}

async function judge(server: ServerProcess, figures: Figures, times: number): Promise<Outcome> {
  await until("the pool is whole", () => server.workers.length >= 1);
  const count = OBEYED.length + PASSED_ON.length + IGNORED.length;
  const reloads = linesOf(server, "reloaded").length;
  const states = linesOf(server, "state").length;
  server.signal("SIGTERM");
  const { success } = await server.ended();
  return {
    reached: isFlawless(figures) && success && reloads > 0 && states > 0,
    measured: `${times} × ${count} signals to the main process, ${times} × ${FATAL.length} to ` +
      `workers: ${describe(figures)}, slowest ${ms(figures.slowest)}; ${reloads} reloads`,
  };
}

/** Signals. */
export const scenarios: Scenario[] = [{
  id: "R21",
  title:
    "under load, 100 times each: HUP TTIN TTOU USR2 ALRM USR1 CHLD PIPE WINCH CONT URG to the " +
    "main process, TERM QUIT INT KILL to workers",
  figure: "0 lost",
  run: signals,
}];
