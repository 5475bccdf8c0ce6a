/**
 * The worker processes that serve() starts while it prepares all else. They are counted as children of this process,
 * so no other test may run beside these.
 */

import { strict as assert } from "node:assert";
import { serve } from "../../mod.ts";
import type { ServeOptions } from "../../options/settings.ts";
import { Folder } from "../rig/folder.ts";
import { childrenOf } from "../rig/processes.ts";
import { until, within } from "../rig/wait.ts";

const linux = Deno.build.os === "linux";
const UNSERVED: ServeOptions = { frontend: "tcp://127.0.0.1:0", minWorkers: 1, logLevel: "error" };

Deno.test({
  name: "serve has started its first worker's process when it returns, and that one serves",
  ignore: !linux,
  async fn() {
    const before = childrenOf(Deno.pid);
    await using server = serve(UNSERVED);
    const started = childrenOf(Deno.pid).filter((pid) => !before.includes(pid));
    assert.equal(started.length, 1);
    await within("it is ready", server.ready);
    assert.deepEqual(server.stats().processes.map(({ pid }) => pid), started);
  },
});

Deno.test({
  name: "serve leaves no process, and runs nothing of a handler, when an endpoint can't be bound",
  ignore: !linux,
  async fn() {
    using folder = new Folder();
    const code =
      'Deno.writeTextFileSync(new URL("ran", import.meta.url), ""); export default () => "";';
    const handler = new URL(`file://${folder.write("handler.ts", code)}`);
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const before = childrenOf(Deno.pid);
    const frontend = `tcp://127.0.0.1:${listener.addr.port}`;
    const permissions = { write: [folder.path] };
    assert.throws(
      () => serve({ ...UNSERVED, frontend, handler, permissions }),
      /Address already in use/,
    );
    listener.close();
    await until("none is left", () => childrenOf(Deno.pid).every((pid) => before.includes(pid)));
    assert.deepEqual([...Deno.readDirSync(folder.path)].map(({ name }) => name), ["handler.ts"]);
  },
});

Deno.test({
  name: "serve ends the processes that it needs no more when it is told to stop at once",
  ignore: !linux,
  async fn() {
    const before = childrenOf(Deno.pid);
    const server = serve({ ...UNSERVED, signal: AbortSignal.abort() });
    await within("it ends", server.finished);
    await until("none is left", () => childrenOf(Deno.pid).every((pid) => before.includes(pid)));
  },
});
