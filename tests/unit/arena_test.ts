import assert from "node:assert/strict";
import { Arena } from "../../zmq/arena.ts";

Deno.test("Arena gives buffers of any size, which share no byte and begin as zeros", () => {
  const arena = new Arena();
  const sizes = [0, 1, 8, 255, 256, 257, 5000, ...Array(200).fill(33)];
  const buffers = sizes.map((size) => arena.take(size));
  buffers.forEach((buffer, index) => {
    assert.equal(buffer.length, sizes[index]);
    assert(buffer.every((byte) => byte === 0), `buffer ${index} is clean`);
    buffer.fill(index % 255 + 1);
  });
  buffers.forEach((buffer, index) => assert(buffer.every((byte) => byte === index % 255 + 1)));
});

Deno.test("Arena keeps no more than 4 KiB alive for one small buffer", () => {
  const arena = new Arena();
  for (let index = 0; index < 100; index++) assert(arena.take(200).buffer.byteLength <= 4096);
});
