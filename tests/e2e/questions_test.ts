/** Handlers that ask other services of their server. */

import { strict as assert } from "node:assert";
import { Client, ReplyError } from "../../client.ts";
import type { ServeOptions } from "../../mod.ts";
import { endpointOf, moduleOf, serveQuietly } from "../rig/in_process.ts";
import { KeyRing } from "../rig/key_ring.ts";
import { askOnce } from "../rig/peer.ts";
import { until } from "../rig/wait.ts";

/** The lanes to workers, by where they connect. */
const LANES: Record<string, Partial<ServeOptions>> = {
  records: {},
  zmq: { backend: "tcp://127.0.0.1:0" },
};

/** Asks what its own request says: a service, and a body. */
const FRONT = moduleOf(`
  export default async (body, ctx) => {
    const { service, text, options } = JSON.parse(new TextDecoder().decode(body));
    const answer = await ctx.request(service, text ?? "", options);
    return answer.frames;
  };
`);
const UPPER = moduleOf(`
  export default (body, { frames, client, deadline }) => {
    const texts = frames.map((frame) => new TextDecoder().decode(frame).toUpperCase());
    if (texts[0] === "WHO") return JSON.stringify([client.user, client.address]);
    if (texts[0] === "DEADLINE") return String(deadline);
    if (texts[0] === "SIZE") return new Uint8Array(Number(texts[1]));
    return texts;
  };
`);
/** Waits until it should stop, and counts who does. */
const SLOW = moduleOf(`
  let stopped = 0;
  export default (body, { signal }) => {
    if (body.length > 0) return String(stopped);
    return new Promise((_, reject) => signal.addEventListener("abort", () => {
      stopped++;
      reject(signal.reason);
    }));
  };
`);

function ask(client: Client, service: string, text: unknown = "", options = {}) {
  return client.request(JSON.stringify({ service, text, options }), { retries: 0 });
}

/** The code and the message of the error that a request ends with. */
async function failure(request: Promise<unknown>): Promise<[number, string]> {
  try {
    await request;
  } catch (error) {
    if (error instanceof ReplyError) return [error.code, error.message];
    throw error;
  }
  throw new Error("It was answered");
}

for (const [lane, options] of Object.entries(LANES)) {
  Deno.test(`ctx.request gets the answer of another service, over the lane of ${lane}`, async () => {
    const services = { upper: UPPER };
    await using server = serveQuietly({ ...options, handler: FRONT, services, workers: 1 });
    await server.ready;
    await using client = new Client({ endpoint: endpointOf(server) });
    assert.equal((await ask(client, "upper", "hello")).text(), "HELLO");
    const several = await ask(client, "upper", ["one", "", "three"]);
    assert.deepEqual(several.frames.map((frame) => new TextDecoder().decode(frame)), [
      "ONE",
      "",
      "THREE",
    ]);
    for (const size of [0, 8191, 8192, 100_000, 6_000_000]) {
      assert.equal((await ask(client, "upper", ["size", String(size)])).bytes.length, size);
      const text = "x".repeat(size);
      assert.equal((await ask(client, "upper", text)).bytes.length, size);
    }
    // A plain client's handler can ask just as well.
    const plain = await askOnce(
      endpointOf(server),
      JSON.stringify({ service: "upper", text: "x" }),
    );
    assert.deepEqual(plain, ["X"]);
  });

  Deno.test(`ctx.request fails as the other service does, over the lane of ${lane}`, async () => {
    const fails = moduleOf(`
      const error = (code, message, details) =>
        Object.assign(new Error(message), { name: "RequestError", code, details });
      export default (body) => {
        if (body.length > 0) throw new Error("secret");
        throw error(418, "a teapot", { cups: 2 });
      };
    `);
    const services = { fails };
    await using server = serveQuietly({ ...options, handler: FRONT, services, workers: 1 });
    await server.ready;
    await using client = new Client({ endpoint: endpointOf(server) });
    assert.deepEqual(await failure(ask(client, "no such")), [
      404,
      'The server has no service "no such"',
    ]);
    const error = await ask(client, "fails").then(() => undefined, (error) => error);
    assert.deepEqual([error.code, error.message, error.details], [418, "a teapot", { cups: 2 }]);
    assert.deepEqual(await failure(ask(client, "fails", "x")), [500, "secret"]);
  });

  Deno.test(`ctx.request is withdrawn with its job, over the lane of ${lane}`, async () => {
    const services = { slow: SLOW };
    const more = { concurrency: 4, workers: 1 };
    await using server = serveQuietly({ ...options, ...more, handler: FRONT, services });
    await server.ready;
    await using client = new Client({ endpoint: endpointOf(server) });
    const stopped = async () => Number((await ask(client, "slow", "?")).text());
    const controller = new AbortController();
    const request = client.request(JSON.stringify({ service: "slow" }), {
      signal: controller.signal,
    });
    await until("it runs", () => server.stats().running === 2);
    controller.abort();
    await assert.rejects(request);
    await until("the other service was told", async () => await stopped() === 1);
    // Its own time limit is no longer than its client waits.
    const [code] = await failure(ask(client, "slow", "", { timeout: 100 }));
    assert.equal(code, 408);
    await until("the other service was told", async () => await stopped() === 2);
  });
}

Deno.test("ctx.request passes on the deadline of its client, and who that is", async () => {
  using keys = new KeyRing("ann", "bob");
  const services = { upper: { handler: UPPER, users: ["ann"] } };
  await using server = serveQuietly({
    ...{ curveSecretKey: keys.secretKeyFile, curveClients: keys.list },
    ...{ handler: FRONT, services, workers: 1 },
  });
  await server.ready;
  const file = (name: string) => keys.writeSecret(`${name}.key`, keys.pair(name).secretKey);
  const as = (name: string) =>
    new Client({
      endpoint: endpointOf(server),
      curve: { serverKey: keys.server.publicKey, keyFile: file(name) },
    });
  await using ann = as("ann");
  await using bob = as("bob");
  assert.deepEqual((await ask(ann, "upper", "who")).json(), ["ann", "127.0.0.1"]);
  assert.deepEqual(await failure(ask(bob, "upper", "who")), [
    403,
    'The user "bob" may not ask the service "upper"',
  ]);
  const before = Date.now();
  const request = JSON.stringify({ service: "upper", text: "deadline" });
  const deadline = Number((await ann.request(request, { timeout: 30_000 })).text());
  assert(deadline >= before + 29_000 && deadline <= Date.now() + 31_000, `deadline ${deadline}`);
});

Deno.test("ctx.request goes through 16 services, and no more", async () => {
  const handler = moduleOf(`
    export default async (body, ctx) => {
      const left = Number(new TextDecoder().decode(body));
      return left === 0 ? "done" : (await ctx.request("", String(left - 1))).frames;
    };
  `);
  await using server = serveQuietly({ handler, workers: 1, concurrency: 20 });
  await server.ready;
  await using client = new Client({ endpoint: endpointOf(server) });
  assert.equal((await client.request("16", { retries: 0 })).text(), "done");
  assert.deepEqual(await failure(client.request("17", { retries: 0 })), [
    508,
    "The request went through 16 services",
  ]);
});

Deno.test("a worker that ends takes with it what it has asked", async () => {
  const handler = moduleOf(`
    export default async (body, ctx) => {
      const slow = ctx.request("slow");
      slow.catch(() => {});
      if (body.length === 0) Deno.exit(3);
      return (await ctx.request("slow", "?")).frames;
    };
  `);
  const services = { slow: { handler: SLOW, concurrency: 4 } };
  await using server = serveQuietly({ handler, services, workers: 1, maxAttempts: 1 });
  await server.ready;
  await using client = new Client({ endpoint: endpointOf(server) });
  assert.equal((await failure(client.request("", { retries: 0 })))[0], 502);
  // That of this job is withdrawn as the job ends, and is one more the next time.
  const stopped = async () => Number((await client.request("x")).text());
  await until("the other service was told", async () => await stopped() >= 1);
  await until("nothing is left", () => server.stats().running === 0);
});

Deno.test("ctx.request refuses what it can't ask", async () => {
  await using server = serveQuietly({ handler: FRONT, services: { upper: UPPER }, workers: 1 });
  await server.ready;
  await using client = new Client({ endpoint: endpointOf(server) });
  const wrong: [unknown, object, RegExp][] = [
    [[1], {}, /^Cannot ask: the body must be Uint8Array, string or an array .*array with 1$/],
    ["x", { timeout: -1 }, /"timeout" must be a number of ms >= 0: current value is -1/],
    ["x", { key: "k".repeat(200) }, /"key" must have at most 128 bytes: it has 200/],
    ["x", { key: 1 }, /"key" must be a string: it is a number/],
  ];
  for (const [text, options, message] of wrong) {
    const [code, said] = await failure(ask(client, "upper", text, options));
    assert.equal(code, 500);
    assert.match(said, message);
  }
  assert.match(
    (await failure(ask(client, "s".repeat(65))))[1],
    /"service" must have at most 64 bytes/,
  );
});

Deno.test("ctx.request is answered 503 where a queue is full", async () => {
  const slow = { handler: SLOW, queueLimit: 1, concurrency: 1, prefetch: 1 };
  const more = { workers: 1, concurrency: 10 };
  await using server = serveQuietly({ ...more, handler: FRONT, services: { slow } });
  await server.ready;
  await using client = new Client({ endpoint: endpointOf(server) });
  const controller = new AbortController();
  const { signal } = controller;
  const body = JSON.stringify({ service: "slow" });
  const open = [client.request(body, { signal }).catch(() => {})];
  await until("one runs", () => server.stats().services?.slow?.running === 1);
  open.push(client.request(body, { signal }).catch(() => {}));
  await until("the queue is full", () => server.stats().queue.jobs === 1);
  assert.deepEqual(await failure(ask(client, "slow")), [503, "The queue is full"]);
  controller.abort();
  await Promise.all(open);
});
