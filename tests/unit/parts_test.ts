/** Answers in parts: how a handler's iterator or stream is asked, and when it is stopped. */

import { strict as assert } from "node:assert";
import { type Handler, RequestError } from "../../worker/handler.ts";
import { testHandler, type TestReply } from "../../worker/testing.ts";
import { bytes, text } from "../rig/text.ts";

function framesIn(reply: TestReply): string[] {
  assert.equal(reply.message, "");
  return reply.frames.map(text);
}

/** A stream that is never closed, and notes whether it was cancelled. */
function endless(first: string, seen: unknown[]): ReadableStream<string> {
  return new ReadableStream({
    start: (controller) => controller.enqueue(first),
    cancel: (reason) => void seen.push(reason instanceof Error ? reason.message : reason),
  });
}

Deno.test("the parts of an answer are the frames of one reply, whatever they come from", async () => {
  const cases: [Handler, string[]][] = [
    [async function* () {
      yield "a";
      yield bytes("b");
      yield ["c", bytes("d")];
    }, ["a", "b", "c", "d"]],
    [async function* () {
      yield "a";
      return "b";
    }, ["a", "b"]],
    [async function* () {
      yield "";
      return "";
    }, ["", ""]],
    [async function* () {}, [""]],
    [() => ReadableStream.from(["a", "b"]), ["a", "b"]],
    [() => Promise.resolve(ReadableStream.from([])), [""]],
    [() => ({ [Symbol.asyncIterator]: () => ReadableStream.from(["a"]).values() }), ["a"]],
  ];
  for (const [handler, frames] of cases) {
    assert.deepEqual(framesIn(await testHandler(handler)), frames);
  }
});

Deno.test("a handler may use its memory for the next part", async () => {
  const reply = await testHandler(async function* () {
    const memory = new Uint8Array(1);
    for (const letter of "abc") {
      memory[0] = letter.charCodeAt(0);
      yield memory;
    }
  });
  assert.deepEqual(framesIn(reply), ["a", "b", "c"]);
});

Deno.test("a part that is none, and an error after parts, are the answer", async () => {
  const cases: [Handler, number, RegExp][] = [
    [
      async function* () {
        yield "a";
        throw new RequestError(404, "No more");
      },
      404,
      /^No more$/,
    ],
    [
      async function* () {
        yield "a";
        yield undefined as unknown as string;
      },
      500,
      /^The handler must return Uint8Array.*: it returned undefined$/,
    ],
    [
      () => new ReadableStream({ start: (controller) => controller.error(new Error("torn")) }),
      500,
      /^torn$/,
    ],
    [
      () => {
        const stream = ReadableStream.from(["a"]);
        stream.getReader();
        return stream;
      },
      500,
      /locked/,
    ],
  ];
  for (const [handler, code, message] of cases) {
    const reply = await testHandler(handler);
    assert.equal(reply.code, code);
    assert.match(reply.message, message);
  }
});

Deno.test("parts that are too many for one reply are answered 413, and their handler is stopped", async () => {
  const seen: unknown[] = [];
  const counting: Handler = async function* () {
    try {
      for (let count = 0;; count++) yield `${count}`;
    } finally {
      seen.push("finally");
    }
  };
  const most = { maxFrames: 3, maxMessageSize: 100 };
  const frames = await testHandler(counting, most);
  assert.equal(frames.code, 413);
  assert.match(frames.message, /^The parts of the reply must have at most 3 frames together/);
  const size = await testHandler(() => endless("x".repeat(101), seen), most);
  assert.equal(size.code, 413);
  assert.match(size.message, /at most 100 bytes together/);
  assert.deepEqual(seen, ["finally", size.message]);
});

Deno.test("a generator is ended at its next part when its job should stop", async () => {
  const controller = new AbortController();
  const seen: string[] = [];
  const reply = await testHandler(async function* () {
    try {
      yield "a";
      controller.abort();
      yield "b";
      seen.push("went on");
    } finally {
      seen.push("finally");
    }
  }, { signal: controller.signal });
  assert.deepEqual([reply.code, seen], [499, ["finally"]]);
});

Deno.test("a generator that returns as its job should stop has not come to its end", async () => {
  const reply = await testHandler(async function* (_, { signal }) {
    yield "a";
    await new Promise((resolve) => signal.addEventListener("abort", resolve));
  }, { requestTimeout: 1 });
  assert.equal(reply.code, 504);
});

Deno.test("a stream is cancelled while it is waited for when its job should stop", async () => {
  const controller = new AbortController();
  const seen: unknown[] = [];
  const asked = testHandler(() => {
    queueMicrotask(() => controller.abort());
    return endless("a", seen);
  }, { signal: controller.signal });
  assert.equal((await asked).code, 499);
  assert.deepEqual(seen, ["Nobody waits for the answer any more"]);
});

Deno.test("an error of an iterator that is stopped hides nothing", async () => {
  const handler: Handler = async function* () {
    try {
      yield ["a", "b"];
    } finally {
      // deno-lint-ignore no-unsafe-finally
      throw new Error("in finally");
    }
  };
  const reply = await testHandler(handler, { maxFrames: 1 });
  assert.equal(reply.code, 413);
});
