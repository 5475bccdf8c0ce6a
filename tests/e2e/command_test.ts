/** mod.ts as a command: what it prints, how it exits, and the files that it keeps. */

import { strict as assert } from "node:assert";
import { locateLibrary } from "../../zmq/locate.ts";
import { path } from "../rig/checkout.ts";
import { type Ending, run, runServer } from "../rig/commands.ts";
import { Folder } from "../rig/folder.ts";
import { lineIn, readLog } from "../rig/log_lines.ts";
import { LoggedServer } from "../rig/logged_server.ts";
import { askOnce, Peer } from "../rig/peer.ts";
import { endNow, isAlive, statOf } from "../rig/processes.ts";
import { ENVIRONMENT, ServerProcess } from "../rig/server_process.ts";
import { until, within } from "../rig/wait.ts";
import { type Feature, serverFlags } from "../rig/permissions.ts";

const ANY_PORT = ["--frontend", "tcp://127.0.0.1:0"];
/** What the main process must be allowed to do, with any options. */
const NEEDED = ["ffi", "run", "read", "write", "env", "sys"].map((name) => `--allow-${name}`);
const NO_SUCH_PID = 2 ** 22 + 1; // above what Linux ever gives

/** Runs several commands at once. */
function runAll(commands: string[][], options: Parameters<typeof runServer>[1] = {}) {
  return Promise.all(commands.map((args) => runServer(args, options)));
}

/** Asserts that a command has failed with one line on stderr, and nothing on stdout. */
function assertFailed({ code, stdout, stderr }: Ending, expected: number, line: RegExp): void {
  assert.equal(stdout, "");
  assert.match(stderr, /^prefork: [^\n]+\n$/);
  assert.match(stderr, line);
  assert.equal(code, expected);
}

/** A folder with a handler in it. */
function handlerFolder(source = 'export default () => "fine";'): Folder & { handler: string } {
  const folder = new Folder();
  return Object.assign(folder, { handler: folder.write("handler.ts", source) });
}

// ---- what it prints ----

Deno.test("serve prints its usage and exits 0 when it is run with --help or -h", async () => {
  const [long, short] = await runAll([["--help"], ["-h", "--nonsense"]]);
  assert.deepEqual(short, long);
  assert.equal(long?.code, 0);
  assert.equal(long?.stderr, "");
  const lines = (long?.stdout ?? "").split("\n");
  assert.match(lines[0] ?? "", /^Usage: /);
  for (const flag of ["--frontend", "--min-workers", "--handler-allow-read", "--log-format"]) {
    assert.ok(
      lines.some((line) => line.startsWith(`  ${flag} `) || line.includes(`${flag}[=`)),
      flag,
    );
  }
  assert.ok(lines.every((line) => line.length <= 100));
});

Deno.test("serve prints the version of deno.json and exits 0 when it is run with --version or -V", async () => {
  const { version } = JSON.parse(Deno.readTextFileSync(path("deno.json")));
  for (const ending of await runAll([["--version"], ["-V"]])) {
    assert.deepEqual(ending, { code: 0, stdout: `${version}\n`, stderr: "" });
  }
});

/** What --print-config says of each option: its value and its source. */
function configOf({ code, stdout, stderr }: Ending): Map<string, string> {
  assert.deepEqual({ code, stderr }, { code: 0, stderr: "" });
  return new Map(
    stdout.trim().split("\n").map((line) => {
      const [, key = "", value = "", source = ""] = /^(?:# )?(\w+) ?(.*?) +# ([^#]+)$/.exec(line) ??
        [];
      return [key, `${value} from ${source}`];
    }),
  );
}

Deno.test("serve prints each option with its source when it is run with --print-config", async () => {
  using folder = handlerFolder();
  const conf = folder.write(
    "prefork.conf",
    `# a comment
min_servers 3 # another
max_servers 30
check_for_spawn 20
max_requests 300
host 127.0.0.1
port 7000
`,
  );
  const env = { PREFORK_MAX_REQUESTS: "200", PREFORK_MAX_WORKERS: "20" };
  const args = ["--config", conf, "--max-requests", "100", "--print-config", folder.handler];
  const config = configOf(await runServer(args, { env }));
  const expected = {
    handler: `file://${folder.handler} from argument`,
    frontend: `tcp://127.0.0.1:7000 from file ${conf}:7`,
    maxRequests: "100 from flag --max-requests",
    maxWorkers: "20 from environment PREFORK_MAX_WORKERS",
    minWorkers: `3 from file ${conf}:2`,
    checkForSpawnInterval: `20s from file ${conf}:4`,
    stopTimeout: "30s from default",
    minSpareWorkers: "1 from default",
    config: `${conf} from flag --config`,
  };
  const seen = Object.fromEntries(Object.keys(expected).map((key) => [key, config.get(key)]));
  assert.deepEqual(seen, expected);
});

Deno.test("serve lets flags beat environment beat conf file beat defaults when an option is given more than once", async () => {
  using folder = new Folder();
  const conf = folder.write("prefork.conf", "queue_limit 3\n");
  const env = { PREFORK_QUEUE_LIMIT: "2" };
  const flag = ["--queue-limit", "1"];
  const file = ["--config", conf];
  const print = async (args: string[], environment: Record<string, string>) => {
    const ending = await runServer([...args, "--print-config"], { env: environment });
    return configOf(ending).get("queueLimit");
  };
  assert.deepEqual(
    await Promise.all([
      print([...flag, ...file], env),
      print(file, env),
      print(file, {}),
      print([], {}),
    ]),
    [
      "1 from flag --queue-limit",
      "2 from environment PREFORK_QUEUE_LIMIT",
      `3 from file ${conf}:1`,
      "10000 from default",
    ],
  );
});

Deno.test("serve reads what it has printed when --print-config is given back as a conf file", async () => {
  using folder = handlerFolder();
  const args = ["--workers", "3", "--handler-allow-net=db:1,db:2", "--stop-timeout", "90s"];
  const { stdout } = await runServer([...args, folder.handler, "--print-config"]);
  const conf = folder.write("printed.conf", stdout);
  const again = await runServer(["--config", conf, "--print-config"]);
  assert.equal(again.code, 0, again.stderr);
  const values = (text: string) =>
    text.split("\n").map((line) => line.replace(/ +# [^#]*$/, "")).filter((line) =>
      !line.startsWith("# config")
    );
  assert.deepEqual(values(again.stdout), values(stdout));
});

// ---- bad usage, bad luck ----

Deno.test("serve exits 2 and says so in one line when it is used badly", async () => {
  using folder = new Folder();
  const conf = (name: string, text: string) => ["--config", folder.write(name, text)];
  const cases: [string[], RegExp][] = [
    [["--no-such-flag"], /Unknown option "--no-such-flag"/],
    [["--min-worker", "2"], /Unknown option "--min-worker": did you mean "--min-workers"\?/],
    [["--min-workers", "many"], /"--min-workers" must be an integer >= 0: current value is "many"/],
    [["--min-workers", "0"], /"--min-workers" must be an integer >= 1: current value is 0/],
    [["--stop-timeout", "soon"], /"--stop-timeout" must be a duration .*: current value is "soon"/],
    [["--min-workers"], /"--min-workers" needs a value/],
    [
      ["--min-workers", "5", "--max-workers", "2"],
      /"--min-workers" must be at most "--max-workers" \(2\)/,
    ],
    [["--frontend", "localhost"], /"--frontend" must be .*: current value is "localhost"/],
    [["one.ts", "two.ts"], /with several handlers: give one of "one.ts", "two.ts"/],
    [["--background"], /"--background" needs "--pid-file" and "--log-file"/],
    [["--user", "no-such-user"], /"user" must be .*: current value is "no-such-user"/],
    [["--signal-passthrough", "KILL"], /"--signal-passthrough" must be .*"KILL"/],
    [["--config", `${folder.path}/none`], /Cannot read the conf file/],
    [conf("a", "min_servers 2\nserialize flock\n"), /"serialize" in .*a:2 has no meaning here: /],
    [conf("b", "no_such_key 1\n"), /Unknown option "no_such_key" in .*b:1$/m],
    [conf("c", "max_servers lots\n"), /"max_servers" in .*c:1 must be an integer/],
    [["--check", "--min-workers", "x"], /"--min-workers" must be/],
  ];
  for (let at = 0; at < cases.length; at += 4) {
    const some = cases.slice(at, at + 4);
    const endings = await runAll(some.map(([args]) => args));
    for (const [index, ending] of endings.entries()) {
      assertFailed(ending, 2, some[index]?.[1] ?? /^$/);
    }
  }
});

Deno.test("serve exits 2 and names the variable when the environment is bad", async () => {
  const ending = await runServer(ANY_PORT, { env: { PREFORK_MIN_WORKERS: "x" } });
  assertFailed(ending, 2, /"PREFORK_MIN_WORKERS" must be an integer >= 0: current value is "x"/);
});

Deno.test("serve exits 1 and says so in one line when an endpoint can't be bound", async () => {
  using folder = new Folder();
  const ipc = `ipc://${folder.path}/front`;
  await using server = await ServerProcess.start({
    args: ["--frontend", "tcp://127.0.0.1:0", "--frontend", ipc],
  });
  const port = server.endpoint.split(":").at(-1);
  const [tcp, flag, path, missing] = await runAll([
    ["--frontend", server.endpoint],
    ["--port", String(port)],
    ["--frontend", ipc],
    ["--frontend", "ipc:///no/such/folder/front"],
  ]);
  for (const ending of [tcp, flag]) {
    assert.ok(ending);
    assertFailed(ending, 1, /Cannot bind to "tcp:\/\/127\.0\.0\.1:\d+": Address already in use$/m);
  }
  assert.ok(path && missing);
  assertFailed(path, 1, /Cannot bind to "ipc:.*": Address already in use$/m);
  assertFailed(
    missing,
    1,
    /Cannot bind to "ipc:.*": No such file or directory, its folder must exist$/m,
  );
  assert.deepEqual(await askOnce(ipc, "x"), ["x"]);
});

Deno.test("serve exits 1 and says so in one line when its pid file or its log can't be written", async () => {
  const nowhere = "/no/such/folder/file";
  const cases: [string[], RegExp][] = [
    [["--pid-file", nowhere], /Cannot write the pid file "\/no\/such\/folder\/file": /],
    [["--pid-file", "/tmp"], /the pid file "\/tmp": it must be a file: it is a folder$/m],
    [["--log-file", nowhere], /Cannot open the log file "\/no\/such\/folder\/file": /],
    [["--log-file", "/tmp"], /Cannot open the log file "\/tmp": /],
  ];
  const endings = await runAll(cases.map(([args]) => [...ANY_PORT, ...args]));
  for (const [index, ending] of endings.entries()) {
    assertFailed(ending, 1, cases[index]?.[1] ?? /^$/);
  }
});

Deno.test("serve exits 1 and says so in one line when the main process lacks a permission", async () => {
  for (const missing of ["ffi", "run"]) {
    const permissions = ["--no-prompt", ...NEEDED.filter((flag) => flag !== `--allow-${missing}`)];
    const ending = await runServer([...ANY_PORT, "--log-level", "critical"], {
      permissions,
      limit: 10_000,
    });
    assertFailed(ending, 1, new RegExp(`requires ${missing} access|--allow-${missing}`, "i"));
  }
});

Deno.test("serve exits 1, with the module's own message, when the handler can't be loaded", async () => {
  using folder = handlerFolder('throw new Error("It is broken");');
  const { code, stdout, stderr } = await runServer([...ANY_PORT, folder.handler]);
  assert.equal(stdout, "");
  const broken =
    /^prefork: Cannot load the handler ".*": It is broken \(file:.*handler\.ts:1:7\)$/m;
  assert.match(stderr, broken);
  assert.equal(code, 1);
});

const NOBODY = 65_534;
const notRoot = Deno.build.os !== "linux" || Deno.uid() !== 0 ||
  ![path("mod.ts"), Deno.execPath()].every(isOpen);

/** Whether everybody can get at a file. */
function isOpen(file: string): boolean {
  const args = ["-c", 'test -r "$0"', file];
  return new Deno.Command("/bin/sh", { args, uid: NOBODY }).outputSync().success;
}

Deno.test(
  "serve exits 1, says so in one line and leaves nothing when only root could do what it was told",
  {
    ignore: notRoot,
  },
  async () => {
    using folder = new Folder();
    Deno.chmodSync(folder.path, 0o777);
    // Another user can't read root's cache.
    const { stdout } = await run(Deno.execPath(), ["info", "--json"]);
    const { denoDir } = JSON.parse(stdout);
    const cache = `${folder.path}/cache`;
    Deno.mkdirSync(`${denoDir}/npm`, { recursive: true });
    Deno.mkdirSync(cache);
    const copy = await run("cp", ["-r", `${denoDir}/npm`, `${cache}/npm`]);
    assert.equal(copy.code, 0, copy.stderr);
    // Root's may lack what the server needs: whoever downloads says so on stderr.
    const modules = ["mod.ts", "worker.ts"].map((file) => path(file));
    const filled = await run(Deno.execPath(), ["cache", ...modules], { env: { DENO_DIR: cache } });
    assert.equal(filled.code, 0, filled.stderr);
    await run("chmod", ["-R", "a+rwX", cache]);
    const library = locateLibrary(Deno.env.get("ZMQ_LIBRARY")).path;
    const env = {
      DENO_DIR: cache,
      TMPDIR: folder.path,
      HOME: folder.path,
      ZMQ_LIBRARY: library.replace(denoDir, cache),
    };
    const args = [...ANY_PORT, "--user", "root", "--pid-file", `${folder.path}/pid`];
    const ending = await runServer(args, { env, uid: NOBODY });
    assertFailed(ending, 1, /as another "user" or "group": the server must be root$/m);
    const left = [...Deno.readDirSync(folder.path)].map(({ name }) => name);
    assert.deepEqual(left, ["cache"]);
  },
);

Deno.test("serve binds ipc endpoints when the main process may do only what it needs", async () => {
  using folder = new Folder();
  const frontend = `ipc://${folder.path}/front`;
  const permissions = ["--no-prompt", ...NEEDED];
  await using server = await ServerProcess.start({
    args: ["--workers", "1", "--frontend", frontend],
    permissions,
    raw: true,
  });
  const { code } = await Promise.race([
    server.ended(),
    server.line("worker ready").then(() => ({ code: undefined })),
  ]);
  assert.equal(code, undefined, server.noise.join());
  assert.deepEqual(await askOnce(frontend, "x"), ["x"]);
});

// ---- the pid file ----

Deno.test("serve writes its pid file and removes it at its end", async () => {
  using folder = new Folder();
  const file = `${folder.path}/pid`;
  await using server = await ServerProcess.start({ args: ["--workers", "1", "--pid-file", file] });
  assert.equal(Deno.readTextFileSync(file), `${server.pid}\n`);
  server.signal("SIGTERM");
  assert.equal((await server.ended()).code, 0);
  assert.throws(() => Deno.statSync(file), Deno.errors.NotFound);
});

Deno.test("serve exits 1 and leaves the pid file alone when another server holds it", async () => {
  using folder = new Folder();
  const file = `${folder.path}/pid`;
  const args = ["--workers", "1", "--pid-file", file];
  await using server = await ServerProcess.start({ args });
  const ending = await runServer([...ANY_PORT, ...args]);
  assertFailed(
    ending,
    1,
    new RegExp(
      `pid file ".*pid": it is held by process ${server.pid}, which is still running$`,
      "m",
    ),
  );
  assert.equal(Deno.readTextFileSync(file), `${server.pid}\n`);
});

Deno.test("serve overwrites the pid file with a warning when whoever wrote it is gone", async () => {
  using folder = new Folder();
  // The number of a process that lives, but has nothing to do with the file, counts for nothing.
  for (const stale of [`${NO_SUCH_PID}\n`, `${Deno.pid}\n`]) {
    const file = folder.write("pid", stale);
    await using server = await ServerProcess.start({
      args: ["--workers", "1", "--pid-file", file],
    });
    const { level } = await server.line(`Overwriting the stale pid file "${file}"`);
    assert.equal(level, "warn");
    assert.equal(Deno.readTextFileSync(file), `${server.pid}\n`);
  }
});

Deno.test("serve starts again when it was killed and its pid file has stayed", async () => {
  using folder = new Folder();
  const args = ["--workers", "1", "--pid-file", `${folder.path}/pid`];
  {
    await using first = await ServerProcess.start({ args });
    first.signal("SIGKILL");
    await first.ended();
  }
  await using second = await ServerProcess.start({ args });
  assert.equal(Deno.readTextFileSync(`${folder.path}/pid`), `${second.pid}\n`);
});

Deno.test("serve exits 1 and changes nothing when its pid file holds no number or is not a file", async () => {
  using folder = new Folder();
  const secret = folder.write("secret", "data of somebody else\n");
  const link = `${folder.path}/link`;
  Deno.symlinkSync(secret, link);
  const pipe = `${folder.path}/pipe`;
  await run("mkfifo", [pipe]);
  const endings = await runAll([secret, link, pipe, folder.path].map((file) => {
    return [...ANY_PORT, "--pid-file", file];
  }));
  const reasons = [
    /secret": it must be empty or hold a number: current text is "data of somebody else\\n"$/m,
    /link": it must be a file: it is a symbolic link$/m,
    /pipe": it must be a file: it is a named pipe$/m,
    /": it must be a file: it is a folder$/m,
  ];
  for (const [index, ending] of endings.entries()) {
    assertFailed(ending, 1, reasons[index] ?? /^$/);
  }
  assert.equal(Deno.readTextFileSync(secret), "data of somebody else\n");
  assert.ok(Deno.lstatSync(pipe).isFifo);
});

Deno.test("serve takes an empty pid file", async () => {
  using folder = new Folder();
  const file = folder.write("pid", "");
  await using server = await ServerProcess.start({ args: ["--workers", "1", "--pid-file", file] });
  assert.equal(Deno.readTextFileSync(file), `${server.pid}\n`);
});

Deno.test("serve exits and says why when a file that it would open is a named pipe", async () => {
  using folder = new Folder();
  const pipe = `${folder.path}/pipe`;
  await run("mkfifo", [pipe]);
  const background = ["--background", "--pid-file", `${folder.path}/pid`];
  const key = ["--curve-secret-key", pipe, "--curve-clients", "any"];
  const cases: [string[], number, RegExp][] = [
    [["--config", pipe], 2, /Cannot read the conf file ".*": it is a named pipe/],
    [["--log-file", pipe], 1, /Cannot open the log file ".*": it is a named pipe/],
    [["--log-file", pipe, ...background], 1, /Cannot use ".*" as "logFile": it is a named pipe$/m],
    [key, 1, /Cannot use ".*" as "curveSecretKey": it is a named pipe$/m],
    [[pipe], 2, /"handler" must be a file that can be read: ".*" is a named pipe$/m],
  ];
  const endings = await runAll(cases.map(([args]) => [...ANY_PORT, ...args]), {
    permissions: ["-A"],
  });
  for (const [index, ending] of endings.entries()) {
    const [, code = 0, reason = /^$/] = cases[index] ?? [];
    assertFailed(ending, code, reason);
  }
});

Deno.test("serve reads a conf file that is a pipe without a name", async () => {
  const script = 'printf "queue_limit 7\\n" | "$0" run -A "$1" --config /dev/stdin --print-config';
  const { stdout, stderr } = await run("sh", ["-c", script, Deno.execPath(), path("mod.ts")]);
  assert.match(stdout, /^queueLimit 7 .*\/dev\/stdin:1$/m, stderr);
});

Deno.test("serve leaves the pid file alone at its end when another process has taken it over", async () => {
  using folder = new Folder();
  const file = `${folder.path}/pid`;
  await using server = await ServerProcess.start({ args: ["--workers", "1", "--pid-file", file] });
  Deno.writeTextFileSync(file, `${Deno.pid}\n`);
  server.signal("SIGTERM");
  assert.equal((await server.ended()).code, 0);
  assert.equal(Deno.readTextFileSync(file), `${Deno.pid}\n`);
});

Deno.test("serve removes its pid file when it fails to start", async () => {
  using folder = handlerFolder("throw 1;");
  const file = `${folder.path}/pid`;
  const { code } = await runServer([...ANY_PORT, "--pid-file", file, folder.handler]);
  assert.equal(code, 1);
  assert.throws(() => Deno.statSync(file), Deno.errors.NotFound);
});

// ---- --check ----

Deno.test("serve exits 0 with --check when the handler loads, and neither binds nor runs init", async () => {
  const source = `export default () => "";
    export function init() { throw new Error("init was run"); }`;
  using folder = handlerFolder(source);
  await using server = await ServerProcess.start({ args: ["--workers", "1"] });
  const pidFile = folder.write("pid", `${server.pid}\n`);
  const args = ["--check", "--frontend", server.endpoint, "--pid-file", pidFile, folder.handler];
  const { code, stdout, stderr } = await runServer(args);
  assert.deepEqual({ code, stderr }, { code: 0, stderr: "" });
  assert.match(stdout, /^The handler ".*handler\.ts" and the options are fine\n$/);
});

Deno.test("serve exits 1 with --check and says why when the handler does not load", async () => {
  using folder = handlerFolder("export const nothing = 1;");
  const broken = folder.write("broken.ts", 'throw new Error("It is broken");');
  const wrong = folder.write("wrong.ts", "export default () => {{{");
  const cases: [string, RegExp][] = [
    [folder.handler, /Cannot load the handler ".*handler\.ts": .*export a function as default/],
    [broken, /Cannot load the handler ".*broken\.ts": It is broken/],
    [wrong, /Cannot load the handler ".*wrong\.ts": .*Expected/],
    [`${folder.path}/none.ts`, /Cannot load the handler ".*none\.ts": Module not found/],
  ];
  const endings = await runAll(cases.map(([file]) => ["--check", file]));
  for (const [index, { code, stdout, stderr }] of endings.entries()) {
    assert.match(stderr, cases[index]?.[1] ?? /^$/);
    assert.deepEqual({ code, stdout }, { code: 1, stdout: "" });
  }
});

// ---- --background ----

/** A server in the background. Who disposes of it ends it. */
class Background {
  readonly folder = new Folder();
  readonly pidFile = `${this.folder.path}/pid`;
  readonly logFile = `${this.folder.path}/log`;
  readonly args = [
    ["--background", "--pid-file", this.pidFile, "--log-file", this.logFile],
    ["--log-format", "json", "--log-level", "debug", "--workers", "1"],
  ].flat();

  start(...more: string[]): Promise<Ending> {
    return runServer([...this.args, ...more], { features: [["errors", { FILE: this.logFile }]] });
  }

  get pid(): number {
    try {
      return Number(Deno.readTextFileSync(this.pidFile));
    } catch {
      return 0;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { pid } = this;
    if (pid > 0 && isAlive(pid)) Deno.kill(pid, "SIGKILL");
    for (const each of [pid, ...this.#workers()]) {
      await until(`process ${each} is gone`, () => !isAlive(each));
    }
    this.folder[Symbol.dispose]();
  }

  #workers(): number[] {
    try {
      const pids = [...Deno.readTextFileSync(this.logFile).matchAll(/spawned".*"pid":(\d+)/g)];
      return pids.map(([, pid]) => Number(pid));
    } catch {
      return [];
    }
  }
}

Deno.test("serve detaches, writes its pid and serves until TERM when it is run with --background", async () => {
  await using server = new Background();
  assert.deepEqual(await server.start(...ANY_PORT), { code: 0, stdout: "", stderr: "" });
  const { pid, logFile, pidFile } = server;
  assert.ok(pid > 0 && isAlive(pid));
  // Its session is no longer ours, and its parent has left.
  const [, parent, , session] = statOf(pid);
  assert.notEqual(session, statOf(Deno.pid)[3]);
  assert.notEqual(Number(parent), Deno.pid);
  await lineIn(logFile, "worker ready");
  const { frontend } = await lineIn(logFile, "listening");
  assert.deepEqual(await askOnce(String(frontend), "x"), ["x"]);
  Deno.kill(pid, "SIGTERM");
  await until("it has ended", () => !isAlive(pid));
  assert.throws(() => Deno.statSync(pidFile), Deno.errors.NotFound);
  await lineIn(logFile, "stopped");
});

Deno.test("serve detaches when only the environment says that it should", async () => {
  await using server = new Background();
  const args = server.args.filter((arg) => arg !== "--background");
  const env = { PREFORK_BACKGROUND: "1" };
  const features: Feature[] = [["background"]];
  assert.deepEqual(await runServer([...args, ...ANY_PORT], { env, features }), {
    code: 0,
    stdout: "",
    stderr: "",
  });
  assert.ok(isAlive(server.pid));
});

Deno.test("serve exits 1, says why and leaves nothing running when --background can't bind", async () => {
  await using other = await ServerProcess.start({ args: ["--workers", "1"] });
  // Whether it is seen in time must not depend on luck.
  for (let round = 0; round < 3; round++) {
    await using server = new Background();
    const { code, stdout, stderr } = await server.start("--frontend", other.endpoint);
    assert.match(stderr, /Cannot bind to "tcp:.*": Address already in use/);
    assert.deepEqual({ code, stdout }, { code: 1, stdout: "" });
    assert.equal(server.pid, 0);
  }
});

Deno.test("serve exits 1 and says why when --background is to run a broken handler", async () => {
  await using server = new Background();
  const handler = server.folder.write("handler.ts", 'throw new Error("It is broken");');
  const { code, stderr } = await server.start(...ANY_PORT, handler);
  assert.match(stderr, /Cannot load the handler ".*handler\.ts": It is broken/);
  assert.equal(code, 1);
  assert.equal(server.pid, 0);
});

Deno.test("serve exits 1 and leaves the first alone when --background is run twice", async () => {
  await using server = new Background();
  assert.equal((await server.start(...ANY_PORT)).code, 0);
  const { pid } = server;
  const { code, stderr } = await server.start(...ANY_PORT);
  assert.match(stderr, new RegExp(`held by process ${pid}, which is still running`));
  assert.equal(code, 1);
  assert.equal(server.pid, pid);
  assert.ok(isAlive(pid));
});

// ---- stdout, the log ----

/** A server with its own ways of logging, and all that it has printed. */
class PrintingServer {
  stdout = "";
  stderr = "";
  readonly #child: Deno.ChildProcess;
  readonly #errors: ReadableStreamDefaultReader<string>;
  readonly #read: Promise<unknown>;

  constructor(...args: string[]) {
    const permissions = serverFlags({ args, env: ENVIRONMENT });
    this.#child = new Deno.Command(Deno.execPath(), {
      args: ["run", ...permissions, path("mod.ts"), ...ANY_PORT, "--workers", "1", ...args],
      env: ENVIRONMENT,
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.#errors = this.#child.stderr.pipeThrough(new TextDecoderStream()).getReader();
    const output = this.#child.stdout.pipeThrough(new TextDecoderStream());
    this.#read = Promise.all([
      readAll(this.#errors, (text) => this.stderr += text),
      readAll(output.getReader(), (text) => this.stdout += text),
    ]);
  }

  /** Waits until a worker is ready, and gives the endpoint for clients. */
  async ready(): Promise<string> {
    await until("it is ready", () => this.stderr.includes("worker ready"));
    return /frontend=(\S+)/.exec(this.stderr)?.[1] ?? "";
  }

  /** Reads its stderr no more. */
  async deafen(): Promise<void> {
    await this.#errors.cancel();
  }

  signal(signal: Deno.Signal): void {
    this.#child.kill(signal);
  }

  async ended(): Promise<Deno.CommandStatus> {
    const status = await within("the server has ended", this.#child.status);
    await within("nothing holds its output open", this.#read);
    return status;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await endNow(this.#child);
    await within("nothing holds its output open", this.#read);
  }
}

async function readAll(
  reader: ReadableStreamDefaultReader<string>,
  take: (text: string) => void,
): Promise<void> {
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    take(value);
  }
}

Deno.test("serve prints nothing on stdout and one line an event on stderr when it serves", async () => {
  using folder = handlerFolder(
    'export default (_, ctx) => { ctx.log.info("one\\ntwo"); return "fine"; };',
  );
  await using server = new PrintingServer(folder.handler);
  assert.deepEqual(await askOnce(await server.ready(), "x"), ["fine"]);
  server.signal("SIGTERM");
  assert.equal((await server.ended()).code, 0);
  assert.equal(server.stdout, "");
  const lines = server.stderr.split("\n").slice(0, -1);
  const form = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (debug|info |warn |error) \S/;
  assert.deepEqual(lines.filter((line) => !form.test(line)), []);
  assert.equal(lines.filter((line) => line.includes("one\\ntwo")).length, 1);
});

Deno.test("serve writes one object a line and nothing else when its log is a file in JSON", async () => {
  const words = 'tab\\t "quotes" \\n new line \\u2028 \\u0000 é 🙂';
  const handler = `export default (_body, ctx) => { ctx.log.warn("${
    words.replaceAll('"', '\\"')
  }"); };`;
  await using server = new LoggedServer({
    handler,
    args: ["--workers", "1"],
  });
  await using peer = new Peer(await server.ready());
  await peer.ask("x");
  server.child.kill("SIGUSR2");
  await server.line("state");
  server.child.kill("SIGTERM");
  assert.equal((await server.ended()).code, 0);
  for (const line of readLog(server.file)) {
    assert.equal(new Date(line.time).toISOString(), line.time);
    assert.match(line.level, /^(debug|info|warn|error)$/);
    assert.equal(typeof line.message, "string");
  }
  const said = readLog(server.file).filter(({ level }) => level === "warn");
  assert.deepEqual(said.map(({ message }) => message), [
    'tab\t "quotes" \n new line \u2028 \0 é 🙂',
  ]);
});

Deno.test("serve logs what its level lets through when there is one", async () => {
  using folder = handlerFolder('export default (_, ctx) => { ctx.log.error("bad"); return ""; };');
  const logged = async (level: string) => {
    const file = `${folder.path}/${level}`;
    const log = ["--log-level", level, "--log-file", file, "--log-format", "json"];
    await using server = await ServerProcess.start({
      args: [
        "--workers",
        "1",
        ...log,
        "--frontend",
        `ipc://${folder.path}/${level}.ipc`,
        folder.handler,
      ],
      raw: true,
    });
    assert.deepEqual(await askOnce(`ipc://${folder.path}/${level}.ipc`, "x"), [""]);
    server.signal("SIGTERM");
    assert.equal((await server.ended()).code, 0);
    return new Set(readLog(file).map((line) => line.level));
  };
  assert.deepEqual(await logged("4"), new Set(["debug", "info", "error"]));
  assert.deepEqual(await logged("info"), new Set(["info", "error"]));
  assert.deepEqual(await logged("1"), new Set(["error"]));
});

Deno.test("serve goes on when nobody reads its log any more", async () => {
  await using server = new PrintingServer();
  const endpoint = await server.ready();
  await server.deafen();
  // Each of these writes a line, into a pipe that is closed.
  for (let sent = 0; sent < 3; sent++) server.signal("SIGUSR2");
  assert.deepEqual(await askOnce(endpoint, "x"), ["x"]);
  server.signal("SIGTERM");
  assert.equal((await server.ended()).code, 0);
});
