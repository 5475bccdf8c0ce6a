/** What `ctl` says and how it ends when it can't do what it is told: no server, several, another user's, one that stops. */

import assert from "node:assert/strict";
import { path } from "../rig/checkout.ts";
import { run } from "../rig/commands.ts";
import { runCtl } from "../rig/ctl.ts";
import { FakeControl, status } from "../rig/fake_control.ts";
import { Folder } from "../rig/folder.ts";
import { canServeAsNobody, shareProgram } from "../rig/other_user.ts";
import { flagsFor } from "../rig/permissions.ts";
import { freePort } from "../rig/ports.ts";
import { text } from "../rig/text.ts";
import { until } from "../rig/wait.ts";

/** A folder of sockets, as servers make one, and what `ctl` finds it by. */
class Sockets {
  readonly #folder = new Folder();
  readonly path = `${this.#folder.path}/prefork`;
  readonly env = { XDG_RUNTIME_DIR: this.#folder.path, TMPDIR: this.#folder.path };

  constructor() {
    Deno.mkdirSync(this.path, { mode: 0o700 });
  }

  /** A server of this name. */
  server(name: string): FakeControl {
    const server = new FakeControl(`${this.path}/${name}.sock`);
    server.answers.set("/api/status", status({ name }));
    return server;
  }

  /** How `ctl` ends, and what it says. */
  async ends(...args: string[]): Promise<[code: number, said: string]> {
    const { code, stdout, stderr } = await runCtl(args, this.env);
    return [code, stdout + stderr];
  }

  [Symbol.dispose](): void {
    this.#folder[Symbol.dispose]();
  }
}

/** Leaves a socket on which nobody listens, as a server that is killed does. */
function leaveStale(path: string): void {
  const listener = Deno.listen({ transport: "unix", path: `${path}.first` });
  // What is closed is removed under the name that it was made with.
  Deno.renameSync(`${path}.first`, path);
  listener.close();
}

/** Where nobody listens. */
function closedUrl(): string {
  return `http://127.0.0.1:${freePort()}`;
}

/** A cache of nobody's own, with the one package that `ctl` needs in a checkout. */
async function shareCache(folder: Folder): Promise<string> {
  const cache = `${folder.path}/cache`;
  const { denoDir } = JSON.parse((await run(Deno.execPath(), ["info", "--json"])).stdout);
  const copy = 'cd "$0/npm" && mkdir -p "$1/npm" && cp -r --parents */minimist "$1/npm" && ' +
    'chown -R 65534 "$1"';
  const { code, stderr } = await run("/bin/sh", ["-c", copy, denoDir, cache]);
  assert.equal(code, 0, stderr);
  return cache;
}

Deno.test("ctl finds the only server that runs, and lists several instead of choosing", async () => {
  using sockets = new Sockets();
  const [none, nobody] = await sockets.ends("status");
  assert.equal(none, 3);
  assert.match(nobody, /^ctl: Cannot find a running server: no control socket is in use in ".*"; /);
  // Nobody listens on what a killed server has left behind.
  leaveStale(`${sockets.path}/stale.sock`);
  await using _one = sockets.server("one");
  assert.match((await sockets.ends("status"))[1], /^server +one,/);
  await using _two = sockets.server("two");
  assert.deepEqual(await sockets.ends("status"), [
    2,
    "ctl: Cannot choose between 2 running servers: add one of\n  --name one\n  --name two\n",
  ]);
  assert.match((await sockets.ends("status", "--name", "two"))[1], /^server +two,/);
  assert.deepEqual(await sockets.ends("status", "--name", "tow"), [
    3,
    'ctl: Cannot find a running server named "tow": did you mean "two"?\n',
  ]);
});

Deno.test("ctl does not trust a folder in which others may have put sockets", async () => {
  using sockets = new Sockets();
  await using _server = sockets.server("one");
  Deno.chmodSync(sockets.path, 0o777);
  const [code, said] = await sockets.ends("status");
  assert.equal(code, 2);
  assert.match(said, /^ctl: Cannot look for servers in ".*": other users may write there$/m);
});

Deno.test("ctl says whose a control socket is when it is another user's", {
  ignore: !canServeAsNobody(),
}, async () => {
  using folder = new Folder();
  const program = shareProgram(folder);
  const cache = await shareCache(folder);
  await using server = new FakeControl(`${folder.path}/own.sock`);
  const { code, stderr } = await new Deno.Command(program, {
    args: ["run", "--quiet", "-A", path("cli/ctl.ts"), "status", "--socket", server.path],
    env: { DENO_DIR: cache, HOME: folder.path },
    uid: 65_534,
    gid: 65_534,
  }).output();
  assert.match(text(stderr), /^ctl: Cannot use ".*own\.sock": it belongs to another user \(0\)$/m);
  assert.equal(code, 2);
});

Deno.test("ctl says so when what is named is not there, is no socket, answers nothing, or is a stranger", async () => {
  using sockets = new Sockets();
  await using server = sockets.server("one");
  const file = `${sockets.path}/file`;
  Deno.writeTextFileSync(file, "");
  const stale = `${sockets.path}/stale.sock`;
  leaveStale(stale);
  server.answers.set("/api/workers", new Response("<html>", { status: 404 }));
  const mute = `${sockets.path}/mute.sock`;
  using _mute = Deno.listen({ transport: "unix", path: mute });
  const closed = closedUrl();
  const cases: [args: string[], code: number, said: RegExp][] = [
    [["-s", `${sockets.path}/none.sock`], 3, /^ctl: Cannot reach a server at .*: there is no such/],
    [["-s", file], 2, /^ctl: Cannot use ".*": it is not a socket$/m],
    [["-s", stale], 3, /^ctl: Cannot reach a server at ".*": nobody listens there$/m],
    [["-s", mute, "-t", "300ms"], 3, /^ctl: Cannot get an answer from ".*" within 300 ms: /],
    [["-u", "nonsense"], 2, /^ctl: Cannot use "--url": it must be a URL, such as http:/],
    [["-u", closed], 3, /^ctl: Cannot reach a server at "http.*": nobody listens/],
    [
      ["-u", "http://127.0.0.1:1"],
      3,
      /^ctl: Cannot reach a server at ".*": .*port 1 are blocked$/m,
    ],
    [["-u", closed, "-s", file], 2, /^ctl: Cannot choose by "--socket" and "--url"/],
    [["--token-file", file], 2, /^ctl: Cannot use "--token-file" alone: it needs "--url"$/m],
    [["-u", closed, "--token-file", file], 2, /it must have the token and nothing/],
  ];
  for (const [args, code, said] of cases) {
    const [ended, shown] = await sockets.ends("status", ...args);
    assert.match(shown, said);
    assert.equal(ended, code, shown);
  }
  const [code, said] = await sockets.ends("workers", "-s", server.path);
  assert.equal(code, 3);
  assert.match(said, /^ctl: Cannot use ".*": what answers there is not the control API/);
});

Deno.test("ctl asks with its token, and says so when that is missing or wrong", async () => {
  using folder = new Folder();
  const file = folder.write("token", "right\n");
  const wrong = folder.write("wrong", "wrong\n");
  const options = { port: 0, hostname: "127.0.0.1", onListen() {} };
  const server = Deno.serve(
    options,
    ({ headers }) =>
      headers.get("authorization") === "Bearer right"
        ? Response.json(status())
        : Response.json({ error: "Log in" }, { status: 401 }),
  );
  const ends = (...args: string[]) =>
    runCtl(["status", "--url", `http://127.0.0.1:${server.addr.port}`, ...args]);
  const [right, bad, none] = [
    await ends("--token-file", file),
    await ends("--token-file", wrong),
    await ends(),
  ];
  await server.shutdown();
  assert.equal(right.code, 0, right.stderr);
  assert.equal(bad.code, 1);
  assert.match(bad.stderr, /^ctl: Cannot use ".*": the token is not the one of the server's/);
  assert.equal(none.code, 1);
  assert.match(
    none.stderr,
    /^ctl: Cannot use ".*" without a token: name the file of .*"--token-file"/,
  );
});

Deno.test("ctl says so when a server stops in the middle of its answer", async () => {
  using sockets = new Sockets();
  const at = `${sockets.path}/half.sock`;
  using listener = Deno.listen({ transport: "unix", path: at });
  const serve = async (answer: string) => {
    // The first connection is that of the search.
    for (let connections = 0; connections < 2; connections++) {
      using connection = await listener.accept();
      if (await connection.read(new Uint8Array(4096)) === null) continue;
      await connection.write(new TextEncoder().encode(answer));
    }
  };
  const head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n";
  for (const answer of ["", `${head}{"half`]) {
    const served = serve(answer);
    const [code, said] = await sockets.ends("status");
    await served;
    assert.equal(code, 3, said);
    assert.match(said, /^ctl: Lost the server at ".*": it has stopped$/m);
  }
});

Deno.test("ctl log -f prints lines as they come, and says when it is cut off and is back", async () => {
  await using server = new FakeControl();
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "-A", path("cli/ctl.ts"), "log", "-f", "-s", server.path],
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const [out, err] = [collect(child.stdout), collect(child.stderr)];
  const line = (message: string) => {
    const time = "2026-11-21T11:30:04.123Z";
    server.tell("log", { time, level: "info", message, worker: 1 });
  };
  try {
    await until("it follows", () => server.followers > 0);
    line("one");
    await until("the line is printed", () => out.text.includes("info  one worker=1\n"));
    server.cut();
    await until(
      "it says so",
      () => /^ctl: Lost the server at .*: it has stopped; tr/.test(err.text),
    );
    await until("it follows again", () => server.followers > 0);
    line("two");
    await until("the next line is printed", () => out.text.includes("info  two worker=1\n"));
    assert.match(err.text, /^ctl: connected again$/m);
  } finally {
    child.kill("SIGTERM");
    await Promise.all([child.status, out.ended, err.ended]);
  }
});

/** What a stream has given so far. */
function collect(stream: ReadableStream<Uint8Array<ArrayBuffer>>) {
  const collected = { text: "", ended: Promise.resolve() };
  collected.ended = (async () => {
    for await (const piece of stream.pipeThrough(new TextDecoderStream())) collected.text += piece;
  })();
  return collected;
}

Deno.test("ctl needs the permissions that docs/permissions.md names, and no more", async () => {
  using sockets = new Sockets();
  await using server = sockets.server("one");
  const SOCKET = server.path;
  const named = flagsFor([["ctl", { SOCKET }]]);
  const found = flagsFor([
    ["ctl", { SOCKET }],
    // The variable's own name looks like a place for a value.
    ["servers", { FOLDERS: `${sockets.path},${sockets.env.TMPDIR}`, TMPDIR: "TMPDIR" }],
  ]);
  const runs: [flags: string[], args: string[]][] = [
    [named, ["status", "--socket", SOCKET]],
    [found, ["status"]],
  ];
  for (const [flags, args] of runs) {
    const { code, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--quiet", ...flags, path("cli/ctl.ts"), ...args],
      env: sockets.env,
    }).output();
    assert.equal(code, 0, text(stderr));
  }
});
