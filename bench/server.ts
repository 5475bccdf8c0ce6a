/**
 * The server itself: how soon it answers, what it takes of memory and CPU, how many clients and waiting
 * jobs it carries.
 *
 * @module
 */

import { residentMemory } from "../system/proc.ts";
import { path } from "../tests/rig/checkout.ts";
import { deadEndpoint } from "../tests/rig/fake_server.ts";
import { Folder } from "../tests/rig/folder.ts";
import { between } from "../tests/rig/log_lines.ts";
import { MemoryWatch } from "../tests/rig/memory_watch.ts";
import { cpuMillis, exactCpuMillis } from "../tests/rig/processes.ts";
import { pause } from "../tests/rig/wait.ts";
import { Daemon, output } from "./daemon.ts";
import { generate } from "./generator.ts";
import { type Figures, readFigures } from "./load.ts";
import { fault } from "./peer.ts";
import { Server } from "./peer_prefork.ts";
import { programFile, whyMissing } from "./programs.ts";
import { count, type Section } from "./report.ts";
import { type Bench, dealer, numberOf, req, type Scenario, spanOf } from "./scenario.ts";
import { sectionOf } from "./section.ts";
import { median } from "./statistics.ts";

const MB = 1_000_000;

/** Memory of a process, MB. */
function megabytes(pid: number): number {
  return (residentMemory(pid) ?? NaN) / MB;
}

/** From the start of the command until a client that waits for it has an answer, ms. */
async function firstReply({ ledger }: Bench): Promise<number> {
  const endpoint = deadEndpoint();
  const started = performance.now();
  await using _server = await Server.start({
    workers: 2,
    flags: ["--frontend", endpoint],
    raw: true,
  });
  const one = {
    clients: 1,
    window: 1,
    size: 16,
    ...numberOf(1),
    reconnectInterval: 2,
  };
  ledger.enter("first reply", await generate({ endpoint, ...one }));
  return performance.now() - started;
}

/** A server with one worker that has just come. */
interface Fresh {
  /** From its spawn to its READY, ms. */
  sinceSpawn: number;
  /** From "listening" to its READY, ms. */
  sinceListening: number;
  /** Memory of the worker, MB. */
  size: number;
  /** Memory of the broker, MB. */
  main: number;
}

async function freshWorker(): Promise<Fresh> {
  await using server = await Server.start({ workers: 1, flags: ["--log-level", "debug"] });
  const [spawned] = server.log("worker spawned");
  const [listening] = server.log("listening");
  const [ready] = server.log("worker ready");
  return {
    sinceSpawn: between(spawned, ready),
    sinceListening: between(listening, ready),
    size: megabytes(server.workers[0] ?? 0),
    main: megabytes(server.pid),
  };
}

/** How often a server is started. */
const STARTS = { full: 9, quick: 3, check: 1 };

async function runStart(bench: Bench): Promise<Section> {
  const times: number[] = [];
  const workers: Fresh[] = [];
  await firstReply(bench); // fills the caches
  const starts = STARTS[bench.effort.depth];
  for (let round = 1; round <= starts; round++) {
    bench.say(`start, ${round} of ${starts}`);
    times.push(await firstReply(bench));
    workers.push(await freshWorker());
  }
  const middle = (of: (fresh: Fresh) => number) => median(workers.map(of));
  return sectionOf("Start", [`Medians of ${starts} starts; caches are warm.`], [
    { name: "first reply after `deno run`", value: median(times), unit: "ms", atMost: 350 },
    {
      name: "worker, from spawn to READY",
      value: middle(({ sinceSpawn }) => sinceSpawn),
      unit: "ms",
      atMost: 50,
    },
    {
      name: 'worker, from "listening" to READY',
      value: middle(({ sinceListening }) => sinceListening),
      unit: "ms",
    },
    { name: "RSS of a fresh worker", value: middle(({ size }) => size), unit: "MB", atMost: 40 },
    { name: "RSS of a fresh broker", value: middle(({ main }) => main), unit: "MB" },
  ]);
}

/** How long nothing happens before the figure is taken, and how long it is taken, ms. */
const SETTLE = 2000;
const IDLE = { full: 10_000, quick: 4000, check: 100 };

async function runIdle(bench: Bench): Promise<Section> {
  await using server = await Server.start({ workers: 4 });
  const shape = req(16);
  bench.ledger.enter("before idling", await server.load(shape, spanOf(bench.effort, shape)));
  const [settle, time] = [bench.effort.depth === "check" ? 0 : SETTLE, IDLE[bench.effort.depth]];
  bench.say(`idle, ${(settle + time) / 1000} s`);
  await pause(settle);
  const [before, since] = [exactCpuMillis(...server.pids), performance.now()];
  await pause(time);
  const share = (exactCpuMillis(...server.pids) - before) / (performance.now() - since) * 100;
  const sizes = server.workers.map(megabytes);
  return sectionOf("Idle", ["4 workers, after some load."], [
    { name: "CPU at idle, of one core", value: share, unit: "%", atMost: 0.1 },
    { name: "RSS of the broker", value: megabytes(server.pid), unit: "MB" },
    { name: "RSS of a worker", value: median(sizes), unit: "MB" },
  ]);
}

const QUEUED = 10_000;

/** Requests before, so that the memory of a server that works is what they add to. */
const BEFORE = 20_000;

/** What waiting jobs add to the broker's memory: all of them wait behind one that takes 2 s. */
async function runQueue(bench: Bench): Promise<Section> {
  const { ledger, say } = bench;
  await using server = await Server.start({ workers: 1, handler: "hold" });
  say(`${count(QUEUED)} jobs in the queue`);
  ledger.enter("before the queue", await server.load(dealer(100), numberOf(BEFORE)));
  const before = megabytes(server.pid);
  using memory = new MemoryWatch(server.pid);
  ledger.enter("full queue", await server.load(dealer(QUEUED, 1000), numberOf(QUEUED)));
  const most = memory.mostBytes / MB;
  const name = `${count(QUEUED)} queued jobs of 1 kB add`;
  return sectionOf("Queue", ["To the RSS of a broker that has worked before; the most seen."], [
    { name, value: most - before, unit: "MB", atMost: 30 },
    { name: "the broker before", value: before, unit: "MB" },
  ]);
}

const SOCKETS = 1000;
/** Until all are connected, and what is measured then, ms. */
const CONNECTED = 1000;
const SOCKETS_TIME = { full: 4000, quick: 2000 };

async function runSockets(bench: Bench): Promise<Section> {
  await using server = await Server.start({ workers: 2 });
  bench.say(`${SOCKETS} client sockets`);
  const { depth } = bench.effort;
  const span = depth === "check"
    ? numberOf(2 * SOCKETS)
    : { warmUp: CONNECTED, duration: CONNECTED + SOCKETS_TIME[depth] };
  const before = cpuMillis(...server.pids);
  const figures = bench.ledger.enter(`${SOCKETS} sockets`, await server.load(req(SOCKETS), span));
  const cpu = (cpuMillis(...server.pids) - before) / figures.replies * 100_000;
  const [p50, , p99] = figures.percentiles;
  const section = sectionOf(`${count(SOCKETS)} client sockets`, ["REQ, 2 workers."], [
    { name: "right replies", value: figures.rate, unit: "requests/s" },
    { name: "p50", value: p50 / 1000, unit: "ms" },
    { name: "p99", value: p99 / 1000, unit: "ms" },
    { name: "CPU per 100,000 requests", value: cpu, unit: "ms" },
  ]);
  const reached = fault(figures) === undefined;
  const measured = `${count(figures.replies)} of ${count(figures.requests)} replies right`;
  const name = `${count(SOCKETS)} client sockets`;
  return { ...section, targets: [{ name, wanted: "all replies right", measured, reached }] };
}

const CONNECTIONS = { full: 10_000, quick: 2000, check: 200 };
/** RSS that 10,000 of them may add, MB, and how many a second come in. */
const CONNECTIONS_MEMORY = 60;
const CONNECTIONS_RATE = 3000;
/** Until what came along with the connections was given back, ms. */
const CONNECTIONS_SETTLE = 1000;

/** Connections that say nothing. */
async function runConnections(bench: Bench): Promise<Section> {
  const { depth } = bench.effort;
  const wanted = CONNECTIONS[depth];
  const title = `${count(wanted)} idle connections`;
  const lack = await whyMissing("idle");
  if (lack !== undefined) return sectionOf(title, [`Not measured, as ${lack}.`], []);
  // All at once, and from one address.
  const flags = ["--max-connections", String(wanted * 2), "--max-connection-rate", "0"];
  await using server = await Server.start({ workers: 2, flags });
  bench.ledger.enter("before the connections", await server.load(dealer(100), numberOf(BEFORE)));
  const before = megabytes(server.pid);
  bench.say(title);
  const port = server.endpoint.split(":").at(-1) ?? "";
  const program = await programFile("idle");
  const args = [port, String(wanted)];
  await using idle = new Daemon({ program, args, reads: "stdout", stdin: "piped" });
  const millis = await idle.line("how long it took", Number);
  await pause(depth === "check" ? 0 : CONNECTIONS_SETTLE);
  const more = megabytes(server.pid) - before;
  const shape = req(16);
  bench.ledger.enter("beside the connections", await server.load(shape, numberOf(1000)));
  const isFull = depth === "full";
  return sectionOf(title, ["2 workers; each connection is let in and says nothing."], [
    {
      name: `${title} add`,
      value: more,
      unit: "MB",
      atMost: isFull ? CONNECTIONS_MEMORY : undefined,
    },
    {
      name: "connections let in",
      value: wanted * 1000 / millis,
      unit: "connections/s",
      atLeast: isFull ? CONNECTIONS_RATE : undefined,
    },
  ]);
}

const IN_FLIGHT = 100;
const LINES = { full: 200_000, quick: 100_000, check: 2000 };

async function runClient(bench: Bench): Promise<Section> {
  await using server = await Server.start({ workers: 2 });
  const rates: number[] = [];
  for (let round = 1; round <= bench.effort.pairs; round++) {
    bench.say(`client.ts, ${round} of ${bench.effort.pairs}`);
    rates.push(bench.ledger.enter("Client", await askByClient(bench, server)).rate);
  }
  bench.say("client.ts --lines");
  return sectionOf("Our client", ["2 workers, 16 B; medians."], [
    {
      name: `one Client, ${IN_FLIGHT} in flight`,
      value: median(rates),
      unit: "requests/s",
      atLeast: 80_000,
    },
    {
      name: `client.ts --lines -j ${IN_FLIGHT}, its start included`,
      value: await askByLines(bench, server),
      unit: "lines/s",
      atLeast: 40_000,
    },
  ]);
}

async function askByClient({ effort }: Bench, server: Server): Promise<Figures> {
  const loop = { askers: IN_FLIGHT, size: 16, ...spanOf(effort, { size: 16 }) };
  const args = ["run", "--quiet", "-A", path("bench/client_load.ts"), server.endpoint];
  return readFigures(await output(Deno.execPath(), [...args, JSON.stringify(loop)]));
}

/** Lines a second from a file to a file; each comes back where it was. */
async function askByLines({ effort, ledger }: Bench, server: Server): Promise<number> {
  using folder = new Folder();
  const total = LINES[effort.depth];
  const text = Array.from({ length: total }, (_, index) => `line ${index}\n`).join("");
  const file = folder.write("lines", text);
  const { endpoint } = server;
  const args = ["--endpoint", endpoint, "--quiet", "--lines", "-j", String(IN_FLIGHT), file];
  const started = performance.now();
  const answer = await output(Deno.execPath(), ["run", "-A", path("client.ts"), ...args]);
  const seconds = (performance.now() - started) / 1000;
  ledger.check("--lines", answer === text ? undefined : "the lines are not the same");
  return total / seconds;
}

/** What concerns the server, or its client, alone. */
export const scenarios: Scenario[] = [
  { name: "start", run: runStart },
  { name: "idle", run: runIdle },
  { name: "queue", run: runQueue },
  { name: "sockets", run: runSockets },
  { name: "connections", run: runConnections },
  { name: "client", run: runClient },
];
