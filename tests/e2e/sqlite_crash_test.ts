/**
 * A process that works on a file of jobs is killed at random, again and again: what it was told is so for ever. Here
 * the page cache survives; what a power cut leaves is told in torture/.
 */

import { strict as assert } from "node:assert";
import { DatabaseSync } from "node:sqlite";
import { Folder } from "../rig/folder.ts";
import { path } from "../rig/checkout.ts";
import { DrivenClock } from "../rig/driven_clock.ts";
import { SqliteRig } from "../rig/sqlite_rig.ts";
import { StoreWorld, textOf } from "../rig/store_world.ts";
import { LIMIT, pause, within } from "../rig/wait.ts";

const ROUNDS = 4;
/** The longest time that a process works before it is killed, ms. */
const LONGEST = 150;

/** Lets a process work on a file, and kills it. What it has said. */
async function workAndDie(file: string): Promise<string[]> {
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "-A",
      "--no-check",
      "--config",
      path("deno.json"),
      path("tests/rig/store_writer.ts"),
      file,
    ],
    stdout: "piped",
    stderr: "inherit",
    signal: AbortSignal.timeout(LIMIT),
  }).spawn();
  const decoder = new TextDecoder();
  let text = "";
  const first = Promise.withResolvers<void>();
  const all = (async () => {
    for await (const chunk of child.stdout) {
      text += decoder.decode(chunk, { stream: true });
      if (text.includes("d ")) first.resolve();
    }
  })();
  await within("a job is done", first.promise);
  await pause(LONGEST * Math.random());
  child.kill("SIGKILL");
  await all;
  await child.status;
  // The last line may be cut off.
  return text.slice(0, text.lastIndexOf("\n")).split("\n");
}

Deno.test("what a file of jobs has acknowledged is there after its process was killed, and done once", async () => {
  using folder = new Folder();
  const file = `${folder.path}/jobs.db`;
  const stored = new Set<string>();
  const done = new Set<string>();
  for (let round = 0; round < ROUNDS; round++) {
    for (const line of await workAndDie(file)) {
      const [what, id = ""] = line.split(" ");
      assert.notEqual(what, "!", line);
      if (what === "s") stored.add(id);
      if (what !== "d") continue;
      assert.ok(!done.has(id), `${id} is done once`);
      done.add(id);
    }
  }
  assert.ok(done.size > 0);
  const world = await StoreWorld.open(new SqliteRig(folder, new DrivenClock()));
  for (const id of stored) {
    const { status, result } = await world.result(id);
    if (done.has(id)) assert.equal(status.state, "done");
    if (status.state === "done") assert.equal(textOf(result?.bytes), id);
    else assert.equal(status.state, "waiting");
  }
  await world.close();
  const db = new DatabaseSync(file);
  assert.equal(db.prepare("PRAGMA integrity_check").get()?.integrity_check, "ok");
  const counted = db.prepare("SELECT sum(jobs) AS jobs, sum(weight) AS weight FROM tally").get();
  const there = db.prepare("SELECT count(*) AS jobs, sum(weight) AS weight FROM job").get();
  assert.deepEqual(counted, there, "the counts are those of the jobs");
  db.close();
});
