/** Jobs in a file of SQLite: what operators are told where it takes no more jobs by a bound of its own, or starts none. */

import { strict as assert } from "node:assert";
import type { StoreConfig } from "../../store/messages.ts";
import { DrivenClock } from "../rig/driven_clock.ts";
import { Folder } from "../rig/folder.ts";
import { SqliteRig } from "../rig/sqlite_rig.ts";
import { configOf, refused, StoreWorld } from "../rig/store_world.ts";

async function withBounds(
  bounds: Partial<StoreConfig>,
  act: (world: StoreWorld) => Promise<void>,
): Promise<void> {
  const world = await StoreWorld.open(new SqliteRig(new Folder(), new DrivenClock()), bounds);
  try {
    await act(world);
  } finally {
    await world.close();
  }
}

/** Why the store takes no jobs, as operators are told. */
async function troubleOf(world: StoreWorld): Promise<string | undefined> {
  const answer = await world.operate({ type: "figures" });
  assert.ok(answer.type === "figures");
  return answer.figures.trouble;
}

Deno.test("SqliteJobs tells operators that the store has as many jobs as it may have", async () => {
  await withBounds({ storeJobs: 2 }, async (world) => {
    const { id } = await world.submit({});
    assert.equal(await troubleOf(world), undefined);
    await world.submit({});
    const trouble = "The store is full: it has 2 jobs, and storeJobs is 2";
    assert.equal(await troubleOf(world), trouble);
    await world.forget(id);
    assert.equal(await troubleOf(world), undefined);
  });
});

Deno.test("SqliteJobs tells operators that a job had no room in the store, until one has", async () => {
  await withBounds({ storeBytes: 1000 }, async (world) => {
    const { id } = await world.submit({ body: new Uint8Array(900) });
    assert.equal(await troubleOf(world), undefined);
    await refused(507, world.submit({ body: new Uint8Array(200) }));
    const trouble =
      "The store is full: its jobs have 900 bytes, this one 200, and storeBytes is 1000";
    assert.equal(await troubleOf(world), trouble.replace("this one", "the last one"));
    await world.submit({ body: new Uint8Array(50) });
    assert.equal(await troubleOf(world), undefined, "it takes some");
    await refused(507, world.submit({ body: new Uint8Array(200) }));
    await world.forget(id);
    assert.equal(await troubleOf(world), undefined);
  });
});

Deno.test("SqliteJobs does not take the store for full since a job is larger than all of it", async () => {
  await withBounds({ storeBytes: 1000 }, async (world) => {
    await refused(507, world.submit({ body: new Uint8Array(1001) }));
    assert.equal(await troubleOf(world), undefined);
  });
});

Deno.test("SqliteJobs tells the log of jobs that wait for a service which the server has no more", async () => {
  await withBounds({}, async (world) => {
    const text = "stored jobs wait for a service that this server does not have";
    const lines = () =>
      world.logged.flatMap(({ level, message, fields }) =>
        message === text ? [[level, fields]] : []
      );
    await world.submit({ service: "work" });
    await world.submit({ service: "work", runAt: world.rig.now() + 60_000 });
    await world.submit({ service: "other" });
    await world.reopen();
    assert.deepEqual(lines(), []);
    const { other } = configOf().services;
    assert.ok(other !== undefined);
    await world.reopen({ services: { other } });
    assert.deepEqual(lines(), [["warn", { service: "work", jobs: 2 }]]);
    await world.reopen({ services: { other }, anyService: true });
    assert.equal(lines().length, 1, "a worker of Majordomo may come for it");
  });
});
