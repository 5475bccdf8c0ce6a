/** Typed calls over a real server: by our client, by plain clients, and by none who may not. */

import { strict as assert } from "node:assert";
import { Client, ReplyError } from "../../client.ts";
import { buildCall, readAnswer } from "../../wire/call.ts";
import { path, ROOT } from "../rig/checkout.ts";
import { clientOver } from "../rig/over_both.ts";
import { Peer } from "../rig/peer.ts";
import { ServerProcess } from "../rig/server_process.ts";
import { text } from "../rig/text.ts";
import { until } from "../rig/wait.ts";

type Calc = typeof import("../../examples/calc.ts");

function serveCalc(...args: string[]): Promise<ServerProcess> {
  return ServerProcess.start({ args: ["--workers", "2", ...args, path("examples/calc.ts")] });
}

async function failure(call: Promise<unknown>): Promise<ReplyError> {
  const error = await call.then(() => undefined, (error) => error);
  assert(error instanceof ReplyError, `${error}`);
  return error;
}

for (const transport of ["native", "libzmq"] as const) {
  Deno.test(`Client.typed calls the functions of examples/calc.ts, over ${transport}`, async () => {
    await using server = await serveCalc("--transport", transport);
    await using client = new (clientOver(transport))({ endpoint: server.endpoint });
    const api = client.typed<Calc>();
    assert.equal(await api.add(1, 2), 3);
    assert.deepEqual(await Promise.all([api.mean(1, 2, 6), api.add(0.5, 1)]), [3, 1.5]);
    assert.deepEqual(await api.user.get("ada"), { name: "Ada", born: "1815-12-10T00:00:00.000Z" });
    const unknown = await failure(api.user.get("bob"));
    assert.deepEqual([unknown.code, unknown.message], [404, "No such user: bob"]);
    assert.deepEqual(unknown.details, { known: ["ada", "alan"] });
    assert.equal((await failure(api.mean())).code, 400);
    const large = crypto.getRandomValues(new Uint8Array(65_536));
    const { sha256, size } = await api.digest(large);
    assert.deepEqual(sha256, new Uint8Array(await crypto.subtle.digest("SHA-256", large)));
    assert.equal(size, 65_536);
    assert.equal(sha256.buffer.byteLength, 32);
    const numbers = [];
    for await (const number of api.count(3)) numbers.push(number);
    assert.deepEqual([numbers, await api.count(2)], [[1, 2, 3], [1, 2]]);
    for await (const _ of api.count(0)) assert.fail();
    await assert.rejects(async () => {
      for await (const _ of Object(api.add(1, 2)));
    }, /Cannot iterate over "add": its answer does not come in parts/);
  });
}

Deno.test("Client.typed sends its options with each call, and those of `with`", async () => {
  await using server = await serveCalc();
  await using client = new Client({ endpoint: server.endpoint });
  const api = client.typed<Calc>({ requestTimeout: 1 });
  assert.equal((await failure(api.count(1, 2000))).code, 504);
  assert.deepEqual(await api.with({ requestTimeout: 0 }).count(1), [1]);
  const signal = AbortSignal.abort(new Error("gone"));
  await assert.rejects(api.with({ signal }).add(1, 2), /gone/);
  const wrong = { timeout: 3000, timeOut: 3 };
  await assert.rejects(api.with(wrong).add(1, 2), /Unknown option "timeOut"/);
});

Deno.test("Client.typed rejects arguments that can't be sent, and answers that are not of calls", async () => {
  await using server = await ServerProcess.start();
  await using client = new Client({ endpoint: server.endpoint });
  const api = client.typed<Calc>();
  await assert.rejects(api.add(NaN, 1), /Cannot send args\[0\]: it is NaN/);
  await assert.rejects(api.add(1, 2), /The answer is not that of a call/);
});

Deno.test("what Client.typed returns is no promise, and no JSON", async () => {
  await using client = new Client();
  const api = client.typed<Calc>();
  assert.equal(await api, api);
  assert.equal(await api.user, api.user);
  assert.equal(api.user.get, api.user.get);
  assert.equal(JSON.stringify({ api }), "{}");
  assert.match(`${api}`, /function|=>/);
  assert.throws(() => Reflect.apply(Object(api), undefined, []), /name one of them/);
  assert.throws(() => Object.assign(api, { add: 1 }), TypeError);
});

Deno.test("a plain client calls with frames of JSON and bytes", async () => {
  await using server = await serveCalc();
  await using peer = new Peer(server.endpoint);
  const ask = async (...frames: Uint8Array<ArrayBuffer>[]) => {
    peer.send("", ...frames);
    const [empty, ...answer] = await peer.receive();
    assert.equal(empty?.length, 0);
    return answer;
  };
  const call = (name: string, ...args: unknown[]) =>
    ask(...buildCall(name, args).map((frame) => new Uint8Array(frame)));
  assert.deepEqual((await call("add", 1, 2)).map(text), ['{"result":3}']);
  const digest = readAnswer(await call("digest", Uint8Array.of(1)));
  assert(digest.is === "result");
  assert.deepEqual((await call("user.get", "bob")).map(text), ["", "404 No such user: bob"]);
  const hint = 'Unknown call "ad": did you mean "add"?';
  assert.deepEqual((await call("ad")).map(text), ["", `404 ${hint}`]);
  assert.deepEqual(readAnswer(await call("count", 2)), { is: "parts", values: [1, 2] });
  const [empty, message] = await ask(new TextEncoder().encode("add 1 2"));
  assert.equal(empty?.length, 0);
  assert.match(text(message), /^400 The first frame must be a call, such as \{"call":"add"/);
});

/** Streams that the test can hold up, and look at. */
const STREAMS = `
import { rpc, RequestError } from ${JSON.stringify(new URL("worker.ts", ROOT).href)};
let asked = 0, stored = [];
const stopped = Promise.withResolvers();
export default rpc({
  /** Gives one part, then waits until it is stopped. */
  async *endless() {
    asked++;
    try {
      yield { first: Uint8Array.of(1, 2) };
      await new Promise((_, reject) => this.signal.addEventListener("abort", reject));
    } finally {
      stopped.resolve();
    }
  },
  stopped: () => stopped.promise,
  asked: () => asked,
  async *fails() {
    yield 1;
    throw new RequestError(409, "enough", { details: [1] });
  },
  async *wrong() {
    yield 1;
    yield NaN;
  },
  store(...images) { stored = images.map((image) => [...image]); },
  stored: () => stored,
});`;

/** What STREAMS offers, for the compiler. */
interface Streams {
  default: {
    calls: {
      endless(): AsyncGenerator<{ first: Uint8Array }>;
      stopped(): void;
      asked(): number;
      fails(): AsyncGenerator<number>;
      wrong(): AsyncGenerator<number>;
      store(...images: Uint8Array[]): void;
      stored(): number[][];
    };
  };
}

function serveStreams(): Promise<ServerProcess> {
  const args = ["--workers", "1", "--concurrency", "8"];
  return ServerProcess.start({ handler: STREAMS, args });
}

for (const transport of ["native", "libzmq"] as const) {
  Deno.test(`a typed stream brings each part at once, and leaving it stops the call, over ${transport}`, async () => {
    await using server = await serveStreams();
    await using client = new (clientOver(transport))({ endpoint: server.endpoint });
    const api = client.typed<Streams>();
    for await (const { first } of api.endless()) {
      assert.deepEqual(first, Uint8Array.of(1, 2));
      assert.equal(first.buffer.byteLength, 2);
      break;
    }
    await api.stopped();
    assert.equal(await api.asked(), 1);
  });
}

Deno.test("an error ends a typed stream behind its parts", async () => {
  await using server = await serveStreams();
  await using client = new Client({ endpoint: server.endpoint });
  const api = client.typed<Streams>();
  const got: unknown[] = [];
  const error = await failure((async () => {
    for await (const part of api.fails()) got.push(part);
  })());
  assert.deepEqual([got, error.code, error.message, error.details], [[1], 409, "enough", [1]]);
  const wrong = await failure((async () => {
    for await (const part of api.wrong()) got.push(part);
  })());
  assert.deepEqual([got, wrong.code], [[1, 1], 500]);
});

Deno.test("a typed call is sent once, whether it is awaited, iterated, or neither", async () => {
  await using server = await serveCalc();
  await using client = new Client({ endpoint: server.endpoint });
  const api = client.typed<Calc>();
  const numbers = async (from: AsyncIterable<number>) => {
    const all = [];
    for await (const number of from) all.push(number);
    return all;
  };
  const late = api.count(3);
  await api.add(1, 2);
  assert.deepEqual([await numbers(late), await late, await numbers(late)], [[1, 2, 3], [1, 2, 3], [
    1,
    2,
    3,
  ]]);
  const iterated = api.count(2);
  assert.deepEqual(await numbers(iterated), [1, 2]);
  await assert.rejects(iterated, /Cannot await "count": it is iterated/);
  assert.throws(() => iterated[Symbol.asyncIterator](), /Cannot iterate over "count" twice/);
  assert.deepEqual(await Array.fromAsync(ReadableStream.from(api.count(2))), [1, 2]);
  const returned = (() => Promise.resolve(api.count(2)))();
  assert.deepEqual(await returned, [1, 2]);
  await using plain = new Client({ endpoint: server.endpoint, plain: true });
  assert.deepEqual(await numbers(plain.typed<Calc>().count(3)), [1, 2, 3]);
});

Deno.test("a typed call that nobody awaits is sent, with the bytes that it was given", async () => {
  await using server = await serveStreams();
  await using client = new Client({ endpoint: server.endpoint });
  const api = client.typed<Streams>();
  const image = Uint8Array.of(1, 2);
  const sent = api.store(image, image.subarray(1));
  image.fill(9);
  await sent;
  assert.deepEqual(await api.stored(), [[1, 2], [2]]);
  void api.store(Uint8Array.of(3));
  await until("it has come", async () => (await api.stored())[0]?.[0] === 3);
});

/** Dies in mid-stream, unless it goes on from where another worker has died. */
const MORTAL = `
import { rpc } from ${JSON.stringify(new URL("worker.ts", ROOT).href)};
export default rpc({
  async *count(to) {
    for (let n = this.partsSent; n < to; n++) {
      yield n;
      if (n === 1 && this.attempt === 1) {
        await new Promise((resolve) => setTimeout(resolve, 300));
        Deno.exit(3);
      }
    }
  },
});`;

Deno.test("a typed stream that is resumable goes on when its worker has died; others end with 502", async () => {
  await using server = await ServerProcess.start({ handler: MORTAL, args: ["--workers", "2"] });
  await using client = new Client({ endpoint: server.endpoint });
  const api = client.typed<{ default: { calls: { count(to: number): AsyncGenerator<number> } } }>();
  const got: number[] = [];
  for await (const n of api.with({ resumable: true }).count(4)) got.push(n);
  assert.deepEqual(got, [0, 1, 2, 3]);
  const error = await failure((async () => {
    for await (const n of api.count(4)) got.push(n);
  })());
  assert.equal(error.code, 502);
  assert.deepEqual(got, [0, 1, 2, 3, 0, 1]);
});

Deno.test("typed calls reach a service by its name", async () => {
  const args = ["--service", `calc=${path("examples/calc.ts")}`, path("examples/upper.ts")];
  await using server = await ServerProcess.start({ args });
  await using client = new Client({ endpoint: server.endpoint });
  const apis = [
    client.typed<Calc>({ service: "calc" }),
    client.service("calc").typed<Calc>({ timeout: 60_000 }),
    client.typed<Calc>().with({ service: "calc" }),
  ];
  for (const api of apis) {
    assert.equal(await api.add(1, 2), 3);
    assert.deepEqual(await Array.fromAsync(api.count(2)), [1, 2]);
  }
  await assert.rejects(client.typed<Calc>().add(1, 2), /The answer is not that of a call/);
  assert.equal((await failure(client.service("none").typed<Calc>().add(1, 2))).code, 404);
});

/** A handler that checks its input, by a schema of no library. */
const CHECKED = `
import { procedure, rpc } from ${JSON.stringify(new URL("worker.ts", ROOT).href)};
const validate = async (value) => {
  const wrong = value.items.findIndex(({ price }) => typeof price !== "number");
  if (wrong < 0) return { value };
  return { issues: [{ message: "expected a number", path: ["items", { key: wrong }, "price"] }] };
};
const Order = { "~standard": { version: 1, vendor: "test", validate } };
export default rpc({
  total: procedure(Order, ({ items }) => items.reduce((sum, { price }) => sum + price, 0)),
});`;

interface Checked {
  default: { calls: { total(order: { items: { price: number }[] }): number } };
}

Deno.test("a procedure's issues reach our client as details, and plain clients in the message", async () => {
  await using server = await ServerProcess.start({ handler: CHECKED, args: ["--workers", "1"] });
  await using client = new Client({ endpoint: server.endpoint });
  const api = client.typed<Checked>();
  assert.equal(await api.total({ items: [{ price: 1 }, { price: 2 }] }), 3);
  const wrong = JSON.parse('{"items":[{"price":1},{"price":"2"}]}');
  const { code, details } = await failure(api.total(wrong));
  const { issues: [issue] } = details as { issues: { message: string; path: unknown[] }[] };
  assert.deepEqual([code, issue?.path], [400, ["items", 1, "price"]]);
  await using peer = new Peer(server.endpoint);
  const [, message = ""] = await peer.ask(JSON.stringify({ call: "total", args: [wrong] }));
  assert.equal(message, `400 The input does not fit: items[1].price: ${issue?.message}`);
});

/** A handler with more exports than calls. */
const EXPORTS = `
import { rpc } from ${JSON.stringify(new URL("worker.ts", ROOT).href)};
export const secret = () => "secret";
export function init() {}
export function finish() {}
export default rpc({ add: (a, b) => a + b, proto: () => typeof Object.prototype.hacked });`;

Deno.test("other exports of a handler can't be called, nor what objects inherit", async () => {
  await using server = await ServerProcess.start({ handler: EXPORTS, args: ["--workers", "1"] });
  await using peer = new Peer(server.endpoint);
  const names = ["secret", "init", "finish", "default", "default.add", "constructor", "__proto__"];
  for (const name of [...names, "toString", "add.call", "add.constructor", "calls.add"]) {
    const [, message = ""] = await peer.ask(JSON.stringify({ call: name }));
    assert.match(message, /^404 Unknown call/);
  }
  const polluting = '{"call":"add","args":[{"__proto__":{"hacked":1}},1]}';
  const [, message = ""] = await peer.ask(polluting);
  assert.match(message, /^400 An object must not have a key "__proto__"/);
  assert.deepEqual(await peer.ask('{"call":"proto"}'), ['{"result":"undefined"}']);
});
