/** The record lane, from the broker's side: what is sent to workers, and what is believed of them. */

import { strict as assert } from "node:assert";
import { type Job, newJob, newPeer, newWorker, type Worker } from "../../broker/job.ts";
import { Body, BodyPool } from "../../ports/body.ts";
import { type Content, keep } from "../../ports/content.ts";
import type { LaneEvents } from "../../ports/lane.ts";
import { RecordLane } from "../../ports/record_lane.ts";
import { Stream } from "../../broker/stream.ts";
import { openLibc } from "../../system/libc.ts";
import { buildJobHeader, FromBroker, FromWorker, type ReplyHeader } from "../../wire/job.ts";
import { HEAD_BYTES, Only, Tag } from "../../wire/records.ts";
import { locateLibrary } from "../../zmq/locate.ts";
import { Folder } from "../rig/folder.ts";
import { addFrames, framed, introduction, LaneWorker, record } from "../rig/lane_worker.ts";
import { randomNumbers } from "../rig/random.ts";
import { bytes, text } from "../rig/text.ts";
import { until } from "../rig/wait.ts";

type Bytes = Uint8Array<ArrayBuffer>;

const libc = openLibc(locateLibrary(Deno.env.get("ZMQ_LIBRARY")).path);
const MAX_FRAMES = 10;
const MAX_MESSAGE_SIZE = 1_000_000;
/** What a record may have beside its body. */
const TEXT_BYTES = 65_536;

/** A body pool that counts what is taken and not given back. */
class CountingPool extends BodyPool {
  taken = 0;

  override take(size: number): Body {
    this.taken++;
    return super.take(size);
  }

  override release(body: Body): void {
    if (body.holders === 1) this.taken--;
    super.release(body);
  }
}

/** A RecordLane, and what it told of. */
class Back {
  readonly #folder = new Folder();
  readonly bodies = new CountingPool();
  readonly lane: RecordLane;
  readonly endpoint: string;
  readonly workers: Worker<Body>[] = [];
  /** All but replies, as text. */
  readonly events: string[] = [];
  readonly replies: { worker: number; reply: ReplyHeader; frames: Bytes[]; inRing: boolean }[] = [];
  /** Which tokens are good. */
  tokens = new Set(["token 1", "token 2", "token 3"]);
  /** The process that they were made for; undefined: any. */
  pid: number | undefined;
  lineLimit = Infinity;
  onReply: (worker: Worker<Body>) => void = () => {};

  constructor() {
    const bounds = { maxFrames: MAX_FRAMES, maxMessageSize: MAX_MESSAGE_SIZE };
    this.lane = new RecordLane(libc, this.bodies, bounds, this.#events());
    this.endpoint = this.lane.bind(`ipc://${this.#folder.path}/backend`);
  }

  #events(): LaneEvents {
    const kept = new BodyPool();
    return {
      expects: (token, pid) => this.#fits(token, pid),
      admit: (token, pid) => this.#admit(token, pid),
      reply: (worker, reply, content) => {
        const frames = keep(content, kept).toFrames();
        const inRing = content.bytes === undefined;
        this.replies.push({ worker: worker.id, reply: { ...reply }, frames, inRing });
        this.onReply(worker);
      },
      part: (worker, job, content) => this.#noteShare("part", worker, job, content),
      question: () => {},
      publish: () => {},
      withdrawn: () => {},
      progress: (worker, job, content) => this.#noteShare("progress", worker, job, content),
      alive: (worker) => this.events.push(`alive ${worker.id}`),
      returned: (worker, job) => this.events.push(`returned ${job} by ${worker.id}`),
      retiring: (worker) => this.events.push(`retiring ${worker.id}`),
      gone: (worker, end) => {
        this.events.push(`gone ${worker.id} ${end}`);
        this.lane.forget(worker);
      },
      loaded: (token, pid) => {
        this.events.push(`loaded ${token}`);
        return this.#fits(token, pid);
      },
      failed: (token, message, pid) => {
        this.events.push(`failed ${token}: ${message}`);
        return this.#fits(token, pid) && this.tokens.delete(token);
      },
      memory: (worker, bytes) => this.events.push(`memory ${worker.id} ${bytes}`),
      mayLog: (_, bytes) => bytes < this.lineLimit,
      log: (worker, { level, message, fields, job }) => {
        const more = [...job === 0 ? [] : [`job=${job}`], ...Object.entries(fields).flat()];
        this.events.push([`log ${worker.id} ${level}: ${message}`, ...more].join(" "));
      },
    };
  }

  #noteShare(what: string, worker: Worker<Body>, job: number, content: Content): void {
    const where = content.bytes === undefined ? " in the ring" : "";
    const frames = keep(content, new BodyPool()).toFrames().map(({ length }) => length);
    this.events.push(`${what} of ${job} by ${worker.id}${where}: ${frames}`);
  }

  #fits(token: string, pid: number | undefined): boolean {
    return this.tokens.has(token) && (this.pid === undefined || this.pid === pid);
  }

  #admit(token: string, pid: number | undefined): Worker<Body> | undefined {
    this.events.push(`admit ${token}`);
    if (!this.#fits(token, pid)) return undefined;
    this.tokens.delete(token);
    const worker = newWorker<Body>(this.workers.length + 1, 0);
    this.workers.push(worker);
    return worker;
  }

  /** Reads all that is here. */
  read(): number {
    let records = 0;
    do {
      this.lane.noteActivity();
      const read = this.lane.read(0);
      if (read === 0 && !this.lane.isReadable()) return records;
      records += read;
    } while (true);
  }

  /** Reads until `look` is satisfied. */
  async until(what: string, look: () => boolean): Promise<void> {
    await until(what, () => {
      this.read();
      return look();
    });
  }

  /** A connection that the lane has accepted. */
  async stranger(): Promise<LaneWorker> {
    const peer = new LaneWorker(this.endpoint);
    this.read();
    return await Promise.resolve(peer);
  }

  /** Brings a worker that has said READY with a token that is good; with `rings`, it has taken them. */
  async worker(
    rings: "rings" | "none" = "none",
  ): Promise<{ peer: LaneWorker; worker: Worker<Body> }> {
    const count = this.workers.length;
    const token = `token ${count + 1}`;
    const peer = new LaneWorker(this.endpoint);
    let size = 0;
    if (rings === "rings") {
      peer.send(introduction(Only.HELLO, token));
      this.read();
      size = peer.takeRings();
      assert(size > 0, "the lane has rings");
    }
    peer.send(introduction(FromWorker.READY, token, size));
    await this.until("the worker is admitted", () => this.workers.length > count);
    const worker = this.workers[count];
    assert(worker);
    this.events.length = 0;
    return { peer, worker };
  }

  /** Reads until a peer's last word has come: a log line that the test has it say. */
  async after(peer: LaneWorker): Promise<void> {
    const before = this.events.length;
    peer.send(framed(FromWorker.LOG, 0, [bytes("last word"), bytes("")]), () => this.read());
    const isLast = (event: string) => event.endsWith("debug: last word");
    await this.until("the last word is here", () => this.events.slice(before).some(isLast));
    this.events.pop();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.lane.close();
    this.#folder[Symbol.dispose]();
    await Promise.resolve();
  }
}

const CLIENT = newPeer<Body>(0, buildJobHeader("me", "", "alice"), "alice").home;

/**
 * Waits until the broker has ended a connection. A program that starts just then holds its descriptors for a moment, so
 * that the end comes a little later.
 */
async function ended(peer: LaneWorker): Promise<void> {
  await until("the broker has ended the connection", () => {
    peer.hear();
    return peer.isEnded;
  });
}

/** A job with these frames. */
function jobOf(pool: BodyPool, id: number, ...frames: (string | Bytes)[]): Job<Body> {
  const parts = frames.map((frame) => typeof frame === "string" ? bytes(frame) : frame);
  const size = parts.reduce((sum, { length }) => sum + length, 0);
  const body = pool.take(size);
  let at = 0;
  for (const part of parts) {
    body.bytes.set(part, at);
    at += part.length;
  }
  body.sizes = parts.length === 1 ? undefined : parts.map(({ length }) => length);
  return newJob(id, {
    client: CLIENT,
    requestId: 0,
    envelope: undefined,
    key: "",
    body,
    bytes: size,
    deadline: Infinity,
    requestTimeout: Infinity,
  } as never);
}

const noise = (size: number, seed = 1): Bytes => {
  const random = randomNumbers(seed);
  return Uint8Array.from({ length: size }, () => random(256));
};

const reply = (job: number, ...frames: Bytes[]) => framed(FromWorker.REPLY, job, frames, 200);

Deno.test("RecordLane admits a worker by its token, once", async () => {
  await using back = new Back();
  const { peer } = await back.worker();
  const second = await back.stranger();
  second.send(introduction(FromWorker.READY, "token 1"));
  await back.until("it is refused", () => back.lane.intruders === 1);
  await ended(second);
  peer.hear();
  assert(!peer.isEnded);
  assert.equal(back.workers.length, 1);
  peer.close();
  second.close();
});

Deno.test("RecordLane takes a token only from the process that it was made for", async () => {
  await using back = new Back();
  back.pid = Deno.pid + 1;
  for (const type of [Only.HELLO, FromWorker.READY, FromWorker.LOADED, FromWorker.FAILED]) {
    const peer = await back.stranger();
    peer.send(introduction(type, "token 1"));
    const before = back.lane.intruders;
    await back.until("it is refused", () => back.lane.intruders > before);
    await ended(peer);
    peer.close();
  }
  assert(back.tokens.has("token 1"), "the token is still good");
  back.pid = Deno.pid;
  const { peer } = await back.worker();
  peer.close();
});

Deno.test("RecordLane hears of a worker that has loaded its handler, or can't", async () => {
  await using back = new Back();
  const peer = await back.stranger();
  peer.send(introduction(FromWorker.LOADED, "token 1"));
  peer.send(introduction(FromWorker.FAILED, "token 1", 0, "no such module"));
  await back.until("both are heard", () => back.events.length === 2);
  assert.deepEqual(back.events, ["loaded token 1", "failed token 1: no such module"]);
  assert.equal(back.lane.intruders, 0);
  peer.close();
});

Deno.test("RecordLane sends all jobs of a pass together, with all that a worker is told", async () => {
  await using back = new Back();
  const { peer, worker } = await back.worker();
  const first = jobOf(back.bodies, 7, "hello");
  first.deadline = 5000;
  const second = jobOf(back.bodies, 2 ** 40, "a", "", "bc");
  (second as { begun: boolean }).begun = true;
  assert.equal(back.lane.send(worker, [first, second], 1000), 2);
  assert.deepEqual(peer.hear(), [], "nothing is sent before the end of the pass");
  const due = Date.now() + 4000;
  back.lane.flush();
  const [one, two, ...rest] = peer.hear();
  assert(one && two);
  assert.equal(rest.length, 0);
  assert.deepEqual([one.type, one.job, one.attempt, one.timeLimit], [FromBroker.JOB, 7, 1, 0]);
  assert(Math.abs(one.deadline - due) < 1000, `${one.deadline} is not ${due}`);
  assert.deepEqual(one.frames.map(text), ["hello"]);
  assert.deepEqual(one.client, CLIENT.peer.header.subarray(28));
  assert.deepEqual([two.job, two.deadline], [2 ** 40, 0]);
  assert.deepEqual(two.frames.map(text), ["a", "", "bc"]);
  peer.close();
});

Deno.test("RecordLane asks, cancels and stops at once", async () => {
  await using back = new Back();
  const { peer, worker } = await back.worker();
  assert.equal(back.lane.ask(worker), "asked");
  back.lane.cancel(worker, 12, 499);
  back.lane.stop(worker);
  const said = peer.hear().map(({ type, job, code }) => [type, job, code]);
  assert.deepEqual(said, [[FromBroker.ASK, 0, 0], [FromBroker.CANCEL, 12, 499], [
    FromBroker.STOP,
    0,
    0,
  ]]);
  back.lane.forget(worker);
  assert.equal(back.lane.ask(worker), "gone");
  assert.equal(back.lane.send(worker, [jobOf(back.bodies, 1, "x")], 0), 0);
  peer.close();
});

Deno.test("RecordLane passes replies on with all that they say", async () => {
  await using back = new Back();
  const { peer, worker } = await back.worker();
  const one = record(FromWorker.REPLY, 5, (writer) => {
    writer.number(Tag.MICROS, 42);
    addFrames(writer, [bytes("what went wrong"), bytes("the stack")]);
  }, { detail: 3, code: 500 });
  peer.send(new Uint8Array([...one, ...reply(6, bytes("")), ...reply(7, bytes("last"))]));
  await back.until("all are here", () => back.replies.length === 3);
  const [first, second, third] = back.replies;
  assert.deepEqual(first?.reply, { job: 5, code: 500, flags: 3, micros: 42, frames: 2 });
  assert.deepEqual(first?.frames.map(text), ["what went wrong", "the stack"]);
  assert.deepEqual(second?.frames.map(text), [""]);
  assert.deepEqual([third?.worker, third?.reply.job], [worker.id, 7]);
  assert.equal(back.lane.intruders, 0);
  peer.close();
});

Deno.test("RecordLane hears everything else that a worker says", async () => {
  await using back = new Back();
  const { peer } = await back.worker();
  for (const type of [FromWorker.ALIVE, FromWorker.RETIRE]) peer.send(record(type, 0));
  peer.send(record(FromWorker.RETURN, 9));
  peer.send(record(FromWorker.MEMORY, 0, (writer) => {
    writer.number(Tag.MEMORY, 3);
    writer.frames(0);
  }));
  const line = [bytes("a line"), bytes('{"a":1,"b":{}}')];
  peer.send(record(FromWorker.LOG, 4, (writer) => addFrames(writer, line), { detail: 2 }));
  peer.send(record(FromWorker.LEAVING, 0));
  await back.until("it has left", () => back.events.includes("gone 1 left"));
  assert.deepEqual(back.events, [
    "alive 1",
    "retiring 1",
    "returned 9 by 1",
    "memory 1 3072",
    "log 1 warn: a line job=4 a 1",
    "gone 1 left",
  ]);
  assert.equal(back.lane.intruders, 0);
  peer.close();
});

Deno.test("RecordLane cuts lines for the log, and drops those that are too many", async () => {
  await using back = new Back();
  const { peer } = await back.worker();
  peer.send(framed(FromWorker.LOG, 0, [bytes("x".repeat(20_000)), bytes("{")]), () => back.read());
  await back.until("the line is here", () => back.events.length > 0);
  assert.equal(back.events[0], `log 1 debug: ${"x".repeat(8192)}`);
  back.lineLimit = 100;
  peer.send(framed(FromWorker.LOG, 0, [bytes("x".repeat(200)), bytes("")]));
  await back.after(peer);
  assert.equal(back.events.length, 1);
  peer.close();
});

Deno.test("RecordLane reads what a worker said before it died, and drops a record that is not whole", async () => {
  await using back = new Back();
  const { peer } = await back.worker();
  const last = reply(2, bytes("half"));
  peer.send(new Uint8Array([...reply(1, bytes("whole")), ...last.subarray(0, last.length - 1)]));
  peer.close();
  await back.until("its end is noticed", () => back.events.length > 0);
  assert.deepEqual(back.events, ["gone 1 died"]);
  assert.deepEqual(back.replies.map(({ frames }) => frames.map(text)), [["whole"]]);
  assert.equal(back.lane.intruders, 0);
});

Deno.test("RecordLane puts records together that come byte by byte", async () => {
  await using back = new Back();
  const { peer } = await back.worker();
  const all = new Uint8Array([...reply(1, bytes("one")), ...reply(2, bytes("two"), bytes("2"))]);
  for (let at = 0; at < all.length; at++) {
    peer.send(all.subarray(at, at + 1).slice());
    back.read();
  }
  await back.until("both are here", () => back.replies.length === 2);
  assert.deepEqual(back.replies.map(({ frames }) => frames.map(text)), [["one"], ["two", "2"]]);
  peer.close();
});

for (const size of [30_000, 65_536, 300_000, MAX_MESSAGE_SIZE]) {
  Deno.test(`RecordLane takes and sends bodies of ${size} bytes over the socket`, async () => {
    await using back = new Back();
    const { peer, worker } = await back.worker();
    const body = noise(size);
    peer.send(reply(1, body), () => back.read());
    await back.until("the reply is here", () => back.replies.length === 1);
    assert.deepEqual(back.replies[0]?.frames, [body]);
    assert.equal(back.bodies.taken, 0);
    const job = jobOf(back.bodies, 1, body);
    back.lane.send(worker, [job, jobOf(back.bodies, 2, "next")], 0);
    back.lane.flush();
    // The job may end while its body is on its way.
    back.bodies.release(job.request.body);
    const heard = peer.hear();
    await back.until("the job is there", () => {
      heard.push(...peer.hear());
      return heard.length === 2;
    });
    assert.deepEqual(heard[0]?.frames, [body]);
    assert.deepEqual(heard[1]?.frames.map(text), ["next"]);
    assert.equal(back.bodies.taken, 1, "the second job's body alone is held");
    peer.close();
  });
}

Deno.test("RecordLane gives bodies back that a worker which has died never took", async () => {
  await using back = new Back();
  const { peer, worker } = await back.worker();
  const jobs = Array.from({ length: 5 }, (_, id) => jobOf(back.bodies, id, noise(500_000)));
  back.lane.send(worker, jobs, 0);
  back.lane.flush();
  for (const { request } of jobs) back.bodies.release(request.body);
  assert(back.bodies.taken > 0, "some are on their way");
  peer.close();
  await back.until("its end is noticed", () => back.events.length > 0);
  assert.equal(back.bodies.taken, 0);
});

Deno.test("RecordLane sends large bodies through the ring, and takes them from there", async () => {
  await using back = new Back();
  const { peer, worker } = await back.worker("rings");
  const random = randomNumbers(4);
  for (let round = 0; round < 100; round++) {
    const frames = [noise(8192 + random(200_000), round + 1), noise(random(100), round + 2)];
    const job = jobOf(back.bodies, round, ...frames);
    back.lane.send(worker, [job], 0);
    back.lane.flush();
    back.bodies.release(job.request.body);
    const heard: ReturnType<LaneWorker["hear"]> = peer.hear();
    const jobs = heard.filter(({ type }) => type === FromBroker.JOB);
    assert.equal(jobs.length, 1);
    assert.deepEqual(jobs[0]?.inRing, true);
    assert.deepEqual(jobs[0]?.frames, frames);
    peer.send(peer.ringReply(round, frames));
    back.read();
    const taken = back.replies.pop();
    assert.deepEqual([taken?.reply.job, taken?.inRing], [round, true]);
    assert.deepEqual(taken?.frames, frames);
  }
  assert.equal(back.lane.intruders, 0);
  assert.equal(back.bodies.taken, 0);
  peer.close();
});

Deno.test("RecordLane tells how far it has read a ring when no job does for long", async () => {
  await using back = new Back();
  const { peer } = await back.worker("rings");
  const size = peer.outRing.size;
  const body = noise(size / 8);
  for (let round = 0; round < 20; round++) {
    peer.send(peer.ringReply(round, [body]));
    back.read();
    back.lane.flush();
    peer.hear();
  }
  assert.equal(back.replies.length, 20);
  peer.close();
});

Deno.test("RecordLane sends over the socket what the ring has no room for", async () => {
  await using back = new Back();
  const { peer, worker } = await back.worker("rings");
  const size = peer.inRing.size;
  const bodies = [noise(size, 2), noise(9000, 3), noise(9001, 4)];
  const jobs = bodies.map((body, id) => jobOf(back.bodies, id, body));
  back.lane.send(worker, jobs, 0);
  back.lane.flush();
  const heard = peer.hear();
  await back.until("all are there", () => {
    heard.push(...peer.hear());
    return heard.length === 3;
  });
  assert.deepEqual(heard.map(({ inRing }) => inRing), [true, false, false]);
  heard.forEach(({ frames }, index) => assert.deepEqual(frames, [bodies[index]]));
  peer.close();
});

Deno.test("RecordLane uses no ring that a worker has not taken", async () => {
  await using back = new Back();
  const peer = new LaneWorker(back.endpoint);
  peer.send(introduction(Only.HELLO, "token 1"));
  back.read();
  peer.send(introduction(FromWorker.READY, "token 1"));
  await back.until("it is admitted", () => back.workers.length === 1);
  const [worker] = back.workers;
  assert(worker);
  back.lane.send(worker, [jobOf(back.bodies, 1, noise(20_000))], 0);
  back.lane.flush();
  const heard = peer.hear().filter(({ type }) => type === FromBroker.JOB);
  assert.deepEqual(heard.map(({ inRing }) => inRing), [false]);
  peer.close();
});

Deno.test("RecordLane empties the rings of a worker that has nothing to do", async () => {
  await using back = new Back();
  const { peer, worker } = await back.worker("rings");
  const body = noise(20_000);
  back.lane.send(worker, [jobOf(back.bodies, 1, body)], 0);
  back.lane.flush();
  peer.hear();
  const look = () => {
    const first = new Uint8Array(100);
    peer.rings?.incoming.read(0, first, first.length);
    return first;
  };
  back.lane.giveBackMemory();
  assert.deepEqual(look(), body.slice(0, 100), "the worker may not have read it");
  peer.send(peer.ringReply(1, [body]));
  back.read();
  back.lane.giveBackMemory();
  assert.deepEqual(look(), new Uint8Array(100));
  peer.close();
});

Deno.test("RecordLane survives a worker that is forgotten while its reply lies in the ring", async () => {
  await using back = new Back();
  const { peer, worker } = await back.worker("rings");
  back.onReply = () => back.lane.forget(worker);
  const body = noise(20_000);
  peer.send(new Uint8Array([...peer.ringReply(1, [body]), ...reply(2, bytes("not heard"))]));
  back.read();
  assert.deepEqual(back.replies.map(({ frames }) => frames), [[body]]);
  await ended(peer);
  peer.close();
});

// ---- workers that are not what they should be ----

/** What a worker that has taken rings may say that ends its connection. */
const LIES: Record<string, (peer: LaneWorker) => Bytes> = {
  "a record smaller than a head": () => new Uint8Array(HEAD_BYTES).fill(1, 0, 1),
  "a record of 4 GiB that is no reply": () => {
    const huge = record(FromWorker.LOG, 0);
    new DataView(huge.buffer).setUint32(0, 2 ** 32 - 1, true);
    return huge;
  },
  "frames behind the end of the ring": (peer) => placed(peer.outRing.size - 64, 128),
  "frames outside of the ring": (peer) => placed(peer.outRing.size, 128),
  "frames far outside of the ring": () => placed(2 ** 32 - 64, 128),
  "frames of 4 GiB": () => placed(0, 2 ** 32 - 1),
  "frames of no bytes in the ring": () => placed(0, 0),
  "frames where the ring goes on later": () => placed(64, 128),
  "a line for the log in the ring": () => placed(0, 128, FromWorker.LOG),
  "credit for what it never got": () => credit(64),
  "credit that goes back": () => credit(2 ** 32 - 64),
};

function placed(at: number, size: number, type: number = FromWorker.REPLY): Bytes {
  return record(type, 1, (writer) => {
    writer.place(at, size);
    writer.frames(1);
  }, { code: 200 });
}

function credit(value: number): Bytes {
  return record(Only.CREDIT, 0, (writer) => {
    writer.number(Tag.CREDIT, value);
    writer.frames(0);
  });
}

for (const [what, lie] of Object.entries(LIES)) {
  Deno.test(`RecordLane ends the connection of a worker that tells of ${what}`, async () => {
    await using back = new Back();
    const { peer } = await back.worker("rings");
    const other = await back.worker("rings");
    peer.send(lie(peer));
    await back.until("it is given up", () => back.events.includes("gone 1 died"));
    assert.equal(back.lane.intruders, 1);
    assert.deepEqual(back.replies, []);
    await ended(peer);
    other.peer.send(other.peer.ringReply(3, [noise(9000)]));
    await back.until("the other one is heard", () => back.replies.length === 1);
    peer.close();
    other.peer.close();
  });
}

for (const [what, lie] of Object.entries({ ring: placed(0, 128), credit: credit(0) })) {
  Deno.test(`RecordLane believes a worker without rings nothing of a ${what}`, async () => {
    await using back = new Back();
    const { peer } = await back.worker();
    peer.send(lie);
    await back.until("it is given up", () => back.events.includes("gone 1 died"));
    peer.close();
  });
}

/** What a worker may say that is dropped, and counted. */
const NONSENSE: Record<string, Bytes> = {
  "a type that there is not": record(99, 0),
  "a second READY": introduction(FromWorker.READY, "token 2"),
  "a second HELLO": introduction(Only.HELLO, "token 2"),
  "LOADED, late": introduction(FromWorker.LOADED, "token 2"),
  "what only the broker says": record(FromBroker.STOP, 0),
  "a reply without frames": record(FromWorker.REPLY, 1),
  "RETIRE with frames": framed(FromWorker.RETIRE, 0, [bytes("x")]),
  "LOG with one frame": framed(FromWorker.LOG, 0, [bytes("x")]),
  "LOG with three frames": framed(FromWorker.LOG, 0, [bytes("x"), bytes("y"), bytes("z")]),
  "a record whose fields are too long": (() => {
    const wrong = reply(1, bytes("x"));
    new DataView(wrong.buffer).setUint32(16, 1000, true);
    return wrong;
  })(),
  "a field that nobody knows and everybody must": record(FromWorker.REPLY, 1, (writer) => {
    writer.text(200, bytes("x"));
    addFrames(writer, [bytes("x")]);
  }, { code: 200 }),
};

for (const [what, nonsense] of Object.entries(NONSENSE)) {
  Deno.test(`RecordLane counts and drops ${what}`, async () => {
    await using back = new Back();
    const { peer } = await back.worker();
    peer.send(nonsense);
    await back.after(peer);
    assert.equal(back.lane.intruders, 1);
    assert.deepEqual([back.events, back.replies], [[], []]);
    peer.close();
  });
}

Deno.test("RecordLane answers a job with an error when its reply has too many frames", async () => {
  await using back = new Back();
  const { peer } = await back.worker();
  peer.send(reply(5, ...Array.from({ length: MAX_FRAMES + 1 }, () => bytes("x"))));
  await back.until("it is answered", () => back.replies.length === 1);
  assert.deepEqual([back.replies[0]?.reply.job, back.replies[0]?.reply.code], [5, 500]);
  assert.deepEqual(back.replies[0]?.frames.map(text), [
    "The reply must have at most 10 frames: it has 11",
  ]);
  await back.after(peer);
  peer.close();
});

for (const size of [MAX_MESSAGE_SIZE + TEXT_BYTES + 1, MAX_MESSAGE_SIZE + 500_000]) {
  Deno.test(`RecordLane answers a job with an error when its reply has ${size} bytes`, async () => {
    await using back = new Back();
    const { peer } = await back.worker();
    peer.send(reply(5, new Uint8Array(size)), () => back.read());
    await back.until("it is answered", () => back.replies.length === 1);
    assert.deepEqual([back.replies[0]?.reply.job, back.replies[0]?.reply.code], [5, 500]);
    assert.match(text(back.replies[0]?.frames[0]), /^The reply must have at most 1000000 bytes/);
    peer.send(reply(6, bytes("right")));
    await back.until("the next one is heard", () => back.replies.length === 2);
    assert.deepEqual(back.replies[1]?.frames.map(text), ["right"]);
    assert.equal(back.bodies.taken, 0);
    peer.close();
  });
}

Deno.test("RecordLane takes no memory for a record that a stranger only announces", async () => {
  await using back = new Back();
  const peer = await back.stranger();
  const huge = introduction(FromWorker.READY, "token 1");
  new DataView(huge.buffer).setUint32(0, MAX_MESSAGE_SIZE, true);
  peer.send(huge);
  await back.until("it is refused", () => back.lane.intruders === 1);
  assert.equal(back.bodies.taken, 0);
  await ended(peer);
  assert(back.tokens.has("token 1"));
  peer.close();
});

for (const type of [FromWorker.REPLY, FromWorker.RETURN, FromWorker.LEAVING, Only.CREDIT, 99]) {
  Deno.test(`RecordLane hears no type ${type} from a stranger`, async () => {
    await using back = new Back();
    const peer = await back.stranger();
    peer.send(introduction(type, "token 1"));
    await back.until("it is refused", () => back.lane.intruders === 1);
    await ended(peer);
    assert.deepEqual(back.events, []);
    peer.close();
  });
}

Deno.test("RecordLane lets no crowd of silent strangers in the way of a worker", async () => {
  await using back = new Back();
  const crowd: LaneWorker[] = [];
  for (let count = 0; count < 300; count++) {
    crowd.push(new LaneWorker(back.endpoint));
    back.read();
  }
  const { peer } = await back.worker();
  await until("as many were sent away as are too many", () => {
    for (const one of crowd) one.hear();
    return crowd.filter(({ isEnded }) => isEnded).length >= 300 - 256;
  });
  for (const one of [peer, ...crowd]) one.close();
});

Deno.test("RecordLane gives the others their turn while one worker says very much", async () => {
  await using back = new Back();
  const loud = await back.worker();
  const quiet = await back.worker();
  const flood = new Uint8Array(HEAD_BYTES * 2000);
  for (let at = 0; at < flood.length; at += HEAD_BYTES) flood.set(record(99, 0), at);
  let sent = 0;
  for (let count = 0; count < 20; count++) sent += loud.peer.sendSome(flood, sent % HEAD_BYTES);
  quiet.peer.send(reply(1, bytes("heard")));
  let reads = 0;
  while (back.replies.length === 0) {
    back.lane.noteActivity();
    const before = back.lane.intruders;
    back.lane.read(0);
    assert(back.lane.intruders - before <= 65_536 / HEAD_BYTES, "a read has a bound");
    assert(++reads < 5, "the quiet one is heard within a few reads");
  }
  loud.peer.close();
  quiet.peer.close();
});

Deno.test("RecordLane keeps what a worker does not read, and hears it all the same", async () => {
  await using back = new Back();
  const { peer, worker } = await back.worker();
  const jobs = Array.from({ length: 40 }, (_, id) => jobOf(back.bodies, id, noise(20_000)));
  back.lane.send(worker, jobs, 0);
  back.lane.flush();
  peer.send(reply(0, bytes("first")));
  await back.until("it is heard", () => back.replies.length === 1);
  const heard = peer.hear();
  await back.until("all jobs are there", () => {
    heard.push(...peer.hear());
    return heard.length === 40;
  });
  assert.deepEqual(heard.map(({ job }) => job), jobs.map(({ id }) => id));
  peer.close();
});

Deno.test("RecordLane survives whatever bytes a worker or a stranger sends", async () => {
  const random = randomNumbers(18);
  await using back = new Back();
  const right = [
    reply(1, bytes("x")),
    reply(2, bytes("a"), bytes("bc")),
    credit(0),
    placed(0, 9000),
    record(FromWorker.RETURN, 3),
    framed(FromWorker.LOG, 0, [bytes("x"), bytes("{}")]),
    introduction(FromWorker.READY, "token 9"),
    introduction(Only.HELLO, "token 9"),
  ];
  for (let round = 0; round < 100; round++) {
    back.tokens = new Set([`token ${back.workers.length + 1}`]);
    const isWorker = random(2) === 0;
    const peer = isWorker
      ? (await back.worker(random(2) === 0 ? "rings" : "none")).peer
      : await back.stranger();
    for (let count = 0; count < 20; count++) {
      const one = (right[random(right.length)] ?? new Uint8Array()).slice();
      for (let change = random(3); change > 0; change--) {
        // Mostly the fields, and now and then the size, which ends what can be read.
        one[random(10) === 0 ? random(4) : 4 + random(one.length - 4)] = random(256);
      }
      peer.sendSome(one);
      if (random(5) === 0) back.read();
    }
    peer.close();
    back.read();
  }
  back.read();
  assert.equal(back.bodies.taken, 0);
  back.tokens = new Set([`token ${back.workers.length + 1}`]);
  const { peer } = await back.worker("rings");
  peer.send(peer.ringReply(77, [noise(9000)]));
  const before = back.replies.length;
  await back.until("an honest one is heard", () => back.replies.length > before);
  assert.equal(back.replies.at(-1)?.reply.job, 77);
  peer.close();
});

// ---- answers in parts ----

/** A record with a body in the ring, of another type than REPLY. */
function inRingOf(peer: LaneWorker, type: number, job: number, body: Bytes): Bytes {
  const ofReply = peer.ringReply(job, [body]);
  ofReply[4] = type;
  return ofReply;
}

Deno.test("RecordLane tells of parts, in records and in the ring, and of progress", async () => {
  await using back = new Back();
  const { peer } = await back.worker("rings");
  peer.send(framed(FromWorker.PART, 7, [noise(5), noise(0)]));
  peer.send(inRingOf(peer, FromWorker.PART, 7, noise(100_000)));
  peer.send(framed(FromWorker.PROGRESS, 8, [noise(16), noise(3)]));
  peer.send(reply(7, noise(1)));
  await back.until("all has come", () => back.replies.length === 1);
  assert.deepEqual(back.events, [
    "part of 7 by 1: 5,0",
    "part of 7 by 1 in the ring: 100000",
    "progress of 8 by 1: 16,3",
  ]);
  assert.equal(back.lane.intruders, 0);
  peer.close();
});

Deno.test("RecordLane counts parts and progress that can't be such, and answers for parts that are too large", async () => {
  await using back = new Back();
  const { peer } = await back.worker("rings");
  peer.send(record(FromWorker.PART, 1));
  peer.send(record(FromWorker.PROGRESS, 1));
  peer.send(framed(FromWorker.PROGRESS, 1, [noise(16)]));
  peer.send(framed(FromWorker.PART, 2, Array.from({ length: MAX_FRAMES + 1 }, () => noise(1))));
  peer.send(
    framed(FromWorker.PART, 3, [noise(MAX_MESSAGE_SIZE + TEXT_BYTES + 1)]),
    () => back.read(),
  );
  peer.send(framed(FromWorker.PART, 4, [noise(3 * MAX_MESSAGE_SIZE)]), () => back.read());
  await back.after(peer);
  assert.deepEqual(back.replies.map(({ reply: { job, code } }) => [job, code]), [
    [2, 500],
    [3, 500],
    [4, 500],
  ]);
  assert.deepEqual(back.events, []);
  assert.equal(back.lane.intruders, 6);
  // Progress has no place in a ring.
  peer.send(inRingOf(peer, FromWorker.PROGRESS, 1, noise(10_000)));
  await back.until("it is lost", () => back.events.includes("gone 1 died"));
  peer.close();
});

Deno.test("RecordLane writes what a client takes into its jobs, and what it takes more behind them", async () => {
  await using back = new Back();
  const { peer, worker } = await back.worker();
  const job = jobOf(back.bodies, 5, "x");
  job.stream = new Stream({ bytes: 100, parts: 3 }, true);
  job.stream.take(150);
  back.lane.send(worker, [jobOf(back.bodies, 4, "plain"), job], 0);
  back.lane.grant(worker, 5, { bytes: 2 ** 31 - 1, parts: 4 });
  back.lane.flush();
  const heard = peer.hear().map((
    { type, job, stream, partsSent },
  ) => [type, job, stream, partsSent]);
  assert.deepEqual(heard, [
    [FromBroker.JOB, 4, undefined, 0],
    [FromBroker.JOB, 5, { bytes: -50, parts: 2 }, 1],
    [FromBroker.GRANT, 5, { bytes: 2 ** 31 - 1, parts: 4 }, 0],
  ]);
  back.lane.forget(worker);
  back.lane.grant(worker, 5, { bytes: 1, parts: 1 });
  peer.close();
});
