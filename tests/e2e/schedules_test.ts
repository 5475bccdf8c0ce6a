/** Schedules of a server that runs: at the start, at a reload, and over a restart. */

import { strict as assert } from "node:assert";
import type { Server } from "../../mod.ts";
import { Folder } from "../rig/folder.ts";
import { moduleOf, serveQuietly } from "../rig/in_process.ts";
import { until } from "../rig/wait.ts";

const ECHO = moduleOf("export default (body) => body;");
const EVERY_SECOND = "* * * * * *";

/** Due times of a schedule's jobs that are done. */
async function dues(server: Server, schedule: string): Promise<string[]> {
  const { jobs } = await server.stored.list({ state: "done", limit: 1000 });
  return jobs.map(({ key }) => key).filter((key) => key.startsWith(`schedule:${schedule}:`));
}

async function isDue(server: Server, schedule: string, times: number): Promise<string[]> {
  return await until(`"${schedule}" was due ${times} times`, async () => {
    const all = await dues(server, schedule);
    return all.length >= times && all;
  });
}

Deno.test("schedules are submitted once, applied by a reload, and go on after a restart", async () => {
  using folder = new Folder();
  const store = `sqlite:${folder.path}/jobs.db`;
  const options = { handler: ECHO, workers: 1, store };
  const first = { cron: EVERY_SECOND, body: "one" };
  let before: string[] = [];
  {
    await using server = serveQuietly({ ...options, schedules: { first } });
    await isDue(server, "first", 2);
    const bad = { schedules: { first: { cron: "61 * * * *" } } };
    await assert.rejects(async () => await server.reload(bad), {
      name: "RangeError",
      message: /"schedules\.first\.cron": field "minute" must be from 0 to 59/,
    });
    await isDue(server, "first", (await dues(server, "first")).length + 1);
    await server.reload({ schedules: { second: first } });
    await isDue(server, "second", 1);
    before = await dues(server, "first");
    // Two more of the second one: the first one would have been due, too.
    await isDue(server, "second", (await dues(server, "second")).length + 2);
    assert.deepEqual(await dues(server, "first"), before);
  }
  await using server = serveQuietly({ ...options, schedules: { first } });
  const after = await isDue(server, "first", before.length + 2);
  assert.equal(new Set(after).size, after.length, "none twice");
});
