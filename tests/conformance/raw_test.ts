/** Peers by hand, byte by byte: each version of ZMTP, its commands, its frames, and what breaks its rules. */

import { strict as assert } from "node:assert";
import { Folder } from "../rig/folder.ts";
import { linesOf } from "../rig/log_lines.ts";
import { residentMemory } from "../../system/proc.ts";
import { frameOf, greetingOf, oldMessage, RawPeer } from "../rig/raw_peer.ts";
import { ServerProcess } from "../rig/server_process.ts";
import { bytes, text } from "../rig/text.ts";
import { until } from "../rig/wait.ts";
import { command, greeting, message, nullReady } from "../rig/zmtp.ts";
import { type Version, VERSIONS } from "../rig/transports.ts";
import { MAX_BYTES, MAX_FRAME_BYTES, MAX_FRAMES, Stages, testEach } from "./stages.ts";

const EMPTY = new Uint8Array(0);
const MORE = 1;
const LONG = 2;
const COMMAND = 4;
const HUGE = 256 * 1024 * 1024;

const stages = new Stages();

/** Asks as a REQ does, and gives the body of the reply. */
async function ask(peer: RawPeer, ...body: string[]): Promise<string[]> {
  await peer.write(message([EMPTY, ...body.map(bytes)]));
  const [delimiter, ...reply] = await peer.messageText();
  assert.equal(delimiter, "");
  return reply;
}

async function isServed(peer: RawPeer): Promise<void> {
  assert.deepEqual(await ask(peer, "served"), ["served"]);
}

// Versions

for (const version of VERSIONS) {
  stages.test(
    `a peer of ZMTP ${version} is served over tcp, or let go`,
    async (server, transport) => {
      await comeAndAsk(server, version, transport.oldest.tcp);
    },
  );
}

testEach("peers of all versions of ZMTP are served over ipc, or let go", async (transport) => {
  using folder = new Folder();
  const args = ["--workers", "1", "--frontend", `ipc://${folder.path}/front`, ...transport.args];
  await using server = await ServerProcess.start({ args });
  for (const version of VERSIONS) {
    await comeAndAsk(server, version, transport.oldest.ipc);
    using recent = await RawPeer.connect(server.endpoint);
    await isServed(recent);
  }
});

/** What becomes of peers of this version, with an identity and without one. */
async function comeAndAsk(server: ServerProcess, version: Version, oldest: Version) {
  for (const properties of [{ Identity: "" }, { Identity: `of ${version}` }]) {
    using peer = await RawPeer.dial(server.endpoint);
    if (VERSIONS.indexOf(version) < VERSIONS.indexOf(oldest)) {
      await peer.shakeHands({ version, properties }).catch(() => {});
      await peer.ended();
      continue;
    }
    await peer.shakeHands({ version, properties });
    if (version === "1.0") await askAsOld(peer);
    else assert.deepEqual(await ask(peer, "a", "b".repeat(300)), ["a", "b".repeat(300)]);
  }
}

async function askAsOld(peer: RawPeer): Promise<void> {
  const request = oldMessage([EMPTY, bytes("a"), bytes("b".repeat(300))]);
  await peer.write(request);
  assert.deepEqual(await peer.hear(request.length), request);
}

stages.test("a peer of a version to come is served as one of 3.1", async ({ endpoint }) => {
  using peer = await RawPeer.dial(endpoint);
  const future = greetingOf("3.1");
  future[10] = 4;
  await peer.write(future);
  await peer.write(nullReady());
  await peer.hear(64);
  await peer.command("READY");
  await isServed(peer);
});

stages.test("a peer is served when each byte of it comes in a packet of its own", async ({ endpoint }) => {
  using peer = await RawPeer.dial(endpoint);
  await peer.writeSingly(greetingOf("3.1"));
  await peer.writeSingly(nullReady({ Identity: "slow" }));
  await peer.hear(64);
  await peer.command("READY");
  await peer.writeSingly(message([bytes("envelope"), EMPTY, bytes("x".repeat(300))]));
  assert.deepEqual(await peer.messageText(), ["envelope", "", "x".repeat(300)]);
});

stages.test("a peer may say READY before it has heard the greeting, and ask all at once", async ({ endpoint }) => {
  using peer = await RawPeer.dial(endpoint);
  await peer.write(Uint8Array.of(...greetingOf("3.1"), ...nullReady()));
  await peer.hear(64);
  await peer.command("READY");
  await peer.write(message([EMPTY, bytes("eager")], 300));
  for (let reply = 0; reply < 300; reply++) {
    assert.deepEqual(await peer.messageText(), ["", "eager"]);
  }
});

stages.test("a peer that asks before it has heard READY hurts nobody", async ({ endpoint }) => {
  using peer = await RawPeer.dial(endpoint);
  const request = message([EMPTY, bytes("too early")]);
  await peer.tryWrite(Uint8Array.of(...greetingOf("3.1"), ...nullReady(), ...request));
  using other = await RawPeer.connect(endpoint);
  await isServed(other);
});

stages.test("a peer that stops in the middle holds up nobody, and is served when it goes on", async ({ endpoint }) => {
  const all = Uint8Array.of(...greetingOf("3.1"), ...nullReady());
  const request = message([bytes("envelope"), EMPTY, bytes("y".repeat(300))]);
  // In the signature, version, mechanism, filler, READY's size, its name, a property.
  const cuts = [1, 5, 10, 11, 13, 30, 64, 65, 68, all.length - 3];
  const peers = await Promise.all(cuts.map(() => RawPeer.dial(endpoint)));
  try {
    for (const [index, peer] of peers.entries()) await peer.write(all.subarray(0, cuts[index]));
    using other = await RawPeer.connect(endpoint);
    await isServed(other);
    for (const [index, peer] of peers.entries()) {
      await peer.write(all.subarray(cuts[index]));
      await peer.hear(64);
      await peer.command("READY");
      await peer.write(request.subarray(0, 3 + 20 * index));
    }
    await isServed(other);
    for (const [index, peer] of peers.entries()) {
      await peer.write(request.subarray(3 + 20 * index));
      assert.deepEqual(await peer.messageText(), ["envelope", "", "y".repeat(300)]);
    }
  } finally {
    for (const peer of peers) peer[Symbol.dispose]();
  }
});

for (const mechanism of ["PLAIN", "CURVE", "GSSAPI", "OTHER", ""]) {
  stages.test(`a peer whose mechanism is "${mechanism}" is let go by an endpoint without keys`, async ({ endpoint }) => {
    using peer = await RawPeer.dial(endpoint);
    await peer.write(greeting(mechanism));
    await peer.ended();
  });
}

stages.test("a peer that calls itself a server is served", async ({ endpoint }) => {
  using peer = await RawPeer.dial(endpoint);
  const asServer = greetingOf("3.1");
  asServer[32] = 1;
  await peer.write(asServer);
  await peer.write(nullReady());
  await peer.hear(64);
  await peer.command("READY");
  await isServed(peer);
});

for (const type of ["REQ", "DEALER", "ROUTER"]) {
  stages.test(`a peer that is a ${type} is served`, async ({ endpoint }) => {
    using peer = await RawPeer.connect(endpoint, { properties: { "Socket-Type": type } });
    await isServed(peer);
  });
}

for (const type of ["REP", "PUB", "SUB", "XPUB", "PUSH", "CLIENT", "NOVEL"]) {
  stages.test(`a peer that is a ${type} is let go`, async ({ endpoint }) => {
    using peer = await RawPeer.dial(endpoint);
    await peer.write(greetingOf("3.1"));
    await peer.tryWrite(nullReady({ "Socket-Type": type }));
    await peer.ended();
  });
}

stages.test("a peer that has properties of its own is served, whatever they are", async ({ endpoint }) => {
  const properties = { "X-Novel": "1", "User-Id": "root", "Peer-Address": "10.0.0.1", "x": "" };
  using peer = await RawPeer.connect(endpoint, { properties });
  await isServed(peer);
});

// Handshakes that break a rule

const BROKEN: Record<string, Uint8Array> = {
  "a message before READY": message([EMPTY, bytes("a")]),
  "a READY whose property's name is longer than it": command("READY", Uint8Array.of(200, 1, 2)),
  "a READY whose property is longer than it": command(
    "READY",
    Uint8Array.of(1, 65, 0, 0, 0, 9, 1),
  ),
  "a READY whose property has 4 GiB": command(
    "READY",
    Uint8Array.of(1, 65, 255, 255, 255, 255, 1),
  ),
  "a command without a name": frameOf(COMMAND, EMPTY),
  "a command whose name is longer than it": frameOf(COMMAND, Uint8Array.of(200, 82)),
  "a HELLO": command("HELLO", new Uint8Array(10)),
};

for (const [what, first] of Object.entries(BROKEN)) {
  stages.test(`a peer that begins with ${what} is let go`, async ({ endpoint }) => {
    using peer = await RawPeer.dial(endpoint);
    await peer.write(greetingOf("3.1"));
    await peer.tryWrite(first);
    await peer.ended();
  });
}

const NOT_ZMTP: Record<string, Uint8Array> = {
  "GET": bytes("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
  "POST": bytes(`POST / HTTP/1.1\r\nHost: localhost\r\n\r\n${"x".repeat(100_000)}`),
  "TLS": Uint8Array.of(22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3, ...new Uint8Array(500)),
  "SSH": bytes("SSH-2.0-OpenSSH_9.2\r\n"),
  "zeros": new Uint8Array(1000),
  "ones": new Uint8Array(1000).fill(255),
};

for (const [what, first] of Object.entries(NOT_ZMTP)) {
  stages.test(`a peer that speaks no ZMTP hurts nobody: ${what}`, async ({ endpoint }) => {
    using peer = await RawPeer.dial(endpoint);
    await peer.tryWrite(first);
    using other = await RawPeer.connect(endpoint);
    await isServed(other);
  });
}

// Identities

stages.test("an identity has up to 255 bytes", async ({ endpoint }) => {
  for (const size of [1, 254, 255]) {
    const Identity = new Uint8Array(size).fill(65);
    using peer = await RawPeer.dial(endpoint);
    await peer.write(greetingOf("3.1"));
    await peer.write(longReady(Identity));
    await peer.hear(64);
    await peer.command("READY");
    await isServed(peer);
  }
});

stages.test("a peer whose identity has 256 bytes or more hurts nobody", async ({ endpoint }) => {
  for (const size of [256, 1000, 100_000]) {
    using peer = await RawPeer.dial(endpoint);
    await peer.write(greetingOf("3.1"));
    await peer.tryWrite(longReady(new Uint8Array(size).fill(65)));
    using other = await RawPeer.connect(endpoint);
    await isServed(other);
  }
});

stages.test("a reserved identity gives its peer nothing of another's", async ({ endpoint }) => {
  using named = await RawPeer.connect(endpoint, { properties: { Identity: "named" } });
  await isServed(named);
  for (const size of [1, 2, 5, 8, 255]) {
    const Identity = new Uint8Array(size);
    using peer = await RawPeer.dial(endpoint);
    await peer.tryWrite(greetingOf("3.1"));
    await peer.tryWrite(longReady(Identity));
    await peer.tryWrite(message([EMPTY, bytes("reserved")]));
    await isServed(named);
  }
});

/** A READY that may be long. */
function longReady(identity: Uint8Array): Uint8Array {
  const property = (name: string, value: Uint8Array) => {
    const size = new DataView(new ArrayBuffer(4));
    size.setUint32(0, value.length);
    return [name.length, ...bytes(name), ...new Uint8Array(size.buffer), ...value];
  };
  const type = property("Socket-Type", bytes("DEALER"));
  const name = bytes("READY");
  const body = [name.length, ...name, ...type, ...property("Identity", identity)];
  return frameOf(body.length < 256 ? COMMAND : COMMAND | LONG, Uint8Array.from(body));
}

// Commands

stages.test("a PING is answered by a PONG with its context", async ({ endpoint }) => {
  using peer = await RawPeer.connect(endpoint);
  for (const size of [0, 1, 16]) {
    const context = new Uint8Array(size).fill(7);
    await peer.write(command("PING", Uint8Array.of(0, 100, ...context)));
    assert.deepEqual(await peer.command("PONG"), context);
  }
  await isServed(peer);
});

stages.test("a PING is answered between the frames of a message", async ({ endpoint }) => {
  using peer = await RawPeer.connect(endpoint);
  await peer.write(frameOf(MORE, EMPTY));
  await peer.write(command("PING", Uint8Array.of(0, 0, 9)));
  assert.deepEqual(await peer.command("PONG"), Uint8Array.of(9));
  await peer.write(frameOf(0, bytes("whole")));
  assert.deepEqual(await peer.messageText(), ["", "whole"]);
});

stages.test("PINGs are answered while a request of their peer runs", async (server) => {
  const { request, held, open } = stages.gate();
  using peer = await RawPeer.connect(server.endpoint);
  await peer.write(message([EMPTY, bytes(request)]));
  await server.line(held);
  for (let ping = 0; ping < 20; ping++) {
    // Without a time to live: a peer that promises to speak again in time must, however busy the machine is.
    await peer.write(command("PING", Uint8Array.of(0, 0, ping)));
    assert.deepEqual(await peer.command("PONG"), Uint8Array.of(ping));
  }
  open();
  assert.deepEqual(await peer.messageText(), ["", request]);
});

for (
  const [what, sent] of Object.entries({
    "SUBSCRIBE": command("SUBSCRIBE", bytes("topic")),
    "CANCEL": command("CANCEL", bytes("topic")),
    "an unknown command": command("NOVEL", bytes("something")),
    "a PONG that nobody asked for": command("PONG", bytes("?")),
    "a second READY": nullReady(),
  })
) {
  stages.test(`a peer that sends ${what} is served as ever`, async ({ endpoint }) => {
    using peer = await RawPeer.connect(endpoint);
    await peer.write(sent);
    await isServed(peer);
  });
}

for (
  const [what, sent] of Object.entries({
    "an ERROR": command("ERROR", Uint8Array.of(3, ...bytes("bad"))),
    "an ERROR with a reason longer than it": command("ERROR", Uint8Array.of(200, 1)),
    "a PING without its time to live": command("PING", EMPTY),
    "a command without a name": frameOf(COMMAND, EMPTY),
    "a command whose name is longer than it": frameOf(COMMAND, Uint8Array.of(200, 82)),
  })
) {
  stages.test(`a peer that sends ${what} hurts nobody`, async ({ endpoint }) => {
    using other = await RawPeer.connect(endpoint);
    using peer = await RawPeer.connect(endpoint);
    await peer.write(sent);
    await isServed(other);
  });
}

// Frames

stages.test("a short frame may have a long size", async ({ endpoint }) => {
  using peer = await RawPeer.connect(endpoint);
  await peer.write(frameOf(MORE | LONG, EMPTY));
  await peer.write(frameOf(LONG, bytes("short")));
  assert.deepEqual(await peer.messageText(), ["", "short"]);
});

for (const size of [2n ** 32n, 2n ** 53n, 2n ** 63n - 1n, 2n ** 63n, 2n ** 64n - 1n]) {
  stages.test(`a frame of ${size} bytes ends its connection and takes no memory`, async (server) => {
    const before = residentMemory(server.pid) ?? NaN;
    using peer = await RawPeer.connect(server.endpoint);
    await peer.write(frameOf(LONG, EMPTY, size));
    await peer.ended();
    const after = residentMemory(server.pid) ?? NaN;
    assert(after < before + HUGE, `${before} bytes, then ${after}`);
  });
}

stages.test("a frame may have as many bytes as docs/protocol.md says, and one more ends its connection", async ({ endpoint }) => {
  using peer = await RawPeer.connect(endpoint);
  await peer.write(message([EMPTY, new Uint8Array(MAX_FRAME_BYTES)]));
  const excess = `413 The body must have at most ${MAX_BYTES} bytes: it has ${MAX_FRAME_BYTES}`;
  assert.deepEqual(await peer.messageText(), ["", "", excess]);
  await isServed(peer);
  await peer.tryWrite(message([EMPTY, new Uint8Array(MAX_FRAME_BYTES + 1)]));
  await peer.ended();
});

stages.test("a body may have as many bytes and frames as it may, and one more is answered 413", async ({ endpoint }) => {
  using peer = await RawPeer.connect(endpoint);
  const bodies: [Uint8Array[], string?][] = [
    [[new Uint8Array(MAX_BYTES).fill(1)]],
    [[new Uint8Array(MAX_BYTES - 1).fill(2), new Uint8Array(1)]],
    [Array(MAX_FRAMES).fill(EMPTY)],
    [[new Uint8Array(MAX_BYTES + 1)], `bytes: it has ${MAX_BYTES + 1}`],
    [[new Uint8Array(MAX_BYTES), Uint8Array.of(1)], `bytes: it has ${MAX_BYTES + 1}`],
    [Array(MAX_FRAMES + 1).fill(EMPTY), `frames: it has ${MAX_FRAMES + 1}`],
  ];
  for (const [body, excess] of bodies) {
    await peer.write(message([EMPTY, ...body]));
    const [delimiter, ...reply] = await peer.message();
    assert.equal(delimiter?.length, 0);
    if (excess === undefined) assert.deepEqual(reply, body);
    else assert.match(text(reply[1]), new RegExp(`^413 .*${excess}$`));
  }
  await isServed(peer);
});

stages.test("messages that are no requests are dropped, and the next is answered", async (server) => {
  const count = async () => Number((await server.state()).malformed);
  const before = await count();
  using peer = await RawPeer.connect(server.endpoint);
  const long = Array.from({ length: 16 }, () => bytes("e"));
  const wrong = [[bytes("no delimiter")], [bytes("a"), bytes("b")], [bytes("a"), EMPTY], [
    ...long,
    EMPTY,
    bytes("x"),
  ], [bytes("e".repeat(1025)), EMPTY, bytes("x")]];
  for (const frames of wrong) await peer.write(message(frames));
  await isServed(peer);
  assert.equal(await count(), before + wrong.length);
  await until("it is told", () => linesOf(server, "malformed requests dropped").length > 0);
});

stages.test("a request that is cut off by its peer's end hurts nobody", async ({ endpoint }) => {
  const request = message([EMPTY, new Uint8Array(1000)]);
  for (const size of [1, 2, 3, 10, 500]) {
    using peer = await RawPeer.connect(endpoint);
    await peer.write(request.subarray(0, size));
  }
  using other = await RawPeer.connect(endpoint);
  await isServed(other);
});
