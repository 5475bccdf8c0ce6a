/** Handlers that do not stop: which workers are given up for them, and when. */

import { strict as assert } from "node:assert";
import type { BrokerLimits } from "../../broker/limits.ts";
import { deaths, Desk, overruns, pass, QUICK, serveAll } from "../rig/broker_desk.ts";

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
