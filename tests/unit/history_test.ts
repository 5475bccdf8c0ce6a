import { strict as assert } from "node:assert";
import { History } from "../../admin/history.ts";
import { newCounters } from "../../broker/counters.ts";
import { Meter } from "../../broker/meter.ts";

/** Services that answer requests, read at times of the test's own. */
class Served {
  readonly history = new History();
  readonly meters = new Map([["", new Meter()]]);
  queued = 0;
  at = 5000;

  answer(count: number, ms: number, { service = "", code = 200 } = {}): void {
    const meter = this.meters.get(service) ?? new Meter();
    this.meters.set(service, meter);
    for (let request = 0; request < count; request++) {
      meter.replied(code, 1);
      meter.answered({ arrivedAt: 1000, sentAt: 1000 }, ms * 1000, 1000 + ms);
    }
  }

  read(elapsedMs = 1000): void {
    this.at += elapsedMs;
    const services = [...this.meters].map(([name, meter]) => ({
      ...{ name, counters: newCounters(), queued: this.queued, queuedBytes: 0 },
      ...{ oldestMs: undefined, running: 2, workers: 3, ...meter.read() },
    }));
    const measures = { services, unaddressed: 0, lag: new Meter().read().total };
    this.history.add({ at: this.at, time: this.at + 1e12, measures });
  }
}

function within(value: number | null | undefined, exact: number): void {
  assert(typeof value === "number" && Math.abs(value - exact) <= exact / 4, `${value}`);
}

Deno.test("History has no steps and no rates before there are two readings", () => {
  const served = new Served();
  served.answer(5, 1);
  served.read();
  assert.deepEqual(served.history.read().requests, []);
  const rates = { requests: 0, errors: 0, p50Ms: undefined, p99Ms: undefined };
  assert.deepEqual(served.history.rates(), rates);
});

Deno.test("History has what came between two readings, and how things were at the later one", () => {
  const served = new Served();
  served.answer(100, 1);
  served.read();
  served.answer(90, 8);
  served.answer(10, 400, { code: 502 });
  served.answer(2, 8, { code: 404 });
  served.queued = 7;
  served.read();
  const { p50Ms: [p50], p99Ms: [p99], ...rest } = served.history.read();
  within(p50, 8);
  within(p99, 400);
  assert.deepEqual(rest, {
    ...{ stepMs: 1000, until: 7000 + 1e12, requests: [102], errors: [10] },
    ...{ queue: [7], running: [2], workers: [3] },
  });
});

Deno.test("History counts by the second, however late a reading comes", () => {
  const served = new Served();
  served.read();
  served.answer(300, 1);
  served.read(3000);
  assert.deepEqual(served.history.read().requests, [100, 100, 100]);
  served.answer(60, 1);
  served.read(1200);
  assert.deepEqual(served.history.read().requests.at(-1), 50);
  assert.equal(served.history.rates().requests, 50);
});

Deno.test("History keeps 15 minutes, also after a long pause", () => {
  const served = new Served();
  served.read();
  for (let step = 0; step < 901; step++) served.read();
  served.answer(1, 1);
  served.read();
  const { requests } = served.history.read();
  assert.deepEqual([requests.length, requests.at(-1)], [900, 1]);
  served.read(1e9);
  assert.deepEqual(new Set(served.history.read().requests), new Set([0]));
  assert.equal(served.history.read().requests.length, 900);
});

Deno.test("History takes times of the last 10 s where there were no requests in the last one", () => {
  const served = new Served();
  served.read();
  served.answer(4, 8);
  served.read();
  within(served.history.rates().p50Ms, 8);
  for (let step = 1; step < 10; step++) served.read();
  const rates = served.history.rates();
  assert.equal(rates.requests, 0);
  within(rates.p50Ms, 8);
  served.answer(1, 100);
  served.read();
  within(served.history.rates().p50Ms, 100);
  for (let step = 0; step < 10; step++) served.read();
  assert.equal(served.history.rates().p50Ms, undefined);
  assert.equal(served.history.read().p50Ms.at(-1), null);
});

Deno.test("History tells services apart, and has new ones from 0", () => {
  const served = new Served();
  served.read();
  served.answer(3, 1);
  served.answer(5, 64, { service: "resize", code: 500 });
  served.read();
  const { history } = served;
  assert.deepEqual([history.rates("").requests, history.rates("").errors], [3, 0]);
  assert.deepEqual([history.rates("resize").requests, history.rates("resize").errors], [5, 5]);
  within(history.rates("resize").p99Ms, 64);
  assert.equal(history.rates().requests, 8);
  assert.equal(history.rates("none").requests, 0);
});

Deno.test("History does not count again what a service had done that is gone, or came back", () => {
  const served = new Served();
  served.answer(1000, 1, { service: "made" });
  served.read();
  const made = served.meters.get("made");
  served.meters.delete("made");
  served.answer(1, 1);
  served.read();
  assert.equal(served.history.rates().requests, 1);
  assert(made);
  served.answer(2, 1, { service: "made" });
  served.read();
  assert.equal(served.history.rates("made").requests, 2);
  served.meters.delete("made");
  served.answer(1, 1, { service: "made" });
  served.read();
  assert.equal(served.history.rates("made").requests, 1);
});
