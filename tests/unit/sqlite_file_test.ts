/** Jobs in a file of SQLite: what the file is, who has it, and what happens where the disk fails. The clock is driven. */

import { strict as assert } from "node:assert";
import { DatabaseSync } from "node:sqlite";
import type { JobStore, StoreUser } from "../../store/job_store.ts";
import type { FromStore, StoreConfig } from "../../store/messages.ts";
import { copyStore, restoreStore } from "../../store/sqlite_copy.ts";
import { SqliteJobs } from "../../store/sqlite_jobs.ts";
import { FilePresence } from "../../store/sqlite_presence.ts";
import { lockPath } from "../../store/sqlite_lock.ts";
import { prepareFile, STEPS, VERSION, versionOf } from "../../store/sqlite_schema.ts";
import { openStore } from "../../store/sqlite_store.ts";
import { DrivenClock } from "../rig/driven_clock.ts";
import { Folder } from "../rig/folder.ts";
import { SqliteRig } from "../rig/sqlite_rig.ts";
import {
  bytesOf,
  configOf,
  Refused,
  type StoreRig,
  StoreWorld,
  textOf,
} from "../rig/store_world.ts";

/** What a store has said to the server, of one type. */
function said<Type extends FromStore["type"]>(
  messages: readonly FromStore[],
  type: Type,
): Extract<FromStore, { type: Type }>[] {
  return messages.flatMap((message) =>
    message.type === type ? [message as Extract<FromStore, { type: Type }>] : []
  );
}

function rejects(code: number, pattern: RegExp) {
  return (error: Error) => {
    assert.ok(error instanceof Refused, String(error));
    assert.equal(error.code, code);
    assert.match(error.message, pattern);
    return true;
  };
}

/** A place whose connection is the test's. */
class BareRig implements StoreRig {
  readonly isDriven = true;
  readonly slackMs = 0;
  readonly clock = new DrivenClock();
  readonly folder = new Folder();
  db: DatabaseSync | undefined;

  get path(): string {
    return `${this.folder.path}/jobs.db`;
  }

  now(): number {
    return this.clock.now();
  }

  async pass(ms: number): Promise<void> {
    await this.clock.pass(ms);
  }

  open(
    config: StoreConfig,
    emit: (to: StoreUser, messages: FromStore[]) => void,
  ): Promise<JobStore> {
    const db = this.db = new DatabaseSync(this.path);
    prepareFile(db, this.path);
    const store = `sqlite:${this.path}`;
    const jobs = new SqliteJobs(db, { store, config, nats: undefined, clock: this.clock, emit });
    emit("server", [{ type: "opened" }]);
    return Promise.resolve(jobs);
  }

  dispose(): Promise<void> {
    this.folder[Symbol.dispose]();
    return Promise.resolve();
  }
}

/** Opens a world over a rig of its own, and removes all. */
async function withBare(run: (world: StoreWorld, rig: BareRig) => Promise<void>): Promise<void> {
  const rig = new BareRig();
  const world = await StoreWorld.open(rig);
  try {
    await run(world, rig);
  } finally {
    await world.close();
    await rig.dispose();
  }
}

// ---- the disk ----

Deno.test("SqliteJobs refuses submissions with 507 and the reason while the disk is full, and owes what has ended", async () => {
  await withBare(async (world, rig) => {
    const { id } = await world.submit({ body: "first" });
    const run = await world.next();
    const pages = rig.db?.prepare("PRAGMA page_count").get()?.page_count;
    rig.db?.exec(`PRAGMA max_page_count = ${pages}`);
    await assert.rejects(world.submit({ body: "x".repeat(100_000) }), rejects(507, /full/));
    world.end(run, 200, "y".repeat(100_000));
    const waiting = await world.status(id);
    assert.equal(waiting.state, "running", "how it has ended is not stored yet");
    await assert.rejects(world.submit(), rejects(507, /full/));
    const figures = await world.operate({ type: "figures" });
    assert.match((figures.type === "figures" && figures.figures.trouble) || "", /full/);
    rig.db?.exec("PRAGMA max_page_count = 1000000");
    await world.rig.pass(1000);
    const { status, result } = await world.result(id);
    assert.equal(status.state, "done");
    assert.equal(result?.bytes.length, 100_000);
    assert.ok((await world.submit()).isNew);
    assert.equal(world.logged.filter(({ level }) => level === "error").length, 1);
  });
});

Deno.test("SqliteJobs stores small jobs when a large one does not fit", async () => {
  await withBare(async (world, rig) => {
    const pages = Number(rig.db?.prepare("PRAGMA page_count").get()?.page_count);
    rig.db?.exec(`PRAGMA max_page_count = ${pages + 40}`);
    await assert.rejects(world.submit({ body: "x".repeat(1_000_000) }), rejects(507, /full/));
    await world.rig.pass(1000);
    assert.ok((await world.submit({ body: "small" })).isNew);
  });
});

Deno.test("SqliteJobs starts nothing while the disk is full", async () => {
  await withBare(async (world, rig) => {
    await world.submit({ body: "first" });
    rig.db?.exec("PRAGMA query_only = 1");
    await assert.rejects(world.submit(), rejects(507, /readonly/));
    world.room(1);
    await world.quiet();
    world.isIdle();
    rig.db?.exec("PRAGMA query_only = 0");
    await world.rig.pass(1000);
    assert.equal(world.given.length, 1);
  });
});

// ---- the file ----

/** Opens a store at a path, and gives what it says to the server. */
function openAt(path: string, clock: DrivenClock) {
  const messages: FromStore[] = [];
  const plane: FromStore[] = [];
  const emit = (to: StoreUser, some: FromStore[]) =>
    void (to === "server" ? messages : plane).push(...some);
  const store = openStore({
    store: `sqlite:${path}`,
    config: configOf(),
    nats: undefined,
    clock,
    emit,
  });
  return { store, messages, plane };
}

Deno.test("SqliteStore refuses all with 507 while the file is damaged, and opens it once it is whole", async () => {
  using folder = new Folder();
  const clock = new DrivenClock();
  const path = folder.write(
    "jobs.db",
    "this is no database, and longer than its header would be".repeat(9),
  );
  const { store, messages, plane } = openAt(path, clock);
  assert.match(said(messages, "failed")[0]?.message ?? "", /not a database/);
  store.take([{ type: "ask", number: 7, user: "", question: { type: "cancel", id: "" } }], "plane");
  assert.deepEqual(plane.map((answer) => answer.type === "refused" && answer.code), [507]);
  await clock.pass(10_000);
  assert.equal(said(messages, "failed").length, 1, "the same is said once");
  Deno.removeSync(path);
  await clock.pass(10_000);
  assert.equal(said(messages, "opened").length, 1);
  await store.close();
});

Deno.test("SqliteStore says so where its path leads to a folder", async () => {
  using folder = new Folder();
  const { store, messages } = openAt(folder.path, new DrivenClock());
  const reason = said(messages, "failed")[0]?.message ?? "";
  assert.match(reason, /: ".*" is a folder: give the path of a file$/);
  await store.close();
});

for (const ending of ["", "-wal", "-shm"]) {
  Deno.test(`SqliteJobs refuses jobs while jobs.db${ending} is removed or replaced, and goes on once it is back`, async () => {
    await withBare(async (world, rig) => {
      const path = rig.path + ending;
      const { id } = await world.submit({ body: "runs" });
      const run = await world.next();
      const waiting = await world.submit({ body: "waits" });
      for (const isReplaced of [false, true]) {
        Deno.renameSync(path, `${path}.away`);
        if (isReplaced) Deno.copyFileSync(`${path}.away`, path);
        await world.rig.pass(1000);
        const what = isReplaced ? "was replaced by another file" : "was removed";
        const reason = new RegExp(`^Cannot store jobs: ".*/jobs\\.db${ending}" ${what}: put back`);
        await assert.rejects(world.submit(), rejects(507, reason));
        await assert.rejects(
          world.operate({ type: "backup", file: `${path}.copy` }),
          rejects(507, reason),
        );
        if (!isReplaced) world.end(run, 200, "ended meanwhile");
        // Nothing more is started, and what has ended is not known to be so.
        world.room(1);
        await world.rig.pass(5000);
        world.isIdle();
        assert.equal((await world.status(id)).state, isReplaced ? "done" : "running");
        Deno.renameSync(`${path}.away`, path);
        await world.rig.pass(1000);
        assert.equal(textOf((await world.result(id)).result?.bytes), "ended meanwhile");
        if (!isReplaced) world.end(await world.next(), 200, "");
        assert.equal((await world.status(waiting.id)).state, "done");
        assert.ok((await world.submit({ service: "other" })).isNew);
      }
      const errors = world.logged.filter(({ level }) => level === "error");
      assert.deepEqual(
        errors.map(({ message }) => message),
        Array(2).fill("jobs are not stored: they are refused with 507"),
      );
      assert.equal(
        world.logged.filter(({ message }) => message === "jobs are stored again").length,
        2,
      );
    });
  });
}

Deno.test("FilePresence looks once a second at most, and at once when it has found nothing", () => {
  let looks = 0;
  let now = 0;
  let found: string | undefined = "1 2";
  const presence = new FilePresence("/a", () => now, () => (looks++, found));
  for (; now < 3000; now += 10) presence.require();
  assert.equal(looks, 3 * (1 + 3));
  found = undefined;
  now = 5000;
  assert.throws(() => presence.require(), {
    name: "MovedFileError",
    message: /^"\/a" was removed/,
  });
  found = "1 3";
  assert.throws(() => presence.require(), { message: /^"\/a" was replaced by another file/ });
  found = "1 2";
  presence.require();
});

Deno.test("SqliteStore names the file and the process that has it, and takes over when that ends", async () => {
  using folder = new Folder();
  const clock = new DrivenClock();
  const path = `${folder.path}/jobs.db`;
  const first = openAt(path, clock);
  assert.equal(said(first.messages, "opened").length, 1);
  const second = openAt(path, clock);
  const message = said(second.messages, "failed")[0]?.message ?? "";
  assert.ok(message.includes(path) && message.includes(`process ${Deno.pid}`), message);
  await first.store.close();
  await clock.pass(10_000);
  assert.equal(said(second.messages, "opened").length, 1);
  await second.store.close();
});

Deno.test("a file of jobs that is reached by a link is one file: it is held once, and restored where it lies", async () => {
  using folder = new Folder();
  const path = `${folder.path}/jobs.db`;
  const link = `${folder.path}/link.db`;
  const copy = `${folder.path}/copy.db`;
  const clock = new DrivenClock();
  const first = openAt(path, clock);
  await copyStore(path, copy);
  Deno.symlinkSync(path, link);
  const second = openAt(link, clock);
  const reason = said(second.messages, "failed")[0]?.message ?? "";
  assert.match(reason, /process \d+.* has ".*link.db"$/);
  await assert.rejects(restoreStore(copy, link), /process \d+.* has ".*jobs.db"$/);
  await second.store.close();
  await first.store.close();
  assert.equal(await restoreStore(copy, link), 0);
  assert.equal(Deno.lstatSync(link).isSymlink, true);
  assert.equal(Deno.lstatSync(path).isFile, true);
});

Deno.test("SqliteStore gives rooms that were said before it was open", async () => {
  using folder = new Folder();
  const clock = new DrivenClock();
  const path = `${folder.path}/jobs.db`;
  const first = openAt(path, clock);
  const second = openAt(path, clock);
  second.store.take([{ type: "room", service: "work", jobs: 1 }], "plane");
  await first.store.close();
  await clock.pass(10_000);
  const job = { ...EMPTY, service: "work", body: { bytes: bytesOf("x") } };
  second.store.take([{ type: "submit", number: 1, job }], "plane");
  assert.deepEqual(second.plane.map(({ type }) => type), ["stored", "job"]);
  await second.store.close();
});

const EMPTY = {
  ...{ id: "", user: "", key: "", runAt: 0, priority: 4, retries: 4, requestTimeout: 0 },
  ...{ expiresAt: 0, group: "", after: [], trace: "", backoff: { firstMs: 1000, maxMs: 1000 } },
};

Deno.test("the file and its lock are the user's alone", async () => {
  using folder = new Folder();
  const path = `${folder.path}/new/jobs.db`;
  const { store } = openAt(path, new DrivenClock());
  for (const file of [path, lockPath(path)]) {
    assert.equal((Deno.statSync(file).mode ?? 0) & 0o077, 0, file);
  }
  await store.close();
});

Deno.test("prepareFile brings a file of each older version up to date", async () => {
  for (let version = 1; version < VERSION; version++) {
    using folder = new Folder();
    const path = `${folder.path}/jobs.db`;
    const old = new DatabaseSync(path);
    for (const step of STEPS.slice(0, version)) old.exec(step);
    old.exec(`PRAGMA application_id = ${0x50464a42}; PRAGMA user_version = ${version}`);
    old.exec("INSERT INTO service (number, name) VALUES (1, 'work')");
    old.exec(
      `INSERT INTO job (seq, id, service, stage, priority, user, grp, due, created, tries, deaths, version, bytes,
        weight, parts, body) VALUES (7, x'00112233445566778899aabbccddeeff', 1, 1, 4, '', '', 5, 5, 0, 0, 1, 2, 2, 0,
        x'6869'); INSERT INTO tally VALUES (114, 1, 2)`,
    );
    old.close();
    const world = await StoreWorld.open(new SqliteRig(folder, new DrivenClock()));
    const run = await world.run();
    assert.equal(run.id, "j-00112233445566778899aabbccddeeff");
    assert.equal((await world.status(run.id)).state, "done");
    await world.close();
  }
});

Deno.test("prepareFile refuses a file of a newer program, and one of another program", () => {
  using folder = new Folder();
  const newer = `${folder.path}/newer.db`;
  const db = new DatabaseSync(newer);
  prepareFile(db, newer);
  db.exec(`PRAGMA user_version = ${VERSION + 1}`);
  assert.throws(() => prepareFile(db, newer), /newer version/);
  db.close();
  const other = new DatabaseSync(`${folder.path}/other.db`);
  other.exec("CREATE TABLE t (x)");
  assert.throws(() => prepareFile(other, "other.db"), /another program/);
  assert.equal(versionOf(other), 0, "it is as it was");
  other.close();
});

// ---- copies ----

Deno.test("a copy that is made while jobs go on has all that was acknowledged, and is put back", async () => {
  using folder = new Folder();
  const world = await StoreWorld.open(new SqliteRig(folder, new DrivenClock()));
  const ids = await world.submitAll(Array.from({ length: 20 }, (_, i) => ({ body: `${i}` })));
  const copy = `${folder.path}/copy.db`;
  await copyStore(`${folder.path}/jobs.db`, copy);
  assert.equal((Deno.statSync(copy).mode ?? 0) & 0o077, 0);
  const refused = (to: string, message: string) =>
    assert.rejects(copyStore(`${folder.path}/jobs.db`, to), { message });
  await refused(copy, `"${copy}" is there already`);
  await refused(folder.path, `"${folder.path}" is a folder: give the path of a file`);
  await refused(`${folder.path}/none/a.db`, `There is no folder "${folder.path}/none"`);
  const before = [...Deno.readDirSync(folder.path)].length;
  await assert.rejects(restoreStore(copy, folder.path), {
    message:
      `Cannot restore "${folder.path}": "${folder.path}" is a folder: give the path of a file`,
  });
  assert.equal([...Deno.readDirSync(folder.path)].length, before, "nothing is left");
  await assert.rejects(
    restoreStore(copy, `${folder.path}/jobs.db`),
    /jobs\.db": A store of this very process \d+, which may not have ended yet, has "/,
  );
  await world.run();
  await world.close();
  assert.equal(await restoreStore(copy, `${folder.path}/jobs.db`), 20);
  const beside = [...Deno.readDirSync(folder.path)].map(({ name }) => name);
  assert.deepEqual(beside.sort(), ["copy.db", "jobs.db", "jobs.db-lock"], "nothing else is left");
  await world.reopen();
  for (const id of ids) assert.equal((await world.status(id)).state, "waiting");
  await world.close();
});

Deno.test("restoreStore leaves the file as it is when the copy is damaged, empty, or another program's", async () => {
  using folder = new Folder();
  const path = folder.write("jobs.db", "as it was");
  const db = new DatabaseSync(`${folder.path}/other.db`);
  db.exec("CREATE TABLE t (x)");
  db.close();
  const damaged = folder.write(
    "damaged.db",
    "no database, and longer than its header would be".repeat(9),
  );
  for (
    const [copy, pattern] of [
      [damaged, /not a database/],
      [`${folder.path}/other.db`, /another program/],
      [folder.write("empty.db", ""), /empty/],
      [`${folder.path}/none.db`, /not there/],
    ] as const
  ) {
    await assert.rejects(restoreStore(copy, path), pattern);
    await assert.rejects(restoreStore(copy, path), (error) => {
      const { message } = error as Error;
      return message.startsWith(`Cannot restore "${path}": `) && message.includes(`"${copy}"`);
    });
    assert.equal(Deno.readTextFileSync(path), "as it was");
  }
});

// ---- the server's end ----

Deno.test("a run that was cut off by the server's own end is no try, until that happens too often", async () => {
  using folder = new Folder();
  const clock = new DrivenClock();
  const world = await StoreWorld.open(new SqliteRig(folder, clock));
  const { id } = await world.submit({ retries: 0 });
  const short = await world.submit({ retries: 0 });
  for (let death = 1; death <= 3; death++) {
    assert.equal((await world.status(id)).state, "waiting");
    const runs = await world.nextAll(1);
    assert.equal(runs[0]?.attempt, 1);
    await world.rig.pass(3000);
    await world.reopen();
  }
  const status = await world.status(id);
  assert.deepEqual([status.state, status.code], ["failed", 502]);
  assert.equal((await world.status(short.id)).state, "waiting");
  await world.close();
});

Deno.test("delays and back-offs pass by the steady clock when the clock on the wall is set back", async () => {
  using folder = new Folder();
  const clock = new DrivenClock();
  const world = await StoreWorld.open(new SqliteRig(folder, clock));
  const delayed = await world.submit({ runAt: clock.now() + 3000, isDelay: true });
  const fixed = await world.submit({ runAt: clock.now() + 3000 });
  const tried = await world.submit({ backoff: { firstMs: 2000, maxMs: 2000 } });
  await world.run(500);
  assert.equal((await world.status(tried.id)).state, "scheduled");
  clock.set(-3_600_000);
  world.room(10);
  await world.rig.pass(10_000);
  assert.deepEqual(world.runs.slice(1).map(({ id }) => id).sort(), [delayed.id, tried.id].sort());
  assert.equal((await world.status(fixed.id)).state, "scheduled");
  await world.close();
});

Deno.test("a clock that is set forth makes no job burn its tries", async () => {
  using folder = new Folder();
  const clock = new DrivenClock();
  const world = await StoreWorld.open(new SqliteRig(folder, clock));
  const { id } = await world.submit({ backoff: { firstMs: 60_000, maxMs: 60_000 } });
  await world.run(500);
  clock.set(3_600_000);
  await world.rig.pass(10_000);
  world.end(await world.next(), 500);
  await world.rig.pass(10_000);
  assert.equal((await world.status(id)).attempt, 2);
  await world.close();
});

// ---- what many jobs leave behind ----

Deno.test("the file becomes small again when many jobs are forgotten", async () => {
  await withBare(async (world, rig) => {
    world.configure({ resultTtl: 1000, deadTtl: 1000 });
    const body = "x".repeat(500_000);
    const ids = await world.submitAll(Array.from({ length: 50 }, () => ({ body })));
    const pages = () => Number(rig.db?.prepare("PRAGMA page_count").get()?.page_count);
    const before = pages();
    for (const id of ids) await world.cancel(id);
    await world.rig.pass(60_000);
    assert.ok(pages() < 0.7 * before, `${pages()} of ${before} pages`);
    await assert.rejects(world.status(ids[0] ?? ""), rejects(404, /Unknown job/));
  });
});
