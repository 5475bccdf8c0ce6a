/**
 * A scenario about a server that has no file descriptor left.
 *
 * @module
 */

import { type Figures, runLoad, startLoad } from "../bench/load.ts";
import { Folder } from "../tests/rig/folder.ts";
import { Peer } from "../tests/rig/peer.ts";
import { serverFlags } from "../tests/rig/permissions.ts";
import { ENVIRONMENT, ServerProcess } from "../tests/rig/server_process.ts";
import type { Transport } from "../tests/rig/transports.ts";
import { until } from "../tests/rig/wait.ts";
import { SocketType } from "../zmq/library.ts";
import { locateLibrary } from "../zmq/locate.ts";
import { Context } from "../zmq/socket.ts";
import { onEachTransport } from "./each_transport.ts";
import { ms } from "./figures.ts";
import type { Outcome, Scale, Scenario } from "./scenario.ts";

/** File descriptors that the server may have; it takes about 55 for itself. */
const LIMIT = 90;
/** Clients that are served before, during and after the time in which no other client can connect. */
const CLIENTS = 4;
/** How long they ask, before and then, ms. */
const SPAN = { full: 5_000, small: 2_000 };
/** How much slower than in quiet times they may be at 99 %. */
const SLOWER = 2;
/** Until a new client must be served once the others have left, ms. */
const RECOVERY = 2_000;

/** Connections that only wait, until they are disposed of. */
type Crowd = (endpoint: string, size: number) => Promise<AsyncDisposable>;

/** Connections that say nothing at all. */
async function silent(endpoint: string, size: number): Promise<AsyncDisposable> {
  const { hostname, port } = new URL(endpoint.replace("tcp:", "http:"));
  const connect = () => Deno.connect({ hostname, port: Number(port) });
  const connections = await Promise.all(Array.from({ length: size }, connect));
  return {
    [Symbol.asyncDispose]() {
      for (const connection of connections) connection.close();
      return Promise.resolve();
    },
  };
}

/** ZeroMQ clients that ask nothing. */
function idle(endpoint: string, size: number): Promise<AsyncDisposable> {
  const context = new Context(locateLibrary(Deno.env.get("ZMQ_LIBRARY")));
  const sockets = Array.from({ length: size }, () => context.socket(SocketType.DEALER));
  for (const socket of sockets) socket.connect(endpoint);
  return Promise.resolve({
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.close(0);
      await context.terminate();
    },
  });
}

/** What one kind of crowd has led to. */
interface Effect {
  quiet: Figures;
  crowded: Figures;
  /** From when the crowd has left until a new client is served, ms. */
  recovery: number;
}

async function withstand(crowd: Crowd, scale: Scale, transport: Transport): Promise<Effect> {
  using folder = new Folder();
  await using server = await startShort(folder, transport);
  const { endpoint } = server;
  const duration = scale.full ? SPAN.full : SPAN.small;
  const shape = { endpoint, clients: CLIENTS, window: 1, size: 16, duration };
  const quiet = await runLoad(shape);
  await using load = startLoad(shape);
  await until("they are connected", async () => Number((await server.state()).clients) >= CLIENTS);
  let recovery: number;
  {
    await using _crowd = await crowd(endpoint, scale.of(1000));
    await server.line(RAN_OUT);
    await load.figures;
    // The crowd takes its file descriptors at once.
    Deno.kill(server.workers[0] ?? 0, "SIGKILL");
    await server.line("worker not spawned");
  }
  {
    const started = performance.now();
    await using peer = new Peer(endpoint);
    await peer.ask("x");
    recovery = performance.now() - started;
  }
  await server.line("file descriptors are free again");
  await until("the worker was replaced", () => server.workers.length === 2);
  return { quiet, crowded: await load.figures, recovery };
}

const RAN_OUT =
  "file descriptors ran out, new clients and workers must wait: raise LimitNOFILE= or ulimit -n, or set maxConnections";

/** A server that may open few files. */
async function startShort(folder: Folder, { args }: Transport): Promise<ServerProcess> {
  const script = `#!/bin/sh\nulimit -n ${LIMIT}\nexec '${Deno.execPath()}' "$@"\n`;
  const program = folder.write("deno", script);
  Deno.chmodSync(program, 0o755);
  const permissions = serverFlags({ env: ENVIRONMENT });
  const server = await ServerProcess.start({
    args: ["--workers", "2", ...args],
    program,
    permissions,
  });
  await server.line("worker ready", 2);
  return server;
}

async function runOut(scale: Scale, transport: Transport): Promise<Outcome> {
  const effects = [
    await withstand(silent, scale, transport),
    await withstand(idle, scale, transport),
  ];
  return {
    reached: effects.every((effect) => isGood(effect, scale)),
    measured: effects.map(inWords).join("; "),
  };
}

function isGood({ quiet, crowded, recovery }: Effect, { slack }: Scale): boolean {
  const { missing, wrong, duplicates, errors } = crowded;
  const flawless = missing + wrong + duplicates + Object.keys(errors).length === 0;
  return flawless && crowded.percentiles[2] <= SLOWER * quiet.percentiles[2] * slack &&
    recovery <= RECOVERY * slack;
}

function inWords({ quiet, crowded, recovery }: Effect, index: number): string {
  const kind = ["silent", "idle"][index];
  const slower = (crowded.percentiles[2] / quiet.percentiles[2]).toFixed(1);
  return `${kind}: 99 % at ${ms(crowded.percentiles[2])}, ${slower} × the quiet run's, ` +
    `${crowded.missing} lost, serves again after ${recovery.toFixed(0)} ms`;
}

/** A server that has no file descriptor left. */
export const scenarios: Scenario[] = [{
  id: "R15",
  title: `${LIMIT} file descriptors, and 1,000 connections that only wait, on each transport`,
  figure: `99 % ≤ ${SLOWER} × the quiet run's; serves again within ${RECOVERY / 1000} s`,
  run: onEachTransport(runOut),
}];
