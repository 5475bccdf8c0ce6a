/**
 * What the bench says must be true: its load generator against servers that lose, change, mix up and
 * repeat replies, and its statistics.
 *
 * @module
 */

import { strict as assert } from "node:assert";
import { Bodies } from "../../bench/bodies.ts";
import { closedLoop } from "../../bench/closed_loop.ts";
import { Histogram } from "../../bench/histogram.ts";
import { type Figures, type Load, readFigures, startLoad } from "../../bench/load.ts";
import { fault, type Shape } from "../../bench/peer.ts";
import { Ledger, toMarkdown } from "../../bench/report.ts";
import { whyMissing } from "../../bench/programs.ts";
import { dealer, req } from "../../bench/scenario.ts";
import { ratios, spread } from "../../bench/statistics.ts";
import { askZmq } from "../../bench/zmq_load.ts";
import { SocketType } from "../../zmq/library.ts";
import { locateLibrary } from "../../zmq/locate.ts";
import { MessagePool } from "../../zmq/message.ts";
import { Context } from "../../zmq/socket.ts";
import { path } from "../rig/checkout.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** What a server sends for a request, which is the `count`th. */
type Behaviour = (request: Bytes[], count: number) => Bytes[][];

/** A server in this process that is not always right. */
class Liar implements AsyncDisposable {
  readonly #context = new Context(locateLibrary(Deno.env.get("ZMQ_LIBRARY")));
  readonly #socket = this.#context.socket(SocketType.ROUTER);
  readonly #messages = new MessagePool(this.#context.library);
  readonly #behaviour: Behaviour;
  readonly endpoint: string;
  #count = 0;
  #open = true;
  readonly #served: Promise<void>;

  constructor(behaviour: Behaviour) {
    this.#behaviour = behaviour;
    this.endpoint = this.#socket.bind("tcp://127.0.0.1:*");
    this.#served = this.#serve();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#open = false;
    await this.#served;
    this.#socket.close(0);
    await this.#context.terminate();
  }

  async #serve(): Promise<void> {
    while (this.#open) {
      const request = this.#take();
      if (request === undefined) await new Promise((resolve) => setTimeout(resolve, 1));
      else for (const reply of this.#behaviour(request, ++this.#count)) this.#send(reply);
    }
  }

  #take(): Bytes[] | undefined {
    const frames: Bytes[] = [];
    const message = this.#messages.take();
    for (let size = 0; size >= 0;) {
      size = this.#socket.receive(message);
      if (size >= 0) frames.push(message.bytes(size));
      if (!message.more) break;
    }
    this.#messages.release(message);
    return frames.length === 0 ? undefined : frames;
  }

  #send(frames: Bytes[]): void {
    frames.forEach((frame, index) =>
      index < frames.length - 1 ? this.#socket.sendMore(frame) : this.#socket.sendLast(frame)
    );
  }
}

/** Asks a server of that behaviour. */
async function ask(behaviour: Behaviour, load: Partial<Load> = {}): Promise<Figures> {
  await using liar = new Liar(behaviour);
  const usual = { clients: 2, window: 3, size: 64, requests: 40, grace: 500, duration: 60_000 };
  await using running = startLoad({ endpoint: liar.endpoint, ...usual, ...load });
  return await running.figures;
}

const echo: Behaviour = (request) => [request];

/** Another byte at `at`, counted from the end if it is negative, in every tenth reply. */
function changing(at: number): Behaviour {
  return (request, count) => {
    const body = request.at(-1) ?? new Uint8Array(1);
    const index = at < 0 ? body.length + at : at;
    if (count % 10 === 0) body[index] = (body[index] ?? 0) ^ 1;
    return [request];
  };
}

const LOADS: Record<string, Partial<Load>> = {
  "a DEALER": {},
  "a REQ": { socket: "req", clients: 6 },
  "a DEALER that correlates": { correlate: true },
  "a DEALER with large bodies": { size: 40_000 },
  "a REQ with large bodies": { socket: "req", clients: 6, size: 40_000 },
};

for (const [who, load] of Object.entries(LOADS)) {
  Deno.test(`load: ${who} takes right replies for right`, async () => {
    const figures = await ask(echo, load);
    assert.equal(fault(figures), undefined);
    assert.equal(figures.replies, 40);
    assert(figures.percentiles.every((value) => value > 0), `${figures.percentiles}`);
  });

  for (const at of [4, -1]) {
    Deno.test(`load: ${who} sees one changed bit at ${at}`, async () => {
      const figures = await ask(changing(at), load);
      assert.equal(figures.wrong, 4);
      assert.equal(figures.replies, 36);
    });
  }
}

Deno.test("load: a reply to another request is wrong", async () => {
  let before: Bytes | undefined;
  const mixing: Behaviour = ([id, empty, body], count) => {
    if (id === undefined || empty === undefined || body === undefined) return [];
    const reply = count === 20 && before !== undefined ? before : body;
    before = body;
    return [[id, empty, reply]];
  };
  const figures = await ask(mixing, { clients: 1 });
  assert.equal(figures.duplicates, 1);
  assert.equal(figures.missing, 1);
});

Deno.test("load: what is not answered is missing, and what is answered twice a duplicate", async () => {
  const figures = await ask((request, count) => count === 5 ? [] : [request]);
  assert.equal(figures.missing, 1);
  assert.match(String(fault(figures)), /1 missing/);
  const twice = await ask((request, count) => count === 5 ? [request, request] : [request]);
  assert.equal(twice.duplicates, 1);
});

Deno.test("load: a reply of another size or with one more frame is wrong", async () => {
  const longer = await ask((request, count) =>
    count === 5 ? [[...request, new Uint8Array(3)]] : [request]
  );
  assert.equal(longer.wrong, 1);
  const shorter = await ask(([id, empty, body], count) => {
    if (id === undefined || empty === undefined || body === undefined) return [];
    return [[id, empty, count === 5 ? body.slice(0, 63) : body]];
  });
  assert.equal(shorter.wrong, 1);
});

Deno.test("load: error replies are counted by their code", async () => {
  const text = new TextEncoder().encode("503 The queue is full");
  const refusing: Behaviour = ([id, empty], count) =>
    id === undefined || empty === undefined || count % 2 > 0 ? [] : [[id, empty, empty, text]];
  const figures = await ask(refusing, { requests: 4, socket: "req", clients: 4 });
  assert.deepEqual(figures.errors, { "503": 2 });
  assert.equal(figures.missing, 2);
});

Deno.test("load: marked requests have their latencies apart", async () => {
  const figures = await ask(echo, { clients: 1, mark: 10 });
  assert.equal(figures.marked.replies, 4);
  assert(figures.marked.percentiles[0] > 0);
});

// The generator in C

const SHAPES: Record<string, Shape> = {
  "REQ sockets": req(6, 64),
  "a DEALER": dealer(6, 64),
  "REQ sockets with large bodies": req(6, 40_000),
};

/** Asks a server of that behaviour, 40 times. */
async function askInC(behaviour: Behaviour, shape: Shape): Promise<Figures> {
  await using liar = new Liar(behaviour);
  return await askZmq(liar.endpoint, shape, { requests: 40, grace: 500 });
}

/** A test of the generator in C, where it can be compiled. */
async function testInC(name: string, test: (shape: Shape) => Promise<void>): Promise<void> {
  const ignore = await whyMissing("load") !== undefined;
  for (const [who, shape] of Object.entries(SHAPES)) {
    Deno.test(`load.c: ${who}: ${name}`, { ignore }, () => test(shape));
  }
}

await testInC("right replies are right", async (shape) => {
  const figures = await askInC(echo, shape);
  assert.equal(fault(figures), undefined);
  assert.equal(figures.replies, 40);
  assert(figures.percentiles.every((value) => value > 0), `${figures.percentiles}`);
});

for (const at of [4, -1]) {
  await testInC(`one changed bit at ${at} is seen`, async (shape) => {
    const figures = await askInC(changing(at), shape);
    assert.deepEqual([figures.wrong, figures.replies], [4, 36]);
  });
}

await testInC("what is not answered is missing", async (shape) => {
  const figures = await askInC((request, count) => count === 40 ? [] : [request], shape);
  assert.deepEqual([figures.missing, figures.replies], [1, 39]);
});

await testInC("a reply of another size, or with one more frame, is not right", async (shape) => {
  const figures = await askInC(([id, empty, body], count) => {
    if (id === undefined || empty === undefined || body === undefined) return [];
    if (count === 10) return [[id, empty, body.subarray(1)]];
    return [count === 20 ? [id, empty, body, body] : [id, empty, body]];
  }, shape);
  assert.equal(figures.wrong, 2);
});

await testInC("error replies are counted by their code", async (shape) => {
  const text = new TextEncoder().encode("503 The queue is full");
  const figures = await askInC(([id, empty, body], count) => {
    if (id === undefined || empty === undefined || body === undefined) return [];
    return [count % 2 === 0 ? [id, empty, empty, text] : [id, empty, body]];
  }, shape);
  assert.deepEqual([figures.errors, figures.replies, figures.missing], [{ "503": 20 }, 20, 0]);
});

Deno.test("load.c: a reply that comes twice is a duplicate", {
  ignore: await whyMissing("load") !== undefined,
}, async () => {
  const twice: Behaviour = (request, count) => count === 5 ? [request, request] : [request];
  const figures = await askInC(twice, dealer(6, 64));
  assert.deepEqual([figures.duplicates, figures.replies], [1, 40]);
});

Deno.test("Bodies differ from each other and know themselves", () => {
  const bodies = new Bodies(32, 7);
  const made = Array.from({ length: 5000 }, (_, number) => bodies.make(number));
  assert.equal(new Set(made.map(String)).size, made.length);
  for (const [number, body] of made.entries()) {
    assert(bodies.isRight(number, body));
    assert(!bodies.isRight(number + 1, body));
  }
  assert(!bodies.isRight(0, bodies.make(0).subarray(1)));
  assert.throws(() => new Bodies(3), RangeError);
});

Deno.test("Histogram tells percentiles to 1 in 64", () => {
  const histogram = new Histogram();
  for (let value = 1; value <= 10_000; value++) histogram.add(value);
  for (const [index, value] of [5000, 9500, 9900].entries()) {
    const told = histogram.percentiles[index] ?? NaN;
    assert(told >= value && told <= value * (1 + 1 / 32), `${told} for ${value}`);
  }
  assert.equal(histogram.slowest, 10_000);
  assert.deepEqual(new Histogram().percentiles, [NaN, NaN, NaN]);
});

Deno.test("closedLoop counts wrong replies and errors", async () => {
  const loop = { askers: 3, size: 16, requests: 30 };
  let count = 0;
  const figures = await closedLoop(loop, (body) => {
    count++;
    if (count === 7) return Promise.reject(new Error("gone"));
    return Promise.resolve(count === 8 ? body.fill(0) : body);
  });
  assert.equal(figures.requests, 30);
  assert.equal(figures.replies, 28);
  assert.equal(figures.wrong, 1);
  assert.deepEqual(figures.errors, { gone: 1 });
});

Deno.test("spread and ratios take pairs one by one", () => {
  assert.deepEqual(spread([3, 1, 2]), { median: 2, low: 1.5, high: 2.5 });
  assert.deepEqual(spread([4, 1]), { median: 2.5, low: 1.75, high: 3.25 });
  assert.deepEqual(spread([5, 1, 2, 9, 4]), { median: 4, low: 2, high: 5 });
  assert.deepEqual(ratios([[2, 1], [9, 3], [1, 1]]), { median: 2, low: 1.5, high: 2.5 });
  assert(Number.isNaN(spread([]).median));
});

Deno.test("the report names what was missing, lost and not reached", () => {
  const ledger = new Ledger();
  const good = readFigures(
    '{"requests":1,"replies":1,"wrong":0,"duplicates":0,"missing":0,"errors":{},"rate":null,' +
      '"percentiles":[null,1,2],"slowest":2,"marked":{"replies":0,"percentiles":[null,null,null]}}',
  );
  assert(Number.isNaN(good.rate));
  assert(Number.isNaN(good.percentiles[0]));
  ledger.enter("good", good);
  ledger.enter("bad", { ...good, replies: 0, missing: 1 });
  assert.equal(ledger.passed, 1);
  const markdown = toMarkdown({
    machine: { cores: "2" },
    peers: {},
    missing: { NATS: "there is no nats-server" },
    sections: [{
      title: "A section",
      notes: [],
      tables: [{ head: ["a", "b"], rows: [["c", "d"]] }],
      targets: [{ name: "soon", wanted: "≤ 1 ms", measured: "2 ms", reached: false }],
      figures: {},
    }],
    faults: ledger.faults,
  });
  assert.match(markdown, /\*\*NATS\*\*, as there is no nats-server/);
  assert.match(markdown, /bad: 1 requests, 0 right replies, 1 missing/);
  assert.match(markdown, /\| soon +\| ≤ 1 ms .*\| \*\*no\*\* +\|/);
});

Deno.test("the bench's folder has one level, and only native.ts names FFI there", () => {
  for (const { name, isFile } of Deno.readDirSync(path("bench"))) {
    assert(isFile, `bench/${name} is no file`);
    const text = Deno.readTextFileSync(path(`bench/${name}`));
    assert(!/\bDeno\.(dlopen|Unsafe)/.test(text) || name === "native.ts", `bench/${name}`);
  }
});
