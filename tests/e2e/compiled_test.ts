/**
 * A program of `deno compile`, as far as it can be tried without one: its server believes to be compiled, and starts its
 * workers by itself instead of Deno. What only a real one shows, docs/operations.md names.
 */

import { strict as assert } from "node:assert";
import { path, ROOT } from "../rig/checkout.ts";
import { run } from "../rig/commands.ts";
import { Folder } from "../rig/folder.ts";
import { askOnce } from "../rig/peer.ts";
import { trySignal } from "../rig/processes.ts";
import { ServerProcess } from "../rig/server_process.ts";
import { until, within } from "../rig/wait.ts";

const KINDS = ["read", "write", "net", "env", "run", "sys", "ffi"];

/** What its worker may do, and how it may have been started. */
const HANDLER = `export default async () => {
  const states = ${JSON.stringify(KINDS)}.map((name) => Deno.permissions.querySync({ name }).state);
  return [String(Deno.pid), JSON.stringify(Deno.args), ...states];
};`;

/**
 * The program: run as Deno is, it serves and believes to be compiled; else it is what a server starts.
 *
 * @param main its main module.
 */
function compile(folder: Folder, main: string): string {
  const program = `${folder.path}/program`;
  const fake = folder.write(
    "fake.ts",
    `Object.defineProperty(Deno, "build", { value: { ...Deno.build, standalone: true } });
    Object.defineProperty(Deno, "execPath", { value: () => ${JSON.stringify(program)} });`,
  );
  const deno = `"${Deno.execPath()}" run --config "${path("deno.json")}"`;
  folder.write(
    "program",
    `#!/bin/sh
    if [ "$1" = run ]; then shift; exec ${deno} --preload "${fake}" "$@"; fi
    exec ${deno} -A --no-prompt "${main}" "$@"`,
  );
  Deno.chmodSync(program, 0o755);
  return program;
}

function serveCompiled(folder: Folder, args: string[] = []): Promise<ServerProcess> {
  const program = compile(folder, path("mod.ts"));
  return ServerProcess.start({ program, handler: HANDLER, args, permissions: ["-A"] });
}

Deno.test("a compiled server starts itself as its workers, which give up what the handler was not granted", async () => {
  using folder = new Folder();
  const args = ["--workers", "1", "--handler-allow-net", "--handler-allow-env=HOME"];
  await using server = await serveCompiled(folder, args);
  const [pid = "", given, ...states] = await askOnce(server.endpoint, "x");
  assert.deepEqual(server.workers.map(String), [pid]);
  assert.equal(given, '["--worker"]');
  const denied = KINDS.filter((_, index) => states[index] !== "granted");
  assert.deepEqual(denied, ["read", "write", "run", "sys", "ffi"]);
  // Nothing takes the place of a worker but the same again.
  trySignal(Number(pid), "SIGKILL");
  const [next] = await within("another answers", askOnce(server.endpoint, "x"));
  assert.notEqual(next, pid);
});

Deno.test("a compiled server replaces its workers at a reload, and ends in order", async () => {
  using folder = new Folder();
  await using server = await serveCompiled(folder, ["--workers", "1"]);
  const [first] = await askOnce(server.endpoint, "x");
  Deno.kill(server.pid, "SIGHUP");
  await until("the worker is another one", async () => {
    const [now] = await askOnce(server.endpoint, "x");
    return now !== first;
  });
  Deno.kill(server.pid, "SIGTERM");
  assert.equal((await server.ended()).code, 0);
});

Deno.test("a program of one's own becomes a worker by work(), which loads what the program names", async () => {
  using folder = new Folder();
  folder.write("handler.ts", HANDLER);
  const [mod, compiled] = ["mod.ts", "worker/compiled.ts"].map((file) => new URL(file, ROOT).href);
  const main = folder.write(
    "main.ts",
    `import { serve } from ${JSON.stringify(mod)};
    import { isWorker, work } from ${JSON.stringify(compiled)};
    if (isWorker()) await work(() => import("./handler.ts"));
    const handler = new URL("./handler.ts", import.meta.url);
    const options = { handler, frontend: "ipc://${folder.path}/jobs", workers: 1 };
    const server = serve({ ...options, handleSignals: true, logLevel: "critical" });
    await server.ready;
    console.log("ready");
    await server.finished;`,
  );
  const program = new Deno.Command(compile(folder, main), {
    args: ["run", "-A", main],
    stdout: "piped",
  }).spawn();
  const reader = program.stdout.getReader();
  await within("it is ready", reader.read());
  const [, given] = await askOnce(`ipc://${folder.path}/jobs`, "x");
  assert.equal(given, '["--worker"]');
  program.kill("SIGTERM");
  reader.releaseLock();
  await program.stdout.cancel();
  assert.equal((await within("it ends", program.status)).code, 0);
});

Deno.test("a compiled server echoes where it has no handler, and tries one on --check", async () => {
  using folder = new Folder();
  const program = compile(folder, path("mod.ts"));
  {
    await using server = await ServerProcess.start({ program, permissions: ["-A"] });
    assert.deepEqual(await askOnce(server.endpoint, "x"), ["x"]);
  }
  const good = folder.write("good.ts", HANDLER);
  const bad = folder.write("bad.ts", "throw new Error('not today')");
  const check = (file: string) => run(program, ["run", "-A", path("mod.ts"), "--check", file]);
  assert.equal((await check(good)).code, 0);
  const { code, stderr } = await check(bad);
  assert.equal(code, 1);
  assert.match(stderr, /bad\.ts.*not today/);
});

Deno.test("a compiled server refuses a limit of memory that it can't give its workers", async () => {
  using folder = new Folder();
  const program = compile(folder, path("mod.ts"));
  const args = ["run", "-A", path("mod.ts"), "--port", "0", "--memory-limit", "100MiB"];
  const { code, stderr } = await run(program, args);
  assert.match(stderr, /"memoryLimit" \(--memory-limit\) can't be set in a compiled program/);
  assert.equal(code, 2);
});

Deno.test("a worker that nobody gives orders says that only the server can start one", async () => {
  const { code, stderr } = await run(Deno.execPath(), ["run", "-A", path("mod.ts"), "--worker"]);
  assert.match(stderr, /Cannot start a worker by hand: only the server can/);
  assert.notEqual(code, 0);
});
