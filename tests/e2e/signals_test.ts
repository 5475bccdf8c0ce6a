/** Signals of the main process, and what becomes of its workers when it is killed. */

import { strict as assert } from "node:assert";
import { locateLibrary } from "../../zmq/locate.ts";
import { path, ROOT } from "../rig/checkout.ts";
import { run } from "../rig/commands.ts";
import { Folder } from "../rig/folder.ts";
import { Gate } from "../rig/gate.ts";
import { leastReady, linesOf } from "../rig/log_lines.ts";
import { LoggedServer } from "../rig/logged_server.ts";
import { errorReply } from "../rig/messages.ts";
import { askOnce, Peer } from "../rig/peer.ts";
import { cpuMillis, endNow, isAlive } from "../rig/processes.ts";
import { ENVIRONMENT, ServerProcess } from "../rig/server_process.ts";
import { Traffic } from "../rig/traffic.ts";
import { until } from "../rig/wait.ts";

const PID = "export default () => String(Deno.pid);";
const SHUTTING_DOWN = errorReply(503, "The server is shutting down");

/** A job that never ends, and lets everything else in its worker go on. */
const FOREVER = `export default async (_body, ctx) => {
  ctx.log.info("started");
  await new Promise(() => {});
};`;

/** A job that never ends, and holds its worker. */
const BUSY = `export default (_body, ctx) => {
  ctx.log.info("started");
  for (;;);
};`;

/** A server with one worker that has a job, and three requests that wait. */
async function loaded(gate: Gate, peer: { open(endpoint: string): Peer }): Promise<ServerProcess> {
  const args = ["--workers", "1", gate.grant];
  const server = await ServerProcess.start({ handler: gate.handler, args });
  const client = peer.open(server.endpoint);
  client.send("running", "", "x");
  await server.line("started");
  for (const name of ["a", "b", "c"]) client.send(name, "", "x");
  await until("they wait", async () => (await server.state()).queued === 3);
  return server;
}

/** Keeps the peer that `loaded` opens until the end of the test. */
class LatePeer {
  #peer: Peer | undefined;

  open(endpoint: string): Peer {
    return this.#peer = new Peer(endpoint);
  }

  get peer(): Peer {
    assert.ok(this.#peer);
    return this.#peer;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#peer?.[Symbol.asyncDispose]();
  }
}

// ---- TERM, INT, QUIT ----

for (const signal of ["SIGTERM", "SIGINT"] as const) {
  Deno.test(`serve lets the running job end, answers the others 503 and exits 0 when it gets ${signal}`, async () => {
    using gate = new Gate();
    await using late = new LatePeer();
    await using server = await loaded(gate, late);
    const { peer } = late;
    server.signal(signal);
    for (const name of ["a", "b", "c"]) {
      assert.deepEqual(await peer.receiveText(), [name, "", ...SHUTTING_DOWN]);
    }
    peer.send("late", "", "x");
    assert.deepEqual(await peer.receiveText(), ["late", "", ...SHUTTING_DOWN]);
    assert.ok(server.workers.every(isAlive));
    gate.open();
    assert.deepEqual(await peer.receiveText(), ["running", "", "x"]);
    assert.equal((await server.ended()).code, 0);
    const { reason, code } = await server.line("worker exited");
    assert.deepEqual({ reason, code }, { reason: "stopped", code: 0 });
    assert.equal((await server.line("stopping")).reason, signal);
    assert.equal((await server.line("stopped")).forced, false);
  });
}

Deno.test("serve serves what waits first and exits 0 when it gets SIGQUIT", async () => {
  using gate = new Gate();
  await using late = new LatePeer();
  await using server = await loaded(gate, late);
  const { peer } = late;
  server.signal("SIGQUIT");
  await server.line("stopping");
  peer.send("late", "", "x");
  assert.deepEqual(await peer.receiveText(), ["late", "", ...SHUTTING_DOWN]);
  gate.open();
  for (const name of ["running", "a", "b", "c"]) {
    assert.deepEqual(await peer.receiveText(), [name, "", "x"]);
  }
  assert.equal((await server.ended()).code, 0);
});

Deno.test("serve serves what waits though its worker dies when it gets SIGQUIT", async () => {
  using gate = new Gate();
  await using late = new LatePeer();
  await using server = await loaded(gate, late);
  server.signal("SIGQUIT");
  await server.line("stopping");
  const [pid = 0] = server.workers;
  Deno.kill(pid, "SIGKILL");
  gate.open();
  const answers: string[] = [];
  while (answers.length < 4) answers.push((await late.peer.receiveText()).join());
  assert.deepEqual(answers.sort(), ["a,,x", "b,,x", "c,,x", "running,,x"]);
  assert.equal((await server.ended()).code, 0);
});

Deno.test("serve answers each request, by a reply or by 503, when it gets SIGTERM or SIGQUIT under load", async () => {
  for (const signal of ["SIGTERM", "SIGQUIT"] as const) {
    await using server = await ServerProcess.start({ args: ["--workers", "2"] });
    await using peer = new Peer(server.endpoint);
    for (let sent = 0; sent < 2000; sent++) peer.send(String(sent), "", "x");
    const seen = new Set<string>();
    const take = async () => {
      const [id = "", , ...body] = await peer.receiveText();
      assert.ok(["x", SHUTTING_DOWN.join()].includes(body.join()), body.join());
      assert.ok(!seen.has(id), id);
      seen.add(id);
    };
    await take();
    await until("all are read", async () => (await server.state()).requests === 2000);
    server.signal(signal);
    while (seen.size < 2000) await take();
    assert.equal((await server.ended()).code, 0);
  }
});

for (const [what, handler] of [["holds its worker", BUSY], ["does not", FOREVER]] as const) {
  Deno.test(`serve kills what is left after stopTimeout and exits 1 when it gets SIGTERM and a job that never ends ${what}`, async () => {
    const args = ["--workers", "2", "--stop-timeout", "500ms"];
    await using server = await ServerProcess.start({ handler, args });
    await server.line("worker ready", 2);
    await using peer = new Peer(server.endpoint);
    peer.send("", "x");
    await server.line("started");
    const start = performance.now();
    server.signal("SIGTERM");
    assert.match((await peer.receiveText()).join(), /^,,50[23] /);
    assert.equal((await server.ended()).code, 1);
    const took = performance.now() - start;
    assert.ok(took >= 480, `${took} ms`);
    const exits = linesOf(server, "worker exited");
    assert.deepEqual(exits.map(({ signal }) => signal ?? "none").sort(), ["SIGKILL", "none"]);
    assert.equal((await server.line("stopped")).forced, true);
  });
}

Deno.test("serve kills what is left and exits 1 when it gets SIGQUIT and a job never ends", async () => {
  const args = ["--workers", "1", "--stop-timeout", "300ms"];
  await using server = await ServerProcess.start({ handler: FOREVER, args });
  await using peer = new Peer(server.endpoint);
  for (const name of ["a", "b"]) peer.send(name, "", "x");
  await server.line("started");
  server.signal("SIGQUIT");
  const answers = [await peer.receiveText(), await peer.receiveText()];
  assert.ok(answers.every((frames) => /^[ab],,,50[23] /.test(frames.join())), answers.join());
  assert.equal((await server.ended()).code, 1);
});

/** Sends a signal to a server that may have ended since. */
function signalOnceMore(server: ServerProcess, name: Deno.Signal): void {
  try {
    server.signal(name);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
  }
}

for (
  const [first, second] of [
    ["SIGTERM", "SIGTERM"],
    ["SIGINT", "SIGINT"],
    ["SIGQUIT", "SIGTERM"],
    ["SIGQUIT", "SIGQUIT"],
  ] as const
) {
  Deno.test(`serve kills at once and exits 1 when it gets ${second} after ${first}`, async () => {
    const args = ["--workers", "2", "--stop-timeout", "1h"];
    await using server = await ServerProcess.start({ handler: FOREVER, args });
    await using peer = new Peer(server.endpoint);
    for (let sent = 0; sent < 5; sent++) peer.send("", "x");
    await server.line("started", 2);
    const { workers } = server;
    server.signal(first);
    await server.line("stopping");
    const ended = server.ended();
    // Those that come at once may be the first one again.
    const timer = setInterval(() => signalOnceMore(server, second), 100);
    ended.finally(() => clearInterval(timer));
    assert.equal((await ended).code, 1);
    assert.equal(workers.some(isAlive), false);
    for (let sent = 0; sent < 5; sent++) {
      assert.match((await peer.receiveText()).join(), /^,,50[23] /);
    }
  });
}

Deno.test("serve exits 0 when it gets SIGTERM before any worker is ready", async () => {
  await using server = await ServerProcess.start({ args: ["--workers", "2"], raw: true });
  await server.line("worker spawned");
  server.signal("SIGTERM");
  assert.equal((await server.ended()).code, 0);
});

Deno.test("serve exits 0 and warns of nothing when it gets SIGTERM and a worker that starts does not heed it", async () => {
  using gate = new Gate();
  const marker = `${gate.file}.init`;
  const handler = `${gate.source}
    Deno.addSignalListener("SIGTERM", () => {});
    export async function init() {
      Deno.writeTextFileSync(${JSON.stringify(marker)}, "");
      await passed();
    }
    export default () => "";`;
  const grants = [gate.grant, `--handler-allow-write=${marker}`];
  const args = ["--workers", "1", "--stop-timeout", "5s", ...grants];
  await using server = await ServerProcess.start({ handler, args, raw: true });
  await until("init() runs", () => exists(marker));
  server.signal("SIGTERM");
  await server.line("signal sent");
  gate.open();
  assert.equal((await server.ended()).code, 0);
  assert.deepEqual(server.lines.filter(({ level }) => level === "warn"), []);
});

function exists(file: string): boolean {
  try {
    return Deno.statSync(file).isFile;
  } catch {
    return false;
  }
}

Deno.test("serve lets running jobs end when Ctrl-C hits the whole process group", async () => {
  using gate = new Gate();
  const args = ["--workers", "2", gate.grant];
  const handler = `${gate.source}
    export default async (body, ctx) => {
      let answer = body;
      ctx.signal.addEventListener("abort", () => answer = "interrupted");
      ctx.log.info("started");
      await passed();
      return answer;
    };`;
  await using server = new LoggedServer({ handler, args, detached: true });
  await using peer = new Peer(await server.ready());
  await server.line("worker ready", 2);
  peer.send("", "x");
  await server.line("started");
  // It leads a group of its own, as the shell of a terminal would have it.
  const { code } = await run("/bin/sh", ["-c", `kill -INT -${server.child.pid}`]);
  assert.equal(code, 0);
  await server.line("stopping");
  gate.open();
  assert.deepEqual(await peer.receiveText(), ["", "x"]);
  assert.equal((await server.ended()).code, 0);
  const exits = server.lines.filter(({ message }) => message === "worker exited");
  assert.deepEqual(exits.map(({ code, reason, signal }) => [code, reason, signal]), [[
    0,
    "stopped",
    undefined,
  ], [0, "stopped", undefined]]);
});

// ---- HUP ----

/** A conf file and a handler, and a server that was started with both. */
class Configured {
  readonly folder = new Folder();
  readonly #conf = `${this.folder.path}/prefork.conf`;

  configure(...lines: string[]): void {
    const all = ["frontend tcp://127.0.0.1:0", "max_servers 6", ...lines, ""];
    Deno.writeTextFileSync(this.#conf, all.join("\n"));
  }

  answerWith(word: string): string {
    return this.folder.write("handler.ts", `export default () => ${JSON.stringify(word)};`);
  }

  start(...args: string[]): Promise<ServerProcess> {
    return ServerProcess.start({ args: ["--config", this.#conf, ...args] });
  }

  [Symbol.dispose](): void {
    this.folder[Symbol.dispose]();
  }
}

Deno.test("serve re-reads the conf file, replaces all workers and loses no request when it gets SIGHUP", async () => {
  using files = new Configured();
  files.configure("min_servers 2");
  await using server = await files.start(files.answerWith("one"));
  await server.line("worker ready", 2);
  const before = server.workers;
  await using traffic = new Traffic(server.endpoint);
  await traffic.more(50);
  files.configure("min_servers 4");
  files.answerWith("two");
  server.signal("SIGHUP");
  await server.line("reloaded");
  await traffic.more(50);
  const { min, max, generation } = await server.state();
  assert.deepEqual({ min, max, generation }, { min: 4, max: 6, generation: 2 });
  await until(
    "four others serve",
    () => server.workers.length >= 4 && !server.workers.some((pid) => before.includes(pid)),
  );
  const words = (await traffic.end()).map((reply) => reply.join());
  const first = words.indexOf("two");
  assert.ok(first > 0);
  assert.ok(words.slice(0, first).every((word) => word === "one"), words.join());
  assert.equal(words.at(-1), "two");
  assert.ok(words.every((word) => word === "one" || word === "two"), words.join());
  // Each new one is ready before an old one leaves.
  assert.ok(leastReady(server.lines, 2) >= 2);
  const exits = linesOf(server, "worker exited").filter(({ pid }) => before.includes(Number(pid)));
  assert.deepEqual(exits.map(({ reason, code }) => `${reason} ${code}`), ["reload 0", "reload 0"]);
});

Deno.test("serve takes another handler up when the conf file names it and SIGHUP comes", async () => {
  using files = new Configured();
  files.configure("min_servers 1", `app ${files.answerWith("one")}`);
  await using server = await files.start();
  assert.deepEqual(await askOnce(server.endpoint, "x"), ["one"]);
  const other = files.folder.write("other.ts", 'export default () => "other";');
  files.configure("min_servers 1", `app ${other}`);
  server.signal("SIGHUP");
  await server.line("reloaded");
  assert.deepEqual(await askOnce(server.endpoint, "x"), ["other"]);
});

Deno.test("serve keeps the old workers and says so when the handler is broken and SIGHUP comes", async () => {
  using files = new Configured();
  files.configure("min_servers 2");
  await using server = await files.start(files.answerWith("one"));
  await server.line("worker ready", 2);
  await using traffic = new Traffic(server.endpoint);
  const before = server.workers;
  files.folder.write("handler.ts", 'throw new Error("It is broken");');
  for (let round = 1; round <= 2; round++) {
    server.signal("SIGHUP");
    const { error, level } = await server.line("reload failed, the old workers stay", round);
    assert.match(String(error), /It is broken/);
    assert.equal(level, "error");
    await traffic.more(20);
    assert.deepEqual(server.workers, before);
  }
  files.answerWith("three");
  server.signal("SIGHUP");
  await server.line("reloaded");
  assert.deepEqual(await askOnce(server.endpoint, "x"), ["three"]);
  const words = (await traffic.end()).map((reply) => reply.join());
  assert.ok(words.every((word) => word === "one" || word === "three"), words.join());
});

Deno.test("serve keeps everything and says so when the conf file is broken and SIGHUP comes", async () => {
  using files = new Configured();
  files.configure("min_servers 2");
  await using server = await files.start(files.answerWith("one"));
  await server.line("worker ready", 2);
  const before = server.workers;
  files.answerWith("two");
  const broken: [string, RegExp][] = [
    ["min_servers none", /"min_servers" in .*prefork\.conf:3 .*current value is "none"/],
    ["serialize flock", /"serialize" in .*has no meaning here/],
    ["min_servers 9", /^Cannot reload: "min_servers" in .* must be at most "max_servers" in /],
  ];
  for (const [index, [line, why]] of broken.entries()) {
    files.configure(line);
    server.signal("SIGHUP");
    const { error, level } = await server.line("not reloaded", index + 1);
    assert.match(String(error), why);
    assert.equal(level, "error");
  }
  assert.deepEqual(server.workers, before);
  assert.deepEqual(await askOnce(server.endpoint, "x"), ["one"]);
  const { min, max, generation } = await server.state();
  assert.deepEqual({ min, max, generation }, { min: 2, max: 6, generation: 1 });
});

Deno.test("serve says that only a restart applies them when the conf file moves endpoints and SIGHUP comes", async () => {
  using files = new Configured();
  files.configure("min_servers 1");
  await using server = await files.start(files.answerWith("one"));
  files.configure("min_servers 1", "frontend tcp://127.0.0.1:*");
  server.signal("SIGHUP");
  await server.line('a changed "frontend" is applied after a restart only');
  await server.line("reloaded");
  assert.deepEqual(await askOnce(server.endpoint, "x"), ["one"]);
});

Deno.test("serve loses no request when SIGHUP comes again and again", async () => {
  await using server = await ServerProcess.start({ handler: PID, args: ["--workers", "2"] });
  await server.line("worker ready", 2);
  const before = server.workers;
  await using traffic = new Traffic(server.endpoint, { window: 8 });
  for (let round = 1; round <= 4; round++) {
    await traffic.more(20);
    server.signal("SIGHUP");
    await server.line("reloading", round);
  }
  // Reloads that come faster than the handler's modules are loaded are one.
  await until("the last reload is over", async () => {
    const { generation, starting } = await server.state();
    const last = (wanted: string) =>
      server.lines.findLastIndex(({ message }) => message === wanted);
    return starting === 0 && last("reloaded") > last("reloading") &&
      linesOf(server, "reloaded").at(-1)?.generation === generation;
  });
  await until(
    "two others serve",
    () => server.workers.length === 2 && !server.workers.some((pid) => before.includes(pid)),
  );
  const replies = await traffic.end();
  assert.ok(replies.every((reply) => /^\d+$/.test(reply.join())));
});

Deno.test("serve lets a job that runs on an old worker end when SIGHUP comes", async () => {
  using gate = new Gate();
  await using server = await ServerProcess.start({
    handler: gate.handler,
    args: ["--workers", "1", gate.grant],
  });
  await using peer = new Peer(server.endpoint);
  peer.send("", "x");
  await server.line("started");
  const [old = 0] = server.workers;
  server.signal("SIGHUP");
  await server.line("reloaded");
  assert.ok(isAlive(old));
  gate.open();
  assert.deepEqual(await peer.receiveText(), ["", "x"]);
  const { pid, reason, code } = await server.line("worker exited");
  assert.deepEqual({ pid, reason, code }, { pid: old, reason: "reload", code: 0 });
});

// ---- TTIN, TTOU, USR2, the log's file ----

Deno.test("serve has one worker more or less, never below 1, when it gets SIGTTIN and SIGTTOU", async () => {
  const args = ["--min-workers", "1", "--max-workers", "2"];
  await using server = await ServerProcess.start({ args });
  await using traffic = new Traffic(server.endpoint);
  const steps = [
    ["SIGTTIN", 2, 3],
    ["SIGTTIN", 3, 4],
    ["SIGTTOU", 2, 3],
    ["SIGTTOU", 1, 2],
    ["SIGTTOU", 1, 1],
    ["SIGTTOU", 1, 1],
    ["SIGTTIN", 2, 2],
  ] as const;
  for (const [index, [signal, min, max]] of steps.entries()) {
    server.signal(signal);
    const line = await server.line("resized", index + 1);
    assert.deepEqual({ min: line.min, max: line.max }, { min, max });
    await until(
      "the pool has its size",
      () => server.workers.length >= min && server.workers.length <= max,
    );
  }
  assert.ok((await traffic.end()).every((reply) => reply.join() === "x"));
});

/** What a rotation may leave at the log's old path. */
const ROTATIONS: Record<string, (file: string) => void> = {
  "was renamed": () => {},
  "was renamed and made anew": (file) => Deno.writeTextFileSync(file, ""),
};

for (const [what, remake] of Object.entries(ROTATIONS)) {
  Deno.test(`serve follows its log file when that ${what}, without a signal`, async () => {
    await using server = new LoggedServer({ args: ["--workers", "1"], followed: true });
    await server.ready();
    const rotated = `${server.file}.1`;
    Deno.renameSync(server.file, rotated);
    remake(server.file);
    await server.line("log reopened");
    const { size } = Deno.statSync(rotated);
    server.child.kill("SIGUSR2");
    await server.line("state");
    assert.equal(Deno.statSync(rotated).size, size);
    // So that those who clean up know whom to wait for.
    Deno.writeTextFileSync(server.file, Deno.readTextFileSync(rotated), { append: true });
  });
}

Deno.test("serve opens the log file anew when SIGHUP comes and it may not look at the file", async () => {
  await using server = new LoggedServer({ args: ["--workers", "1"] });
  await server.ready();
  const rotated = `${server.file}.1`;
  Deno.renameSync(server.file, rotated);
  server.child.kill("SIGHUP");
  await server.line("log reopened");
  await server.line("reloaded");
  Deno.writeTextFileSync(server.file, Deno.readTextFileSync(rotated), { append: true });
});

Deno.test("serve writes its state to the log when it gets SIGUSR2", async () => {
  using gate = new Gate();
  await using late = new LatePeer();
  await using server = await loaded(gate, late);
  const state = await server.state();
  const expected = {
    level: "info",
    generation: 1,
    starting: 0,
    idle: 0,
    busy: 1,
    stopping: 0,
    dequeue: 0,
    min: 1,
    max: 1,
    queued: 3,
    queuedBytes: 3,
    running: 1,
    clients: 1,
    requests: 4,
    answered: 0,
    spawned: 1,
  };
  const seen = Object.fromEntries(Object.keys(expected).map((name) => [name, state[name]]));
  assert.deepEqual(seen, expected);
  gate.open();
});

// ---- passthrough ----

/** A handler that writes its pid to a file when its worker gets `signal`. */
function listener(signal: string, file: string): string {
  return `Deno.addSignalListener(${JSON.stringify(signal)}, () => {
      Deno.writeTextFileSync(${JSON.stringify(file)}, Deno.pid + "\\n", { append: true });
    });
    ${PID}`;
}

function wordsIn(file: string): string[] {
  try {
    return Deno.readTextFileSync(file).split("\n").filter((word) => word !== "").sort();
  } catch {
    return [];
  }
}

for (const [signal, effect] of [["SIGUSR2", "state"], ["SIGALRM", undefined]] as const) {
  Deno.test(`serve forwards ${signal} to every worker when it is told to, and does what it does itself`, async () => {
    using folder = new Folder();
    const file = `${folder.path}/got`;
    const handler = listener(signal, file);
    const name = signal.slice("SIG".length);
    const args = ["--signal-passthrough", name, `--handler-allow-write=${file}`];
    await using server = await ServerProcess.start({ handler, args: ["--workers", "2", ...args] });
    await server.line("worker ready", 2);
    const pids = server.workers.map(String).sort();
    server.signal(signal);
    await until("both got it", () => wordsIn(file).join() === pids.join());
    if (effect !== undefined) await server.line(effect);
    const [answer = ""] = await askOnce(server.endpoint, "x");
    assert.ok(pids.includes(answer));
  });
}

Deno.test("serve loses no worker when a signal is forwarded and the handler does not listen for it", async () => {
  const args = ["--workers", "2", "--signal-passthrough", "USR2,ALRM,HUP"];
  await using server = await ServerProcess.start({ handler: PID, args });
  await server.line("worker ready", 2);
  const before = server.workers;
  server.signal("SIGALRM");
  server.signal("SIGUSR2");
  await server.line("state");
  for (let round = 0; round < 20; round++) await askOnce(server.endpoint, "x");
  assert.deepEqual(server.workers, before);
  // With HUP the forwarded signal comes first, then the reload.
  server.signal("SIGHUP");
  await server.line("reloaded");
  await until("the old ones have left", () => linesOf(server, "worker exited").length === 2);
  assert.ok(linesOf(server, "worker exited").every(({ reason }) => reason === "reload"));
});

Deno.test("serve loses no worker when a signal is forwarded while it starts", async () => {
  const args = ["--workers", "2", "--signal-passthrough", "USR2"];
  await using server = await ServerProcess.start({ args, raw: true });
  await server.line("worker spawned", 2);
  server.signal("SIGUSR2");
  await server.line("state");
  await server.line("worker ready", 2);
  assert.deepEqual(linesOf(server, "worker exited"), []);
});

// ---- watch ----

/** Writes a file again and again until the server has reloaded for the `count`th time. */
async function change(
  server: ServerProcess,
  write: () => void,
  count: number,
  limit?: number,
): Promise<void> {
  let writtenAt = -Infinity;
  await until(`it has reloaded ${count} times`, () => {
    if (linesOf(server, "reloaded").length >= count) return true;
    // It may not watch yet, and it waits until a file has settled.
    if (performance.now() - writtenAt > 1000) {
      write();
      writtenAt = performance.now();
    }
  }, limit);
}

Deno.test("serve reloads when it watches and the handler or a module that it imports changes", async () => {
  using folder = new Folder();
  const lib = `${folder.path}/lib`;
  Deno.mkdirSync(lib);
  const word = (text: string) =>
    folder.write("lib/word.ts", `export const word: string = "${text}";`);
  const handler = (mark: string) =>
    folder.write(
      "handler.ts",
      `import { word } from "./lib/word.ts"; export default () => word + ${JSON.stringify(mark)};`,
    );
  word("one");
  await using server = await ServerProcess.start({
    args: ["--workers", "1", "--watch", handler("!")],
  });
  await using traffic = new Traffic(server.endpoint, { window: 2 });
  assert.deepEqual(await askOnce(server.endpoint, "x"), ["one!"]);
  await change(server, () => word("two"), 1);
  assert.deepEqual(await askOnce(server.endpoint, "x"), ["two!"]);
  const count = linesOf(server, "reloaded").length;
  await change(server, () => handler("?"), count + 1);
  assert.deepEqual(await askOnce(server.endpoint, "x"), ["two?"]);
  const answers = (await traffic.end()).map((reply) => reply.join());
  assert.ok(answers.every((answer) => ["one!", "two!", "two?"].includes(answer)));
});

Deno.test("serve watches a module when the handler imports it only since the last change", async () => {
  using folder = new Folder();
  for (const name of ["own", "shared"]) Deno.mkdirSync(`${folder.path}/${name}`);
  const handler = folder.write("own/handler.ts", 'export default () => "none";');
  await using server = await ServerProcess.start({
    args: ["--workers", "1", "--watch", handler],
    features: [["watch", { FOLDERS: folder.path }]],
  });
  const word = (text: string) =>
    folder.write("shared/word.ts", `export const word: string = "${text}";`);
  const source = 'import { word } from "../shared/word.ts"; export default () => word;';
  word("one");
  await change(server, () => folder.write("own/handler.ts", source), 1);
  assert.deepEqual(await askOnce(server.endpoint, "x"), ["one"]);
  await change(server, () => word("two"), linesOf(server, "reloaded").length + 1, 5_000);
  assert.deepEqual(await askOnce(server.endpoint, "x"), ["two"]);
});

Deno.test("serve reloads when it watches and the handler is replaced by another file", async () => {
  using folder = new Folder();
  const handler = folder.write("handler.ts", 'export default () => "one";');
  await using server = await ServerProcess.start({ args: ["--workers", "1", "--watch", handler] });
  // As many editors save.
  await change(server, () => {
    const other = folder.write(".handler.ts.swp", 'export default () => "two";');
    Deno.renameSync(other, handler);
  }, 1);
  assert.deepEqual(await askOnce(server.endpoint, "x"), ["two"]);
});

Deno.test("serve keeps the old workers when it watches and a change breaks the handler, until it is mended", async () => {
  using folder = new Folder();
  const handler = folder.write("handler.ts", 'export default () => "one";');
  await using server = await ServerProcess.start({ args: ["--workers", "1", "--watch", handler] });
  await change(server, () => folder.write("handler.ts", 'export default () => "two";'), 1);
  folder.write("handler.ts", "export default () => {{{");
  await server.line("reload failed, the old workers stay");
  assert.deepEqual(await askOnce(server.endpoint, "x"), ["two"]);
  const count = linesOf(server, "reloaded").length;
  await change(
    server,
    () => folder.write("handler.ts", 'export default () => "three";'),
    count + 1,
  );
  assert.deepEqual(await askOnce(server.endpoint, "x"), ["three"]);
});

// ---- KILL ----

/** Kills the main process and tells how long its workers live on, ms. */
async function outlive(server: ServerProcess, workers: number[]): Promise<number> {
  assert.ok(workers.length > 0 && workers.every(isAlive));
  server.signal("SIGKILL");
  await until("the main process is gone", () => !isAlive(server.pid));
  const start = performance.now();
  await until("its workers are gone", () => !workers.some(isAlive));
  return performance.now() - start;
}

Deno.test("serve leaves no worker behind when it is killed, be they idle, busy or waiting for something", async () => {
  const handler = `export default async (body, ctx) => {
    ctx.log.info("started");
    if (body.length === 1) for (;;);
    await new Promise(() => setInterval(() => {}, 1000));
  };
  export const dequeue = () => { for (;;); };`;
  const args = ["--workers", "3", "--dequeue-interval", "100ms"];
  await using server = await ServerProcess.start({ handler, args });
  await server.line("worker ready", 3);
  await using peer = new Peer(server.endpoint);
  peer.send("", "1");
  peer.send("", "22");
  await server.line("started", 2);
  await until("a dequeue process runs", () => linesOf(server, "worker spawned").length === 4);
  const workers = linesOf(server, "worker spawned").map(({ pid }) => Number(pid));
  const took = await outlive(server, workers);
  assert.ok(took < 1000, `${took} ms`);
});

for (
  const [what, source, isThere] of [
    ["still importing in a busy loop", "for (;;);", (pid: number) => cpuMillis(pid) >= 500],
    ["still importing and waiting", "await new Promise((go) => setTimeout(go, 1e8));", undefined],
  ] as const
) {
  Deno.test(`serve leaves no worker behind when it is killed and they are ${what}`, async () => {
    const handler = `${source} export default () => "";`;
    await using server = await ServerProcess.start({
      handler,
      args: ["--workers", "2"],
      raw: true,
    });
    await server.line("worker spawned", 2);
    const workers = linesOf(server, "worker spawned").map(({ pid }) => Number(pid));
    await until("they import", () => workers.every(isThere ?? ((pid) => cpuMillis(pid) >= 20)));
    const took = await outlive(server, workers);
    assert.ok(took < 1000, `${took} ms`);
  });
}

Deno.test("serve leaves no worker behind when it is killed and they have just been started", async () => {
  for (let round = 0; round < 5; round++) {
    await using server = await ServerProcess.start({ args: ["--workers", "2"], raw: true });
    await server.line("worker spawned", 2);
    const workers = linesOf(server, "worker spawned").map(({ pid }) => Number(pid));
    server.signal("SIGKILL");
    await until("the main process is gone", () => !isAlive(server.pid));
    const start = performance.now();
    await until("its workers are gone", () => !workers.some(isAlive));
    assert.ok(performance.now() - start < 1000);
  }
});

// ---- the lifeline of systems without Linux's ----

const LIBRARY = locateLibrary(Deno.env.get("ZMQ_LIBRARY")).path;

/** A program that ties its life to its parent's by a thread, and then never lets go. */
function tied(more: string): string {
  return `import { dieWithParent } from ${JSON.stringify(new URL("system/lifeline.ts", ROOT).href)};
    await dieWithParent(${JSON.stringify(LIBRARY)}, Deno.ppid, "thread");
    ${more}
    Deno.writeTextFileSync(Deno.args[0], String(Deno.pid));
    for (;;);`;
}

for (
  const [what, permissions, more] of [
    ["may do all", ["-A"], ""],
    [
      "may do what a worker may, and gives FFI up as that does",
      [`--allow-ffi=${LIBRARY}`, "--allow-write"],
      'Deno.permissions.revokeSync({ name: "ffi" });',
    ],
  ] as const
) {
  Deno.test(`dieWithParent ends a busy process by its thread when the parent is killed and it ${what}`, async () => {
    using folder = new Folder();
    const file = `${folder.path}/pid`;
    const script = folder.write("tied.ts", tied(more));
    const deno = [Deno.execPath(), "run", "--no-prompt", "--config", path("deno.json")];
    const parent = new Deno.Command("/bin/sh", {
      args: ["-c", `"$0" "$@" & wait`, ...deno, ...permissions, script, file],
      env: ENVIRONMENT,
      stdin: "null",
      stdout: "null",
    }).spawn();
    const pid = await until("it loops", () => Number(wordsIn(file)[0] ?? 0) || undefined);
    try {
      await until("it has used some CPU", () => cpuMillis(pid) >= 700);
      await endNow(parent);
      const start = performance.now();
      await until("it is gone", () => !isAlive(pid));
      assert.ok(performance.now() - start < 1000);
    } finally {
      if (isAlive(pid)) Deno.kill(pid, "SIGKILL");
    }
  });
}
