/** Jobs in a file of SQLite: what is known of a try that has ended badly, or was cut off. The clock is driven. */

import { strict as assert } from "node:assert";
import type { StoredRun } from "../../store/messages.ts";
import { DrivenClock } from "../rig/driven_clock.ts";
import { Folder } from "../rig/folder.ts";
import { SqliteRig } from "../rig/sqlite_rig.ts";
import { StoreWorld } from "../rig/store_world.ts";

const HALF = { done: 5, total: 10, note: "half" };

/** Runs a test with a store, and with a run of the job that it has submitted. */
async function withRun(
  act: (world: StoreWorld, id: string, run: StoredRun) => Promise<void>,
): Promise<void> {
  const world = await StoreWorld.open(new SqliteRig(new Folder(), new DrivenClock()));
  try {
    const { id } = await world.submit({ backoff: { firstMs: 300, maxMs: 300 } });
    await act(world, id, await world.next());
  } finally {
    await world.close();
  }
}

/** The run says how far it is. */
async function sayHalf(world: StoreWorld, id: string, { run }: StoredRun): Promise<void> {
  const { version } = await world.status(id);
  world.say("plane", { type: "progress", run, ...HALF });
  await world.begin({ type: "status", id, since: version, waitMs: 20_000 }).answered();
}

Deno.test("SqliteJobs counts the try of a running job that is cancelled, and keeps how far it came", async () => {
  await withRun(async (world, id, first) => {
    world.end(first, 500, "no");
    const second = await world.next();
    await sayHalf(world, id, second);
    const { attempt } = await world.status(id);
    assert.equal(attempt, 2);
    const cancelled = await world.cancel(id);
    assert.deepEqual([cancelled.state, cancelled.attempt], ["cancelled", 2]);
    assert.deepEqual(cancelled.progress, HALF);
    assert.deepEqual((await world.status(id)).progress, HALF);
  });
});

Deno.test("SqliteJobs counts no try of a job that is cancelled between two of them", async () => {
  await withRun(async (world, id, first) => {
    world.end(first, 500, "no");
    await world.reaches(id, "scheduled");
    assert.equal((await world.cancel(id)).attempt, 1);
  });
});

Deno.test("SqliteJobs keeps between two tries how far the last one came, until the next one says", async () => {
  await withRun(async (world, id, first) => {
    await sayHalf(world, id, first);
    world.end(first, 500, "no");
    assert.deepEqual((await world.reaches(id, "scheduled")).progress, HALF);
    world.end(await world.next(), 422, "never");
    // That try has said nothing.
    assert.equal((await world.reaches(id, "failed")).progress, undefined);
  });
});
