/** Clients over sockets of our own: what they send and get, byte by byte, and what is not theirs to have. */

import { MemoryContent } from "../../ports/content.ts";
import { strict as assert } from "node:assert";
import { readClient } from "../../wire/job.ts";
import { Code } from "../../wire/request.ts";
import { buildRequestHeader, VERSION_QUESTION } from "../../wire/request_header.ts";
import { type Asked, assertClean, bodyOf, NativeFront } from "../rig/native_front.ts";
import { randomNumbers } from "../rig/random.ts";
import { frameOf, greetingOf, type Introduction, RawPeer } from "../rig/raw_peer.ts";
import { bytes, text } from "../rig/text.ts";
import { until } from "../rig/wait.ts";
import { command, message, nullReady } from "../rig/zmtp.ts";

const EMPTY = new Uint8Array(0);
const LONG = 2;

/** A peer that has shaken hands. */
function connect(front: NativeFront, introduction: Introduction = {}): Promise<RawPeer> {
  return front.during(RawPeer.connect(front.endpoint, introduction));
}

function connectAll(front: NativeFront, count: number): Promise<RawPeer[]> {
  return Promise.all(Array.from({ length: count }, () => connect(front)));
}

function hear(front: NativeFront, peer: RawPeer): Promise<string[]> {
  return front.during(peer.messageText());
}

const SHAPES: [what: string, envelope: string[], body: string[]][] = [
  ["is a REQ's", [], ["hello"]],
  ["is empty", [], [""]],
  ["has a body of 48 bytes", [], ["x".repeat(48)]],
  ["has a body of 49 bytes", [], ["x".repeat(49)]],
  ["has a body of 255 bytes", [], ["x".repeat(255)]],
  ["has a body of 256 bytes", [], ["x".repeat(256)]],
  ["has a body that comes in pieces", [], ["x".repeat(90_000)]],
  ["has several frames", [], ["a", "", "b".repeat(300)]],
  ["has large frames and small ones", [], ["a".repeat(9000), "b", "c".repeat(40_000), "", "d"]],
  ["has an envelope", ["one", "two".repeat(100)], ["body"]],
  ["has an envelope and several frames", ["one"], ["a".repeat(20_000), "b"]],
];

for (const [what, envelope, body] of SHAPES) {
  Deno.test(`NativeSource reads a request and answers it when that ${what}`, async () => {
    using front = new NativeFront();
    using peer = await connect(front);
    await peer.write(message([...envelope, "", ...body].map(bytes)));
    const asked = await front.request();
    assert.deepEqual(bodyOf(asked), body);
    assert.deepEqual(asked.envelope.map(text), envelope);
    assert.deepEqual([asked.bytes, asked.excess], [body.join("").length, undefined]);
    front.reply(asked, ...body);
    assert.deepEqual(await hear(front, peer), [...envelope, "", ...body]);
    assertClean(front);
  });
}

Deno.test("NativeSource reads the same requests wherever their bytes are cut", async () => {
  const seed = 1 + Math.floor(Math.random() * 2 ** 31);
  const random = randomNumbers(seed);
  const header = buildRequestHeader({ id: 7, timeout: 1000 });
  const requests = [
    [EMPTY, bytes("plain")],
    [EMPTY, bytes("y".repeat(300))],
    [bytes("via"), header, EMPTY, bytes("headed"), bytes("z".repeat(9000))],
    [EMPTY, bytes("l".repeat(20_000))],
  ];
  const all = Uint8Array.from(requests.flatMap((request) => [...message(request)]));
  using front = new NativeFront();
  using peer = await connect(front);
  for (let round = 0; round < 40; round++) {
    const cuts = Array.from({ length: 1 + random(12) }, () => random(all.length));
    // Some rounds end in single bytes.
    if (round % 4 === 0) { for (let at = 0; at < 40; at++) cuts.push(all.length - at, at); }
    cuts.push(0, all.length);
    cuts.sort((a, b) => a - b);
    for (let index = 1; index < cuts.length; index++) {
      await peer.write(all.subarray(cuts[index - 1], cuts[index]));
      front.turn();
    }
    for (const request of requests) {
      const asked = await front.request();
      const frames = [...asked.envelope.map(text), "", ...bodyOf(asked)];
      assert.deepEqual(frames, request.map(text), `seed ${seed}`);
      front.bodies.release(asked.body);
    }
  }
  assertClean(front);
});

Deno.test("NativeSource knows what our own client asks, and what it takes back", async () => {
  using front = new NativeFront();
  using peer = await connect(front, { properties: { Identity: "bob" } });
  const header = buildRequestHeader({ id: 2 ** 40, timeout: 5000, requestTimeout: 70, key: "k" });
  await peer.write(message([header, EMPTY, bytes("body")]));
  const asked = await front.request();
  assert.deepEqual([asked.requestId, asked.requestTimeout, asked.key], [2 ** 40, 70, "k"]);
  assert(Math.abs(asked.deadline - front.now - 5000) < 5000);
  await peer.write(message([buildRequestHeader({ type: "cancel", id: 2 ** 40 }), EMPTY, EMPTY]));
  await front.until("it is taken back", () => front.cancelled.length > 0);
  assert.deepEqual(front.cancelled, [2 ** 40]);
  front.answer(asked, Code.unavailable, "busy");
  const [, , status, said] = await front.during(peer.message());
  assert.deepEqual([...status ?? []], [1, 0, Code.unavailable & 0xff, Code.unavailable >> 8]);
  assert.equal(text(said), "busy");
});

Deno.test("NativeSource sends parts with their numbers, knows what is taken more, and tells that a part is lost", async () => {
  using front = new NativeFront({ unreadBytes: 100_000, connectionBytes: 100_000 });
  using peer = await connect(front);
  const stream = { bytes: 262_144, parts: 16 };
  const header = buildRequestHeader({ id: 9, stream, resumable: true });
  await peer.write(message([header, EMPTY, bytes("body")]));
  const asked = await front.request();
  assert.deepEqual([asked.stream, asked.resumable], [stream, true]);
  const more = { bytes: 1000, parts: 2 };
  const credit = buildRequestHeader({ id: 9, type: "credit", stream: more });
  await peer.write(message([credit, EMPTY, EMPTY]));
  await front.until("it is taken", () => front.credits.length > 0);
  assert.deepEqual(front.credits, [{ id: 9, ...more }]);
  const content = new MemoryContent();
  const send = (number: number, flags: number, ...sizes: number[]) => {
    const size = sizes.reduce((sum, each) => sum + each, 0);
    const body = new Uint8Array(size).fill(number);
    content.set(body, 0, size, sizes.length === 1 ? undefined : sizes);
    return front.source.part(asked, flags, number, content, front.now);
  };
  const sizes = [[0], [5], [300, 0], [20_000]];
  for (const [number, each] of sizes.entries()) assert.equal(send(number, 2, ...each), true);
  assert.equal(send(4, 0, 0), true);
  for (const [number, each] of [...sizes, [0]].entries()) {
    const [head, delimiter, status, ...body] = await front.during(peer.message());
    assert.deepEqual([head, delimiter?.length], [header, 0]);
    assert.deepEqual([...status ?? []], [2, number < 4 ? 2 : 0, 200, 0, number, 0, 0, 0]);
    assert.deepEqual(body.map(({ length }) => length), each);
    assert.ok(body.every((frame) => frame.every((byte) => byte === number)));
  }
  // It reads nothing: what waits for it here has a bound.
  let sent = 0;
  while (send(5 + sent, 2, 50_000)) sent++;
  assert.ok(sent < 2000, `${sent} parts wait`);
  assert.equal(front.source.counters.undelivered, 1);
});

Deno.test("NativeSource knows the fields of a header, and who asks which version is known", async () => {
  using front = new NativeFront();
  using peer = await connect(front);
  const header = buildRequestHeader({ id: 9, service: "mail", key: "k" });
  await peer.write(message([header, EMPTY, bytes("body")]));
  const asked = await front.request();
  assert.deepEqual([asked.requestId, asked.service, asked.key, asked.fault], [9, "mail", "k", ""]);
  front.bodies.release(asked.body);
  header[24] = 200;
  await peer.write(message([header, EMPTY, bytes("body")]));
  const other = await front.request();
  assert.equal(other.fault, "The header's field 200 is not known");
  front.bodies.release(other.body);
  const question = buildRequestHeader({ type: "cancel", id: 10 });
  await peer.write(message([question, EMPTY, VERSION_QUESTION]));
  await front.until("it is asked", () => front.questions.length > 0);
  assert.deepEqual(front.questions.map(({ requestId }) => requestId), [10]);
  assert.deepEqual(front.cancelled, []);
  assertClean(front);
});

Deno.test("NativeSource answers a plain client with an empty frame and a text when it failed", async () => {
  using front = new NativeFront();
  using peer = await connect(front);
  await peer.write(message([EMPTY, bytes("a")], 2));
  front.answer(await front.request(), Code.handlerFailed, "no such thing");
  front.source.replyError(await front.request(), Code.expired, 0, "too late", front.now);
  assert.deepEqual(await hear(front, peer), ["", "", "500 no such thing"]);
  assert.deepEqual(await hear(front, peer), ["", "", "408 too late"]);
});

const MALFORMED: Record<string, Uint8Array> = {
  "has one frame": message([bytes("a")]),
  "has one empty frame": message([EMPTY]),
  "has no empty frame": message([bytes("a"), bytes("b")]),
  "ends with the empty frame": message([bytes("a"), EMPTY]),
  "has an envelope of 16 frames": message([...Array(16).fill(bytes("e")), EMPTY, bytes("a")]),
  "has an envelope of 1,025 bytes": message([new Uint8Array(1025).fill(1), EMPTY, bytes("a")]),
  "has an envelope of 50,000 bytes": message([new Uint8Array(50_000).fill(1), EMPTY, bytes("a")]),
};

for (const [what, wrong] of Object.entries(MALFORMED)) {
  Deno.test(`NativeSource drops and counts a message, and reads the next, when it ${what}`, async () => {
    using front = new NativeFront();
    using peer = await connect(front);
    await peer.write(wrong);
    await peer.write(message([EMPTY, bytes("next")]));
    assert.deepEqual(bodyOf(await front.request()), ["next"]);
    assert.equal(front.source.counters.malformed, 1);
    const { reason, address } = front.source.lastOf("malformed");
    assert.deepEqual([reason, address], ["no empty frame ends its envelope", "127.0.0.1"]);
  });
}

Deno.test("NativeSource takes 15 frames and 1,024 bytes for an envelope", async () => {
  using front = new NativeFront();
  using peer = await connect(front);
  await peer.write(message([...Array(15).fill(bytes("e")), EMPTY, bytes("a")]));
  assert.equal((await front.request()).envelope.length, 15);
  await peer.write(message([new Uint8Array(1024).fill(1), EMPTY, bytes("a")]));
  assert.equal((await front.request()).envelope[0]?.length, 1024);
  assertClean(front);
});

const EXCESSIVE: [what: string, body: Uint8Array[], excess: string][] = [
  ["one frame of too many bytes", [new Uint8Array(100_001)], "100000 bytes: it has 100001"],
  [
    "frames of too many bytes together",
    [new Uint8Array(90_000), new Uint8Array(10_001)],
    "100000 bytes: it has 100001",
  ],
  ["too many frames", Array(11).fill(bytes("f")), "10 frames: it has 11"],
  ["very many frames", Array(20_000).fill(bytes("f")), "10 frames: it has 20000"],
];

for (const [what, body, excess] of EXCESSIVE) {
  Deno.test(`NativeSource keeps nothing of a body, and tells its size, when it has ${what}`, async () => {
    using front = new NativeFront();
    using peer = await connect(front);
    await front.during(peer.write(message([EMPTY, ...body])));
    const asked = await front.request();
    assert.equal(asked.excess, `The body must have at most ${excess}`);
    assert.equal(asked.body.size, 0);
    await peer.write(message([EMPTY, bytes("next")]));
    assert.deepEqual(bodyOf(await front.request()), ["next"]);
  });
}

const BROKEN: [what: string, sent: Uint8Array, reason: RegExp][] = [
  ["announces a frame far too large", frameOf(LONG, EMPTY, 201_025n), /at most 201024 bytes/],
  ["announces a frame of 2^64 - 1 bytes", frameOf(LONG, EMPTY, 2n ** 64n - 1n), /at most 201024/],
  [
    "sends a message without end",
    message([EMPTY, ...Array(3).fill(new Uint8Array(100_000)), EMPTY]),
    /must end within 202138 bytes/,
  ],
  [
    "sends empty frames without end",
    message([EMPTY, ...Array(100_050).fill(EMPTY)]),
    /must end within 100016 frames/,
  ],
  ["sends a frame with unknown flags", Uint8Array.of(8, 0), /no frame begins so/],
  ["sends a command in two frames", Uint8Array.of(5, 0), /no frame begins so/],
  ["sends a malformed command", command("PING", EMPTY), /a command is malformed/],
  ["sends a huge command", frameOf(6, EMPTY, 4097n), /at most 4096 bytes/],
];

for (const [what, sent, reason] of BROKEN) {
  Deno.test(`NativeSource ends a connection with an ERROR, and says why, when it ${what}`, async () => {
    using front = new NativeFront();
    using innocent = await connect(front);
    using peer = await connect(front);
    // Before the wrong: what was sent and answered in order is not harmed by it.
    await peer.tryWrite(sent);
    const heard = await front.during(peer.ended());
    assert.match(heard, /ERROR/);
    assert.match(heard, reason);
    assert.match(String(front.source.lastOf("malformed").reason), reason);
    assert.deepEqual([front.source.counters.malformed, front.source.connections()], [1, 1]);
    await innocent.write(message([EMPTY, bytes("a")]));
    assert.deepEqual(bodyOf(await front.request()), ["a"]);
  });
}

/** A request whose only frame has `size` bytes, of which `count` are there. */
function beginning(count: number, size: number): Uint8Array {
  const frame = frameOf(LONG, new Uint8Array(count), BigInt(size));
  const all = new Uint8Array(2 + frame.length);
  all.set([1, 0]);
  all.set(frame, 2);
  return all;
}

Deno.test("NativeSource ends the oldest of those that never end their large messages when they have too many bytes", async () => {
  using front = new NativeFront({ maxMessageSize: 1_000_000, unreadBytes: 2_000_000 });
  const peers: RawPeer[] = [];
  const half = beginning(500_000, 900_000);
  try {
    for (let count = 0; count < 4; count++) {
      const peer = await connect(front);
      peers.push(peer);
      await front.during(peer.write(half));
    }
    using innocent = await connect(front);
    const request = innocent.write(message([EMPTY, new Uint8Array(400_000).fill(7)]));
    // What can't be read yet is read once the oldest has had its time.
    await front.until("some of it is read", () => front.source.connections() === 5);
    for (let turn = 0; turn < 50; turn++) front.turn();
    assert.deepEqual([front.asked.length, front.source.connections()], [0, 5]);
    front.later += 5001;
    await front.during(request);
    assert.equal((await front.request()).bytes, 400_000);
    const [oldest, , , newest] = peers;
    assert.match(await front.during(oldest?.ended() ?? Promise.reject()), /unfinished/);
    await front.during(newest?.write(new Uint8Array(400_000)) ?? Promise.reject());
    assert.equal((await front.request()).bytes, 900_000);
    assert.equal(front.source.counters.malformed, 1);
  } finally {
    for (const peer of peers) peer[Symbol.dispose]();
  }
});

Deno.test("NativeSource gives back what it had of a message when its client leaves in the midst of it", async () => {
  using front = new NativeFront({ maxMessageSize: 1_000_000, unreadBytes: 1_000_000 });
  for (let count = 0; count < 10; count++) {
    const peer = await connect(front);
    await front.during(
      peer.write(beginning(500_000, 900_000)),
    );
    await front.until("some has come", () => front.source.connections() === 1);
    peer[Symbol.dispose]();
    await front.until("it has left", () => front.source.connections() === 0);
  }
  assertClean(front);
});

Deno.test("NativeSource stops in the middle of what a client has sent while nothing may be read, and goes on", async () => {
  using front = new NativeFront();
  using peer = await connect(front);
  using other = await connect(front);
  front.room = 3;
  await peer.write(message([EMPTY, bytes("a")], 1000));
  await front.until("it is full", () => front.room === 0);
  await other.write(message([EMPTY, bytes("b")]));
  for (let turn = 0; turn < 20; turn++) front.turn();
  assert.equal(front.asked.length, 3);
  assert.equal(front.source.isReadable(), true);
  front.room = 500;
  await front.until("it is full again", () => front.room === 0);
  front.room = Infinity;
  await front.until("all have come", () => front.asked.length === 1001);
  assertClean(front);
});

Deno.test("NativeSource takes one request of each client in turn while there is no room for more", async () => {
  using front = new NativeFront();
  const greedy = await connectAll(front, 4);
  using modest = await connect(front);
  front.room = 0;
  for (const peer of greedy) await peer.write(message([EMPTY, bytes("many")], 1000));
  const served: string[] = [];
  const take = async () => {
    front.room = 1;
    // As in a server with a full queue, nobody is told that something has come.
    await until("one comes", () => {
      front.source.read(front.now);
      return front.asked.length > 0;
    });
    served.push(...front.asked.splice(0).flatMap(bodyOf));
  };
  front.room = 1;
  served.push(...bodyOf(await front.request()));
  for (let turn = 0; turn < 20; turn++) await take();
  await modest.write(message([EMPTY, bytes("one")]));
  while (!served.includes("one") && served.length < 1000) await take();
  assert(served.includes("one"), "who asks for little is not left behind those who ask for much");
  for (const peer of greedy) peer[Symbol.dispose]();
});

Deno.test("NativeSource reads some of what each client has sent in turn where several send much", async () => {
  using front = new NativeFront();
  const peers = await connectAll(front, 3);
  front.room = 0;
  for (const [index, peer] of peers.entries()) {
    await peer.write(message([EMPTY, bytes(`${index}`)], 1000));
  }
  front.room = Infinity;
  await front.until("all have come", () => front.asked.length === 3000);
  const order = front.asked.flatMap(bodyOf);
  const runs = order.filter((one, index) => one !== order[index - 1]).length;
  assert(runs >= 30, `They took turns ${runs} times only`);
  assertClean(front);
  for (const peer of peers) peer[Symbol.dispose]();
});

Deno.test("NativeSource finds clients that have hung up while nothing may be read", async () => {
  using front = new NativeFront();
  const peer = await connect(front);
  using stays = await connect(front);
  front.room = 1;
  await peer.write(message([EMPTY, bytes("a")], 100));
  const asked = await front.request();
  await stays.write(message([EMPTY, bytes("b")]));
  peer[Symbol.dispose]();
  await front.until("it is found", () => {
    front.source.findGone();
    return front.gone.length > 0;
  });
  assert.deepEqual(front.gone, [asked.client.peer]);
  front.reply(asked, "late");
  assert.equal(front.source.counters.undelivered, 1);
  front.room = Infinity;
  assert.deepEqual(bodyOf(await front.request()), ["b"]);
  assert.equal(front.asked.length, 0);
});

Deno.test("NativeSource sends a newcomer nothing of a client that had its place before", async () => {
  using front = new NativeFront();
  const former = await connect(front);
  await former.write(message([EMPTY, bytes("former")]));
  const asked = await front.request();
  former[Symbol.dispose]();
  await front.until("it has left", () => front.gone.length === 1);
  using newcomer = await connect(front);
  await newcomer.write(message([EMPTY, bytes("newcomer")]));
  const second = await front.request();
  assert.equal(second.client.peer.place, asked.client.peer.place);
  front.reply(asked, "for the former");
  front.reply(second, "for the newcomer");
  assert.deepEqual(await hear(front, newcomer), ["", "for the newcomer"]);
  assert.equal(front.source.counters.undelivered, 1);
});

Deno.test("NativeSource gives an identity to the newcomer, and closes the connection that had it", async () => {
  using front = new NativeFront();
  using former = await connect(front, { properties: { Identity: "bob" } });
  await former.write(message([EMPTY, bytes("former")]));
  const first = await front.request();
  using newcomer = await connect(front, { properties: { Identity: "bob" } });
  assert.deepEqual(front.gone, [first.client.peer]);
  await newcomer.write(message([EMPTY, bytes("newcomer")]));
  const second = await front.request();
  front.reply(first, "for the former");
  front.reply(second, "for the newcomer");
  assert.deepEqual(await hear(front, newcomer), ["", "for the newcomer"]);
  assert.equal((await front.during(former.ended())).includes("for"), false);
  const { takeovers, undelivered } = front.source.counters;
  assert.deepEqual([takeovers, undelivered, front.source.clients], [1, 1, 1]);
  const last = { identity: "bob", address: "127.0.0.1" };
  assert.deepEqual(front.source.lastOf("takeovers"), last);
});

Deno.test("NativeSource knows a client that comes back with its identity for a new one, and for no takeover", async () => {
  using front = new NativeFront();
  for (let round = 0; round < 5; round++) {
    const peer = await connect(front, { properties: { Identity: "bob" } });
    await peer.write(message([EMPTY, bytes(`${round}`)]));
    assert.deepEqual(bodyOf(await front.request()), [`${round}`]);
    peer[Symbol.dispose]();
    await front.until("it has left", () => front.source.connections() === 0);
  }
  assert.deepEqual([front.source.counters.takeovers, front.gone.length], [0, 5]);
});

Deno.test("NativeSource tells of no client when one connects and leaves without a request", async () => {
  using front = new NativeFront();
  const peer = await connect(front);
  assert.deepEqual([front.source.clients, front.source.connections()], [0, 1]);
  peer[Symbol.dispose]();
  await front.until("it has left", () => front.source.connections() === 0);
  assert.equal(front.gone.length, 0);
});

// What clients do not read

/** Sends so many replies of so many bytes to one who reads nothing. */
function flood(
  front: NativeFront,
  asked: Asked,
  count: number,
  size: number,
): void {
  const body = new Uint8Array(size).fill(9);
  for (let reply = 0; reply < count; reply++) front.reply(asked, body);
  front.turn();
}

for (const size of [10, 1000, 60_000]) {
  Deno.test(`NativeSource keeps the order and loses nothing of replies of ${size} bytes when a client reads late`, async () => {
    using front = new NativeFront({ unreadBytes: 2 ** 30, connectionBytes: 2 ** 30 });
    using peer = await connect(front);
    const count = Math.ceil(40_000_000 / (size + 200));
    await peer.write(message([EMPTY, bytes("a")]));
    const asked = await front.request();
    for (let reply = 0; reply < count; reply++) {
      front.reply(asked, `${reply} ${"x".repeat(size)}`);
      if (reply % 500 === 0) front.turn();
    }
    front.turn();
    const read = (async () => {
      for (let reply = 0; reply < count; reply++) {
        const [, said = ""] = await peer.messageText();
        assert.equal(said.slice(0, said.indexOf(" ")), `${reply}`);
      }
    })();
    await front.during(read);
    assert.equal(front.source.hasUnsent, false);
    assertClean(front);
  });
}

/** A peer that reads nothing, and what it has asked. */
async function deaf(front: NativeFront): Promise<{ peer: RawPeer; asked: Asked }> {
  const peer = await connect(front);
  await peer.write(message([EMPTY, bytes("a")]));
  return { peer, asked: await front.request() };
}

Deno.test("NativeSource keeps no more for a client that does not read than one may have, and counts the rest", async () => {
  using front = new NativeFront({ connectionBytes: 1_000_000 });
  const { peer, asked } = await deaf(front);
  using _peer = peer;
  // The system takes some.
  await front.until("replies wait", () => (flood(front, asked, 100, 1000), front.source.hasUnsent));
  assert.equal(front.source.counters.undelivered, 0);
  flood(front, asked, 2000, 1000);
  const { undelivered } = front.source.counters;
  assert(undelivered > 900 && undelivered < 1200, `${undelivered}`);
});

Deno.test("NativeSource keeps no more for all clients than all may have, and one reply for each, however large", async () => {
  using front = new NativeFront({ unreadBytes: 1_000_000 });
  const first = await deaf(front);
  const second = await deaf(front);
  using _peers = disposing(first.peer, second.peer);
  for (const { asked } of [first, second]) front.reply(asked, new Uint8Array(10_000_000));
  flood(front, first.asked, 10, 100);
  assert.equal(front.source.counters.undelivered, 10);
  const [, body] = await front.during(second.peer.message());
  assert.equal(body?.length, 10_000_000);
});

function disposing(...peers: Disposable[]): Disposable {
  return { [Symbol.dispose]: () => peers.forEach((peer) => peer[Symbol.dispose]()) };
}

Deno.test("NativeSource says that a client is stalled when it has taken nothing for 1 s and has half its share", async () => {
  using front = new NativeFront({ connectionBytes: 1_000_000 });
  const { peer, asked } = await deaf(front);
  using _peer = peer;
  await front.until("replies wait", () => (flood(front, asked, 100, 1000), front.source.hasUnsent));
  flood(front, asked, 2000, 1000);
  assert.equal(front.source.isStalled(asked.client.peer, front.now), false);
  front.later += 1001;
  assert.equal(front.source.isStalled(asked.client.peer, front.now), true);
  front.turn();
  assert.deepEqual(front.stalled, [asked.client.peer]);
});

Deno.test("NativeSource gives up what waits when a client has taken nothing for 30 s, and sends the rest of what it has begun", async () => {
  using front = new NativeFront({ unreadBytes: 2 ** 28, connectionBytes: 2 ** 28 });
  const { peer, asked } = await deaf(front);
  using _peer = peer;
  // The system has a part of the large one.
  front.reply(asked, "small");
  front.reply(asked, new Uint8Array(10_000_000));
  for (let reply = 0; reply < 10; reply++) front.reply(asked, "never");
  front.turn();
  front.later += 30_500;
  front.turn();
  assert.equal(front.source.counters.undelivered, 10);
  front.reply(asked, "after");
  assert.deepEqual(await hear(front, peer), ["", "small"]);
  assert.equal((await front.during(peer.message()))[1]?.length, 10_000_000);
  assert.deepEqual(await hear(front, peer), ["", "after"]);
});

Deno.test("NativeSource counts the replies that a slow client has not taken when it leaves", async () => {
  using front = new NativeFront();
  const { peer, asked } = await deaf(front);
  front.reply(asked, new Uint8Array(10_000_000));
  for (let reply = 0; reply < 10; reply++) front.reply(asked, "never");
  front.turn();
  peer[Symbol.dispose]();
  await front.until("it has left", () => front.gone.length > 0);
  assert.equal(front.source.counters.undelivered, 11);
  assert.equal(front.source.hasUnsent, false);
});

Deno.test("NativeSource delivers what waits for slow clients when it closes", async () => {
  const front = new NativeFront();
  const { peer, asked } = await deaf(front);
  using _peer = peer;
  // More requests than it reads must not end the connection before that.
  front.room = 0;
  await peer.write(message([EMPTY, bytes("unread")], 1000));
  front.reply(asked, new Uint8Array(20_000_000).fill(3));
  const closed = front.source.close(60_000);
  const [, body] = await peer.message();
  assert.equal(body?.every((byte) => byte === 3) && body.length, 20_000_000);
  await closed;
  await peer.ended();
});

Deno.test("NativeSource closes after its time when a client takes nothing", async () => {
  const front = new NativeFront();
  const { peer, asked } = await deaf(front);
  using _peer = peer;
  front.reply(asked, new Uint8Array(20_000_000));
  await front.source.close(20);
  await peer.ended();
});

// Who may come, and for how long

Deno.test("NativeSource lets nobody in who is refused, and says why", async () => {
  using front = new NativeFront();
  front.refusal = (address, open) => `${address} may not, with ${open.connections} others`;
  using peer = await RawPeer.dial(front.endpoint);
  await front.during(peer.ended());
  assert.deepEqual([front.source.counters.denied, front.source.connections()], [1, 0]);
  const reason = "127.0.0.1 may not, with 0 others";
  assert.deepEqual(front.source.lastOf("denied"), { address: "127.0.0.1", reason });
});

const UNWELCOME: [what: string, identity: Uint8Array, counted: "denied" | "squatters"][] = [
  ["longer than 255 bytes", new Uint8Array(256).fill(1), "denied"],
  ["like those that routers give", Uint8Array.of(0, 1, 2, 3, 4), "squatters"],
  ["a zero byte", Uint8Array.of(0), "squatters"],
];

for (const [what, identity, counted] of UNWELCOME) {
  Deno.test(`NativeSource refuses a peer whose identity is ${what}, and tells it why`, async () => {
    using front = new NativeFront();
    using peer = await RawPeer.dial(front.endpoint);
    await peer.write(greetingOf("3.1"));
    const size = identity.length;
    const property = [8, ...bytes("Identity"), 0, 0, size >> 8, size & 0xff, ...identity];
    await peer.write(
      size > 200 ? longReady(property) : command("READY", Uint8Array.from(property)),
    );
    assert.match(await front.during(peer.ended()), /ERROR.its identity must/);
    assert.equal(front.source.counters[counted], 1);
  });
}

function longReady(property: number[]): Uint8Array {
  const body = Uint8Array.from([5, ...bytes("READY"), ...property]);
  return frameOf(6, body);
}

Deno.test("NativeSource takes identities of 1 to 255 bytes, whatever they are, and tells workers of them", async () => {
  using front = new NativeFront();
  const identities = [Uint8Array.of(1), bytes("waiting"), new Uint8Array(255).fill(255)];
  for (const identity of identities) {
    using peer = await RawPeer.dial(front.endpoint);
    await peer.write(greetingOf("3.1"));
    await peer.write(longReady([8, ...bytes("Identity"), 0, 0, 0, identity.length, ...identity]));
    await peer.write(message([EMPTY, bytes("a")]));
    const { client } = await front.request();
    assert.equal(
      readClient(client.peer.header).identity.startsWith(text(identity).slice(0, 50)),
      true,
    );
    assert.equal(readClient(client.peer.header).address, "127.0.0.1");
  }
});

Deno.test("NativeSource serves peers of ZMTP 2.0 and 3.0, and none of ZMTP 1.0", async () => {
  using front = new NativeFront();
  for (const version of ["2.0", "3.0", "3.1"] as const) {
    using peer = await connect(front, { version, properties: { Identity: version } });
    await peer.write(message([EMPTY, bytes("x".repeat(300))]));
    const asked = await front.request();
    assert.equal(readClient(asked.client.peer.header).identity, version);
    front.reply(asked, "y".repeat(70_000));
    assert.equal((await hear(front, peer))[1]?.length, 70_000);
  }
  using old = await RawPeer.dial(front.endpoint);
  await old.tryWrite(Uint8Array.of(1, 0));
  await front.during(old.ended());
  const { reason } = front.source.lastOf("denied");
  assert.equal(reason, "it does not speak ZMTP 2.0 or later");
});

Deno.test("NativeSource cuts a handshake off that takes too long, wherever it has stopped", async () => {
  using front = new NativeFront({ handshakeTimeout: 5000 });
  const all = Uint8Array.from([...greetingOf("3.1"), ...nullReady()]);
  const peers = [];
  for (const cut of [0, 5, 10, 11, 40, 64, 70, all.length - 1]) {
    const peer = await RawPeer.dial(front.endpoint);
    await peer.write(all.subarray(0, cut));
    peers.push(peer);
  }
  using _peers = disposing(...peers);
  using innocent = await connect(front);
  await front.until("all are here", () => front.source.connections() === 9);
  for (let turn = 0; turn < 10; turn++) front.turn();
  assert.equal(front.source.connections(), 9);
  front.later += 5001;
  await front.until("they are cut off", () => front.source.connections() === 1);
  for (const peer of peers) await front.during(peer.ended());
  assert.equal(front.source.counters.denied, 8);
  await innocent.write(message([EMPTY, bytes("a")]));
  assert.deepEqual(bodyOf(await front.request()), ["a"]);
});

Deno.test("NativeSource asks a silent client whether it lives, and closes its connection when it does not answer", async () => {
  using front = new NativeFront({ heartbeatInterval: 5000 });
  using silent = await connect(front);
  using lively = await connect(front);
  for (let round = 0; round < 3; round++) {
    front.later += 5001;
    const asked = round === 0 ? front.during(silent.command("PING")) : undefined;
    await front.during(lively.command("PING"));
    await asked;
    await lively.write(command("PONG", EMPTY));
    await front.until("it is heard", () => !front.source.isReadable());
    front.turn();
  }
  await front.until("it is closed", () => front.source.connections() === 1);
  await front.during(silent.ended());
  await lively.write(message([EMPTY, bytes("a")]));
  assert.deepEqual(bodyOf(await front.request()), ["a"]);
});

Deno.test("NativeSource asks nobody who says something, nor a peer of ZMTP 3.0 that does not", async () => {
  using front = new NativeFront({ heartbeatInterval: 5000 });
  using old = await connect(front, { version: "3.0" });
  using busy = await connect(front);
  for (let round = 0; round < 8; round++) {
    front.later += 2500;
    await busy.write(message([EMPTY, bytes("a")]));
    front.reply(await front.request(), "b");
    assert.deepEqual(await hear(front, busy), ["", "b"]);
  }
  assert.equal(busy.commands.get("PING"), undefined);
  await old.write(message([EMPTY, bytes("a")]));
  front.reply(await front.request(), "c");
  assert.deepEqual(await hear(front, old), ["", "c"]);
  assert.equal(old.commands.get("PING"), undefined);
});

Deno.test("NativeSource answers a PING with its context, and closes a connection that is silent for longer than it has promised", async () => {
  using front = new NativeFront();
  using peer = await connect(front);
  // In the midst of a message, as libzmq sends them.
  await peer.write(
    Uint8Array.of(1, 0, ...command("PING", Uint8Array.of(0, 20, 1, 2, 3)), 0, 1, 65),
  );
  assert.deepEqual([...await front.during(peer.command("PONG"))], [1, 2, 3]);
  assert.deepEqual(bodyOf(await front.request()), ["A"]);
  front.later += 1900;
  for (let turn = 0; turn < 5; turn++) front.turn();
  assert.equal(front.source.connections(), 1);
  front.later += 1200;
  await front.until("it is closed", () => front.source.connections() === 0);
});

Deno.test("NativeSource keeps one PONG at most for a client that reads nothing", async () => {
  using front = new NativeFront({ connectionBytes: 100_000 });
  const { peer, asked } = await deaf(front);
  using _peer = peer;
  front.reply(asked, new Uint8Array(20_000_000));
  front.turn();
  const ping = command("PING", Uint8Array.of(0, 0, 7));
  for (let count = 0; count < 1000; count++) await peer.write(ping);
  await front.until("all are read", () => !front.source.isReadable());
  await front.during(peer.message());
  await front.during(peer.command("PONG"));
  front.reply(asked, "next");
  await hear(front, peer);
  assert.equal(peer.commands.get("PONG"), 1);
});
