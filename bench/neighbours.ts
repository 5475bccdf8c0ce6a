/**
 * The server inside of a program that does other things too: what they take from each other.
 *
 * @module
 */

import { path } from "../tests/rig/checkout.ts";
import { closedLoop } from "./closed_loop.ts";
import { Daemon } from "./daemon.ts";
import { Server } from "./peer_prefork.ts";
import type { Section } from "./report.ts";
import { type Bench, dealer, req, type Scenario, spanOf } from "./scenario.ts";
import { sectionOf } from "./section.ts";
import { median, ratios } from "./statistics.ts";
import { askZmq } from "./zmq_load.ts";

/** Where the median stands among `Figures.percentiles`. */
const P50 = 0;
/** How long the program's own thread is kept busy, and how long requests come before and after, ms. */
const BLOCKED = { full: 5000, quick: 2000, check: 200 };
const AROUND = { full: 500, quick: 500, check: 100 };
/** A request that waits for a blocked thread would wait for much longer than this, ms. */
const BLOCKED_MOST = 250;
/** The least of a slice, ms. */
const LEAST = 100;

/** A program with a gateway, whose server is its own or elsewhere. */
class Gateway implements AsyncDisposable {
  readonly #daemon: Daemon;
  readonly #port: number;
  /** Where the server is. */
  readonly endpoint: string;

  private constructor(daemon: Daemon, { port, endpoint }: { port: number; endpoint: string }) {
    this.#daemon = daemon;
    this.#port = port;
    this.endpoint = endpoint;
  }

  static async start(endpoint?: string): Promise<Gateway> {
    const elsewhere = endpoint === undefined ? [] : [endpoint];
    const args = ["run", "--quiet", "-A", path("bench/gateway.ts"), path("bench/handler_echo.ts")];
    const daemon = new Daemon({
      program: Deno.execPath(),
      args: [...args, ...elsewhere],
      reads: "stdout",
    });
    return new Gateway(daemon, await daemon.line("where it is", (line) => JSON.parse(line)));
  }

  /** Has something measured in the program. */
  async measure(what: "timers" | "alone" | "block", ms: number): Promise<number> {
    const response = await fetch(`http://127.0.0.1:${this.#port}/${what}?ms=${ms}`);
    return await response.json();
  }

  async ask(body: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
    const response = await fetch(`http://127.0.0.1:${this.#port}/`, { method: "POST", body });
    return new Uint8Array(await response.arrayBuffer());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#daemon[Symbol.asyncDispose]();
  }
}

/** The median of one HTTP request at a time, ms. */
async function medianOf(bench: Bench, gateway: Gateway, name: string): Promise<number> {
  const loop = { askers: 1, size: 16, ...spanOf(bench.effort, { size: 16 }) };
  const figures = await closedLoop(loop, (body) => gateway.ask(body));
  return bench.ledger.enter(`gateway, ${name}`, figures).percentiles[P50] / 1000;
}

/** The server inside and apart, in turn. */
async function compare(bench: Bench, inside: Gateway, apart: Gateway) {
  const pairs: { medians: [number, number]; rates: [number, number] }[] = [];
  const slice = Math.max(LEAST, bench.effort.slice);
  for (let round = 1; round <= bench.effort.pairs; round++) {
    bench.say(`gateway, ${round} of ${bench.effort.pairs}`);
    pairs.push({
      medians: [await medianOf(bench, inside, "inside"), await medianOf(bench, apart, "apart")],
      rates: [await inside.measure("alone", slice), await apart.measure("alone", slice)],
    });
  }
  return pairs;
}

/** Lateness of the program's timers at 99 % while others ask its server for all that it can do, ms. */
async function timersBesideLoad(bench: Bench, inside: Gateway): Promise<number> {
  const shape = dealer(100);
  const slice = Math.max(LEAST, bench.effort.slice);
  const late: number[] = [];
  for (let round = 1; round <= bench.effort.pairs; round++) {
    bench.say(`timers, ${round} of ${bench.effort.pairs}`);
    const load = askZmq(inside.endpoint, shape, spanOf(bench.effort, shape));
    late.push(await inside.measure("timers", slice));
    bench.ledger.enter("beside timers", await load);
  }
  return median(late);
}

/** The slowest answer to others while the program's own thread does nothing else than something long, ms. */
async function besideBlocked(bench: Bench, inside: Gateway): Promise<number> {
  const { depth } = bench.effort;
  bench.say(`the program's own thread is busy for ${BLOCKED[depth] / 1000} s`);
  const duration = BLOCKED[depth] + 2 * AROUND[depth];
  const load = askZmq(inside.endpoint, req(16), { duration });
  await new Promise((resolve) => setTimeout(resolve, AROUND[depth]));
  await inside.measure("block", BLOCKED[depth]);
  return bench.ledger.enter("beside a busy thread", await load).slowest / 1000;
}

async function run(bench: Bench): Promise<Section> {
  await using server = await Server.start({ workers: 2 });
  await using apart = await Gateway.start(server.endpoint);
  await using inside = await Gateway.start();
  const pairs = await compare(bench, inside, apart);
  const late = await timersBesideLoad(bench, inside);
  const slowest = await besideBlocked(bench, inside);
  const ratio = ratios(pairs.map(({ medians }) => medians));
  const middle = (of: (pair: typeof pairs[number]) => number) => median(pairs.map(of));
  const blocked = BLOCKED[bench.effort.depth] / 1000;
  return sectionOf(
    "Inside of a program",
    [
      "serve() in a program that is an HTTP gateway too, 2 workers; apart: the same gateway, asking a server in " +
      "a process of its own. Medians, one request at a time; the slowest is that of 16 REQ clients.",
    ],
    [
      {
        name: "gateway, median, server inside",
        value: middle((pair) => pair.medians[0]),
        unit: "ms",
      },
      {
        name: "gateway, median, server apart",
        value: middle((pair) => pair.medians[1]),
        unit: "ms",
      },
      { name: "gateway, inside to apart", value: ratio.median, unit: "×", atMost: 1.3 },
      { name: "Client, server inside", value: middle((pair) => pair.rates[0]), unit: "requests/s" },
      { name: "Client, server apart", value: middle((pair) => pair.rates[1]), unit: "requests/s" },
      {
        name: "timers beside full load, 99 % late by less than",
        value: late,
        unit: "ms",
        atMost: 5,
      },
      {
        name: `slowest answer while the program's own thread is busy for ${blocked} s`,
        value: slowest,
        unit: "ms",
        atMost: BLOCKED_MOST,
      },
    ],
  );
}

/** What the server and the rest of a program take from each other. */
export const scenarios: Scenario[] = [{ name: "inside", run }];
