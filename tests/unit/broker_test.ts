/**
 * The Broker with a clock, clients and workers that exist as names only. A body is an object that
 * counts how often it was given up.
 *
 * @module
 */

import { strict as assert } from "node:assert";
import { Broker } from "../../broker.ts";
import { type Client, type Job, type JobRequest, newPeer, type Worker } from "../../broker/job.ts";
import type { End } from "../../broker/inquest.ts";
import type { BrokerLimits } from "../../broker/limits.ts";
import { Code } from "../../wire/request.ts";
import { randomNumbers } from "../rig/random.ts";

const LIMITS: BrokerLimits = {
  concurrency: 1,
  prefetch: 20,
  prefetchBudget: 1,
  dispatch: "mru",
  maxAttempts: 2,
  queueLimit: 10_000,
  queueBytes: 1_000_000,
  overflow: "block",
  maxQueuePerClient: 0,
  requestTimeout: 0,
  stopTimeout: 5000,
  abortGrace: 0,
};

const CLOSING = "The server is shutting down";
const FULL = "The queue is full";
const EXPIRED = "The deadline passed before the job was started";

/** Service times, µs. */
const QUICK = 10;
const SLOW = 10_000;

interface Body {
  readonly name: string;
  releases: number;
}

interface Asked {
  bytes?: number;
  /** From now, ms. */
  timeout?: number;
  /** How long its handler may run, ms. */
  requestTimeout?: number;
  key?: string;
  requestId?: number | undefined;
  envelope?: Uint8Array<ArrayBuffer>[];
}

/** A broker, its clock, and names for all it deals with. */
class Desk {
  readonly broker: Broker<Body>;
  now = 1000;
  readonly bodies: Body[] = [];
  readonly #limits: BrokerLimits;
  readonly #clients = new Map<string, Client<Body>>();
  readonly #workers = new Map<number, Worker<Body>>();
  readonly #jobs = new Map<string, Job<Body>>();

  constructor(limits: Partial<BrokerLimits> = {}, times = { wakeTime: 0 }) {
    this.#limits = { ...LIMITS, ...limits };
    this.broker = new Broker(this.#limits, times);
  }

  configure(limits: Partial<BrokerLimits>): void {
    this.broker.configure({ ...this.#limits, ...limits });
  }

  client(name: string): Client<Body> {
    const known = this.#clients.get(name);
    if (known !== undefined) return known;
    const client = newPeer<Body>(name.length, new Uint8Array(18)).home;
    this.#clients.set(name, client);
    return client;
  }

  /** Submits jobs, each named by its client's letters and a number: "a1 a2 b1". */
  submit(names: string, asked: Asked = {}): void {
    for (const name of names.split(" ")) {
      this.#jobs.set(name, this.broker.submit(this.#request(name, asked)));
    }
  }

  reject(name: string): void {
    const request = this.#request(name, { bytes: 0 });
    this.broker.reject(request, Code.tooLarge, "Too large");
  }

  refuse(name: string): void {
    this.broker.refuse(this.#request(name, {}), "No");
  }

  /** Brings workers that are ready. */
  workers(...numbers: number[]): void {
    for (const number of numbers) {
      this.#workers.set(number, this.broker.workforce.add(number, this.now));
    }
  }

  worker(number: number): Worker<Body> {
    const worker = this.#workers.get(number);
    assert(worker, `There is a worker ${number}`);
    return worker;
  }

  job(name: string): Job<Body> {
    const job = this.#jobs.get(name);
    assert(job, `There is a job ${name}`);
    return job;
  }

  /** All that can be sent now, as "job>worker". */
  dispatch(): string {
    const sent: string[] = [];
    for (;;) {
      const next = this.broker.next(this.now);
      if (next === undefined) return sent.join(" ");
      this.broker.workforce.proven(next.worker, this.now);
      sent.push(`${next.job.request.body.name}>${next.worker.id}`);
    }
  }

  /** A worker answers a job; whether the answer counted. */
  reply(number: number, name: string, micros = SLOW, code: number = Code.ok): boolean {
    const worker = this.worker(number);
    const job = this.broker.takeReply(worker, this.job(name).id, code, micros, this.now);
    if (job === undefined) return false;
    assert.equal(job, this.job(name));
    job.request.body.releases++;
    return true;
  }

  /** A worker ends itself, or is killed from outside. */
  die(number: number, end: End = "itself"): void {
    this.broker.workforce.processEnded(number, this.worker(number), end, this.now);
    this.broker.workforce.remove(this.worker(number), "died", this.now);
  }

  leave(number: number): void {
    this.broker.workforce.remove(this.worker(number), "left", this.now);
  }

  /** Time passes, in steps that the broker asks for. */
  pass(time: number): void {
    for (const end = this.now + time; this.now < end;) {
      this.now = Math.min(end, this.now + this.broker.tick(this.now));
    }
    this.broker.tick(this.now);
  }

  giveBack(number: number, name: string): void {
    this.broker.workforce.giveBack(this.worker(number), this.job(name).id, this.now);
  }

  /** What the broker itself has ended, as "job: code message" or "job: nothing". */
  ended(): string[] {
    return this.broker.takeEnded().map(({ job, to, code, message, last }) => {
      if (last) job.request.body.releases++;
      return `${job.request.body.name}: ${to.length > 0 ? `${code} ${message}` : "nothing"}`;
    });
  }

  /** Teaches the broker how long the handler takes, by a job that was answered. */
  observe(number: number, micros: number): void {
    this.submit("z0");
    assert.equal(this.dispatch(), `z0>${number}`);
    this.reply(number, "z0", micros);
  }

  #request(name: string, asked: Asked): JobRequest<Body> {
    const { bytes = 1, timeout = Infinity, envelope = [], requestId, key = "" } = asked;
    const client = this.client(name.replace(/\d+$/, ""));
    const body = { name, releases: 0 };
    this.bodies.push(body);
    const deadline = this.now + timeout;
    const requestTimeout = this.broker.timeLimit(asked.requestTimeout ?? 0);
    return { client, envelope, requestId, requestTimeout, key, body, bytes, deadline };
  }
}

/** "a1 a2 … a<count>" */
function series(letter: string, count: number): string {
  return Array.from({ length: count }, (_, index) => `${letter}${index + 1}`).join(" ");
}

/** Jobs in the order that one worker gets and answers them, one at a time. */
function serveAll(desk: Desk, number: number): string {
  const order: string[] = [];
  for (;;) {
    const next = desk.broker.next(desk.now);
    if (next === undefined) return order.join(" ");
    desk.broker.workforce.proven(next.worker, desk.now);
    order.push(next.job.request.body.name);
    assert(desk.reply(number, next.job.request.body.name));
  }
}

// Order

Deno.test("Broker serves in order when one client has several jobs", () => {
  const desk = new Desk();
  desk.submit("a1 a2 a3 a4");
  desk.workers(1);
  assert.equal(serveAll(desk, 1), "a1 a2 a3 a4");
});

Deno.test("Broker serves clients in turn when several have jobs", () => {
  const desk = new Desk();
  desk.submit("a1 a2 a3 a4 b1 b2 c1");
  desk.workers(1);
  assert.equal(serveAll(desk, 1), "a1 b1 c1 a2 b2 a3 a4");
});

Deno.test("Broker numbers jobs upwards from 1 when requests come, refused ones included", () => {
  const desk = new Desk({ overflow: "reject", queueLimit: 2 });
  desk.submit("a1 b1 a2");
  assert.deepEqual(["a1", "b1", "a2"].map((name) => desk.job(name).id), [1, 2, 3]);
  assert.equal(desk.job("a2").state, "ended");
});

Deno.test("Broker keeps jobs when no worker is ready", () => {
  const desk = new Desk();
  desk.submit("a1");
  assert.equal(desk.dispatch(), "");
  assert.equal(desk.broker.queued, 1);
  desk.workers(1);
  assert.equal(desk.dispatch(), "a1>1");
});

// Idle workers

Deno.test("Broker takes the most recently used idle worker when dispatch is mru", () => {
  const desk = new Desk({ dispatch: "mru" });
  desk.workers(1, 2, 3);
  desk.submit("a1 a2 a3");
  assert.equal(desk.dispatch(), "a1>3 a2>2 a3>1");
  desk.reply(3, "a1");
  desk.reply(1, "a3");
  desk.reply(2, "a2");
  desk.submit("a4 a5 a6");
  assert.equal(desk.dispatch(), "a4>2 a5>1 a6>3");
});

Deno.test("Broker takes the least recently used idle worker when dispatch is lru", () => {
  const desk = new Desk({ dispatch: "lru" });
  desk.workers(1, 2, 3);
  desk.submit("a1 a2 a3");
  assert.equal(desk.dispatch(), "a1>1 a2>2 a3>3");
  desk.reply(3, "a1");
  desk.reply(3, "a3");
  desk.reply(1, "a1");
  desk.reply(2, "a2");
  desk.submit("a4 a5 a6");
  assert.equal(desk.dispatch(), "a4>3 a5>1 a6>2");
});

for (const dispatch of ["mru", "lru"] as const) {
  Deno.test(`Broker prefers an idle worker to a busy one when dispatch is ${dispatch}`, () => {
    const desk = new Desk({ dispatch });
    desk.workers(1);
    desk.observe(1, QUICK);
    desk.submit("a1");
    assert.equal(desk.dispatch(), "a1>1");
    desk.workers(2);
    desk.submit("a2");
    assert.equal(desk.dispatch(), "a2>2");
  });
}

// Prefetch

Deno.test("Broker gives a worker one job when no reply has come yet", () => {
  const desk = new Desk();
  desk.workers(1);
  desk.submit("a1 a2 a3");
  assert.equal(desk.broker.times.mean, undefined);
  assert.equal(desk.dispatch(), "a1>1");
});

Deno.test("Broker gives one job at a time when the handler takes 10 ms", () => {
  const desk = new Desk();
  desk.workers(1);
  desk.observe(1, SLOW);
  desk.submit("a1 a2 a3");
  assert.equal(desk.dispatch(), "a1>1");
  desk.now += 10;
  desk.reply(1, "a1", SLOW);
  assert.equal(desk.dispatch(), "a2>1");
});

Deno.test("Broker gives a worker as many jobs as prefetch allows when the handler takes 10 µs", () => {
  const desk = new Desk({ prefetch: 20 });
  desk.workers(1);
  desk.observe(1, QUICK);
  desk.submit(series("a", 50));
  desk.dispatch();
  assert.equal(desk.worker(1).jobs.size, 20);
  assert.equal(desk.broker.queued, 30);
});

Deno.test("Broker gives a worker what fits the budget when that is less than prefetch", () => {
  const desk = new Desk({ prefetch: 1000, prefetchBudget: 1 });
  desk.workers(1);
  desk.observe(1, 125);
  desk.submit(series("a", 50));
  desk.dispatch();
  // Ahead of the 8th there is 7 × 125 µs, ahead of a 9th a whole millisecond.
  assert.equal(desk.worker(1).jobs.size, 8);
});

Deno.test("Broker gives one job at a time when prefetch is 1", () => {
  const desk = new Desk({ prefetch: 1 });
  desk.workers(1);
  desk.observe(1, QUICK);
  desk.submit("a1 a2");
  assert.equal(desk.dispatch(), "a1>1");
});

Deno.test("Broker gives one job at a time when the budget is 0", () => {
  const desk = new Desk({ prefetchBudget: 0 });
  desk.workers(1);
  desk.observe(1, QUICK);
  desk.submit("a1 a2");
  assert.equal(desk.dispatch(), "a1>1");
});

Deno.test("Broker spreads jobs evenly when all workers are busy", () => {
  const desk = new Desk();
  desk.workers(1);
  desk.observe(1, QUICK);
  desk.workers(2, 3);
  desk.submit(series("a", 9));
  desk.dispatch();
  assert.deepEqual([1, 2, 3].map((number) => desk.worker(number).jobs.size), [3, 3, 3]);
});

Deno.test("Broker learns that the handler has become slow when replies say so, by a sixteenth each", () => {
  const desk = new Desk();
  desk.workers(1);
  desk.observe(1, 0);
  assert.equal(desk.broker.times.mean, 0);
  desk.observe(1, 16_000);
  assert.equal(desk.broker.times.mean, 1);
  desk.observe(1, 1000);
  assert.equal(desk.broker.times.mean, 1);
  desk.submit("a1 a2");
  assert.equal(desk.dispatch(), "a1>1");
});

Deno.test("Broker runs several jobs in one worker when concurrency is more than 1", () => {
  const desk = new Desk({ concurrency: 3, prefetch: 1 });
  desk.workers(1);
  desk.submit("a1 a2 a3 a4 a5");
  assert.equal(desk.dispatch(), "a1>1 a2>1 a3>1");
  desk.reply(1, "a2");
  assert.equal(desk.dispatch(), "a4>1");
});

Deno.test("Broker shares jobs out when workers with concurrency have room", () => {
  const desk = new Desk({ concurrency: 2, dispatch: "lru" });
  desk.workers(1, 2);
  desk.submit("a1 a2 a3 a4 a5");
  assert.equal(desk.dispatch(), "a1>1 a2>2 a3>1 a4>2");
});

Deno.test("Broker divides the work ahead by concurrency when it lets jobs wait at a worker", () => {
  const desk = new Desk({ concurrency: 4, prefetch: 1000 });
  desk.workers(1);
  desk.observe(1, 500);
  desk.submit(series("a", 50));
  desk.dispatch();
  // 4 run; ahead of the 11th there is 7 × 500 / 4 µs, ahead of a 12th a whole millisecond.
  assert.equal(desk.worker(1).jobs.size, 11);
});

Deno.test("Broker works by new bounds when they are configured", () => {
  const desk = new Desk({ prefetch: 1 });
  desk.workers(1);
  desk.observe(1, QUICK);
  desk.submit("a1 a2 a3");
  assert.equal(desk.dispatch(), "a1>1");
  desk.configure({ prefetch: 2 });
  assert.equal(desk.dispatch(), "a2>1");
});

Deno.test("Broker gives a stuck worker nothing more until it answers", () => {
  const desk = new Desk({ prefetchBudget: 1 });
  desk.workers(1);
  desk.observe(1, QUICK);
  desk.submit("a1");
  desk.dispatch();
  desk.submit("a2");
  desk.now += 5;
  assert.equal(desk.dispatch(), "a2>1");
  desk.submit("a3");
  desk.now += 1;
  assert.equal(desk.dispatch(), "");
  desk.reply(1, "a1", QUICK);
  assert.equal(desk.dispatch(), "a3>1");
});

Deno.test("Broker passes a stuck worker over when another holds more jobs", () => {
  const desk = new Desk();
  desk.workers(1);
  desk.observe(1, QUICK);
  desk.submit("a1");
  desk.dispatch();
  desk.now += 10;
  desk.workers(2);
  desk.submit("a2 a3 a4");
  assert.equal(desk.dispatch(), "a2>2 a3>2 a4>2");
  assert.equal(desk.worker(1).jobs.size, 1);
});

Deno.test("Broker takes a worker for stuck by its current job when it was idle for long before", () => {
  const desk = new Desk();
  desk.workers(1);
  desk.observe(1, QUICK);
  desk.now += 60_000;
  desk.submit("a1 a2");
  assert.equal(desk.dispatch(), "a1>1 a2>1");
});

Deno.test("Broker has no job wait at a busy worker when slow ones are not rare, however quick most are", () => {
  const desk = new Desk({ prefetch: 20, prefetchBudget: 1, queueLimit: 1000 });
  desk.workers(1);
  for (let job = 1; job <= 1000; job++) desk.observe(1, job % 100 === 0 ? 50_000 : QUICK);
  for (let job = 0; job < 200; job++) desk.observe(1, QUICK);
  assert((desk.broker.times.mean ?? Infinity) < 0.02);
  desk.submit("a1 a2");
  assert.equal(desk.dispatch(), "a1>1");
});

/** A broker to which sleeping workers cost `wakeTime`, with two of them that are known to be quick. */
function quickPair(wakeTime: number): Desk {
  const desk = new Desk({ prefetch: 20, prefetchBudget: 1 }, { wakeTime });
  desk.workers(1, 2);
  desk.observe(2, QUICK);
  return desk;
}

Deno.test("Broker has quick jobs wait at the worker that is awake while that takes less than waking another", () => {
  const desk = quickPair(0.05);
  desk.submit("a1 a2 a3 a4 a5 a6 a7");
  // 10 µs each and 5 about it: the fifth would be through after 60.
  assert.equal(desk.dispatch(), "a1>2 a2>2 a3>2 a4>2 a5>1 a6>1 a7>1");
});

Deno.test("Broker wakes a worker when the one that is awake has shown no progress for a while", () => {
  const desk = quickPair(0.05);
  desk.submit("a1");
  assert.equal(desk.dispatch(), "a1>2");
  desk.now += 2;
  desk.submit("a2");
  assert.equal(desk.dispatch(), "a2>1");
});

Deno.test("Broker wakes a worker when a job takes longer than that", () => {
  const desk = quickPair(0.01);
  desk.submit("a1 a2");
  assert.equal(desk.dispatch(), "a1>2 a2>1");
});

/** Two workers at a job of 10 ms each, as all jobs are, and two jobs that wait. */
function steady(limits: Partial<BrokerLimits> = {}, micros = (_job: number) => 10_000): Desk {
  const desk = new Desk({ prefetch: 20, prefetchBudget: 1, ...limits });
  desk.workers(1);
  for (let job = 0; job < 96; job++) desk.observe(1, micros(job));
  desk.workers(2);
  desk.submit("a1");
  desk.dispatch();
  desk.now += 3;
  desk.submit("a2 a3 a4");
  assert.equal(desk.dispatch(), "a2>1");
  return desk;
}

Deno.test("Broker gives the next job to a worker just before the one that it has is expected to end", () => {
  const desk = steady();
  assert.equal(desk.broker.tick(desk.now), 4);
  desk.now += 3.9;
  assert.equal(desk.dispatch(), "");
  desk.now += 0.2;
  assert.equal(desk.dispatch(), "a3>2");
  assert.equal(desk.dispatch(), "");
  assert(Math.abs(desk.broker.tick(desk.now) - 2.9) < 1e-6);
  desk.now += 3;
  assert.equal(desk.dispatch(), "a4>1");
});

Deno.test("Broker gives no job to a worker before its own has ended when that is long overdue", () => {
  const desk = steady();
  desk.now += 20;
  assert.equal(desk.dispatch(), "");
  assert.equal(desk.broker.tick(desk.now), Infinity);
});

Deno.test("Broker gives no job to a worker before its own has ended when some take much longer", () => {
  const desk = steady({}, (job) => job === 1 ? 50_000 : 10_000);
  desk.now += 6.5;
  assert.equal(desk.dispatch(), "");
});

Deno.test("Broker gives no job to a worker before its own has ended when prefetch is 1", () => {
  const desk = steady({ prefetch: 1 });
  desk.now += 6.5;
  assert.equal(desk.dispatch(), "");
  assert.equal(desk.broker.tick(desk.now), Infinity);
});

// A worker's end

/** Three jobs at worker 1, of which the first runs, and one that waits. */
function loaded(limits: Partial<BrokerLimits> = {}): Desk {
  const desk = new Desk({ prefetch: 3, ...limits });
  desk.workers(1);
  desk.observe(1, QUICK);
  desk.submit("a1 a2 a3 a4");
  assert.equal(desk.dispatch(), "a1>1 a2>1 a3>1");
  return desk;
}

function deaths(desk: Desk, names: string): number[] {
  return names.split(" ").map((name) => desk.job(name).deaths);
}

Deno.test("Broker puts jobs back in front, in order, when their worker dies", () => {
  const desk = loaded();
  desk.submit("b1");
  desk.die(1);
  assert.deepEqual(deaths(desk, "a1 a2 a3 a4"), [0, 0, 0, 0]);
  assert.equal(desk.broker.queued, 5);
  assert.equal(desk.job("a1").state, "queued");
  desk.workers(2);
  assert.equal(serveAll(desk, 2), "a1 a2 a3 a4 b1");
  assert.equal(desk.broker.counters.returned, 3);
});

Deno.test("Broker counts a death for all jobs of a worker when it ran them all", () => {
  const desk = loaded({ concurrency: 3 });
  desk.die(1);
  assert.deepEqual(deaths(desk, "a1 a2 a3 a4"), [1, 1, 1, 0]);
});

Deno.test("Broker counts a death for the only job when the others were answered", () => {
  const desk = loaded();
  desk.reply(1, "a1", QUICK);
  desk.reply(1, "a2", QUICK);
  desk.die(1);
  assert.deepEqual(deaths(desk, "a1 a2 a3"), [0, 0, 1]);
});

Deno.test("Broker runs each job alone, and first, when any of them may have ended their worker", () => {
  const desk = loaded();
  desk.die(1);
  desk.workers(2, 3);
  assert.equal(desk.dispatch(), "a1>3 a2>2");
  desk.reply(3, "a1", QUICK);
  assert.equal(desk.dispatch(), "a3>3");
  desk.reply(2, "a2", QUICK);
  assert.equal(desk.dispatch(), "a4>2");
  desk.reply(3, "a3", QUICK);
  desk.submit("b1 b2 b3");
  assert.equal(desk.dispatch(), "b1>3 b2>3 b3>2");
  assert.deepEqual(deaths(desk, "a1 a2 a3"), [0, 0, 0]);
});

Deno.test("Broker counts both deaths when a job ends its worker that is suspected of an earlier one", () => {
  const desk = loaded();
  desk.die(1);
  desk.workers(2);
  assert.equal(desk.dispatch(), "a1>2");
  desk.die(2);
  assert.deepEqual(desk.ended(), ["a1: 502 The worker died 2 times on this job"]);
  desk.workers(3);
  assert.equal(serveAll(desk, 3), "a2 a3 a4");
});

Deno.test("Broker counts no death when a worker left in order", () => {
  const desk = loaded();
  desk.leave(1);
  assert.deepEqual(deaths(desk, "a1 a2 a3"), [0, 0, 0]);
  assert.deepEqual(desk.ended(), []);
  desk.workers(2);
  assert.equal(serveAll(desk, 2), "a1 a2 a3 a4");
});

Deno.test("Broker answers 502 when as many workers as maxAttempts died on a job", () => {
  const desk = new Desk({ maxAttempts: 2 });
  desk.workers(1, 2);
  desk.submit("a1");
  assert.equal(desk.dispatch(), "a1>2");
  desk.die(2);
  assert.deepEqual(desk.ended(), []);
  assert.equal(desk.dispatch(), "a1>1");
  desk.die(1);
  assert.deepEqual(desk.ended(), ["a1: 502 The worker died 2 times on this job"]);
  assert.equal(desk.broker.counters.lost, 1);
  assert.equal(desk.broker.idle, true);
  assert.equal(desk.client("a").live, 0);
});

Deno.test("Broker answers 502 at the first death when maxAttempts is 1, and has no other wait there", () => {
  const desk = new Desk({ prefetch: 3, maxAttempts: 1 });
  desk.workers(1);
  desk.observe(1, QUICK);
  desk.submit("a1 a2 a3");
  assert.equal(desk.dispatch(), "a1>1");
  desk.die(1);
  assert.deepEqual(desk.ended().map((line) => line.slice(0, 7)), ["a1: 502"]);
  desk.workers(2);
  assert.equal(serveAll(desk, 2), "a2 a3");
});

Deno.test("Broker does nothing more when a worker is removed twice", () => {
  const desk = loaded();
  desk.die(1);
  desk.die(1);
  assert.deepEqual(deaths(desk, "a1 a2 a3"), [0, 0, 0]);
  assert.equal(desk.broker.workers.size, 0);
  assert.equal(desk.broker.counters.returned, 3);
});

Deno.test("Broker gives a retiring worker nothing more and takes its answers", () => {
  const desk = loaded();
  desk.broker.workforce.retire(desk.worker(1));
  desk.broker.workforce.retire(desk.worker(1));
  for (const name of ["a1", "a2", "a3"]) assert(desk.reply(1, name, QUICK));
  assert.equal(desk.dispatch(), "");
  assert.equal(desk.broker.workers.size, 1);
  desk.leave(1);
  assert.equal(desk.broker.workers.size, 0);
  desk.workers(2);
  assert.equal(desk.dispatch(), "a4>2");
});

Deno.test("Broker takes a job back from a retiring worker when it is given back", () => {
  const desk = loaded();
  desk.broker.workforce.retire(desk.worker(1));
  desk.giveBack(1, "a3");
  assert.equal(desk.broker.queued, 2);
  assert.equal(desk.dispatch(), "");
});

// Deaths together

/** Kills workers, one after the other, and sends what can be sent in between. */
function storm(desk: Desk, ...workers: number[]): void {
  for (const worker of workers) {
    desk.die(worker, "outside");
    desk.dispatch();
  }
}

Deno.test("Broker blames no job when all workers are killed together, though some were sent to the dead", () => {
  const desk = new Desk();
  for (let round = 0; round < 5; round++) {
    const [one, two, three, four] = [1, 2, 3, 4].map((number) => 10 * round + number);
    assert(one && two && three && four);
    desk.workers(one, two, three, four);
    if (round === 0) desk.submit("a1 b1 c1 d1 e1 f1");
    desk.dispatch();
    storm(desk, one, two, three, four);
    desk.pass(250);
    assert.deepEqual(desk.ended(), [], `storm ${round}`);
  }
  assert.deepEqual(deaths(desk, "a1 b1 c1 d1 e1 f1"), [0, 0, 0, 0, 0, 0]);
  desk.workers(90);
  assert.deepEqual(serveAll(desk, 90).split(" ").sort(), ["a1", "b1", "c1", "d1", "e1", "f1"]);
});

Deno.test("Broker runs jobs one at a time in the whole pool when their workers were killed together", () => {
  const desk = new Desk();
  desk.workers(1, 2, 3);
  desk.submit("a1 b1 c1");
  desk.dispatch();
  storm(desk, 1, 2, 3);
  desk.workers(4, 5, 6);
  desk.pass(250);
  assert.equal(desk.dispatch().split(" ").length, 1);
  desk.submit("d1 d2");
  assert.equal(desk.dispatch().split(" ").length, 2, "others go on beside it");
});

Deno.test("Broker answers 502 at the second death when a job kills its worker, whatever by", () => {
  for (const end of ["itself", "outside"] as const) {
    const desk = new Desk();
    desk.workers(1, 2, 3);
    desk.submit("a1");
    for (let death = 0; death < 2; death++) {
      const [, worker] = desk.dispatch().split(">");
      desk.die(Number(worker), end);
      desk.pass(250);
    }
    assert.deepEqual(desk.ended(), ["a1: 502 The worker died 2 times on this job"]);
  }
});

Deno.test("Broker answers 502 when eight jobs at once kill their workers, and serves the others", () => {
  const desk = new Desk();
  desk.submit(series("p", 8));
  let deaths = 0;
  for (let worker = 1; !desk.broker.idle; worker += 4) {
    assert(deaths < 40, "they all come to an end");
    desk.workers(worker, worker + 1, worker + 2, worker + 3);
    for (const order of desk.dispatch().split(" ").filter((order) => order !== "")) {
      desk.die(Number(order.split(">")[1]), "outside");
      deaths++;
    }
    desk.pass(250);
  }
  assert.equal(desk.ended().filter((line) => line.includes(": 502 ")).length, 8);
  assert(deaths <= 8 * 4, `${deaths} workers died`);
  desk.workers(100);
  desk.submit("a1");
  assert.equal(desk.dispatch().split(">")[0], "a1");
});

Deno.test("Broker gives a job up after three times maxAttempts deaths that were all excused", () => {
  const desk = new Desk();
  desk.submit("a1");
  for (let round = 0; round < 6; round++) {
    assert.deepEqual(desk.ended(), []);
    desk.workers(2 * round + 1, 2 * round + 2);
    desk.dispatch();
    storm(desk, 2 * round + 1, 2 * round + 2);
    desk.pass(250);
  }
  assert.deepEqual(desk.ended(), ["a1: 502 The worker died 6 times on this job"]);
});

Deno.test("Broker answers 502 at the first death of any kind when maxAttempts is 1", () => {
  const desk = new Desk({ maxAttempts: 1 });
  desk.workers(1, 2);
  desk.submit("a1 b1");
  desk.dispatch();
  storm(desk, 1, 2);
  assert.deepEqual(desk.ended().map((line) => line.slice(3, 7)), [" 502", " 502"]);
});

Deno.test("Broker sends a suspect only once its worker has shown that it lives, and blames it for no other", () => {
  const desk = new Desk();
  desk.workers(1, 2);
  desk.submit("a1");
  desk.dispatch();
  desk.die(2);
  const next = desk.broker.next(desk.now);
  assert.equal(next?.worker.unsent, desk.job("a1"));
  desk.die(1);
  assert.deepEqual(desk.ended(), []);
  assert.deepEqual(deaths(desk, "a1"), [1]);
  desk.workers(3);
  assert.equal(desk.broker.next(desk.now)?.job, desk.job("a1"));
  assert.equal(desk.broker.workforce.proven(desk.worker(3), desk.now), desk.job("a1"));
  assert.equal(desk.broker.workforce.proven(desk.worker(3), desk.now), undefined);
  assert(desk.reply(3, "a1"));
});

Deno.test("Broker ends a suspect that nobody wants any more when its worker shows that it lives", () => {
  const desk = new Desk();
  desk.workers(1, 2);
  desk.submit("a1");
  desk.dispatch();
  desk.die(2);
  desk.broker.next(desk.now);
  assert.equal(desk.broker.cancellations.disconnect(desk.client("a"), desk.now).length, 1);
  assert.equal(desk.broker.workforce.proven(desk.worker(1), desk.now), undefined);
  assert.deepEqual(desk.ended(), ["a1: nothing"]);
  desk.submit("b1");
  assert.equal(desk.dispatch(), "b1>1");
});

Deno.test("Broker keeps a worker free for a suspect when all are busy, and the others serve on", () => {
  const desk = new Desk({ concurrency: 2, prefetch: 1 });
  desk.workers(1, 2, 3);
  desk.submit("a1 a2 a3 a4");
  assert.equal(desk.dispatch(), "a1>3 a2>2 a3>1 a4>1");
  desk.die(3);
  desk.submit("b1 b2 b3");
  assert.equal(desk.dispatch(), "", "one is kept, the other has no room");
  desk.reply(1, "a3");
  assert.equal(desk.dispatch(), "b1>1");
  desk.reply(2, "a2");
  assert.equal(desk.dispatch(), "a1>2");
  desk.reply(2, "a1");
  assert.equal(desk.dispatch(), "b2>2 b3>2");
});

// Replies that don't count

Deno.test("Broker drops and counts a reply when nobody has such a job", () => {
  const desk = loaded();
  assert.equal(desk.broker.takeReply(desk.worker(1), 999, Code.ok, 1, desk.now), undefined);
  assert.equal(desk.broker.counters.strayReplies, 1);
  assert.equal(desk.broker.assigned, 3);
});

Deno.test("Broker drops and counts a second reply to the same job", () => {
  const desk = loaded();
  assert(desk.reply(1, "a1"));
  assert.equal(desk.reply(1, "a1"), false);
  assert.equal(desk.broker.counters.strayReplies, 1);
  assert.equal(desk.broker.counters.answered, 2);
});

Deno.test("Broker drops and counts a reply when another worker has the job", () => {
  const desk = loaded();
  desk.workers(2);
  assert.equal(desk.dispatch(), "a4>2");
  assert.equal(desk.reply(2, "a1"), false);
  assert.equal(desk.reply(1, "a4"), false);
  assert.equal(desk.broker.counters.strayReplies, 2);
  assert(desk.reply(1, "a1"));
  assert(desk.reply(2, "a4"));
});

Deno.test("Broker drops and counts a reply when its worker was taken for dead and the job is elsewhere", () => {
  const desk = new Desk();
  desk.workers(1, 2);
  desk.submit("a1");
  desk.dispatch();
  desk.die(2);
  assert.equal(desk.reply(2, "a1"), false);
  assert.equal(desk.dispatch(), "a1>1");
  assert.equal(desk.reply(2, "a1"), false);
  assert.equal(desk.broker.counters.strayReplies, 2);
  assert(desk.reply(1, "a1"));
});

Deno.test("Broker learns nothing when a reply does not count", () => {
  const desk = loaded();
  const before = desk.broker.times.mean;
  desk.broker.takeReply(desk.worker(1), 999, Code.ok, 1_000_000, desk.now);
  assert.equal(desk.broker.times.mean, before);
});

Deno.test("Broker counts a job as answered and failed when the reply is an error", () => {
  const desk = loaded();
  assert(desk.reply(1, "a1", QUICK, Code.handlerFailed));
  assert.equal(desk.broker.counters.answered, 2);
  assert.equal(desk.broker.counters.failed, 1);
  assert.equal(desk.worker(1).answered, 2);
  assert.equal(desk.job("a1").state, "ended");
});

Deno.test("Broker gives a worker up when a job that waits there was taken back and is not answered in time", () => {
  const desk = loaded({ abortGrace: 1000 });
  desk.submit("b1", { requestId: 7 });
  desk.reply(1, "a1", QUICK);
  desk.reply(1, "a2", QUICK);
  assert.equal(desk.dispatch(), "a4>1 b1>1");
  // It may be the one that runs: what was answered before may not have been sent yet.
  assert(desk.broker.cancellations.cancel(desk.client("b"), 7, [], desk.now));
  desk.now += 900;
  desk.broker.tick(desk.now);
  assert.deepEqual(desk.broker.takeOverruns(), []);
  desk.now += 200;
  desk.broker.tick(desk.now);
  const [overrun] = desk.broker.takeOverruns();
  assert.deepEqual(overrun?.jobs.map(({ request }) => request.body.name), ["a3", "a4"]);
  desk.workers(2);
  assert.equal(serveAll(desk, 2), "a3 a4");
});

// Jobs given back

Deno.test("Broker puts a job back in front and counts no death when a worker gives it back", () => {
  const desk = loaded();
  desk.giveBack(1, "a2");
  desk.workers(2);
  assert.equal(desk.dispatch(), "a2>2 a4>2");
  assert.deepEqual(deaths(desk, "a2"), [0]);
  assert.equal(desk.broker.counters.returned, 1);
});

Deno.test("Broker drops and counts it when a worker gives back what it does not have", () => {
  const desk = loaded();
  desk.workers(2);
  desk.giveBack(2, "a1");
  assert.equal(desk.broker.counters.strayReplies, 1);
  assert.equal(desk.broker.assigned, 3);
  assert.equal(desk.job("a1").state, "assigned");
});

Deno.test("Broker takes a worker for idle when it has given its only job back", () => {
  const desk = new Desk();
  desk.workers(1);
  desk.submit("a1");
  desk.dispatch();
  desk.now += 5;
  desk.giveBack(1, "a1");
  assert.equal(desk.worker(1).idleSince, desk.now);
  assert.equal(desk.dispatch(), "a1>1");
});

// Clients that leave

Deno.test("Broker ends waiting jobs without an answer when their client leaves", () => {
  const desk = new Desk();
  desk.submit("a1 b1 a2 b2 a3");
  assert.deepEqual(desk.broker.cancellations.disconnect(desk.client("a"), desk.now), []);
  assert.deepEqual(desk.ended(), ["a1: nothing", "a2: nothing", "a3: nothing"]);
  assert.equal(desk.broker.counters.abandoned, 3);
  assert.equal(desk.broker.queuedBytes, 2);
  assert.equal(desk.client("a").live, 0);
  desk.workers(1);
  assert.equal(serveAll(desk, 1), "b1 b2");
});

Deno.test("Broker refuses what a client has waiting, not what runs or what others wait for too", () => {
  const desk = new Desk();
  desk.submit("a1");
  desk.workers(1);
  desk.dispatch();
  desk.submit("a2 b1");
  desk.submit("a3", { key: "k" });
  desk.submit("b2", { key: "k" });
  desk.broker.cancellations.refuseWaiting(desk.client("a"), "It does not read");
  assert.deepEqual(desk.ended(), ["a2: 503 It does not read"]);
  assert.equal(desk.broker.counters.refused, 1);
  assert.equal(desk.broker.queued, 2);
  assert(desk.reply(1, "a1"));
});

Deno.test("Broker tells which running jobs to cancel when their client leaves, and takes their replies in", () => {
  const desk = loaded();
  desk.workers(2);
  desk.submit("b1");
  desk.dispatch();
  const running = desk.broker.cancellations.disconnect(desk.client("a"), desk.now);
  const told = running.map(({ request, worker }) => `${request.body.name}>${worker?.id}`);
  assert.deepEqual(told.sort(), ["a1>1", "a2>1", "a3>1", "a4>2"]);
  assert.equal(desk.broker.counters.abandoned, 4);
  assert.equal(desk.job("a1").state, "aborted");
  assert.equal(desk.reply(1, "a1"), false);
  assert.equal(desk.job("a1").state, "ended");
  assert.deepEqual(desk.ended(), ["a1: nothing"]);
  assert.equal(desk.reply(1, "a1"), false);
  assert.equal(desk.client("a").live, 3);
  assert.equal(desk.client("b").live, 1);
});

Deno.test("Broker ends an abandoned job without an answer when its worker dies or gives it back", () => {
  const desk = loaded();
  desk.broker.cancellations.disconnect(desk.client("a"), desk.now);
  desk.ended();
  desk.giveBack(1, "a3");
  assert.deepEqual(desk.ended(), ["a3: nothing"]);
  desk.die(1);
  assert.deepEqual(desk.ended().sort(), ["a1: nothing", "a2: nothing"]);
  assert.equal(desk.broker.counters.lost, 0);
  assert.equal(desk.broker.counters.returned, 0);
  assert.equal(desk.broker.idle, true);
  assert.equal(desk.client("a").live, 0);
});

Deno.test("Broker gives each body up once when clients leave at every stage", () => {
  const desk = loaded();
  desk.broker.cancellations.disconnect(desk.client("a"), desk.now);
  desk.ended();
  desk.reply(1, "a1");
  desk.giveBack(1, "a2");
  desk.die(1);
  desk.ended();
  assert.deepEqual(desk.bodies.map(({ releases }) => releases), [1, 1, 1, 1, 1]);
});

Deno.test("Broker does nothing when a client leaves that has no job", () => {
  const desk = loaded();
  assert.deepEqual(desk.broker.cancellations.disconnect(desk.client("c"), desk.now), []);
  assert.deepEqual(desk.ended(), []);
  assert.equal(desk.broker.counters.abandoned, 0);
});

Deno.test("Broker ends a returned job without an answer when its client leaves", () => {
  const desk = loaded();
  desk.die(1);
  assert.deepEqual(desk.broker.cancellations.disconnect(desk.client("a"), desk.now), []);
  assert.equal(desk.ended().length, 4);
  assert.equal(desk.broker.queued, 0);
});

// Deadlines

Deno.test("Broker answers 408 at a tick when a job has waited past its deadline", () => {
  const desk = new Desk();
  desk.submit("a1", { timeout: 150 });
  desk.submit("a2");
  desk.submit("a3", { timeout: 1000 });
  const start = desk.now;
  while (desk.broker.queued === 3) desk.now += desk.broker.tick(desk.now);
  assert(desk.now >= start + 150 && desk.now <= start + 250 + 100, `It took ${desk.now - start}`);
  assert.deepEqual(desk.ended(), [`a1: 408 ${EXPIRED}`]);
  assert.equal(desk.broker.counters.expired, 1);
  assert.equal(desk.client("a").live, 2);
});

Deno.test("Broker answers 408 at dispatch when the deadline has come, and sends the next job", () => {
  const desk = new Desk();
  desk.workers(1);
  desk.submit("a1", { timeout: 50 });
  desk.submit("a2", { timeout: 51 });
  desk.now += 50;
  assert.equal(desk.dispatch(), "a2>1");
  assert.deepEqual(desk.ended(), [`a1: 408 ${EXPIRED}`]);
});

Deno.test("Broker has no tick due when no job that waits has a deadline", () => {
  const desk = new Desk();
  assert.equal(desk.broker.tick(desk.now), Infinity);
  desk.submit("a1");
  assert.equal(desk.broker.tick(desk.now), Infinity);
  desk.submit("b1", { timeout: 5000 });
  assert(desk.broker.tick(desk.now) <= 100);
  desk.workers(1, 2);
  assert.equal(desk.dispatch(), "a1>2 b1>1");
  assert.equal(desk.broker.tick(desk.now), Infinity);
});

Deno.test("Broker has no tick due when jobs with a deadline ended in any other way", () => {
  const desk = new Desk();
  desk.submit("a1 a2", { timeout: 5000 });
  desk.submit("b1", { timeout: 5000 });
  desk.broker.cancellations.disconnect(desk.client("a"), desk.now);
  assert(desk.broker.tick(desk.now) <= 100);
  desk.broker.drain("refuse");
  assert.equal(desk.broker.tick(desk.now), Infinity);
});

Deno.test("Broker lets a job run past its deadline when it was started in time", () => {
  const desk = new Desk();
  desk.workers(1);
  desk.submit("a1", { timeout: 50 });
  desk.dispatch();
  desk.now += 5000;
  desk.broker.tick(desk.now);
  assert.deepEqual(desk.ended(), []);
  assert(desk.reply(1, "a1"));
});

Deno.test("Broker answers 408 when a job's deadline passes after its worker died", () => {
  const desk = new Desk();
  desk.workers(1);
  desk.submit("a1", { timeout: 50 });
  desk.dispatch();
  desk.die(1);
  assert(desk.broker.tick(desk.now) <= 100);
  desk.now += 200;
  desk.broker.tick(desk.now);
  assert.deepEqual(desk.ended(), [`a1: 408 ${EXPIRED}`]);
  assert.equal(desk.broker.tick(desk.now), Infinity);
});

// Bounds

Deno.test("Broker blocks when as many jobs wait as queueLimit, and takes what comes all the same", () => {
  const desk = new Desk({ queueLimit: 2 });
  desk.submit("a1");
  assert.equal(desk.broker.admission.isBlocked, false);
  desk.submit("a2");
  assert.equal(desk.broker.admission.isFull, true);
  assert.equal(desk.broker.admission.isBlocked, true);
  desk.submit("a3");
  assert.deepEqual(desk.ended(), []);
  desk.workers(1, 2);
  desk.dispatch();
  assert.equal(desk.broker.admission.isFull, false);
  assert.equal(desk.broker.admission.isBlocked, false);
});

Deno.test("Broker blocks when as many bytes wait as queueBytes", () => {
  const desk = new Desk({ queueBytes: 100 });
  desk.submit("a1", { bytes: 99 });
  assert.equal(desk.broker.admission.isBlocked, false);
  desk.submit("a2", { bytes: 1 });
  assert.equal(desk.broker.queuedBytes, 100);
  assert.equal(desk.broker.admission.isBlocked, true);
  desk.workers(1);
  desk.dispatch();
  assert.equal(desk.broker.queuedBytes, 1);
  // The worker's 99 are held until it has answered.
  assert.equal(desk.broker.admission.isBlocked, true);
  desk.reply(1, "a1");
  assert.equal(desk.broker.admission.isBlocked, false);
});

Deno.test("Broker answers 503 when it is full and overflow is reject", () => {
  const desk = new Desk({ queueLimit: 2, overflow: "reject" });
  desk.submit("a1 a2 a3");
  assert.equal(desk.broker.admission.isFull, true);
  assert.equal(desk.broker.admission.isBlocked, false);
  assert.deepEqual(desk.ended(), [`a3: 503 ${FULL}`]);
  assert.equal(desk.broker.counters.refused, 1);
  assert.equal(desk.broker.queued, 2);
  assert.equal(desk.client("a").live, 2);
});

Deno.test("Broker takes returned jobs back beyond its bounds when a worker dies", () => {
  const desk = loaded({ queueLimit: 4, overflow: "reject" });
  desk.submit("b1 b2");
  desk.die(1);
  assert.equal(desk.broker.queued, 6);
  assert.deepEqual(desk.ended(), []);
});

Deno.test("Broker counts what workers have in queueBytes, until it is answered", () => {
  const desk = new Desk({ queueBytes: 100 });
  desk.workers(1);
  desk.submit("a1", { bytes: 60 });
  desk.dispatch();
  desk.submit("a2", { bytes: 39 });
  assert.equal(desk.broker.admission.isFull, false);
  desk.submit("a3", { bytes: 1 });
  assert.equal(desk.broker.queuedBytes, 40);
  assert.equal(desk.broker.admission.isFull, true);
  assert.equal(desk.broker.admission.isBlocked, true);
  desk.broker.workforce.remove(desk.worker(1), "left", desk.now);
  assert.equal(desk.broker.queuedBytes, 100);
  assert.equal(desk.broker.admission.isFull, true);
  desk.workers(2);
  desk.dispatch();
  assert.equal(desk.broker.admission.isFull, true);
  desk.reply(2, "a1");
  assert.equal(desk.broker.admission.isFull, false);
});

Deno.test("Broker answers 503 and counts it when a request is refused", () => {
  const desk = new Desk();
  desk.submit("a1");
  desk.refuse("a2");
  assert.deepEqual(desk.ended(), ["a2: 503 No"]);
  assert.equal(desk.broker.counters.refused, 1);
  assert.equal(desk.broker.queued, 1);
  assert.equal(desk.client("a").live, 1);
});

Deno.test("Broker answers at once and counts it when a request is rejected", () => {
  const desk = new Desk();
  desk.reject("a1");
  assert.deepEqual(desk.ended(), ["a1: 413 Too large"]);
  assert.deepEqual(desk.ended(), []);
  assert.equal(desk.broker.counters.rejected, 1);
  assert.equal(desk.broker.counters.requests, 1);
  assert.equal(desk.client("a").live, 0);
  assert.equal(desk.broker.idle, true);
});

// Closing

Deno.test("Broker serves what waits and answers 503 to what comes when it is closed to serve", () => {
  const desk = new Desk({ queueLimit: 2 });
  desk.submit("a1 a2");
  desk.broker.drain("serve");
  assert.equal(desk.broker.admission.isBlocked, false);
  desk.submit("b1");
  assert.deepEqual(desk.ended(), [`b1: 503 ${CLOSING}`]);
  desk.workers(1);
  assert.equal(desk.broker.idle, false);
  assert.equal(serveAll(desk, 1), "a1 a2");
  assert.equal(desk.broker.idle, true);
});

Deno.test("Broker serves a returned job when it is closed to serve", () => {
  const desk = loaded();
  desk.broker.drain("serve");
  desk.die(1);
  desk.workers(2);
  assert.equal(serveAll(desk, 2), "a1 a2 a3 a4");
});

Deno.test("Broker answers 503 to what waits, comes or returns when it is closed to refuse", () => {
  const desk = loaded();
  desk.broker.drain("refuse");
  assert.deepEqual(desk.ended(), [`a4: 503 ${CLOSING}`]);
  desk.submit("b1");
  assert.deepEqual(desk.ended(), [`b1: 503 ${CLOSING}`]);
  assert(desk.reply(1, "a1"));
  desk.giveBack(1, "a2");
  assert.deepEqual(desk.ended(), [`a2: 503 ${CLOSING}`]);
  assert.equal(desk.dispatch(), "");
  assert.equal(desk.broker.idle, false);
  desk.die(1);
  assert.deepEqual(desk.ended(), [`a3: 503 ${CLOSING}`]);
  assert.equal(desk.broker.idle, true);
  assert.equal(desk.broker.counters.refused, 4);
});

Deno.test("Broker refuses what still waits when it is closed to serve first and to refuse later", () => {
  const desk = loaded();
  desk.broker.drain("serve");
  desk.broker.drain("refuse");
  assert.deepEqual(desk.ended(), [`a4: 503 ${CLOSING}`]);
});

// What others read

Deno.test("Broker tells since when a worker is idle when it has no job", () => {
  const desk = new Desk();
  desk.workers(1);
  const { broker } = desk;
  assert.equal(broker.spareSince(desk.worker(1), desk.now + 7), desk.now);
  desk.submit("a1");
  desk.dispatch();
  desk.now += 5;
  desk.reply(1, "a1", SLOW);
  assert.equal(broker.spareSince(desk.worker(1), desk.now + 7), desk.now);
});

Deno.test("Broker takes no busy worker for spare when the service time is unknown or long", () => {
  const desk = new Desk();
  desk.workers(1);
  desk.submit("a1");
  desk.dispatch();
  assert.equal(desk.broker.spareSince(desk.worker(1), desk.now), undefined);
  desk.reply(1, "a1", SLOW);
  desk.submit("a2");
  desk.dispatch();
  assert.equal(desk.broker.spareSince(desk.worker(1), desk.now), undefined);
});

Deno.test("Broker takes a busy worker for spare when it will be through in a moment", () => {
  const desk = new Desk({ prefetch: 5 });
  desk.workers(1);
  desk.observe(1, 500);
  desk.submit("a1");
  desk.dispatch();
  assert.equal(desk.broker.spareSince(desk.worker(1), desk.now), desk.now);
  // With its share of the queue it is not.
  desk.submit(series("b", 20));
  assert.equal(desk.broker.spareSince(desk.worker(1), desk.now), undefined);
});

Deno.test("Broker takes no busy worker for spare when it has shown no progress for 50 ms", () => {
  const desk = new Desk();
  desk.workers(1);
  desk.observe(1, QUICK);
  desk.submit("a1");
  desk.dispatch();
  desk.now += 50;
  assert.equal(desk.broker.spareSince(desk.worker(1), desk.now), desk.now);
  desk.now += 1;
  assert.equal(desk.broker.spareSince(desk.worker(1), desk.now), undefined);
});

Deno.test("Broker remembers when it last gave a job out", () => {
  const desk = new Desk();
  desk.workers(1);
  desk.now += 7;
  desk.submit("a1");
  desk.dispatch();
  const then = desk.now;
  desk.now += 7;
  desk.reply(1, "a1");
  assert.equal(desk.broker.lastJobAt, then);
});

Deno.test("Broker counts all that happens to jobs", () => {
  const desk = loaded({ queueLimit: 4, overflow: "reject" });
  desk.submit("b1", { timeout: 10 });
  desk.submit("c1 c2 c3");
  desk.reject("d1");
  desk.now += 200;
  desk.broker.tick(desk.now);
  desk.reply(1, "a1", QUICK, Code.handlerFailed);
  desk.reply(1, "a1");
  desk.broker.cancellations.disconnect(desk.client("c"), desk.now);
  desk.die(1);
  desk.workers(2);
  assert.equal(desk.dispatch(), "a2>2");
  desk.die(2);
  assert.deepEqual(desk.broker.counters, {
    requests: 10,
    answered: 2,
    failed: 1,
    refused: 1,
    rejected: 1,
    displaced: 0,
    expired: 1,
    abandoned: 2,
    returned: 2,
    lost: 1,
    overran: 0,
    cancelled: 0,
    joined: 0,
    cached: 0,
    strayReplies: 1,
  });
  desk.ended();
  assert.equal(desk.broker.queued, 2);
  assert.equal(desk.broker.assigned, 0);
  assert.equal(desk.broker.idle, false);
});

Deno.test("Broker counts a job once when its client left before it was answered", () => {
  const desk = loaded();
  desk.broker.cancellations.disconnect(desk.client("a"), desk.now);
  const before = { ...desk.broker.counters };
  assert.equal(before.abandoned, 4);
  assert.equal(desk.reply(1, "a1", QUICK, Code.handlerFailed), false);
  assert.deepEqual(desk.broker.counters, before);
});

// Time limits

/** Ticks as the loop does, for so long. */
function pass(desk: Desk, duration: number): void {
  for (const end = desk.now + duration; desk.now < end;) {
    desk.now += Math.min(10, end - desk.now);
    desk.broker.tick(desk.now);
  }
}

/** Workers that are to be ended, with what was taken from them. */
function overruns(desk: Desk): string[] {
  return desk.broker.takeOverruns().map(({ worker, jobs, step }) =>
    `${step === "end" ? "" : "isolate "}${worker.id}: ${
      jobs.map(({ request }) => request.body.name).join(" ")
    }`
  );
}

const OVERRAN = "504 The handler ran past its limit of 100 ms";

Deno.test("Broker gives a worker up when its handler runs past limit and grace", () => {
  const desk = new Desk({ requestTimeout: 100, abortGrace: 200 });
  desk.workers(1);
  desk.submit("a1");
  desk.dispatch();
  pass(desk, 290);
  assert.deepEqual(overruns(desk), []);
  pass(desk, 70);
  assert.deepEqual(overruns(desk), ["1: "]);
  assert.deepEqual(desk.ended(), [`a1: ${OVERRAN}`]);
  assert.equal(desk.broker.counters.overran, 1);
  assert.equal(desk.worker(1).state, "retiring");
  assert.equal(desk.client("a").live, 0);
  assert.equal(desk.reply(1, "a1"), false);
  assert.equal(desk.broker.idle, true);
  desk.die(1);
  assert.deepEqual(desk.ended(), []);
  assert.equal(desk.broker.tick(desk.now), Infinity);
});

Deno.test("Broker puts what waits behind an overrun job back in front, uncounted", () => {
  const desk = new Desk({ requestTimeout: 100, abortGrace: 100 });
  desk.workers(1);
  desk.observe(1, QUICK);
  desk.submit("a1 b1 a2");
  assert.equal(desk.dispatch(), "a1>1 b1>1 a2>1");
  desk.submit("c1");
  pass(desk, 260);
  assert.deepEqual(overruns(desk), ["1: b1 a2"]);
  assert.deepEqual(desk.ended(), [`a1: ${OVERRAN}`]);
  assert.equal(desk.job("b1").deaths, 0);
  desk.workers(2);
  assert.equal(serveAll(desk, 2), "b1 a2 c1");
});

Deno.test("Broker counts a job's time from when it began, not while it waited at its worker", () => {
  const desk = new Desk({ requestTimeout: 100, abortGrace: 100 });
  desk.workers(1);
  desk.observe(1, QUICK);
  desk.submit("a1 a2");
  desk.dispatch();
  pass(desk, 150);
  assert(desk.reply(1, "a1"));
  pass(desk, 190);
  assert.deepEqual(overruns(desk), []);
  pass(desk, 70);
  assert.deepEqual(overruns(desk), ["1: "]);
  assert.deepEqual(desk.ended(), [`a2: ${OVERRAN}`]);
});

Deno.test("Broker lets a request ask for a shorter limit than its own, not for a longer one", () => {
  const desk = new Desk({ requestTimeout: 1000, abortGrace: 10 });
  assert.equal(desk.broker.timeLimit(0), 1000);
  assert.equal(desk.broker.timeLimit(5000), 1000);
  assert.equal(desk.broker.timeLimit(50), 50);
  desk.configure({ requestTimeout: 0 });
  assert.equal(desk.broker.timeLimit(0), Infinity);
  assert.equal(desk.broker.timeLimit(50), 50);
  desk.workers(1);
  desk.submit("a1", { requestTimeout: 100 });
  desk.dispatch();
  pass(desk, 200);
  assert.deepEqual(desk.ended(), [`a1: ${OVERRAN}`]);
});

Deno.test("Broker watches each of several running jobs when a worker has more than one", () => {
  const desk = new Desk({ requestTimeout: 100, abortGrace: 100, concurrency: 2 });
  desk.workers(1);
  desk.submit("a1 b1");
  desk.dispatch();
  pass(desk, 150);
  assert(desk.reply(1, "a1"));
  desk.submit("c1");
  desk.dispatch();
  pass(desk, 110);
  assert.deepEqual(overruns(desk), ["isolate 1: "]);
  assert.deepEqual(desk.ended(), [`b1: ${OVERRAN}`]);
  assert(desk.reply(1, "c1"));
});

/** A worker that runs b1 and c1 beside a1, which does not stop. */
function isolated(limits: Partial<BrokerLimits> = {}): Desk {
  const desk = new Desk({ abortGrace: 100, concurrency: 3, ...limits });
  desk.workers(1);
  desk.submit("a1", { requestTimeout: 100 });
  desk.submit("b1 c1");
  desk.dispatch();
  pass(desk, 260);
  assert.deepEqual(overruns(desk), ["isolate 1: "]);
  assert.deepEqual(desk.ended(), [`a1: ${OVERRAN}`]);
  return desk;
}

Deno.test("Broker lets jobs end beside one that does not stop, then ends their worker", () => {
  const desk = isolated();
  assert.equal(desk.broker.workforce.proven(desk.worker(1), desk.now), undefined);
  desk.submit("d1");
  assert.equal(desk.dispatch(), "", "it gets no more");
  pass(desk, 3000);
  assert.equal(desk.reply(1, "a1"), false, "its answer comes too late");
  assert.equal(desk.broker.counters.strayReplies, 0);
  assert(desk.reply(1, "b1"));
  assert.deepEqual(overruns(desk), []);
  assert(desk.reply(1, "c1"));
  pass(desk, 60);
  assert.deepEqual(overruns(desk), ["1: "]);
  assert.equal(desk.broker.counters.displaced, 0);
});

Deno.test("Broker ends an isolated worker soon when it does not show that it lives, and at last in any case", () => {
  for (const [shows, time] of [[false, 100], [true, 5000]] as const) {
    const desk = isolated();
    if (shows) desk.broker.workforce.proven(desk.worker(1), desk.now);
    pass(desk, time - 80);
    assert.deepEqual(overruns(desk), []);
    pass(desk, 120);
    assert.deepEqual(overruns(desk), ["1: b1 c1"]);
    assert.equal(desk.broker.counters.displaced, 2);
    assert.deepEqual(deaths(desk, "b1 c1"), [0, 0]);
  }
});

Deno.test("Broker runs a job alone that lost its worker because of another, so that it does not again", () => {
  const desk = isolated();
  desk.broker.workforce.endIsolated(desk.worker(1));
  assert.deepEqual(overruns(desk), ["1: b1 c1"]);
  desk.die(1);
  desk.workers(2);
  desk.submit("d1 d2");
  assert.equal(desk.dispatch(), "b1>2");
  assert(desk.reply(2, "b1"));
  assert.equal(desk.dispatch(), "c1>2");
  assert(desk.reply(2, "c1"));
  assert.equal(desk.dispatch(), "d1>2 d2>2");
});

Deno.test("Broker answers 502 to a job that lost its worker because of another when maxAttempts is 1", () => {
  const desk = isolated({ maxAttempts: 1 });
  desk.broker.workforce.endIsolated(desk.worker(1));
  assert.deepEqual(desk.ended().map((line) => line.slice(0, 7)).sort(), ["b1: 502", "c1: 502"]);
});

Deno.test("Broker gives no worker up when the whole machine slept", () => {
  const desk = new Desk({ requestTimeout: 100, abortGrace: 100 });
  desk.workers(1);
  desk.submit("a1");
  desk.dispatch();
  pass(desk, 50);
  desk.now += 60_000;
  desk.broker.tick(desk.now);
  assert.deepEqual(overruns(desk), []);
  pass(desk, 300);
  assert.deepEqual(overruns(desk), ["1: "]);
});

Deno.test("Broker gives up a handler in time when it is told to long after the start", () => {
  const desk = new Desk({ requestTimeout: 100, abortGrace: 0 });
  desk.workers(1);
  desk.submit("a1");
  desk.dispatch();
  desk.now += 60_000;
  desk.broker.tick(desk.now);
  desk.configure({ abortGrace: 100 });
  desk.broker.tick(desk.now);
  assert.deepEqual(desk.broker.takeOverruns().map(({ worker }) => worker.id), [1]);
});

Deno.test("Broker gives no worker up when there is no grace", () => {
  const desk = new Desk({ requestTimeout: 100, abortGrace: 0 });
  desk.workers(1);
  desk.submit("a1");
  desk.dispatch();
  pass(desk, 10_000);
  assert.deepEqual(overruns(desk), []);
  assert(desk.reply(1, "a1"));
});

Deno.test("Broker gives a worker up when its client has left and its handler goes on", () => {
  const desk = new Desk({ abortGrace: 200 });
  desk.workers(1);
  desk.observe(1, QUICK);
  desk.submit("a1 b1");
  desk.dispatch();
  pass(desk, 5000);
  assert.equal(desk.broker.cancellations.disconnect(desk.client("a"), desk.now).length, 1);
  pass(desk, 190);
  assert.deepEqual(overruns(desk), []);
  pass(desk, 70);
  assert.deepEqual(overruns(desk), ["1: b1"]);
  assert.deepEqual(desk.ended(), ["a1: nothing"]);
  assert.equal(desk.broker.counters.overran, 0);
});

// Requests that are taken back

const TAKEN_BACK = "499 The request was cancelled";

Deno.test("Broker ends a waiting job at once when its client takes it back", () => {
  const desk = new Desk();
  desk.submit("a1", { requestId: 7 });
  desk.submit("a2", { requestId: 8 });
  assert.equal(desk.broker.cancellations.cancel(desk.client("a"), 7, [], desk.now), undefined);
  assert.deepEqual(desk.ended(), [`a1: ${TAKEN_BACK}`]);
  assert.equal(desk.broker.counters.cancelled, 1);
  assert.equal(desk.broker.queued, 1);
  assert.equal(desk.client("a").live, 1);
});

Deno.test("Broker tells which worker to stop when a running job is taken back, and answers 499 at its end", () => {
  const desk = new Desk();
  desk.workers(1);
  desk.submit("a1", { requestId: 7 });
  desk.dispatch();
  const running = desk.broker.cancellations.cancel(desk.client("a"), 7, [], desk.now);
  assert.equal(running?.worker, desk.worker(1));
  assert.equal(running, desk.job("a1"));
  assert.deepEqual(desk.ended(), []);
  assert.equal(desk.broker.cancellations.cancel(desk.client("a"), 7, [], desk.now), undefined);
  assert.equal(desk.reply(1, "a1"), false);
  assert.deepEqual(desk.ended(), [`a1: ${TAKEN_BACK}`]);
  assert.equal(desk.broker.counters.cancelled, 1);
  assert.equal(desk.client("a").live, 0);
});

Deno.test("Broker takes nothing back for another client, by another way, or under an unknown number", () => {
  const desk = new Desk();
  const bytes = (...numbers: number[]) => new Uint8Array(numbers);
  const header = bytes(99);
  desk.submit("a1", { requestId: 7, envelope: [bytes(1, 2), header] });
  for (
    const [client, id, envelope] of [
      ["b", 7, [bytes(1, 2), header]],
      ["a", 8, [bytes(1, 2), header]],
      ["a", 7, [header]],
      ["a", 7, [bytes(1, 3), header]],
      ["a", 7, [bytes(1), header]],
      ["a", 7, [bytes(1, 2), bytes(1, 2), header]],
    ] as const
  ) {
    assert.equal(
      desk.broker.cancellations.cancel(desk.client(client), id, [...envelope], 1),
      undefined,
    );
  }
  assert.equal(desk.broker.queued, 1);
  assert.equal(desk.broker.counters.cancelled, 0);
  desk.broker.cancellations.cancel(desk.client("a"), 7, [bytes(1, 2), bytes(0)], 1);
  assert.equal(desk.broker.queued, 0);
});

// Requests of one key

Deno.test("Broker refuses a request of a key when too many wait for its answer, or for others'", () => {
  const desk = new Desk({ queueLimit: 2000 });
  desk.submit(series("a", 1001), { key: "k" });
  assert.deepEqual(desk.ended(), []);
  const refused = "503 Too many requests wait for the same answer";
  desk.submit("a1002", { key: "k" });
  assert.deepEqual(desk.ended(), [`a1002: ${refused}`]);
  desk.submit(series("b", 1001), { key: "l" });
  desk.submit("c1 c2", { key: "m" });
  assert.deepEqual(desk.ended(), [`c2: ${refused}`]);
  desk.broker.cancellations.disconnect(desk.client("a"), desk.now);
  desk.submit("d1", { key: "m" });
  assert.equal(desk.broker.counters.joined, 2001);
  desk.broker.drain("refuse");
  assert.equal(desk.broker.counters.refused, 2 + 2);
});

Deno.test("Broker serves the others when a client leaves that has asked twice for the same", () => {
  const desk = new Desk();
  desk.submit("a1 a2 b1", { key: "k" });
  desk.broker.cancellations.disconnect(desk.client("a"), desk.now);
  assert.deepEqual(desk.ended(), []);
  assert.equal(desk.broker.counters.abandoned, 2);
  desk.workers(1);
  assert.equal(desk.dispatch(), "a1>1");
  assert.equal(desk.job("a1").asker.client, desk.client("b"));
  assert.equal(desk.job("a1").others.length, 0);
});

Deno.test("Broker answers requests of one key together when one is waiting or running", () => {
  const desk = new Desk();
  desk.submit("a1 b1", { key: "k" });
  desk.submit("c1", { key: "other" });
  assert.equal(desk.job("b1"), desk.job("a1"));
  assert.equal(desk.broker.queued, 2);
  desk.workers(1);
  assert.equal(desk.dispatch(), "a1>1");
  desk.submit("d1", { key: "k" });
  assert.equal(desk.job("d1"), desk.job("a1"));
  assert(desk.reply(1, "a1"));
  assert.deepEqual(desk.job("a1").others.map(({ client }) => client), [
    desk.client("b"),
    desk.client("d"),
  ]);
  for (const name of "abd") assert.equal(desk.client(name).live, 0);
  assert.equal(desk.broker.counters.joined, 2);
  assert.equal(desk.broker.counters.requests, 4);
  desk.submit("e1", { key: "k" });
  assert.notEqual(desk.job("e1"), desk.job("a1"));
});

Deno.test("Broker goes on with a job when one of those who wait for it leaves or takes it back", () => {
  for (const assigned of [false, true]) {
    const desk = new Desk();
    desk.submit("a1 b1 c1 d1", { key: "k", requestId: 7 });
    if (assigned) desk.workers(1);
    assert.equal(desk.dispatch(), assigned ? "a1>1" : "");
    assert.deepEqual(desk.broker.cancellations.disconnect(desk.client("a"), desk.now), []);
    assert.deepEqual(desk.ended(), []);
    assert.equal(desk.broker.cancellations.cancel(desk.client("c"), 7, [], desk.now), undefined);
    assert.deepEqual(desk.ended(), [`a1: ${TAKEN_BACK}`]);
    assert.equal(desk.job("a1").asker.client, desk.client("b"));
    assert.deepEqual(desk.job("a1").others.map(({ client }) => client), [desk.client("d")]);
    assert.deepEqual(["a", "b", "c", "d"].map((name) => desk.client(name).live), [0, 1, 0, 1]);
    if (!assigned) desk.workers(1);
    if (!assigned) assert.equal(desk.dispatch(), "a1>1");
    assert(desk.reply(1, "a1"));
    assert.deepEqual(["a", "b", "c", "d"].map((name) => desk.client(name).live), [0, 0, 0, 0]);
    assert.equal(desk.bodies[0]?.releases, 1);
  }
});

Deno.test("Broker ends a shared job when the last who waits for it leaves", () => {
  const desk = new Desk();
  desk.submit("a1 b1", { key: "k" });
  desk.workers(1);
  desk.dispatch();
  assert.equal(desk.broker.cancellations.disconnect(desk.client("b"), desk.now).length, 0);
  assert.equal(desk.broker.cancellations.disconnect(desk.client("a"), desk.now).length, 1);
  desk.submit("c1", { key: "k" });
  assert.notEqual(desk.job("c1"), desk.job("a1"));
  assert.equal(desk.reply(1, "a1"), false);
  assert.deepEqual(desk.ended(), ["a1: nothing"]);
  assert.equal(desk.dispatch(), "c1>1");
  assert.equal(desk.broker.counters.abandoned, 2);
});

Deno.test("Broker answers all who wait for a job when it ends it itself", () => {
  const desk = new Desk({ maxAttempts: 1 });
  desk.submit("a1 b1", { key: "k" });
  desk.workers(1);
  desk.dispatch();
  desk.die(1);
  const ended = desk.broker.takeEnded();
  assert.deepEqual(ended.map(({ to, code, last }) => [to.length, code, last]), [[2, 502, true]]);
});

/** The flags of what the broker has ended, as "job: code flags". */
function flagsOf(desk: Desk): string[] {
  return desk.broker.takeEnded().map(({ job, code, flags }) =>
    `${job.request.body.name}: ${code} ${flags}`
  );
}

Deno.test("Broker says of refused jobs whether they never started when it shuts down", () => {
  const desk = new Desk({ concurrency: 2, prefetch: 1 });
  desk.submit("a1 a2");
  desk.workers(1, 2);
  assert.equal(desk.dispatch(), "a1>2 a2>1");
  desk.submit("b1 b2");
  desk.broker.drain("refuse");
  assert.deepEqual(flagsOf(desk), ["b1: 503 1", "b2: 503 1"]);
  desk.submit("b3");
  desk.giveBack(2, "a1");
  desk.die(1);
  assert.deepEqual(flagsOf(desk), ["b3: 503 1", "a1: 503 1", "a2: 503 0"]);
});

Deno.test("Broker says so of all who wait for a job, and not of one that another worker may have started", () => {
  const desk = new Desk();
  desk.submit("a1");
  desk.workers(1);
  desk.dispatch();
  desk.die(1);
  desk.submit("b1 c1", { key: "k" });
  desk.broker.drain("refuse");
  assert.deepEqual(flagsOf(desk), ["a1: 503 0", "b1: 503 1"]);
  desk.submit("d1 e1", { key: "k" });
  assert.deepEqual(flagsOf(desk), ["d1: 503 1", "e1: 503 1"]);
});

Deno.test("Broker does not say so of a full queue, nor of a client's share of it", () => {
  const full = new Desk({ overflow: "reject", queueLimit: 1 });
  full.submit("a1 a2");
  assert.deepEqual(flagsOf(full), ["a2: 503 0"]);
  const share = new Desk({ maxQueuePerClient: 1 });
  share.submit("a1 a2");
  assert.deepEqual(flagsOf(share), ["a2: 503 0"]);
});

Deno.test("Broker does not say so of jobs that ran beside one that overran", () => {
  const desk = new Desk({ concurrency: 2, prefetch: 2, abortGrace: 100 });
  desk.workers(1);
  desk.submit("a1", { requestTimeout: 100 });
  desk.submit("b1");
  assert.equal(desk.dispatch(), "a1>1 b1>1");
  desk.broker.tick(desk.now);
  desk.now += 300;
  desk.broker.tick(desk.now);
  desk.pass(200); // the worker does not show that it lives
  desk.broker.drain("refuse");
  assert.deepEqual(flagsOf(desk), ["a1: 504 0", "b1: 503 0"]);
});

Deno.test("Broker lets a shared job wait as long as any of those who wait for it", () => {
  const desk = new Desk();
  desk.submit("a1", { key: "k", timeout: 100 });
  desk.submit("b1", { key: "k", timeout: 50 });
  desk.submit("c1", { key: "k", timeout: 5000 });
  desk.now += 200;
  desk.broker.tick(desk.now);
  assert.deepEqual(desk.ended(), []);
  desk.submit("d1", { key: "k" });
  assert.equal(desk.broker.tick(desk.now), Infinity);
  desk.now += 10_000;
  desk.workers(1);
  assert.equal(desk.dispatch(), "a1>1");
});

// Bounds for one client

Deno.test("Broker refuses what one client asks beyond maxQueuePerClient, and nobody else", () => {
  const desk = new Desk({ maxQueuePerClient: 2 });
  desk.submit("a1 a2 a3 b1");
  const limit = "The client has 2 requests waiting, which is the limit";
  assert.deepEqual(desk.ended(), [`a3: 503 ${limit}`]);
  desk.workers(1);
  assert.equal(desk.dispatch(), "a1>1");
  desk.submit("a4 a5");
  assert.deepEqual(desk.ended(), [`a5: 503 ${limit}`]);
  assert.equal(desk.broker.counters.refused, 2);
});

// Anything in any order

const SEEDS = 1000;
const STEPS = 300;
const GONE = 1000;

/** What became of a job, by the test's own books. */
interface Entry {
  job: Job<Body>;
  body: Body;
  owner: Client<Body>;
  /** The owner's place among the clients; from `GONE` on: it has left. */
  client: number;
  /** Undefined: it waits, or has ended. */
  worker: Worker<Body> | undefined;
  abandoned: boolean;
  deaths: number;
  suspect: boolean;
  /** Whether its worker has got it: a suspect is sent only once that has shown that it lives. */
  sent: boolean;
  ends: number;
}

/** A broker and naive books of what it should do. Throws where the two differ. */
class Audit {
  readonly #random: (below: number) => number;
  readonly #limits: BrokerLimits;
  readonly #broker: Broker<Body>;
  readonly #clients: Client<Body>[] = [];
  readonly #entries = new Map<Job<Body>, Entry>();
  readonly #workers: Worker<Body>[] = [];
  readonly #past: Worker<Body>[] = [];
  /** Returned jobs, the next one first. */
  #returned: Entry[] = [];
  /** Those of them that may end their worker, the same. */
  #suspects: Entry[] = [];
  /** What waits of each client, and whose turn it is. */
  #lines: Entry[][] = [];
  #turns: number[] = [];
  #now = 0;
  #closed: "no" | "serve" | "refuse" = "no";
  /** How often each thing happened, to know that the test tests. */
  static readonly seen: Record<string, number> = {};

  constructor(seed: number) {
    this.#random = randomNumbers(seed * 2_654_435 + 1);
    this.#limits = {
      concurrency: 1 + this.#random(3),
      prefetch: [1, 2, 5, 50][this.#random(4)] ?? 1,
      prefetchBudget: this.#random(3),
      dispatch: this.#random(2) === 0 ? "mru" : "lru",
      maxAttempts: 1 + this.#random(3),
      queueLimit: 5 + this.#random(100),
      queueBytes: 100 + this.#random(2000),
      overflow: this.#random(2) === 0 ? "block" : "reject",
      maxQueuePerClient: 0,
      requestTimeout: 0,
      stopTimeout: 5000,
      abortGrace: 0,
    };
    this.#broker = new Broker(this.#limits, { wakeTime: 0 });
    for (let index = 0; index < 4; index++) this.#addClient();
  }

  run(): void {
    for (let step = 0; step < STEPS; step++) {
      this.#step(step);
      this.#takeEnded();
      this.#check();
    }
    this.#finish();
  }

  #step(step: number): void {
    const dice = this.#random(100);
    if (dice < 30) this.#submit();
    else if (dice < 50) this.#dispatch(1 + this.#random(20));
    else if (dice < 72) this.#reply();
    else if (dice < 76) this.#stray();
    else if (dice < 80) this.#giveBack();
    else if (dice < 84) this.#addWorker();
    else if (dice < 86) this.#retire();
    else if (dice < 90) this.#removeWorker();
    else if (dice < 93) this.#disconnect();
    else if (dice < 98) this.#pass();
    else if (step > STEPS * 0.9) this.#close();
  }

  #submit(): void {
    const client = this.#random(this.#clients.length);
    const known = this.#clients[client];
    if (known === undefined) return;
    const refused = this.#closed !== "no" ||
      (this.#limits.overflow === "reject" && this.#broker.admission.isFull);
    const body = { name: `${client}`, releases: 0 };
    const job = this.#broker.submit({
      client: known,
      envelope: [],
      requestId: undefined,
      requestTimeout: Infinity,
      key: "",
      body,
      bytes: this.#random(100),
      deadline: this.#random(3) === 0 ? this.#now + this.#random(300) : Infinity,
    });
    const entry = {
      job,
      body,
      owner: known,
      client,
      worker: undefined,
      abandoned: false,
      deaths: 0,
      suspect: false,
      sent: true,
      ends: 0,
    };
    this.#entries.set(job, entry);
    if (!refused) this.#wait(entry);
    note(refused ? "refused" : "submitted");
  }

  #wait(entry: Entry): void {
    const line = this.#lines[entry.client] ?? [];
    if (line.length === 0) this.#turns.push(entry.client);
    line.push(entry);
    this.#lines[entry.client] = line;
  }

  /** Which job must come next, by the books. */
  #shift(): Entry | undefined {
    const returned = this.#returned.shift();
    if (returned !== undefined) return returned;
    const turn = this.#turns.shift();
    if (turn === undefined) return undefined;
    const line = this.#lines[turn] ?? [];
    const entry = line.shift();
    if (line.length > 0) this.#turns.push(turn);
    return entry;
  }

  #dispatch(count: number): void {
    for (let index = 0; index < count; index++) {
      const open = this.#openWorkers();
      const idle = this.#idleWorkers();
      const next = this.#broker.next(this.#now);
      if (next === undefined) return this.#stand(open, idle);
      this.#assign(next.job, next.worker, open, idle);
    }
  }

  /** Nothing is sent: nobody may have what waits. */
  #stand(open: Worker<Body>[], idle: Worker<Body>[]): void {
    if (this.#closed === "refuse") return;
    const isLive = ({ job }: Entry) => job.deadline > this.#now;
    assert(idle.length === 0 || !this.#suspects.some(isLive), "A suspect waits for no idle worker");
    if (this.#openWorkers().length === 0) return;
    const others = this.#waiting().filter((entry) => !entry.suspect);
    assert(open.length === 0 || !others.some(isLive), "A job waits that a worker may have");
    for (const entry of others) if (!isLive(entry)) this.#unwait(entry);
  }

  #assign(
    job: Job<Body>,
    worker: Worker<Body>,
    open: Worker<Body>[],
    idle: Worker<Body>[],
  ): void {
    const known = this.#entry(job);
    known.worker = worker;
    if (known.suspect) return this.#assignSuspect(known, worker, idle);
    let entry = this.#shift();
    while (entry !== undefined && entry.job.deadline <= this.#now) entry = this.#shift();
    assert(entry, "A job is sent, but none should wait");
    assert.equal(job.id, entry.job.id, "The job that is sent is the one whose turn it is");
    assert(open.includes(worker), "A worker gets a job only if it may");
    const before = worker.jobs.size - 1;
    const least = Math.min(
      ...open.filter((one) => one === worker || !one.alone)
        .map((one) => one === worker ? before : one.jobs.size),
    );
    assert.equal(before, least, "The least loaded worker of those that may gets the job");
    note(before >= this.#limits.concurrency ? "prefetched" : "to an idle one");
  }

  #assignSuspect(entry: Entry, worker: Worker<Body>, idle: Worker<Body>[]): void {
    while (this.#suspects[0] !== entry) {
      const first = this.#suspects.shift();
      assert(first && first.job.deadline <= this.#now, "Suspects go in order");
    }
    this.#suspects.shift();
    assert(idle.includes(worker), "A suspect has its worker for itself");
    entry.sent = this.#random(3) > 0;
    if (entry.sent) assert.equal(this.#broker.workforce.proven(worker, this.#now), entry.job);
    note(entry.sent ? "suspect sent" : "suspect not sent yet");
  }

  #idleWorkers(): Worker<Body>[] {
    return this.#workers.filter(({ state, jobs }) => state === "ready" && jobs.size === 0);
  }

  /** Workers that may have one more job now; one of them at most is kept for a suspect. */
  #openWorkers(): Worker<Body>[] {
    const { concurrency, prefetchBudget, maxAttempts } = this.#limits;
    const prefetch = maxAttempts === 1 ? concurrency : this.#limits.prefetch;
    const { mean = Infinity, tail } = this.#broker.times;
    const estimate = Math.max(mean, tail / 10);
    return this.#workers.filter(({ state, jobs, progressAt, alone }) => {
      if (state !== "ready" || (alone && this.#suspects.length > 0)) return false;
      if ([...jobs.values()].some((job) => this.#entry(job).suspect)) return false;
      if (jobs.size < concurrency) return true;
      const left = progressAt + mean - this.#now;
      const ending = left < 3 * prefetchBudget && left > -5 * prefetchBudget;
      const steady = mean > 3 * prefetchBudget && tail < 2.5 * mean &&
        tail - mean < 10 * prefetchBudget;
      if (concurrency === 1 && jobs.size === 1 && prefetch > 1 && steady && ending) return true;
      const ahead = estimate * (jobs.size + 1 - concurrency) / concurrency;
      const stuck = this.#now - progressAt > 5 * prefetchBudget;
      return jobs.size < prefetch && ahead < prefetchBudget && !stuck;
    });
  }

  #reply(): void {
    const worker = this.#pick(this.#workers.filter(({ jobs }) => jobs.size > 0));
    if (worker === undefined) return;
    const running = [...worker.jobs.values()].slice(0, this.#limits.concurrency);
    const job = this.#pick(running);
    if (job === undefined) return;
    const micros = this.#random(3) === 0 ? this.#random(2000) : this.#random(100);
    const answered = this.#broker.takeReply(worker, job.id, Code.ok, micros, this.#now);
    const entry = this.#entry(job);
    assert.equal(answered, entry.abandoned ? undefined : job);
    assert.equal(entry.worker, worker);
    assert.equal(job.state, "ended");
    entry.worker = undefined;
    if (answered !== undefined) this.#end(entry);
    note(entry.abandoned ? "answered abandoned" : "answered");
  }

  /** A worker of now or then answers, or gives back, what it does not have. */
  #stray(): void {
    const worker = this.#pick([...this.#workers, ...this.#past]);
    const entry = this.#pick([...this.#entries.values()]);
    if (worker === undefined || entry === undefined || entry.worker === worker) return;
    const before = this.#broker.counters.strayReplies;
    const { id } = entry.job;
    if (this.#random(2) === 0) this.#broker.workforce.giveBack(worker, id, this.#now);
    else assert.equal(this.#broker.takeReply(worker, id, Code.ok, 5, this.#now), undefined);
    assert.equal(this.#broker.counters.strayReplies, before + 1);
    note("stray");
  }

  #giveBack(): void {
    const worker = this.#pick(this.#workers.filter(({ jobs }) => jobs.size > 0));
    const job = worker && this.#pick([...worker.jobs.values()]);
    if (worker === undefined || job === undefined) return;
    this.#broker.workforce.giveBack(worker, job.id, this.#now);
    this.#return(this.#entry(job));
    note("given back");
  }

  /** A job comes back from its worker: it waits in front, unless it ends. */
  #return(entry: Entry): void {
    entry.worker = undefined;
    const lost = entry.deaths >= this.#limits.maxAttempts;
    entry.sent = true;
    if (entry.abandoned || lost || this.#closed === "refuse") return;
    (entry.suspect ? this.#suspects : this.#returned).unshift(entry);
  }

  #addWorker(): void {
    if (this.#workers.length > 5) return;
    const id = this.#workers.length + this.#past.length + 1;
    this.#workers.push(this.#broker.workforce.add(id, this.#now));
  }

  #retire(): void {
    const worker = this.#pick(this.#workers);
    if (worker !== undefined) this.#broker.workforce.retire(worker);
  }

  #removeWorker(worker = this.#pick(this.#workers)): void {
    if (worker === undefined) return;
    const end = this.#random(2) === 0 ? "died" : "left";
    const jobs = [...worker.jobs.values()].map((job) => this.#entry(job));
    if (end === "died" && jobs.every(({ sent }) => sent)) this.#blame(jobs);
    if (end === "died") this.#broker.workforce.processEnded(worker.id, worker, "itself", this.#now);
    this.#broker.workforce.remove(worker, end, this.#now);
    for (const entry of jobs.toReversed()) this.#return(entry);
    this.#workers.splice(this.#workers.indexOf(worker), 1);
    this.#past.push(worker);
    if (jobs.length > 0) note(`removed: ${end}`);
  }

  #blame(jobs: Entry[]): void {
    const known = jobs.length <= this.#limits.concurrency;
    for (const entry of jobs) {
      if (known) entry.deaths += entry.suspect && entry.deaths === 0 ? 2 : 1;
      entry.suspect = true;
    }
  }

  #disconnect(): void {
    const index = this.#random(this.#clients.length);
    const client = this.#clients[index];
    if (client === undefined) return;
    const running = this.#broker.cancellations.disconnect(client, this.#now);
    const mine = [...this.#entries.values()].filter((entry) =>
      entry.client === index && entry.ends === 0
    );
    const cancelled = new Set(running);
    for (const entry of mine) {
      assert.equal(cancelled.delete(entry.job), entry.worker !== undefined);
      if (entry.worker !== undefined) entry.abandoned = true;
      else this.#unwait(entry);
      note(entry.worker !== undefined ? "abandoned" : "dropped");
    }
    assert.equal(cancelled.size, 0, "Only this client's jobs are cancelled");
    // It is known no more; a new one has its place in the test's list.
    this.#clients.splice(index, 1, newPeer<Body>(index, new Uint8Array(18)).home);
    for (const entry of mine) entry.client = GONE;
  }

  #pass(): void {
    this.#now += this.#random(40);
    const wait = this.#broker.tick(this.#now);
    assert(wait > 0, `tick returned ${wait}`);
    const withDeadline = this.#waiting().some((entry) =>
      entry.job.deadline !== Infinity && entry.job.state === "queued"
    );
    if (withDeadline) assert(wait <= 100, `tick returned ${wait}`);
    else if (wait < 100) {
      assert(this.#waiting().length > 0, "a job waits for a worker that is ending");
    }
  }

  #close(): void {
    this.#closed = this.#closed === "no" && this.#random(2) === 0 ? "serve" : "refuse";
    this.#broker.drain(this.#closed);
    if (this.#closed === "refuse") { for (const entry of this.#waiting()) this.#unwait(entry); }
    note(`closed: ${this.#closed}`);
  }

  /** Does what the loop does with jobs that the broker ended. */
  #takeEnded(): void {
    for (const { job, to, code, last } of this.#broker.takeEnded()) {
      assert(last, "Nobody shares a job");
      const answered = to.length > 0;
      const entry = this.#entry(job);
      assert.equal(entry.worker, undefined, "A job that a worker has is not ended by the broker");
      assert.equal(job.state, "ended");
      if (answered) assert(!entry.abandoned, "A client that has left gets no answer");
      else assert(entry.abandoned || entry.client === GONE);
      if (code === Code.expired) assert(job.deadline <= this.#now);
      if (code === Code.workerDied) assert(entry.deaths >= this.#limits.maxAttempts);
      if (code === Code.unavailable) {
        assert(this.#closed !== "no" || this.#limits.overflow === "reject");
      }
      if (this.#isWaiting(entry)) this.#unwait(entry);
      this.#end(entry);
      note(`ended: ${answered ? code : undefined}`);
    }
  }

  #end(entry: Entry): void {
    entry.worker = undefined;
    entry.ends++;
    assert.equal(entry.job.request.body, entry.body);
    assert.equal(entry.job.asker.client, entry.owner);
    entry.body.releases++;
    assert.equal(entry.ends, 1, "A job ends once");
  }

  #check(): void {
    const broker = this.#broker;
    const waiting = this.#waiting();
    assert.equal(broker.queued, waiting.length);
    assert.equal(broker.queuedBytes, waiting.reduce((sum, { job }) => sum + job.bytes, 0));
    const live = [...this.#entries.values()].filter(({ ends }) => ends === 0);
    const assigned = live.filter(({ worker }) => worker !== undefined);
    assert.equal(broker.assigned, assigned.length);
    assert.equal(live.length, waiting.length + assigned.length);
    assert.equal(broker.idle, live.length === 0);
    assert.equal(broker.counters.requests, this.#entries.size);
    const { concurrency, prefetch } = this.#limits;
    for (const worker of this.#workers) {
      assert(worker.jobs.size <= Math.max(concurrency, prefetch), "A worker has too many jobs");
    }
    for (const entry of live) {
      assert.equal(entry.job.asker.client, entry.owner);
      assert.equal(entry.worker?.jobs.get(entry.job.id), entry.worker && entry.job);
      assert.equal(entry.job.deaths, entry.deaths);
    }
    this.#clients.forEach((client, index) => {
      assert.equal(client.live, live.filter((entry) => entry.client === index).length);
    });
  }

  /** All workers die, until nothing is left: with no worker, what waits is refused. */
  #finish(): void {
    while (this.#workers.length > 0) this.#removeWorker(this.#workers[0]);
    this.#closed = "refuse";
    this.#broker.drain("refuse");
    this.#takeEnded();
    assert.equal(this.#broker.idle, true);
    assert.equal(this.#broker.queuedBytes, 0);
    assert.equal(this.#broker.tick(this.#now), Infinity);
    for (const { ends, body, owner } of this.#entries.values()) {
      assert.equal(ends, 1, "Each job has ended");
      assert.equal(body.releases, 1, "Each body was given up once");
      assert.equal(owner.live, 0);
    }
  }

  #waiting(): Entry[] {
    return [...this.#suspects, ...this.#returned, ...this.#lines.flat()];
  }

  #isWaiting(entry: Entry): boolean {
    return [...this.#suspects, ...this.#returned].includes(entry) ||
      this.#lines.some((line) => line?.includes(entry));
  }

  #unwait(entry: Entry): void {
    this.#suspects = this.#suspects.filter((one) => one !== entry);
    this.#returned = this.#returned.filter((one) => one !== entry);
    this.#lines = this.#lines.map((line) => line.filter((one) => one !== entry));
    this.#turns = this.#turns.filter((turn) => (this.#lines[turn]?.length ?? 0) > 0);
  }

  #entry(job: Job<Body>): Entry {
    const entry = this.#entries.get(job);
    assert(entry, "The job was submitted");
    return entry;
  }

  #addClient(): void {
    this.#lines.push([]);
    this.#clients.push(newPeer<Body>(this.#clients.length, new Uint8Array(18)).home);
  }

  #pick<T>(items: readonly T[]): T | undefined {
    return items[this.#random(items.length)];
  }
}

function note(what: string): void {
  Audit.seen[what] = (Audit.seen[what] ?? 0) + 1;
}

Deno.test("Broker ends each job once and mixes no clients when all happens in random order", () => {
  for (let seed = 1; seed <= SEEDS; seed++) {
    try {
      new Audit(seed).run();
    } catch (error) {
      throw new Error(`Seed ${seed}: ${error}`, { cause: error });
    }
  }
  const all = ["submitted", "refused", "to an idle one", "prefetched", "answered", "stray"];
  all.push("answered abandoned", "given back", "removed: died", "removed: left", "abandoned");
  all.push("dropped", "closed: serve", "closed: refuse", "ended: undefined", "ended: 408");
  all.push("ended: 502", "ended: 503", "suspect sent", "suspect not sent yet");
  for (const what of all) assert((Audit.seen[what] ?? 0) > 50, `Hardly tested: ${what}`);
});

Deno.test("Broker needs no more workers for jobs of a pause, however many wait", () => {
  const desk = new Desk({ concurrency: 1 });
  desk.workers(1);
  desk.observe(1, 1000);
  desk.submit("a1");
  desk.dispatch();
  desk.submit(series("b", 100));
  assert.equal(desk.broker.spareSince(desk.worker(1), desk.now), undefined);
  desk.broker.pause();
  assert.equal(desk.dispatch(), "");
  assert.equal(desk.broker.spareSince(desk.worker(1), desk.now), desk.now);
  desk.reply(1, "a1");
  assert.equal(desk.broker.spareSince(desk.worker(1), desk.now), desk.now);
  assert.equal(desk.broker.tick(desk.now), Infinity);
  desk.broker.resume();
  assert.equal(desk.dispatch(), "b1>1");
});

Deno.test("Broker answers 499 to all who wait for a job that is cancelled, and to nobody once it ends", () => {
  const desk = new Desk();
  desk.workers(1);
  desk.submit("a1", { key: "k", requestId: 1 });
  desk.dispatch();
  desk.submit("b1", { key: "k", requestId: 1 });
  const job = desk.job("a1");
  assert.equal(desk.broker.overview.find(job.id), job);
  assert.equal(desk.broker.cancellations.cancelForAll(job, desk.now), job);
  assert.deepEqual(desk.ended(), ["a1: 499 The request was cancelled"]);
  assert.deepEqual([desk.client("a").live, desk.client("b").live], [0, 0]);
  // Its number is free for another request of the same client.
  desk.submit("a2", { requestId: 1 });
  assert.equal(desk.broker.cancellations.cancelForAll(job, desk.now), undefined);
  desk.broker.cancellations.disconnect(desk.client("b"), desk.now);
  assert.deepEqual(desk.ended(), []);
  assert.equal(desk.reply(1, "a1"), false);
  assert.deepEqual(desk.ended(), ["a1: nothing"]);
  assert.equal(desk.broker.overview.find(job.id), undefined);
  assert.equal(desk.broker.counters.cancelled, 2);
});
