/**
 * What the server and the loop of its sockets say to each other, and the organs that report from there.
 *
 * @module
 */

import { strict as assert } from "node:assert";
import { servicesOf } from "../../ops/loop_options.ts";
import { resolveOptions } from "../../options/resolve.ts";
import { EventQueue } from "../../ports/event_queue.ts";
import { BrokerLoop } from "../../ports/loop.ts";
import type { LoopCommand, LoopEvent } from "../../ports/messages.ts";
import { Tidying } from "../../ports/tidying.ts";
import { Wrongs } from "../../ports/wrongs.ts";
import { FromBroker, FromWorker, type LogFields } from "../../wire/job.ts";
import { LogQuota } from "../../wire/log_quota.ts";
import { locateLibrary } from "../../zmq/locate.ts";
import { bytes } from "../rig/text.ts";
import { Peer } from "../rig/peer.ts";
import { until } from "../rig/wait.ts";

/** A loop with a client and one worker to come; it is told what `answer` says to each event. */
class Stage {
  readonly loop: BrokerLoop;
  readonly events: LoopEvent[] = [];
  readonly client: Peer;
  readonly worker: Peer;
  readonly #ended: Promise<void>;

  constructor(answer: (event: LoopEvent) => LoopCommand | undefined, traces = false) {
    const machine = { cpus: 2, cwd: () => "/" };
    const settings = resolveOptions({ frontend: "tcp://127.0.0.1:0" }, machine);
    const options = {
      ...settings,
      services: servicesOf(settings),
      backend: "tcp://127.0.0.1:0",
      traces,
    };
    this.loop = new BrokerLoop(locateLibrary(Deno.env.get("ZMQ_LIBRARY")), options, (event) => {
      this.events.push(structuredClone(event));
      const command = answer(event);
      if (command !== undefined) this.loop.send(command);
    });
    this.#ended = this.loop.run();
    this.client = new Peer(this.loop.frontend[0] ?? "");
    this.worker = new Peer(this.loop.backend);
  }

  /** What was told, without what depends on nothing that a test does. */
  get told(): string[] {
    return this.events.map(({ type }) => type).filter((type) => !["worked", "log"].includes(type));
  }

  come(): void {
    this.loop.send({
      type: "expect",
      service: "",
      worker: 1,
      token: "token",
      publicKey: undefined,
    });
    this.worker.send(new Uint8Array([FromWorker.READY, ...bytes("token")]));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.loop.send({ type: "stop" });
    await this.#ended;
    await this.loop.close(0);
    await this.client[Symbol.asyncDispose]();
    await this.worker[Symbol.asyncDispose]();
  }
}

Deno.test("BrokerLoop gives a worker no job when it is retired in reply to ready", async () => {
  await using stage = new Stage((event) =>
    event.type === "ready" ? { type: "retire", worker: event.worker } : undefined
  );
  stage.client.send("", "waits");
  await until("it waits", () => stage.loop.look().queued === 1);
  stage.come();
  const [first] = await stage.worker.receive();
  assert.deepEqual(first, new Uint8Array([FromBroker.STOP]));
  assert.equal(stage.loop.look().queued, 1);
});

Deno.test("BrokerLoop gives a worker no job that was retired before it was ready", async () => {
  await using stage = new Stage(() => undefined);
  stage.loop.send({ type: "expect", service: "", worker: 1, token: "token", publicKey: undefined });
  stage.loop.send({ type: "retire", worker: 1 });
  stage.client.send("", "waits");
  await until("it waits", () => stage.loop.look().queued === 1);
  stage.worker.send(new Uint8Array([FromWorker.READY, ...bytes("token")]));
  await until("it is in service", () => stage.told.includes("ready"));
  stage.loop.send({ type: "retire", worker: 1 });
  const [first] = await stage.worker.receive();
  assert.deepEqual(first, new Uint8Array([FromBroker.STOP]));
  assert.equal(stage.loop.look().queued, 1);
});

Deno.test("BrokerLoop tells nothing within send, and all in the order in which it happened", async () => {
  await using stage = new Stage(() => undefined);
  stage.come();
  await until("it is ready", () => stage.told.includes("ready"));
  stage.client.send("", "waits");
  await until("it runs", () => stage.loop.look().running === 1);
  const before = stage.events.length;
  stage.loop.send({ type: "processEnded", worker: 1, end: "itself", owesReason: false });
  assert.equal(stage.events.length, before);
  await until("it has departed", () => stage.told.includes("departed"));
  assert.deepEqual(stage.told, ["ready", "diedBusy", "departed"]);
});

for (const traces of [true, false]) {
  Deno.test(`BrokerLoop says why a job went to its worker, or not, when traces are ${traces}`, async () => {
    await using stage = new Stage(() => undefined, traces);
    stage.come();
    stage.client.send("", "job");
    await stage.worker.receive();
    await until("that is told", () => stage.events.some(({ type }) => type === "worked"));
    const lines = stage.events.filter(({ type }) => type === "log");
    assert.equal(lines.length, traces ? 1 : 0);
  });
}

Deno.test("BrokerLoop says that an endpoint can't be bound, and goes on at the old one", async () => {
  await using stage = new Stage(() => undefined);
  const before = stage.loop.backend;
  stage.loop.send({ type: "moveBackend", endpoint: "tcp://192.0.2.1:1" });
  await until("it is told", () => stage.told.includes("notBound"));
  assert.equal(stage.loop.backend, before);
  stage.loop.send({ type: "moveBackend", endpoint: "tcp://127.0.0.1:0" });
  await until("it is told", () => stage.told.includes("backendMoved"));
  assert.notEqual(stage.loop.backend, before);
});

Deno.test("BrokerLoop gives plain data when it is looked at", async () => {
  await using stage = new Stage(() => undefined);
  stage.come();
  await until("it is ready", () => stage.told.includes("ready"));
  const look = stage.loop.look();
  assert.deepEqual(structuredClone(look), look);
  assert.deepEqual([...look.workers.keys()], [1]);
});

Deno.test("EventQueue tells what comes of telling, too, and visits at once", () => {
  const told: string[] = [];
  const events = new EventQueue((event) => {
    told.push(event.type);
    if (event.type === "ready") events.add({ type: "left", worker: event.worker });
  });
  events.add({ type: "ready", worker: 1 });
  events.add({ type: "worked" });
  assert.deepEqual(told, []);
  events.handOver();
  events.handOver();
  assert.deepEqual(told, ["ready", "worked", "left"]);
});

Deno.test("Wrongs reports what is new, at most once a second, with its number and the last one", () => {
  const counts = {
    denied: 0,
    takeovers: 0,
    squatters: 0,
    malformed: 0,
    intruders: 0,
    strayReplies: 0,
    invalidReplies: 0,
    undelivered: 0,
  };
  const lines: unknown[] = [];
  const events = new EventQueue((event) => {
    if (event.type === "log") lines.push([event.message, event.fields]);
  });
  const last = (wrong: string): LogFields => wrong === "denied" ? { reason: "no key" } : {};
  const wrongs = new Wrongs(() => counts, last, events);
  const linesAt = (now: number) => {
    const wait = wrongs.tick(now);
    events.handOver();
    return [wait, ...lines.splice(0)];
  };
  assert.deepEqual(linesAt(5000), [Infinity]);
  counts.denied = 2;
  assert.deepEqual(linesAt(5050), [50], "It does not look after every message");
  assert.deepEqual(linesAt(5100), [Infinity, ["denied connections", {
    count: 2,
    reason: "no key",
  }]]);
  counts.denied = 3;
  counts.malformed = 7;
  assert.deepEqual(linesAt(5501), [599]);
  assert.deepEqual(linesAt(6100), [
    Infinity,
    ["denied connections", { count: 1, reason: "no key" }],
    ["malformed requests dropped", { count: 7 }],
  ]);
});

/** Lets it tick from `now` on until it has nothing to do; returns when that is. */
function letTick(tidying: Tidying, now: number): number {
  for (let next = tidying.tick(now); next < Infinity; next = tidying.tick(now)) now += next;
  return now;
}

Deno.test("Tidying gives memory back once, some time after the start and after the queue was long", () => {
  const usage = { queued: 0, queuedBytes: 0 };
  let given = 0;
  const tidying = new Tidying(usage, {
    messages: () => 0,
    hasUnsent: () => false,
    giveBack: () => given++,
  });
  let now = tidying.tick(0);
  assert(now > 0 && now < Infinity);
  assert.equal(given, 0);
  assert.equal(tidying.tick(now), Infinity, "nothing is left to V8 after a start");
  assert.equal(given, 1);
  usage.queued = 1_000_000;
  assert.equal(tidying.tick(now), Infinity);
  usage.queued = 0;
  now += tidying.tick(now);
  assert.equal(given, 1);
  assert.equal(tidying.isSettling, false);
  // V8 gets its turns for some time, and then the loop rests.
  assert(tidying.tick(now) < Infinity);
  assert(tidying.isSettling);
  const restsAt = letTick(tidying, now);
  assert(restsAt > now + 10_000 && restsAt < now + 60_000);
  assert.equal(tidying.isSettling, false);
  assert.equal(given, 2);
});

Deno.test("Tidying gives memory back once it is quiet after many messages", () => {
  let messages = 0;
  const given: number[] = [];
  let now = 0;
  const tidying = new Tidying({ queued: 0, queuedBytes: 0 }, {
    messages: () => messages,
    hasUnsent: () => false,
    giveBack: () => given.push(now),
  });
  now = letTick(tidying, now);
  given.length = 0;
  const hear = (more: number) => {
    messages += more;
    return tidying.tick(++now);
  };
  assert.equal(hear(10_000), Infinity, "few messages");
  const busyUntil = now + 30_000;
  while (now < busyUntil) {
    hear(100);
    now += 10;
  }
  assert.deepEqual(given, [], "it is busy");
  while (given.length === 0 && now < busyUntil + 60_000) now += Math.min(tidying.tick(now), 5000);
  const quiet = (given[0] ?? 0) - busyUntil;
  assert(quiet > 1000 && quiet < 20_000, `given back after ${quiet} ms`);
  assert.equal(tidying.isSettling, true);
  now = letTick(tidying, now);
  assert.equal(hear(10_000), Infinity, "few messages since");
  assert.equal(given.length, 1);
});

Deno.test("LogQuota lets so many lines of each subject pass, and reports how many it dropped", () => {
  const quota = new LogQuota({ lines: 2, bytes: 1000 });
  const passed = [1, 1, 1, 2].map((subject) => quota.admits(subject, 10, 0));
  assert.deepEqual(passed, [true, true, false, true]);
  assert.deepEqual(quota.report(0), []);
  const wait = quota.wait(0);
  assert.deepEqual(quota.report(wait), [{ subject: 1, dropped: 1 }]);
  assert.equal(quota.wait(wait), Infinity);
  assert.equal(quota.admits(1, 10, wait), true);
});
