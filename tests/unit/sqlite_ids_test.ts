/** Ids of jobs, of which the newest are not in the index. */

import { strict as assert } from "node:assert";
import { DatabaseSync } from "node:sqlite";
import { idBytes } from "../../store/sqlite_columns.ts";
import { SqliteIds } from "../../store/sqlite_ids.ts";
import { Batch } from "../../store/sqlite_ledger.ts";
import { prepareFile } from "../../store/sqlite_schema.ts";
import { JobTable } from "../../store/sqlite_table.ts";
import { newJobId } from "../../wire/submission.ts";
import { randomFractions } from "../rig/random.ts";

const MOST = 600;

/** Ids of a file in memory. */
class World {
  readonly db = new DatabaseSync(":memory:");
  ids: SqliteIds;
  #last = 0;

  constructor() {
    prepareFile(this.db, ":memory:");
    this.ids = this.#open();
  }

  #open(): SqliteIds {
    return new SqliteIds((text) => this.db.prepare(text), MOST);
  }

  /** What is in memory alone is lost. */
  reopen(): void {
    this.ids = this.#open();
  }

  add(id = newJobId()): { id: string; seq: number } {
    const seq = ++this.#last;
    this.db.prepare(
      "INSERT INTO job (seq, id, service, stage, priority, user, grp, due, created, tries, deaths, version, bytes, " +
        "weight, parts) VALUES (?, ?, 1, 1, 4, '', '', 0, 0, 0, 0, 1, 0, 0, 0)",
    ).run(seq, idBytes(id));
    this.ids.add(id, seq);
    return { id, seq };
  }

  /** Adds several, each committed. */
  addAll(count: number): { id: string; seq: number }[] {
    const all = Array.from({ length: count }, () => this.add());
    this.ids.commit();
    return all;
  }

  /** One transaction of work; `fails`: it is rolled back. */
  work(fails = false): void {
    const batch = new Batch();
    this.db.exec("BEGIN");
    this.ids.work(batch);
    this.db.exec(fails ? "ROLLBACK" : "COMMIT");
    if (!fails) batch.effects.forEach((effect) => effect());
  }

  get indexed(): number {
    return Number(this.db.prepare("SELECT count(*) AS n FROM idOf").get()?.n);
  }
}

Deno.test("SqliteIds finds each id before, while and after it comes into the index", () => {
  const world = new World();
  const all = world.addAll(MOST);
  const areFound = () => {
    for (const { id, seq } of all) assert.deepEqual(world.ids.find(id), [seq]);
  };
  areFound();
  assert.ok(world.ids.hasWork);
  world.work(true);
  world.work();
  all.push(...world.addAll(10));
  areFound();
  while (world.ids.hasWork) world.work();
  assert.equal(world.indexed, MOST);
  areFound();
  world.reopen();
  areFound();
  assert.deepEqual(world.ids.find(newJobId()), []);
});

Deno.test("SqliteIds keeps up with jobs that come faster than its smallest step", () => {
  const world = new World();
  world.addAll(MOST);
  let steps = 0;
  for (; world.indexed < MOST; steps++) {
    world.work();
    world.addAll(2000);
  }
  assert.ok(steps < 5, `${steps} steps`);
});

Deno.test("SqliteIds reads what came into the index only in part when the process died", () => {
  const world = new World();
  const all = world.addAll(2 * MOST);
  world.reopen();
  world.work();
  assert.ok(world.indexed > 0 && world.indexed < 2 * MOST);
  world.reopen();
  for (const { id, seq } of all) assert.ok(world.ids.find(id).includes(seq));
  while (world.ids.hasWork) world.work();
  for (const { id, seq } of all) assert.deepEqual(world.ids.find(id), [seq]);
});

Deno.test("SqliteIds does not know what was rolled back, or is no more", () => {
  const world = new World();
  const { id } = world.add();
  world.ids.rollBack();
  assert.deepEqual(world.ids.find(id), []);
  const [kept] = world.addAll(1);
  world.ids.remove(kept?.id ?? "", kept?.seq ?? 0);
  assert.deepEqual(world.ids.find(kept?.id ?? ""), []);
});

Deno.test("SqliteIds knows an id that was forgotten and stored again in one transaction, or was to be", () => {
  const world = new World();
  const { id, seq } = world.add();
  world.ids.commit();
  const again = () => {
    world.db.exec(`BEGIN; DELETE FROM job WHERE seq = ${seq}`);
    return world.add(id);
  };
  again();
  world.db.exec("ROLLBACK");
  world.ids.rollBack();
  assert.deepEqual(world.ids.find(id), [seq]);
  const { seq: next } = again();
  world.db.exec("COMMIT");
  world.ids.commit();
  // It hears of the one before only now.
  world.ids.remove(id, seq);
  assert.deepEqual(world.ids.find(id), [next]);
});

Deno.test("SqliteIds knows an id that was stored again while the one before came into the index", () => {
  const world = new World();
  const all = world.addAll(2 * MOST);
  world.reopen();
  world.work();
  assert.ok(world.indexed > 0 && world.indexed < 2 * MOST);
  const { id = "", seq = 0 } = all.at(-1) ?? {};
  world.db.exec(`DELETE FROM job WHERE seq = ${seq}`);
  world.ids.remove(id, seq);
  const again = world.add(id);
  world.ids.commit();
  while (world.ids.hasWork) world.work();
  assert.ok(world.ids.find(id).includes(again.seq));
});

Deno.test("SqliteIds finds each job whatever is added, forgotten, rolled back, merged and read again", () => {
  const seed = 20_261;
  const random = randomFractions(seed);
  const world = new World();
  /** Jobs that are committed, by id; ids come again once they are free. */
  let live = new Map<string, number>();
  const free: string[] = [];
  for (let round = 0; round < 400; round++) {
    const next = new Map(live);
    const gone: { id: string; seq: number }[] = [];
    world.db.exec("BEGIN");
    for (let count = random() * 40; count > 0; count--) {
      const [id, seq] = [...next][Math.floor(random() * next.size)] ?? [];
      if (random() < 0.4 && id !== undefined && seq !== undefined && live.get(id) === seq) {
        world.db.exec(`DELETE FROM job WHERE seq = ${seq}`);
        next.delete(id);
        gone.push({ id, seq });
        free.push(id);
      } else {
        const old = random() < 0.5 ? free.pop() : undefined;
        const added = world.add(old !== undefined && !next.has(old) ? old : undefined);
        next.set(added.id, added.seq);
      }
    }
    if (random() < 0.25) {
      world.db.exec("ROLLBACK");
      world.ids.rollBack();
    } else {
      world.db.exec("COMMIT");
      world.ids.commit();
      for (const { id, seq } of gone) world.ids.remove(id, seq);
      live = next;
    }
    if (random() < 0.5) world.work(random() < 0.3);
    if (random() < 0.05) world.reopen();
    for (const [id, seq] of round % 20 === 19 ? live : []) {
      assert.ok(world.ids.find(id).includes(seq), `seed ${seed}, round ${round}: ${id}`);
    }
  }
  assert.ok(world.indexed > 0, "some came into the index");
});

Deno.test("SqliteIds tells two ids apart that begin the same", () => {
  const world = new World();
  const one = world.add(`j-${"ab".repeat(6)}${"00".repeat(10)}`);
  const other = world.add(`j-${"ab".repeat(6)}${"11".repeat(10)}`);
  world.ids.commit();
  world.addAll(MOST);
  while (world.ids.hasWork) world.work();
  assert.deepEqual(world.ids.find(one.id), [one.seq, other.seq]);
});

Deno.test("SqliteIds knows of jobs that were there, so that the number of one is not that of another one", () => {
  const world = new World();
  world.addAll(2 * MOST);
  while (world.ids.hasWork) world.work();
  world.db.exec("DELETE FROM job");
  world.reopen();
  assert.equal(world.ids.newest, 2 * MOST);
  assert.equal(new JobTable(world.db).lastSeq, 2 * MOST);
});
