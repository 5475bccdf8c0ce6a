/** Peers that mean harm, on each transport: what they do costs themselves alone, and others are served as ever. */

import { strict as assert } from "node:assert";
import { residentMemory } from "../../system/proc.ts";
import { Peer } from "../rig/peer.ts";
import { randomNumbers } from "../rig/random.ts";
import { frameOf, greetingOf, RawPeer } from "../rig/raw_peer.ts";
import { ServerProcess } from "../rig/server_process.ts";
import { bytes } from "../rig/text.ts";
import { pause, until } from "../rig/wait.ts";
import { command, message, nullReady } from "../rig/zmtp.ts";
import type { Transport } from "../rig/transports.ts";
import { MAX_FRAMES, Stages, testEach } from "./stages.ts";

type Bytes = Uint8Array<ArrayBuffer>;
type Random = (below: number) => number;

const EMPTY = new Uint8Array(0);
const MiB = 1024 ** 2;
const MORE = 1;
/** Streams that are sent of each kind, and connections at a time. */
const STREAMS = 200;
const AT_ONCE = 20;

const stages = new Stages();
/** What libzmq can't do, or only after 10 s. */
const onlyNative = ({ name }: Transport) => name !== "native";

async function isServed(endpoint: string): Promise<void> {
  using peer = await RawPeer.connect(endpoint);
  await peer.write(message([EMPTY, bytes("served")]));
  assert.deepEqual(await peer.messageText(), ["", "served"]);
}

async function connections(server: ServerProcess): Promise<number> {
  return Number((await server.state()).connections);
}

// Random bytes

function randomBytes(random: Random, size: number): Bytes {
  return Uint8Array.from({ length: size }, () => random(256));
}

/** All that a good peer may say, one after the other. */
function session(random: Random): Bytes {
  const identity = random(2) === 0 ? "" : `peer ${random(10)}`;
  const parts = [greetingOf(random(2) === 0 ? "3.0" : "3.1"), nullReady({ Identity: identity })];
  for (let count = random(5); count >= 0; count--) {
    const body = Array.from({ length: 1 + random(3) }, () => randomBytes(random, random(400)));
    parts.push(
      random(4) === 0
        ? command("PING", randomBytes(random, 2 + random(16)))
        : message([EMPTY, ...body]),
    );
  }
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

/** The same with a few bytes changed, cut out, said twice or put in. */
function spoil(random: Random, good: Bytes): Bytes {
  let all = [...good];
  for (let count = 1 + random(4); count > 0; count--) {
    const at = random(all.length);
    const some = all.slice(at, at + 1 + random(20));
    const kind = random(5);
    if (kind === 0) all[at] = random(256);
    else if (kind === 1) all[at] = (all[at] ?? 0) ^ (1 << random(8));
    else if (kind === 2) all.splice(at, some.length);
    else if (kind === 3) all.splice(at, 0, ...some);
    else all = [...all.slice(0, at), ...randomBytes(random, random(20)), ...all.slice(at)];
  }
  return Uint8Array.from(all);
}

/** Sends a stream in a few pieces; the server may end the connection whenever it likes. */
async function sendAll(endpoint: string, random: Random, stream: Bytes): Promise<void> {
  using peer = await RawPeer.dial(endpoint);
  for (let at = 0; at < stream.length;) {
    const size = 1 + random(stream.length);
    await peer.tryWrite(stream.subarray(at, at + size));
    at += size;
  }
}

const KINDS: Record<string, (random: Random) => Bytes> = {
  "random bytes": (random) => randomBytes(random, random(2000)),
  "random bytes after the greeting": (random) =>
    Uint8Array.from([...greetingOf("3.1"), ...randomBytes(random, random(2000))]),
  "random bytes after the handshake": (random) =>
    Uint8Array.from([...greetingOf("3.1"), ...nullReady(), ...randomBytes(random, random(2000))]),
  "sessions that are nearly good": (random) => spoil(random, session(random)),
};

for (const [kind, make] of Object.entries(KINDS)) {
  stages.test(`${STREAMS} streams of ${kind} hurt nobody`, async (server, transport) => {
    const before = await connections(server);
    let next = 1;
    const sendSome = async () => {
      for (let seed = next++; seed <= STREAMS; seed = next++) {
        const random = randomNumbers(seed);
        await sendAll(server.endpoint, random, make(random)).catch((error) => {
          throw new Error(`Seed ${seed}: ${error}`, { cause: error });
        });
        if (seed % AT_ONCE === 0) await isServed(server.endpoint);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, sendSome));
    // libzmq counts those that were let in and never came for as long as a handshake may take.
    if (onlyNative(transport)) return;
    await until("they are gone", async () => await connections(server) <= before);
  });
}

// Those who never come to an end

stages.test("a message without end is ended, and takes no memory", async (server) => {
  const before = residentMemory(server.pid) ?? NaN;
  const kinds = [frameOf(MORE, EMPTY), frameOf(MORE, new Uint8Array(200))];
  for (const frame of kinds) {
    using peer = await RawPeer.connect(server.endpoint);
    await peer.write(frameOf(MORE, EMPTY));
    const many = new Uint8Array(10_000 * frame.length).map((_, at) =>
      frame[at % frame.length] ?? 0
    );
    const ended = peer.ended();
    while (!peer.isEnded) await peer.tryWrite(many);
    await ended;
  }
  const after = residentMemory(server.pid) ?? NaN;
  assert(after - before < 32 * MiB, `${before} bytes, then ${after}`);
}, onlyNative);

stages.test("a message of a few frames too many is answered 413, and its connection goes on", async ({ endpoint }) => {
  using peer = await RawPeer.connect(endpoint);
  const text = (frames: number) =>
    `413 The body must have at most ${MAX_FRAMES} frames: it has ${frames}`;
  for (const frames of [MAX_FRAMES + 1, MAX_FRAMES + 2]) {
    await peer.write(message([EMPTY, ...Array(frames).fill(EMPTY)]));
    assert.deepEqual(await peer.messageText(), ["", "", text(frames)]);
  }
});

stages.test("a client that asks and asks and never reads holds up nobody", async (server) => {
  using deaf = await RawPeer.connect(server.endpoint);
  const asked = message([EMPTY, bytes("large 1000000")], 200);
  await deaf.write(asked);
  for (let round = 0; round < 20; round++) await isServed(server.endpoint);
});

stages.test("an identity that a storm of connections has taken is served once they are gone", async (server) => {
  const properties = { Identity: "storm" };
  const storm = await Promise.all(Array.from({ length: 50 }, async (_, index) => {
    const peer = await RawPeer.dial(server.endpoint);
    await peer.tryWrite(greetingOf("3.1"));
    await peer.tryWrite(nullReady(properties));
    if (index % 2 === 0) await peer.tryWrite(message([EMPTY, bytes(`of ${index}`)]));
    return peer;
  }));
  for (const peer of storm) peer[Symbol.dispose]();
  // One of the storm may still take it once more.
  await until("it is served", async () => {
    using peer = await RawPeer.connect(server.endpoint, { properties });
    await peer.tryWrite(message([EMPTY, bytes("last")]));
    return await peer.messageText().then(([, body]) => body === "last", () => false);
  });
});

// Time

const HANDSHAKE_MS = 300;

testEach("connections whose handshakes take too long are ended, others stay", async ({ args }) => {
  const limit = ["--handshake-timeout", `${HANDSHAKE_MS}ms`];
  await using server = await ServerProcess.start({ args: ["--workers", "1", ...limit, ...args] });
  using quiet = await RawPeer.connect(server.endpoint);
  const all = Uint8Array.from([...greetingOf("3.1"), ...nullReady()]);
  const late = await Promise.all([0, 1, 10, 12, 40, 64, 66, all.length - 1].map(async (size) => {
    const peer = await RawPeer.dial(server.endpoint);
    await peer.write(all.subarray(0, size));
    return peer;
  }));
  using slow = await RawPeer.dial(server.endpoint);
  const trickle = (async () => {
    for (let at = 0; at < all.length && !slow.isEnded; at++) {
      await slow.tryWrite(all.subarray(at, at + 1));
      await pause(HANDSHAKE_MS / 5);
    }
  })();
  for (const peer of late) {
    await peer.ended();
    peer[Symbol.dispose]();
  }
  await slow.ended();
  await trickle;
  await quiet.write(message([EMPTY, bytes("quiet")]));
  assert.deepEqual(await quiet.messageText(), ["", "quiet"]);
}, { ignored: onlyNative });

const BEAT_MS = 400;

testEach(
  "a client that answers no PING is let go, and one that answers stays",
  async ({ args }) => {
    const beats = ["--heartbeat-interval", `${BEAT_MS}ms`];
    await using server = await ServerProcess.start({ args: ["--workers", "1", ...beats, ...args] });
    await using proper = new Peer(server.endpoint);
    assert.deepEqual(await proper.ask("before"), ["before"]);
    using old = await RawPeer.connect(server.endpoint, { version: "3.0" });
    using answering = await RawPeer.connect(server.endpoint);
    using mute = await RawPeer.connect(server.endpoint);
    const answered = (async () => {
      for (let beat = 0; beat < 8; beat++) {
        const ping = await answering.command("PING");
        await answering.write(command("PONG", ping.subarray(2)));
      }
    })();
    assert.match(await mute.ended(), /PING/);
    await answered;
    for (const peer of [old, answering]) {
      await peer.write(message([EMPTY, bytes("there")]));
      assert.deepEqual(await peer.messageText(), ["", "there"]);
    }
    assert.equal(old.commands.has("PING"), false);
    assert.equal(await connections(server), 3);
    assert.deepEqual(await proper.ask("after"), ["after"]);
  },
  { ignored: onlyNative },
);
