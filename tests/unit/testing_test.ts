/** testHandler and TestWorker: the same as a worker, without one. */

import { parseStatus } from "../rig/status.ts";
import { strict as assert } from "node:assert";
import type { HandlerContext } from "../../worker/handler.ts";
import { json, RequestError } from "../../worker/handler.ts";
import { testHandler, TestWorker } from "../../worker/testing.ts";
import { EMPTY_FRAME } from "../../wire/empty_frame.ts";
import { buildRequestHeader } from "../../wire/request_header.ts";
import { Folder } from "../rig/folder.ts";
import { Peer } from "../rig/peer.ts";
import { ServerProcess } from "../rig/server_process.ts";
import { bytes, text } from "../rig/text.ts";

type Body = Uint8Array;

Deno.test("testHandler gives the frames that a client would get", async () => {
  const cases: [unknown, string[]][] = [
    ["text", ["text"]],
    [bytes("bytes"), ["bytes"]],
    [["a", bytes("b"), ""], ["a", "b", ""]],
    [[], [""]],
    [Promise.resolve("later"), ["later"]],
  ];
  for (const [result, frames] of cases) {
    const reply = await testHandler(() => result as string);
    assert.deepEqual([reply.code, reply.message, reply.error], [200, "", undefined]);
    assert.deepEqual(reply.frames.map(text), frames);
  }
  const sum = json((order: { items: number[] }) => ({ sum: order.items.length }));
  assert.deepEqual((await testHandler(sum, { body: '{"items":[1,2]}' })).json(), { sum: 2 });
  const wrong = await testHandler(sum, { body: "no JSON" });
  assert.equal(wrong.code, 400);
  assert.match(wrong.message, /^The body must be JSON: /);
});

Deno.test("testHandler gives errors as error replies, with what was thrown", async () => {
  const cases: [() => string, number, RegExp][] = [
    [() => raise(new RequestError(404, "No such order")), 404, /^No such order$/],
    [() => raise(new Error("broken")), 500, /^broken$/],
    [() => raise("text"), 500, /^text$/],
    [() => 42 as unknown as string, 500, /^The handler must return .*: it returned 42$/],
    [() => "x".repeat(11), 500, /^The reply must have at most 10 bytes: it has 11$/],
  ];
  for (const [handler, code, message] of cases) {
    const reply = await testHandler(handler, { maxMessageSize: 10 });
    assert.deepEqual([reply.code, reply.frames], [code, []]);
    assert.match(reply.message, message);
    assert.ok(reply.error !== undefined);
  }
});

Deno.test("testHandler refuses what a handler can't send, and says what it was to be sent by", async () => {
  const rule = "must be Uint8Array, string or an array of them: it is";
  const cases: [(ctx: HandlerContext, wrong: string) => Promise<unknown>, unknown, string][] = [
    [(ctx, wrong) => ctx.request("x", wrong), 5, `Cannot ask: the body ${rule} 5`],
    [(ctx, wrong) => ctx.request("x", wrong), {}, `Cannot ask: the body ${rule} Object`],
    [(ctx, wrong) => ctx.request("x", wrong), [1], `Cannot ask: the body ${rule} an array with 1`],
    [(ctx, wrong) => ctx.submit(wrong), null, "Cannot submit a job: the body must be Uint8Array"],
    [(ctx, wrong) => ctx.submit(wrong), [[]], "Cannot submit a job: the body must be Uint8Array"],
    [
      async (ctx, wrong) => await ctx.job?.checkpoint(wrong),
      5,
      "Cannot keep a checkpoint: it must be one frame, Uint8Array or string",
    ],
    [
      async (ctx, wrong) => await ctx.job?.checkpoint(wrong),
      ["a"],
      "Cannot keep a checkpoint: it must be one frame, Uint8Array or string",
    ],
  ];
  for (const [act, wrong, message] of cases) {
    const handler = async (_body: Body, ctx: HandlerContext) => {
      await act(ctx, wrong as string);
      return "sent";
    };
    const reply = await testHandler(handler, { job: {}, services: { x: () => "answer" } });
    assert.deepEqual([reply.code, reply.submitted, reply.checkpoints], [500, [], []]);
    assert.ok(reply.message.startsWith(message), reply.message);
    assert.ok(reply.error instanceof TypeError);
  }
});

function raise(error: unknown): never {
  throw error;
}

Deno.test("testHandler makes the context that it is told of", async () => {
  const client = { address: "192.0.2.1", identity: "till", user: "alice" };
  const deadline = Date.now() + 60_000;
  const handler = (body: Body, ctx: HandlerContext) =>
    JSON.stringify({
      body: text(body),
      frames: ctx.frames.map(text),
      id: ctx.id,
      attempt: ctx.attempt,
      client: ctx.client,
      deadline: ctx.deadline,
      aborted: ctx.signal.aborted,
    });
  const told = { id: 7, attempt: 2, client, deadline };
  const reply = await testHandler(handler, { body: ["a", bytes("b")], ...told });
  const seen = { body: "a", frames: ["a", "b"], ...told, aborted: false };
  assert.deepEqual(reply.json(), seen);
  const usual = await testHandler(handler);
  const nobody = { address: "", identity: "", user: "" };
  const plain = { body: "", frames: [""], id: 1, attempt: 1, client: nobody, aborted: false };
  assert.deepEqual(usual.json(), plain);
  await assert.rejects(testHandler(handler, { body: [] }), /at least one frame/);
});

Deno.test("testHandler gives the handler a body of its own", async () => {
  const body = bytes("kept");
  await testHandler((mine) => mine.fill(0), { body });
  assert.equal(text(body), "kept");
});

Deno.test("testHandler keeps what is logged, as the server's log has it", async () => {
  const { log } = await testHandler((_body, { log }) => {
    log.info("one", { table: "orders", ms: 12, none: undefined });
    log.error(new TypeError("two"));
    log.warn({ a: [1] });
    return "";
  });
  assert.deepEqual(log[0], { level: "info", message: "one", fields: { table: "orders", ms: 12 } });
  assert.deepEqual([log[1]?.level, log[1]?.message], ["error", "TypeError: two"]);
  assert.match(String(log[1]?.fields.stack), /^TypeError: two\n +at .*testing_test\.ts/);
  assert.deepEqual([log[2]?.message, log[2]?.fields], ["{ a: [ 1 ] }", {}]);
});

Deno.test("testHandler aborts the signal, and gives the code of what was the reason", async () => {
  const waits = (_body: Body, { signal }: HandlerContext) =>
    new Promise<string>((_, reject) => {
      const stop = () => reject(signal.reason);
      if (signal.aborted) stop();
      else signal.addEventListener("abort", stop);
    });
  assert.equal((await testHandler(waits, { requestTimeout: 20 })).code, 504);
  assert.equal((await testHandler(waits, { deadline: Date.now() + 20 })).code, 408);
  const controller = new AbortController();
  const asked = testHandler(waits, { signal: controller.signal });
  controller.abort();
  assert.equal((await asked).code, 499);
  assert.equal((await testHandler(waits, { signal: AbortSignal.abort() })).code, 499);
});

Deno.test("TestWorker runs init once before, allow each time, and finish once after", async () => {
  const calls: string[] = [];
  const module = {
    default: (body: Body) => (calls.push(text(body)), body),
    init: async () => {
      await undefined;
      calls.push("init");
    },
    allow: ({ client }: HandlerContext) => Promise.resolve(client.user === "alice"),
    finish: () => void calls.push("finish"),
    dequeue: () => void calls.push("dequeue"),
  };
  {
    await using worker = await TestWorker.start(module);
    const client = { user: "alice" };
    await Promise.all([
      worker.request({ body: "a", client }),
      worker.request({ body: "b", client }),
    ]);
    const denied = await worker.request({ body: "c" });
    assert.deepEqual([denied.code, denied.message], [403, "The request is not allowed"]);
    await worker.dequeue();
  }
  assert.deepEqual(calls, ["init", "a", "b", "dequeue", "finish"]);
});

Deno.test("testHandler refuses what a worker would refuse", async () => {
  const start = (module: unknown) => testHandler(module as () => string);
  await assert.rejects(start({}), TypeError);
  await assert.rejects(start({ default: 1 }), TypeError);
  await assert.rejects(start({ default: () => "", init: 1 }), /"init" must be a function/);
  await assert.rejects(
    start({ default: () => "", init: () => raise(new Error("no base")) }),
    /no base/,
  );
});

/** The code of a server's reply, and its frames as text. */
async function askHeaded(peer: Peer, body: string): Promise<(number | string | undefined)[]> {
  peer.send(buildRequestHeader({ id: 1 }), EMPTY_FRAME, body);
  const [_header, _delimiter, status, ...frames] = await peer.receive();
  return [parseStatus(status ?? EMPTY_FRAME), ...frames.map(text)];
}

/** Each name answers in another way; both sides load the same file. */
const HANDLER = `
import { RequestError } from ${
  JSON.stringify(new URL("../../worker/handler.ts", import.meta.url).href)
};
const ANSWERS = {
  text: () => "text",
  frames: () => ["a", new Uint8Array([98]), ""],
  none: () => [],
  later: () => Promise.resolve("later"),
  thenable: () => ({ then: (resolve) => resolve("then") }),
  worded: () => { throw new RequestError(418, "teapot"); },
  named: () => { throw Object.assign(new Error("also"), { name: "RequestError", code: 409 }); },
  broken: () => { throw new Error("broken"); },
  odd: () => { throw Object.create(null); },
  number: () => 42,
  mixed: () => ["a", 1],
  denied: () => "not reached",
  late: (_body, { signal }) => new Promise((_, reject) =>
    signal.addEventListener("abort", () => reject(signal.reason))),
};
export const allow = ({ frames }) => new TextDecoder().decode(frames[0]) !== "denied";
export default (body, ctx) => ANSWERS[new TextDecoder().decode(body)](body, ctx);
export const names = Object.keys(ANSWERS);
`;

Deno.test("testHandler answers as a server does, whatever the handler returns or throws", async () => {
  using folder = new Folder();
  const file = folder.write("handler.ts", HANDLER);
  const module = await import(`file://${file}`);
  const args = [file, "--request-timeout", "100ms"];
  await using server = await ServerProcess.start({ args });
  await using peer = new Peer(server.endpoint);
  assert.ok(module.names.length > 10);
  for (const body of module.names) {
    const { code, message, frames } = await testHandler(module, { body, requestTimeout: 100 });
    const mine = code === 200 ? frames.map(text) : [message];
    assert.deepEqual([code, ...mine], await askHeaded(peer, body), body);
  }
});
