/** What a server says before it serves: what can't work, and what hardly will. */

import { strict as assert } from "node:assert";
import { isOpenToNetwork } from "../../wire/endpoint.ts";
import { judgeFiles } from "../../ops/start_checks.ts";
import { resolveOptions } from "../../options/resolve.ts";
import type { ServeOptions } from "../../options/settings.ts";
import { serve } from "../../mod.ts";
import { path } from "../rig/checkout.ts";
import { run, runServer } from "../rig/commands.ts";
import { Folder } from "../rig/folder.ts";
import { linesOf } from "../rig/log_lines.ts";
import { canServeAsNobody, shareProgram } from "../rig/other_user.ts";
import { ServerProcess } from "../rig/server_process.ts";
import type { Feature } from "../rig/permissions.ts";
import { LIMIT, until } from "../rig/wait.ts";
import { locateLibrary } from "../../zmq/locate.ts";

const ANY_PORT = ["--frontend", "tcp://127.0.0.1:0"];
const linux = Deno.build.os === "linux";

/** Runs the command, which says one line on stderr and nothing else. */
async function complaint(
  args: string[],
  options: Parameters<typeof runServer>[1] = {},
): Promise<{ code: number; line: string }> {
  const { code, stdout, stderr } = await runServer(args, options);
  assert.equal(stdout, "");
  assert.match(stderr, /^prefork: [^\n]*\n$/);
  return { code, line: stderr.trim() };
}

// ---- handler ----

const BAD_HANDLERS: Record<string, (folder: Folder) => string> = {
  "is not there": (folder) => `${folder.path}/none.ts`,
  "is a folder": (folder) => folder.path,
};
for (const [what, make] of Object.entries(BAD_HANDLERS)) {
  for (const mode of ["serve", "--check"]) {
    Deno.test(`${mode} exits 2 and says so in one line when the handler ${what}`, async () => {
      using folder = new Folder();
      const handler = make(folder);
      const args = [...ANY_PORT, handler, ...mode === "serve" ? [] : [mode]];
      const features: Feature[] = [["handler", { FOLDERS: folder.path }]];
      const { code, line } = await complaint(args, { features });
      const rule = 'Cannot start: "handler" must be a file that can be read';
      assert.equal(line, `prefork: ${rule}: "${handler}" ${what}`);
      assert.equal(code, 2);
    });
  }
}

Deno.test("Deno's cache has what it makes of a handler, and workers leave nothing there", async () => {
  using folder = new Folder();
  const handler = folder.write("handler.ts", "export default (body: Uint8Array) => body;");
  const { stdout } = await run(Deno.execPath(), ["info", "--json"]);
  const made = `${JSON.parse(stdout).typescriptCache}/file${Deno.realPathSync(folder.path)}`;
  const files = () => {
    try {
      return [...Deno.readDirSync(made)].map(({ name }) => name);
    } catch {
      return [];
    }
  };
  await using server = await ServerProcess.start({
    args: [handler, "--workers", "1"],
    permissions: ["-A"],
  });
  await until("it is there", () => files().includes("handler.ts.js"));
  const before = files();
  await server.line("worker ready", 1);
  Deno.kill(server.workers[0] ?? 0, "SIGKILL");
  await server.line("worker ready", 2);
  assert.deepEqual(files(), before);
  Deno.removeSync(made, { recursive: true });
});

Deno.test("serve throws RangeError before it binds when the handler is not there", () => {
  const handler = "file:///no/such/handler.ts";
  assert.throws(() => serve({ handler, frontend: "ipc:///no/such/folder/front" }), {
    name: "RangeError",
    message: /"\/no\/such\/handler\.ts" is not there$/,
  });
});

// ---- endpoints ----

const BAD_ENDPOINTS: Record<string, [endpoint: string, why: RegExp]> = {
  "an ipc path without a folder": [
    "ipc:///no/such/folder/x",
    /"ipc:\/\/\/no\/such\/folder\/x": No such file or directory, its folder must exist$/,
  ],
  "an address of another machine": [
    "tcp://192.0.2.1:5555",
    /"tcp:\/\/192\.0\.2\.1:5555": .*, its host must be an address of this machine, or \*$/,
  ],
};
for (const [what, [endpoint, why]] of Object.entries(BAD_ENDPOINTS)) {
  Deno.test(`serve tells the way out when it can't bind ${what}`, { ignore: !linux }, async () => {
    // A backend that others might reach is refused before it is bound.
    const back = isOpenToNetwork(endpoint) ? [] : [[...ANY_PORT, "--backend", endpoint]];
    for (const flags of [["--frontend", endpoint], ...back]) {
      const { code, line } = await complaint(flags);
      assert.match(line, why);
      assert.equal(code, 1);
    }
  });
}

Deno.test("serve tells the way out when its user may not bind a port or write a folder", {
  ignore: !canServeAsNobody(),
}, async () => {
  using folder = new Folder();
  const deno = shareProgram(folder);
  const env = { TMPDIR: "/tmp", DENO_DIR: `${folder.path}/nobody`, NO_COLOR: "1" };
  Deno.mkdirSync(env.DENO_DIR);
  Deno.chownSync(env.DENO_DIR, 65_534, null);
  const says = async (...args: string[]) => {
    const command = [deno, "run", "-A", path("mod.ts"), ...args];
    const options = { uid: 65_534, env: { ...env, ZMQ_LIBRARY: library(folder) } };
    const { stderr } = await new Deno.Command(command[0] ?? "", {
      args: command.slice(1),
      ...options,
      signal: AbortSignal.timeout(LIMIT),
    }).output();
    return new TextDecoder().decode(stderr);
  };
  assert.match(
    await says("--frontend", "tcp://127.0.0.1:1"),
    /Permission denied, ports below 1024 need root or CAP_NET_BIND_SERVICE\n$/,
  );
  assert.match(
    await says("--frontend", "ipc:///usr/x"),
    /Permission denied, its folder must be one that this user may write\n$/,
  );
  assert.match(
    await says(...ANY_PORT, "--user", "daemon"),
    /: Cannot run workers as another "user" or "group": the server must be root\n$/,
  );
});

Deno.test("serve tells the way out when its private folder can't be made or has a long path", async () => {
  using folder = new Folder();
  const long = `${folder.path}/${"x".repeat(90)}`;
  Deno.mkdirSync(long);
  const tooLong = await complaint(ANY_PORT, { env: { TMPDIR: long } });
  assert.match(tooLong.line, /too long, shorten the path, or TMPDIR if the folder is private$/);
  const nowhere = await complaint(ANY_PORT, { env: { TMPDIR: `${folder.path}/none` } });
  assert.match(nowhere.line, /Cannot make a private folder for the backend, see TMPDIR, or set "b/);
  assert.deepEqual([tooLong.code, nowhere.code], [1, 1]);
  assert.deepEqual([...Deno.readDirSync(long)], []);
});

// ---- files ----

function judge(options: ServeOptions, limit: number): string | undefined {
  const settings = resolveOptions(options, { cpus: 2, cwd: () => "/" });
  return judgeFiles(settings, { open: 20, limit }, 2);
}

Deno.test("judgeFiles warns when the largest pool and its clients need more files than there may be", () => {
  const options = { minWorkers: 1, maxWorkers: 50 };
  // 20 open, 16 of the broker, a frontend, 5 for each of 50 + 2 + 1 workers, 100 clients
  assert.equal(judge(options, 402), undefined);
  assert.equal(
    judge(options, 401),
    "the limit of open files is 401, but 50 workers and 100 clients need 402: " +
      'raise it (ulimit -n, LimitNOFILE=) or lower "maxWorkers"',
  );
  assert.equal(judge({ ...options, maxConnections: 99 }, 401), undefined);
});

Deno.test("judgeFiles throws when the smallest pool and one client need more files than there may be", () => {
  const options = { minWorkers: 4, maxWorkers: 4 };
  // 20 open, 16 of the broker, a frontend, 5 for each of 4 workers, 12 for each of 2 starts, a client
  assert.match(judge(options, 82) ?? "", /^the limit of open files is 82/);
  assert.throws(() => judge(options, 81), {
    message: "Cannot start: 4 workers need at least 82 open files, and the limit is 81: " +
      'raise it (ulimit -n, LimitNOFILE=) or lower "minWorkers"',
  });
});

/** Runs the command under a limit of open files. */
function underLimit(limit: number, ...args: string[]) {
  const script = `ulimit -n ${limit}; exec "$0" "$@"`;
  return run("/bin/sh", ["-c", script, Deno.execPath(), "run", "-A", path("mod.ts"), ...args], {
    env: { NO_COLOR: "1" },
  });
}

Deno.test("serve exits 1 and says so in one line when far too few files may be open", {
  ignore: !linux,
}, async () => {
  const { code, stderr } = await underLimit(128, ...ANY_PORT, "--workers", "200");
  assert.match(
    stderr,
    /^prefork: Cannot start: 200 workers need at least \d+ open files, and the limit is 128: [^\n]*\n$/,
  );
  assert.equal(code, 1);
});

Deno.test("serve has files enough for its smallest pool and a client when judgeFiles says so", {
  ignore: !linux,
}, async () => {
  const needed = /: 20 workers need at least (\d+) open files/;
  const args = [...ANY_PORT, "--workers", "20"];
  const { stderr } = await underLimit(64, ...args);
  const [, least = ""] = needed.exec(stderr) ?? [];
  using folder = new Folder();
  const program = folder.write(
    "deno",
    `#!/bin/sh\nulimit -n ${least}\nexec "${Deno.execPath()}" "$@"\n`,
  );
  Deno.chmodSync(program, 0o755);
  await using server = await ServerProcess.start({
    args: ["--workers", "20"],
    program,
    permissions: ["-A"],
  });
  await server.line("worker ready", 20);
  assert.equal(linesOf(server, "worker not spawned").length, 0);
  const [warning] = server.lines.filter(({ message }) => message.startsWith("the limit of open"));
  assert.equal(warning?.level, "warn");
});

// ---- doubts ----

Deno.test("serve warns when queueBytes is less than maxMessageSize", async () => {
  const args = ["--queue-bytes", "1k", "--max-message-size", "2k"];
  const doubt = '"queueBytes" (1024) is less than "maxMessageSize" (2048): ' +
    "a single request may fill the queue";
  await using server = await ServerProcess.start({ args });
  assert.equal((await server.line(doubt)).level, "warn");
  const { code, stderr } = await runServer([...args, "--check"]);
  assert.deepEqual({ code, stderr }, { code: 0, stderr: `prefork: ${doubt}\n` });
});

/** libzmq where anybody can read it. */
function library(folder: Folder): string {
  const copy = `${folder.path}/libzmq`;
  Deno.copyFileSync(locateLibrary().path, copy);
  return copy;
}
