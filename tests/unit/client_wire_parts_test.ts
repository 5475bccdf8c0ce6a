/** What the client writes and reads on sockets of its own: Outbox, Inbox and Greeter, without any socket. */

import assert from "node:assert/strict";
import { Answer } from "../../client/answer.ts";
import { Greeter } from "../../client/greeter.ts";
import { Inbox } from "../../client/inbox.ts";
import type { Fields } from "../../client/steps.ts";
import { Outbox } from "../../client/outbox.ts";
import { buildStatus } from "../../wire/request.ts";
import {
  buildRequestHeader,
  HEADER_BYTES,
  parseRequestHeader,
  type RequestHeader,
} from "../../wire/request_header.ts";
import { buildPing, FrameHead, headBytes, writeHead } from "../../wire/zmtp.ts";
import { randomNumbers } from "../rig/random.ts";
import { text } from "../rig/text.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** The frames of messages on the wire, a list for each message. */
function messagesIn(bytes: Bytes): Bytes[][] {
  const head = new FrameHead();
  const messages: Bytes[][] = [];
  let frames: Bytes[] = [];
  for (let at = 0; at < bytes.length;) {
    const size = head.read(bytes, at, bytes.length);
    assert.ok(size > 0);
    if (!head.isCommand) frames.push(bytes.slice(at + size, at + size + head.size));
    at += size + head.size;
    if (head.more || head.isCommand) continue;
    messages.push(frames);
    frames = [];
  }
  return messages;
}

/** Takes so many bytes in all, at most `most` at a time. */
class Sink {
  #taken: number[] = [];
  left: number;
  readonly #most: number;

  constructor(left = Infinity, most = Infinity) {
    this.left = left;
    this.#most = most;
  }

  send(bytes: Bytes, from: number, count: number): number {
    const size = Math.min(count, this.left, this.#most);
    if (size === 0) return -1;
    for (let at = from; at < from + size; at++) this.#taken.push(bytes[at] ?? 0);
    this.left -= size;
    return size;
  }

  get taken(): Bytes {
    return Uint8Array.from(this.#taken);
  }
}

function requestOf(id: number, frames: Bytes[], key = "", fields?: Fields) {
  return { id, timeout: 100, requestTimeout: 0, key, fields, item: { frames } };
}

/** One of these, at random. */
function oneOf<T>(random: (below: number) => number, values: readonly [T, ...T[]]): T {
  return values[random(values.length)] ?? values[0];
}

/** Some of these, at random. */
function someOf<T>(
  random: (below: number) => number,
  values: readonly [T, ...T[]],
  least: number,
  most: number,
): T[] {
  return Array.from({ length: least + random(most - least + 1) }, () => oneOf(random, values));
}

const FRAME_SIZES = [0, 1, 16, 255, 256, 3000, 8191, 8192, 20_000] as const;

Deno.test("Outbox sends each request whole over one connection, and none over two, wherever the first ends", () => {
  const random = randomNumbers(11);
  for (let round = 0; round < 300; round++) {
    const [plain, pings] = [random(2) === 0, random(2) === 0];
    const bodies = Array.from({ length: 1 + random(12) }, () => someOf(random, FRAME_SIZES, 1, 3));
    const outbox = new Outbox({ plain });
    bodies.forEach((sizes, id) => {
      const key = plain ? "" : oneOf(random, ["", "kä"]);
      outbox.add(requestOf(id, sizes.map((size) => new Uint8Array(size).fill(id)), key));
    });
    const first = new Sink(random(60_000), 7000);
    if (pings) outbox.say(buildPing());
    outbox.send(first);
    if (pings) outbox.say(buildPing());
    outbox.startAnew();
    const second = new Sink();
    assert.ok(outbox.send(second));
    assert.ok(outbox.isEmpty);
    const sent = [...wholeMessages(first.taken), ...messagesIn(second.taken)];
    assert.equal(sent.length, bodies.length);
    sent.forEach((message, id) => {
      const body = message.slice(plain ? 1 : 2);
      assert.deepEqual(body.map(({ length }) => length), bodies[id]);
      assert.ok(body.every((frame) => frame.every((byte) => byte === id)));
      assert.equal(message.at(plain ? 0 : 1)?.length, 0);
    });
  }
});

/** Those that are there from the first to the last byte. */
function wholeMessages(bytes: Bytes): Bytes[][] {
  const head = new FrameHead();
  let end = 0;
  for (let at = 0; at < bytes.length;) {
    const size = head.read(bytes, at, bytes.length);
    if (size <= 0 || at + size + head.size > bytes.length) break;
    at += size + head.size;
    if (!head.more) end = at;
  }
  return messagesIn(bytes.slice(0, end));
}

/** The header of a message, its question apart. */
function headersIn(bytes: Bytes): { asked: RequestHeader[]; requests: RequestHeader[] } {
  const messages = wholeMessages(bytes).map(([header, , body]) => ({
    header: parseRequestHeader(header ?? new Uint8Array()),
    isQuestion: text(body ?? new Uint8Array()) === "version?",
  }));
  const headers = (isQuestion: boolean) =>
    messages.filter((message) => message.isQuestion === isQuestion)
      .flatMap(({ header }) => header ?? []);
  return { asked: headers(true), requests: headers(false) };
}

/** What a server answers that is asked which version it knows. */
function versionAnswer(id: number | undefined, version = 2): Answer {
  const answer = new Answer();
  answer.begin();
  answer.id = id;
  answer.code = 200;
  answer.frames = [Uint8Array.of(version)];
  return answer;
}

Deno.test("Outbox sends fields only to a server that has said that it knows them, wherever a connection ends", () => {
  const random = randomNumbers(12);
  for (let round = 0; round < 300; round++) {
    const outbox = new Outbox({ plain: false });
    const needy = Array.from({ length: 1 + random(12) }, () => random(2) === 0);
    needy.forEach((needs, id) => {
      const frames = [new Uint8Array(oneOf(random, FRAME_SIZES))];
      outbox.add(requestOf(id, frames, "", needs ? { service: "mail" } : undefined));
    });
    const ids = (needs: boolean) => [...needy.keys()].filter((id) => needy[id] === needs);
    const first = new Sink();
    outbox.send(first);
    const before = headersIn(first.taken);
    assert.deepEqual(before.requests.map(({ id }) => id), ids(false));
    assert.equal(before.asked.length, ids(true).length > 0 ? 1 : 0);
    assert.equal(outbox.isAsking, ids(true).length > 0);
    if (!outbox.isAsking) continue;
    const question = before.asked[0]?.id;
    assert.ok(outbox.learn(versionAnswer(question)));
    const rest = new Sink(random(40_000), 7000);
    outbox.send(rest);
    outbox.startAnew();
    const second = new Sink();
    outbox.send(second);
    assert.deepEqual(headersIn(second.taken).requests, []);
    // An answer to the first question is not one to the second.
    assert.ok(outbox.learn(versionAnswer(question)));
    assert.ok(outbox.isEmpty);
    for (const { id } of headersIn(second.taken).asked) outbox.learn(versionAnswer(id));
    const third = new Sink();
    outbox.send(third);
    const sent = [rest, third].flatMap((sink) => headersIn(sink.taken).requests);
    assert.deepEqual(sent.map(({ id }) => id), ids(true));
    assert.ok(sent.every(({ service }) => service === "mail"));
    assert.equal(outbox.isAsking, false);
  }
});

Deno.test("Outbox keeps requests with fields when the server does not know them, and drops those taken back", () => {
  const outbox = new Outbox({ plain: false });
  outbox.add(requestOf(1, [new Uint8Array(1)], "", { service: "mail" }));
  outbox.add(requestOf(2, [new Uint8Array(1)], "", { service: "mail" }));
  const sink = new Sink();
  outbox.send(sink);
  const [question] = headersIn(sink.taken).asked;
  assert.equal(outbox.learn(versionAnswer(1)), false);
  assert.equal(outbox.learn(versionAnswer(undefined)), false);
  for (const wrong of [versionAnswer(question?.id, 1), versionAnswer(Number(question?.id) + 1)]) {
    assert.ok(outbox.learn(wrong));
    assert.ok(outbox.isEmpty);
  }
  outbox.cancel(1);
  assert.ok(outbox.isEmpty);
  outbox.learn(versionAnswer(question?.id, 3));
  const rest = new Sink();
  outbox.send(rest);
  assert.deepEqual(headersIn(rest.taken).requests.map(({ id }) => id), [2]);
  // Nothing waits: the next server is not asked before it has to be.
  outbox.startAnew();
  assert.ok(outbox.isEmpty);
});

Deno.test("Outbox sends what a slow server takes bit by bit, and says when it is full", () => {
  const outbox = new Outbox({ plain: false });
  for (let id = 0; id < 2000; id++) outbox.add(requestOf(id, [new Uint8Array(100).fill(id)]));
  outbox.cancel(7);
  const sink = new Sink(10, 5000);
  assert.equal(outbox.send(sink), false);
  for (let rounds = 0; !outbox.isEmpty; rounds++) {
    assert.ok(rounds < 1000);
    sink.left = 1000;
    outbox.send(sink);
  }
  const messages = messagesIn(sink.taken);
  assert.equal(messages.length, 2001);
  assert.deepEqual(messages.at(-1)?.[0], buildRequestHeader({ type: "cancel", id: 7 }));
});

Deno.test("Outbox sends nothing again that was taken whole when a command behind it was not", () => {
  const requests = [1, 2].map((id) => requestOf(id, [new Uint8Array(10).fill(id)]));
  const alone = new Outbox({ plain: false });
  const [one, both] = [new Sink(), new Sink()];
  const [first, second] = requests;
  assert.ok(first !== undefined && second !== undefined);
  alone.add(first);
  alone.send(one);
  const outbox = new Outbox({ plain: false });
  for (const each of requests) outbox.add(each);
  assert.equal(outbox.send(new Sink(one.taken.length)), false);
  outbox.say(buildPing());
  outbox.startAnew();
  assert.ok(outbox.send(both));
  assert.deepEqual(messagesIn(both.taken).map((frames) => frames.at(-1)?.[0]), [2]);
});

/** A frame as it goes over the wire. */
function frame(content: Uint8Array, flags: number): number[] {
  const bytes = new Uint8Array(headBytes(content.length) + content.length);
  bytes.set(content, writeHead(bytes, 0, content.length, flags));
  return [...bytes];
}

function message(frames: readonly Uint8Array[]): number[] {
  return frames.flatMap((each, index) => frame(each, index < frames.length - 1 ? 1 : 0));
}

/** Has an inbox read bytes that come in pieces of these sizes, again and again. */
function readAll(inbox: Inbox, bytes: Bytes, pieces: readonly number[]): string[] {
  const said: string[] = [];
  let [at, round] = [0, 0];
  const receive = (target: Bytes, place: number, most: number) => {
    const size = Math.min(most, bytes.length - at, pieces[round++ % pieces.length] ?? 1);
    target.set(bytes.subarray(at, at + size), place);
    at += size;
    return size;
  };
  for (;;) {
    const read = inbox.read();
    if (read === "broken") return [...said, read];
    if (read === "short") {
      if (at === bytes.length) return said;
      inbox.fill(receive);
    } else if (read === "answer") {
      const { id, code, frames } = inbox.answer;
      for (const each of frames) assert.equal(each.buffer.byteLength, each.length);
      said.push(`${id} ${code} ${frames.map((each) => `${each.length}:${each[0] ?? ""}`)}`);
    } else said.push(read);
  }
}

Deno.test("Inbox reads the same answers however their bytes come", () => {
  const random = randomNumbers(12);
  for (let round = 0; round < 60; round++) {
    const bodies = Array.from(
      { length: random(5) },
      () => someOf(random, [0, 1, 200, 2000, 3000, 70_000], 0, 3),
    );
    const wire = bodies.flatMap((sizes, id) => [
      ...message([
        buildRequestHeader({ id }),
        new Uint8Array(0),
        buildStatus(200),
        ...sizes.map((size) => new Uint8Array(size).fill(id + 1)),
      ]),
      ...buildPing(),
    ]);
    const pieces = someOf(random, [1, 3, 64, 1000, 5000, 100_000], 1, 5);
    const said = readAll(new Inbox({ plain: false }), Uint8Array.from(wire), pieces);
    const expected = bodies.flatMap((sizes, id) => [
      `${id} 200 ${sizes.map((size) => `${size}:${size === 0 ? "" : id + 1}`)}`,
      "command",
    ]);
    assert.deepEqual(said, expected);
  }
});

const NO_SENSE = [[], [1, HEADER_BYTES], [1, 0], [2, 0, 0, 0, 0, 0, 0, 200, 0], [4, 5, 4]] as const;

Deno.test("Inbox reads any bytes to their end, or says that they are broken", () => {
  const random = randomNumbers(13);
  for (let round = 0; round < 150; round++) {
    const rest = Array.from(
      { length: random(600) },
      () => random(8) === 0 ? random(256) : random(6),
    );
    const bytes = Uint8Array.from([...oneOf<readonly number[]>(random, NO_SENSE), ...rest]);
    const said = readAll(new Inbox({ plain: random(2) === 0 }), bytes, [7, 64]);
    assert.ok(said.slice(0, -1).every((read) => read !== "broken"));
  }
});

Deno.test("Inbox takes memory for a frame as its bytes come, whatever its head says", () => {
  const inbox = new Inbox({ plain: true });
  const head = Uint8Array.of(1, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, ...new Uint8Array(100));
  assert.deepEqual(readAll(inbox, head, [1000]), []);
  let room = 0;
  inbox.fill((bytes, at, most) => {
    room = at + most;
    assert.equal(bytes.length, room);
    return 1;
  });
  assert.ok(room > 0 && room <= 16 * 1024 ** 2, `${room} bytes`);
});

Deno.test("Greeter reads any bytes without an error, and opens for none of them", () => {
  const random = randomNumbers(14);
  const known = [0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 1, ...new TextEncoder().encode("NULL")];
  const greeting = [...known, ...new Array(64 - known.length).fill(0)];
  const starts = [[], known.slice(0, 10), known, greeting, [...greeting, 4, 6, 5]] as const;
  for (let round = 0; round < 500; round++) {
    const said: Bytes[] = [];
    const greeter = new Greeter(new Uint8Array(0), (bytes) => said.push(bytes));
    const rest = Array.from({ length: random(300) }, () => random(256));
    const bytes = Uint8Array.from([...oneOf<readonly number[]>(random, starts), ...rest]);
    let from = 0;
    for (let end = 1; end <= bytes.length; end++) {
      if (greeter.state !== "greeting" && greeter.state !== "ready") break;
      from = greeter.read(bytes, from, end);
      assert.ok(from <= end);
    }
    if (greeter.version !== "2.0") assert.notEqual(greeter.state, "open");
    assert.match(greeter.said, /^[ -~]*$/);
    assert.ok(said.length <= 3 && text(said[1]).length <= 64);
  }
});
