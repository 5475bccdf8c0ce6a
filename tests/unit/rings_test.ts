/** Rings: which part of shared memory is whose, and what is believed of the other side. */

import { strict as assert } from "node:assert";
import { RingReader, RingWriter } from "../../wire/ring.ts";
import { randomNumbers } from "../rig/random.ts";

const SIZE = 4096;

Deno.test("RingWriter places bodies one behind the other, and none around the end", () => {
  const writer = new RingWriter(SIZE);
  assert.deepEqual([writer.place(100), writer.place(64), writer.place(3000)], [0, 128, 192]);
  assert(writer.credit(192));
  assert.equal(writer.place(1000), -1, "it would reach around the end");
  assert(writer.credit(3200));
  assert.equal(writer.place(1000), 0);
});

Deno.test("RingWriter has no room for more than was read", () => {
  const writer = new RingWriter(SIZE);
  assert.equal(writer.place(SIZE + 1), -1);
  assert.equal(writer.place(SIZE), 0);
  assert.equal(writer.place(1), -1);
  assert.equal(writer.isEmpty, false);
  assert(writer.credit(SIZE));
  assert.equal(writer.isEmpty, true);
  assert.equal(writer.place(1), 0);
  assert.equal(new RingWriter(0).place(1), -1);
});

Deno.test("RingWriter believes no credit for what it has not written, nor one that goes back", () => {
  const writer = new RingWriter(SIZE);
  assert.equal(writer.credit(1), false);
  assert.equal(writer.place(1000), 0);
  assert.equal(writer.credit(1025), false);
  assert.equal(writer.credit(2 ** 32 - 1), false);
  assert(writer.credit(1024));
  assert.equal(writer.credit(512), false);
  assert(writer.credit(1024), "the same again says nothing");
});

Deno.test("RingReader takes what follows, and nothing else", () => {
  const reader = new RingReader(SIZE);
  for (const [at, bytes] of [[64, 10], [SIZE, 10], [0, SIZE + 1], [0, 0], [2 ** 32 - 64, 64]]) {
    assert.equal(reader.take(at ?? 0, bytes ?? 0), false, `${bytes} at ${at}`);
  }
  assert(reader.take(0, 3000));
  assert.equal(reader.take(0, 64), false, "there is room before the end");
  assert(reader.take(0, 3000), "there is none");
  assert.equal(reader.untold, SIZE + 3008);
  assert.equal(reader.tell(), SIZE + 3008);
  assert.equal(reader.untold, 0);
  assert.equal(new RingReader(0).take(0, 0), false);
  assert.equal(new RingReader(0).take(0, 1), false);
});

Deno.test("a ring holds every body until it is read, for more than 4 GiB", () => {
  const random = randomNumbers(3);
  const writer = new RingWriter(2 ** 22);
  const reader = new RingReader(2 ** 22);
  const waiting: { at: number; bytes: number }[] = [];
  let sum = 0;
  let refused = 0;
  while (sum < 2 ** 33) {
    const bytes = 1 + random(2 ** 20);
    const at = writer.place(bytes);
    if (at >= 0) {
      const overlaps = waiting.some((other) =>
        at < other.at + other.bytes && other.at < at + bytes
      );
      assert(!overlaps, "nothing that was not read is written over");
      assert(at + bytes <= writer.size);
      waiting.push({ at, bytes });
      sum += bytes;
    } else refused++;
    if (at >= 0 && random(3) > 0) continue;
    for (let count = 1 + random(5); count > 0; count--) {
      const first = waiting.shift();
      if (first !== undefined) assert(reader.take(first.at, first.bytes));
    }
    if (random(2) === 0 || at < 0) assert(writer.credit(reader.tell()));
  }
  assert(refused > 100);
});
