/**
 * Random event sequences for several services behind one source and one lane, and what must come of them whatever
 * happens: each request is answered once at most, by its own service, to who has asked, and what befalls one service
 * is nothing to the others.
 *
 * @module
 */

import { strict as assert } from "node:assert";
import fc from "fast-check";
import { type Job, newPeer, type Peer, type Worker } from "../../broker/job.ts";
import { JobNumbers } from "../../broker/job_records.ts";
import { servicesOf } from "../../ops/loop_options.ts";
import { resolveOptions } from "../../options/resolve.ts";
import { type Body, BodyPool } from "../../ports/body.ts";
import { MemoryContent, textOf } from "../../ports/content.ts";
import { EventQueue } from "../../ports/event_queue.ts";
import type { Lane } from "../../ports/lane.ts";
import { Reception } from "../../ports/reception.ts";
import { numberServices, Services } from "../../ports/services.ts";
import type { Address, AnswerWay } from "../../ports/source.ts";
import { buildJobHeader } from "../../wire/job.ts";
import { Code } from "../../wire/request.ts";
import { NO_STORE } from "../rig/no_store.ts";

/** An event and its two numbers. */
export type ServiceStep = readonly [event: keyof typeof EVENTS, first: number, second: number];

/** How often each event comes, of all weights. */
const EVENTS = {
  ask: 40,
  dispatch: 15,
  reply: 20,
  cancel: 6,
  end: 4,
  pause: 3,
  leave: 2,
  addWorker: 6,
  die: 2,
  advance: 5,
};

const NAMES = ["", "one", "two"] as const;
/** The name of no service. */
const UNKNOWN = "three";
const PEERS = 4;
const encoder = new TextEncoder();

/** Sequences of up to `maxLength` events. */
export function serviceSteps(maxLength: number): fc.Arbitrary<ServiceStep[]> {
  const events = Object.entries(EVENTS).map(([event, weight]) => ({
    arbitrary: fc.constant(event),
    weight,
  }));
  const step = fc.tuple(fc.oneof(...events), fc.nat(15), fc.nat(400)) as fc.Arbitrary<ServiceStep>;
  return fc.array(step, { maxLength });
}

/** Does the steps, and checks after each what must hold. */
export function checkServices(steps: readonly ServiceStep[]): void {
  const world = new World();
  for (const [event, first, second] of steps) {
    world[event](first, second);
    world.check();
  }
  world.finish();
}

/** A request that was made. */
interface Asked {
  readonly peer: Peer<Body>;
  readonly id: number;
  readonly service: string;
  answers: number;
}

class World {
  readonly #services: Services;
  readonly #reception: Reception;
  readonly #bodies = new BodyPool();
  readonly #events = new EventQueue(() => {});
  readonly #asked: Asked[] = [];
  readonly #workers: { worker: Worker<Body>; service: string; jobs: Job<Body>[] }[] = [];
  readonly #peers: Peer<Body>[] = [];
  #now = 1;
  #workerCount = 0;
  #places = 0;

  constructor() {
    const settings = resolveOptions({}, { cpus: 2, cwd: () => "/" });
    const [sole] = servicesOf(settings);
    assert(sole !== undefined);
    const limits = { ...sole.limits, queueLimit: 5, maxAttempts: 2 };
    const ground = { lane: this.#lane(), source: this.#source(), bodies: this.#bodies };
    const rest = { events: this.#events, visits: false, traces: false };
    this.#services = new Services({ ...ground, ...rest, ...NO_STORE, numbers: new JobNumbers() });
    const setups = NAMES.map((name) => ({
      name,
      // One of them waits for room, and the others refuse.
      limits: { ...limits, overflow: name === "two" ? "block" as const : "reject" as const },
      users: undefined,
    }));
    for (const setup of numberServices(setups)) this.#services.add(setup, setup.number);
    this.#reception = new Reception({ services: this.#services, ...ground, ...rest, ...NO_STORE });
    for (let count = 0; count < PEERS; count++) this.#peers.push(this.#newPeer());
  }

  #newPeer(): Peer<Body> {
    return newPeer(++this.#places, buildJobHeader("", "", ""), "");
  }

  #lane(): Lane {
    const lane: Partial<Lane> = {
      send: (worker, jobs) => {
        const { service, jobs: held } = this.#holderOf(worker);
        for (const job of jobs) {
          assert.equal(bodyOf(job), service, "a worker gets jobs of its own service alone");
          held.push(job);
        }
        return jobs.length;
      },
      ask: () => "asked",
      cancel: () => {},
    };
    return lane as Lane;
  }

  #source(): AnswerWay {
    const note = (to: Address, code: number, text: string) => {
      const { peer } = to.client;
      const asked = this.#asked.find((one) => one.peer === peer && one.id === to.requestId);
      assert(asked !== undefined, "what is answered was asked");
      assert(this.#peers.includes(peer), "nobody is answered who has left");
      asked.answers++;
      assert.equal(asked.answers, 1, "a request is answered once");
      if (code === Code.ok) assert.equal(text, asked.service, "its own service answers");
      if (code === Code.notFound) assert.equal(asked.service, UNKNOWN);
    };
    return {
      endpoints: [],
      reply: (to, code, _flags, content) => note(to, code, textOf(content, 0, 100)),
      replyError: (to, code, _flags, message) => note(to, code, message),
      part: () => false,
      isStalled: () => false,
      pause: () => true,
    };
  }

  #holderOf(worker: Worker<Body>) {
    const holder = this.#workers.find((one) => one.worker === worker);
    assert(holder !== undefined);
    return holder;
  }

  // ---- events ----

  ask(first: number, second: number): void {
    const peer = this.#peers[first % PEERS];
    if (peer === undefined) return;
    const service = [...NAMES, UNKNOWN][second % (NAMES.length + 1)] ?? "";
    const id = this.#asked.length + 1;
    const text = encoder.encode(service);
    const body = this.#bodies.take(text.length);
    body.bytes.set(text);
    this.#asked.push({ peer, id, service, answers: 0 });
    this.#reception.request(peer, {
      ...{ client: peer.home, envelope: [], requestId: id, body, bytes: text.length, service },
      ...{ deadline: second % 5 === 0 ? this.#now + second : Infinity, requestTimeout: 0 },
      ...{ key: second % 7 === 0 ? "key" : "", excess: undefined, fault: "" },
    }, this.#now);
  }

  dispatch(): void {
    for (const { dispatcher, replies } of this.#services.all) {
      dispatcher.sendAll(this.#now);
      replies.sendEnded(this.#now);
    }
  }

  reply(first: number, second: number): void {
    const holder = this.#workers[first % Math.max(1, this.#workers.length)];
    if (holder === undefined) return;
    const unit = this.#services.of(holder.worker);
    // Whoever is asked to show that it lives does.
    unit.dispatcher.sendProven(holder.worker, this.#now);
    const job = holder.jobs.shift();
    if (job === undefined) return;
    const text = encoder.encode(holder.service);
    const content = new MemoryContent().set(text, 0, text.length);
    const code = second % 6 === 0 ? 500 : Code.ok;
    const reply = { job: job.id, code, micros: 10, flags: 0, frames: 1 };
    unit.replies.take(holder.worker, reply, content, this.#now);
  }

  cancel(first: number): void {
    const asked = this.#asked.at(-1 - first);
    if (asked === undefined || !this.#peers.includes(asked.peer)) return;
    this.#reception.cancel(asked.peer, asked.id, [], this.#now);
  }

  /** Somebody else ends a job, for all who wait for it. */
  end(first: number, second: number): void {
    const unit = this.#services.all[first % NAMES.length];
    const job = unit?.broker.overview.find(1 + second % Math.max(1, this.#asked.length));
    const running = job && unit?.broker.cancellations.cancelForAll(job, this.#now);
    if (running !== undefined) unit?.dispatcher.cancel(running);
  }

  pause(first: number, second: number): void {
    const broker = this.#services.all[first % NAMES.length]?.broker;
    if (second % 2 === 0) broker?.pause();
    else broker?.resume();
  }

  leave(first: number): void {
    const index = first % PEERS;
    const peer = this.#peers[index];
    if (peer === undefined) return;
    this.#peers[index] = this.#newPeer();
    this.#reception.gone(peer, this.#now);
  }

  addWorker(first: number): void {
    if (this.#workers.length >= 6) return;
    const service = NAMES[first % NAMES.length] ?? "";
    const worker = this.#services.named(service)?.broker.workforce.add(
      ++this.#workerCount,
      this.#now,
    );
    assert(worker !== undefined);
    this.#workers.push({ worker, service, jobs: [] });
  }

  die(first: number): void {
    const [holder] = this.#workers.splice(first % Math.max(1, this.#workers.length), 1);
    if (holder === undefined) return;
    const { broker } = this.#services.of(holder.worker);
    const before = this.#runningElsewhere(holder.service);
    broker.workforce.remove(holder.worker, "died", this.#now);
    broker.workforce.processEnded(holder.worker.id, holder.worker, "itself", this.#now);
    assert.deepEqual(this.#runningElsewhere(holder.service), before, "others' jobs go on");
  }

  #runningElsewhere(service: string): number[] {
    const others = this.#services.all.filter(({ name }) => name !== service);
    return others.flatMap(({ broker }) => [broker.assigned, broker.queued]);
  }

  advance(_first: number, second: number): void {
    this.#now += second;
    for (const { broker, replies } of this.#services.all) {
      broker.tick(this.#now);
      replies.sendEnded(this.#now);
      replies.tick(this.#now);
    }
  }

  // ---- what must hold ----

  check(): void {
    const look = this.#services.look();
    const each = [...look.services.values()];
    assert.equal(look.queued, each.reduce((sum, { queued }) => sum + queued, 0));
    assert.equal(look.running, each.reduce((sum, { running }) => sum + running, 0));
    for (const { broker } of this.#services.all) {
      for (const worker of broker.workers) assert.equal(this.#services.of(worker).broker, broker);
      assert(broker.queued <= 2 * 5 + 6 * 20, "a queue is bounded");
    }
  }

  /** Nothing is started any more, workers die: every request of those who are there has its answer. */
  finish(): void {
    for (const { broker } of this.#services.all) broker.drain("refuse");
    while (this.#workers.length > 0) this.die(0);
    for (let count = 0; count < 5; count++) this.advance(0, 60_000);
    for (const { peer, answers, service, id } of this.#asked) {
      if (!this.#peers.includes(peer)) continue;
      assert.equal(answers, 1, `request ${id} to "${service}" has an answer`);
    }
    assert.equal(this.#services.queued + this.#services.running, 0);
    for (const peer of this.#peers) {
      assert(peer.others.every(({ live }) => live === 0) && peer.home.live === 0);
    }
  }
}

function bodyOf({ request: { body } }: Job<Body>): string {
  return new TextDecoder().decode(body.bytes.subarray(0, body.size));
}
