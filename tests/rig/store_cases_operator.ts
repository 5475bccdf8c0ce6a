/** Cases of every store: what an operator sees and does, and the bounds of a store. */

import { strict as assert } from "node:assert";
import type { StoreConfig, StoreFigures } from "../../store/messages.ts";
import type { StoreCase } from "./store_suite.ts";
import { OPERATOR, refused, StoreWorld, textOf } from "./store_world.ts";

function bounded(
  name: string,
  changes: Partial<StoreConfig>,
  act: (world: StoreWorld) => Promise<void>,
): StoreCase {
  return {
    name,
    run: async (rig) => {
      const world = await StoreWorld.open(rig, changes);
      try {
        await act(world);
      } finally {
        await world.close();
      }
    },
  };
}

/** A case in which a job that is given again is not told from one that is tried again. */
function exact(name: string, act: (world: StoreWorld) => Promise<void>): StoreCase {
  return { ...bounded(name, {}, act), isExact: true };
}

async function figuresOf(world: StoreWorld): Promise<StoreFigures> {
  const answer = await world.operate({ type: "figures" });
  assert.ok(answer.type === "figures");
  return answer.figures;
}

/** A job that is dead after its first try. */
async function dead(world: StoreWorld, service = "work"): Promise<string> {
  const { id } = await world.submit({ service, body: `dead of ${service}` });
  await world.run(400, "no", service);
  await world.reaches(id, "failed");
  return id;
}

export const OPERATOR_CASES: readonly StoreCase[] = [
  bounded("jobs are listed by state and service, page by page, oldest first", {}, async (world) => {
    const ids: string[] = [];
    for (let i = 0; i < 7; i++) ids.push((await world.submit({ body: `${i}` })).id);
    await dead(world, "other");
    await world.submit({ service: "other" });
    const page = async (limit: number, after?: string) => {
      const answer = await world.operate({ type: "list", service: "work", limit, after });
      assert.ok(answer.type === "list");
      return { total: answer.total, ids: answer.jobs.map(({ id }) => id) };
    };
    assert.deepEqual(await page(3), { total: 7, ids: ids.slice(0, 3) });
    assert.deepEqual((await page(3, ids[2])).ids, ids.slice(3, 6));
    assert.deepEqual((await page(3, ids[5])).ids, ids.slice(6));
    const states = async (state: "failed" | "waiting" | "done") =>
      (await world.list({ state })).length;
    assert.deepEqual([await states("failed"), await states("waiting"), await states("done")], [
      1,
      8,
      0,
    ]);
    assert.equal((await world.list({ state: "waiting", service: "other" })).length, 1);
  }),

  bounded(
    "jobs are listed in the order in which they were submitted, whatever becomes of them",
    {},
    async (world) => {
      const ids: string[] = [];
      for (let i = 0; i < 6; i++) ids.push((await world.submit({ body: `${i}` })).id);
      const page = async (limit: number, after?: string) => {
        const answer = await world.operate({ type: "list", limit, after });
        assert.ok(answer.type === "list");
        return answer.jobs.map(({ id }) => id);
      };
      assert.deepEqual(await page(2), ids.slice(0, 2));
      for (let i = 0; i < 2; i++) await world.run();
      for (const id of ids.slice(0, 2)) await world.reaches(id, "done");
      await world.cancel(ids[3] ?? "");
      assert.deepEqual(await page(2, ids[1]), ids.slice(2, 4));
      assert.deepEqual(await page(10), ids);
      await world.count({ type: "retry", id: ids[3] ?? "" });
      assert.deepEqual(await page(10, ids[2]), ids.slice(3));
    },
  ),

  bounded("a job is looked at without its body, and with it", {}, async (world) => {
    const { id } = await world.submit({ body: "secret", user: "ann" });
    const look = async (body: boolean) => {
      const answer = await world.operate({ type: "look", id, body });
      assert.ok(answer.type === "look");
      return answer;
    };
    const plain = await look(false);
    assert.deepEqual([plain.status.user, plain.body, plain.result], ["ann", undefined, undefined]);
    assert.equal(textOf((await look(true)).body?.bytes), "secret");
    await world.run(400, "why");
    await world.reaches(id, "failed");
    const { body, result } = await look(true);
    assert.deepEqual([textOf(body?.bytes), textOf(result?.bytes)], ["secret", "why"]);
    await refused(404, world.operate({ type: "look", id: `j-${"0".repeat(32)}`, body: false }));
  }),

  exact("a dead job is given all its tries again", async (world) => {
    const { id } = await world.submit({
      retries: 1,
      body: "again",
      backoff: { firstMs: 50, maxMs: 50 },
    });
    await world.run(500);
    await world.run(500);
    await world.reaches(id, "failed");
    assert.equal(await world.count({ type: "retry", id }), 1);
    const run = await world.next();
    assert.deepEqual([run.id, textOf(run.body.bytes), run.attempt, run.tries], [id, "again", 1, 2]);
    assert.equal((await world.status(id)).endedAt, undefined);
    world.end(run, 500);
    await world.run(200);
    await world.reaches(id, "done");
    await refused(409, world.count({ type: "retry", id }));
    await assert.rejects(world.count({ type: "retry", id }), {
      message: `Cannot retry "${id}": it is done, and its body is not kept: submit it again`,
    });
  }),

  bounded(
    "a cancelled job is given all its tries again, one that lives is not",
    {},
    async (world) => {
      const { id } = await world.submit({ body: "back" });
      await refused(409, world.count({ type: "retry", id }));
      await world.cancel(id);
      await world.count({ type: "retry", id });
      assert.equal(textOf((await world.run()).body.bytes), "back");
      await world.reaches(id, "done");
    },
  ),

  exact(
    "a job whose key another one has, or that waits for one that failed, is not tried again",
    async (world) => {
      const first = await world.submit({ key: "k", body: "first" });
      await world.run(400);
      await world.reaches(first.id, "failed");
      const second = await world.submit({ key: "k" });
      assert.equal(second.isNew, true);
      await refused(409, world.count({ type: "retry", id: first.id }));
      assert.equal(await world.count({ type: "retryDead", service: "work" }), 0);
      await world.cancel(second.id);
      await world.count({ type: "retry", id: first.id });
      assert.deepEqual(await world.submit({ key: "k" }), { id: first.id, isNew: false });
      const child = await world.submit({ after: [first.id], body: "child" });
      assert.equal(textOf((await world.run(400)).body.bytes), "first");
      await world.reaches(child.id, "failed");
      await refused(409, world.count({ type: "retry", id: child.id }));
      await world.count({ type: "retry", id: first.id });
      await world.count({ type: "retry", id: child.id });
      assert.equal((await world.status(child.id)).state, "scheduled");
      for (const body of ["first", "child"]) {
        assert.equal(
          textOf((await world.run()).body.bytes),
          body,
        );
      }
      await world.reaches(child.id, "done");
    },
  ),

  bounded("a job that runs is not deleted, and one that waits is", {}, async (world) => {
    const { id } = await world.submit({});
    const run = await world.next();
    await refused(409, world.count({ type: "delete", id }));
    world.end(run);
    await world.reaches(id, "done");
    const waiting = await world.submit({});
    assert.equal(await world.count({ type: "delete", id: waiting.id }), 1);
    await refused(404, world.status(waiting.id));
    world.room(1);
    await world.quiet();
    world.isIdle();
  }),

  bounded("a service that nobody knows is not paused", {}, async (world) => {
    await refused(404, world.count({ type: "pause", service: "nobody" }));
    await refused(404, world.count({ type: "resume", service: "constructor" }));
    assert.equal(await world.count({ type: "pause", service: "other" }), 1);
    assert.equal(await world.count({ type: "resume", service: "other" }), 1);
    assert.equal(await world.count({ type: "resume", service: "other" }), 0);
  }),

  bounded("all dead jobs of a service are tried again", {}, async (world) => {
    const ids = [await dead(world), await dead(world)];
    const other = await dead(world, "other");
    assert.equal(await world.count({ type: "retryDead", service: "work" }), 2);
    const runs = await world.nextAll(2);
    assert.deepEqual(runs.map(({ id }) => id).sort(), ids.sort());
    assert.equal((await world.status(other)).state, "failed");
    assert.equal(await world.count({ type: "retryDead", service: "work" }), 0);
  }),

  bounded("a job that has ended is deleted", {}, async (world) => {
    const id = await dead(world);
    assert.equal(await world.count({ type: "delete", id }), 1);
    await refused(404, world.status(id, OPERATOR));
    await refused(404, world.count({ type: "delete", id }));
  }),

  bounded(
    "a paused service starts no jobs, over a restart, too, until it is resumed",
    {},
    async (world) => {
      await world.count({ type: "pause", service: "work" });
      const { id } = await world.submit({});
      const other = await world.submit({ service: "other" });
      world.room(1);
      assert.equal((await world.run(200, "", "other")).id, other.id);
      await world.quiet();
      world.isIdle();
      assert.equal((await figuresOf(world)).services.work?.paused, true);
      await world.reopen();
      world.room(1);
      await world.quiet();
      world.isIdle();
      await world.count({ type: "resume", service: "work" });
      await world.until("it runs", () => world.given.length === 1);
      assert.equal(world.given[0]?.id, id);
    },
  ),

  bounded("figures count jobs by service and state", {}, async (world) => {
    await dead(world);
    await world.submit({});
    await world.run();
    await world.submit({ runAt: world.rig.now() + 60_000 });
    const running = await world.submit({ priority: 9 });
    assert.equal((await world.next()).id, running.id);
    await world.submit({});
    await world.submit({ service: "other" });
    const figures = await figuresOf(world);
    assert.equal(figures.trouble, undefined);
    const { states, paused, submitted, ended } = figures.services.work ?? assert.fail();
    assert.deepEqual(states, {
      ...{ scheduled: 1, waiting: 1, running: 1, done: 1, failed: 1, cancelled: 0, expired: 0 },
    });
    assert.equal(paused, false);
    assert.equal(submitted, 5);
    assert.deepEqual([ended.done, ended.failed], [1, 1]);
    assert.equal(figures.services.other?.states.waiting, 1);
    assert.ok(!figures.store.includes("@"));
  }),

  bounded("ends are told while somebody watches", {}, async (world) => {
    const first = await world.submit({});
    await world.run();
    await world.reaches(first.id, "done");
    assert.deepEqual(world.over, []);
    world.say("plane", { type: "watch", isOn: true });
    const second = await world.submit({});
    await world.run(400);
    await world.until("its end is told", () => world.over.length === 1);
    const { id, service, state, attempt, code } = world.over[0] ?? assert.fail();
    assert.deepEqual({ id, service, state, attempt, code }, {
      ...{ id: second.id, service: "work", state: "failed", attempt: 1, code: 400 },
    });
  }),

  bounded("no more jobs are stored than storeJobs", { storeJobs: 5 }, async (world) => {
    const ids: string[] = [];
    for (let i = 0; i < 5; i++) ids.push((await world.submit({ key: `${i}` })).id);
    await refused(507, world.submit({}));
    assert.equal((await world.submit({ key: "0" })).isNew, false, "a known key needs no room");
    await world.run();
    await world.reaches(ids[0] ?? "", "done");
    await refused(507, world.submit({}));
    await world.forget(ids[0] ?? "");
    await world.submit({});
    await refused(507, world.submit({}));
  }),

  bounded("no more bytes are stored than storeBytes", { storeBytes: 20_000 }, async (world) => {
    const body = new Uint8Array(8000);
    const first = await world.submit({ body });
    await world.submit({ body });
    await refused(507, world.submit({ body }));
    await world.cancel(first.id);
    await world.forget(first.id);
    await world.submit({ body });
  }),

  bounded("what is refused is not stored", { storeJobs: 3 }, async (world) => {
    const all = await Promise.allSettled(Array.from({ length: 10 }, () => world.submit({})));
    const stored = all.filter(({ status }) => status === "fulfilled").length;
    assert.equal(stored, 3);
    assert.equal((await world.list()).length, 3);
  }),
];
