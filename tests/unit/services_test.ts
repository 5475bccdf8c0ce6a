/**
 * Several services behind the sockets of one loop: what is asked of one, and what becomes of it, is nothing to
 * the others.
 *
 * @module
 */

import { strict as assert } from "node:assert";
import { servicesOf } from "../../ops/loop_options.ts";
import { resolveOptions } from "../../options/resolve.ts";
import type { ServeOptions } from "../../options/settings.ts";
import { type AccessOptions, BrokerLoop } from "../../ports/loop.ts";
import type { LoopEvent, LoopLimits, ServiceSetup, Visit } from "../../ports/messages.ts";
import { FromBroker, FromWorker, JobReader, REPLY_BYTES, writeReply } from "../../wire/job.ts";
import { Code } from "../../wire/request.ts";
import { buildRequestHeader, type HeaderWords } from "../../wire/request_header.ts";
import { type KeyPair, makeKeyPair } from "../../zmq/curve.ts";
import { openLibrary } from "../../zmq/library.ts";
import { locateLibrary } from "../../zmq/locate.ts";
import { Peer } from "../rig/peer.ts";
import { parseStatus } from "../rig/status.ts";
import { bytes, text } from "../rig/text.ts";
import { Folder } from "../rig/folder.ts";
import { until } from "../rig/wait.ts";

type Bytes = Uint8Array<ArrayBuffer>;

const ZMQ = openLibrary(locateLibrary(Deno.env.get("ZMQ_LIBRARY")).path);
const TRANSPORTS = ["native", "libzmq"] as const;
type Transport = typeof TRANSPORTS[number];

/** A service of a stage. */
type Setup = Partial<LoopLimits> & Partial<Pick<ServiceSetup, "frontend" | "users">>;

interface StageOptions {
  services: Record<string, Setup>;
  transport?: Transport;
  options?: ServeOptions;
  access?: AccessOptions;
}

/** A loop with services. */
class Stage {
  readonly loop: BrokerLoop;
  readonly events: LoopEvent[] = [];
  readonly #ended: Promise<void>;
  readonly #peers: Peer[] = [];
  #workers = 0;

  constructor({ services, transport = "native", options = {}, access }: StageOptions) {
    const machine = { cpus: 2, cwd: () => "/" };
    const settings = resolveOptions({ frontend: "tcp://127.0.0.1:0", ...options }, machine);
    const [sole] = servicesOf(settings);
    assert(sole !== undefined);
    const setups = Object.entries(services).map(([name, { frontend = [], users, ...limits }]) => ({
      name,
      limits: { ...sole.limits, ...limits },
      frontend,
      users,
    }));
    const backend = "tcp://127.0.0.1:0";
    this.loop = new BrokerLoop(
      ZMQ,
      {
        ...settings,
        transport,
        services: setups,
        backend,
        visits: true,
        ...(access && { access }),
      },
      (event) => this.events.push(event),
    );
    this.#ended = this.loop.run();
  }

  /** A client, at the common endpoint unless another is said. */
  client(
    endpoint = this.loop.frontend[0] ?? "",
    keys?: { own: KeyPair; server: string },
  ): Asking {
    const asking = new Asking(endpoint, keys);
    this.#peers.push(asking.peer);
    return asking;
  }

  /** A worker of a service, once it is ready. */
  async worker(service: string): Promise<Working> {
    const worker = ++this.#workers;
    const token = `the token of worker ${worker}`;
    this.loop.send({ type: "expect", service, worker, token, publicKey: undefined });
    const peer = new Peer(this.loop.backend);
    this.#peers.push(peer);
    peer.send(new Uint8Array([FromWorker.READY, ...bytes(token)]));
    await until("it is ready", () => this.loop.look().workers.has(worker));
    return new Working(worker, peer);
  }

  look(service: string) {
    const look = this.loop.look().services.get(service);
    assert(look !== undefined);
    return look;
  }

  get visits(): Visit[] {
    return this.events.flatMap((event) => event.type === "visits" ? event.visits : []);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.loop.send({ type: "stop" });
    await this.#ended;
    await this.loop.close(0);
    for (const peer of this.#peers) await peer[Symbol.asyncDispose]();
  }
}

/** A client that sends the header of ours. */
class Asking {
  readonly peer: Peer;
  #last = 0;

  constructor(endpoint: string, keys?: { own: KeyPair; server: string }) {
    this.peer = new Peer(endpoint, keys && { keys });
  }

  /** Asks a service; returns the request's number. */
  ask(service: string, body: string, words: Omit<HeaderWords, "id"> = {}): number {
    const id = ++this.#last;
    this.peer.send(buildRequestHeader({ ...words, id, service }), "", body);
    return id;
  }

  cancel(id: number, service = ""): void {
    this.peer.send(buildRequestHeader({ type: "cancel", id, service }), "", "");
  }

  /** The next answer: its code, and its body. */
  async answer(): Promise<[number | undefined, string]> {
    const [, , status = new Uint8Array(), body] = await this.peer.receive();
    return [parseStatus(status), text(body)];
  }
}

/** A worker that does what a test wants. */
class Working {
  readonly #peer: Peer;
  readonly #frames: Bytes[] = [];
  readonly number: number;

  constructor(number: number, peer: Peer) {
    this.number = number;
    this.#peer = peer;
  }

  /** The number and the body of the next job; several come in one message. */
  async job(): Promise<[number, string]> {
    while (this.#frames.length === 0) {
      const frames = await this.#peer.receive();
      if (frames[0]?.[0] === FromBroker.JOB) this.#frames.push(...frames);
    }
    const [header = new Uint8Array(), body] = this.#frames.splice(0, 2);
    const reader = new JobReader();
    reader.bytes.set(header);
    return [reader.read(header.length).job, text(body)];
  }

  /** The next message that is no job: its first byte. */
  async signal(): Promise<number | undefined> {
    for (;;) {
      const [frame = new Uint8Array()] = await this.#peer.receive();
      if (frame[0] !== FromBroker.JOB) return frame[0];
    }
  }

  reply(job: number, body: string | Bytes, code: number = Code.ok): void {
    const header = new Uint8Array(REPLY_BYTES);
    writeReply(new DataView(header.buffer), { job, code, micros: 1, frames: 1, flags: 0 });
    this.#peer.send(header, body);
  }

  /** Sends a part of an answer. */
  part(job: number, body: string): void {
    const header = new Uint8Array(REPLY_BYTES);
    const view = new DataView(header.buffer);
    writeReply(view, { job, code: Code.ok, micros: 0, frames: 1 }, FromWorker.PART);
    this.#peer.send(header, body);
  }

  /** Answers the next jobs, `count` of them, by their bodies in capitals; returns the bodies. */
  async serve(count: number): Promise<string[]> {
    const bodies: string[] = [];
    while (bodies.length < count) {
      const [job, body] = await this.job();
      bodies.push(body);
      this.reply(job, body.toUpperCase());
    }
    return bodies;
  }
}

/** The same test over each transport. */
function overBoth(name: string, test: (transport: Transport) => Promise<void>): void {
  for (const transport of TRANSPORTS) {
    Deno.test(`${name}, over ${transport}`, () => test(transport));
  }
}

overBoth(
  "a service gets what names it, and the service without a name all else",
  async (transport) => {
    await using stage = new Stage({ services: { "": {}, mail: {}, "a.B_c-9": {} }, transport });
    const plain = await stage.worker("");
    const mail = await stage.worker("mail");
    const other = await stage.worker("a.B_c-9");
    const client = stage.client();
    client.ask("mail", "one");
    client.ask("", "two");
    client.ask("a.B_c-9", "three");
    client.peer.send("", "four");
    assert.deepEqual(await mail.serve(1), ["one"]);
    assert.deepEqual(await other.serve(1), ["three"]);
    assert.deepEqual((await plain.serve(2)).sort(), ["four", "two"]);
    const answers: string[] = [];
    while (answers.length < 4) answers.push(text((await client.peer.receive()).at(-1)));
    assert.deepEqual(answers.sort(), ["FOUR", "ONE", "THREE", "TWO"]);
    assert.deepEqual(["", "mail", "a.B_c-9"].map((name) => stage.look(name).counters.answered), [
      2,
      1,
      1,
    ]);
    assert.equal(stage.loop.look().counters.answered, 4);
  },
);

overBoth(
  "an unknown service is answered 404 at once, and one without a worker waits",
  async (transport) => {
    await using stage = new Stage({ services: { mail: {} }, transport });
    const client = stage.client();
    client.ask("male", "x");
    assert.deepEqual(await client.answer(), [404, 'The server has no service "male"']);
    client.peer.send("", "x");
    const plain = (await client.peer.receive()).map((frame) => text(frame));
    const message = "The server has no service without a name, and the request names none";
    assert.deepEqual(plain, ["", "", `404 ${message}`]);
    client.ask("mail", "waits");
    await until("it waits", () => stage.look("mail").queued === 1);
    const worker = await stage.worker("mail");
    await worker.serve(1);
    assert.deepEqual(await client.answer(), [200, "WAITS"]);
    const { requests, rejected } = stage.loop.look().counters;
    assert.deepEqual([requests, rejected], [3, 2]);
    await until("all visits are told", () => stage.visits.length === 3);
    const visits = stage.visits.map(({ service, code }) => [service, code]);
    assert.deepEqual(visits, [["male", 404], ["", 404], ["mail", 200]]);
  },
);

Deno.test("a header that can't be served is answered 400 where there is no service without a name", async () => {
  await using stage = new Stage({ services: { mail: {} } });
  const client = stage.client();
  const header = buildRequestHeader({ id: 1, service: "mail" });
  header[24] = 250; // a tag that nobody knows
  client.peer.send(header, "", "x");
  assert.deepEqual(await client.answer(), [400, "The header's field 250 is not known"]);
});

Deno.test("only users who may ask a service get more than a 403 of it", async () => {
  await using stage = new Stage({ services: { "": {}, mail: { users: ["alice"] } } });
  const worker = await stage.worker("");
  const client = stage.client();
  client.ask("mail", "x");
  assert.deepEqual(await client.answer(), [403, 'The user "" may not ask the service "mail"']);
  client.ask("", "y");
  await worker.serve(1);
  assert.deepEqual(await client.answer(), [200, "Y"]);
  assert.deepEqual(stage.look("mail").counters.rejected, 1);
});

Deno.test("a client that leaves takes what it has asked of all services with it", async () => {
  await using stage = new Stage({ services: { "": {}, one: {}, two: {} } });
  const worker = await stage.worker("one");
  const leaver = stage.client();
  leaver.ask("", "a");
  leaver.ask("one", "b");
  leaver.ask("two", "c");
  const [job] = await worker.job();
  await until("all are here", () => stage.loop.look().queued === 2);
  leaver.peer.socket.close(0);
  assert.equal(await worker.signal(), FromBroker.CANCEL);
  worker.reply(job, "late");
  await until("nothing is left", () => stage.loop.look().running === 0);
  const { queued, counters } = stage.loop.look();
  assert.deepEqual([queued, counters.abandoned], [0, 3]);
});

overBoth("a withdrawal finds the request in whatever service it is", async (transport) => {
  await using stage = new Stage({ services: { "": {}, one: {}, two: {} }, transport });
  const worker = await stage.worker("two");
  const client = stage.client();
  const first = client.ask("one", "waits");
  const second = client.ask("two", "runs");
  await worker.job();
  await until("one waits", () => stage.look("one").queued === 1);
  // As a client says it that does not repeat the service.
  client.cancel(first);
  assert.deepEqual(await client.answer(), [499, "The request was cancelled"]);
  client.cancel(second, "two");
  assert.equal(await worker.signal(), FromBroker.CANCEL);
  assert.deepEqual(
    [stage.look("one"), stage.look("two")].map(({ counters }) => counters.cancelled),
    [
      1,
      1,
    ],
  );
});

Deno.test("the same key asks each service, and each keeps its own answer", async () => {
  const cached = { replyCacheTtl: 60_000, replyCacheBytes: 1_000_000 };
  await using stage = new Stage({ services: { one: cached, two: cached } });
  const one = await stage.worker("one");
  const two = await stage.worker("two");
  const client = stage.client();
  client.ask("one", "a", { key: "k" });
  client.ask("two", "b", { key: "k" });
  assert.deepEqual([await one.serve(1), await two.serve(1)], [["a"], ["b"]]);
  const answers = [await client.answer(), await client.answer()].map(([, body]) => body);
  assert.deepEqual(answers.sort(), ["A", "B"]);
  client.ask("one", "c", { key: "k" });
  assert.deepEqual(await client.answer(), [200, "A"]);
  client.ask("two", "d", { key: "k" });
  assert.deepEqual(await client.answer(), [200, "B"]);
  assert.deepEqual([stage.look("one"), stage.look("two")].map(({ counters }) => counters.cached), [
    1,
    1,
  ]);
});

Deno.test("a worker that dies takes its service's jobs alone with it", async () => {
  await using stage = new Stage({ services: { one: { maxAttempts: 1 }, two: { maxAttempts: 1 } } });
  const one = await stage.worker("one");
  const two = await stage.worker("two");
  const client = stage.client();
  client.ask("one", "dies");
  client.ask("two", "lives");
  await one.job();
  const [job] = await two.job();
  stage.loop.send({ type: "processEnded", worker: one.number, end: "itself", owesReason: false });
  assert.deepEqual(await client.answer(), [502, "The worker died 1 times on this job"]);
  assert.equal(stage.look("two").running, 1);
  two.reply(job, "done");
  assert.deepEqual(await client.answer(), [200, "done"]);
  const failures = stage.events.flatMap((event) =>
    event.type === "requestFailed" ? [event.failure] : []
  );
  assert.deepEqual(failures.map(({ service, code }) => [service, code]), [["one", 502]]);
});

Deno.test("limits are those of the service, and change with it alone", async () => {
  const reject = { overflow: "reject", queueLimit: 1 } as const;
  await using stage = new Stage({ services: { one: reject, two: reject } });
  const client = stage.client();
  client.ask("one", "waits");
  client.ask("two", "waits");
  await until("both wait", () => stage.loop.look().queued === 2);
  client.ask("one", "is refused");
  assert.deepEqual(await client.answer(), [503, "The queue is full"]);
  const sole = resolveOptions({}, { cpus: 2, cwd: () => "/" });
  stage.loop.send({ type: "configure", services: { two: { ...sole, ...reject, queueLimit: 2 } } });
  client.ask("two", "waits");
  client.ask("one", "is refused");
  assert.deepEqual(await client.answer(), [503, "The queue is full"]);
  await until("two wait", () => stage.look("two").queued === 2);
  assert.deepEqual([stage.look("one"), stage.look("two")].map(({ counters }) => counters.refused), [
    2,
    0,
  ]);
});

Deno.test("expect must name a service", async () => {
  await using stage = new Stage({ services: { mail: {} } });
  const command = { type: "expect", worker: 1, token: "t", publicKey: undefined } as const;
  assert.throws(
    () => stage.loop.send({ ...command, service: "male" }),
    new RangeError('Cannot expect a worker: no service is named "male"'),
  );
});

// ---- endpoints of services ----

overBoth("an endpoint of a service serves that one alone", async (transport) => {
  const frontend = ["tcp://127.0.0.1:0"];
  const services = { "": {}, mail: { frontend }, other: {}, third: { frontend } };
  await using stage = new Stage({ services, transport });
  const bound = stage.loop.serviceFrontends;
  assert.deepEqual(Object.keys(bound), ["mail", "third"]);
  const [endpoint = ""] = bound.mail ?? [];
  assert.match(endpoint, /^tcp:\/\/127\.0\.0\.1:[1-9]/);
  assert.equal(stage.loop.frontend.length, 1);
  const worker = await stage.worker("mail");
  const client = stage.client(endpoint);
  client.peer.send("", "plain");
  assert.deepEqual(await worker.serve(1), ["plain"]);
  assert.deepEqual((await client.peer.receive()).map((frame) => text(frame)), ["", "PLAIN"]);
  client.ask("", "ours");
  client.ask("mail", "named");
  assert.deepEqual(await worker.serve(2), ["ours", "named"]);
  assert.deepEqual([await client.answer(), await client.answer()], [[200, "OURS"], [200, "NAMED"]]);
  client.ask("other", "x");
  assert.deepEqual(await client.answer(), [404, 'The server has no service "other"']);
  const third = stage.client(bound.third?.[0]);
  third.peer.send("", "waits");
  await until("it waits", () => stage.look("third").queued === 1);
  client.peer.socket.close(0);
  third.peer.socket.close(0);
  await until("both are gone", () => stage.loop.look().clients === 0);
  assert.equal(stage.look("third").counters.abandoned, 1);
});

Deno.test("keys say who may ask a service, at the common endpoint and at its own", async () => {
  const server = makeKeyPair(ZMQ);
  const [alice, bob, eve] = [makeKeyPair(ZMQ), makeKeyPair(ZMQ), makeKeyPair(ZMQ)];
  const clients = new Map([[alice.publicKey, "alice"], [bob.publicKey, "bob"]]);
  const rules = { clients, allow: [], deny: [], maxConnections: 100, maxConnectionsPerAddress: 0 };
  const access = { rules, secretKey: server.secretKey, backendKey: undefined };
  const frontend = ["tcp://127.0.0.1:0"];
  const services = { "": {}, mail: { frontend, users: ["alice"] } };
  await using stage = new Stage({ services, access });
  const worker = await stage.worker("mail");
  const [own = ""] = stage.loop.serviceFrontends.mail ?? [];
  const [common = ""] = stage.loop.frontend;
  const as = (own: KeyPair, endpoint: string) =>
    stage.client(endpoint, { own, server: server.publicKey });
  for (const endpoint of [common, own]) {
    const allowed = as(alice, endpoint);
    allowed.ask("mail", "hers");
    assert.deepEqual(await worker.serve(1), ["hers"]);
    assert.deepEqual(await allowed.answer(), [200, "HERS"]);
    const other = as(bob, endpoint);
    other.ask("mail", "his");
    const message = 'The user "bob" may not ask the service "mail"';
    assert.deepEqual(await other.answer(), [403, message]);
    as(eve, endpoint);
  }
  await until("strangers are denied", () => stage.loop.look().counters.denied >= 2);
  assert.equal(stage.loop.look().connections, 4);
});

Deno.test("BrokerLoop closes everything when a service's endpoint can't be bound", () => {
  using folder = new Folder();
  using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = taken.addr as Deno.NetAddr;
  const [first, second] = [[`ipc://${folder.path}/first`], [`tcp://127.0.0.1:${port}`]];
  const services = { "": {}, first: { frontend: first }, second: { frontend: second } };
  assert.throws(() => new Stage({ services }), /in use/);
  // The first was bound before, and its file goes with its socket.
  assert.deepEqual([...Deno.readDirSync(folder.path)], []);
});

// ---- full queues ----

Deno.test("a full queue keeps those from being read who have asked its service, and nobody else", async () => {
  await using stage = new Stage({ services: { "": {}, slow: { queueLimit: 4 } } });
  const worker = await stage.worker("");
  const greedy = stage.client();
  for (let count = 0; count < 50; count++) greedy.ask("slow", `${count}`);
  // One more than the queue may have, as it had to be read to be known.
  await until("the queue is full", () => stage.look("slow").queued === 5);
  greedy.ask("", "behind them");
  const other = stage.client();
  other.ask("", "passes");
  assert.deepEqual(await worker.serve(1), ["passes"]);
  assert.deepEqual(await other.answer(), [200, "PASSES"]);
  assert.equal(stage.look("slow").queued, 5);
  assert.equal(stage.look("").counters.requests, 1);
  const slow = await stage.worker("slow");
  const bodies = await slow.serve(50);
  assert.deepEqual(bodies, Array.from({ length: 50 }, (_, index) => `${index}`));
  assert.deepEqual(await worker.serve(1), ["behind them"]);
  const answers: (number | undefined)[] = [];
  while (answers.length < 51) answers.push((await greedy.answer())[0]);
  assert(answers.every((code) => code === 200));
  assert.equal(stage.look("slow").counters.refused, 0);
});

Deno.test("of many clients each may have one request more in a full queue, up to twice its bound", async () => {
  await using stage = new Stage({ services: { "": {}, slow: { queueLimit: 3 } } });
  const clients = Array.from({ length: 8 }, () => stage.client());
  for (const client of clients) client.ask("slow", "x");
  await until("all were read", () => stage.look("slow").counters.requests === 8);
  const { queued, counters } = stage.look("slow");
  assert.deepEqual([queued, counters.refused], [6, 2]);
  const worker = await stage.worker("slow");
  await worker.serve(6);
  const codes = await Promise.all(clients.map((client) => client.answer()));
  assert.deepEqual(codes.map(([code]) => code).sort(), [200, 200, 200, 200, 200, 200, 503, 503]);
});

Deno.test("a client that leaves while it is not read takes what it had waiting with it", async () => {
  await using stage = new Stage({ services: { "": {}, slow: { queueLimit: 2 } } });
  const leaver = stage.client();
  for (let count = 0; count < 10; count++) leaver.ask("slow", "x");
  await until("the queue is full", () => stage.look("slow").queued === 3);
  const next = stage.client();
  next.ask("slow", "next");
  await until("it is asked too", () => stage.look("slow").queued === 4);
  leaver.peer.socket.close(0);
  await until("its jobs are gone", () => stage.look("slow").queued === 1);
  const worker = await stage.worker("slow");
  assert.deepEqual(await worker.serve(1), ["next"]);
  assert.deepEqual(await next.answer(), [200, "NEXT"]);
});

Deno.test("over libzmq a full queue refuses what names its service, where there are others", async () => {
  const services = { "": {}, slow: { queueLimit: 2 } };
  await using stage = new Stage({ services, transport: "libzmq" });
  const worker = await stage.worker("");
  const client = stage.client();
  for (let count = 0; count < 3; count++) client.ask("slow", "x");
  assert.deepEqual(await client.answer(), [503, "The queue is full"]);
  client.ask("", "passes");
  await worker.serve(1);
  assert.deepEqual(await client.answer(), [200, "PASSES"]);
});

overBoth("a full queue of the only service keeps all from being read", async (transport) => {
  await using stage = new Stage({ services: { "": { queueLimit: 2 } }, transport });
  const client = stage.client();
  for (let count = 0; count < 5; count++) client.ask("", `${count}`);
  await until("the queue is full", () => stage.look("").queued === 2);
  const worker = await stage.worker("");
  assert.deepEqual(await worker.serve(5), ["0", "1", "2", "3", "4"]);
  for (let count = 0; count < 5; count++) assert.equal((await client.answer())[0], 200);
});

// ---- what operators do ----

const CANCELLED = [499, "The request was cancelled"] as const;

overBoth(
  "a job that is cancelled ends at once for all who wait, and for its worker",
  async (transport) => {
    await using stage = new Stage({ services: { "": {}, mail: {} }, transport });
    const worker = await stage.worker("mail");
    const [one, other] = [stage.client(), stage.client()];
    one.ask("mail", "x", { key: "k" });
    const [job] = await worker.job();
    other.ask("mail", "x", { key: "k" });
    await until("both wait", () => stage.loop.look().counters.joined === 1);
    const before = await stage.loop.ask("jobs", { limit: 5 });
    const { jobs: [view] } = before;
    assert.deepEqual(
      [before.total, view?.job, view?.service, view?.state, view?.worker, view?.askers, view?.key],
      [1, job, "mail", "running", worker.number, 2, true],
    );
    assert.deepEqual(await stage.loop.ask("cancelJob", { job }), { outcome: "cancelled" });
    assert.deepEqual([await one.answer(), await other.answer()], [CANCELLED, CANCELLED]);
    assert.equal(await worker.signal(), FromBroker.CANCEL);
    const { jobs: [rest] } = await stage.loop.ask("jobs", { state: "running", limit: 5 });
    assert.deepEqual([rest?.job, rest?.askers], [job, 0]);
    // The worker has it still: to be told twice is no news.
    assert.deepEqual(await stage.loop.ask("cancelJob", { job }), { outcome: "cancelled" });
    // A key that nobody can join any more is asked anew.
    one.ask("mail", "again", { key: "k" });
    worker.reply(job, "too late");
    assert.deepEqual(await worker.serve(1), ["again"]);
    assert.deepEqual(await one.answer(), [200, "AGAIN"]);
    const { counters } = stage.look("mail");
    assert.deepEqual([counters.cancelled, counters.answered, counters.strayReplies], [2, 1, 0]);
    await until("all is told", () => stage.visits.length === 3);
    assert.deepEqual(stage.visits.map(({ code }) => code), [499, 499, 200]);
    const { services } = await stage.loop.ask("measures", {});
    const mail = services.find(({ name }) => name === "mail");
    assert.deepEqual(mail?.replies, { 200: 1, 499: 2 });
  },
);

overBoth("a job whose answer comes in parts is ended with 499 behind them", async (transport) => {
  await using stage = new Stage({ services: { "": {} }, transport });
  const worker = await stage.worker("");
  const client = stage.client();
  client.ask("", "x", { stream: { bytes: 1000, parts: 10 } });
  const [job] = await worker.job();
  worker.part(job, "first");
  const [, , , body] = await client.peer.receive();
  assert.equal(text(body), "first");
  await stage.loop.ask("cancelJob", { job });
  assert.deepEqual(await client.answer(), CANCELLED);
  assert.equal(await worker.signal(), FromBroker.CANCEL);
  worker.part(job, "second");
  worker.reply(job, "too late");
  client.ask("", "next");
  assert.deepEqual(await worker.serve(1), ["next"]);
  assert.deepEqual(await client.answer(), [200, "NEXT"]);
});

Deno.test("jobs are found with the time that they have left, and by how long ago they came", async () => {
  await using stage = new Stage({ services: { "": {}, one: { requestTimeout: 60_000 } } });
  const client = stage.client();
  const worker = await stage.worker("one");
  for (const body of ["a", "b", "c"]) client.ask("one", body, { timeout: 60_000 });
  await worker.job();
  await until("all are here", () => stage.loop.look().queued + stage.loop.look().running === 3);
  const { total, jobs } = await stage.loop.ask("jobs", { limit: 3 });
  assert.deepEqual([total, jobs.map(({ state }) => state)], [3, ["running", "waiting", "waiting"]]);
  for (const { timeLeftMs = 0 } of jobs) assert(timeLeftMs > 0 && timeLeftMs <= 60_000);
  assert.deepEqual(jobs.map(({ runningMs }) => runningMs === undefined), [false, true, true]);
  const old = await stage.loop.ask("jobs", { limit: 3, slowerThanMs: 60_000 });
  assert.deepEqual(old, { total: 0, jobs: [] });
  const slow = await stage.loop.ask("jobs", { limit: 1, slowerThanMs: 0.001 });
  assert.deepEqual([slow.total, slow.jobs.map(({ job }) => job)], [3, [jobs[0]?.job]]);
});

overBoth("clients are found with what they wait for, the busiest first", async (transport) => {
  await using stage = new Stage({ services: { "": {}, mail: {} }, transport });
  const [one, two] = [stage.client(), stage.client()];
  one.ask("", "x");
  for (const service of ["", "mail", "mail"]) two.ask(service, "x");
  await until("all wait", () => stage.loop.look().queued === 4);
  const { total, clients } = await stage.loop.ask("clients", { limit: 5 });
  assert.equal(total, 2);
  assert.deepEqual(clients.map(({ live }) => live), [3, 1]);
  assert.deepEqual(clients[0]?.services, ["", "mail"]);
  assert(clients.every(({ address }) => address.startsWith("127.0.0.1")));
  const some = await stage.loop.ask("clients", { limit: 1 });
  assert.deepEqual([some.total, some.clients.length], [2, 1]);
});

overBoth("a paused service starts nothing, and others are served", async (transport) => {
  const services = { "": {}, mail: { queueLimit: 2, overflow: "reject" as const } };
  await using stage = new Stage({ services, transport });
  const [plain, mail] = [await stage.worker(""), await stage.worker("mail")];
  const client = stage.client();
  client.ask("mail", "runs");
  const [running] = await mail.job();
  stage.loop.send({ type: "pause", service: "mail" });
  client.ask("mail", "waits");
  const late = client.ask("mail", "late", { timeout: 20 });
  await until("they wait", () => stage.look("mail").queued === 2);
  // What runs ends, bounds and deadlines hold.
  client.ask("mail", "too many");
  assert.deepEqual(await client.answer(), [503, "The queue is full"]);
  mail.reply(running, "RUNS");
  assert.deepEqual(await client.answer(), [200, "RUNS"]);
  const [code] = await client.answer();
  assert.deepEqual([code, late], [408, 3]);
  client.ask("", "other");
  await plain.serve(1);
  assert.deepEqual(await client.answer(), [200, "OTHER"]);
  const { queued, running: runs, paused } = stage.look("mail");
  assert.deepEqual([queued, runs, paused], [1, 0, true]);
  stage.loop.send({ type: "resume", service: "mail" });
  assert.deepEqual(await mail.serve(1), ["waits"]);
  assert.deepEqual(await client.answer(), [200, "WAITS"]);
  assert.equal(stage.look("mail").paused, false);
});

for (const waiting of ["serve", "refuse"] as const) {
  Deno.test(`a pause keeps no server from ending that is to ${waiting} what waits`, async () => {
    await using stage = new Stage({ services: { "": {} } });
    const worker = await stage.worker("");
    const client = stage.client();
    stage.loop.send({ type: "pause", service: "" });
    client.ask("", "waits");
    await until("it waits", () => stage.look("").queued === 1);
    stage.loop.send({ type: "drain", waiting });
    assert.equal(stage.look("").paused, false);
    stage.loop.send({ type: "pause", service: "" });
    if (waiting === "serve") assert.deepEqual(await worker.serve(1), ["waits"]);
    const [code] = await client.answer();
    assert.equal(code, waiting === "serve" ? 200 : 503);
    assert.equal(stage.look("").paused, false);
  });
}
