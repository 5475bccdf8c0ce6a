/** Cases of every store: which job runs next, and what bounds those that run. */

import { strict as assert } from "node:assert";
import type { StoreCase } from "./store_suite.ts";
import { refused, StoreWorld, textOf } from "./store_world.ts";
import { until } from "./wait.ts";

const FREE = { maxRunningPerGroup: 0, rate: { perSecond: 0, burst: 0 } };

/** A case whose service "work" has these rules. */
function ruled(
  name: string,
  rules: Partial<typeof FREE>,
  act: (world: StoreWorld) => Promise<void>,
): StoreCase {
  return {
    name,
    run: async (rig) => {
      const services = { work: { ...FREE, ...rules }, other: FREE };
      const world = await StoreWorld.open(rig, { services });
      try {
        await act(world);
      } finally {
        await world.close();
      }
    },
  };
}

/** Bodies of the next jobs, each run to its end. */
async function runAll(world: StoreWorld, count: number): Promise<string[]> {
  const bodies: string[] = [];
  for (let i = 0; i < count; i++) bodies.push(textOf((await world.run()).body.bytes));
  return bodies;
}

/** Waits until schedules are known: what they need is loaded first, which takes time of the machine's. */
async function isScheduled(world: StoreWorld): Promise<void> {
  await until("schedules are known", async () => {
    const answer = await world.operate({ type: "figures" });
    return answer.type === "figures" && answer.figures.schedules?.every !== undefined;
  });
  await world.quiet();
}

export const ORDER_CASES: readonly StoreCase[] = [
  ruled("no job is given without room, nor one of another service", {}, async (world) => {
    await world.submitAll([{ body: "1" }, { body: "2" }, { body: "3" }]);
    world.room(5, "other");
    await world.quiet();
    world.isIdle();
    world.room(2);
    await world.until("two are given", () => world.given.length === 2);
    await world.quiet();
    assert.equal(world.given.length, 2);
    world.room(0);
    await world.quiet();
    assert.equal(world.given.length, 2);
    world.room(1);
    await world.until("the third is given", () => world.given.length === 3);
  }),

  ruled("jobs of one priority run in the order in which they came", {}, async (world) => {
    const all = Array.from({ length: 12 }, (_, i) => `${i}`);
    for (const body of all) await world.submit({ body });
    assert.deepEqual(await runAll(world, 12), all);
  }),

  ruled("urgent jobs run before others", {}, async (world) => {
    const priorities = [4, 0, 9, 5, 9, 0];
    for (const [i, priority] of priorities.entries()) {
      await world.submit({ priority, body: `${priority}.${i}` });
    }
    assert.deepEqual(await runAll(world, 6), ["9.2", "9.4", "5.3", "4.0", "0.1", "0.5"]);
  }),

  {
    isLong: true,
    ...ruled(
      "a job that is not urgent runs in the end, though urgent ones keep coming",
      {},
      async (world) => {
        const low = await world.submit({ priority: 0, body: "low" });
        let rounds = 0;
        for (; rounds < 2000; rounds++) {
          await world.submit({ priority: 9, body: "high" });
          await world.submit({ priority: 9, body: "high" });
          const run = await world.run();
          if (run.id === low.id) break;
          await world.rig.pass(1000);
        }
        assert.ok(rounds > 5, `it had its turn after ${rounds}: urgent ones went first`);
        assert.ok(rounds < 1000, `it had its turn after ${rounds}`);
      },
    ),
  },

  ruled("users take turns", {}, async (world) => {
    for (let i = 0; i < 20; i++) await world.submit({ user: "ann", body: "ann" });
    await world.submit({ user: "bob", body: "bob" });
    const first = await runAll(world, 5);
    assert.ok(first.includes("bob"), `${first}`);
  }),

  ruled("no more jobs of a group run than may", { maxRunningPerGroup: 2 }, async (world) => {
    for (let i = 0; i < 4; i++) await world.submit({ group: "g", body: `g${i}` });
    await world.submit({ group: "h", body: "h" });
    await world.submit({ body: "none" });
    const runs = await world.nextAll(4);
    assert.deepEqual(runs.map(({ body }) => textOf(body.bytes)).sort(), ["g0", "g1", "h", "none"]);
    world.room(4);
    await world.quiet();
    world.isIdle();
    const [ended] = runs.filter(({ body }) => textOf(body.bytes) === "g0");
    if (ended !== undefined) world.end(ended);
    await world.until("the next of the group runs", () => world.given.length === 1);
    await world.quiet();
    assert.deepEqual(world.given.map(({ body }) => textOf(body.bytes)), ["g2"]);
    // A run that failed, or was not started, leaves the group, too.
    const [other] = runs.filter(({ body }) => textOf(body.bytes) === "g1");
    if (other !== undefined) world.end(other, 400);
    await world.until("the last of the group runs", () => world.given.length === 2);
  }),

  ruled(
    "no more jobs start than the rate lets",
    { rate: { perSecond: 10, burst: 2 } },
    async (world) => {
      for (let i = 0; i < 8; i++) await world.submit({});
      const start = world.rig.now();
      const count = () => world.runs.length;
      world.room(100);
      await world.until("the burst is given", () => count() >= 2);
      await world.rig.pass(Math.max(0, start + 50 - world.rig.now()));
      if (world.rig.now() < start + 90) assert.equal(count(), 2);
      await world.until("all are given", () => count() === 8);
      const took = world.rig.now() - start;
      assert.ok(took >= 590, `8 jobs took ${took} ms`);
      assert.ok(took <= 700 + 10 * world.rig.slackMs, `8 jobs took ${took} ms`);
    },
  ),

  ruled("a reload changes rate, groups and bounds", { maxRunningPerGroup: 1 }, async (world) => {
    for (let i = 0; i < 3; i++) await world.submit({ group: "g" });
    world.room(3);
    await world.until("one runs", () => world.given.length === 1);
    await world.quiet();
    assert.equal(world.given.length, 1);
    world.configure({ services: { work: { ...FREE, maxRunningPerGroup: 2 }, other: FREE } });
    await world.until("another one runs", () => world.given.length === 2);
    world.configure({ services: { work: FREE, other: FREE }, storeJobs: 3 });
    await world.until("all run", () => world.given.length === 3);
    await refused(507, world.submit({}));
    world.configure({ storeJobs: 4 });
    // The server's word and the plane's come by different ways.
    await world.quiet();
    await world.submit({});
  }),

  ruled("jobs of a service that is gone wait until it is back", {}, async (world) => {
    const { id } = await world.submit({ service: "other" });
    await world.reopen({ services: { work: FREE } });
    await refused(404, world.submit({ service: "other" }));
    assert.equal((await world.status(id)).state, "waiting");
    await world.reopen({ services: { work: FREE, other: FREE } });
    assert.equal((await world.run(200, "", "other")).id, id);
    await world.reaches(id, "done");
  }),

  ruled("services that workers make have jobs where they may be made", {}, async (world) => {
    // Names of the language's own are none of the options'.
    for (const service of ["made", "constructor"]) await refused(404, world.submit({ service }));
    world.configure({ anyService: true });
    // The server's word and the plane's come by different ways.
    await world.quiet();
    const first = await world.submit({ service: "made", body: "first", key: "k", group: "g" });
    const second = await world.submit({ service: "constructor", body: "second", priority: 9 });
    await world.quiet();
    world.isIdle();
    assert.equal((await world.status(first.id)).state, "waiting");
    assert.equal((await world.run(200, "done", "made")).id, first.id);
    assert.equal((await world.reaches(first.id, "done")).service, "made");
    assert.equal((await world.run(400, "no", "constructor")).id, second.id);
    await world.reaches(second.id, "failed");
    const later = await world.submit({ service: "made" });
    await world.reopen({ anyService: false });
    await refused(404, world.submit({ service: "made" }));
    assert.equal((await world.run(200, "", "made")).id, later.id, "what was stored is run");
    await world.reaches(later.id, "done");
    const answer = await world.operate({ type: "figures" });
    assert.ok(answer.type === "figures");
    assert.equal(answer.figures.services.made?.states.done, 2);
  }),

  ruled("a job starts when those that it comes after are done", {}, async (world) => {
    const one = await world.submit({ body: "one" });
    const two = await world.submit({ body: "two" });
    const last = await world.submit({ body: "last", after: [one.id, two.id], priority: 9 });
    assert.equal((await world.status(last.id)).state, "scheduled");
    assert.deepEqual((await world.status(last.id)).after, [one.id, two.id]);
    const runs = await world.nextAll(2);
    world.room(2);
    if (runs[0] !== undefined) world.end(runs[0]);
    await world.quiet();
    world.isIdle();
    if (runs[1] !== undefined) world.end(runs[1]);
    await world.until("the last one runs", () => world.given.length === 1);
    assert.equal(world.given[0]?.id, last.id);
  }),

  ruled(
    "a job fails when one that it comes after fails, and so do those after it",
    {},
    async (world) => {
      const one = await world.submit({});
      const two = await world.submit({ after: [one.id] });
      const three = await world.submit({ after: [two.id] });
      await world.run(400, "no");
      await world.reaches(one.id, "failed");
      const failed = await world.reaches(two.id, "failed");
      assert.equal(failed.attempt, 0);
      assert.match(failed.message ?? "", new RegExp(one.id));
      await world.reaches(three.id, "failed");
    },
  ),

  ruled("a job fails when one that it comes after is cancelled", {}, async (world) => {
    const one = await world.submit({});
    const two = await world.submit({ after: [one.id] });
    await world.cancel(one.id);
    await world.reaches(two.id, "failed");
    world.room(2);
    await world.quiet();
    world.isIdle();
  }),

  ruled(
    "a job that comes after some that have ended starts, or fails, at once",
    {},
    async (world) => {
      const one = await world.submit({});
      await world.run();
      await world.reaches(one.id, "done");
      const two = await world.submit({ after: [one.id], body: "two" });
      assert.equal((await world.run(400)).id, two.id);
      await world.reaches(two.id, "failed");
      const three = await world.submit({ after: [one.id, two.id] });
      await world.reaches(three.id, "failed");
    },
  ),

  ruled(
    "a job can't come after one that there is not, itself, or another user's",
    {},
    async (world) => {
      const id = `j-${"1".repeat(32)}`;
      await refused(404, world.submit({ after: [`j-${"0".repeat(32)}`] }));
      await refused(404, world.submit({ id, after: [id] }));
      const anns = await world.submit({ user: "ann" });
      await refused(404, world.submit({ user: "eve", after: [anns.id] }));
      await refused(404, world.status(id));
    },
  ),

  ruled(
    "jobs that come after others are told of their ends when the store is opened again",
    {},
    async (world) => {
      const one = await world.submit({ body: "one" });
      const two = await world.submit({ body: "two", after: [one.id] });
      await world.reopen();
      assert.equal((await world.status(two.id)).state, "scheduled");
      assert.deepEqual(await runAll(world, 2), ["one", "two"]);
    },
  ),

  ruled("a job that comes after others waits for its time, too", {}, async (world) => {
    const one = await world.submit({});
    const runAt = world.rig.now() + 500;
    const two = await world.submit({ after: [one.id], runAt });
    await world.run();
    await world.reaches(one.id, "done");
    world.room(1);
    await world.until("it runs", () => world.given.length === 1);
    assert.equal(world.given[0]?.id, two.id);
    assert.ok(world.rig.now() >= runAt);
  }),

  {
    name: "a schedule submits each of its due times once, over a restart, too",
    isExact: true,
    run: async (rig) => {
      const every = {
        cron: "* * * * * *",
        timeZone: "UTC",
        service: "work",
        body: "tick",
        catchUpMs: 60_000,
      };
      const world = await StoreWorld.open(rig, { schedules: { every } });
      await isScheduled(world);
      await rig.pass(2500);
      await world.until("it was due twice", () => (world.room(100), world.runs.length >= 2));
      for (const run of world.given.splice(0)) world.end(run);
      await world.reopen();
      await isScheduled(world);
      await rig.pass(2000);
      await world.until("it was due again", () => (world.room(100), world.runs.length >= 4));
      const jobs = await world.list();
      const keys = jobs.map(({ key }) => key).sort();
      assert.equal(new Set(keys).size, keys.length, `${keys}`);
      assert.match(keys[0] ?? "", /^schedule:every:.*Z$/);
      for (const { body, user } of world.runs) {
        assert.deepEqual([textOf(body.bytes), user], ["tick", ""]);
      }
      world.configure({ schedules: {} });
      await rig.pass(100);
      const before = (await world.list()).length;
      await rig.pass(2000);
      assert.equal((await world.list()).length, before);
      await world.close();
    },
  },
];
