/**
 * What is to be done from time to time, and the processes that a loop expects and takes leave of.
 *
 * @module
 */

import { strict as assert } from "node:assert";
import { Processes } from "../../ports/processes.ts";
import { type Ticking, Ticks, TickTimer } from "../../system/ticks.ts";

/** Notes when it ticks, and wants to again after so many ms. */
class Clock implements Ticking {
  readonly ticks: number[] = [];

  constructor(readonly interval: number) {}

  tick(now: number): number {
    this.ticks.push(now);
    return this.interval;
  }
}

Deno.test("Ticks lets each entry tick when that is due, and sleeps until the next is", () => {
  const [often, seldom, never] = [new Clock(10), new Clock(25), new Clock(Infinity)];
  const ticks = new Ticks([often, seldom, never]);
  assert.equal(ticks.tick(0), 10);
  assert.equal(ticks.tick(4), 6);
  assert.equal(ticks.tick(11), 10);
  assert.equal(ticks.tick(25), 10);
  assert.deepEqual(often.ticks, [0, 11, 25]);
  assert.deepEqual(seldom.ticks, [0, 25]);
  assert.deepEqual(never.ticks, [0]);
});

Deno.test("Ticks lets an entry that is added later tick behind the others, at once", () => {
  const [first, second] = [new Clock(10), new Clock(5)];
  const ticks = new Ticks([first]);
  assert.equal(ticks.tick(0), 10);
  ticks.add(second);
  assert.equal(ticks.tick(1), 5);
  assert.deepEqual([first.ticks, second.ticks], [[0], [1]]);
});

Deno.test("Ticks lets all tick when something has happened, and asks to be called when it does within a tick", () => {
  const clock = new Clock(Infinity);
  const ticks: Ticks = new Ticks([clock, {
    tick: () => {
      if (clock.ticks.length === 2) ticks.touch();
      return 100;
    },
  }]);
  assert.equal(ticks.tick(0), 100);
  assert.equal(ticks.tick(1), 99);
  ticks.touch();
  assert.equal(ticks.tick(2), 0);
  assert.equal(ticks.tick(2), 100);
  assert.deepEqual(clock.ticks, [0, 2, 2]);
});

Deno.test("TickTimer runs its list when it is woken and when it is due, until it is stopped", async () => {
  const third = Promise.withResolvers<void>();
  let count = 0;
  const ticks = new Ticks([{
    tick() {
      if (++count === 3) third.resolve();
      return count === 3 ? Infinity : 1;
    },
  }]);
  const timer = new TickTimer(ticks, third.reject);
  timer.wake();
  timer.wake();
  assert.equal(count, 0);
  await third.promise;
  assert.equal(count, 3);
  timer.stop();
  timer.wake();
  await Promise.resolve();
  assert.equal(count, 3);
});

Deno.test("TickTimer stops and says so when a tick throws", async () => {
  const failed = Promise.withResolvers<unknown>();
  const broken = new Error("broken");
  const timer = new TickTimer(
    new Ticks([{
      tick() {
        throw broken;
      },
    }]),
    failed.resolve,
  );
  timer.wake();
  assert.equal(await failed.promise, broken);
  timer.stop();
});

const NOT_SERVING = () => false;

Deno.test("Processes knows a worker by its token until that is used up or the process is forgotten", () => {
  const processes = new Processes();
  processes.expect({ service: "", worker: 1, token: "one", publicKey: "key" });
  processes.expect({ service: "", worker: 2, token: "two", publicKey: undefined });
  assert.equal(processes.workerOf("one"), 1);
  assert.equal(processes.take("one"), 1);
  assert.equal(processes.take("one"), undefined);
  assert.equal(processes.workerOf("other"), undefined);
  assert.equal(processes.forget(1), "key");
  assert.equal(processes.forget(2), undefined);
  assert.equal(processes.take("two"), undefined);
});

Deno.test("Processes tells at once of one that has ended when it is in service no more", () => {
  const processes = new Processes();
  processes.expect({ service: "", worker: 1, token: "one", publicKey: undefined });
  processes.ended(1, false, 0);
  assert.deepEqual(processes.takeDeparted(0, NOT_SERVING), [1]);
  assert.deepEqual(processes.takeDeparted(0, NOT_SERVING), []);
  assert.equal(processes.wait(0), Infinity);
});

Deno.test("Processes waits for what one has to say that has ended, but not for long", () => {
  const processes = new Processes();
  for (const worker of [1, 2, 3]) {
    processes.expect({ service: "", worker, token: `${worker}`, publicKey: undefined });
    processes.ended(worker, worker > 1, 0);
  }
  const isServing = (worker: number) => worker === 1;
  assert.deepEqual(processes.takeDeparted(0, isServing), []);
  const wait = processes.wait(0);
  assert(wait > 0 && wait < Infinity);
  processes.take("2");
  assert.deepEqual(processes.takeDeparted(1, isServing), [2]);
  assert.deepEqual(processes.takeDeparted(wait, isServing), [1, 3]);
});
