/** The Broker: order, dispatch, replies, deadlines, bounds, the end of service, and what others read. */

import { strict as assert } from "node:assert";
import type { BrokerLimits } from "../../broker/limits.ts";
import { Code } from "../../wire/request.ts";
import { Desk, loaded, QUICK, series, serveAll, SLOW } from "../rig/broker_desk.ts";

const CLOSING = "The server is shutting down";
const FULL = "The queue is full";
const EXPIRED = "The deadline passed before the job was started";

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
