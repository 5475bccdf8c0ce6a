/**
 * The two ports over real sockets of this process, with raw peers at the other end and nobody between
 * who decides anything.
 *
 * @module
 */

import { strict as assert } from "node:assert";
import { Stream } from "../../broker/stream.ts";
import { type Body, BodyPool } from "../../ports/body.ts";
import { routingKey } from "../../ports/clients.ts";
import { type Content, keep } from "../../ports/content.ts";
import { ZmqLane } from "../../ports/zmq_lane.ts";
import {
  type Client,
  type Job,
  newJob,
  newPeer,
  newWorker,
  type Worker,
} from "../../broker/job.ts";
import { EMPTY_FRAME } from "../../wire/empty_frame.ts";
import {
  buildGrant,
  buildJobHeader,
  buildJobSignal,
  buildLog,
  buildMemory,
  buildSignal,
  FromBroker,
  FromWorker,
  type JobHeader,
  JobReader,
  REPLY_BYTES,
  type ReplyHeader,
  writeReply,
} from "../../wire/job.ts";
import { buildErrorText, buildStatus, Code, parseErrorText } from "../../wire/request.ts";
import { buildRequestHeader, VERSION_QUESTION } from "../../wire/request_header.ts";
import { locateLibrary } from "../../zmq/locate.ts";
import { Context } from "../../zmq/socket.ts";
import { bodyWith } from "../rig/bodies.ts";
import { Folder } from "../rig/folder.ts";
import type { Asked } from "../rig/native_front.ts";
import { Peer } from "../rig/peer.ts";
import { PlainSocket } from "../rig/plain_socket.ts";
import { randomNumbers } from "../rig/random.ts";
import { parseStatus } from "../rig/status.ts";
import { bytes, text } from "../rig/text.ts";
import { until } from "../rig/wait.ts";
import { BOUNDS, StrictPool, ZmqFront } from "../rig/zmq_front.ts";

type Bytes = Uint8Array<ArrayBuffer>;
type Frame = string | Bytes;

const library = locateLibrary(Deno.env.get("ZMQ_LIBRARY"));
const { maxMessageSize: MAX_MESSAGE, maxFrames: MAX_FRAMES } = BOUNDS;
const TCP = "tcp://127.0.0.1:0";

function toBytes(frame: Frame): Bytes {
  return typeof frame === "string" ? bytes(frame) : frame;
}

function texts(body: Body | undefined): string[] {
  return (body?.toFrames() ?? []).map((frame) => text(frame));
}

function hexes(frames: readonly Uint8Array[]): string[] {
  return frames.map((frame) => frame.toHex());
}

function filled(size: number, byte = 0x61): Bytes {
  return new Uint8Array(size).fill(byte);
}

// Requests

const ENVELOPES: [string, Frame[]][] = [
  ["has no frame", []],
  ["has 1 frame", ["one"]],
  ["has 15 frames", Array.from({ length: 15 }, (_, index) => `frame ${index}`)],
  ["has 1 KiB in one frame", [filled(1024)]],
  ["has 1 KiB in several frames", [filled(500), filled(1), filled(523)]],
  ["has frames of one zero byte", [filled(1, 0), filled(1, 0)]],
  ["has a frame that looks like a control word", ["waiting", filled(1, 1), filled(1, 18)]],
  ["has a frame that looks like an automatic identity", [new Uint8Array([0, 1, 2, 3, 4])]],
];

for (const [what, envelope] of ENVELOPES) {
  Deno.test(`ZmqSource reads a request and gives its envelope back when that ${what}`, async () => {
    await using front = new ZmqFront();
    await using peer = new Peer(front.endpoint);
    peer.send(...envelope, "", "body", "", "more");
    const asked = await front.next();
    assert.deepEqual(hexes(asked.envelope), hexes(envelope.map(toBytes)));
    assert.deepEqual(texts(asked.body), ["body", "", "more"]);
    assert.equal(asked.bytes, 8);
    assert.equal(asked.requestId, undefined);
    assert.equal(asked.deadline, Infinity);
    front.reply(asked, Code.ok, "answer", "", "end");
    const expected = [...envelope, "", "answer", "", "end"].map(toBytes);
    assert.deepEqual(hexes(await peer.receive()), hexes(expected));
    assert.equal(front.frontend.requests.malformed, 0);
    assert.equal(front.inUse, 0);
  });
}

const MALFORMED: [string, Frame[]][] = [
  ["is one frame", ["body"]],
  ["is one empty frame", [""]],
  ["has no empty frame", ["a", "b", "c"]],
  ["ends with the empty frame", ["a", ""]],
  ["has 16 frames before the empty one", [...Array(16).fill("e"), "", "body"]],
  ["has 17 frames before the empty one", [...Array(17).fill("e"), "", "body"]],
  ["has 100 frames and no empty one", Array(100).fill("e")],
  ["has an envelope of 1 KiB and 1 byte", [filled(1025), "", "body"]],
  ["has an envelope that grows beyond 1 KiB", [filled(1000), filled(20), filled(5), "", "body"]],
  ["has a long frame and nothing else", [filled(MAX_MESSAGE)]],
  ["has an empty frame after too many only", [...Array(40).fill("e"), "", "", "", "body"]],
];

for (const [what, frames] of MALFORMED) {
  Deno.test(`ZmqSource drops and counts a message, and reads the next, when it ${what}`, async () => {
    await using front = new ZmqFront();
    await using peer = new Peer(front.endpoint);
    peer.send("", "before");
    peer.send(...frames);
    peer.send("mark", "", "after");
    assert.equal(await front.nextBody(), "before");
    const after = await front.next();
    assert.deepEqual(texts(after.body), ["after"]);
    assert.deepEqual(hexes(after.envelope), hexes([bytes("mark")]));
    assert.equal(front.frontend.requests.malformed, 1);
    assert.deepEqual(front.gone, []);
    assert.equal(front.frontend.known.size, 1);
  });
}

Deno.test("ZmqSource takes a body of one empty frame for a request", async () => {
  await using front = new ZmqFront();
  await using peer = new Peer(front.endpoint);
  peer.send("", "");
  const asked = await front.next();
  assert.deepEqual(texts(asked.body), [""]);
  assert.equal(asked.bytes, 0);
  front.reply(asked, Code.ok, "");
  assert.deepEqual(await peer.receiveText(), ["", ""]);
});

Deno.test("ZmqSource takes the first empty frame for the envelope's end when there are several", async () => {
  await using front = new ZmqFront();
  await using peer = new Peer(front.endpoint);
  peer.send("id", "", "", "", "body");
  const asked = await front.next();
  assert.deepEqual(hexes(asked.envelope), hexes([bytes("id")]));
  assert.deepEqual(texts(asked.body), ["", "", "body"]);
});

Deno.test("ZmqSource sorts messages out when well-formed and other ones come at random", async () => {
  const seed = Math.floor(Math.random() * 2 ** 31) + 1;
  const random = randomNumbers(seed);
  const MESSAGES = 1000;
  await using front = new ZmqFront();
  await using peer = new Peer(front.endpoint);
  const expected: string[] = [];
  let malformed = 0;
  for (let index = 0; index < MESSAGES; index++) {
    const sizes = Array.from({ length: 1 + random(20) }, () => random(3) * random(150));
    const frames = sizes.map((size) => filled(size, 1 + random(255)));
    peer.send(...frames);
    const end = sizes.indexOf(0);
    const size = sizes.slice(0, Math.max(0, end)).reduce((sum, one) => sum + one, 0);
    if (end < 0 || end > 15 || end === sizes.length - 1 || size > 1024) malformed++;
    else {
      const body = frames.slice(end + 1);
      const tooLarge = body.reduce((sum, { length }) => sum + length, 0) > MAX_MESSAGE;
      expected.push([...hexes(frames.slice(0, end)), "/", ...tooLarge ? [] : hexes(body)].join());
    }
  }
  await until("all are read", () => {
    front.read();
    return front.requests.length + front.frontend.requests.malformed >= MESSAGES;
  });
  const read = front.requests.map(({ envelope, body, excess }) =>
    [...hexes(envelope), "/", ...excess === undefined ? hexes(body.toFrames()) : []].join()
  );
  assert.deepEqual(read, expected, `Seed ${seed}`);
  assert.equal(front.frontend.requests.malformed, malformed, `Seed ${seed}`);
});

Deno.test("ZmqSource knows our client's requests by their header, wherever they were sent through", async () => {
  await using front = new ZmqFront();
  await using peer = new Peer(front.endpoint);
  const header = buildRequestHeader({
    id: 2 ** 40,
    timeout: 250,
    requestTimeout: 40,
    key: "one",
  });
  const sentAt = performance.now();
  peer.send("hop", header, "", "body");
  const asked = await front.next();
  const readAt = performance.now();
  assert.equal(asked.requestId, 2 ** 40);
  assert.ok(asked.deadline >= sentAt + 250 && asked.deadline <= readAt + 250);
  assert.equal(asked.requestTimeout, 40);
  assert.equal(asked.key, "one");
  assert.deepEqual(hexes(asked.envelope), hexes([bytes("hop"), header]));
  front.reply(asked, Code.ok, "yes");
  const frames = await peer.receive();
  assert.deepEqual(
    hexes(frames),
    hexes([bytes("hop"), header, EMPTY_FRAME, buildStatus(200), bytes("yes")]),
  );
});

Deno.test("ZmqSource takes a request for a plain one when a header is not the last envelope frame", async () => {
  await using front = new ZmqFront();
  await using peer = new Peer(front.endpoint);
  const header = buildRequestHeader({ id: 1, timeout: 250 });
  peer.send(header, "last", "", "body");
  peer.send("", header, "body");
  for (const asked of [await front.next(), await front.next()]) {
    assert.equal(asked.requestId, undefined);
    assert.equal(asked.deadline, Infinity);
  }
});

Deno.test("ZmqSource tells of a request that is taken back, and keeps nothing of the message", async () => {
  await using front = new ZmqFront();
  await using peer = new Peer(front.endpoint);
  const header = buildRequestHeader({ type: "cancel", id: 7 });
  peer.send("hop", header, "", "");
  peer.send("hop", header, "", "whatever", filled(1000));
  peer.send("", "plain");
  const asked = await front.next();
  assert.equal(front.cancelled.length, 2);
  for (const { client, requestId, envelope } of front.cancelled) {
    assert.equal(client, asked.client);
    assert.equal(requestId, 7);
    assert.deepEqual(hexes(envelope), hexes([bytes("hop"), header]));
  }
  assert.equal(front.inUse, 0);
});

Deno.test("ZmqSource knows the fields of a header, and who asks which version is known", async () => {
  await using front = new ZmqFront();
  await using peer = new Peer(front.endpoint);
  const question = buildRequestHeader({ type: "cancel", id: 8 });
  peer.send(question, "", VERSION_QUESTION);
  peer.send(buildRequestHeader({ id: 9, service: "mail", key: "k" }), "", "body");
  const asked = await front.next();
  assert.deepEqual([asked.requestId, asked.service, asked.key, asked.fault], [9, "mail", "k", ""]);
  assert.deepEqual(front.questions.map(({ requestId }) => requestId), [8]);
  assert.deepEqual(front.cancelled, []);
});

// Sizes

Deno.test("ZmqSource gives a body up and tells its size when it is too large over several frames", async () => {
  await using front = new ZmqFront();
  await using peer = new Peer(front.endpoint);
  peer.send("a", "", filled(MAX_MESSAGE - 1), filled(1));
  peer.send("b", "", filled(MAX_MESSAGE), filled(1));
  peer.send("c", "", filled(1), filled(MAX_MESSAGE), filled(5), filled(700));
  peer.send("d", "", filled(MAX_MESSAGE + 1));
  peer.send("e", "", "small");
  const asked = [];
  for (let index = 0; index < 5; index++) asked.push(await front.next());
  assert.deepEqual(asked.map(({ bytes }) => bytes), [1000, 1001, 1706, 1001, 5]);
  assert.deepEqual(asked.map(({ body }) => body.size), [1000, 0, 0, 0, 5]);
  const names = asked.map(({ envelope }) => text(envelope[0])).join("");
  assert.equal(names, "abcde");
  assert.equal(front.frontend.requests.malformed, 0);
  assert.equal(front.inUse, 0);
});

Deno.test("ZmqSource keeps no more than the limit when a body of many small frames is too large", async () => {
  await using front = new ZmqFront();
  await using peer = new Peer(front.endpoint);
  peer.send("", ...Array(3000).fill("x"));
  peer.send("", "after");
  assert.equal((await front.next()).bytes, 3000);
  assert(front.messages.peak < MAX_FRAMES + 10, `${front.messages.peak} messages`);
  const after = await front.next();
  assert.deepEqual(texts(after.body), ["after"]);
  assert.equal(front.inUse, 0);
});

Deno.test("ZmqSource gives a body up and tells its frames when they are too many", async () => {
  await using front = new ZmqFront();
  await using peer = new Peer(front.endpoint);
  peer.send("a", "", ...Array(MAX_FRAMES).fill(""));
  peer.send("b", "", ...Array(MAX_FRAMES + 1).fill(""));
  peer.send("c", "", ...Array(3 * MAX_FRAMES).fill("xy"));
  const [most, ...others] = [await front.next(), await front.next(), await front.next()];
  assert.deepEqual([most.body.frames, most.excess], [MAX_FRAMES, undefined]);
  assert.deepEqual(others.map(({ body, excess }) => [body.size, excess]), [
    [0, "The body must have at most 100 frames: it has 101"],
    [0, "The body must have at most 100 frames: it has 300"],
  ]);
  assert.equal(front.inUse, 0);
});

Deno.test("ZmqSource reads a message of very many frames in parts, and all of it before the next", async () => {
  const FRAMES = 35_000;
  await using front = new ZmqFront();
  await using peer = new Peer(front.endpoint);
  peer.send("long", "", ...Array(FRAMES).fill(""));
  peer.send(...Array(FRAMES).fill("no request"));
  peer.send("short", "", "after");
  let parts = 0;
  await until("all is read", () => {
    // A part that is not the last one ends the turn, though there is more.
    while (front.frontend.requests.read(0));
    if (front.frontend.port.readable()) parts++;
    return front.requests.length === 2;
  });
  const [long, short] = front.requests;
  assert.equal(long?.excess, `The body must have at most 100 frames: it has ${FRAMES}`);
  assert.deepEqual(texts(short?.body), ["after"]);
  assert.equal(front.frontend.requests.malformed, 1);
  assert(parts >= 6, `${parts} parts`);
  assert(front.messages.peak < MAX_FRAMES + 10, `${front.messages.peak} messages`);
  assert.equal(front.inUse, 0);
});

Deno.test("ZmqSource serves others when a peer sends a frame far beyond the limit", async () => {
  await using front = new ZmqFront();
  await using peer = new Peer(front.endpoint);
  await using other = new Peer(front.endpoint);
  peer.send("", "first");
  assert.equal(await front.nextBody(), "first");
  peer.send("", filled(MAX_MESSAGE * 3 + 1024));
  await until("the connection is closed", () => {
    front.read();
    return front.gone.length === 1;
  });
  other.send("", "hello");
  assert.equal(await front.nextBody(), "hello");
  assert.equal(front.frontend.requests.malformed, 0);
});

// Clients

const IDENTITIES: [string, Bytes, string][] = [
  ["is a control word", bytes("waiting"), "waiting"],
  ["has 1 byte", bytes("x"), "x"],
  ["has 255 bytes", filled(255), "a".repeat(255)],
  ["is multi-byte text", bytes("日本語"), "日本語"],
  ["has 5 bytes, as libzmq's own have", bytes("abcde"), "abcde"],
];

for (const [what, identity, name] of IDENTITIES) {
  Deno.test(`ZmqSource answers a client and knows its name when its identity ${what}`, async () => {
    await using front = new ZmqFront();
    await using peer = new Peer(front.endpoint, { identity });
    await using other = new Peer(front.endpoint);
    other.send("", "from the other");
    const first = await front.next();
    peer.send("", "from the one");
    const asked = await front.next();
    assert.deepEqual(hexes([front.frontend.known.routingId(asked.client.peer)]), hexes([identity]));
    const header = parseJob(asked.client.peer.header).client;
    assert.equal(header.identity, name);
    assert.equal(header.address, "127.0.0.1");
    front.reply(asked, Code.ok, "to the one");
    front.reply(first, Code.ok, "to the other");
    assert.deepEqual(await peer.receiveText(), ["", "to the one"]);
    assert.deepEqual(await other.receiveText(), ["", "to the other"]);
  });
}

Deno.test("ZmqSource tells clients apart when they have no identity", async () => {
  await using front = new ZmqFront();
  await using a = new Peer(front.endpoint);
  await using b = new Peer(front.endpoint);
  a.send("", "a");
  const fromA = await front.next();
  b.send("", "b");
  const fromB = await front.next();
  a.send("", "a again");
  const again = await front.next();
  assert.notEqual(fromA.client, fromB.client);
  assert.equal(fromA.client, again.client);
  assert.equal(parseJob(fromA.client.peer.header).client.identity, "");
  assert.equal(front.frontend.known.size, 2);
  front.reply(fromB, Code.ok, "B");
  front.reply(again, Code.ok, "A");
  assert.deepEqual(await a.receiveText(), ["", "A"]);
  assert.deepEqual(await b.receiveText(), ["", "B"]);
});

Deno.test("ZmqSource knows no address when a client comes over ipc", async () => {
  using folder = new Folder();
  await using front = new ZmqFront({ endpoint: `ipc://${folder.path}/front` });
  await using peer = new Peer(front.endpoint, { identity: "me" });
  peer.send("", "body");
  const { identity, address } = parseJob((await front.next()).client.peer.header).client;
  assert.deepEqual([identity, address], ["me", ""]);
});

Deno.test("ZmqSource forgets a client and tells of it when its connection ends", async () => {
  await using front = new ZmqFront();
  await using stays = new Peer(front.endpoint);
  stays.send("", "stays");
  await front.next();
  const peer = new Peer(front.endpoint);
  peer.send("", "leaves");
  const asked = await front.next();
  assert.equal(front.frontend.known.size, 2);
  await peer[Symbol.asyncDispose]();
  await until("it is told", () => {
    front.read();
    return front.gone.length > 0;
  });
  assert.deepEqual(front.gone, [asked.client.peer]);
  assert.equal(front.frontend.known.size, 1);
  assert.equal(front.frontend.requests.malformed, 0);
});

Deno.test("ZmqSource tells of no client when one connects and leaves without a request", async () => {
  await using front = new ZmqFront();
  await using last = new Peer(front.endpoint);
  const silent = new Peer(front.endpoint);
  const noisy = new Peer(front.endpoint);
  noisy.send("no request");
  await until("the noise is counted", () => {
    front.read();
    return front.frontend.requests.malformed === 1;
  });
  await silent[Symbol.asyncDispose]();
  await noisy[Symbol.asyncDispose]();
  last.send("", "last");
  assert.equal(await front.nextBody(), "last");
  assert.deepEqual(front.gone, []);
  assert.equal(front.frontend.requests.malformed, 1);
  assert.equal(front.frontend.known.size, 1);
});

Deno.test("ZmqSource takes a client for a new one when it comes back with the same identity", async () => {
  await using front = new ZmqFront();
  const before = new Peer(front.endpoint, { identity: "me" });
  before.send("", "before");
  const first = await front.next();
  await before[Symbol.asyncDispose]();
  await front.left(first);
  await using after = new Peer(front.endpoint, { identity: "me" });
  after.send("", "after");
  const second = await front.next();
  assert.notEqual(second.client, first.client);
  assert.equal(front.frontend.known.size, 1);
});

Deno.test("ZmqSource counts a reply as undelivered when its client has left", async () => {
  await using front = new ZmqFront();
  const peer = new Peer(front.endpoint);
  peer.send("", "leaves");
  const asked = await front.next();
  await peer[Symbol.asyncDispose]();
  await front.left(asked);
  front.reply(asked, Code.ok, "too late");
  front.frontend.replies.replyError(asked, Code.workerDied, 0, "too late", 0);
  assert.equal(front.frontend.replies.undelivered, 3);
  assert.equal(front.frontend.replies.hasUnsent, false);
  assert.equal(front.frontend.replies.waiting, 0);
  assert.equal(front.inUse, 0);
});

// Errors

Deno.test("ZmqSource answers a plain request with an empty frame and a text when it failed", async () => {
  await using front = new ZmqFront();
  await using peer = new Peer(front.endpoint);
  peer.send("hop", "", "body");
  const asked = await front.next();
  front.frontend.replies.replyError(asked, Code.expired, 0, "日本: too late", 0);
  front.reply(asked, Code.handlerFailed, "by a worker");
  for (const expected of ["408 日本: too late", "500 by a worker"]) {
    const [hop, delimiter, ...body] = await peer.receive();
    assert.deepEqual([text(hop), text(delimiter)], ["hop", ""]);
    assert.deepEqual(body.map(text), ["", expected]);
    assert.equal(parseErrorText(body)?.code, Number(expected.slice(0, 3)));
  }
  assert.equal(front.inUse, 0);
});

Deno.test("ZmqSource answers a request that has a header with status and message when it failed", async () => {
  await using front = new ZmqFront();
  await using peer = new Peer(front.endpoint);
  const header = buildRequestHeader({ id: 7, timeout: 0 });
  peer.send(header, "", "body");
  const asked = await front.next();
  front.frontend.replies.replyError(asked, Code.tooLarge, 0, "Too large", 0);
  front.reply(asked, Code.handlerFailed, "by a worker");
  for (const [code, message] of [[413, "Too large"], [500, "by a worker"]] as const) {
    const [echo, delimiter, status, ...body] = await peer.receive();
    assert.deepEqual(
      hexes([echo ?? EMPTY_FRAME, delimiter ?? header]),
      hexes([header, EMPTY_FRAME]),
    );
    assert.equal(parseStatus(status ?? EMPTY_FRAME), code);
    assert.deepEqual(body.map(text), [message]);
  }
  assert.equal(front.inUse, 0);
});

Deno.test("ZmqSource answers with an error when the message is empty", async () => {
  await using front = new ZmqFront();
  await using peer = new Peer(front.endpoint);
  peer.send("", "body");
  front.frontend.replies.replyError(await front.next(), Code.unavailable, 0, "", 0);
  assert.deepEqual(
    hexes(await peer.receive()),
    hexes([EMPTY_FRAME, EMPTY_FRAME, buildErrorText(503, "")]),
  );
});

Deno.test("ZmqSource carries an answer untouched when it equals an error reply", async () => {
  await using front = new ZmqFront();
  await using peer = new Peer(front.endpoint);
  peer.send("", "body");
  front.reply(await front.next(), Code.ok, "", "503 no");
  assert.deepEqual(await peer.receiveText(), ["", "", "503 no"]);
});

// Slow clients

const REPLIES = 4000;
const REPLY_SIZE = 1000;

function numbered(index: number): Bytes {
  const body = filled(REPLY_SIZE);
  new DataView(body.buffer).setUint32(0, index);
  return body;
}

function numberOf(frames: readonly Bytes[]): number {
  const body = frames.at(-1) ?? filled(4);
  return new DataView(body.buffer).getUint32(0);
}

/** A client that has asked over ipc, where little fits between, and reads nothing until it is told. */
async function slowClient(front: ZmqFront): Promise<{ socket: PlainSocket; asked: Asked }> {
  const socket = new PlainSocket(front.endpoint, { type: "DEALER" });
  socket.send("hop", "", "body");
  return { socket, asked: await front.next() };
}

/**
 * Closes a slow client and waits until its leave is noticed: libzmq 4.3.5 may never end a context whose
 * ROUTER is closed in the very moment in which it loses a peer that has not read.
 */
function leaving(front: ZmqFront, socket: PlainSocket, asked: Asked): AsyncDisposable {
  const leave = async () => {
    await socket[Symbol.asyncDispose]();
    await until(
      "its leave is noticed",
      () => (front.read(), front.gone.includes(asked.client.peer)),
    );
  };
  return { [Symbol.asyncDispose]: leave };
}

Deno.test("ZmqSource drops nothing and keeps the order when a client does not read for long", async () => {
  using folder = new Folder();
  await using front = new ZmqFront({ endpoint: `ipc://${folder.path}/front` });
  const { socket, asked } = await slowClient(front);
  await using _slow = leaving(front, socket, asked);
  for (let index = 0; index < REPLIES; index++) front.reply(asked, Code.ok, numbered(index));
  assert.equal(front.frontend.replies.hasUnsent, true);
  assert(front.frontend.replies.waiting > 500, `Only ${front.frontend.replies.waiting} wait`);
  assert(front.frontend.replies.unread > front.frontend.replies.waiting * REPLY_SIZE);
  front.flush();
  await using other = new Peer(front.endpoint);
  other.send("", "quick");
  const quick = await front.next();
  front.reply(quick, Code.ok, "not held up");
  assert.deepEqual(await other.receiveText(), ["", "not held up"]);
  const read = await readAll(front, socket, REPLIES);
  assert.deepEqual(read.map(numberOf), Array.from({ length: REPLIES }, (_, index) => index));
  assert.deepEqual(read[REPLIES - 1]?.slice(0, 2).map(text), ["hop", ""]);
  assert.equal(front.frontend.replies.hasUnsent, false);
  assert.equal(front.frontend.replies.waiting, 0);
  assert.equal(front.frontend.replies.undelivered, 0);
  assert.equal(front.inUse, 0);
});

/** Flushes until a client that does not read has taken all that fits between. */
async function settled(front: ZmqFront): Promise<void> {
  let calm = 0;
  await until("nothing more goes out", () => {
    const before = front.frontend.replies.waiting;
    front.flush();
    calm = front.frontend.replies.waiting === before ? calm + 1 : 0;
    return calm === 10;
  });
}

/** Flushes once more than 30 s have passed, again if the client took something even then. */
async function givenUp(front: ZmqFront): Promise<void> {
  await until("what waits is given up", () => {
    front.now += 1;
    const replies = front.frontend.replies.waiting;
    front.flush();
    if (front.frontend.replies.waiting > 0) front.now += 30_000;
    else assert.equal(front.frontend.replies.undelivered, replies);
    return front.frontend.replies.waiting === 0;
  });
}

/** Has the client read so many replies, while the frontend flushes as the loop does. */
async function readAll(front: ZmqFront, socket: PlainSocket, count: number): Promise<Bytes[][]> {
  const read: Bytes[][] = [];
  const flushed = until("the client has read all", () => {
    if (front.frontend.replies.hasUnsent) front.flush();
    return read.length === count;
  });
  while (read.length < count) read.push(await socket.receive());
  await flushed;
  return read;
}

Deno.test("ZmqSource keeps errors in their place when a client does not read for long", async () => {
  using folder = new Folder();
  await using front = new ZmqFront({ endpoint: `ipc://${folder.path}/front` });
  const { socket, asked } = await slowClient(front);
  await using _slow = leaving(front, socket, asked);
  for (let index = 0; index < REPLIES; index++) front.reply(asked, Code.ok, numbered(index));
  const waiting = front.frontend.replies.waiting;
  front.frontend.replyError(asked, Code.expired, 0, "in its place", 0);
  front.reply(asked, Code.ok, numbered(REPLIES));
  assert.equal(front.frontend.replies.waiting, waiting + 2);
  const read = await readAll(front, socket, REPLIES + 2);
  assert.equal(numberOf(read[REPLIES - 1] ?? []), REPLIES - 1);
  assert.deepEqual(read[REPLIES]?.map(text), ["hop", "", "", "408 in its place"]);
  assert.equal(numberOf(read[REPLIES + 1] ?? []), REPLIES);
});

Deno.test("ZmqSource gives up what waits and counts it when a slow client leaves", async () => {
  using folder = new Folder();
  await using front = new ZmqFront({ endpoint: `ipc://${folder.path}/front` });
  const { socket, asked } = await slowClient(front);
  for (let index = 0; index < REPLIES; index++) front.reply(asked, Code.ok, numbered(index));
  const waiting = front.frontend.replies.waiting;
  await socket[Symbol.asyncDispose]();
  await until("it is told", () => {
    front.read();
    return front.gone.length > 0;
  });
  assert.equal(front.frontend.replies.hasUnsent, false);
  assert.equal(front.frontend.replies.undelivered, waiting);
  assert.equal(front.frontend.replies.waiting, 0);
  front.flush();
  assert.equal(front.frontend.replies.undelivered, waiting);
  assert.equal(front.inUse, 0);
});

Deno.test("ZmqSource gives up what waits when a client has taken nothing for 30 s", async () => {
  using folder = new Folder();
  await using front = new ZmqFront({ endpoint: `ipc://${folder.path}/front` });
  const { socket, asked } = await slowClient(front);
  await using _slow = leaving(front, socket, asked);
  front.now = 1_000_000;
  for (let index = 0; index < REPLIES; index++) front.reply(asked, Code.ok, numbered(index));
  await settled(front);
  front.now += 30_000;
  front.flush();
  assert.equal(front.frontend.replies.undelivered, 0);
  await givenUp(front);
  assert.equal(front.frontend.replies.waiting, 0);
  assert.equal(front.frontend.replies.hasUnsent, false);
  assert.equal(front.inUse, 0);
});

Deno.test("ZmqSource counts the 30 s from when a slow client last took something", async () => {
  using folder = new Folder();
  await using front = new ZmqFront({ endpoint: `ipc://${folder.path}/front` });
  const { socket, asked } = await slowClient(front);
  await using _slow = leaving(front, socket, asked);
  front.now = 1_000_000;
  for (let index = 0; index < REPLIES; index++) front.reply(asked, Code.ok, numbered(index));
  await settled(front);
  const before = front.frontend.replies.waiting;
  front.now += 20_000;
  for (let index = 0; index < 1500; index++) await socket.receive();
  await until("it has taken some", () => {
    front.flush();
    return front.frontend.replies.waiting < before;
  });
  await settled(front);
  front.now += 30_000;
  front.flush();
  assert.equal(front.frontend.replies.undelivered, 0);
  await givenUp(front);
});

// Backend

/** A ZmqLane, and what it told of. */
class Back {
  readonly #context = new Context(library);
  readonly messages = new StrictPool(library);
  readonly backend: ZmqLane;
  readonly endpoint: string;
  readonly workers: Worker<Body>[] = [];
  /** All but replies, as text. */
  readonly events: string[] = [];
  readonly replies: { worker: Worker<Body>; reply: ReplyHeader; body: Body }[] = [];
  /** Which tokens are good. */
  tokens = new Set(["token 1", "token 2"]);

  /** Bytes of a line for the log that are too many. */
  lineLimit = Infinity;

  constructor() {
    const bounds = { maxFrames: MAX_FRAMES, maxMessageSize: 1_000_000, ipv6: false };
    this.backend = new ZmqLane(this.#context, this.messages, bounds, {
      expects: () => true,
      admit: (token) => this.#admit(token),
      reply: (worker, reply, content) =>
        this.replies.push({ worker, reply: { ...reply }, body: keep(content, pool) }),
      part: (worker, job, content) => this.#noteShare("part", worker, job, content),
      question: () => {},
      publish: () => {},
      withdrawn: () => {},
      progress: (worker, job, content) => this.#noteShare("progress", worker, job, content),
      alive: (worker) => this.events.push(`alive ${worker.id}`),
      returned: (worker, job) => this.events.push(`returned ${job} by ${worker.id}`),
      retiring: (worker) => this.events.push(`retiring ${worker.id}`),
      gone: (worker, end) => this.events.push(`gone ${worker.id} ${end}`),
      loaded: (token) => {
        this.events.push(`loaded ${token}`);
        return this.tokens.has(token);
      },
      failed: (token, message) => {
        this.events.push(`failed ${token}: ${message}`);
        return this.tokens.delete(token);
      },
      memory: (worker, bytes) => this.events.push(`memory ${worker.id} ${bytes}`),
      mayLog: (_, bytes) => bytes < this.lineLimit,
      log: (worker, { level, message, fields, job }) => {
        const more = [...job === 0 ? [] : [`job=${job}`], ...Object.entries(fields).flat()];
        this.events.push([`log ${worker.id} ${level}: ${message}`, ...more].join(" "));
      },
    });
    this.endpoint = this.backend.bind(TCP);
  }

  #noteShare(what: string, worker: Worker<Body>, job: number, content: Content): void {
    const frames = keep(content, pool).toFrames().map(({ length }) => length);
    this.events.push(`${what} of ${job} by ${worker.id}: ${frames}`);
  }

  #admit(token: string): Worker<Body> | undefined {
    this.events.push(`admit ${token}`);
    if (!this.tokens.delete(token)) return undefined;
    const worker = newWorker<Body>(this.workers.length + 1, 0);
    this.workers.push(worker);
    return worker;
  }

  read(): void {
    while (this.backend.read(0) > 0 || this.backend.isReadable());
  }

  /** Reads until `look` is satisfied. */
  async until(what: string, look: () => boolean): Promise<void> {
    await until(what, () => {
      this.read();
      return look();
    });
  }

  /** Brings a worker that has said READY with a token that is good. */
  async worker(): Promise<{ peer: Peer; worker: Worker<Body> }> {
    const count = this.workers.length;
    const peer = new Peer(this.endpoint);
    peer.send(ready(`token ${count + 1}`));
    await this.until("the worker is admitted", () => this.workers.length > count);
    const worker = this.workers[count];
    assert(worker);
    this.events.length = 0;
    return { peer, worker };
  }

  /** Reads until a peer's last word has come: a log line that the test has it say. */
  async after(peer: Peer): Promise<void> {
    const before = this.events.length;
    peer.send(buildLog("debug"), "last word");
    await this.until(
      "the last word is here",
      () => this.events.slice(before).some((event) => event.endsWith("debug: last word")),
    );
    this.events.pop();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.backend.close();
    await this.#context.terminate();
  }
}

function ready(token: string): Bytes {
  return new Uint8Array([FromWorker.READY, ...bytes(token)]);
}

function parseJob(header: Bytes): JobHeader {
  const reader = new JobReader();
  reader.bytes.set(header);
  return reader.read(header.length);
}

function reply(job: number, code: number, micros: number, frames = 1): Bytes {
  const frame = new Uint8Array(REPLY_BYTES);
  writeReply(new DataView(frame.buffer), { job, code, micros, frames });
  return frame;
}

const pool = new BodyPool();

function jobFor(
  frames: Frame[],
  { id = 1, deadline = Infinity, deaths = 0, bytes = 0, client = clientNamed("me") } = {},
): Job<Body> {
  const body = bodyWith(pool, ...frames.map(toBytes));
  const plain = { envelope: [], requestId: undefined, requestTimeout: Infinity, key: "" };
  const job = newJob(id, { ...plain, client, body, bytes, deadline });
  job.deaths = deaths;
  return job;
}

function clientNamed(identity: string): Client<Body> {
  return newPeer<Body>(1, buildJobHeader(identity, "127.0.0.1", "")).home;
}

Deno.test("ZmqLane asks whose a token is when a peer says READY, and hears it from then on", async () => {
  await using back = new Back();
  await using peer = new Peer(back.endpoint, { identity: "waiting" });
  peer.send(ready("token 1"));
  await back.until("it is admitted", () => back.workers.length === 1);
  assert.deepEqual(back.events, ["admit token 1"]);
  back.events.length = 0;
  peer.send(buildSignal(FromWorker.RETIRE));
  await back.after(peer);
  assert.deepEqual(back.events, ["retiring 1"]);
  assert.equal(back.backend.intruders, 0);
});

Deno.test("ZmqLane drops and counts what a peer says when its token is unknown", async () => {
  await using back = new Back();
  await using intruder = new Peer(back.endpoint);
  intruder.send(ready("guessed"));
  intruder.send(reply(1, 200, 1), "stolen");
  intruder.send(buildSignal(FromWorker.LEAVING));
  intruder.send(buildJobSignal(FromWorker.RETURN, 1, 0));
  intruder.send(buildLog("error"), "noise");
  await back.until("all is counted", () => back.backend.intruders === 5);
  assert.deepEqual(back.events, ["admit guessed"]);
  assert.deepEqual(back.replies, []);
  const { peer } = await back.worker();
  await using _peer = peer;
  await back.after(peer);
  assert.equal(back.backend.intruders, 5);
});

Deno.test("ZmqLane drops and counts a READY when the token was used before", async () => {
  await using back = new Back();
  const { peer } = await back.worker();
  await using _peer = peer;
  await using thief = new Peer(back.endpoint);
  thief.send(ready("token 1"));
  await back.until("it is counted", () => back.backend.intruders === 1);
  assert.equal(back.workers.length, 1);
});

Deno.test("ZmqLane drops and counts a second READY when a worker says it", async () => {
  await using back = new Back();
  const { peer } = await back.worker();
  await using _peer = peer;
  peer.send(ready("token 1"));
  peer.send(ready("token 2"));
  await back.after(peer);
  assert.deepEqual(back.events, []);
  assert.equal(back.backend.intruders, 2);
  assert.equal(back.workers.length, 1);
  peer.send(reply(4, 200, 5), "still heard");
  await back.until("its reply is here", () => back.replies.length === 1);
});

Deno.test("ZmqLane hands a reply over with all its frames when a worker answers", async () => {
  await using back = new Back();
  const { peer: first, worker } = await back.worker();
  await using _first = first;
  const { peer: second, worker: other } = await back.worker();
  await using _second = second;
  first.send(reply(2 ** 40, 200, 77, 3), "one", "", "three");
  await back.until("the first is here", () => back.replies.length === 1);
  second.send(reply(3, 500, 0), "");
  await back.until("the second is here", () => back.replies.length === 2);
  const [one, two] = back.replies;
  assert.equal(one?.worker, worker);
  assert.deepEqual(one?.reply, { job: 2 ** 40, code: 200, flags: 0, micros: 77, frames: 3 });
  assert.deepEqual(texts(one?.body), ["one", "", "three"]);
  assert.equal(two?.worker, other);
  assert.deepEqual(two?.reply, { job: 3, code: 500, flags: 0, micros: 0, frames: 1 });
  assert.deepEqual(texts(two?.body), [""]);
});

Deno.test("ZmqLane answers 500 in place of a worker whose reply has too many frames, or bytes", async () => {
  const FRAMES = 35_000;
  await using back = new Back();
  const { peer } = await back.worker();
  await using _peer = peer;
  peer.send(reply(1, 200, 5, FRAMES), ...Array(FRAMES).fill(""));
  peer.send(reply(2, 200, 5, 2), filled(1_000_000), filled(65_537));
  peer.send(reply(3, 200, 5, MAX_FRAMES), ...Array(MAX_FRAMES).fill(""));
  let parts = 0;
  await until("all are here", () => {
    while (back.backend.read(0) > 0);
    if (back.backend.port.readable()) parts++;
    return back.replies.length === 3;
  });
  assert.deepEqual(
    back.replies.map(({ reply, body }) => [reply.job, reply.code, body.frames]),
    [[1, 500, 1], [2, 500, 1], [3, 200, MAX_FRAMES]],
  );
  assert.deepEqual(back.replies.slice(0, 2).map(({ body }) => texts(body)), [
    [`The reply must have at most ${MAX_FRAMES} frames: it has ${FRAMES}`],
    ["The reply must have at most 1000000 bytes: it has 1065537"],
  ]);
  assert(parts >= 3, `${parts} parts`);
  assert(back.messages.peak < 2 * MAX_FRAMES, `${back.messages.peak} messages`);
});

for (const end of [[], [""]]) {
  const closed = end.length > 0 ? "an empty frame closes it" : "nothing is behind them";
  Deno.test(`ZmqLane reads all replies of one message when ${closed}`, async () => {
    await using back = new Back();
    const { peer } = await back.worker();
    await using _peer = peer;
    peer.send(reply(1, 200, 5, 2), "a", "b", reply(2, 500, 6), "no", reply(3, 200, 7), "", ...end);
    await back.until("they come", () => back.replies.length === 3);
    assert.deepEqual(back.replies.map(({ reply, body }) => [reply.job, ...texts(body)]), [
      [1, "a", "b"],
      [2, "no"],
      [3, ""],
    ]);
    await back.after(peer);
    assert.equal(back.backend.intruders, 0);
  });
}

const TAILS: [string, Frame[]][] = [
  ["more frames than it says", ["more"]],
  ["something else", [buildSignal(FromWorker.RETIRE), "more"]],
  ["an empty frame and more", ["", "more"]],
  ["a REPLY of too few frames", [reply(2, 200, 1, 2), "one"]],
];

for (const [what, frames] of TAILS) {
  Deno.test(`ZmqLane takes a reply, and drops and counts the rest, when ${what} follows`, async () => {
    await using back = new Back();
    const { peer } = await back.worker();
    await using _peer = peer;
    peer.send(reply(1, 200, 1), "body", ...frames);
    await back.after(peer);
    assert.deepEqual(back.replies.map(({ body }) => texts(body)), [["body"]]);
    assert.deepEqual(back.events, []);
    assert.equal(back.backend.intruders, 1);
  });
}

const WRONG: [string, Frame[]][] = [
  ["it is empty, as libzmq's own notices are", [""]],
  ["it is two empty frames", ["", ""]],
  ["a REPLY has no body", [reply(1, 200, 1)]],
  ["a REPLY is a byte short", [reply(1, 200, 1).subarray(1), "body"]],
  ["a REPLY is cut", [reply(1, 200, 1, 2).slice(0, REPLY_BYTES - 1), "body", "more"]],
  ["a REPLY is too long", [new Uint8Array([...reply(1, 200, 1, 2), 0]), "body", "more"]],
  ["a REPLY has fewer frames than it says", [reply(1, 200, 1, 3), "body", "more"]],
  ["a REPLY says that it has none", [reply(1, 200, 1, 0), "body"]],
  ["a REPLY has 10,000 bytes", [new Uint8Array([2, ...filled(10_000)]), "body", "more"]],
  ["a RETURN is cut", [buildJobSignal(FromWorker.RETURN, 1, 0).slice(0, 11)]],
  ["a RETURN is too long", [new Uint8Array([...buildJobSignal(FromWorker.RETURN, 1, 0), 0])]],
  ["a LOG has no message", [buildLog("info")]],
  ["a MEMORY is too short", [buildMemory(1).slice(0, 7)]],
  ["a LOG has no level", [new Uint8Array([FromWorker.LOG]), "message"]],
  ["a LOG is too short", [buildLog("info").slice(0, 11), "message"]],
  ["a LOG is too long", [new Uint8Array([...buildLog("info"), 0]), "message"]],
  ["a RETIRE is too long", [new Uint8Array([FromWorker.RETIRE, 0])]],
  ["a LEAVING is too long", [new Uint8Array([FromWorker.LEAVING, 0])]],
  ["a type is unknown", [new Uint8Array([99])]],
  ["a type is unknown and much follows", [new Uint8Array([99]), ...Array(50).fill("x")]],
  ["a type is 0", [new Uint8Array([0]), "x"]],
  ["it says what only the broker says", [buildJobSignal(FromBroker.CANCEL, 1, 0)]],
  ["FAILED comes from one that is ready", [new Uint8Array([FromWorker.FAILED, 65]), "no"]],
  ["a control frame has 100,000 bytes", [filled(100_000, 99), "x"]],
];

for (const [what, frames] of WRONG) {
  Deno.test(`ZmqLane drops and counts a worker's message, and reads the next, when ${what}`, async () => {
    await using back = new Back();
    const { peer } = await back.worker();
    await using _peer = peer;
    peer.send(...frames);
    await back.after(peer);
    assert.deepEqual(back.events, []);
    assert.deepEqual(back.replies, []);
    assert.equal(back.backend.intruders, 1);
  });
}

for (const type of [FromWorker.RETIRE, FromWorker.LEAVING]) {
  Deno.test(
    `ZmqLane takes an empty frame for no type when type ${type} was said before`,
    async () => {
      await using back = new Back();
      const { peer } = await back.worker();
      await using _peer = peer;
      peer.send(buildSignal(type));
      peer.send("", "body");
      await back.after(peer);
      assert.equal(back.events.length, 1);
      assert.equal(back.backend.intruders, 1);
    },
  );
}

Deno.test("ZmqLane tells what a worker says of itself", async () => {
  await using back = new Back();
  const { peer } = await back.worker();
  await using _peer = peer;
  peer.send(buildJobSignal(FromWorker.RETURN, 2 ** 33, 0));
  peer.send(buildSignal(FromWorker.RETIRE));
  for (const level of ["debug", "info", "warn", "error"] as const) {
    peer.send(buildLog(level), `日本 ${level}`);
  }
  const ofNoLevel = buildLog("info");
  ofNoLevel[1] = 200;
  peer.send(ofNoLevel, "of no level", "no object", "and more");
  peer.send(buildLog("info", 2 ** 40), "of a job", '{"a":1,"b":"x","c":true,"d":{},"e":null}');
  peer.send(buildMemory(50 * 1024));
  peer.send(buildSignal(FromWorker.LEAVING));
  await back.after(peer);
  assert.deepEqual(back.events, [
    `returned ${2 ** 33} by 1`,
    "retiring 1",
    "log 1 debug: 日本 debug",
    "log 1 info: 日本 info",
    "log 1 warn: 日本 warn",
    "log 1 error: 日本 error",
    "log 1 info: of no level",
    `log 1 info: of a job job=${2 ** 40} a 1 b x c true`,
    "memory 1 51200",
    "gone 1 left",
  ]);
  assert.equal(back.backend.intruders, 0);
});

Deno.test("ZmqLane cuts a line for the log when it is too long for one", async () => {
  await using back = new Back();
  const { peer } = await back.worker();
  await using _peer = peer;
  peer.send(buildLog("info"), filled(100_000));
  peer.send(buildLog("info"), "");
  await back.after(peer);
  assert.deepEqual(back.events, [`log 1 info: ${"a".repeat(8192)}`, "log 1 info: "]);
});

Deno.test("ZmqLane skips a line for the log when it is not wanted, and reads what follows", async () => {
  await using back = new Back();
  const { peer } = await back.worker();
  await using _peer = peer;
  back.lineLimit = 100;
  peer.send(buildLog("info"), filled(100), "{}", "more");
  peer.send(buildLog("info"), filled(99), "{}");
  await back.after(peer);
  assert.deepEqual(back.events, [`log 1 info: ${"a".repeat(99)}`]);
  assert.equal(back.backend.intruders, 0);
});

Deno.test("ZmqLane tells of a worker that can't load the handler when it is not ready yet", async () => {
  await using back = new Back();
  await using peer = new Peer(back.endpoint);
  peer.send(new Uint8Array([FromWorker.FAILED, ...bytes("token 1")]), "no such module", "more");
  peer.send(new Uint8Array([FromWorker.FAILED, ...bytes("token 2")]));
  await back.until("both are here", () => back.events.length === 2);
  assert.deepEqual(back.events, ["failed token 1: no such module", "failed token 2: "]);
  assert.equal(back.backend.intruders, 0);
});

Deno.test("ZmqLane tells of a worker that has loaded the handler when it is not ready yet", async () => {
  await using back = new Back();
  await using peer = new Peer(back.endpoint);
  peer.send(new Uint8Array([FromWorker.LOADED, ...bytes("token 1")]));
  peer.send(new Uint8Array([FromWorker.LOADED, ...bytes("guessed")]));
  await back.until("the stranger's is counted", () => back.backend.intruders === 1);
  assert.deepEqual(back.events.slice(0, 2), ["loaded token 1", "loaded guessed"]);
});

Deno.test("ZmqLane drops and counts a stranger's message when it is empty, or tells of a failure", async () => {
  await using back = new Back();
  await using intruder = new Peer(back.endpoint);
  intruder.send("");
  intruder.send(new Uint8Array([FromWorker.FAILED, ...bytes("guessed")]), "a lie");
  await back.until("both are counted", () => back.backend.intruders === 2);
  assert.deepEqual(back.events, ["failed guessed: a lie"]);
});

Deno.test("ZmqLane cuts a token when a stranger's frame is oversize, and reads the next", async () => {
  await using back = new Back();
  await using intruder = new Peer(back.endpoint);
  intruder.send(ready("x".repeat(100_000)), "and", "more");
  await back.until("it is counted", () => back.backend.intruders === 1);
  assert.deepEqual(back.events, [`admit ${"x".repeat(255)}`]);
  const { peer } = await back.worker();
  await using _peer = peer;
});

Deno.test("ZmqLane ends a connection when a frame is far too large, and serves the others", async () => {
  await using back = new Back();
  const { peer } = await back.worker();
  await using _peer = peer;
  const { peer: rogue } = await back.worker();
  await using _rogue = rogue;
  rogue.send(reply(1, 200, 1), filled(2_000_000));
  await back.until("it is told", () => back.events.length > 0);
  assert.deepEqual(back.events, ["gone 2 died"]);
  peer.send(reply(1, 200, 1), filled(1_000_000));
  await back.until("its reply is here", () => back.replies.length === 1);
  assert.equal(back.replies[0]?.body.size, 1_000_000);
});

Deno.test("ZmqLane reads no token of the message before when a stranger's frame is shorter", async () => {
  await using back = new Back();
  await using intruder = new Peer(back.endpoint);
  intruder.send(ready("a long token that is wrong"));
  intruder.send(ready("x"));
  intruder.send(ready(""));
  await back.until("all are counted", () => back.backend.intruders === 3);
  assert.deepEqual(back.events, ["admit a long token that is wrong", "admit x", "admit "]);
});

Deno.test("ZmqLane tells that a worker died when its connection ends, and nothing of strangers", async () => {
  await using back = new Back();
  const stranger = new Peer(back.endpoint);
  const { peer } = await back.worker();
  stranger.send(buildSignal(99));
  await back.until("it is counted", () => back.backend.intruders === 1);
  await stranger[Symbol.asyncDispose]();
  await peer[Symbol.asyncDispose]();
  await back.until("it is told", () => back.events.length > 0);
  assert.deepEqual(back.events, ["gone 1 died"]);
  assert.equal(back.backend.intruders, 1);
});

Deno.test("ZmqLane tells nothing more of a worker when it has left and was forgotten", async () => {
  await using back = new Back();
  const { peer } = await back.worker();
  peer.send(reply(1, 200, 1), "the last");
  await back.until("the reply is here", () => back.replies.length === 1);
  peer.send(buildSignal(FromWorker.LEAVING));
  await back.until("it has left", () => back.events.length === 1);
  const [worker] = back.workers;
  assert(worker);
  back.backend.forget(worker);
  await peer[Symbol.asyncDispose]();
  const { peer: next } = await back.worker();
  await using _next = next;
  await back.after(next);
  assert.deepEqual(back.events, []);
});

Deno.test("ZmqLane takes a worker for a stranger when it was forgotten", async () => {
  await using back = new Back();
  const { peer, worker } = await back.worker();
  await using _peer = peer;
  back.backend.forget(worker);
  peer.send(reply(1, 200, 1), "late");
  await back.until("it is counted", () => back.backend.intruders === 1);
  assert.deepEqual(back.replies, []);
});

Deno.test("ZmqLane sends a job with its header and all frames of its body", async () => {
  await using back = new Back();
  const { peer, worker } = await back.worker();
  await using _peer = peer;
  const job = jobFor(["one", "", "three"], { id: 2 ** 40, deaths: 1, deadline: 1500 });
  const before = Date.now();
  assert.equal(back.backend.send(worker, [job], 1000), 1);
  const [header, ...body] = await peer.receive();
  assert(header);
  const { deadline, ...rest } = parseJob(header);
  assert(Math.abs(deadline - before - 500) < 60_000, "It is a time of the calendar");
  assert.deepEqual(rest, {
    stream: undefined,
    partsSent: 0,
    trace: undefined,
    queuedAt: 0,
    stored: undefined,
    job: 2 ** 40,
    attempt: 2,
    requestTimeout: 0,
    frames: 3,
    client: { identity: "me", address: "127.0.0.1", user: "" },
  });
  assert.deepEqual(body.map(text), ["one", "", "three"]);
});

Deno.test("ZmqLane sends a worker's jobs in one message, and in several when they are large", async () => {
  await using back = new Back();
  const { peer, worker } = await back.worker();
  await using _peer = peer;
  const small = [1, 2, 3].map((id) => jobFor([`${id}`, "end"], { id }));
  assert.equal(back.backend.send(worker, small, 0), 3);
  const message = await peer.receive();
  assert.equal(message.length, 9);
  assert.deepEqual([0, 3, 6].map((at) => parseJob(message[at] ?? EMPTY_FRAME).job), [1, 2, 3]);
  assert.deepEqual(
    [1, 2, 4, 5, 7, 8].map((at) => text(message[at])),
    [..."1e2e3e"].map((c) => {
      return c === "e" ? "end" : c;
    }),
  );
  const large = [4, 5, 6].map((id) => jobFor(["x".repeat(20_000)], { id, bytes: 20_000 }));
  assert.equal(back.backend.send(worker, large, 0), 3);
  assert.equal((await peer.receive()).length, 4);
  assert.equal((await peer.receive()).length, 2);
});

Deno.test("ZmqLane tells a worker until when it may start a job, also if that is past, and 0 for ever", async () => {
  await using back = new Back();
  const { peer, worker } = await back.worker();
  await using _peer = peer;
  const client = clientNamed("me");
  const before = Date.now();
  for (const deadline of [1000.2, 900, Infinity]) {
    back.backend.send(worker, [jobFor(["x"], { deadline, client })], 1000);
    const [header] = await peer.receive();
    assert(header);
    const told = parseJob(header).deadline;
    if (deadline === Infinity) assert.equal(told, 0);
    else assert(told >= before - 100 && told <= Date.now() + 1);
  }
});

Deno.test("ZmqLane keeps a job's body when it was sent, so that it can be sent again", async () => {
  await using back = new Back();
  const { peer, worker } = await back.worker();
  await using _peer = peer;
  const { peer: second, worker: other } = await back.worker();
  await using _second = second;
  const large = filled(100_000, 7);
  const job = jobFor(["small", large]);
  back.backend.send(worker, [job], 0);
  await peer.receive();
  back.backend.send(other, [job], 0);
  const [, small, big] = await second.receive();
  assert.equal(text(small), "small");
  assert.deepEqual(hexes([big ?? EMPTY_FRAME]), hexes([large]));
  assert.deepEqual(job.request.body.sizes, [5, 100_000]);
});

Deno.test("ZmqLane tells of parts and progress among replies, and counts what can't be such", async () => {
  await using back = new Back();
  const { peer } = await back.worker();
  await using _peer = peer;
  const head = (type: number, job: number, frames: number) => {
    const bytes = new Uint8Array(REPLY_BYTES);
    writeReply(new DataView(bytes.buffer), { job, code: 200, micros: 0, frames }, type);
    return bytes;
  };
  peer.send(
    head(FromWorker.PART, 7, 2),
    "ab",
    "",
    head(FromWorker.PROGRESS, 8, 2),
    new Uint8Array(16),
    "note",
    head(FromWorker.REPLY, 7, 1),
    "end",
  );
  peer.send(head(FromWorker.PART, 9, 1));
  peer.send(head(FromWorker.PART, 9, MAX_FRAMES + 1), "x");
  await back.after(peer);
  assert.deepEqual(back.events, ["part of 7 by 1: 2,0", "progress of 8 by 1: 16,4"]);
  assert.deepEqual(back.replies.map(({ reply: { job, code } }) => [job, code]), [[7, 200], [
    9,
    500,
  ]]);
  assert.equal(back.backend.intruders, 2);
});

Deno.test("ZmqLane tells a worker what a client takes, and what it takes more", async () => {
  await using back = new Back();
  const { peer, worker } = await back.worker();
  await using _peer = peer;
  const job = jobFor(["x"], { id: 5 });
  job.stream = new Stream({ bytes: 100, parts: 3 }, true);
  job.stream.take(150);
  back.backend.send(worker, [job], 0);
  back.backend.grant(worker, 5, { bytes: 7, parts: 4 });
  const [header = new Uint8Array(0)] = await peer.receive();
  const reader = new JobReader();
  reader.bytes.set(header);
  const { stream, partsSent } = reader.read(header.length);
  assert.deepEqual([stream, partsSent], [{ bytes: -50, parts: 2 }, 1]);
  const [grant = new Uint8Array(0)] = await peer.receive();
  assert.deepEqual(grant, buildGrant(5, { bytes: 7, parts: 4 }));
});

Deno.test("ZmqLane tells a worker to cancel a job and to stop", async () => {
  await using back = new Back();
  const { peer, worker } = await back.worker();
  await using _peer = peer;
  back.backend.cancel(worker, 2 ** 40, Code.cancelled);
  back.backend.stop(worker);
  const cancel = await peer.receive();
  assert.deepEqual(hexes(cancel), hexes([buildJobSignal(FromBroker.CANCEL, 2 ** 40, 499)]));
  assert.deepEqual(hexes(await peer.receive()), hexes([buildSignal(FromBroker.STOP)]));
});

Deno.test("ZmqLane says that a job was not sent when its worker is not there any more", async () => {
  await using back = new Back();
  const { peer, worker } = await back.worker();
  const { peer: second, worker: other } = await back.worker();
  await using _second = second;
  await peer[Symbol.asyncDispose]();
  await back.until("it is told", () => back.events.length > 0);
  const job = jobFor(["body", "more"]);
  // libzmq tells of the end a moment before sends fail.
  await back.until("a send fails", () => back.backend.send(worker, [job], 0) === 0);
  assert.equal(back.backend.send(worker, [job], 0), 0);
  back.backend.cancel(worker, 1, Code.cancelled);
  back.backend.stop(worker);
  assert.equal(back.backend.send(other, [job], 0), 1);
  const [, ...body] = await second.receiveText();
  assert.deepEqual(body, ["body", "more"]);
});

Deno.test("ZmqLane holds any number of jobs for a worker when that does not read", async () => {
  await using back = new Back();
  const { peer, worker } = await back.worker();
  await using _peer = peer;
  const JOBS = 3000;
  const client = clientNamed("me");
  for (let id = 1; id <= JOBS; id++) {
    const job = jobFor(["x"], { id, client });
    assert.equal(back.backend.send(worker, [job], 0), 1);
    pool.release(job.request.body);
  }
  for (let id = 1; id <= JOBS; id++) {
    const [header] = await peer.receive();
    assert.equal(parseJob(header ?? EMPTY_FRAME).job, id);
  }
});

// Keys

Deno.test("routingKey tells routing ids apart whatever their bytes are", () => {
  const random = randomNumbers(4242);
  const seen = new Map<string | number, string>();
  const buffer = new Uint8Array(256);
  for (let round = 0; round < 20_000; round++) {
    const size = 1 + random(6);
    for (let at = 0; at < size; at++) buffer[at] = [0, 1, 48, 49, 255][random(5)] ?? 0;
    const id = buffer.slice(0, size).toHex();
    const key = routingKey(buffer, size);
    assert.equal(seen.get(key) ?? id, id);
    seen.set(key, id);
  }
});
