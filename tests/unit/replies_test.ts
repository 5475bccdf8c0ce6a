/** When a worker's replies share a message, and when they are sent. */

import { strict as assert } from "node:assert";
import { readReply } from "../../wire/job.ts";
import { Replies } from "../../worker/replies.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** A socket that keeps the messages it was given: the sizes of their frames. */
class FakeSocket {
  readonly sent: number[][] = [];
  #frames: number[] = [];

  sendMore(bytes: Bytes): "sent" {
    this.#frames.push(bytes.length);
    return "sent";
  }

  sendLast(bytes: Bytes): "sent" {
    this.sent.push([...this.#frames, bytes.length]);
    this.#frames = [];
    return "sent";
  }
}

const HEADER = 20;
const WAIT = true;

function replies():
  & { socket: FakeSocket; add(size: number, mayWait: boolean, now: number): void }
  & {
    flush(): void;
  } {
  const socket = new FakeSocket();
  const replies = new Replies(socket);
  const add = (size: number, mayWait: boolean, now: number) => {
    const header = { job: 1, code: 200, flags: 0, micros: 0, frames: 1 };
    replies.add(header, [new Uint8Array(size)], size, mayWait, now);
  };
  return { socket, add, flush: () => replies.flush() };
}

Deno.test("Replies sends a reply at once when it may not wait", () => {
  const { socket, add } = replies();
  add(3, !WAIT, 0);
  add(4, !WAIT, 0);
  assert.deepEqual(socket.sent, [[HEADER, 3], [HEADER, 4]]);
});

Deno.test("Replies sends those that wait with the next one that may not", () => {
  const { socket, add, flush } = replies();
  add(3, WAIT, 0);
  assert.deepEqual(socket.sent, []);
  add(4, !WAIT, 0);
  flush();
  assert.deepEqual(socket.sent, [[HEADER, 3, HEADER, 4]]);
});

Deno.test("Replies ends a message with an empty frame when it is flushed, and only if one waits", () => {
  const { socket, add, flush } = replies();
  flush();
  add(3, WAIT, 0);
  flush();
  flush();
  assert.deepEqual(socket.sent, [[HEADER, 3, 0]]);
});

Deno.test("Replies sends what waits when a reply is large, or the first one has waited for 0.2 ms", () => {
  const { socket, add } = replies();
  add(1, WAIT, 0);
  add(16_385, WAIT, 0);
  add(1, WAIT, 5);
  add(2, WAIT, 5.1);
  add(3, WAIT, 5.3);
  assert.deepEqual(socket.sent, [[HEADER, 1, HEADER, 16_385], [HEADER, 1, HEADER, 2, HEADER, 3]]);
});

Deno.test("Replies writes each reply's header and all of its frames", () => {
  const frames: Bytes[] = [];
  const keep = (bytes: Bytes) => (frames.push(bytes.slice()), "sent" as const);
  const header = { job: 2 ** 40, code: 503, flags: 3, micros: 7, frames: 2 };
  const bodies = [Uint8Array.of(1), Uint8Array.of(2, 3)];
  new Replies({ sendMore: keep, sendLast: keep }).add(header, bodies, 3, !WAIT, 0);
  const [first = new Uint8Array(HEADER), ...rest] = frames;
  assert.deepEqual(readReply(new DataView(first.buffer)), header);
  assert.deepEqual(rest, bodies);
});
