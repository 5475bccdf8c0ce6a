/**
 * Random event sequences for a `Broker`, and a plain model that says what must come of each event. The
 * model is slow and obvious: arrays where the broker has lists, and no choice of workers, which it only
 * judges.
 *
 * @module
 */

import { strict as assert } from "node:assert";
import fc from "fast-check";
import { type Assignment, Broker, type BrokerLimits } from "../broker.ts";
import { type Client, type Job, newClient, type Worker } from "../queue/job.ts";
import { Code } from "../wire/request.ts";

/** An event and its two numbers, which each event reads in its own way. */
export type Step = readonly [event: keyof typeof EVENTS, first: number, second: number];

/** How often each event comes, of all weights. */
const EVENTS = {
  submit: 30,
  reject: 1,
  dispatch: 20,
  settle: 20,
  stray: 2,
  giveBack: 3,
  addWorker: 5,
  retire: 1,
  leave: 1,
  die: 3,
  disconnect: 2,
  advance: 10,
  configure: 1,
  unsent: 2,
  close: 1,
};

/** Sequences of up to `maxLength` events. */
export function brokerSteps(maxLength: number): fc.Arbitrary<Step[]> {
  const events = Object.entries(EVENTS).map(([event, weight]) => ({
    arbitrary: fc.constant(event),
    weight,
  }));
  const step = fc.tuple(fc.oneof(...events), fc.nat(15), fc.nat(400)) as fc.Arbitrary<Step>;
  return fc.array(step, { maxLength, size: "max" });
}

/** Limits of all kinds, small enough to be met. */
export const brokerLimits: fc.Arbitrary<BrokerLimits> = fc.record({
  concurrency: fc.constantFrom(1, 1, 1, 2, 5),
  prefetch: fc.constantFrom(1, 3, 20),
  prefetchBudget: fc.constantFrom(1, 10),
  dispatch: fc.constantFrom("mru", "lru"),
  maxAttempts: fc.constantFrom(1, 2, 3),
  queueLimit: fc.constantFrom(3, 10, 1000),
  queueBytes: fc.constantFrom(500, 100_000),
  overflow: fc.constantFrom("block", "reject"),
  maxQueuePerClient: fc.constant(0),
  requestTimeout: fc.constant(0),
  abortGrace: fc.constant(0),
});

/** Goes through a sequence and throws at the first thing that the broker does otherwise. */
export function checkBroker(limits: BrokerLimits, steps: readonly Step[]): void {
  const model = new BrokerModel(limits);
  for (const step of steps) model.take(step);
  model.finish();
}

/** A job as the model sees it. */
interface Asked {
  readonly id: number;
  readonly client: Peer;
  readonly bytes: number;
  readonly deadline: number;
  /** Since when it waits, ms. */
  since: number;
  deaths: number;
  abandoned: boolean;
  /** How often it has ended, which is to become 1. */
  ends: number;
}

/** A client as the model sees it. */
interface Peer {
  readonly client: Client<string>;
  readonly waiting: Asked[];
  /** Turns that all clients had had when it got its last. */
  servedAt: number;
  /** The same when it began to wait. */
  waitingFrom: number;
}

/** A worker as the model sees it. */
interface Hand {
  readonly worker: Worker<string>;
  readonly jobs: Asked[];
}

/** A client has gone; a job's ending has no words. */
const NOTHING = 0;
const EXPIRY_INTERVAL = 100;
const CLIENTS = 5;
const MAX_WORKERS = 6;

class BrokerModel {
  readonly #broker: Broker<string>;
  #limits: BrokerLimits;
  #now = 1000;
  #phase: "open" | "serving" | "refusing" = "open";
  #peers = Array.from({ length: CLIENTS }, (_, number) => newPeer(number));
  readonly #hands: Hand[] = [];
  readonly #asked = new Map<number, Asked>();
  /** What workers gave back, the first to go in front. */
  readonly #returned: Asked[] = [];
  /** Clients that have something waiting, in turn. */
  readonly #round: Peer[] = [];
  /** What the last event must have ended: the code by job. */
  readonly #ending = new Map<number, number>();
  /** What the broker says that it has ended. */
  readonly #told = new Map<number, number>();
  #unsent = { jobs: 0, bytes: 0 };
  #workers = 0;
  #turns = 0;

  constructor(limits: BrokerLimits) {
    this.#limits = limits;
    this.#broker = new Broker(limits);
  }

  /** Lets an event happen, and compares. */
  take([event, first, second]: Step): void {
    this[event](first, second);
    this.#compare();
  }

  /** Serves all that is left: then every job has ended, once. */
  finish(): void {
    this.addWorker();
    while (!this.#broker.idle) {
      this.dispatch();
      for (const hand of this.#hands) while (hand.jobs.length > 0) this.#settle(hand, 0, 1000, 200);
      this.#compare();
    }
    for (const { id, ends } of this.#asked.values()) assert.equal(ends, 1, `Job ${id} ended once`);
    assert(this.#peers.every(({ client }) => client.live === 0), "no client has a job");
  }

  submit(client: number, second: number): void {
    const peer = this.#peer(client);
    const full = this.#isFull(this.#unsent);
    const timeout = second % 3 === 0 ? second + 1 : Infinity;
    const job = this.#broker.submit(peer.client, this.#request(second % 200, timeout));
    const asked = this.#note(job, peer);
    if (this.#phase !== "open") this.#end(asked, Code.unavailable);
    else if (full && this.#limits.overflow === "reject") this.#end(asked, Code.unavailable);
    else this.#wait(asked);
  }

  reject(client: number): void {
    const peer = this.#peer(client);
    const id = Math.max(0, ...this.#asked.keys()) + 1;
    this.#broker.reject(peer.client, this.#request(0, Infinity), Code.tooLarge, "Too large");
    this.#end(this.#note({ id, bytes: 0, deadline: Infinity }, peer), Code.tooLarge);
  }

  dispatch(): void {
    for (;;) {
      const before = this.#hands.map(({ jobs }) => jobs.length);
      const next = this.#broker.next(this.#now);
      if (next === undefined) break;
      this.#assign(next, before);
    }
    if (this.#broker.queued === 0) { while (this.#first()) this.#expireFirst(); }
    if (this.#phase === "refusing" || this.#broker.queued === 0) return;
    const idle = this.#ready.some(({ jobs }) => jobs.length < this.#limits.concurrency);
    assert(!idle, "an idle worker is given what waits");
  }

  settle(worker: number, second: number): void {
    const hand = pick(this.#hands, worker);
    if (hand === undefined || hand.jobs.length === 0) return;
    const position = second % Math.min(hand.jobs.length, this.#limits.concurrency);
    this.#settle(hand, position, second * 5, second % 7 === 0 ? Code.handlerFailed : Code.ok);
  }

  /** A worker names a job that it does not have: unknown, or another worker's. */
  stray(worker: number, second: number): void {
    const hand = pick(this.#hands, worker);
    const id = second % (this.#asked.size + 3);
    if (hand === undefined || hand.jobs.some((asked) => asked.id === id)) return;
    const { strayReplies } = this.#broker.counters;
    if (second % 2 === 0) this.#broker.giveBack(hand.worker, id, this.#now);
    else assert.equal(this.#broker.settle(hand.worker, id, 200, 1, this.#now), undefined);
    assert.equal(this.#broker.counters.strayReplies, strayReplies + 1);
  }

  giveBack(worker: number, second: number): void {
    const hand = pick(this.#hands, worker);
    const asked = hand && pick(hand.jobs, second);
    if (hand === undefined || asked === undefined) return;
    this.#broker.giveBack(hand.worker, asked.id, this.#now);
    remove(hand.jobs, asked);
    this.#return(asked);
  }

  addWorker(): void {
    if (this.#hands.length >= MAX_WORKERS) return;
    const id = ++this.#workers;
    const worker = this.#broker.addWorker(id, new Uint8Array([id]), this.#now);
    this.#hands.push({ worker, jobs: [] });
  }

  retire(worker: number): void {
    const hand = pick(this.#hands, worker);
    if (hand !== undefined) this.#broker.retire(hand.worker);
  }

  leave(worker: number): void {
    this.#removeWorker(worker, "left");
  }

  die(worker: number): void {
    this.#removeWorker(worker, "died");
  }

  disconnect(client: number): void {
    const peer = this.#peer(client);
    const running = this.#hands.flatMap(({ jobs, worker }) =>
      jobs.filter((asked) => asked.client === peer && !asked.abandoned)
        .map((asked) => ({ asked, worker }))
    );
    const told = this.#broker.disconnect(peer.client, this.#now);
    assert.deepEqual(
      told.map(({ job, worker }) => [job.id, worker.id]).sort(),
      running.map(({ asked, worker }) => [asked.id, worker.id]).sort(),
    );
    for (const asked of [...this.#returned, ...peer.waiting]) {
      if (asked.client !== peer) continue;
      this.#unwait(asked);
      this.#end(asked, NOTHING);
    }
    for (const { asked } of running) asked.abandoned = true;
    this.#peers[client % CLIENTS] = newPeer(client % CLIENTS);
  }

  /** Time passes, and the broker is called when it wants to be. */
  advance(_: number, time: number): void {
    const end = this.#now + time;
    for (;;) {
      const wait = this.#broker.tick(this.#now);
      assert(wait > 0, "a broker that has done what is due wants to sleep");
      if (this.#now >= end) break;
      this.#now = Math.min(end, this.#now + wait);
    }
    this.#expireOverdue();
  }

  configure(first: number, second: number): void {
    this.#limits = {
      ...this.#limits,
      queueLimit: 1 + second,
      maxAttempts: 1 + first % 3,
      overflow: first % 2 === 0 ? "block" : "reject",
    };
    this.#broker.configure(this.#limits);
  }

  /** Replies begin to wait for slow clients, or all of them were taken. */
  unsent(first: number, second: number): void {
    const { jobs, bytes } = this.#unsent;
    const change = jobs > 0 ? { jobs: -jobs, bytes: -bytes } : { jobs: first + 1, bytes: second };
    this.#broker.unsent(change.jobs, change.bytes);
    this.#unsent = { jobs: jobs + change.jobs, bytes: bytes + change.bytes };
  }

  /** Rare, as little happens afterwards. */
  close(first: number): void {
    if (first > 2 || this.#phase === "refusing") return;
    this.#phase = first === 0 ? "serving" : "refusing";
    this.#broker.close(first === 0 ? "serve" : "refuse");
    if (first === 0) return;
    for (const asked of this.#waiting()) {
      this.#unwait(asked);
      this.#end(asked, Code.unavailable);
    }
  }

  get #ready(): Hand[] {
    return this.#hands.filter(({ worker }) => worker.state === "ready");
  }

  #peer(client: number): Peer {
    const peer = pick(this.#peers, client);
    assert(peer);
    return peer;
  }

  #request(bytes: number, timeout: number) {
    const plain = { envelope: [], requestId: undefined, requestTimeout: Infinity, key: "" };
    return { ...plain, body: "", bytes, deadline: this.#now + timeout };
  }

  #note({ id, bytes, deadline }: Pick<Job<string>, "id" | "bytes" | "deadline">, client: Peer) {
    assert(!this.#asked.has(id), "job ids are never used twice");
    const state = { since: this.#now, deaths: 0, abandoned: false, ends: 0 };
    const asked: Asked = { id, client, bytes, deadline, ...state };
    this.#asked.set(id, asked);
    return asked;
  }

  #wait(asked: Asked): void {
    const peer = asked.client;
    if (peer.waiting.length === 0) this.#round.push(peer);
    if (peer.waiting.length === 0) peer.waitingFrom = this.#turns;
    peer.waiting.push(asked);
  }

  #unwait(asked: Asked): void {
    if (remove(this.#returned, asked)) return;
    assert(remove(asked.client.waiting, asked), `Job ${asked.id} waits`);
    if (asked.client.waiting.length === 0) remove(this.#round, asked.client);
  }

  #waiting(): Asked[] {
    return [...this.#returned, ...this.#round.flatMap(({ waiting }) => waiting)];
  }

  #first(): Asked | undefined {
    return this.#returned[0] ?? this.#round[0]?.waiting[0];
  }

  /** Takes the first out; its client goes to the end of the round. */
  #shift(): Asked {
    const asked = this.#first();
    assert(asked, "something waits");
    const returned = this.#returned.includes(asked);
    this.#unwait(asked);
    if (!returned) this.#turn(asked.client);
    return asked;
  }

  #turn(peer: Peer): void {
    for (const other of this.#round) {
      const overtaken = other !== peer && other.waitingFrom < peer.servedAt &&
        other.servedAt < peer.servedAt;
      assert(!overtaken, "nobody has two turns while another waits for one");
    }
    peer.servedAt = ++this.#turns;
    if (peer.waiting.length === 0) return;
    remove(this.#round, peer);
    this.#round.push(peer);
  }

  #expireFirst(): void {
    const asked = this.#shift();
    assert(asked.deadline <= this.#now, `Job ${asked.id} was dropped before its deadline`);
    this.#end(asked, Code.expired);
  }

  /** The broker looks only now and then: takes its word, unless it is wrong or too late. */
  #expireOverdue(): void {
    this.#hear();
    for (const asked of this.#waiting()) {
      const due = Math.max(asked.deadline, asked.since);
      if (this.#told.has(asked.id)) {
        assert(due <= this.#now, `Job ${asked.id} has not expired yet`);
        this.#unwait(asked);
        this.#end(asked, Code.expired);
      } else assert(due > this.#now - EXPIRY_INTERVAL, `Job ${asked.id} expires in time`);
    }
  }

  /** Takes what the broker says that it has ended. */
  #hear(): void {
    for (const { job, to, code } of this.#broker.takeEnded()) {
      assert(!this.#told.has(job.id), `Job ${job.id} ends once`);
      this.#told.set(job.id, to.length > 0 ? code : NOTHING);
    }
  }

  #assign({ job, worker }: Assignment<string>, before: number[]): void {
    while (this.#first()?.id !== job.id) this.#expireFirst();
    const asked = this.#shift();
    assert(asked.deadline > this.#now, `Job ${job.id} has not expired`);
    const index = this.#hands.findIndex((hand) => hand.worker === worker);
    const hand = this.#hands[index];
    assert(hand, `Worker ${worker.id} is there`);
    assert.equal(worker.state, "ready");
    this.#judge(before[index] ?? 0, before);
    hand.jobs.push(asked);
  }

  /** Whether a worker that had `level` jobs might be given one more. */
  #judge(level: number, levels: number[]): void {
    const { concurrency, prefetch, prefetchBudget } = this.#limits;
    if (level < concurrency) return;
    assert(level < prefetch, "nobody holds more than the prefetch limit");
    const idle = this.#hands.some(({ worker }, index) =>
      worker.state === "ready" && (levels[index] ?? 0) < concurrency
    );
    assert(!idle, "an idle worker comes first");
    const ahead = (this.#broker.serviceTime ?? Infinity) * (level + 1 - concurrency) / concurrency;
    assert(ahead < prefetchBudget, "a job waits at a worker only for a moment");
  }

  #settle(hand: Hand, position: number, micros: number, code: number): void {
    const asked = hand.jobs[position];
    assert(asked);
    const { answered, failed } = this.#broker.counters;
    const job = this.#broker.settle(hand.worker, asked.id, code, micros, this.#now);
    hand.jobs.splice(position, 1);
    const counts = asked.abandoned ? 0 : 1;
    assert.equal(this.#broker.counters.answered, answered + counts);
    assert.equal(this.#broker.counters.failed, failed + (code === Code.ok ? 0 : counts));
    if (asked.abandoned) {
      assert.equal(job, undefined);
      return this.#end(asked, NOTHING);
    }
    assert.equal(job?.id, asked.id);
    assert.equal(job.client, asked.client.client);
    assert.equal(job.state, "ended");
    asked.ends++;
  }

  #removeWorker(worker: number, end: "left" | "died"): void {
    const hand = pick(this.#hands, worker);
    if (hand === undefined) return;
    this.#broker.removeWorker(hand.worker, end);
    remove(this.#hands, hand);
    const running = end === "died" ? this.#limits.concurrency : 0;
    hand.jobs.slice(0, running).forEach((asked) => asked.deaths++);
    for (const asked of hand.jobs.toReversed()) {
      const hopeless = asked.deaths >= this.#limits.maxAttempts && !asked.abandoned;
      if (hopeless) this.#end(asked, Code.workerDied);
      else this.#return(asked);
    }
  }

  /** A worker has it no more: it waits in front of all others, if it is still to be done. */
  #return(asked: Asked): void {
    if (asked.abandoned) this.#end(asked, NOTHING);
    else if (this.#phase === "refusing") this.#end(asked, Code.unavailable);
    else {
      asked.since = this.#now;
      this.#returned.unshift(asked);
    }
  }

  #end(asked: Asked, code: number): void {
    asked.ends++;
    this.#ending.set(asked.id, code);
  }

  #isFull({ jobs, bytes }: { jobs: number; bytes: number }): boolean {
    const waiting = this.#waiting();
    const sum = waiting.reduce((sum, asked) => sum + asked.bytes, 0);
    const { queueLimit, queueBytes } = this.#limits;
    return waiting.length + jobs >= queueLimit || sum + bytes >= queueBytes;
  }

  #compare(): void {
    this.#hear();
    assert.deepEqual([...this.#told].sort(byId), [...this.#ending].sort(byId));
    this.#told.clear();
    this.#ending.clear();
    for (const { worker, jobs } of this.#hands) {
      assert.deepEqual([...worker.jobs.keys()], jobs.map(({ id }) => id), "in order at a worker");
    }
    this.#compareSizes();
    this.#compareCounters();
  }

  #compareSizes(): void {
    const broker = this.#broker;
    const waiting = this.#waiting();
    const assigned = this.#hands.reduce((sum, { jobs }) => sum + jobs.length, 0);
    const blocks = this.#phase === "open" && this.#limits.overflow === "block";
    assert.equal(broker.queued, waiting.length);
    assert.equal(broker.queuedBytes, waiting.reduce((sum, { bytes }) => sum + bytes, 0));
    assert.equal(broker.assigned, assigned);
    assert.equal(broker.idle, waiting.length + assigned === 0);
    assert.equal(broker.full, this.#isFull(this.#unsent));
    assert.equal(broker.blocked, blocks && this.#isFull({ jobs: 0, bytes: 0 }));
    assert.equal(broker.crowded, blocks && this.#isFull(this.#unsent));
  }

  /** Every request is counted once as what became of it, or is still under way. */
  #compareCounters(): void {
    const { requests, answered, refused, rejected, expired, abandoned, lost } =
      this.#broker.counters;
    const live = [...this.#asked.values()].filter((it) => it.ends === 0 && !it.abandoned).length;
    assert.equal(requests, this.#asked.size);
    assert.equal(answered + refused + rejected + expired + abandoned + lost + live, requests);
  }
}

function newPeer(number: number): Peer {
  const client = newClient<string>(new Uint8Array([number]), new Uint8Array(18));
  return { client, waiting: [], servedAt: 0, waitingFrom: 0 };
}

function pick<T>(items: readonly T[], index: number): T | undefined {
  return items[index % Math.max(1, items.length)];
}

function remove<T>(items: T[], item: T): boolean {
  const index = items.indexOf(item);
  if (index >= 0) items.splice(index, 1);
  return index >= 0;
}

function byId([one = 0]: readonly number[], [other = 0]: readonly number[]): number {
  return one - other;
}
