/** The pool from outside: how many workers there are, and what becomes of those that misbehave. */

import { strict as assert } from "node:assert";
import { path } from "../rig/checkout.ts";
import { Folder } from "../rig/folder.ts";
import { Gate } from "../rig/gate.ts";
import { moduleOf } from "../rig/in_process.ts";
import { between, leastReady, linesOf, type LogLine, mostStarting } from "../rig/log_lines.ts";
import { LoggedServer } from "../rig/logged_server.ts";
import { errorReply } from "../rig/messages.ts";
import { askOnce, Peer, receiveAll } from "../rig/peer.ts";
import { isAlive } from "../rig/processes.ts";
import { ServerProcess } from "../rig/server_process.ts";
import { Traffic } from "../rig/traffic.ts";
import { until } from "../rig/wait.ts";

const PID = "export default () => String(Deno.pid);";

/** The pool grows by the spare worker that it lacks, and shrinks soon. */
const ELASTIC = [
  ["--min-workers", "1"],
  ["--min-spare-workers", "1"],
  ["--check-for-waiting-interval", "100ms"],
].flat();

function exitsOf(server: ServerProcess, reason: string): LogLine[] {
  return linesOf(server, "worker exited").filter((line) => line.reason === reason);
}

/** Waits until the server's state has these numbers. */
function state(server: ServerProcess, wanted: Record<string, number>): Promise<LogLine> {
  return until(`the state has ${JSON.stringify(wanted)}`, async () => {
    const line = await server.state();
    return Object.entries(wanted).every(([name, value]) => line[name] === value) && line;
  });
}

// ---- size ----

Deno.test("serve starts minWorkers and no more when nobody asks anything", async () => {
  const args = ["--min-workers", "3", "--max-workers", "9"];
  await using server = await ServerProcess.start({ args });
  await server.line("worker ready", 3);
  const { spawned, idle, starting, min, max } = await server.state();
  assert.deepEqual({ spawned, idle, starting, min, max }, {
    spawned: 3,
    idle: 3,
    starting: 0,
    min: 3,
    max: 9,
  });
});

Deno.test("serve starts a spare worker when none is idle, up to maxWorkers and no further", async () => {
  using gate = new Gate();
  const args = [...ELASTIC, "--max-workers", "3", "--max-spare-workers", "2", gate.grant];
  await using server = await ServerProcess.start({ handler: gate.handler, args });
  await using peer = new Peer(server.endpoint);
  assert.equal((await server.state()).spawned, 1);
  for (const busy of [1, 2]) {
    peer.send("", "x");
    await state(server, { busy, idle: 1, spawned: busy + 1 });
  }
  for (let sent = 0; sent < 3; sent++) peer.send("", "x");
  await state(server, { busy: 3, idle: 0, queued: 2, spawned: 3 });
  gate.open();
  await receiveAll(peer, 5);
  assert.equal((await server.state()).spawned, 3);
});

Deno.test("serve keeps minSpareWorkers idle when more than one are wanted", async () => {
  using gate = new Gate();
  const args = ["--min-workers", "1", "--max-workers", "6", "--min-spare-workers", "3", gate.grant];
  await using server = await ServerProcess.start({ handler: gate.handler, args });
  await state(server, { idle: 3 });
  await using peer = new Peer(server.endpoint);
  peer.send("", "x");
  await state(server, { busy: 1, idle: 3 });
  gate.open();
  await peer.receive();
});

/** A server with four workers, the last of them just started, that have become idle. */
async function grown(gate: Gate, args: string[]): Promise<ServerProcess> {
  const handler = gate.handler;
  const server = await ServerProcess.start({
    handler,
    args: [...ELASTIC, "--max-workers", "4", gate.grant, ...args],
  });
  await using peer = new Peer(server.endpoint);
  for (let sent = 0; sent < 4; sent++) peer.send("", "x");
  await state(server, { busy: 4 });
  gate.open();
  await receiveAll(peer, 4);
  return server;
}

Deno.test("serve culls idle workers down to maxSpareWorkers when the rush is over", async () => {
  using gate = new Gate();
  const args = ["--max-spare-workers", "2", "--min-child-ttl", "100ms"];
  await using server = await grown(gate, args);
  await state(server, { idle: 2, stopping: 0 });
  assert.equal(exitsOf(server, "culled").length, 2);
  assert.ok(exitsOf(server, "culled").every(({ code, level }) => code === 0 && level === "info"));
});

Deno.test("serve shrinks to minWorkers when there was no job for checkForSpawnInterval", async () => {
  using gate = new Gate();
  const args = ["--min-child-ttl", "0", "--check-for-spawn-interval", "700ms"];
  await using server = await grown(gate, args);
  await state(server, { idle: 1, stopping: 0 });
  assert.equal(exitsOf(server, "culled").length, 3);
  // The first one is culled sooner: maxSpareWorkers is at most maxWorkers - 1.
  // The last job was given to the worker that was started last.
  const passed = between(linesOf(server, "worker spawned").at(-1), exitsOf(server, "culled")[1]);
  assert.ok(passed >= 700, `${passed} ms`);
});

Deno.test("serve culls nobody within minChildTtl of the last start", async () => {
  using gate = new Gate();
  const args = ["--max-spare-workers", "1", "--min-child-ttl", "1500ms"];
  await using server = await grown(gate, args);
  await state(server, { idle: 1, stopping: 0 });
  // The last start was decided when the last but one was ready, and took a job.
  const passed = between(linesOf(server, "worker ready").at(-2), exitsOf(server, "culled")[0]);
  assert.ok(passed >= 1500, `${passed} ms`);
});

Deno.test("serve starts no more workers at a time than there are CPUs", async () => {
  const workers = 3 * navigator.hardwareConcurrency + 1;
  await using server = await ServerProcess.start({ args: ["--workers", String(workers)] });
  await server.line("worker ready", workers);
  assert.ok(mostStarting(server.lines) <= navigator.hardwareConcurrency);
});

Deno.test("serve waits before each start when there is a startDelay", async () => {
  await using server = await ServerProcess.start({
    args: ["--workers", "3", "--start-delay", "300ms"],
  });
  await server.line("worker ready", 3);
  const [listening] = linesOf(server, "listening");
  const times = linesOf(server, "worker spawned").map((line) => between(listening, line));
  assert.ok(times.every((time, index) => time >= (index + 1) * 300), `${times}`);
});

// ---- recycling ----

Deno.test("serve replaces a worker after maxRequests, the new one ready first, and loses no request", async () => {
  const args = ["--workers", "2", "--max-requests", "20", "--max-requests-jitter", "0"];
  await using server = await ServerProcess.start({ handler: PID, args });
  await server.line("worker ready", 2);
  await using traffic = new Traffic(server.endpoint, { window: 6 });
  await until("five were recycled", () => exitsOf(server, "recycled").length >= 5);
  const replies = await traffic.end();
  const answers = new Map<string, number>();
  for (const reply of replies) {
    assert.match(reply.join(), /^\d+$/);
    answers.set(reply.join(), (answers.get(reply.join()) ?? 0) + 1);
  }
  for (const { pid } of exitsOf(server, "recycled")) {
    assert.ok((answers.get(String(pid)) ?? 0) >= 20, `${pid}: ${answers.get(String(pid))}`);
  }
  assert.equal(leastReady(server.lines, 2), 2);
  assert.equal(linesOf(server, "worker exited").length, exitsOf(server, "recycled").length);
});

// ---- deaths ----

Deno.test("serve replaces a worker at once when it crashes", async () => {
  await using server = await ServerProcess.start({ handler: PID, args: ["--workers", "1"] });
  const delays: number[] = [];
  for (let round = 1; round <= 3; round++) {
    const [pid = ""] = await askOnce(server.endpoint, "x");
    Deno.kill(Number(pid), "SIGKILL");
    const exit = await server.line("worker exited", round);
    const { reason, signal, code, level } = exit;
    assert.deepEqual({ pid: exit.pid, reason, signal, code, level }, {
      pid: Number(pid),
      reason: "crashed",
      signal: "SIGKILL",
      code: 137,
      level: "warn",
    });
    const spawn = await server.line("worker spawned", round + 1);
    delays.push(between(exit, spawn));
  }
  // A busy machine may be slow once, not always.
  assert.ok(Math.min(...delays) < 200, `${delays}`);
});

Deno.test("serve answers every request when all workers are killed at once, again and again", async () => {
  await using server = await ServerProcess.start({ args: ["--workers", "4"] });
  await server.line("worker ready", 4);
  await using traffic = new Traffic(server.endpoint, { window: 8 });
  for (let round = 1; round <= 3; round++) {
    await traffic.more(100);
    const { workers } = server;
    for (const pid of workers) Deno.kill(pid, "SIGKILL");
    await until(
      "four others serve",
      () => server.workers.length === 4 && !server.workers.some((pid) => workers.includes(pid)),
    );
  }
  const replies = await traffic.end();
  assert.ok(replies.every((reply) => reply.join() === "x"));
});

Deno.test("serve backs off little when workers are killed whenever they come up, as the handler is good", async () => {
  await using server = await ServerProcess.start({ args: ["--workers", "2"] });
  await server.line("worker ready", 2);
  const killed = new Set<number>();
  while (killed.size < 12) {
    const pids = linesOf(server, "worker spawned").map(({ pid }) => Number(pid));
    for (const pid of pids.filter((pid) => !killed.has(pid))) {
      killed.add(pid);
      Deno.kill(pid, "SIGKILL");
    }
    await server.line("worker spawned", killed.size + 1);
  }
  await server.line("worker exited", killed.size);
  const exits = linesOf(server, "worker exited");
  const spawns = linesOf(server, "worker spawned");
  const rests = exits.slice(2).map((exit) =>
    between(exit, spawns.find(({ time }) => time > exit.time) ?? exit)
  );
  // A back-off would have come to 3 s, then 6 s, by now.
  assert.ok(Math.max(...rests) < 2000, `${rests}`);
});

Deno.test("serve backs off when the handler dies at start, and ends quickly when told to", async () => {
  const handler = "Deno.exit(3);";
  await using server = await ServerProcess.start({ handler, args: ["--workers", "1"], raw: true });
  const first = await server.line("worker spawned");
  const spawns = () => linesOf(server, "worker spawned").map((line) => between(first, line));
  await until("2 s have passed", () => spawns().some((time) => time > 2000));
  const early = spawns().filter((time) => time <= 2000).length;
  assert.ok(early >= 2 && early <= 5, `${spawns()}`);
  const exits = linesOf(server, "worker exited");
  assert.ok(exits.every(({ code, reason }) => code === 3 && reason === "failed"));
  const start = performance.now();
  server.signal("SIGTERM");
  assert.equal((await server.ended()).code, 0);
  assert.ok(performance.now() - start < 3000);
});

Deno.test("serve starts workers one at a time when they die at start, however many are wanted", async () => {
  const handler = "Deno.exit(3);";
  await using server = await ServerProcess.start({ handler, args: ["--workers", "8"], raw: true });
  const cpus = navigator.hardwareConcurrency;
  await server.line("worker exited", Math.min(8, cpus) + 2);
  const later = server.lines.slice(
    server.lines.findIndex((line) =>
      line.message === "worker exited" && line.worker === Math.min(8, cpus)
    ),
  );
  assert.equal(mostStarting(later), 1);
});

Deno.test("serve kills a worker that is not ready within startTimeout, and tries again", async () => {
  const handler = "await new Promise(() => {}); export default () => '';";
  const args = ["--workers", "1", "--start-timeout", "700ms"];
  await using server = await ServerProcess.start({ handler, args, raw: true });
  const { worker, pid, reason, signal } = await server.line("worker exited");
  assert.deepEqual({ worker, reason, signal }, { worker: 1, reason: "timeout", signal: "SIGKILL" });
  const [listening, exit] = [await server.line("listening"), await server.line("worker exited")];
  assert.ok(between(listening, exit) >= 700, `${between(listening, exit)} ms`);
  assert.equal(isAlive(Number(pid)), false);
  server.folder.write("handler.ts", 'export default () => "at last";');
  await server.line("worker ready");
  assert.deepEqual(await askOnce(server.endpoint, "x"), ["at last"]);
});

Deno.test("serve tries again when no process can be made, and serves on", async () => {
  using folder = new Folder();
  const deno = `${folder.path}/deno`;
  copyProgram(deno);
  await using server = new LoggedServer({ command: deno, args: ["--workers", "2"], handler: PID });
  const endpoint = await server.ready();
  await server.line("worker ready", 2);
  const [pid = ""] = await askOnce(endpoint, "x");
  Deno.removeSync(deno);
  Deno.kill(Number(pid), "SIGKILL");
  await server.line("worker not spawned");
  // The other one goes on.
  assert.notDeepEqual(await askOnce(endpoint, "x"), [pid]);
  copyProgram(deno);
  const back = await server.line("worker ready", 3);
  const failed = await server.line("worker not spawned");
  assert.ok(between(failed, back) >= 900, `${between(failed, back)} ms`);
});

/** Deno under another name; a link where that can be. */
function copyProgram(target: string): void {
  try {
    Deno.linkSync(Deno.execPath(), target);
  } catch {
    Deno.copyFileSync(Deno.execPath(), target);
  }
}

// ---- rogues ----

const SPIN = `export default async (body, ctx) => {
  const word = new TextDecoder().decode(body);
  if (word === "spin") for (;;);
  if (word === "heed") {
    while (!ctx.signal.aborted) await new Promise((resolve) => setTimeout(resolve, 0));
    return "heeded " + Deno.pid;
  }
  if (word === "sleep") await new Promise((resolve) => setTimeout(resolve, 1500));
  return word + " " + Deno.pid;
};`;

function signalsTo(server: ServerProcess, worker: unknown): unknown[] {
  return linesOf(server, "signal sent").filter((line) => line.worker === worker)
    .map(({ signal }) => signal);
}

Deno.test("serve ends a rogue by INT, TERM and KILL and answers its client when a job spins", async () => {
  const args = ["--babysit-interval", "200ms", "--rogue-cpu-time", "300ms", "--max-attempts", "1"];
  await using server = await ServerProcess.start({
    handler: SPIN,
    args: ["--workers", "1", ...args],
  });
  await using peer = new Peer(server.endpoint);
  assert.deepEqual(await peer.ask("spin"), errorReply(502, "The worker died 1 times on this job"));
  const exit = await server.line("worker exited");
  assert.deepEqual({ reason: exit.reason, signal: exit.signal }, {
    reason: "rogue",
    signal: "SIGKILL",
  });
  assert.deepEqual(signalsTo(server, exit.worker), ["SIGINT", "SIGTERM", "SIGKILL"]);
  assert.match((await peer.ask("x")).join(), /^x \d+$/);
});

Deno.test("serve lets a rogue live when it heeds the first signal", async () => {
  const args = ["--babysit-interval", "1s", "--rogue-cpu-time", "100ms"];
  await using server = await ServerProcess.start({
    handler: SPIN,
    args: ["--workers", "1", ...args],
  });
  await using peer = new Peer(server.endpoint);
  const [pid] = server.workers;
  assert.deepEqual(await peer.ask("heed"), [`heeded ${pid}`]);
  // The log may come later than the answer.
  await server.line("signal sent");
  assert.deepEqual(signalsTo(server, 1), ["SIGINT"]);
  assert.deepEqual(await peer.ask("x"), [`x ${pid}`]);
  assert.equal(linesOf(server, "worker exited").length, 0);
});

Deno.test("serve takes no worker for a rogue when its job takes long but no CPU, or when many jobs use CPU", async () => {
  const args = ["--babysit-interval", "100ms", "--rogue-cpu-time", "500ms"];
  const handler = `${SPIN.replace('if (word === "spin") for (;;);', "")}`.replace(
    "return word",
    'if (word === "work") for (const end = Date.now() + 300; Date.now() < end;);\n return word',
  );
  await using server = await ServerProcess.start({ handler, args: ["--workers", "1", ...args] });
  await using peer = new Peer(server.endpoint);
  const [pid] = server.workers;
  assert.deepEqual(await peer.ask("sleep"), [`sleep ${pid}`]);
  for (let round = 0; round < 4; round++) {
    assert.deepEqual(await peer.ask("work"), [`work ${pid}`]);
  }
  assert.deepEqual(linesOf(server, "signal sent"), []);
});

// ---- dequeue ----

/** A handler whose dequeue() writes its pid to `file` and then waits for the gate, if there is one. */
function dequeuer(file: string, gate?: Gate): string {
  return `${gate?.source ?? "async function passed() {}"}
    export default async (body) => {
      if (body.length > 1) await passed();
      return String(Deno.pid);
    };
    export async function dequeue() {
      Deno.writeTextFileSync(${JSON.stringify(file)}, Deno.pid + "\\n", { append: true });
      await passed();
    }`;
}

function pidsIn(file: string): number[] {
  try {
    return Deno.readTextFileSync(file).split("\n").slice(0, -1).map(Number);
  } catch {
    return [];
  }
}

Deno.test("serve runs dequeue() in a process of its own every dequeueInterval", async () => {
  using folder = new Folder();
  const file = `${folder.path}/pids`;
  const grant = `--handler-allow-write=${file}`;
  const args = ["--workers", "1", "--dequeue-interval", "400ms", grant];
  await using server = await ServerProcess.start({ handler: dequeuer(file), args });
  await until("it ran three times", () => pidsIn(file).length >= 3);
  const [pid] = server.workers;
  assert.equal(new Set([...pidsIn(file), pid]).size, pidsIn(file).length + 1);
  const spawns = linesOf(server, "worker spawned").filter(({ purpose }) => purpose === "dequeue");
  const listening = await server.line("listening");
  const times = spawns.map((line) => between(listening, line));
  assert.ok(times.every((time, index) => time >= (index + 1) * 400), `${times}`);
  const exits = exitsOf(server, "dequeued");
  assert.ok(exits.length >= 2 && exits.every(({ code }) => code === 0));
  assert.deepEqual(await askOnce(server.endpoint, "x"), [String(pid)]);
  assert.equal(server.workers.length, 1);
});

Deno.test("serve gives a dequeue process no request and does not count it as a worker", async () => {
  using folder = new Folder();
  using gate = new Gate();
  const file = `${folder.path}/pids`;
  const args = ["--workers", "1", "--dequeue-interval", "100ms", "--max-dequeue-workers", "2"];
  const grants = [`--handler-allow-write=${file}`, gate.grant];
  await using server = await ServerProcess.start({
    handler: dequeuer(file, gate),
    args: [...args, ...grants],
  });
  await using peer = new Peer(server.endpoint);
  await state(server, { idle: 1, dequeue: 2 });
  const [pid] = server.workers;
  for (let sent = 0; sent < 3; sent++) peer.send("", "hold");
  // Long enough for more to be started, if there were no bound.
  const until600 = performance.now() + 600;
  await until("some intervals have passed", async () => {
    const { dequeue, busy, idle, queued } = await state(server, { busy: 1, queued: 2 });
    assert.deepEqual({ dequeue, busy, idle, queued }, { dequeue: 2, busy: 1, idle: 0, queued: 2 });
    return performance.now() > until600;
  });
  gate.open();
  for (let sent = 0; sent < 3; sent++) {
    assert.deepEqual(await peer.receiveText(), ["", String(pid)]);
  }
});

Deno.test("serve says what is wrong and serves on when dequeue() throws", async () => {
  const handler = `export default () => "fine";
    export function dequeue() { throw new Error("The backlog is broken"); }`;
  const args = ["--workers", "1", "--dequeue-interval", "200ms"];
  await using server = await ServerProcess.start({ handler, args });
  await until("two have failed", () => exitsOf(server, "crashed").length >= 2);
  assert.deepEqual(await askOnce(server.endpoint, "x"), ["fine"]);
  const said = [...server.lines.map(({ message }) => message), ...server.noise].filter((line) =>
    line.includes("The backlog is broken")
  );
  assert.ok(said.length >= 1, "nothing was said");
  assert.ok(!said.some((line) => line.includes("Cannot load the handler")), said[0]);
});

// ---- names, users ----

/** What `ps` shows. */
function titleOf(pid: number | undefined): string {
  return Deno.readTextFileSync(`/proc/${pid}/cmdline`).replace(/\0[\s\S]*$/, "");
}

Deno.test("serve shows ports in its processes' titles when it serves by tcp", async () => {
  await using server = await ServerProcess.start({ args: ["--port", "0,0", "--workers", "1"] });
  const [front, back] = [server.endpoint, server.backend].map((each) => each.split(":").at(-1));
  await until(
    "the main process has its title",
    () => titleOf(server.pid) === `zmq broker ${front}-${back}`,
  );
  await until(
    "the worker has its title",
    () => titleOf(server.workers[0]) === `zmq worker ${back}`,
  );
});

Deno.test("serve shows the endpoint in its processes' titles when the backend is private", async () => {
  await using server = await ServerProcess.start({ args: ["--workers", "1"] });
  const front = server.endpoint.split(":").at(-1);
  await until(
    "the main process has its title",
    () => titleOf(server.pid) === `zmq broker ${front}-${server.backend}`,
  );
  await until(
    "the worker has its title",
    () => titleOf(server.workers[0]) === `zmq worker ${server.backend}`,
  );
});

const NOBODY = 65_534;

/** Whether this is root and another user can reach the program and its modules. */
function canBeNobody(): boolean {
  if (Deno.build.os !== "linux" || Deno.uid() !== 0) return false;
  const args = ["-c", 'test -r "$0" && test -x "$1"', path("worker.ts"), Deno.execPath()];
  return new Deno.Command("/bin/sh", { args, uid: NOBODY }).outputSync().success;
}

/** A line of proc(5)'s status. */
function statusOf(pid: number | undefined, name: string): string {
  const status = Deno.readTextFileSync(`/proc/${pid}/status`);
  return new RegExp(`^${name}:[ \\t]*(.*?)[ \\t]*$`, "m").exec(status)?.[1] ?? "";
}

const ignore = !canBeNobody();

Deno.test(
  "serve runs its workers as another user and group when it is root",
  { ignore },
  async () => {
    const handler = moduleOf(PID);
    for (
      const [accounts, uid, gid] of [
        [["--user", "nobody"], NOBODY, NOBODY],
        [["--user", String(NOBODY), "--group", "daemon"], NOBODY, 1],
        [["--group", "daemon"], 0, 1],
      ] as const
    ) {
      await using server = await ServerProcess.start({
        args: ["--workers", "1", ...accounts, handler],
        // The folder of all others is for this user alone.
        env: { TMPDIR: "/tmp" },
      });
      const [pid] = server.workers;
      assert.equal(statusOf(pid, "Uid"), Array(4).fill(uid).join("\t"));
      assert.equal(statusOf(pid, "Gid"), Array(4).fill(gid).join("\t"));
      if (uid !== 0) assert.equal(statusOf(pid, "Groups"), "");
      assert.equal(statusOf(server.pid, "Uid"), Array(4).fill(0).join("\t"));
      assert.deepEqual(await askOnce(server.endpoint, "x"), [String(pid)]);
      const socket = server.backend.slice("ipc://".length);
      const look = (path: string) => {
        const { mode, uid: owner } = Deno.statSync(path);
        return { mode: (mode ?? 0) & 0o7777, owner };
      };
      // The workers' user may enter the folder and connect, and change nothing.
      assert.deepEqual(look(socket.replace(/\/[^/]*$/, "")), { mode: 0o711, owner: 0 });
      assert.deepEqual(look(socket), { mode: 0o660, owner: uid });
      server.signal("SIGTERM");
      assert.equal((await server.ended()).code, 0);
    }
  },
);
