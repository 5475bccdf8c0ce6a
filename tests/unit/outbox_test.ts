/**
 * What clients have not taken, counted without sockets: libzmq's part is played by a list of marks.
 *
 * @module
 */

import { strict as assert } from "node:assert";
import type { Body } from "../../ports/body.ts";
import { type Outbox, Outboxes, type Reply } from "../../ports/outbox.ts";
import { newPeer, type Peer } from "../../broker/job.ts";
import { locateLibrary } from "../../zmq/locate.ts";
import { Marks } from "../../zmq/mark.ts";
import { MessagePool } from "../../zmq/message.ts";

const library = locateLibrary(Deno.env.get("ZMQ_LIBRARY"));
const messages = new MessagePool(library);
const KiB = 1024;
const MiB = 1024 ** 2;
const LIMIT = 64 * MiB;
/** What is kept weighs a little more than its bytes. */
const RECORD = KiB;

/** Outboxes, and libzmq's side of them. */
class Post {
  readonly #passed = new Set<number>();
  #marks = 0;
  readonly outboxes: Outboxes;
  now = 1000;

  constructor(limit = LIMIT) {
    const set = () => ++this.#marks;
    this.outboxes = new Outboxes({ set, passed: (mark) => this.#passed.delete(mark) }, limit);
  }

  client(name = 1): Peer<Body> {
    return newPeer(name, new Uint8Array(28));
  }

  /** Hands replies over or keeps them, as the frontend does; how many were given up. */
  reply(client: Peer<Body>, bytes: number, times = 1): number {
    const outbox = this.outboxes.of(client);
    let lost = 0;
    for (; times > 0; times--) {
      if (outbox.waiting.length === 0 && this.outboxes.isOpen(outbox, this.now)) {
        this.outboxes.handOver(outbox, bytes, scratch, this.now);
      } else if (!this.outboxes.keep(outbox, replyOf(client, bytes), this.now)) lost++;
    }
    return lost;
  }

  /** The client reads all that libzmq has. */
  read(outbox: Outbox): void {
    for (const { mark } of outbox.marks) this.#passed.add(mark);
  }
}

const scratch = messages.take();

function replyOf(client: Peer<Body>, bytes: number): Reply {
  const to = { client: client.home, envelope: [], requestId: undefined };
  return { to, code: 200, flags: 0, part: undefined, frames: [], bytes };
}

Deno.test("Outboxes hands a slow client's replies over up to 4 MiB, and keeps the others", () => {
  const post = new Post();
  const client = post.client();
  assert.equal(post.reply(client, MiB, 10), 0);
  const outbox = post.outboxes.of(client);
  assert.deepEqual([outbox.marks.length, outbox.waiting.length], [4, 6]);
  assert.equal(post.outboxes.waiting, 6);
  post.read(outbox);
  assert.equal(post.outboxes.isOpen(outbox, post.now), true);
  assert.equal(post.outboxes.take(outbox, Infinity).length, 6);
  assert.deepEqual([post.outboxes.unread, post.outboxes.slow.size], [0, 0]);
});

Deno.test("Outboxes marks one reply of many small ones, and counts nothing before", () => {
  const post = new Post();
  const client = post.client();
  post.reply(client, 512, 127);
  assert.deepEqual([post.outboxes.of(client).marks.length, post.outboxes.unread], [0, 0]);
  post.reply(client, 512);
  assert.equal(post.outboxes.of(client).marks.length, 1);
  assert.equal(post.outboxes.unread, 64 * KiB);
});

Deno.test("Outboxes gives up what a client leaves beyond its share, which is what all have left", () => {
  const post = new Post();
  const client = post.client();
  const lost = post.reply(client, MiB, 100);
  const { unread } = post.outboxes;
  assert(unread <= LIMIT / 2 + MiB && unread >= LIMIT / 2 - 2 * MiB, `${unread} bytes`);
  assert(lost >= 66 && lost <= 70, `${lost} lost`);
  // The next one has half of the rest, and so on: nobody is left with nothing.
  for (let name = 2; name <= 20; name++) post.reply(post.client(name), MiB, 100);
  assert(post.outboxes.unread <= LIMIT + 20 * (MiB + RECORD), `${post.outboxes.unread} bytes`);
  assert.equal(post.reply(post.client(99), MiB), 0);
});

Deno.test("Outboxes takes one reply for a client that has nothing unread, however large it is", () => {
  const post = new Post();
  post.reply(post.client(), MiB, 100);
  const other = post.client(2);
  assert.equal(post.reply(other, LIMIT), 0);
  assert.equal(post.reply(other, KiB), 1);
});

Deno.test("Outboxes says that a client is stalled when it takes nothing and has half its share", () => {
  const post = new Post();
  const client = post.client();
  assert.equal(post.outboxes.isStalled(client, post.now), false);
  post.reply(client, MiB, 20);
  assert.equal(post.outboxes.isStalled(client, post.now), false);
  post.reply(client, MiB, 10);
  post.now += 1000;
  assert.equal(post.outboxes.isStalled(client, post.now), false);
  post.now += 1;
  assert.equal(post.outboxes.isStalled(client, post.now), true);
  assert.equal(post.outboxes.isStalled(post.client(2), post.now), false);
  // It reads again.
  post.read(post.outboxes.of(client));
  assert.equal(post.outboxes.isStalled(client, post.now), false);
});

Deno.test("Outboxes lets a client that has read all ask when others have left no room", () => {
  const post = new Post();
  const good = post.client(99);
  post.reply(good, KiB);
  for (let name = 1; name <= 30; name++) post.reply(post.client(name), LIMIT / 16, 3);
  assert(post.outboxes.unread > LIMIT);
  post.now += 10_000;
  assert.equal(post.outboxes.isStalled(good, post.now), false);
  assert.equal(post.reply(good, MiB), 0);
});

Deno.test("Outboxes counts what libzmq holds of a client that has left until it is freed", () => {
  const post = new Post();
  const client = post.client();
  post.reply(client, MiB, 6);
  const outbox = post.outboxes.of(client);
  assert.equal(post.outboxes.forget(client).length, 2);
  assert.equal(post.outboxes.unread, 4 * MiB);
  post.read(outbox);
  post.now += 100;
  const other = post.client(2);
  post.reply(other, MiB, 6);
  assert.equal(post.outboxes.unread, post.outboxes.of(other).unread);
});

Deno.test("Outboxes gives a client up when it has taken nothing for 30 s", () => {
  const post = new Post();
  const outbox = post.outboxes.of(post.client());
  post.outboxes.handOver(outbox, MiB, scratch, post.now);
  assert.equal(post.outboxes.isLost(outbox, post.now + 30_000), false);
  assert.equal(post.outboxes.isLost(outbox, post.now + 30_001), true);
});

Deno.test("Marks tells that a message was given up, once, and not before", () => {
  const marks = new Marks(library);
  const first = messages.take();
  const second = messages.take();
  const one = marks.set(first);
  const two = marks.set(second);
  assert.equal(first.size, 0);
  assert.deepEqual([marks.passed(one), marks.passed(two)], [false, false]);
  second.clear();
  assert.deepEqual([marks.passed(one), marks.passed(two)], [false, true]);
  assert.equal(marks.passed(two), false);
  // The number is free: it is the next mark's.
  assert.equal(marks.set(second), two);
  first.clear();
  second.clear();
  assert.deepEqual([marks.passed(one), marks.passed(two)], [true, true]);
});

Deno.test("Marks has as many as are needed", () => {
  const marks = new Marks(library);
  const all = Array.from({ length: 5000 }, () => messages.take());
  const numbers = all.map((message) => marks.set(message));
  assert.equal(new Set(numbers).size, 5000);
  for (const message of all) message.clear();
  assert(numbers.every((number) => marks.passed(number)));
});
