/** Clients of other languages, through libzmq in C, pyzmq, zeromq.js on Node and JeroMQ, on each transport. */

import { strict as assert } from "node:assert";
import { Folder } from "../rig/folder.ts";
import { removeZeromq } from "../rig/foreign.ts";
import { until } from "../rig/wait.ts";
import { CASES } from "./cases.ts";
import { C, JAVA, type Kind, NODE, Player, PYZMQ } from "./player.ts";
import { Stages } from "./stages.ts";

// ZMTP 2.0, which JeroMQ speaks, is refused by libzmq where connections are counted.
const uncounted = ["--max-connections", "0", "--max-connections-per-address", "0"];
const stages = new Stages(uncounted);

/** Whether all cases are played by all players, as `deno task test:foreign` does, or a few by the heavy ones. */
const ALL = Deno.env.get("TEST_FOREIGN") === "all";
const KINDS: readonly Kind[] = [C, PYZMQ, NODE, JAVA];

const folder = new Folder();
const players = new Map<Kind, Player>();

Deno.test.beforeAll(async () => {
  const here = KINDS.filter(({ ignore }) => !ignore);
  await Promise.all(here.map(async (kind) => players.set(kind, await Player.start(kind, folder))));
});

Deno.test.afterAll(async () => {
  for (const player of players.values()) await player[Symbol.asyncDispose]();
  await removeZeromq();
  folder[Symbol.dispose]();
});

for (const kind of KINDS) {
  const able = CASES.filter(({ needs = [] }) => !needs.some((need) => kind.lacks.includes(need)));
  for (
    const { name, play, tellsApart } of able.filter(({ smoke }) => ALL || smoke || kind !== JAVA)
  ) {
    stages.test(
      `${kind.name}: ${name}`,
      async (server) => {
        const player = players.get(kind);
        assert(player !== undefined);
        await play({ server, player, gate: () => stages.gate() });
      },
      ({ name }) => kind.ignore || tellsApart === true && kind === JAVA && name === "libzmq",
    );
  }
}

for (const kind of [C, PYZMQ]) {
  stages.test(
    `${kind.name}: requests of a client that is killed end, those that wait and those that run`,
    async (server) => {
      const { request, held, open } = stages.gate();
      const before = await server.state();
      await using player = await Player.start(kind, folder);
      const sockets = [];
      for (let index = 0; index < 5; index++) {
        const socket = await player.open("DEALER", server.endpoint);
        // More than all workers take at a time.
        for (let asked = 0; asked < 10; asked++) await socket.send("", request);
        sockets.push(socket);
      }
      await server.line(held);
      await until("all are here, and some wait", async () => {
        const { queued, running } = await server.state();
        return Number(queued) > 0 && Number(queued) + Number(running) === 50;
      });
      await player.kill();
      await until("all are given up", async () => {
        const { abandoned, queued, connections } = await server.state();
        return Number(abandoned) === Number(before.abandoned) + 50 && queued === 0 &&
          connections === before.connections;
      });
      open();
      await until("none runs", async () => (await server.state()).running === 0);
    },
    () => kind.ignore,
  );
}

stages.test("libzmq in C: 500 clients are served at once", async (server) => {
  const { request, held, open } = stages.gate();
  await using player = await Player.start(C, folder);
  const before = Number((await server.state()).connections);
  const sockets = [];
  for (let index = 0; index < 500; index++) sockets.push(await player.open("REQ", server.endpoint));
  for (const [index, socket] of sockets.entries()) {
    await socket.send(index === 0 ? request : `${index}`);
  }
  await server.line(held);
  for (const socket of sockets.slice(1)) await socket.receive();
  await until("all are connected", async () => (await server.state()).connections === before + 500);
  open();
  await sockets[0]?.receive();
}, () => C.ignore);
