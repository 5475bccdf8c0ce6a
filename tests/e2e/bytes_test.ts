/**
 * What one peer can make the server hold: replies that it never reads, requests that nobody can take, and
 * messages of a great many frames.
 *
 * @module
 */

import { strict as assert } from "node:assert";
import { residentMemory } from "../../system/proc.ts";
import { Peer } from "../rig/peer.ts";
import { ServerProcess } from "../rig/server_process.ts";
import { bytes } from "../rig/text.ts";
import { until } from "../rig/wait.ts";
import { DeafPeer, message } from "../rig/zmtp.ts";

const MB = 1_000_000;
const EMPTY = new Uint8Array(0);
/** Answers a request of one byte with 1 MiB, and others with themselves. */
const LARGE = `const large = new Uint8Array(1024 ** 2);
export default (body) => body.length === 1 ? large : body;`;

function memoryOf(server: ServerProcess): number {
  return residentMemory(server.pid) ?? 0;
}

Deno.test("the server holds a share of its budget when a client never reads its large replies", async () => {
  const args = ["--workers", "1", "--queue-bytes", "16MiB"];
  await using server = await ServerProcess.start({ handler: LARGE, args });
  await using other = new Peer(server.endpoint);
  assert.deepEqual(await other.ask("hello"), ["hello"]);
  const before = memoryOf(server);
  using deaf = await DeafPeer.connect(server.endpoint);
  await deaf.send(message([EMPTY, bytes("x")], 300));
  await until("its requests have ended", async () => {
    const { requests, running, queued } = await server.state();
    return requests === 301 && Number(running) + Number(queued) === 0;
  });
  assert(memoryOf(server) - before < 80 * MB, `${memoryOf(server) - before} bytes more`);
  const { answered, undelivered } = await server.state();
  assert(Number(answered) - Number(undelivered) < 30, `${answered} answers, ${undelivered} lost`);
  assert.deepEqual(await other.ask("hello"), ["hello"]);
});

Deno.test("the server refuses a client that takes nothing, and nobody else, when overflow is reject", async () => {
  const limits = ["--overflow", "reject", "--queue-limit", "100", "--queue-bytes", "16MiB"];
  await using server = await ServerProcess.start({
    handler: LARGE,
    args: ["--workers", "1", ...limits],
  });
  using deaf = await DeafPeer.connect(server.endpoint);
  const ended = (count: number) =>
    until("its requests have ended", async () => {
      const { requests, running, queued } = await server.state();
      return requests === count && Number(running) + Number(queued) === 0;
    });
  // First more than the system takes for it; then more than libzmq does, which was once counted as queued.
  await deaf.send(message([EMPTY, bytes("x")], 20));
  await ended(20);
  await deaf.send(message([EMPTY, bytes("xx")], 5000));
  await ended(5020);
  await using other = new Peer(server.endpoint);
  for (let asked = 0; asked < 100; asked++) assert.deepEqual(await other.ask("hello"), ["hello"]);
});

Deno.test("the server does not run what a client has waiting that takes no replies", async () => {
  const args = ["--workers", "1", "--queue-bytes", "16MiB"];
  // Each takes long enough for a reader to be told from one that reads nothing.
  const handler = `const large = new Uint8Array(1024 ** 2);
  export default async (body) => {
    await new Promise((resolve) => setTimeout(resolve, 100));
    return large;
  }`;
  await using server = await ServerProcess.start({ handler, args });
  using deaf = await DeafPeer.connect(server.endpoint);
  await deaf.send(message([EMPTY, bytes("x")], 1000));
  await until("what it has waiting is refused", async () => {
    const { running, queued, refused } = await server.state();
    return Number(refused) > 500 && Number(running) + Number(queued) <= 2;
  });
  await using other = new Peer(server.endpoint);
  assert.equal((await other.ask("hello")).length, 1);
});

Deno.test("the server reads a few requests ahead when its queue is full, however large they are", async () => {
  const handler = `export default async (body, ctx) => {
    await new Promise((resolve) => ctx.signal.addEventListener("abort", resolve));
    return body;
  }`;
  const args = ["--workers", "1", "--queue-limit", "1"];
  await using server = await ServerProcess.start({ handler, args });
  const before = memoryOf(server);
  const deaf = await DeafPeer.connect(server.endpoint);
  const large = message([EMPTY, new Uint8Array(1024 ** 2)]);
  let stalled = 0;
  const flood = (async () => {
    for (let sent = 0; sent < 300; sent++) await deaf.send(large);
  })().catch(() => {});
  let seen = -1;
  await until("it takes no more", () => {
    stalled = deaf.sent === seen ? stalled + 1 : 0;
    seen = deaf.sent;
    return stalled === 100;
  });
  const grown = memoryOf(server) - before;
  assert(grown < 100 * MB, `${grown} bytes more`);
  deaf[Symbol.dispose]();
  await flood;
});
