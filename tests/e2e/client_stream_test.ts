/** Answers in parts, as the client reads them from servers by hand. */

import assert from "node:assert/strict";
import { AbandonedError, Client, type Progress, type Reply, ReplyError } from "../../client.ts";
import { EMPTY_FRAME } from "../../wire/empty_frame.ts";
import { buildProgress, StatusFlag } from "../../wire/request.ts";
import {
  deadEndpoint,
  FakeServer,
  headerOf,
  isQuestion,
  type Received,
} from "../rig/fake_server.ts";
import { overBoth } from "../rig/over_both.ts";
import { PartServer } from "../rig/part_server.ts";
import { bytes, text } from "../rig/text.ts";
import { LIMIT, pause, until } from "../rig/wait.ts";

const { more, progress } = StatusFlag;

/** Reads to the end, or to the error. */
async function readAll(stream: AsyncIterable<Reply>): Promise<{ read: string[]; error: unknown }> {
  const read: string[] = [];
  try {
    for await (const part of stream) read.push(part.frames.map(text).join());
  } catch (error) {
    return { read, error };
  }
  return { read, error: undefined };
}

overBoth("Client.stream gives each part as soon as it is here", async (Client) => {
  await using server = new PartServer();
  await using client = new Client({ endpoint: server.endpoint, timeout: LIMIT });
  const stream = client.stream("count", { service: "mail", requestTimeout: 70, resumable: true });
  const first = stream.next();
  const request = await server.next(0);
  const header = headerOf(request);
  assert.deepEqual(header?.stream, { bytes: 262_144, parts: 16 });
  assert.deepEqual([header?.service, header?.resumable], ["mail", true]);
  assert.deepEqual([header?.timeout, header?.requestTimeout], [0, 70]);
  assert.deepEqual(request.body.map(text), ["count"]);
  server.part(request, 0, bytes("one"), bytes("1"));
  const { value } = await first;
  assert.deepEqual(value?.frames.map(text), ["one", "1"]);
  assert.equal(value?.bytes.buffer.byteLength, 3);
  const second = stream.next();
  server.part(request, 1);
  assert.deepEqual((await second).value?.frames, []);
  server.part(request, 2, bytes("three"));
  server.end(request, 3);
  assert.equal((await stream.next()).value?.text(), "three");
  assert.deepEqual(await stream.next(), { done: true, value: undefined });
  assert.equal(server.requests.length, 1);
});

overBoth("Client.stream gives an answer that comes whole as one part", async (Client) => {
  await using server = new PartServer(({ fake }, request) => fake.reply(request, 200, bytes("a")));
  await using client = new Client({ endpoint: server.endpoint, timeout: LIMIT });
  assert.deepEqual(await readAll(client.service("mail").stream("x")), {
    read: ["a"],
    error: undefined,
  });
});

overBoth(
  "Client.stream sends nothing before it is read, and copies its body at once",
  async (Client) => {
    await using server = new PartServer(({ fake }, request) => fake.reply(request, 200));
    await using client = new Client({ endpoint: server.endpoint, timeout: LIMIT });
    const body = bytes("as it was");
    const stream = client.stream(body);
    body.fill(0);
    await client.request("before", { key: "k" });
    await stream.next();
    assert.deepEqual(server.requests.map(({ body }) => body.map(text).join()), [
      "before",
      "as it was",
    ]);
  },
);

overBoth("Client.stream throws an error behind the parts that came ahead of it", async (Client) => {
  await using server = new PartServer((server, request) => {
    server.part(request, 0, bytes("a"));
    server.part(request, 1, bytes("b"));
    server.fake.reply(request, 502, bytes("The worker died"));
  });
  await using client = new Client({ endpoint: server.endpoint, timeout: LIMIT });
  const { read, error } = await readAll(client.stream("x"));
  assert.deepEqual(read, ["a", "b"]);
  assert.ok(
    error instanceof ReplyError && error.code === 502 && error.message === "The worker died",
  );
});

overBoth(
  "Client.stream has the server stop when the loop is left or its signal aborts",
  async (Client) => {
    await using server = new PartServer((server, request) => server.part(request, 0, bytes("a")));
    await using client = new Client({ endpoint: server.endpoint, timeout: LIMIT });
    for await (const _ of client.stream("x")) break;
    const [asked, withdrawn] = [await server.next(0), await server.next(1)].map(headerOf);
    assert.deepEqual([withdrawn?.type, withdrawn?.id], ["cancel", asked?.id]);
    const abort = new AbortController();
    const stream = client.stream("y", { signal: abort.signal });
    await stream.next();
    const next = stream.next();
    abort.abort(new Error("enough"));
    await assert.rejects(next, { message: "enough" });
    const [again, stopped] = [await server.next(2), await server.next(3)].map(headerOf);
    assert.deepEqual([stopped?.type, stopped?.id], ["cancel", again?.id]);
  },
);

overBoth(
  "Client.stream lets the server send more once half of what it may was read",
  async (Client) => {
    await using server = new PartServer();
    await using client = new Client({ endpoint: server.endpoint, timeout: LIMIT });
    const stream = client.stream("x");
    const first = stream.next();
    const request = await server.next(0);
    for (let number = 0; number < 16; number++) server.part(request, number, bytes("four"));
    await first;
    for (let number = 1; number < 8; number++) await stream.next();
    // What was given is read once the next one is asked for.
    assert.equal(server.requests.length, 1);
    await stream.next();
    const few = headerOf(await server.next(1));
    assert.deepEqual([few?.type, few?.id], ["credit", headerOf(request)?.id]);
    assert.deepEqual(few?.stream, { bytes: 8 * 4, parts: 8 });
    server.part(request, 16, new Uint8Array(300_000));
    for (let number = 9; number < 16; number++) await stream.next();
    assert.equal((await stream.next()).value?.bytes.length, 300_000);
    const last = stream.next();
    const many = headerOf(await server.next(2));
    assert.deepEqual(many?.stream, { bytes: 7 * 4 + 4, parts: 8 });
    const more = headerOf(await server.next(3));
    assert.deepEqual(more?.stream, { bytes: 300_000, parts: 1 });
    server.end(request, 17);
    assert.equal((await last).done, true);
  },
);

overBoth(
  "Client.stream takes no part twice, and stops when some are missing or too many come",
  async (Client) => {
    await using server = new PartServer((server, request) => {
      const numbers = request.body.map(text).join().split(" ").map(Number);
      for (const number of numbers) server.part(request, number, bytes(`${number}`));
      if (numbers.length < 5) server.end(request, 3);
    });
    await using client = new Client({ endpoint: server.endpoint, timeout: LIMIT });
    const whole = await readAll(client.stream("0 0 1 2"));
    assert.deepEqual(whole, { read: ["0", "1", "2"], error: undefined });
    for (
      const [numbers, message] of [["0 2", /part 1 is missing/], [
        "0 1",
        /part 2 is missing/,
      ]] as const
    ) {
      const { read, error } = await readAll(client.stream(numbers));
      assert.deepEqual(read, numbers === "0 2" ? ["0"] : ["0", "1"]);
      assert.match(`${error}`, message);
    }
    const withdrawals = () => server.requests.filter((one) => headerOf(one)?.type === "cancel");
    await until("the one with the gap was withdrawn", () => withdrawals().length === 1);
    const stream = client.stream(Array.from({ length: 18 }, (_, number) => number).join(" "));
    await stream.next();
    await until("too many have come", () => withdrawals().length === 2);
    const { read, error } = await readAll(stream);
    // The one that was waited for is read at once; so 17 is the 18th.
    assert.ok(read.length >= 15 && read.length <= 17, `${read.length}`);
    assert.match(`${error}`, /the server has sent more than it may/);
  },
);

overBoth("Client.stream repeats a try that has brought nothing", async (Client) => {
  await using server = new PartServer((server, request) => {
    if (triesOf(server, request) < 2) return;
    server.part(request, 0, bytes("a"));
    server.end(request, 1);
  });
  await using client = new Client({ endpoint: server.endpoint, timeout: 1000, retries: 30 });
  assert.deepEqual(await readAll(client.stream("x")), { read: ["a"], error: undefined });
});

overBoth(
  "Client.stream lets the server send on when all that a second try brings was here before",
  async (Client) => {
    const COUNT = 40;
    await using server = new PartServer();
    await using client = new Client({ endpoint: server.endpoint, timeout: 3000, retries: 30 });
    const reading = readAll(client.stream("x", { resumable: true }));
    /** Sends as much as it may, from the first part on, and stops behind the `last` one. */
    const answer = async (request: Received, last: number) => {
      const { id } = headerOf(request) ?? {};
      const isOpen = (sent: number) => sent < 16 + granted(server, id);
      for (let number = 0; number < last; number++) {
        await until("more is granted", () => isOpen(number));
        server.part(request, number, bytes(`${number}`));
      }
    };
    await answer(await server.next(0), 30);
    const request = await until("it is asked again", () => server.requests.filter(isAsked)[1]);
    await answer(request, COUNT);
    server.end(request, COUNT);
    const all = Array.from({ length: COUNT }, (_, number) => `${number}`);
    assert.deepEqual(await reading, { read: all, error: undefined });
  },
);

const isAsked = (one: Received) => headerOf(one)?.type === "request";

/** Parts that were granted to a request. */
function granted({ requests }: PartServer, id: number | undefined): number {
  const credits = requests.map(headerOf).filter((one) => one?.type === "credit" && one.id === id);
  return credits.reduce((sum, one) => sum + (one?.stream?.parts ?? 0), 0);
}

/** How often a body was asked with. */
function triesOf({ requests }: PartServer, { body }: Received): number {
  const isSame = (other: Received) => `${other.body.map(text)}` === `${body.map(text)}`;
  return requests.filter((one) => headerOf(one)?.type === "request" && isSame(one)).length;
}

overBoth(
  "Client.stream throws when no part comes in time behind the first, unless it is resumable",
  async (Client) => {
    await using server = new PartServer((server, request) => {
      server.part(request, 0, bytes("a"));
      if (request.body.map(text).join() === "ends" || triesOf(server, request) < 2) return;
      server.part(request, 1, bytes("b"));
      server.end(request, 2);
    });
    await using client = new Client({ endpoint: server.endpoint, timeout: 1000, retries: 30 });
    const first = await readAll(client.stream("ends"));
    assert.deepEqual(first.read, ["a"]);
    assert.ok(first.error instanceof AbandonedError);
    const second = await readAll(client.stream("goes on", { resumable: true }));
    assert.deepEqual(second, { read: ["a", "b"], error: undefined });
  },
);

overBoth("Client.stream waits for as long as its reader takes", async (Client) => {
  await using server = new PartServer((server, request) => {
    for (let number = 0; number < 16; number++) server.part(request, number, bytes(`${number}`));
  });
  await using client = new Client({ endpoint: server.endpoint, timeout: 2000, retries: 0 });
  const stream = client.stream("x");
  await stream.next();
  // Longer than the timeout: what is read below came before, and the end comes at once.
  await pause(2600);
  for (let number = 1; number < 16; number++) await stream.next();
  const request = await server.next(0);
  const last = stream.next();
  server.end(request, 16);
  assert.equal((await last).done, true);
});

overBoth(
  "Client.stream throws at once when its connection ends behind the first part",
  async (Client) => {
    const endpoint = deadEndpoint();
    await using client = new Client({ endpoint, timeout: LIMIT, retries: 5 });
    const stream = client.stream("x");
    {
      await using server = new PartServer((server, request) => server.part(request, 0), endpoint);
      await stream.next();
      assert.equal(server.requests.length, 1);
    }
    await assert.rejects(stream.next(), { name: "AbandonedError", reason: "unconnected" });
  },
);

overBoth("Client reports how far a request and a stream are", async (Client) => {
  await using server = new PartServer((server, request) => {
    const [parts] = [headerOf(request)?.stream?.parts];
    server.say(request, more | progress, 0, buildProgress(1, 4), bytes("one"));
    server.say(request, more | progress, 0, buildProgress(2, NaN), EMPTY_FRAME);
    server.say(request, more | progress, 0, bytes("nonsense"));
    if (parts === 0) return server.fake.reply(request, 200, bytes("done"));
    server.part(request, 0, bytes("part"));
    server.end(request, 1);
  });
  await using client = new Client({ endpoint: server.endpoint, timeout: LIMIT });
  const seen: Progress[] = [];
  const onProgress = (progress: Progress) => seen.push(progress);
  assert.equal((await client.request("x", { onProgress })).text(), "done");
  const both = [{ done: 1, total: 4, note: "one" }, { done: 2, total: undefined, note: "" }];
  assert.deepEqual(seen, both);
  assert.deepEqual(headerOf(await server.next(0))?.stream, { bytes: 0, parts: 0 });
  assert.deepEqual((await readAll(client.stream("x", { onProgress }))).read, ["part"]);
  assert.deepEqual(seen, [...both, ...both]);
  const thrower = () => {
    throw new Error("I can't look");
  };
  await assert.rejects(client.request("x", { onProgress: thrower }), { message: "I can't look" });
  const { error } = await readAll(client.stream("x", { onProgress: thrower }));
  assert.match(`${error}`, /I can't look/);
});

overBoth("Client.stream throws when the client is closed", async (Client) => {
  await using server = new PartServer((server, request) => server.part(request, 0));
  const client = new Client({ endpoint: server.endpoint, timeout: LIMIT });
  const stream = client.stream("x");
  await stream.next();
  const next = stream.next();
  const closed = assert.rejects(next, { message: /the client was closed/ });
  await client.close();
  await closed;
  await assert.rejects(client.stream("x").next(), { message: /the client is closed/ });
});

Deno.test("Client.stream asks an older server nothing, and says why", async () => {
  await using server = new FakeServer(() => {});
  await using client = new Client({ endpoint: server.endpoint, timeout: 300, retries: 0 });
  const { error } = await readAll(client.stream("x"));
  assert.match(`${error}`, /has not said that it knows services or answers in parts/);
  assert.ok(server.requests.every(isQuestion));
});

Deno.test("Client.stream refuses options that a stream has not", async () => {
  await using client = new Client({ endpoint: deadEndpoint() });
  const options = { key: "k", timeout: 7 };
  assert.throws(() => client.stream("x", options), { message: /^Unknown option "key"/ });
  const wrong: unknown = "yes";
  assert.throws(() => client.stream("x", { resumable: wrong as boolean }), TypeError);
  assert.throws(() => client.stream([]), TypeError);
  await assert.rejects(client.request("x", { onProgress: wrong as () => void }), TypeError);
  await using plain = new Client({ endpoint: deadEndpoint(), plain: true });
  assert.throws(() => plain.stream("x"), { message: /a plain client takes no parts$/ });
  await assert.rejects(plain.request("x", { onProgress: () => {} }), TypeError);
});
