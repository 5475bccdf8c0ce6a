/** The server as the first process of a container. */

import { strict as assert } from "node:assert";
import { Client } from "../../client.ts";
import { path } from "../rig/checkout.ts";
import { Folder } from "../rig/folder.ts";
import { endNow, statOf } from "../rig/processes.ts";
import { ENVIRONMENT } from "../rig/server_process.ts";
import { LIMIT, until } from "../rig/wait.ts";

const ISOLATED = ["--pid", "--fork", "--mount-proc", "--kill-child"];
const canIsolate = Deno.build.os === "linux" && Deno.uid() === 0 && mayIsolate();

/** Whether this machine lets us make namespaces. */
function mayIsolate(): boolean {
  const args = [...ISOLATED, "true"];
  const probe = new Deno.Command("unshare", { args, stdout: "null", stderr: "null" });
  try {
    return probe.outputSync().success;
  } catch {
    return false;
  }
}

/** Starts a program that starts others, and ends before they do. */
const HANDLER = `export default async () => {
  const args = ["-c", "sleep 0.1 & sleep 0.1 & exit 0"];
  const { code } = await new Deno.Command("/bin/sh", { args, stdout: "null" }).output();
  return String(code);
};`;

Deno.test({
  name:
    "the server waits for orphans of its handlers where it is process 1, and for none of its workers",
  ignore: !canIsolate,
  async fn() {
    using folder = new Folder();
    const endpoint = `ipc://${folder.path}/front`;
    const handler = folder.write("handler.ts", HANDLER);
    const allowed = ["--workers", "1", "--handler-allow-run=/bin/sh"];
    const command = [Deno.execPath(), "run", "-A", path("mod.ts"), "--frontend", endpoint];
    const container = new Deno.Command("unshare", {
      args: [...ISOLATED, ...command, ...allowed, handler],
      stdin: "null",
      stdout: "null",
      stderr: "null",
      env: ENVIRONMENT,
    }).spawn();
    try {
      await using client = new Client({ endpoint, timeout: LIMIT });
      for (let count = 0; count < 3; count++) {
        assert.equal((await client.request("")).text(), "0");
      }
      const [server = 0] = childrenOf(container.pid);
      await until("the orphans have come, and gone", () => childrenOf(server).length === 1);
      assert.equal((await client.request("")).text(), "0", "the worker goes on");
    } finally {
      await endNow(container);
    }
  },
});

/** Pids of the children of a process, those too that have ended and were not waited for. */
function childrenOf(parent: number): number[] {
  return [...Deno.readDirSync("/proc")].map(({ name }) => Number(name)).filter((pid) => {
    try {
      return Number(statOf(pid)[1]) === parent;
    } catch {
      return false;
    }
  });
}
