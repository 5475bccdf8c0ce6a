/** Requests of one key, which wait for one answer together. */

import { strict as assert } from "node:assert";
import { Desk, series, TAKEN_BACK } from "../rig/broker_desk.ts";

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
