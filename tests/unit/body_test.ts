/**
 * Bodies that are given back and used again, and contents of answers.
 *
 * @module
 */

import { strict as assert } from "node:assert";
import { type Body, BodyPool, weigh } from "../../ports/body.ts";
import { keep, MemoryContent, textOf } from "../../ports/content.ts";
import { bodyWith } from "../rig/bodies.ts";
import { randomNumbers } from "../rig/random.ts";
import { bytes, text } from "../rig/text.ts";

const SIZES = [
  0,
  1,
  63,
  64,
  65,
  255,
  256,
  257,
  1024,
  4096,
  4097,
  65_535,
  65_536,
  65_537,
  1_000_000,
];

for (const size of SIZES) {
  Deno.test(`BodyPool has room for a body of ${size} bytes, and uses its memory again`, () => {
    const pool = new BodyPool();
    const body = pool.take(size);
    assert(body.bytes.length >= size);
    assert.deepEqual([body.size, body.frames, body.holders], [size, 1, 1]);
    pool.release(body);
    assert.equal(pool.take(size), body);
  });
}

Deno.test("BodyPool keeps a body until its last holder gives it back", () => {
  const pool = new BodyPool();
  const body = pool.take(10);
  body.holders++;
  pool.release(body);
  assert.notEqual(pool.take(10), body);
  pool.release(body);
  assert.equal(pool.take(10), body);
});

Deno.test("BodyPool gives no memory to two bodies when they come and go at random", () => {
  const random = randomNumbers(1);
  const pool = new BodyPool();
  const held = new Map<Body, number>();
  for (let step = 0; step < 5000; step++) {
    const [some] = held.keys();
    if (held.size < 50 || random(2) === 0 || some === undefined) {
      const body = pool.take(SIZES[random(SIZES.length - 1)] ?? 0);
      assert(!held.has(body));
      body.bytes.fill(step % 256, 0, body.size);
      held.set(body, step % 256);
    } else {
      const mark = held.get(some) ?? 0;
      const same = some.bytes.subarray(0, some.size).every((byte) => byte === mark);
      assert(same, "Another body has written into this one's memory");
      held.delete(some);
      pool.release(some);
    }
    if (random(500) === 0) pool.dropFree();
  }
});

Deno.test("BodyPool keeps a bounded amount of memory for large bodies", () => {
  const pool = new BodyPool();
  const large = Array.from({ length: 100 }, () => pool.take(1024 ** 2));
  for (const body of large) pool.release(body);
  const again = new Set(Array.from({ length: 100 }, () => pool.take(1024 ** 2)));
  assert.equal(large.filter((body) => again.has(body)).length, 32);
});

Deno.test("a body parts the frames that lie in it, one behind the other", () => {
  const pool = new BodyPool();
  for (const frames of [[], [""], ["one"], ["", ""], ["a", "", "日本"]]) {
    const body = bodyWith(pool, ...frames.map(bytes));
    assert.deepEqual(body.toFrames().map((frame) => text(frame)), frames);
    assert.equal(body.frames, frames.length);
  }
});

Deno.test("a body's frames have memory of their own", () => {
  const pool = new BodyPool();
  const [frame] = bodyWith(pool, bytes("mine")).toFrames();
  assert.equal(frame?.buffer.byteLength, 4);
});

Deno.test("keep copies a content with the sizes of its frames", () => {
  const pool = new BodyPool();
  const content = new MemoryContent().set(bytes("..onetwo."), 2, 6, [3, 3]);
  const kept = keep(content, pool);
  content.bytes.fill(0);
  assert.deepEqual(kept.toFrames().map((frame) => text(frame)), ["one", "two"]);
});

Deno.test("textOf reads one frame of a content, up to a number of bytes", () => {
  const content = new MemoryContent().set(bytes("..onetwo."), 2, 6, [3, 3]);
  assert.deepEqual([textOf(content, 0, 2), textOf(content, 1, 100)], ["on", "two"]);
  assert.equal(textOf(content, 2, 100), "");
});

Deno.test("weigh counts what each frame takes beside its bytes", () => {
  assert.equal(weigh(10, 1) - weigh(10, 0), weigh(0, 1));
  assert(weigh(0, 1) > 0);
});
