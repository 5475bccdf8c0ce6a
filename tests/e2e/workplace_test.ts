/** What workers need of the server's files: nobody else can change it, and it is made again when it is gone. */

import { strict as assert } from "node:assert";
import { canRead, type FileStatus, replaceableBy } from "../../system/file_rights.ts";
import { Folder } from "../rig/folder.ts";
import type { LogLine } from "../rig/log_lines.ts";
import { canServeAsNobody, shareProgram } from "../rig/other_user.ts";
import { askOnce, Peer } from "../rig/peer.ts";
import { ServerProcess } from "../rig/server_process.ts";
import { text } from "../rig/text.ts";
import { endNow } from "../rig/processes.ts";
import { until, within } from "../rig/wait.ts";

const NOBODY = 65_534;
const AS_NOBODY = ["--workers", "1", "--user", "nobody"];
const asNobody = { ignore: !canServeAsNobody() };
const onLinux = { ignore: Deno.build.os !== "linux" };

/** A folder that everybody can make files in, as /tmp is, and a deno that everybody can run. */
class SharedFolder {
  readonly folder = new Folder();
  readonly #programs = new Folder();
  readonly program = shareProgram(this.#programs);

  constructor(mode = 0o1777) {
    Deno.chmodSync(this.folder.path, mode);
  }

  async start(args: readonly string[] = AS_NOBODY): Promise<ServerProcess> {
    const server = await ServerProcess.start({
      args: [...args],
      program: this.program,
      env: { TMPDIR: this.folder.path },
      raw: true,
    });
    return server;
  }

  [Symbol.dispose](): void {
    this.folder[Symbol.dispose]();
    this.#programs[Symbol.dispose]();
  }
}

function privateFolder(server: ServerProcess): string {
  return server.backend.slice("ipc://".length).replace(/\/backend$/, "");
}

/** Kills a worker and waits until another one answers. */
async function replaceWorker(server: ServerProcess): Promise<void> {
  const ready = server.lines.filter(({ message }) => message === "worker ready").length;
  Deno.kill(server.workers[0] ?? 0, "SIGKILL");
  await server.line("worker ready", ready + 1);
  assert.deepEqual(await askOnce(server.endpoint, "x"), ["x"]);
}

Deno.test(
  "serve leaves all that it makes its own when the workers are somebody else",
  asNobody,
  async () => {
    using shared = new SharedFolder();
    await using server = await shared.start();
    await server.line("worker ready");
    const folder = privateFolder(server);
    const seen = [folder, ...[...Deno.readDirSync(folder)].map(({ name }) => `${folder}/${name}`)]
      .map((path) => [path.slice(folder.length), Deno.lstatSync(path)] as const)
      .map(([name, { uid, mode }]) => `${name} ${uid} ${((mode ?? 0) & 0o777).toString(8)}`);
    const expected = [" 0 711", `/backend ${NOBODY} 660`, "/lock 0 600"];
    const copy = "/libzmq 0 644";
    assert.deepEqual(seen.filter((line) => line !== copy).sort(), expected);
    assert.deepEqual(await askOnce(server.endpoint, "x"), ["x"]);
  },
);

/** Plants a link in each private folder that appears, as quickly as it can, and swaps what is there. */
const ATTACK = `const [place, target] = Deno.args;
  Error.stackTraceLimit = 0;
  const known = new Set();
  const attempt = (act) => {
    try { act(); return true; } catch { return false; }
  };
  console.log("attacking");
  for (;;) {
    for (const { name } of Deno.readDirSync(place)) {
      if (!name.startsWith("zmq-prefork-") || known.has(name)) continue;
      known.add(name);
      const shared = place + "/" + name + "/workers";
      const end = performance.now() + 500;
      while (performance.now() < end) {
        if (attempt(() => Deno.symlinkSync(target, shared + "/libzmq"))) break;
      }
      for (const folder of [shared, place + "/" + name]) {
        attempt(() => Deno.symlinkSync(target, folder + "/link"));
        attempt(() => Deno.renameSync(folder + "/link", folder + "/backend"));
      }
    }
  }`;

Deno.test(
  "serve follows no link that the workers' user plants while it starts",
  asNobody,
  async () => {
    using shared = new SharedFolder();
    using secrets = new Folder();
    const secret = secrets.write("secret", "secret");
    Deno.chmodSync(secret, 0o600);
    const attacker = new Deno.Command(shared.program, {
      args: [
        "run",
        "--no-prompt",
        "--allow-read",
        "--allow-write",
        `data:application/javascript,${encodeURIComponent(ATTACK)}`,
        shared.folder.path,
        secret,
      ],
      uid: NOBODY,
      gid: NOBODY,
      clearEnv: true,
      env: { HOME: "/nonexistent", DENO_DIR: `${shared.folder.path}/cache`, NO_COLOR: "1" },
      stdin: "null",
      stdout: "piped",
      stderr: "null",
    }).spawn();
    try {
      const reader = attacker.stdout.getReader();
      await within("it watches", reader.read());
      for (let start = 0; start < 2; start++) {
        await using server = await shared.start();
        await server.line("worker ready");
        server.signal("SIGTERM");
        await server.ended();
      }
      await reader.cancel();
    } finally {
      await endNow(attacker);
    }
    assert.equal(Deno.readTextFileSync(secret), "secret");
    assert.equal(Deno.statSync(secret).uid, 0);
  },
);

Deno.test(
  "serve refuses another user's workers when TMPDIR lets everybody replace what is in it",
  asNobody,
  async () => {
    using shared = new SharedFolder(0o777);
    await using server = await shared.start();
    assert.equal((await server.ended()).code, 1);
    assert.match(
      server.noise.join("\n"),
      /others can replace what is in ".*TMPDIR to another folder/,
    );
    assert.deepEqual([...Deno.readDirSync(shared.folder.path)].map(({ name }) => name), []);
  },
);

Deno.test("serve warns when TMPDIR lets everybody replace what is in it", onLinux, async () => {
  using shared = new SharedFolder(0o777);
  await using server = await shared.start(["--workers", "1"]);
  await server.line("worker ready");
  const warnings = server.lines.filter(({ level }) => level === "warn");
  assert.match(String(warnings[0]?.message), /^others can replace what is in "/);
});

Deno.test(
  "serve refuses another user's workers when its backend is in a folder of that user's",
  asNobody,
  async () => {
    using shared = new SharedFolder();
    const theirs = `${shared.folder.path}/theirs`;
    Deno.mkdirSync(theirs);
    Deno.chownSync(theirs, NOBODY, NOBODY);
    await using server = await shared.start([...AS_NOBODY, "--backend", `ipc://${theirs}/backend`]);
    assert.equal((await server.ended()).code, 1);
    assert.match(server.noise.join("\n"), /Cannot give the socket ".*" to the workers' user/);
  },
);

Deno.test(
  "serve gives a socket of its own folder to the workers' user when the backend is named",
  asNobody,
  async () => {
    using shared = new SharedFolder();
    const own = `${shared.folder.path}/own`;
    Deno.mkdirSync(own);
    await using server = await shared.start([...AS_NOBODY, "--backend", `ipc://${own}/backend`]);
    await server.line("worker ready");
    assert.equal(Deno.statSync(`${own}/backend`).uid, NOBODY);
    assert.deepEqual(await askOnce(server.endpoint, "x"), ["x"]);
  },
);

/** Whether that can be tried: folders can be mounted, and servers run as nobody. */
function canMount(): boolean {
  if (asNobody.ignore) return false;
  using folder = new Folder();
  using mounted = mountNoexec(folder);
  return mounted !== undefined;
}

/** Mounts a folder from which no code can be loaded; undefined where that can't be done. */
function mountNoexec(folder: Folder): Disposable | undefined {
  const run = (command: string, ...args: string[]) =>
    new Deno.Command(command, { args, stdout: "null", stderr: "null" }).outputSync().success;
  const options = ["-t", "tmpfs", "-o", "noexec,mode=1777", "tmpfs", folder.path];
  if (!run("mount", ...options)) return undefined;
  return { [Symbol.dispose]: () => void run("umount", "-l", folder.path) };
}

Deno.test(
  "serve says before it listens when the workers' user can't load libzmq",
  { ignore: !canMount() },
  async () => {
    using shared = new SharedFolder();
    using hidden = new Folder();
    using _ = mountNoexec(shared.folder) ?? assert.fail("It can't be mounted");
    const original = await libraryOf();
    const library = `${hidden.path}/addon.node`;
    Deno.copyFileSync(original, library);
    // Its workers speak ZeroMQ: those of a private backend need no libzmq.
    const args = [...AS_NOBODY, "--backend", "tcp://127.0.0.1:0"];
    const options = { args, program: shared.program, raw: true };
    const env = { TMPDIR: shared.folder.path, ZMQ_LIBRARY: library };
    await using server = await ServerProcess.start({ ...options, env });
    assert.equal((await server.ended()).code, 1);
    assert.match(
      server.noise.join("\n"),
      /no code can be loaded from .* \(is it mounted noexec\?\)/,
    );
    assert.deepEqual([...Deno.readDirSync(shared.folder.path)].map(({ name }) => name), []);
  },
);

Deno.test(
  "serve uses libzmq where it is when the workers' user can read it there",
  { ignore: !canMount() },
  async () => {
    using shared = new SharedFolder();
    using open = new Folder();
    using _ = mountNoexec(shared.folder) ?? assert.fail("It can't be mounted");
    Deno.chmodSync(open.path, 0o755);
    const library = `${open.path}/addon.node`;
    Deno.copyFileSync(await libraryOf(), library);
    Deno.chmodSync(library, 0o644);
    // Its workers speak ZeroMQ: those of a private backend need no libzmq.
    const args = [...AS_NOBODY, "--backend", "tcp://127.0.0.1:0"];
    const options = { args, program: shared.program, raw: true };
    const env = { TMPDIR: shared.folder.path, ZMQ_LIBRARY: library };
    await using server = await ServerProcess.start({ ...options, env });
    await server.line("worker ready");
    assert.deepEqual(await askOnce(server.endpoint, "x"), ["x"]);
  },
);

async function libraryOf(): Promise<string> {
  const { locateLibrary } = await import("../../zmq/locate.ts");
  return locateLibrary(Deno.env.get("ZMQ_LIBRARY")).path;
}

Deno.test(
  "serve makes another private folder when somebody removes it, and its workers go on",
  onLinux,
  async () => {
    using shared = new SharedFolder();
    await using server = await shared.start(["--workers", "2"]);
    await server.line("worker ready", 2);
    await using peer = new Peer(server.endpoint);
    const workers = server.workers;
    const before = privateFolder(server);
    Deno.removeSync(before, { recursive: true });
    const { backend } = await server.line("the private folder was removed, there is a new one");
    assert.notEqual(backend, server.backend);
    assert.deepEqual(await peer.ask("x"), ["x"]);
    assert.deepEqual(server.workers, workers);
    await replaceWorker(server);
    server.signal("SIGTERM");
    assert.equal((await server.ended()).code, 0);
    assert.deepEqual([...Deno.readDirSync(shared.folder.path)], []);
  },
);

Deno.test(
  "serve makes another private folder when somebody removes it and the workers are somebody else",
  asNobody,
  async () => {
    using shared = new SharedFolder();
    await using server = await shared.start();
    await server.line("worker ready");
    Deno.removeSync(privateFolder(server), { recursive: true });
    await server.line("the private folder was removed, there is a new one");
    await replaceWorker(server);
  },
);

Deno.test(
  "serve says why when it can't make another private folder, and makes it as soon as it can",
  onLinux,
  async () => {
    using shared = new SharedFolder();
    await using server = await shared.start(["--workers", "1"]);
    await server.line("worker ready");
    const moved = `${shared.folder.path}-moved`;
    Deno.renameSync(shared.folder.path, moved);
    try {
      const { error } = await server.line("what was removed cannot be made again");
      assert.match(String(error), /Cannot make a private folder/);
    } finally {
      Deno.removeSync(moved, { recursive: true });
      Deno.mkdirSync(shared.folder.path);
    }
    await server.line("the private folder was removed, there is a new one");
    await replaceWorker(server);
  },
);

Deno.test(
  "serve binds its ipc endpoints again when somebody removes their files",
  onLinux,
  async () => {
    using folder = new Folder();
    const [frontend, backend] = ["frontend", "backend"].map((name) => `${folder.path}/${name}`);
    const args = ["--frontend", `ipc://${frontend}`, "--backend", `ipc://${backend}`];
    await using server = await ServerProcess.start({ args: ["--workers", "1", ...args] });
    await using peer = new Peer(server.endpoint);
    assert.deepEqual(await peer.ask("before"), ["before"]);
    for (const path of [frontend, backend]) Deno.removeSync(path ?? "");
    const bound = "the socket file was removed, it is bound again";
    await server.line(bound, 2);
    assert.deepEqual(await peer.ask("after"), ["after"]);
    assert.deepEqual(await askOnce(server.endpoint, "anew"), ["anew"]);
    await replaceWorker(server);
    server.signal("SIGTERM");
    assert.equal((await server.ended()).code, 0);
    assert.deepEqual([...Deno.readDirSync(folder.path)], []);
  },
);

Deno.test(
  "serve starts workers in the root folder when its own is gone, with the grants that they had",
  onLinux,
  async () => {
    using folder = new Folder();
    const start = `${folder.path}/start`;
    Deno.mkdirSync(start);
    const handler = folder.write(
      "handler.ts",
      `export default (body: Uint8Array) => {
      try { return Deno.readTextFileSync(new TextDecoder().decode(body)); }
      catch (error) { return (error as Error).name; }
    };`,
    );
    const mod = JSON.stringify(new URL("../../mod.ts", import.meta.url).href);
    const code = `import { serve } from ${mod};
    const server = serve({ handler: ${JSON.stringify(handler)}, workers: 1,
      frontend: "tcp://127.0.0.1:0", permissions: { read: ["data"] }, logFormat: "json" });
    await server.finished;`;
    const config = decodeURIComponent(new URL("../../deno.json", import.meta.url).pathname);
    const child = new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "-A",
        "--config",
        config,
        `data:application/typescript,${encodeURIComponent(code)}`,
      ],
      cwd: start,
      stdin: "null",
      stderr: "piped",
    }).spawn();
    const lines: LogLine[] = [];
    const read = collect(child.stderr, lines);
    const find = (message: string, count = 1) =>
      until(message, () => lines.filter((line) => line.message.includes(message))[count - 1]);
    try {
      const { frontend } = await find("listening");
      const { pid } = await find("worker ready");
      Deno.writeTextFileSync(`${start}/data`, "data");
      assert.deepEqual(await askOnce(String(frontend), `${start}/data`), ["data"]);
      Deno.removeSync(start, { recursive: true });
      assert.equal((await find("new workers start in /")).folder, start);
      Deno.kill(Number(pid), "SIGKILL");
      await find("worker ready", 2);
      Deno.mkdirSync(start);
      Deno.writeTextFileSync(`${start}/data`, "again");
      assert.deepEqual(await askOnce(String(frontend), `${start}/data`), ["again"]);
      assert.deepEqual(await askOnce(String(frontend), "/data"), ["NotCapable"]);
      child.kill("SIGTERM");
      await within("the program has ended", child.status);
    } finally {
      await endNow(child);
      await within("nothing holds its stderr open", read);
    }
  },
);

async function collect(stream: ReadableStream<Uint8Array>, lines: LogLine[]): Promise<void> {
  let rest = "";
  for await (const chunk of stream) {
    const parts = (rest + text(chunk as Uint8Array<ArrayBuffer>)).split("\n");
    rest = parts.pop() ?? "";
    for (const part of parts.filter((part) => part.startsWith("{"))) lines.push(JSON.parse(part));
  }
}

// ---- who can change what ----

const DIRECTORY = 0o40000;
const ROOTS = { uid: 0, gid: 0 };
const WORKERS = { uid: 1000, gid: 1000 };

function lookIn(found: Record<string, FileStatus>): (path: string) => FileStatus | undefined {
  return (path) => found[path];
}

Deno.test("replaceableBy finds the folder in which others can replace what is there", () => {
  const safe = { mode: DIRECTORY | 0o755, ...ROOTS };
  const cases: [string, FileStatus, boolean][] = [
    ["root's", safe, false],
    ["with a sticky bit", { ...safe, mode: DIRECTORY | 0o1777 }, false],
    ["that all may write", { ...safe, mode: DIRECTORY | 0o777 }, true],
    ["of the workers' user", { ...safe, uid: 1000 }, true],
    ["of the workers' user with a sticky bit", { uid: 1000, gid: 0, mode: 0o1755 }, true],
    ["of the workers' group", { ...safe, gid: 1000, mode: 0o775 }, true],
    ["of another group", { ...safe, gid: 5, mode: 0o775 }, false],
    ["of another user", { ...safe, uid: 5 }, false],
  ];
  for (const [what, middle, expected] of cases) {
    const look = lookIn({ "/": safe, "/a": middle, "/a/b": safe });
    assert.equal(replaceableBy("/a/b", WORKERS, look), expected ? "/a" : undefined, what);
  }
  assert.equal(replaceableBy("/a/b", WORKERS, () => undefined), undefined);
  const nobody = { uid: undefined, gid: undefined };
  const open = lookIn({ "/a": { ...safe, mode: 0o777 } });
  assert.equal(replaceableBy("/a/b", nobody, open), "/a");
});

Deno.test("canRead is true when the file's mode and those of all folders above it let an account in", () => {
  const folder = { mode: DIRECTORY | 0o755, ...ROOTS };
  const file = { mode: 0o644, ...ROOTS };
  const all = { "/": folder, "/a": folder, "/a/lib": file };
  const read = (changed: Record<string, FileStatus>) =>
    canRead("/a/lib", WORKERS, lookIn({ ...all, ...changed }));
  assert.equal(read({}), true);
  assert.equal(read({ "/a": { ...folder, mode: 0o700 } }), false);
  assert.equal(read({ "/a": { ...folder, mode: 0o711 } }), true);
  assert.equal(read({ "/a": { mode: 0o700, uid: 1000, gid: 0 } }), true);
  assert.equal(read({ "/a": { mode: 0o705, uid: 0, gid: 1000 } }), false);
  assert.equal(read({ "/a/lib": { ...file, mode: 0o640 } }), false);
  assert.equal(read({ "/a/lib": { mode: 0o640, uid: 0, gid: 1000 } }), true);
  assert.equal(canRead("/a/lib", WORKERS, () => undefined), false);
});
