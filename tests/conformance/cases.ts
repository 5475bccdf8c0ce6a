/** What a client of any language may expect of a server, whatever the transport: each case plays it once. */

import { strict as assert } from "node:assert";
import { header } from "../rig/messages.ts";
import { askOnce } from "../rig/peer.ts";
import type { ServerProcess } from "../rig/server_process.ts";
import { until } from "../rig/wait.ts";
import type { Gate } from "./stages.ts";
import {
  type Ability,
  type Fill,
  type Frame,
  type PlayedSocket,
  type Player,
  shown,
} from "./player.ts";
import { MAX_BYTES, MAX_FRAME_BYTES, MAX_FRAMES } from "./stages.ts";

/** Who plays, and where. */
export interface Scene {
  server: ServerProcess;
  player: Player;
  /** A request that waits in its handler until the test lets it go. */
  gate(): Gate;
}

/** Something to play. */
export interface Case {
  name: string;
  /** What the player must be able to do. */
  needs?: readonly Ability[];
  /** Whether it is among the few that are played where time is short. */
  smoke?: boolean;
  /** Whether it needs connections of one identity to be told apart: libzmq can't those of ZMTP 1 and 2. */
  tellsApart?: boolean;
  play(scene: Scene): Promise<void>;
}

/** Status of a good answer to a headed request: version 1, no flags, 200. */
const GOOD = Uint8Array.of(1, 0, 200, 0);
const INTERVAL = 50;
const HOUR = 3_600_000;

function fill(size: number, seed: number): Fill {
  return { size, seed };
}

/** Sends a message, and compares the reply. */
async function expectEcho(socket: PlayedSocket, ...message: Frame[]): Promise<void> {
  await socket.send(...message);
  assert.deepEqual(await socket.receive(), shown(...message));
}

/** Asks once over a REQ of this identity. */
async function expectAnswer(
  player: Player,
  server: ServerProcess,
  identity: string | Uint8Array<ArrayBuffer>,
) {
  const socket = await player.open("REQ", server.endpoint, { identity });
  await expectEcho(socket, "x");
  await socket.close();
}

/** The plain error that a message is answered with: an empty frame, then its text. */
async function expectRefusal(
  socket: PlayedSocket,
  text: string,
  ...message: Frame[]
): Promise<void> {
  await socket.send(...message);
  const [first, second = ""] = await socket.receive();
  assert.equal(first, "-");
  // Longer than 64 bytes, so only its size and sum are told.
  assert.deepEqual(second, shown(text)[0]);
}

function tooLarge(size: number): string {
  return `413 The body must have at most ${MAX_BYTES} bytes: it has ${size}`;
}

export const CASES: readonly Case[] = [
  {
    name: "a REQ is answered each time that it asks",
    smoke: true,
    async play({ player, server }) {
      const socket = await player.open("REQ", server.endpoint);
      for (let asked = 0; asked < 10; asked++) await expectEcho(socket, `request ${asked}`);
      await socket.close();
    },
  },
  {
    name: "a REQ is answered when it has an identity",
    smoke: true,
    async play({ player, server }) {
      const socket = await player.open("REQ", server.endpoint, { identity: "a name of its own" });
      for (let asked = 0; asked < 10; asked++) await expectEcho(socket, `request ${asked}`);
      await socket.close();
    },
  },
  {
    name: "a REQ that correlates gets the answer to its latest request only",
    needs: ["correlate", "relaxed"],
    async play({ player, server, gate }) {
      const socket = await player.open("REQ", server.endpoint, { correlate: true, relaxed: true });
      const { request, held, open } = gate();
      await socket.send(request);
      await server.line(held);
      await socket.send("latest");
      open();
      assert.deepEqual(await socket.receive(), shown("latest"));
      await expectEcho(socket, "next");
      await socket.close();
    },
  },
  {
    name: "a DEALER is answered when it sends the delimiter, with envelopes of up to 15 frames",
    smoke: true,
    async play({ player, server }) {
      const socket = await player.open("DEALER", server.endpoint);
      for (const size of [0, 1, 2, 15]) {
        const envelope = Array.from({ length: size }, (_, index) => `envelope ${index}`);
        await expectEcho(socket, ...envelope, "", "body");
        await expectEcho(socket, ...envelope, "", "two", "frames");
      }
      await socket.close();
    },
  },
  {
    name: "a DEALER hears nothing of what is no request, and is answered when it asks",
    async play({ player, server }) {
      const socket = await player.open("DEALER", server.endpoint);
      const before = Number((await server.state()).malformed);
      await socket.send("no delimiter");
      await socket.send("no", "delimiter");
      await socket.send("");
      await socket.send("no body", "");
      await socket.send(...Array(16).fill("long"), "", "body");
      await expectEcho(socket, "", "body");
      const dropped = Number((await server.state()).malformed) - before;
      // libzmq takes an empty message of a peer older than ZMTP 3.0 for a notice of its own.
      assert(dropped === 5 || dropped === 4, `${dropped} were dropped`);
      await socket.close();
    },
  },
  {
    name: "a DEALER gets a status when it sends the header of our client",
    async play({ player, server }) {
      const socket = await player.open("DEALER", server.endpoint);
      await socket.send("outer", header(7), "", "body", "");
      assert.deepEqual(await socket.receive(), shown("outer", header(7), "", GOOD, "body", ""));
      await socket.close();
    },
  },
  {
    name: "a ROUTER is answered when it knows what to call the server",
    needs: ["remote"],
    async play({ player, server }) {
      const socket = await player.open("ROUTER", server.endpoint, { remote: "server" });
      // A ROUTER drops what it sends before the connection is there.
      await until("it is answered", async () => {
        await socket.send("server", "", "first");
        return !await socket.hasNothing(50);
      });
      await socket.send("server", "envelope", "", "last", "words");
      const wanted = shown("server", "envelope", "", "last", "words");
      await until("the last is answered", async () => {
        const got = await socket.receive();
        if (got.length !== 3) assert.deepEqual(got, wanted);
        return got.length !== 3;
      });
      await socket.close();
    },
  },
  {
    name: "bodies of any number of frames come back as they were, empty ones too",
    smoke: true,
    async play({ player, server }) {
      const socket = await player.open("DEALER", server.endpoint);
      const bodies: Frame[][] = [
        [""],
        ["", ""],
        ["", "a", ""],
        ["a", "", "", "b"],
        Array.from({ length: MAX_FRAMES }, (_, index) => `frame ${index}`),
        Array.from({ length: MAX_FRAMES }, (_, index) => fill(1000 * index, index)),
      ];
      for (const body of bodies) await expectEcho(socket, "", ...body);
      await socket.close();
    },
  },
  {
    name: "bodies of any size come back as they were",
    smoke: true,
    async play({ player, server }) {
      const socket = await player.open("REQ", server.endpoint);
      const around = (size: number) => [size - 1, size, size + 1];
      const sizes = [1, ...[33, 64, 255, 8192, 65_536].flatMap(around), 1024 * 1024];
      for (const [index, size] of sizes.entries()) await expectEcho(socket, fill(size, index));
      await socket.close();
    },
  },
  {
    name: "bodies of all sizes come back as they were when all are asked at once",
    async play({ player, server }) {
      const socket = await player.open("DEALER", server.endpoint);
      const wanted: string[][] = [];
      for (let asked = 0; asked < 60; asked++) {
        const message = [`${asked}`, "", fill(1 + asked ** 3, asked), `of ${asked}`];
        await socket.send(...message);
        wanted.push(shown(...message));
      }
      const got: string[][] = [];
      while (got.length < wanted.length) got.push(await socket.receive());
      assert.deepEqual(got.map(String).sort(), wanted.map(String).sort());
      await socket.close();
    },
  },
  {
    name: "a body of maxMessageSize is answered, one of a byte more by 413",
    async play({ player, server }) {
      const socket = await player.open("REQ", server.endpoint);
      await expectEcho(socket, fill(MAX_BYTES - 1, 1));
      await expectEcho(socket, fill(MAX_BYTES, 2));
      await expectRefusal(socket, tooLarge(MAX_BYTES + 1), fill(MAX_BYTES + 1, 3));
      await expectRefusal(socket, tooLarge(MAX_BYTES + 1), fill(MAX_BYTES, 4), "x");
      await expectEcho(socket, "next");
      await socket.close();
    },
  },
  {
    name: "a body of maxFrames is answered, one of a frame more by 413",
    async play({ player, server }) {
      const socket = await player.open("REQ", server.endpoint);
      await expectEcho(socket, ...Array(MAX_FRAMES).fill("f"));
      const text = `413 The body must have at most ${MAX_FRAMES} frames: it has ${MAX_FRAMES + 1}`;
      await expectRefusal(socket, text, ...Array(MAX_FRAMES + 1).fill("f"));
      await expectEcho(socket, "next");
      await socket.close();
    },
  },
  {
    name: "a frame that is too large for any answer ends its connection, and the next is answered",
    async play({ player, server }) {
      const socket = await player.open("DEALER", server.endpoint);
      await expectEcho(socket, "", "before");
      await socket.send("", fill(MAX_FRAME_BYTES + 1, 1));
      // What is sent before the socket has noticed is lost with the connection.
      await until("the next is answered", async () => {
        await socket.send("", "after");
        return !await socket.hasNothing(50);
      });
      await socket.close();
    },
  },
  {
    name: "who takes an identity gets the answers to come, and the former holder none",
    tellsApart: true,
    async play({ player, server, gate }) {
      const { request, held, open } = gate();
      const identity = `taken ${request}`;
      // Its connection may be closed, and one that came back would take the identity again.
      const former = await player.open("DEALER", server.endpoint, { identity, reconnect: HOUR });
      await former.send("", request);
      await server.line(held);
      const newcomer = await player.open("DEALER", server.endpoint, { identity });
      await expectEcho(newcomer, "", "newcomer");
      const ended = await server.state();
      open();
      await expectEcho(newcomer, "", "again");
      await until("the former's request has ended", async () => {
        const { running, abandoned } = await server.state();
        return Number(abandoned) >= Number(ended.abandoned) && running === 0;
      });
      await expectEcho(newcomer, "", "last");
      assert(await former.hasNothing());
      assert(await newcomer.hasNothing());
      await former.close();
      await newcomer.close();
    },
  },
  {
    name:
      "a client that comes back with its identity in the middle of a request hears of the new ones only",
    smoke: true,
    tellsApart: true,
    async play({ player, server, gate }) {
      for (let round = 0; round < 3; round++) {
        const { request, held, open } = gate();
        const identity = `comes back ${request}`;
        const before = await player.open("DEALER", server.endpoint, { identity });
        await before.send("", request);
        await server.line(held);
        await before.close();
        const after = await player.open("DEALER", server.endpoint, { identity });
        await expectEcho(after, "", "after");
        open();
        await until("the request has ended", async () => (await server.state()).running === 0);
        await expectEcho(after, "", "last");
        assert(await after.hasNothing());
        await after.close();
      }
    },
  },
  {
    name: "identities have any bytes",
    async play({ player, server }) {
      for (const identity of ["waiting", "é", Uint8Array.of(255, 0, 1, 10), "i".repeat(127)]) {
        await expectAnswer(player, server, identity);
      }
    },
  },
  {
    name: "identities have up to 255 bytes",
    needs: ["longIdentity"],
    async play({ player, server }) {
      for (const size of [128, 254, 255]) await expectAnswer(player, server, "i".repeat(size));
    },
  },
  {
    name: "a client that reads slowly gets all its answers, and holds up nobody",
    needs: ["receive"],
    async play({ player, server }) {
      const slow = await player.open("DEALER", server.endpoint, { receive: 1 });
      const bytes = 1_000_000;
      for (let asked = 0; asked < 12; asked++) await slow.send(`${asked}`, "", `large ${bytes}`);
      const quick = await player.open("REQ", server.endpoint);
      for (let asked = 0; asked < 5; asked++) await expectEcho(quick, `quick ${asked}`);
      const large = shown(new Uint8Array(bytes).fill(76));
      const got: string[][] = [];
      while (got.length < 12) got.push(await slow.receive());
      const wanted = Array.from({ length: 12 }, (_, asked) => [...shown(`${asked}`, ""), ...large]);
      assert.deepEqual(got.map(String).sort(), wanted.map(String).sort());
      await slow.close();
      await quick.close();
    },
  },
  {
    name: "a client that sends heartbeats keeps its connection while its request runs",
    needs: ["heartbeat"],
    async play({ player, server, gate }) {
      const { request, held, open } = gate();
      const socket = await player.open("DEALER", server.endpoint, { heartbeat: INTERVAL });
      await socket.send("", request);
      await server.line(held);
      // It gives a server up whose PONGs it has missed for 20 intervals; others are answered meanwhile.
      const end = performance.now() + 25 * INTERVAL;
      while (performance.now() < end) {
        assert.deepEqual(await askOnce(server.endpoint, "meanwhile"), ["meanwhile"]);
      }
      open();
      assert.deepEqual(await socket.receive(), shown("", request));
      await socket.close();
    },
  },
];
