/** PartQueue, between a server by hand and a reader by hand. */

import assert from "node:assert/strict";
import { CREDIT, PartQueue } from "../../client/part_queue.ts";
import { Reply } from "../../client/reply.ts";
import { randomNumbers } from "../rig/random.ts";

const part = (number: number, size = 1) => [new Uint8Array(size).fill(number)];

/** A server that sends what it may. */
class Sender {
  left = { ...CREDIT };
  sent = 0;

  get isOpen(): boolean {
    return this.left.bytes > 0 && this.left.parts > 0;
  }

  send(queue: PartQueue, size: number): void {
    this.left.bytes -= size;
    this.left.parts--;
    queue.take(this.sent, part(this.sent, size));
    this.sent++;
  }

  hear(queue: PartQueue): void {
    const more = queue.grant();
    if (more === undefined) return;
    assert.ok(more.parts >= CREDIT.parts / 2 || more.bytes >= CREDIT.bytes / 2);
    this.left.bytes += more.bytes;
    this.left.parts += more.parts;
  }
}

Deno.test("PartQueue gives each part once and in order, and lets no sender starve, also when tries start over", async () => {
  const random = randomNumbers(5);
  for (let round = 0; round < 300; round++) {
    const queue = new PartQueue();
    const count = random(80);
    let sender = new Sender();
    const read: number[] = [];
    for (let steps = 0;; steps++) {
      assert.ok(steps < 10_000);
      if (random(60) === 0 && !queue.hasEnded) {
        queue.startAnew();
        sender = new Sender();
      }
      if (sender.sent === count && !queue.hasEnded) queue.end(count);
      const mayRead = queue.hasEnded || queue.isHeldUp && read.length < count;
      if (random(2) === 0 && sender.isOpen && sender.sent < count) {
        sender.send(queue, random(5) === 0 ? 100_000 : random(9));
      } else if (mayRead) {
        const reply = await queue.next();
        if (reply === undefined) break;
        read.push(read.length);
        assert.ok(reply.bytes.every((byte) => byte === read.length - 1));
      }
      sender.hear(queue);
    }
    assert.equal(read.length, count);
  }
});

Deno.test("PartQueue lets a reader wait, and counts what he gets as read", async () => {
  const queue = new PartQueue();
  const first = queue.next();
  queue.take(0, part(0, 200_000));
  assert.equal((await first)?.bytes.length, 200_000);
  assert.deepEqual(queue.grant(), { bytes: 200_000, parts: 1 });
  assert.equal(queue.grant(), undefined);
  const last = queue.next();
  queue.end(1);
  assert.equal(await last, undefined);
});

Deno.test("PartQueue takes no more than was granted, and no gap", () => {
  const queue = new PartQueue();
  for (let number = 0; number < CREDIT.parts; number++) queue.take(number, part(number));
  assert.ok(queue.isHeldUp);
  assert.throws(() => queue.take(CREDIT.parts, part(0)), /sent more than it may/);
  const large = new PartQueue();
  large.take(0, part(0, 262_144));
  assert.throws(() => large.take(1, part(1)), /sent more than it may/);
  const gap = new PartQueue();
  assert.throws(() => gap.take(1, part(1)), /part 0 is missing, ahead of number 1$/);
  assert.throws(() => gap.end(1), /part 0 is missing/);
});

Deno.test("PartQueue gives what is here ahead of an error, and nothing once it is wanted no more", async () => {
  const [failed, aborted] = [new PartQueue(), new PartQueue()];
  for (const queue of [failed, aborted]) queue.take(0, part(7));
  failed.fail(new Error("broken"));
  failed.fail(new Error("again"));
  assert.equal((await failed.next())?.bytes[0], 7);
  assert.throws(() => failed.next(), { message: "broken" });
  aborted.abort(new Error("enough"));
  assert.throws(() => aborted.next(), { message: "enough" });
});

Deno.test("PartQueue takes an answer that comes whole for its only part", async () => {
  const queue = new PartQueue();
  const first = queue.next();
  queue.takeWhole(new Reply(part(1)));
  assert.equal((await first)?.bytes[0], 1);
  assert.equal(await queue.next(), undefined);
  const begun = new PartQueue();
  begun.take(0, part(0));
  begun.takeWhole(new Reply(part(1)));
  assert.equal((await begun.next())?.bytes[0], 0);
  assert.equal(await begun.next(), undefined);
});
