import assert from "node:assert/strict";
import { LARGE_BYTES, Parcel } from "../../system/parcel.ts";

/** Sends it to the other end of a channel, as a store's thread is sent its messages. */
function posted<Message>(message: Message, parcel: Parcel): Message {
  return structuredClone(message, { transfer: parcel.close() });
}

function filled(size: number, value: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(size).fill(value);
}

Deno.test("small bytes lie in one buffer, which is handed over", () => {
  const parcel = new Parcel();
  const own = [filled(200, 1), filled(100, 2), filled(0, 3)];
  const copies = own.map((bytes) => parcel.copy(bytes));
  assert.equal(new Set(copies.slice(0, 2).map(({ buffer }) => buffer)).size, 1);
  const there = posted(copies, parcel);
  assert.deepEqual(there, own);
  assert.equal(there[0]?.buffer, there[1]?.buffer);
  assert.equal(copies[0]?.length, 0, "it was copied, and not handed over");
});

Deno.test("a message has the bytes that were taken since the one before, and no others", () => {
  const parcel = new Parcel();
  for (let round = 0; round < 50; round++) {
    const own = Array.from({ length: round }, (_, at) => filled(17 * at, round + at));
    const sent = posted(own.map((bytes) => parcel.copy(bytes)), parcel);
    assert.deepEqual(sent, own);
  }
  assert.deepEqual(parcel.close(), []);
});

Deno.test("a buffer that several share is not much larger than what it has", () => {
  const parcel = new Parcel();
  for (let round = 0; round < 3; round++) {
    for (let at = 0; at < 40; at++) parcel.copy(filled(1000, at));
    const buffers = parcel.close();
    const size = buffers.reduce((sum, { byteLength }) => sum + byteLength, 0);
    assert.ok(round === 0 || size < 60_000, `${size} bytes for 40,000`);
  }
  parcel.copy(filled(10, 1));
  parcel.close();
  parcel.copy(filled(10, 1));
  const [small] = parcel.close();
  assert.ok(small !== undefined && small.byteLength <= 512);
});

Deno.test("large bytes have a buffer of their own, which is handed over as it is", () => {
  const parcel = new Parcel();
  const large = filled(LARGE_BYTES, 7);
  assert.equal(parcel.give(large), large);
  const taken = parcel.take(LARGE_BYTES).fill(8);
  assert.equal(taken.buffer.byteLength, LARGE_BYTES);
  const [first, second] = posted([large, taken], parcel);
  assert.deepEqual(first, filled(LARGE_BYTES, 7));
  assert.deepEqual(second, filled(LARGE_BYTES, 8));
  assert.equal(large.length, 0);
});

Deno.test("bytes that lie in memory with others are copied, and stay", () => {
  const parcel = new Parcel();
  const memory = filled(3 * LARGE_BYTES, 9);
  const given = parcel.give(memory.subarray(10, LARGE_BYTES + 10));
  assert.deepEqual(posted(given, parcel), filled(LARGE_BYTES, 9));
  assert.equal(memory.length, 3 * LARGE_BYTES);
});
