/**
 * The supervisor's parts alone, where its own tests reach them only together with others.
 *
 * @module
 */

import { strict as assert } from "node:assert";
import { BackOff } from "../../pool/back_off.ts";
import { DequeueRounds } from "../../pool/dequeue_rounds.ts";
import { Generations } from "../../pool/generations.ts";
import { Rogues } from "../../pool/rogues.ts";
import { countMissing, inTheWay, unneeded } from "../../pool/scaling.ts";
import { type Load, Slot } from "../../pool/slot.ts";
import { Wear, type WearLimits } from "../../pool/wear.ts";

const TIMES = { startTimeout: 10_000, stopTimeout: 5_000, abortGrace: 1_000 };
const UNWORN: WearLimits = {
  maxRequests: 0,
  maxRequestsJitter: 0,
  maxMemory: 0,
  maxMemoryJitter: 0,
  maxAge: 0,
  maxAgeJitter: 0,
};

/** What a broker knows: `idle` workers by since when, `answered` jobs of each; others are busy. */
function loadOf(idle: Record<number, number>, answered: Record<number, number> = {}): Load {
  return {
    lastJobAt: 0,
    idleSince: (worker) => idle[worker],
    answered: (worker) => answered[worker] ?? 0,
    busy: (worker) => idle[worker] === undefined,
  };
}

function starting(worker: number, now = 0): Slot {
  return new Slot({ worker, purpose: "serve", generation: 1, replaces: undefined }, now);
}

function ready(worker: number, now = 0): Slot {
  const slot = starting(worker, now);
  slot.becomeReady(now);
  return slot;
}

function workers(slots: readonly Slot[]): number[] {
  return slots.map(({ worker }) => worker);
}

// ---- a worker's life

Deno.test("Slot keeps its first reason when it is stopped again", () => {
  const slot = ready(1);
  slot.stop("culled", 10);
  slot.stop("stopped", 20);
  assert.equal(slot.reason, "culled");
  assert.equal(slot.deadline(TIMES), 10 + TIMES.stopTimeout);
});

Deno.test("Slot must end 1 s after its last message, whatever time it had", () => {
  const slot = ready(1);
  slot.stop("recycled", 10);
  slot.left(20);
  slot.left(500);
  assert.equal(slot.deadline(TIMES), 1_020);
});

Deno.test("Slot that is isolated ends later than one that overran, and is stopping once it has overrun", () => {
  const slot = ready(1);
  slot.isolate(10);
  assert.equal(slot.state, "isolated");
  assert.equal(slot.deadline(TIMES), 10 + TIMES.stopTimeout + 1_000 + TIMES.abortGrace);
  slot.overrun(TIMES, 100);
  assert.equal(slot.state, "stopping");
  assert.equal(slot.deadline(TIMES), 100 + TIMES.abortGrace);
});

Deno.test("Slot keeps its sooner deadline when it overruns while it leaves", () => {
  const slot = ready(1);
  slot.stop("stopped", 0);
  slot.overrun(TIMES, TIMES.stopTimeout - 100);
  assert.equal(slot.reason, "stopped");
  assert.equal(slot.deadline(TIMES), TIMES.stopTimeout);
});

Deno.test("Slot has no deadline when it is ready or was killed", () => {
  const slot = ready(1);
  assert.equal(slot.deadline(TIMES), Infinity);
  slot.stop("stopped", 0);
  slot.sent("SIGKILL");
  assert.equal(slot.state, "killed");
  assert.equal(slot.deadline(TIMES), Infinity);
});

Deno.test("Slot proves itself once, by an answer or by 1 s", () => {
  const quick = ready(1);
  assert.equal(quick.proves(loadOf({ 1: 0 }), 999), false);
  assert.equal(quick.isEarly(999), true);
  assert.equal(quick.proves(loadOf({ 1: 0 }, { 1: 1 }), 999), true);
  assert.equal(quick.proves(loadOf({ 1: 0 }, { 1: 1 }), 999), false, "it has already");
  assert.equal(quick.isEarly(999), false);
  assert.equal(ready(2).proves(loadOf({}), 1_000), true);
  assert.equal(starting(3).proves(loadOf({}), 1_000), false);
});

Deno.test("Slot moves its times on, but none that is not set, when the machine slept", () => {
  const slot = ready(1);
  slot.stop("stopped", 0);
  slot.postpone((time) => Math.min(100, time + 60));
  assert.equal(slot.deadline(TIMES), 60 + TIMES.stopTimeout);
});

Deno.test("Slot is in the way 1 s after it overran, and after stopTimeout if it still has jobs", () => {
  const [hung, alone] = [ready(1), ready(2)];
  for (const slot of [hung, alone]) slot.overrun(TIMES, 100);
  const load = loadOf({ 2: 0 });
  assert.deepEqual([1_099, 1_100].map((now) => alone.isInTheWay(load, TIMES, now)), [false, true]);
  assert.deepEqual([5_099, 5_100].map((now) => hung.isInTheWay(load, TIMES, now)), [false, true]);
});

Deno.test("Slot that is isolated is in the way after 1 s, whatever jobs it has", () => {
  const slot = ready(1);
  slot.isolate(100);
  assert.equal(slot.isInTheWay(loadOf({}), TIMES, 1_099), false);
  assert.equal(slot.isInTheWay(loadOf({}), TIMES, 1_100), true);
});

// ---- rests

Deno.test("BackOff rests for twice as long after each failure, up to 30 s", () => {
  const backOff = new BackOff(() => 1);
  const rests: number[] = [];
  let now = 0;
  for (let count = 0; count < 11; count++) {
    backOff.startFailed(now);
    const end = Math.max(...backOff.ends);
    rests.push(end - now);
    assert.equal(backOff.isResting(end - 1), true);
    assert.equal(backOff.isResting(end), false);
    now = end;
  }
  assert.deepEqual(rests.slice(0, 4), [100, 200, 400, 800]);
  assert.equal(rests.at(-1), 30_000);
  assert.equal(backOff.isWary, true);
});

Deno.test("BackOff counts the failures during a rest once", () => {
  const backOff = new BackOff(() => 1);
  for (const now of [0, 10, 99]) backOff.startFailed(now);
  assert.equal(Math.max(...backOff.ends), 100);
});

Deno.test("BackOff is over when a worker that started after the failure has proved itself", () => {
  const backOff = new BackOff(() => 1);
  backOff.startFailed(1_000);
  backOff.proved(999);
  assert.equal(backOff.isWary, true, "this one started before");
  backOff.proved(1_000);
  assert.equal(backOff.isWary, false);
});

Deno.test("BackOff does not rest after the first harm, and up to 0.5 s after later ones", () => {
  const backOff = new BackOff(() => 1);
  backOff.harmed(0);
  assert.equal(backOff.isResting(0), false);
  const rests: number[] = [];
  for (let now = 1_000; now < 7_000; now += 1_000) {
    backOff.harmed(now);
    backOff.harmed(now + 99); // of the same wave
    rests.push(Math.max(...backOff.ends) - now);
  }
  assert.deepEqual(rests, [50, 100, 200, 400, 500, 500]);
  assert.equal(backOff.isWary, false, "the handler is not at fault");
});

Deno.test("BackOff forgets a harm when a worker that started later has proved itself", () => {
  const backOff = new BackOff(() => 1);
  backOff.harmed(0);
  backOff.proved(0);
  backOff.harmed(1_000);
  assert.equal(backOff.isResting(1_000), false, "it is the first again");
});

Deno.test("BackOff rests for as long after the machine slept", () => {
  const backOff = new BackOff(() => 1);
  backOff.spawnFailed(0);
  backOff.postpone((time) => Math.min(60_000, time + 60_000));
  assert.equal(backOff.isResting(60_999), true);
  assert.equal(backOff.isResting(61_000), false);
});

// ---- wear

Deno.test("Wear names the limit that a worker has reached, jobs first", () => {
  const wear = new Wear({ ...UNWORN, maxRequests: 5, maxMemory: 100, maxAge: 1_000 }, () => 0.5);
  const slot = ready(1);
  wear.draw(1);
  wear.read([{ worker: 1, bytes: 100 }], 0);
  const cause = (answered: number, now: number) =>
    wear.causeFor(slot, loadOf({ 1: 0 }, { 1: answered }), now);
  assert.equal(cause(0, 0), undefined, "a new one would be as large");
  assert.equal(cause(1, 0), "memory");
  assert.equal(cause(5, 1_000), "requests");
  assert.equal(cause(0, 1_000), "age");
  wear.forget(1);
  assert.equal(cause(5, 1_000), undefined);
});

Deno.test("Wear gives limits that differ by the jitter, each at least 1", () => {
  const draws = [0, 0.5, 1];
  const limits = { ...UNWORN, maxRequests: 10, maxRequestsJitter: 1 };
  const wear = new Wear(limits, () => draws.shift() ?? 0);
  const reached = [1, 2, 3].map((worker) => {
    wear.draw(worker);
    const slot = ready(worker);
    const counts = Array.from({ length: 25 }, (_, count) => count);
    return counts.find((count) => wear.causeFor(slot, loadOf({}, { [worker]: count }), 0));
  });
  assert.deepEqual(reached, [1, 10, 20]);
});

// ---- rogues

Deno.test("Rogues compares readings of the same job only, and is harsher each time", () => {
  const rogues = new Rogues({ babysitInterval: 1_000, rogueCpuTime: 500 });
  const slot = ready(1);
  const judge = (job: number | undefined, cpuTime: number) => {
    const signal = rogues.judge(slot, { worker: 1, job, cpuTime }, 0);
    if (signal !== undefined) slot.sent(signal);
    return signal;
  };
  assert.equal(judge(1, 10_000), undefined, "the first of its job");
  assert.equal(judge(1, 10_500), undefined, "within bounds");
  assert.equal(judge(1, 10_501), "SIGINT");
  assert.deepEqual([slot.state, slot.reason], ["ready", "rogue"]);
  assert.equal(judge(2, 20_000), undefined, "it has recovered");
  assert.equal(slot.reason, undefined);
  assert.equal(judge(undefined, 30_000), undefined);
  assert.equal(judge(undefined, 40_000), undefined);
  assert.equal(judge(3, 50_000), undefined);
  const sent = [60_000, 70_000, 80_000, 90_000].map((cpuTime) => judge(3, cpuTime));
  assert.deepEqual(sent, ["SIGINT", "SIGTERM", "SIGKILL", undefined]);
});

Deno.test("Rogues and DequeueRounds count their intervals on when the machine slept", () => {
  const rogues = new Rogues({ babysitInterval: 1_000, rogueCpuTime: 500 });
  rogues.read(500);
  const rounds = new DequeueRounds({ dequeueInterval: 1_000, maxDequeueWorkers: 1 });
  assert.equal(rounds.starts(0, 500), false, "the first question starts the interval");
  for (const part of [rogues, rounds]) part.postpone((time) => Math.min(60_000, time + 59_000));
  assert.deepEqual([rogues.dueAt, rounds.dueAt], [60_500, 60_500]);
  assert.equal(rounds.starts(1, 60_500), false, "one is at it");
  assert.equal(rounds.dueAt, 61_500);
  assert.equal(rounds.starts(0, 61_500), true);
});

// ---- scaling

const SIZES = { minWorkers: 2, maxWorkers: 6, minSpareWorkers: 1, maxSpareWorkers: 2 };

Deno.test("countMissing counts a starting worker as a spare, and never goes above maxWorkers", () => {
  assert.equal(countMissing([], loadOf({}), SIZES), 2);
  assert.equal(countMissing([ready(1), ready(2)], loadOf({}), SIZES), 1, "both are busy");
  assert.equal(countMissing([ready(1), starting(2)], loadOf({}), SIZES), 0);
  const busy = [1, 2, 3, 4, 5, 6].map((worker) => ready(worker));
  assert.equal(countMissing(busy, loadOf({}), SIZES), 0);
});

Deno.test("unneeded names the longest idle first, and keeps what would be started again", () => {
  const slots = [1, 2, 3, 4].map((worker) => ready(worker));
  const load = loadOf({ 1: 30, 2: 10, 3: 20, 4: 40 });
  assert.deepEqual(workers(unneeded(slots, load, SIZES, false)), [2, 3]);
  const large = { ...SIZES, minWorkers: 3 };
  assert.deepEqual(workers(unneeded(slots, load, large, true)), [2]);
});

Deno.test("inTheWay names those that left first, and counts those that were killed", () => {
  const slots = [1, 2, 3, 4].map((worker) => ready(worker));
  slots.forEach((slot, index) => slot.stop("recycled", index));
  slots[2]?.left(10);
  slots[3]?.sent("SIGKILL");
  const load = loadOf({ 1: 0, 2: 0, 3: 0 });
  assert.deepEqual(workers(inTheWay(slots, 3, load, TIMES, 10)), [3, 1]);
  const served = [...slots, ready(5)];
  assert.deepEqual(workers(inTheWay(served, 3, load, TIMES, 10)), [3], "the others have time");
});

// ---- generations

Deno.test("Generations knows what is old during a reload only, and what is known to start", () => {
  const generations = new Generations();
  assert.equal(generations.hasProven, false);
  generations.prove(1);
  generations.reload();
  assert.deepEqual([generations.isOld(1), generations.isOld(2)], [true, false]);
  assert.deepEqual([generations.isProven(1), generations.isProven(2)], [true, false]);
  generations.endReload();
  assert.equal(generations.isOld(1), false);
  assert.equal(generations.current, 2);
});
