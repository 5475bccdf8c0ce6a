import { strict as assert } from "node:assert";
import { Broker } from "../../broker.ts";
import { countOf, quantile, type Spread } from "../../broker/histogram.ts";
import { type Client, type JobRequest, newPeer } from "../../broker/job.ts";
import type { BrokerLimits } from "../../broker/limits.ts";
import { Meter } from "../../broker/meter.ts";

const LIMITS: BrokerLimits = {
  queueLimit: 100,
  queueBytes: 1000,
  overflow: "reject",
  maxQueuePerClient: 0,
  maxAttempts: 3,
  concurrency: 1,
  requestTimeout: 0,
  abortGrace: 100,
  prefetch: 1,
  prefetchBudget: 1,
  dispatch: "mru",
  stopTimeout: 5000,
};

function client(place = 1): Client<string> {
  return newPeer<string>(place, new Uint8Array(18)).home;
}

function request(from: Client<string>, deadline = Infinity): JobRequest<string> {
  return {
    client: from,
    envelope: [],
    requestId: undefined,
    body: "",
    bytes: 1,
    deadline,
    requestTimeout: 0,
    key: "",
  };
}

/** How many times a spread has, and the most, ms, to a quarter. */
function few(spread: Spread): [number, number | undefined] {
  const most = quantile(spread, 1);
  return [countOf(spread), most === undefined ? undefined : most / 1000];
}

function within(value: number | undefined, exact: number): void {
  assert(value !== undefined && value >= exact && value <= exact * 1.25, `${value}: ${exact}`);
}

Deno.test("Meter counts answers by their codes, once for each who waited", () => {
  const meter = new Meter();
  assert.deepEqual(meter.read().replies, {});
  meter.replied(200, 1);
  meter.replied(200, 3);
  meter.replied(422, 1);
  meter.replied(422, 2);
  meter.replied(503, 1);
  assert.deepEqual(meter.read().replies, { 200: 4, 422: 3, 503: 1 });
});

Deno.test("Meter has no times of what was refused or cancelled", () => {
  const meter = new Meter();
  for (const code of [400, 403, 404, 413, 499, 503]) {
    meter.ended({ arrivedAt: 1, sentAt: 2 }, code, 3);
  }
  const { waiting, handling, total } = meter.read();
  assert.deepEqual([waiting, handling, total].map(countOf), [0, 0, 0]);
});

Deno.test("Meter has the time of an expired job, which waited until its end", () => {
  const meter = new Meter();
  meter.ended({ arrivedAt: 1000, sentAt: 1001 }, 408, 1064);
  const { waiting, handling, total } = meter.read();
  within(few(waiting)[1], 64);
  within(few(total)[1], 64);
  assert.equal(countOf(handling), 0);
});

Deno.test("Broker measures how long a job waited, how long it took, and both together", () => {
  const broker = new Broker<string>(LIMITS);
  const worker = broker.workforce.add(1, 1000);
  const job = broker.submit(request(client()), 1000);
  broker.next(1016);
  broker.takeReply(worker, job.id, 200, 40_000, 1080);
  const { attempts, redelivered, waiting, handling, total } = broker.meter.read();
  assert.deepEqual([attempts, redelivered], [1, 0]);
  within(few(waiting)[1], 16);
  within(few(handling)[1], 40);
  within(few(total)[1], 80);
  assert.deepEqual([waiting, handling, total].map(countOf), [1, 1, 1]);
});

Deno.test("Broker counts an attempt after a worker has given a job back, and its wait from its arrival", () => {
  const broker = new Broker<string>(LIMITS);
  const worker = broker.workforce.add(1, 1000);
  const job = broker.submit(request(client()), 1000);
  broker.next(1001);
  broker.workforce.giveBack(worker, job.id, 1002);
  broker.next(1032);
  broker.takeReply(worker, job.id, 500, 10, 1033);
  const { attempts, redelivered, waiting } = broker.meter.read();
  assert.deepEqual([attempts, redelivered], [2, 1]);
  assert.equal(countOf(waiting), 1);
  within(few(waiting)[1], 32);
});

Deno.test("Broker begins a job's times again where it uses a record again", () => {
  const broker = new Broker<string>(LIMITS);
  const worker = broker.workforce.add(1, 1000);
  const first = broker.submit(request(client()), 1000);
  broker.next(1001);
  broker.takeReply(worker, first.id, 200, 10, 1002);
  broker.recycle(first);
  const second = broker.submit(request(client()), 5000);
  assert.equal(second, first);
  broker.next(5001);
  broker.takeReply(worker, second.id, 200, 10, 5002);
  const { redelivered, total } = broker.meter.read();
  assert.equal(redelivered, 0);
  within(few(total)[1], 2);
});

Deno.test("Broker knows when the job came that has waited for longest, given back or not", () => {
  const broker = new Broker<string>(LIMITS);
  assert.equal(broker.oldestArrival, undefined);
  const [one, other] = [client(1), client(2)];
  const worker = broker.workforce.add(1, 999);
  const oldest = broker.submit(request(one), 1000);
  broker.submit(request(other), 1010);
  broker.submit(request(one), 1020);
  assert.equal(broker.oldestArrival, 1000);
  broker.next(1030);
  assert.equal(broker.oldestArrival, 1010);
  broker.workforce.giveBack(worker, oldest.id, 1031);
  assert.equal(broker.oldestArrival, 1000);
  broker.next(1032);
  broker.workforce.remove(worker, "died", 1033);
  assert.equal(broker.oldestArrival, 1000, "a job under suspicion waits too");
});
