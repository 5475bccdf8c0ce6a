/** Stored jobs in the broker: their turns beside requests, their share of the workers, and their deaths. */

import { strict as assert } from "node:assert";
import { Broker } from "../../broker.ts";
import type { End } from "../../broker/inquest.ts";
import { type Job, newPeer, type Worker } from "../../broker/job.ts";
import type { BrokerLimits } from "../../broker/limits.ts";
import { StoredTurns } from "../../broker/stored_turns.ts";
import { Code } from "../../wire/request.ts";

const LIMITS: BrokerLimits = {
  concurrency: 1,
  prefetch: 1,
  prefetchBudget: 1,
  dispatch: "mru",
  maxAttempts: 3,
  queueLimit: 10_000,
  queueBytes: 1_000_000,
  overflow: "block",
  maxQueuePerClient: 0,
  requestTimeout: 0,
  stopTimeout: 5000,
  abortGrace: 0,
};

/** A broker with a clock; requests and stored jobs are called by letters and numbers. */
class Desk {
  readonly broker: Broker<string>;
  now = 1000;
  readonly #clients = { request: newPeer<string>(1, new Uint8Array(31)).home };
  readonly #store = newPeer<string>(-Infinity, new Uint8Array(31)).home;
  readonly workers: Worker<string>[] = [];
  #runs = 0;

  constructor(limits: Partial<BrokerLimits> = {}, workers = 1) {
    this.broker = new Broker<string>({ ...LIMITS, ...limits }, { wakeTime: 0 });
    for (let id = 1; id <= workers; id++) {
      this.workers.push(this.broker.workforce.add(id, this.now));
    }
  }

  #request(body: string) {
    return { ...{ body, envelope: [], bytes: 10, deadline: Infinity, requestTimeout: 0, key: "" } };
  }

  ask(...names: string[]): void {
    for (const name of names) {
      const client = this.#clients.request;
      this.broker.submit({ ...this.#request(name), client, requestId: undefined }, this.now);
    }
  }

  store(...names: string[]): void {
    for (const name of names) {
      const run = ++this.#runs;
      const stored = { run, id: name, attempt: 1, tries: 5, hasKept: false };
      const request = { ...this.#request(name), client: this.#store, requestId: run, stored };
      this.broker.submitStored(request, this.now);
    }
  }

  /** All that is given to workers now, as "name>worker". */
  start(): string[] {
    const started: string[] = [];
    for (let next = this.broker.next(this.now); next; next = this.broker.next(this.now)) {
      started.push(`${next.job.request.body}>${next.worker.id}`);
    }
    return started;
  }

  /** Gives one job to a worker, which answers it at once: its name. */
  run(): string | undefined {
    const next = this.broker.next(this.now);
    if (next === undefined) return undefined;
    const { job, worker } = next;
    this.end(worker, job);
    return job.request.body;
  }

  end(worker: Worker<string>, job: Job<string> | undefined = worker.jobs.first, micros = 10): void {
    assert(job);
    assert.ok(this.broker.takeReply(worker, job.id, Code.ok, micros, this.now));
  }

  /** A worker dies, and a new one of the next number comes. */
  die(worker: Worker<string>, end: End = "itself"): void {
    this.broker.workforce.processEnded(worker.id, worker, end, this.now);
    this.broker.workforce.remove(worker, "died", this.now);
    this.workers.push(this.broker.workforce.add(this.workers.length + 1, this.now));
  }

  /** What the broker has answered itself. */
  ended(): string[] {
    return this.broker.takeEnded().map(({ job, code }) => `${job.request.body} ${code}`);
  }
}

function numbered(letter: string, count: number): string[] {
  return Array.from({ length: count }, (_, index) => `${letter}${index}`);
}

Deno.test("StoredTurns has one worker at least, and never more than its share", () => {
  const turns = new StoredTurns();
  assert.deepEqual([0, 1, 2, 3, 4, 9].map((workers) => turns.most(workers)), [1, 1, 1, 1, 2, 4]);
  turns.configure({ jobShare: 1 });
  assert.deepEqual([1, 7].map((workers) => turns.most(workers)), [1, 7]);
  turns.configure({ jobShare: 0.01 });
  assert.equal(turns.most(50), 1);
});

Deno.test("Broker starts requests first, and a stored job after each nine of them", () => {
  const desk = new Desk();
  desk.store(...numbered("s", 3));
  desk.ask(...numbered("r", 25));
  const order = Array.from({ length: 28 }, () => desk.run());
  const stored = order.flatMap((name, index) => name?.startsWith("s") ? [index] : []);
  assert.deepEqual(stored, [9, 19, 27]);
  // Without requests, stored jobs have all turns, and the first request that comes goes ahead.
  desk.store("s3", "s4");
  assert.equal(desk.run(), "s3");
  desk.ask("r25");
  assert.deepEqual([desk.run(), desk.run(), desk.run()], ["r25", "s4", undefined]);
});

Deno.test("Broker gives a small share fewer turns", () => {
  const desk = new Desk({ jobShare: 0.02 });
  desk.store("s0", "s1");
  desk.ask(...numbered("r", 120));
  const order = Array.from({ length: 122 }, () => desk.run());
  assert.deepEqual([order.indexOf("s0"), order.indexOf("s1")], [49, 99]);
});

Deno.test("Broker lets stored jobs have their share of the workers, and requests all", () => {
  const desk = new Desk({ jobShare: 0.5 }, 4);
  desk.store(...numbered("s", 9));
  assert.equal(desk.start().length, 2);
  desk.ask(...numbered("r", 9));
  assert.deepEqual(desk.start().map((name) => name[0]), ["r", "r"]);
  const [one] = desk.broker.workers;
  assert(one);
  desk.end(one);
  // A request takes the place of a stored job, too.
  assert.deepEqual(desk.start().map((name) => name[0]), ["r"]);
  desk.broker.configure({ ...LIMITS, jobShare: 1 });
  for (const worker of desk.broker.workers) if (worker.jobs.size > 0) desk.end(worker);
  const counts = desk.start().map((name) => name[0]);
  assert.equal(counts.length, 4);
});

Deno.test("Broker has quick stored jobs wait at the workers of their share alone", () => {
  const desk = new Desk({ jobShare: 0.5, prefetch: 20 }, 2);
  for (let count = 0; count < 20; count++) {
    desk.store(`w${count}`);
    desk.run();
  }
  desk.store(...numbered("s", 30));
  const workers = new Set(desk.start().map((name) => name.split(">")[1]));
  assert.equal(workers.size, 1);
  assert(desk.broker.assigned > 1 && desk.broker.assigned <= 20);
  // A request finds the other one free.
  desk.ask("r");
  const [request = ""] = desk.start();
  assert(request.startsWith("r>") && !workers.has(request.slice(2)));
});

Deno.test("Broker bounds requests as if no stored job waited", () => {
  const desk = new Desk({ queueLimit: 2, overflow: "reject" }, 0);
  desk.store(...numbered("s", 50));
  assert.equal(desk.broker.admission.isFull, false);
  desk.ask("r0", "r1", "r2");
  assert.deepEqual(desk.ended(), [`r2 ${Code.unavailable}`]);
});

Deno.test("Broker tells a stored job's death as soon as it is to blame, whatever maxAttempts is", () => {
  const desk = new Desk();
  desk.store("s");
  desk.start();
  desk.die(desk.workers[0]!);
  desk.broker.tick(desk.now);
  // How many tries there were, the store alone knows.
  const [ended] = desk.broker.takeEnded();
  assert.equal(ended?.code, Code.workerDied);
  assert.equal(ended?.message, "The worker died while it ran this job");
  assert.equal(ended?.attempt, 1, "the one that has ended");
  // A request has its next try.
  desk.ask("r");
  desk.start();
  desk.die(desk.workers[1]!);
  desk.broker.tick(desk.now);
  assert.deepEqual([desk.ended(), desk.broker.queued], [[], 1]);
});

Deno.test("Broker runs a stored job again that was killed together with others", () => {
  const desk = new Desk({ jobShare: 1 }, 2);
  desk.store("s0", "s1");
  assert.equal(desk.start().length, 2);
  const [one, other] = [...desk.workers];
  assert(one && other);
  desk.die(one, "outside");
  desk.die(other, "outside");
  for (let count = 0; count < 20; count++) {
    desk.now += 20;
    desk.broker.tick(desk.now);
  }
  assert.deepEqual([desk.ended(), desk.broker.queued], [[], 2]);
});

Deno.test("Broker runs a stored job again that may have waited when its worker died", () => {
  const desk = new Desk({ prefetch: 20 });
  desk.store("w");
  desk.run();
  desk.store("s0", "s1");
  assert.deepEqual(desk.start().length, 2);
  desk.die(desk.workers[0]!);
  desk.broker.tick(desk.now);
  assert.deepEqual([desk.ended(), desk.broker.queued], [[], 2]);
  // Each gets a worker for itself, which shows who it was.
  const [suspect] = desk.start();
  assert.match(suspect ?? "", /^s[01]>2$/);
  assert.deepEqual(desk.start(), []);
  desk.broker.workforce.proven(desk.workers[1]!, desk.now);
  desk.die(desk.workers[1]!);
  desk.broker.tick(desk.now);
  assert.deepEqual(desk.ended(), [`${suspect?.slice(0, 2)} ${Code.workerDied}`]);
});

Deno.test("Broker takes stored jobs back, and gives them up when it ends", () => {
  const desk = new Desk({}, 1);
  desk.store("s0", "s1", "s2");
  desk.start();
  const [worker] = desk.workers;
  assert(worker);
  // A worker that leaves gives back what it has not started.
  desk.broker.workforce.giveBack(worker, worker.jobs.first?.id ?? 0, desk.now);
  assert.deepEqual(desk.start(), ["s0>1"]);
  desk.broker.drain("refuse");
  assert.deepEqual(desk.ended(), ["s1 503", "s2 503"]);
  desk.store("s3");
  assert.deepEqual(desk.ended(), ["s3 503"]);
  desk.end(worker);
  assert.equal(desk.broker.idle, true);
});

Deno.test("Broker asks for stored jobs as its workers get on with them", () => {
  const desk = new Desk({ jobShare: 0.5 }, 0);
  assert.equal(desk.broker.stored.room(10, 500), 0);
  const workers = [1, 2, 3, 4].map((id) => desk.broker.workforce.add(id, desk.now));
  // Nothing is known of the handler: two for each worker of the share.
  assert.equal(desk.broker.stored.room(10, 500), 4);
  // What is asked for ahead is bounded, and never what the share has workers for.
  assert.equal(desk.broker.stored.room(10, 1), 3);
  desk.store("s");
  desk.start();
  const worker = workers.find(({ jobs }) => jobs.size > 0);
  assert(worker);
  desk.end(worker, undefined, 1_000_000);
  assert.equal(desk.broker.stored.room(10, 500), 2);
  desk.broker.pause();
  assert.equal(desk.broker.stored.room(10, 500), 0);
  desk.broker.resume();
  desk.broker.drain("serve");
  assert.equal(desk.broker.stored.room(10, 500), 0);
});
