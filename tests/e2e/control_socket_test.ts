/** The file of the control socket: whose it is, what is there already, and what the server may do. */

import assert from "node:assert/strict";
import { path } from "../rig/checkout.ts";
import { run as runCommand } from "../rig/commands.ts";
import { Operations } from "../rig/ctl.ts";
import { Folder } from "../rig/folder.ts";
import { ask } from "../rig/operator.ts";
import { serverFlags } from "../rig/permissions.ts";
import { ServerProcess } from "../rig/server_process.ts";
import { until } from "../rig/wait.ts";

const ONE = ["--workers", "1"];
const DENIED = "there is no control socket";
const isRoot = Deno.build.os !== "windows" && Deno.uid() === 0;

/** The file that a server says it listens at. */
async function socketOf(server: ServerProcess): Promise<string> {
  return String((await server.line("listening to operators")).control);
}

Deno.test("a server takes over the socket that a killed one has left, and nothing else", async () => {
  using folder = new Folder();
  const file = `${folder.path}/s.sock`;
  const args = [...ONE, "--control", file];
  const start = (raw = false) =>
    ServerProcess.start({ args, raw, env: { TMPDIR: folder.path }, permissions: ["-A"] });
  {
    await using first = await start();
    await socketOf(first);
    // Somebody else listens there: that is an error, as it was asked for by name.
    await using second = await start(true);
    assert.equal((await second.ended()).code, 1);
    assert.match(second.noise.join(), /Cannot open the control socket: another server listens at/);
    assert.equal((await ask({ path: file }, "/api/status")).json.pid, first.pid);
    first.signal("SIGKILL");
    await first.ended();
  }
  assert.ok(Deno.lstatSync(file).isSocket, "it was left");
  await using third = await start();
  await socketOf(third);
  assert.equal((await ask({ path: file }, "/api/status")).json.pid, third.pid);
  third.signal("SIGTERM");
  await third.ended();
  assert.throws(() => Deno.lstatSync(file), Deno.errors.NotFound);
  // What is no socket is left as it is.
  Deno.writeTextFileSync(file, "text");
  await using fourth = await start(true);
  assert.equal((await fourth.ended()).code, 1);
  assert.match(fourth.noise.join(), /s\.sock" is a file, not a socket/);
  assert.equal(Deno.readTextFileSync(file), "text");
});

Deno.test("a server leaves a socket that is not its own any more, when it ends", async () => {
  using folder = new Folder();
  const file = `${folder.path}/s.sock`;
  const args = [...ONE, "--control", file];
  await using server = await ServerProcess.start({ args, permissions: ["-A"] });
  await socketOf(server);
  Deno.removeSync(file);
  using _other = Deno.listen({ transport: "unix", path: file });
  server.signal("SIGTERM");
  await server.ended();
  assert.ok(Deno.lstatSync(file).isSocket);
});

Deno.test("two servers of one user have sockets of their own, and serve both", async () => {
  using operations = new Operations();
  await using one = await operations.start(ONE);
  await using other = await operations.start(ONE);
  const files = await Promise.all([one, other].map(socketOf));
  assert.notEqual(files[0], files[1]);
  for (const [index, server] of [one, other].entries()) {
    assert.equal((await ask({ path: files[index] ?? "" }, "/api/status")).json.pid, server.pid);
  }
});

Deno.test("a server goes without a control socket, and says why, where the folder is not safe", async (t) => {
  using folder = new Folder();
  const env = { XDG_RUNTIME_DIR: folder.path, TMPDIR: folder.path };
  const own = `${folder.path}/prefork`;
  const refusal = async () => {
    // Where the first folder can't be had the other one serves; here neither can.
    await using server = await ServerProcess.start({ args: ONE, env, permissions: ["-A"] });
    const { level, reason } = await server.line(DENIED);
    assert.equal(level, "warn");
    return String(reason);
  };
  const second = `${folder.path}/prefork-${Deno.uid()}`;
  Deno.writeTextFileSync(second, "");
  const UNSAFE = /^the folder ".*\/prefork" is not this user's alone, with mode 0700$/;

  await t.step("others may enter it", async () => {
    Deno.mkdirSync(own);
    Deno.chmodSync(own, 0o755);
    assert.match(await refusal(), UNSAFE);
  });
  await t.step("it is a link", async () => {
    Deno.removeSync(own);
    Deno.mkdirSync(`${folder.path}/elsewhere`, { mode: 0o700 });
    Deno.symlinkSync(`${folder.path}/elsewhere`, own);
    assert.match(await refusal(), UNSAFE);
    Deno.removeSync(own);
  });
  await t.step({
    name: "it belongs to another user",
    ignore: !isRoot,
    fn: async () => {
      Deno.mkdirSync(own, { mode: 0o700 });
      Deno.chownSync(own, 65_534, 65_534);
      assert.match(await refusal(), UNSAFE);
    },
  });
  assert.deepEqual([...Deno.readDirSync(`${folder.path}/elsewhere`)], []);
});

Deno.test("a server with the least permissions goes without a control socket, or has one", async (t) => {
  using folder = new Folder();
  const file = `${folder.path}/s.sock`;
  const env = { TMPDIR: folder.path };

  await t.step("by default it has none, and says what that takes", async () => {
    await using server = await ServerProcess.start({ args: ONE, env });
    const { level, reason } = await server.line(DENIED);
    assert.deepEqual([level, reason], [
      "info",
      "it takes --allow-sys=uid, or --allow-env=XDG_RUNTIME_DIR",
    ]);
  });
  const args = [...ONE, "--control", file];
  const all = serverFlags({ args, env });
  await t.step("with the grants that the documents name, it has one", async () => {
    await using server = await ServerProcess.start({ args, env, permissions: all });
    assert.equal(await socketOf(server), file);
    assert.equal((await ask({ path: file }, "/api/status")).json.pid, server.pid);
  });
  for (const kind of ["--allow-net", "--allow-read", "--allow-sys"]) {
    await t.step(`without ${kind} it has none, and says so`, async () => {
      Deno.chmodSync(folder.path, 0o755);
      const permissions = all.filter((flag) => !flag.startsWith(kind));
      await using server = await ServerProcess.start({ args, env, permissions });
      const { level, reason } = await server.line(DENIED);
      assert.equal(level, "warn");
      assert.ok(String(reason).startsWith(`it takes ${kind}`), String(reason));
    });
  }
});

Deno.test("serve() has a control socket when it is told to, and none otherwise", async () => {
  using folder = new Folder();
  const file = `${folder.path}/s.sock`;
  const module = new URL("../../mod.ts", import.meta.url).href;
  const configuration = path("deno.json");
  const source = (control: string) =>
    `import { serve } from ${JSON.stringify(module)};
    const control = ${JSON.stringify(control)};
    const server = serve({ frontend: "tcp://127.0.0.1:0", workers: 1, control });
    await server.ready;
    const { phase, endpoints } = await server.status();
    console.log(JSON.stringify([server.control, phase, endpoints.control]));
    await server.shutdown();`;
  const run = async (control: string) => {
    const main = folder.write("main.ts", source(control));
    const args = ["run", "-A", "--config", configuration, main];
    const { code, stdout, stderr } = await runCommand(Deno.execPath(), args);
    assert.equal(code, 0, stderr);
    return JSON.parse(stdout);
  };
  assert.deepEqual(await run(file), [file, "serving", file]);
  assert.deepEqual(await run("off"), [null, "serving", null]);
});

Deno.test("a control socket whose file was removed is there again", async () => {
  using operations = new Operations();
  await using server = await operations.start(ONE);
  const file = await socketOf(server);
  Deno.removeSync(file);
  await server.line("the control socket was removed, it is bound again");
  await until(
    "it answers",
    async () =>
      (await ask({ path: file }, "/api/status").catch(() => undefined))?.json?.pid === server.pid,
  );
});
