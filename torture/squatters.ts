/**
 * A scenario about identities that only libzmq gives: peers take very many, and others connect without
 * one until libzmq's count meets a taken one, which ends a server that lets them.
 *
 * @module
 */

import { Peer } from "../tests/rig/peer.ts";
import { ServerProcess } from "../tests/rig/server_process.ts";
import { until } from "../tests/rig/wait.ts";
import { dial, greeting, nullReady } from "../tests/rig/zmtp.ts";
import { quantile } from "./figures.ts";
import type { Outcome, Scale, Scenario } from "./scenario.ts";

const SQUATTERS = 15_000;
/** A server that lets all in is dead after 11 to 25 s, ms. */
const TIME = 120_000;
/** Connections that are started at a time. */
const AT_ONCE = 64;

/** Opens a raw connection under an identity; undefined if the server is not there. */
async function connect(
  server: ServerProcess,
  identity: Uint8Array,
): Promise<Deno.Conn | undefined> {
  try {
    const connection = await dial(server.endpoint);
    await connection.write(greeting("NULL"));
    await connection.write(nullReady({ Identity: identity }));
    return connection;
  } catch {
    return undefined;
  }
}

/** The identity at this part of all that libzmq may give. */
function identityAt(part: number): Uint8Array {
  const id = new DataView(new ArrayBuffer(5));
  id.setUint32(1, Math.floor(part * 2 ** 32));
  return new Uint8Array(id.buffer);
}

/** Connects without an identity, again and again; how often. */
async function rush(server: ServerProcess, end: number): Promise<number> {
  let count = 0;
  while (performance.now() < end) {
    const connections = await Promise.all(
      Array.from({ length: AT_ONCE }, () => connect(server, new Uint8Array(0))),
    );
    count += connections.length;
    await new Promise((resolve) => setTimeout(resolve, 5));
    for (const connection of connections) connection?.close();
  }
  return count;
}

/** Asks one after the other until the end; times in ms. */
async function askOn(peer: Peer, end: number): Promise<number[]> {
  const times: number[] = [];
  while (performance.now() < end) {
    const before = performance.now();
    await peer.ask("still there");
    times.push(performance.now() - before);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return times;
}

async function squat(scale: Scale): Promise<Outcome> {
  await using server = await ServerProcess.start();
  await using peer = new Peer(server.endpoint);
  await peer.ask("before");
  const count = scale.of(SQUATTERS);
  const taken: (Deno.Conn | undefined)[] = [];
  for (let index = 0; index < count; index++) {
    taken.push(await connect(server, identityAt(index / count)));
  }
  const end = performance.now() + scale.of(TIME);
  const [tries, times] = await Promise.all([rush(server, end), askOn(peer, end)]);
  for (const connection of taken) connection?.close();
  await until(
    "the attackers are gone",
    async () => Number((await server.state()).connections) <= 1,
  );
  const { squatters, denied } = await server.state();
  await peer.ask("after");
  const slowest = quantile(times, 1);
  return {
    reached: Number(squatters) > 0 && times.length > 0,
    measured: `alive after ${tries} connections; ${squatters} of ${count} got in, ` +
      `${denied} denied; ${times.length} replies to others, the slowest after ${
        slowest.toFixed(0)
      } ms`,
  };
}

export const scenarios: readonly Scenario[] = [{
  id: "R24",
  title: "15,000 of libzmq's own identities taken, then anonymous peers for 2 minutes",
  figure: "the server lives, and answers the clients that were there before",
  run: squat,
}];
