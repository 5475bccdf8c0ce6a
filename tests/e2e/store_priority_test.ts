/** The thread of the store gives way to that of the data plane. */

import { strict as assert } from "node:assert";
import { Client } from "../../client.ts";
import { Folder } from "../rig/folder.ts";
import { ServerProcess } from "../rig/server_process.ts";
import { until } from "../rig/wait.ts";

/** The nice values of all threads of a process: field 19 of proc(5)'s stat, the third being the first behind the name. */
function niceValues(pid: number): number[] {
  return [...Deno.readDirSync(`/proc/${pid}/task`)].map(({ name }) => {
    const stat = Deno.readTextFileSync(`/proc/${pid}/task/${name}/stat`);
    return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[16]);
  });
}

Deno.test({
  name: "one thread of a server gives way to the others once a job is stored",
  ignore: Deno.build.os !== "linux",
  async fn() {
    using folder = new Folder();
    const args = ["--workers", "1", "--store", `sqlite:${folder.path}/jobs.db`];
    await using server = await ServerProcess.start({ args, permissions: ["-A"] });
    const usual = niceValues(server.pid)[0] ?? 0;
    const yielding = () => niceValues(server.pid).filter((nice) => nice === usual + 5).length;
    assert.equal(yielding(), 0);
    await using client = new Client({ endpoint: server.endpoint });
    await client.submit("hello");
    await until("a thread gives way", () => yielding() === 1);
  },
});
