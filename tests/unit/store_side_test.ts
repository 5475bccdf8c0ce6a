/** The data plane's side of the store, with a store that is the test, clients that are names, and a driven clock. */

import { strict as assert } from "node:assert";
import { JobNumbers } from "../../broker/job_records.ts";
import { type Job, newPeer, type Peer } from "../../broker/job.ts";
import { limitsOf } from "../../ops/loop_options.ts";
import { resolveOptions } from "../../options/resolve.ts";
import { type Body, BodyPool } from "../../ports/body.ts";
import type { Content } from "../../ports/content.ts";
import { EventQueue } from "../../ports/event_queue.ts";
import type { Lane } from "../../ports/lane.ts";
import { Services } from "../../ports/services.ts";
import type { AnswerWay, ClientRequest } from "../../ports/source.ts";
import { StoreWire } from "../../ports/store_wire.ts";
import { StoredJobs } from "../../sources/stored_jobs.ts";
import { StoreSide } from "../../sources/store_side.ts";
import type { FromStore, StoredRun, ToStore } from "../../store/messages.ts";
import { readReply, writeReply } from "../../wire/job.ts";
import { bytes } from "../rig/text.ts";

const ID = `j-${"a".repeat(32)}`;

/** A port whose other end is the test. */
class TestPort {
  readonly said: ToStore[] = [];
  onmessage: ((event: { data: FromStore[] }) => void) | null = null;
  isClosed = false;

  postMessage(messages: ToStore[]): void {
    this.said.push(...messages);
  }

  close(): void {
    this.isClosed = true;
  }
}

/** The side of a server with the services "" and "mail". */
class Rig {
  now = 1000;
  wanted = 0;
  readonly answers: [number | undefined, number, string][] = [];
  readonly sent: number[] = [];
  readonly bodies = new BodyPool();
  readonly services: Services;
  readonly side: StoreSide;
  port = new TestPort();
  /** The job whose handler asks. */
  asking: Job<Body> | undefined;
  #last = 0;

  constructor() {
    const source: AnswerWay = {
      endpoints: [],
      reply: ({ requestId }, code, _flags, content) => {
        this.answers.push([requestId, code, textOf(content)]);
      },
      replyError: ({ requestId }, code, _flags, message) => {
        this.answers.push([requestId, code, message]);
      },
      part: () => true,
      isStalled: () => false,
      pause: () => false,
    };
    const wire = new StoreWire({ wanted: () => this.wanted++, came: () => {} });
    const jobs = new StoredJobs({
      services: () => this.services,
      bodies: this.bodies,
      say: (message) => wire.say(message),
      parcel: wire.parcel,
    });
    const lane = {
      send: (worker: { id: number }, list: readonly unknown[]) => {
        this.sent.push(...list.map(() => worker.id));
        return list.length;
      },
      cancel: () => {},
    };
    const events = new EventQueue(() => {});
    const ground = { bodies: this.bodies, events, visits: false };
    this.services = new Services({
      ...{ ...ground, stored: jobs, numbers: new JobNumbers(), traces: false },
      source: toStore(source, jobs),
      lane: lane as unknown as Lane,
    });
    const limits = limitsOf(resolveOptions({}, { cpus: 2, cwd: () => "/" }));
    this.services.add({ name: "", limits, users: undefined });
    this.services.add({ name: "mail", limits, users: ["ann"] });
    this.side = new StoreSide({
      ...{ ...ground, wire, services: this.services, source },
      over: () => {},
      askingJob: () => this.asking,
    }, jobs);
  }

  join(): void {
    this.port = new TestPort();
    this.side.join(this.port as unknown as MessagePort, undefined);
  }

  /** What was said to the store since the last call. */
  said(): ToStore[] {
    this.side.flush();
    return this.port.said.splice(0);
  }

  say(...messages: FromStore[]): void {
    this.port.onmessage?.({ data: messages });
    this.side.hear(this.now);
  }

  /** A client asks one of the services of stored jobs; returns its number for the request. */
  ask(
    peer: Peer<Body>,
    command: string,
    words: unknown,
    timeout = Infinity,
    content = bytes("hello"),
  ): number {
    const text = bytes(typeof words === "string" ? words : JSON.stringify(words));
    const frames = command === "submit" ? [text, content] : [text];
    const size = frames.reduce((sum, { length }) => sum + length, 0);
    const body = this.bodies.take(size);
    let at = 0;
    for (const frame of frames) {
      body.bytes.set(frame, at);
      at += frame.length;
    }
    if (frames.length > 1) body.sizes = frames.map(({ length }) => length);
    const requestId = ++this.#last;
    const request: ClientRequest = {
      ...{ client: peer.home, envelope: [], requestId, body, bytes: size },
      ...{ deadline: this.now + timeout, requestTimeout: 0, key: "" },
      ...{ service: `job.${command}`, excess: undefined, fault: "" },
    };
    this.side.counter.request(peer, request, this.now);
    return requestId;
  }

  run(run: number, more: Partial<StoredRun> = {}): FromStore {
    const one = { run, id: ID, service: "", user: "", attempt: 1, tries: 5, requestTimeout: 0 };
    const rest = { expiresAt: 0, trace: "", checkpoint: undefined, body: { bytes: bytes("x") } };
    return { type: "job", run: { ...one, ...rest, ...more } };
  }
}

function toStore(source: AnswerWay, jobs: StoredJobs): AnswerWay {
  return {
    ...source,
    replyError: (to, code, _flags, message) => jobs.unanswered(to, code, message),
  };
}

function textOf(content: Content): string {
  const all = new Uint8Array(content.size);
  content.copyTo(all, 0, 0, content.size);
  return new TextDecoder().decode(all);
}

function client(user = ""): Peer<Body> {
  return newPeer<Body>(1, new Uint8Array(31), user);
}

const numbersOf = (messages: readonly ToStore[]) =>
  messages.flatMap((message) => "number" in message ? [message.number] : []);

Deno.test("StoreSide wants the store once, and says then what was said before", () => {
  const rig = new Rig();
  const peer = client("ann");
  rig.ask(peer, "submit", { service: "mail" });
  rig.ask(peer, "status", { id: ID });
  assert.equal(rig.wanted, 1);
  rig.join();
  const said = rig.said().filter(({ type }) => type !== "room");
  assert.deepEqual(said.map(({ type }) => type), ["submit", "ask"]);
  const [submit] = said;
  assert(submit?.type === "submit");
  assert.deepEqual([submit.job.user, submit.job.service, submit.job.retries], ["ann", "mail", 4]);
  // Memory of the pool does not go with it.
  assert.ok(submit.job.body.bytes.buffer.byteLength <= 512);
  rig.say({ type: "stored", number: submit.number, id: ID, isNew: true });
  assert.deepEqual(rig.answers, [[1, 200, JSON.stringify({ id: ID, isNew: true })]]);
  assert.equal(peer.home.live, 1);
});

Deno.test("StoreSide lets nobody submit for a service that he may not ask", () => {
  const rig = new Rig();
  rig.ask(client("bob"), "submit", { service: "mail" });
  rig.ask(client("bob"), "submit", { service: "nowhere" });
  assert.deepEqual(rig.answers.map(([, code]) => code), [403, 404]);
  assert.equal(rig.wanted, 0);
});

Deno.test("StoreSide answers a question when its client's time is up, and tells the store", () => {
  const rig = new Rig();
  rig.join();
  rig.ask(client(), "result", { id: ID, wait: 60_000 }, 1000);
  const [ask] = rig.said().filter(({ type }) => type === "ask");
  assert(ask?.type === "ask" && ask.question.type === "result");
  assert.equal(ask.question.waitMs, 900);
  rig.now += 999;
  rig.side.counter.tick(rig.now);
  assert.equal(rig.answers.length, 0);
  rig.now += 101;
  rig.side.counter.tick(rig.now);
  assert.deepEqual(rig.answers.map(([, code]) => code), [408]);
  assert.deepEqual(rig.said(), [{ type: "withdraw", number: ask.number }]);
  // An answer that was under way is none.
  rig.say({ type: "refused", number: ask.number, code: 404, message: "No" });
  assert.equal(rig.answers.length, 1);
});

Deno.test("StoreSide withdraws what a client has asked that leaves, or takes it back", () => {
  const rig = new Rig();
  rig.join();
  const [one, other] = [client(), client()];
  const first = rig.ask(one, "status", { id: ID, wait: 1000 });
  rig.ask(one, "status", { id: ID, wait: 1000 });
  rig.ask(other, "status", { id: ID, wait: 1000 });
  const asked = numbersOf(rig.said());
  assert.equal(rig.side.counter.cancel(one, first), true);
  assert.equal(rig.side.counter.cancel(one, first), false);
  assert.deepEqual(rig.answers.map(([id, code]) => [id, code]), [[first, 499]]);
  rig.side.counter.gone(one);
  assert.deepEqual(numbersOf(rig.said()), asked.slice(0, 2));
  assert.deepEqual([one.home.live, other.home.live], [0, 1]);
});

Deno.test("StoreSide bounds what one client has open", () => {
  const rig = new Rig();
  const peer = client();
  for (let count = 0; count < 4001; count++) rig.ask(peer, "status", { id: ID });
  assert.deepEqual(rig.answers.map(([, code]) => code), [503]);
  rig.ask(client(), "status", { id: ID });
  assert.equal(rig.answers.length, 1);
});

Deno.test("StoreSide takes a job that is larger than all that may wait to be stored, one at a time", () => {
  const rig = new Rig();
  rig.join();
  const ann = client("ann");
  const submit = (size: number) =>
    rig.ask(ann, "submit", {}, Infinity, new Uint8Array(size * 1024 ** 2));
  const small = submit(60);
  const large = submit(65);
  const refused = [submit(65), submit(0)];
  const busy = (request: number) => [request, 503, "Too many bytes wait to be stored"];
  assert.deepEqual(rig.answers, refused.map(busy));
  const numbers = rig.said().flatMap((each) => each.type === "submit" ? [each.number] : []);
  assert.equal(numbers.length, 2);
  rig.say(...numbers.map((number): FromStore => ({ type: "stored", number, id: ID, isNew: true })));
  assert.deepEqual(rig.answers.slice(2).map(([request, code]) => [request, code]), [
    [small, 200],
    [large, 200],
  ]);
  submit(65);
  assert.equal(rig.said().length, 1);
});

Deno.test("StoreSide answers all with the reason when the store is lost, and starts it again later", () => {
  const rig = new Rig();
  rig.ask(client(), "submit", {});
  rig.side.lose("Jobs can't be stored: the disk is full", rig.now);
  rig.ask(client(), "submit", {});
  const expected = [507, "Jobs can't be stored: the disk is full"];
  assert.deepEqual(rig.answers.map(([, ...rest]) => rest), [expected, expected]);
  assert.equal(rig.wanted, 1);
  rig.now += 1000;
  rig.ask(client(), "submit", {});
  assert.equal(rig.wanted, 2);
});

Deno.test("StoreSide runs what the store gives, and tells how it has ended", () => {
  const rig = new Rig();
  const unit = rig.services.named("");
  assert(unit);
  const worker = unit.broker.workforce.add(1, rig.now);
  rig.join();
  const [room] = rig.said();
  assert.deepEqual(room, { type: "room", service: "", jobs: 2, heard: 0 });
  rig.say(rig.run(1), rig.run(2), rig.run(3, { service: "nowhere" }));
  assert.deepEqual(rig.said()[0], { type: "returned", run: 3 });
  unit.dispatcher.sendAll(rig.now);
  assert.deepEqual(rig.sent, [1]);
  const job = worker.jobs.first;
  assert(job);
  const view = new DataView(new ArrayBuffer(20));
  writeReply(view, { job: job.id, code: 200, micros: 5000, frames: 1 });
  const result = { size: 2, sizes: undefined, bytes: bytes("ok"), start: 0 };
  const content = { ...result, copyTo: copier(bytes("ok")), send: () => -1 };
  unit.replies.take(worker, readReply(view), content, rig.now);
  const outcome = { code: 200, unstarted: false, result: { bytes: bytes("ok") }, ms: 5 };
  assert.deepEqual(rig.said()[0], { type: "ended", run: 1, outcome });
  // It takes back the other one, and what the broker does not start is returned.
  rig.say({ type: "cancelRun", run: 2 });
  unit.replies.sendEnded(rig.now);
  const [cancelled] = rig.said();
  assert(cancelled?.type === "ended");
  assert.deepEqual([cancelled.run, cancelled.outcome.code, cancelled.outcome.unstarted], [
    2,
    499,
    true,
  ]);
  unit.broker.drain("refuse");
  rig.say(rig.run(4));
  unit.replies.sendEnded(rig.now);
  assert.deepEqual(rig.said()[0], { type: "returned", run: 4 });
});

Deno.test("StoreSide tells a new store nothing of runs that the one before had given", () => {
  const rig = new Rig();
  const unit = rig.services.named("");
  assert(unit);
  const worker = unit.broker.workforce.add(1, rig.now);
  rig.join();
  rig.say(rig.run(1));
  unit.dispatcher.sendAll(rig.now);
  rig.side.lose("It has failed", rig.now);
  assert.equal(rig.port.isClosed, true);
  rig.join();
  rig.say(rig.run(1));
  rig.said();
  const view = new DataView(new ArrayBuffer(20));
  writeReply(view, { job: worker.jobs.first?.id ?? 0, code: 200, micros: 1, frames: 1 });
  const result = { size: 0, sizes: undefined, bytes: bytes(""), start: 0 };
  unit.replies.take(worker, readReply(view), {
    ...result,
    copyTo: copier(bytes("")),
    send: () => -1,
  }, rig.now);
  unit.replies.sendEnded(rig.now);
  assert.deepEqual(rig.said().filter(({ type }) => type === "ended"), []);
});

Deno.test("StoreSide gives a job what its handler has had kept, where it runs again in the same try", () => {
  const rig = new Rig();
  const unit = rig.services.named("");
  assert(unit);
  const worker = unit.broker.workforce.add(1, rig.now);
  rig.join();
  rig.say(rig.run(1, { checkpoint: { bytes: bytes("old") } }));
  unit.dispatcher.sendAll(rig.now);
  const job = rig.asking = worker.jobs.first;
  assert(job);
  const framesOf = () =>
    job.request.body.toFrames().map((frame) => new TextDecoder().decode(frame));
  assert.deepEqual(framesOf(), ["x", "old"]);
  for (const value of ["first", "a second one"]) {
    rig.ask(client(), "checkpoint", value);
    const [said] = rig.said().filter(({ type }) => type === "checkpoint");
    assert(said?.type === "checkpoint");
    assert.notEqual(framesOf()[1], value);
    rig.say({ type: "kept", number: said.number });
    assert.deepEqual([framesOf(), job.request.stored?.hasKept], [["x", value], true]);
  }
  // One that is not stored is none.
  rig.ask(client(), "checkpoint", "third");
  const number = numbersOf(rig.said())[0] ?? 0;
  rig.say({ type: "refused", number, code: 507, message: "The disk is full" });
  assert.equal(framesOf()[1], "a second one");
});

Deno.test("StoreWire waits for what the store has counted, and for nothing that comes later", async () => {
  const wire = new StoreWire({ wanted: () => {}, came: () => {} });
  const port = new TestPort();
  const memory = new SharedArrayBuffer(4);
  const counter = new Int32Array(memory);
  wire.join(port as unknown as MessagePort, memory);
  assert.equal(wire.isBehind, false);
  counter[0] = 2;
  assert.equal(wire.isBehind, true);
  let hasCaughtUp = false;
  const caughtUp = wire.catchUp().then(() => hasCaughtUp = true);
  port.onmessage?.({ data: [] });
  counter[0] = 5;
  await undefined;
  assert.equal(hasCaughtUp, false);
  port.onmessage?.({ data: [] });
  await caughtUp;
  // A message may be heard before it is counted.
  for (let count = 0; count < 4; count++) port.onmessage?.({ data: [] });
  assert.equal(wire.isBehind, false);
  await wire.catchUp();
});

function copier(from: Uint8Array<ArrayBuffer>): Content["copyTo"] {
  return (target, at, start, count) => target.set(from.subarray(start, start + count), at);
}
