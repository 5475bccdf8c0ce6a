/** Answers that are wanted no more: clients leave, or take requests back. */

import { strict as assert } from "node:assert";
import { Desk, loaded, serveAll, TAKEN_BACK } from "../rig/broker_desk.ts";

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

// Requests that are taken back

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
