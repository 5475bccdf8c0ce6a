/** What a program with a server in it leaves behind when it ends, or is started anew, without a word. */

import { strict as assert } from "node:assert";
import { path, ROOT } from "../rig/checkout.ts";
import { run } from "../rig/commands.ts";
import { Folder } from "../rig/folder.ts";
import { askOnce } from "../rig/peer.ts";
import { freePort } from "../rig/ports.ts";
import { endNow, isAlive } from "../rig/processes.ts";
import { ENVIRONMENT } from "../rig/server_process.ts";
import { LIMIT, until, within } from "../rig/wait.ts";

const ignore = Deno.build.os !== "linux";

/** A program that serves, and prints its version and its worker once it is ready. */
function program(folder: Folder, version: number, then = ""): string {
  return `import { serve } from ${JSON.stringify(new URL("mod.ts", ROOT).href)};
    const port = Number(Deno.readTextFileSync("${folder.path}/port"));
    const server = serve({
      frontend: ["tcp://127.0.0.1:" + port, "ipc://${folder.path}/jobs"],
      handler: "data:application/javascript,export default () => '${version}'",
      pidFile: "${folder.path}/pid",
      logLevel: "critical",
      workers: 1,
    });
    await server.ready;
    console.log("version ${version} worker " + server.stats().processes[0].pid);
    ${then}`;
}

function prepare(): { folder: Folder; port: number; args: string[]; main: string } {
  const folder = new Folder();
  // 0 would be another one after each start.
  const port = freePort();
  folder.write("port", String(port));
  const main = `${folder.path}/main.ts`;
  return { folder, port, main, args: ["-A", "--config", path("deno.json"), main] };
}

Deno.test("serve serves anew when deno run --watch starts its program anew", {
  ignore,
}, async () => {
  const { folder, port, args, main } = prepare();
  using _folder = folder;
  Deno.writeTextFileSync(main, program(folder, 1));
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--watch", ...args],
    env: ENVIRONMENT,
    stdin: "null",
    stdout: "piped",
    stderr: "null",
    signal: AbortSignal.timeout(LIMIT),
  }).spawn();
  let printed = "";
  const reading = child.stdout.pipeThrough(new TextDecoderStream())
    .pipeTo(new WritableStream({ write: (text) => void (printed += text) }));
  const ready = (version: number) =>
    until(`version ${version} is ready`, () => {
      const [, pid] = new RegExp(`version ${version} worker (\\d+)`).exec(printed) ?? [];
      return pid === undefined ? undefined : Number(pid);
    });
  let worker = await ready(1);
  for (const version of [2, 3]) {
    Deno.writeTextFileSync(main, program(folder, version));
    const next = await ready(version);
    await until("the worker of before is gone", () => !isAlive(worker));
    worker = next;
    for (const endpoint of [`tcp://127.0.0.1:${port}`, `ipc://${folder.path}/jobs`]) {
      assert.deepEqual(await askOnce(endpoint, "x"), [String(version)]);
    }
  }
  await endNow(child);
  await within("nothing holds its output open", reading.catch(() => {}));
});

Deno.test("serve leaves no file and no worker behind when its program exits", {
  ignore,
}, async () => {
  const { folder, args, main } = prepare();
  using _folder = folder;
  using temporary = new Folder();
  Deno.writeTextFileSync(main, program(folder, 1, "Deno.exit(7);"));
  const env = { TMPDIR: temporary.path };
  const { code, stdout } = await run(Deno.execPath(), ["run", ...args], { env });
  assert.equal(code, 7);
  const [, worker = ""] = /worker (\d+)/.exec(stdout) ?? [];
  await until("the worker is gone", () => !isAlive(Number(worker)));
  const left = [...Deno.readDirSync(folder.path)].map(({ name }) => name).sort();
  assert.deepEqual(left, ["main.ts", "port"]);
  assert.deepEqual([...Deno.readDirSync(temporary.path)], []);
});
