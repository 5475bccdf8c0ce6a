/** Cases of every store: the states of one job, from its submission to the day on which it is forgotten. */

import { strict as assert } from "node:assert";
import type { StoredRun } from "../../store/messages.ts";
import type { StoreCase } from "./store_suite.ts";
import { OPERATOR, refused, StoreWorld, submissionOf, textOf } from "./store_world.ts";

const HOUR = 3_600_000;

/** A case that has a store with the usual bounds. */
function usual(name: string, act: (world: StoreWorld) => Promise<void>): StoreCase {
  return {
    name,
    run: async (rig) => {
      const world = await StoreWorld.open(rig);
      try {
        await act(world);
      } finally {
        await world.close();
      }
    },
  };
}

/** Runs a job that fails until it is dead; returns its runs. */
async function exhaust(world: StoreWorld, tries: number, code = 500): Promise<StoredRun[]> {
  const runs: StoredRun[] = [];
  for (let i = 0; i < tries; i++) runs.push(await world.run(code, `failed ${i + 1}`));
  return runs;
}

export const LIFE_CASES: readonly StoreCase[] = [
  usual("a job waits, runs, is done, and has its result", async (world) => {
    const before = world.rig.now();
    const { id, isNew } = await world.submit({ body: "hello", priority: 5, trace: "00-a-b-01" });
    assert.match(id, /^j-[0-9a-z]{20,}$/);
    assert.equal(isNew, true);
    const waiting = await world.status(id);
    assert.equal(waiting.state, "waiting");
    assert.deepEqual([waiting.attempt, waiting.retries, waiting.priority], [0, 4, 5]);
    assert.deepEqual([waiting.service, waiting.bytes, waiting.code], ["work", 5, undefined]);
    assert.deepEqual([waiting.startedAt, waiting.endedAt], [undefined, undefined]);
    assert.ok(waiting.createdAt >= before && waiting.createdAt <= world.rig.now());
    const run = await world.next();
    assert.equal(textOf(run.body.bytes), "hello");
    assert.deepEqual([run.id, run.service, run.user, run.attempt, run.tries], [
      id,
      "work",
      "",
      1,
      5,
    ]);
    assert.deepEqual([run.trace, run.checkpoint, run.requestTimeout], ["00-a-b-01", undefined, 0]);
    const running = await world.status(id);
    assert.deepEqual([running.state, running.attempt], ["running", 1]);
    assert.ok(running.version > waiting.version);
    assert.equal((await world.result(id)).result, undefined);
    world.end(run, 200, "bye");
    const done = await world.reaches(id, "done");
    assert.ok(done.version > running.version);
    assert.deepEqual([done.code, done.attempt], [200, 1]);
    assert.ok(
      (done.startedAt ?? 0) >= before && (done.endedAt ?? 0) >= (done.startedAt ?? Infinity),
    );
    assert.equal(textOf((await world.result(id)).result?.bytes), "bye");
  }),

  usual("bodies and results keep their frames", async (world) => {
    const frames = { bytes: new Uint8Array([1, 2, 3, 4]), sizes: [1, 0, 3] };
    const job = { ...submissionOf({}), body: frames };
    const { id } = await world.store(job);
    const run = await world.next();
    assert.deepEqual([[...run.body.bytes], run.body.sizes], [[1, 2, 3, 4], [1, 0, 3]]);
    const result = { bytes: new Uint8Array([9, 8]), sizes: [0, 2] };
    world.endWith(run, result);
    await world.reaches(id, "done");
    const kept = (await world.result(id)).result;
    assert.deepEqual([[...kept?.bytes ?? []], kept?.sizes], [[9, 8], [0, 2]]);
  }),

  usual("a large body and a large result come back whole", async (world) => {
    const body = new Uint8Array(700_000).map((_, i) => i * 7);
    const { id } = await world.submit({ body });
    const run = await world.next();
    assert.deepEqual(run.body.bytes, body);
    world.end(run, 200, "x".repeat(700_000));
    await world.reaches(id, "done");
    assert.equal((await world.result(id)).result?.bytes.length, 700_000);
  }),

  usual("an unknown service is refused with 404, an unknown job too", async (world) => {
    await refused(404, world.submit({ service: "nobody" }));
    const id = `j-${"0".repeat(32)}`;
    await refused(404, world.status(id));
    await refused(404, world.result(id));
    await refused(404, world.cancel(id));
    await refused(404, world.forget(id));
    await refused(404, world.status(id, OPERATOR));
    await refused(404, world.status("x'; DROP TABLE job"));
  }),

  usual("a delayed job is scheduled, and runs when it is due and not before", async (world) => {
    const runAt = world.rig.now() + 400;
    const { id } = await world.submit({ runAt });
    world.room(1);
    const status = await world.status(id);
    assert.deepEqual([status.state, status.runAt], ["scheduled", runAt]);
    await world.rig.pass(runAt - world.rig.now() - 50);
    world.isIdle();
    await world.rig.pass(150 + world.rig.slackMs);
    await world.until("it runs", () => world.given.length === 1);
    assert.ok(world.rig.now() >= runAt);
    assert.ok(world.rig.now() <= runAt + 110 + 2 * world.rig.slackMs);
  }),

  usual("delayed jobs run in the order in which they are due", async (world) => {
    const at = world.rig.now() + 300;
    await world.submitAll([{ runAt: at + 200, body: "c" }, { runAt: at, body: "a" }]);
    await world.submit({ runAt: at + 100, body: "b" });
    const bodies: string[] = [];
    for (let i = 0; i < 3; i++) bodies.push(textOf((await world.run()).body.bytes));
    assert.deepEqual(bodies, ["a", "b", "c"]);
  }),

  usual(
    "a failed try is followed by the next one after a growing pause, up to the last",
    async (world) => {
      const { id } = await world.submit({ retries: 3, backoff: { firstMs: 200, maxMs: 500 } });
      for (const [i, pause] of [200, 400, 500].entries()) {
        const run = await world.run(500, `failed ${i + 1}`);
        const ended = world.rig.now();
        assert.equal(run.attempt, i + 1);
        const between = await world.reaches(id, "scheduled");
        assert.deepEqual([between.code, between.message], [500, `failed ${i + 1}`]);
        assert.deepEqual([between.attempt, between.endedAt], [i + 1, undefined]);
        world.room(1);
        await world.until("it runs again", () => world.given.length > 0);
        const waited = world.rig.now() - ended;
        assert.ok(waited >= 0.8 * pause - 2, `${waited} of ${pause} ms`);
        assert.ok(waited <= 1.2 * pause + 50 + 3 * world.rig.slackMs, `${waited} of ${pause} ms`);
      }
      const last = await world.run(503, "failed 4");
      assert.deepEqual([last.attempt, last.tries], [4, 4]);
      const dead = await world.reaches(id, "failed");
      assert.deepEqual([dead.code, dead.message, dead.attempt], [503, "failed 4", 4]);
      await world.quiet();
      world.isIdle();
      assert.equal(textOf((await world.result(id)).result?.bytes), "failed 4");
    },
  ),

  usual("an error of the request (4xx) is final", async (world) => {
    const { id } = await world.submit({});
    await world.run(422, "wrong");
    const dead = await world.reaches(id, "failed");
    assert.deepEqual([dead.code, dead.message, dead.attempt], [422, "wrong", 1]);
  }),

  usual("a death of the worker is a try", async (world) => {
    const { id } = await world.submit({ retries: 1 });
    await exhaust(world, 2, 502);
    assert.deepEqual((await world.reaches(id, "failed")).code, 502);
  }),

  {
    // What is given again after it came back can't be told from what is given twice.
    isExact: true,
    ...usual("a run that was not started is no try", async (world) => {
      const { id } = await world.submit({ retries: 0 });
      for (let i = 0; i < 3; i++) {
        const run = await world.next();
        assert.equal(run.attempt, 1);
        world.giveBack(run);
      }
      world.endUnstarted(await world.next(), 503);
      assert.equal((await world.next()).attempt, 1);
      assert.equal((await world.status(id)).state, "running");
    }),
  },

  usual("a job with no retries has one try", async (world) => {
    const { id } = await world.submit({ retries: 0 });
    await world.run(500);
    assert.equal((await world.reaches(id, "failed")).attempt, 1);
  }),

  usual("a checkpoint is kept for the next tries, and not after the end", async (world) => {
    const { id } = await world.submit({ backoff: { firstMs: 50, maxMs: 50 } });
    const first = await world.next();
    await world.checkpoint(first, "one");
    await world.checkpoint(first, "two");
    world.end(first, 500);
    const second = await world.next();
    assert.equal(textOf(second.checkpoint?.bytes), "two");
    world.end(second, 500);
    const third = await world.next();
    assert.equal(textOf(third.checkpoint?.bytes), "two");
    world.end(third);
    await world.reaches(id, "done");
    await refused(409, world.checkpoint(third, "late"));
  }),

  usual("progress is seen by who waits for it, and is gone with the run", async (world) => {
    const { id } = await world.submit({ backoff: { firstMs: 50, maxMs: 50 } });
    const run = await world.next();
    const { version } = await world.status(id);
    const question = { type: "status", id, since: version, waitMs: 20_000 } as const;
    const pending = world.begin(question);
    await world.quiet();
    assert.equal(pending.isOpen, true);
    world.say("plane", { type: "progress", run: run.run, done: 3, total: 10, note: "third" });
    const { status } = await pending.answered();
    assert.deepEqual(status.progress, { done: 3, total: 10, note: "third" });
    assert.ok(status.version > version);
  }),

  usual("a job that has not started in time is expired, one that has is not", async (world) => {
    const expiresAt = world.rig.now() + 300;
    const { id } = await world.submit({ expiresAt, body: "late" });
    const other = await world.submit({ expiresAt, priority: 9, body: "in time" });
    const run = await world.next();
    assert.equal(run.id, other.id);
    await world.rig.pass(500 + world.rig.slackMs);
    world.room(5);
    await world.reaches(id, "expired");
    await world.quiet();
    world.isIdle();
    assert.notEqual((await world.status(id)).endedAt, undefined);
    world.end(run);
    await world.reaches(other.id, "done");
  }),

  {
    // What is given again after it came back can't be told from what is given twice.
    isExact: true,
    ...usual(
      "a job that was started in time is run again after its server's end, one that was given back expires",
      async (world) => {
        const expiresAt = world.rig.now() + 400;
        const cut = await world.submit({ expiresAt, priority: 9 });
        const back = await world.submit({ expiresAt });
        const [, given] = [await world.next(), await world.next()];
        assert.equal(given.id, back.id);
        await world.rig.pass(500 + world.rig.slackMs);
        world.giveBack(given);
        await world.reaches(back.id, "expired");
        await world.reopen();
        const again = await world.next();
        assert.deepEqual([again.id, again.attempt], [cut.id, 1]);
        await world.quiet();
        // It was started before.
        world.giveBack(again);
        const last = await world.next();
        assert.deepEqual([last.id, last.attempt], [cut.id, 1]);
        world.end(last);
        await world.reaches(cut.id, "done");
      },
    ),
  },

  usual(
    "a key is taken while its job lives: waiting, running or between two tries",
    async (world) => {
      const words = { key: "k", backoff: { firstMs: 200, maxMs: 200 } };
      const first = await world.submit(words);
      const again = async () =>
        assert.deepEqual(await world.submit(words), { id: first.id, isNew: false });
      await again();
      const run = await world.next();
      await again();
      world.end(run, 500);
      await world.reaches(first.id, "scheduled");
      await again();
      await world.run(200);
      await world.reaches(first.id, "done");
      const second = await world.submit(words);
      assert.equal(second.isNew, true);
      assert.notEqual(second.id, first.id);
      assert.equal((await world.cancel(second.id)).state, "cancelled");
      assert.equal((await world.submit(words)).isNew, true);
    },
  ),

  usual("a key is one of its service and its user", async (world) => {
    const ids = await world.submitAll([
      { key: "k" },
      { key: "k", service: "other" },
      { key: "k", user: "ann" },
      { key: "l" },
      { key: "" },
      { key: "" },
    ]);
    assert.equal(new Set(ids).size, 6);
  }),

  usual("many submissions of one key at once are one job", async (world) => {
    const ids = await world.submitAll(Array.from({ length: 20 }, () => ({ key: "k" })));
    assert.equal(new Set(ids).size, 1);
    assert.equal((await world.list()).length, 1);
  }),

  usual(
    "a submission with the same id is stored once, and another user's is refused",
    async (world) => {
      const { id } = await world.submit({ body: "one" });
      assert.deepEqual(await world.submit({ id, body: "one" }), { id, isNew: true });
      await refused(409, world.submit({ id, user: "eve" }));
      await world.run();
      await world.reaches(id, "done");
      assert.deepEqual(await world.submit({ id, body: "one" }), { id, isNew: true });
      await world.quiet();
      world.isIdle();
      assert.equal((await world.list()).length, 1);
    },
  ),

  usual("a job without an id is given one of 128 random bits", async (world) => {
    const ids = await world.submitAll(Array.from({ length: 20 }, () => ({ id: "" })));
    assert.equal(new Set(ids).size, 20);
    for (const id of ids) assert.match(id, /^j-[0-9a-f]{32}$/);
  }),

  usual("each user sees and cancels what is his, and an operator all", async (world) => {
    const { id } = await world.submit({ user: "ann" });
    for (const stranger of ["eve", ""]) {
      await refused(404, world.status(id, stranger));
      await refused(404, world.result(id, stranger));
      await refused(404, world.cancel(id, stranger));
      await refused(404, world.forget(id, stranger));
    }
    assert.equal((await world.status(id, "ann")).user, "ann");
    assert.equal((await world.status(id, OPERATOR)).state, "waiting");
    const run = await world.next();
    assert.equal(run.user, "ann");
    world.end(run);
    await world.reaches(id, "done");
    await refused(404, world.result(id, "eve"));
    await refused(409, world.cancel(id, "ann"));
  }),

  usual("a waiting or scheduled job is cancelled, and never runs", async (world) => {
    const { id } = await world.submit({});
    const later = await world.submit({ runAt: world.rig.now() + 200 });
    assert.equal((await world.cancel(id)).state, "cancelled");
    assert.equal((await world.cancel(later.id)).state, "cancelled");
    assert.equal((await world.cancel(id)).state, "cancelled", "a repeated question");
    world.room(5);
    await world.rig.pass(400 + world.rig.slackMs);
    world.isIdle();
    assert.notEqual((await world.status(id)).endedAt, undefined);
  }),

  usual(
    "a running job is cancelled: its run is told, and how it ends counts for nothing",
    async (world) => {
      const { id } = await world.submit({});
      const run = await world.next();
      assert.equal((await world.cancel(id)).state, "cancelled");
      await world.until("its run is told", () => world.cancelled.includes(run.run));
      world.end(run, 200, "too late");
      await world.quiet();
      const { status, result } = await world.result(id);
      assert.deepEqual([status.state, result], ["cancelled", undefined]);
    },
  ),

  usual("a job between two tries is cancelled", async (world) => {
    const { id } = await world.submit({ backoff: { firstMs: 300, maxMs: 300 } });
    await world.run(500);
    await world.reaches(id, "scheduled");
    assert.equal((await world.cancel(id)).state, "cancelled");
    world.room(1);
    await world.rig.pass(600 + world.rig.slackMs);
    world.isIdle();
  }),

  usual("a job that is done or dead can't be cancelled", async (world) => {
    const { id } = await world.submit({});
    await world.run();
    await world.reaches(id, "done");
    await refused(409, world.cancel(id));
    const dead = await world.submit({});
    await world.run(400);
    await world.reaches(dead.id, "failed");
    await refused(409, world.cancel(dead.id));
  }),

  usual(
    "a job that is forgotten is unknown, and one that lives is cancelled first",
    async (world) => {
      const { id } = await world.submit({ key: "k" });
      await world.run();
      await world.reaches(id, "done");
      assert.equal((await world.forget(id)).state, "done");
      await refused(404, world.status(id));
      const other = await world.submit({ key: "k" });
      const run = await world.next();
      await world.forget(other.id);
      await world.until("its run is told", () => world.cancelled.includes(run.run));
      await refused(404, world.status(other.id));
      world.end(run);
      await world.quiet();
      await refused(404, world.status(other.id));
      assert.equal((await world.submit({ key: "k" })).isNew, true);
    },
  ),

  usual("a question for a result waits for the end, and no longer than it wants", async (world) => {
    const { id } = await world.submit({});
    const short = world.begin({ type: "result", id, waitMs: 200 });
    const long = world.begin({ type: "result", id, waitMs: 60_000 });
    const run = await world.next();
    await world.rig.pass(300 + world.rig.slackMs);
    assert.deepEqual((await short.answered()).status.state, "running");
    assert.equal(short.answer?.result, undefined);
    assert.equal(long.isOpen, true);
    world.end(run, 200, "here");
    const { status, result } = await long.answered();
    assert.deepEqual([status.state, textOf(result?.bytes)], ["done", "here"]);
  }),

  usual(
    "a question for a status that knows nothing, or too little, is answered at once",
    async (world) => {
      const { id } = await world.submit({});
      const { version } = await world.status(id);
      await world.ask({ type: "status", id, waitMs: 60_000 });
      await world.ask({ type: "status", id, since: version + 1, waitMs: 60_000 });
      const pending = world.begin({ type: "status", id, since: version, waitMs: 60_000 });
      await world.quiet();
      assert.equal(pending.isOpen, true);
      await world.next();
      assert.equal((await pending.answered()).status.state, "running");
    },
  ),

  usual("a question that is withdrawn is not answered", async (world) => {
    const { id } = await world.submit({});
    const pending = world.begin({ type: "result", id, waitMs: 60_000 });
    await world.quiet();
    pending.withdraw();
    await world.run();
    await world.reaches(id, "done");
    await world.quiet();
    assert.equal(pending.isOpen, true);
  }),

  usual("who waits for a job that is cancelled is answered", async (world) => {
    const { id } = await world.submit({});
    const pending = world.begin({ type: "result", id, waitMs: 60_000 });
    await world.cancel(id);
    assert.equal((await pending.answered()).status.state, "cancelled");
  }),

  {
    name: "results are kept for resultTtl, dead jobs for deadTtl",
    run: async (rig) => {
      const unit = rig.isDriven ? HOUR : 1000;
      const world = await StoreWorld.open(rig, { resultTtl: unit, deadTtl: 4 * unit });
      const done = await world.submit({});
      await world.run();
      await world.reaches(done.id, "done");
      const dead = await world.submit({});
      await world.run(400);
      await world.reaches(dead.id, "failed");
      await rig.pass(2 * unit + rig.slackMs);
      await world.quiet();
      await refused(404, world.status(done.id));
      assert.equal((await world.status(dead.id)).state, "failed");
      await rig.pass(3 * unit + rig.slackMs);
      await world.quiet();
      await refused(404, world.status(dead.id));
      assert.equal((await world.list()).length, 0);
      await world.close();
    },
  },

  usual("what a store knows, it knows when it is opened again", async (world) => {
    const runAt = world.rig.now() + 600;
    const done = await world.submit({ body: "done", user: "ann" });
    await world.run();
    await world.reaches(done.id, "done");
    const failing = await world.submit({ retries: 5, backoff: { firstMs: 100, maxMs: 100 } });
    await world.run(500);
    await world.reaches(failing.id, "scheduled");
    const later = await world.submit({ body: "later", runAt, key: "k", group: "g" });
    const { version } = await world.status(later.id);
    await world.reopen();
    assert.equal(textOf((await world.result(done.id, "ann")).result?.bytes), "result of done");
    await refused(404, world.result(done.id, "eve"));
    const kept = await world.status(later.id);
    assert.deepEqual([kept.runAt, kept.key, kept.group], [runAt, "k", "g"]);
    assert.ok(kept.version >= version);
    assert.deepEqual(await world.submit({ key: "k" }), { id: later.id, isNew: false });
    const again = await world.run();
    assert.deepEqual([again.id, again.attempt], [failing.id, 2]);
    assert.equal((await world.run()).id, later.id);
    assert.ok(world.rig.now() >= runAt);
  }),

  usual("a job that ran when the store was closed runs again, with what it kept", async (world) => {
    const { id } = await world.submit({ body: "again" });
    const run = await world.next();
    await world.checkpoint(run, "half");
    await world.reopen();
    const { state } = await world.status(id);
    assert.ok(state === "waiting" || state === "running" || state === "scheduled", state);
    const second = await world.next();
    assert.deepEqual([second.id, textOf(second.body.bytes)], [id, "again"]);
    assert.equal(textOf(second.checkpoint?.bytes), "half");
    world.end(second);
    await world.reaches(id, "done");
  }),
];
