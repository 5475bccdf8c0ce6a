/**
 * Scenarios about a server that is told to stop while it has much to do.
 *
 * @module
 */

import { startLoad } from "../bench/load.ts";
import { Peer } from "../tests/rig/peer.ts";
import { ServerProcess } from "../tests/rig/server_process.ts";
import { pause, until } from "../tests/rig/wait.ts";
import { describe, isFlawless } from "./figures.ts";
import { waiting } from "./handlers.ts";
import type { Outcome, Scale, Scenario } from "./scenario.ts";

const ROUNDS = 10;
const STOP_TIMEOUT = 3000;
/** How much later than `stopTimeout` the end may be, ms. */
const MARGIN = 250;
/** A second TERM ends the server within this, ms. */
const AT_ONCE = 500;
/** A second TERM counts as one of its own only when it comes later than a second after the first, ms. */
const SAME_WISH = 1100;
const WORKERS = 2;
const QUEUE = 500;
/** More than the queue holds: the others wait unread. */
const REQUESTS = 2 * QUEUE;

/** With a full queue there is work for a second. */
const SHORT = waiting(4);

const ENDLESS = `export default (_body, ctx) => {
  ctx.log.info("started");
  for (;;);
};`;

function args(stopTimeout: number): string[] {
  return ["--workers", String(WORKERS), "--stop-timeout", `${stopTimeout}ms`];
}

/** What became of a server that was told to stop. */
interface Stop {
  /** What was wrong with the answers; undefined: nothing. */
  flaw: string | undefined;
  /** From the signal to its end, ms. */
  took: number;
  /** Requests that were served, and those that were refused, after the signal. */
  served: number;
  refused: number;
}

async function stops(scale: Scale): Promise<Outcome> {
  const rounds = scale.of(ROUNDS);
  // What waits must be served in this time, however slow the machine.
  const timeout = STOP_TIMEOUT * scale.slack;
  const term: Stop[] = [];
  const quit: Stop[] = [];
  const stuck: number[] = [];
  const forced: number[] = [];
  for (let round = 0; round < rounds; round++) {
    term.push(await stopWithFullQueue("SIGTERM", timeout));
    quit.push(await stopWithFullQueue("SIGQUIT", timeout));
    stuck.push(await stopWhenStuck({ again: false }));
    forced.push(await stopWhenStuck({ again: true }));
  }
  const full = [...term, ...quit];
  const flaws = full.flatMap(({ flaw }) => flaw ?? []);
  const longest = Math.max(...full.map(({ took }) => took));
  const atOnce = Math.max(...forced);
  return {
    reached: flaws.length === 0 && longest <= timeout + MARGIN * scale.slack &&
      Math.max(...stuck) <= STOP_TIMEOUT + MARGIN * scale.slack &&
      atOnce < AT_ONCE * scale.slack,
    measured: `${rounds} × TERM: ${inWords(term)}; ${rounds} × QUIT: ${inWords(quit)}; ` +
      `stuck: gone after ${Math.max(...stuck).toFixed(0)} ms of ${STOP_TIMEOUT}; ` +
      `after a second TERM in ${atOnce.toFixed(0)} ms` + flaws.map((flaw) => `; ${flaw}`).join(""),
  };
}

function inWords(stops: readonly Stop[]): string {
  const range = (of: (stop: Stop) => number) =>
    `${Math.min(...stops.map(of))}–${Math.max(...stops.map(of))}`;
  const longest = Math.max(...stops.map(({ took }) => took));
  return `${range((stop) => stop.served)} served, ${range((stop) => stop.refused)} × 503, ` +
    `gone after ${longest.toFixed(0)} ms`;
}

/** Stops a server whose queue is full: what runs is answered, and what waits as the signal says. */
async function stopWithFullQueue(
  signal: "SIGTERM" | "SIGQUIT",
  stopTimeout: number,
): Promise<Stop> {
  const bounded = [...args(stopTimeout), "--queue-limit", String(QUEUE)];
  await using server = await ServerProcess.start({ handler: SHORT, args: bounded });
  await server.line("worker ready", WORKERS);
  const shape = { clients: 4, window: REQUESTS, size: 64, requests: REQUESTS, correlate: true };
  await using load = startLoad({ endpoint: server.endpoint, ...shape });
  const state = await until("the queue is full", async () => {
    const state = await server.state();
    return Number(state.queued) === QUEUE && state;
  });
  server.signal(signal);
  const signalledAt = performance.now();
  const { success } = await server.ended();
  const took = performance.now() - signalledAt;
  const figures = await load.figures;
  const { replies, errors } = figures;
  const refused = errors["503"] ?? 0;
  const [answered, running, queued] = [state.answered, state.running, state.queued].map(Number);
  // Between the look and the signal a few more are served.
  const least = (answered ?? 0) + (running ?? 0) + (signal === "SIGQUIT" ? queued ?? 0 : 0);
  const served = replies >= least && (signal === "SIGQUIT" || replies < least + QUEUE / 2);
  const good = success && served && isFlawless(figures, { errors: true }) &&
    replies + refused === REQUESTS;
  const flaw = good ? undefined : `${signal}: ${describe(figures)}; ${least} were to be served`;
  return { flaw, took, served: replies - (answered ?? 0), refused };
}

/** Stops a server whose job never ends, by one TERM or two; ms from the last one to its end. */
async function stopWhenStuck({ again }: { again: boolean }): Promise<number> {
  await using server = await ServerProcess.start({ handler: ENDLESS, args: args(STOP_TIMEOUT) });
  await using peer = new Peer(server.endpoint);
  peer.send("", "x");
  await server.line("started");
  let signalledAt = stopAndTime(server);
  if (again) {
    await server.line("stopping");
    await pause(SAME_WISH);
    signalledAt = stopAndTime(server);
  }
  await server.ended();
  return performance.now() - signalledAt;
}

function stopAndTime(server: ServerProcess): number {
  server.signal("SIGTERM");
  return performance.now();
}

/** Stops. */
export const scenarios: Scenario[] = [{
  id: "R5",
  title: "TERM and QUIT under load with a full queue, with a job that never ends, and TERM twice",
  figure: "running jobs answered; waiting ones 503 at TERM, served at QUIT; " +
    `gone ≤ stopTimeout + ${MARGIN} ms; after a second TERM < ${AT_ONCE} ms`,
  run: stops,
}];
