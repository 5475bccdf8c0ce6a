/** What is said of requests that fail: to the log, to the hook, and to clients. */

import { strict as assert } from "node:assert";
import type { Failure } from "../../ports/error_replies.ts";
import { BrokerLoop } from "../../ports/loop.ts";
import type { LoopEvent } from "../../ports/messages.ts";
import type { RequestErrorEvent } from "../../mod.ts";
import { servicesOf } from "../../ops/loop_options.ts";
import { resolveOptions } from "../../options/resolve.ts";
import { OrderWatch } from "../../broker/order.ts";
import type { Job, Worker } from "../../broker/job.ts";
import { JobTable } from "../../broker/job_table.ts";
import { noLinks } from "../../broker/list.ts";
import {
  buildSignal,
  FromBroker,
  FromWorker,
  JobReader,
  REPLY_BYTES,
  writeReply,
} from "../../wire/job.ts";
import { isLoopback, isWildcard } from "../../wire/endpoint.ts";
import { locateLibrary } from "../../zmq/locate.ts";
import { path } from "../rig/checkout.ts";
import { run } from "../rig/commands.ts";
import { Folder } from "../rig/folder.ts";
import { endpointOf, moduleOf, serveQuietly } from "../rig/in_process.ts";
import type { LogLine } from "../rig/log_lines.ts";
import { Peer } from "../rig/peer.ts";
import { ServerProcess } from "../rig/server_process.ts";
import { bytes } from "../rig/text.ts";
import { until } from "../rig/wait.ts";

/** Fails as the body says. */
const HANDLER = `
class RequestError extends Error {
  name = "RequestError";
  constructor(code, message) { super(message); this.code = code; }
}
function query() { throw new Error("postgres://app:s3cret@db"); }
export default (body, ctx) => {
  const word = new TextDecoder().decode(body);
  if (word === "throw") query();
  if (word === "cause") throw new Error("outer", { cause: new Error("inner") });
  if (word === "reject") return Promise.reject(new TypeError("later"));
  if (/^[0-9]+$/.test(word)) throw new RequestError(Number(word), "for clients");
  if (word === "die") Deno.exit(1);
  return String(ctx.id);
};`;

function failures(server: ServerProcess): LogLine[] {
  return server.lines.filter(({ message }) => message === "request failed");
}

Deno.test("the server logs each request that its handler fails, once, with its stack", async () => {
  await using server = await ServerProcess.start({ handler: HANDLER, args: ["--workers", "1"] });
  await using peer = new Peer(server.endpoint, { identity: "bob" });
  for (const word of ["throw", "400", "reject", "599", "cause", "x"]) {
    peer.send(word, "", word);
    await peer.receive();
  }
  const [thrown, rejected, worded, caused, ...more] = await until("all are logged", () => {
    const lines = failures(server);
    return lines.length >= 4 && lines;
  });
  assert.deepEqual(more, []);
  assert.ok(thrown);
  const { time: _, stack, ...rest } = thrown;
  assert.deepEqual(rest, {
    level: "error",
    message: "request failed",
    job: 1,
    worker: 1,
    attempt: 1,
    code: 500,
    client: "127.0.0.1",
    identity: "bob",
    error: "postgres://app:s3cret@db",
  });
  assert.match(String(stack), /at query \(.*handler\.ts:6:\d+\)/);
  assert.deepEqual([rejected?.error, worded?.error, worded?.code], ["later", "for clients", 599]);
  assert.match(String(caused?.stack), /outer[\s\S]*inner/);
});

Deno.test("the server logs a request whose workers died, as it has the job", async () => {
  await using server = await ServerProcess.start({ handler: HANDLER, args: ["--workers", "1"] });
  await using peer = new Peer(server.endpoint);
  peer.send("", "die");
  await peer.receive();
  const { job, code, worker, stack } = await server.line("request failed");
  assert.deepEqual([job, code, worker, stack], [1, 502, undefined, undefined]);
});

const HIDDEN = /^500 The handler failed \(job [0-9]+\)$/;
const SHOWN = /^500 postgres:/;

const EXPOSURES: [string, string[], RegExp, RegExp][] = [
  ["the endpoint is of loopback", ["--frontend", "tcp://127.0.0.1:0"], SHOWN, SHOWN],
  [
    "exposeErrors is off",
    ["--frontend", "tcp://127.0.0.1:0", "--no-expose-errors"],
    HIDDEN,
    HIDDEN,
  ],
  ["the endpoint is of all interfaces", ["--frontend", "tcp://0.0.0.0:0"], HIDDEN, SHOWN],
  ["exposeErrors is on", ["--frontend", "tcp://0.0.0.0:0", "--expose-errors"], SHOWN, SHOWN],
];

for (const [what, args, overTcp, overIpc] of EXPOSURES) {
  Deno.test(`clients get what is meant for them when a handler throws and ${what}`, async () => {
    using folder = new Folder();
    const ipc = `ipc://${folder.path}/jobs`;
    const all = ["--workers", "1", ...args, "--frontend", ipc];
    await using server = await ServerProcess.start({ handler: HANDLER, args: all });
    const tcp = server.endpoint.replace("0.0.0.0", "127.0.0.1");
    for (const [endpoint, expected] of [[tcp, overTcp], [ipc, overIpc]] as const) {
      await using peer = new Peer(endpoint);
      const [empty, error = ""] = await peer.ask("throw");
      assert.equal(empty, "");
      assert.match(error, expected);
      for (const code of ["404", "503"]) {
        assert.deepEqual(await peer.ask(code), ["", `${code} for clients`]);
      }
    }
    await until("all are logged", () => failures(server).length === 4);
    assert.ok(failures(server).every(({ error }) => !HIDDEN.test(String(error))));
  });
}

Deno.test("isLoopback and isWildcard tell addresses and endpoints apart", () => {
  const near = ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"];
  const far = ["", "10.0.0.1", "128.0.0.1", "1127.0.0.1", "::", "::2", "fe80::1", "::1:1", "127"];
  assert.deepEqual([...near, ...far].filter(isLoopback), near);
  const wild = ["tcp://0.0.0.0:1", "tcp://*:1", "tcp://[::]:1"];
  const tame = ["tcp://127.0.0.1:1", "tcp://[::1]:1", "tcp://10.0.0.0:1", "ipc:///0.0.0.0:1"];
  assert.deepEqual([...wild, ...tame].filter(isWildcard), wild);
});

Deno.test("serve calls onError with the job, the code and the stack of each failed request", async () => {
  const events: RequestErrorEvent[] = [];
  const onError = (event: RequestErrorEvent) => void events.push(event);
  const handler = moduleOf(HANDLER);
  await using server = serveQuietly({ handler, workers: 1, onError });
  await using peer = new Peer(endpointOf(server));
  for (const word of ["throw", "404", "504"]) await peer.ask(word);
  await until("all are told", () => events.length >= 2);
  assert.deepEqual(events.map(({ job, code, message }) => [job, code, message]), [
    [1, 500, "postgres://app:s3cret@db"],
    [3, 504, "for clients"],
  ]);
  assert.match(events[0]?.stack ?? "", /at query/);
  assert.equal(events[0]?.client.address, "127.0.0.1");
});

Deno.test("the log has a bounded number of failed requests a second, and counts the others", async () => {
  await using server = await ServerProcess.start({ handler: HANDLER, args: ["--workers", "1"] });
  await using peer = new Peer(server.endpoint);
  const count = 5000;
  for (let sent = 0; sent < count; sent++) peer.send("", "throw");
  for (let left = count; left > 0; left--) await peer.receive();
  const more = () =>
    server.lines.filter(({ message }) => message === "more requests failed")
      .reduce((sum, line) => sum + Number(line.count), 0);
  await until("all are told of", () => failures(server).length + more() === count);
});

// ---- handlers that can't be loaded, and what they lack ----

const BROKEN: [string, string, RegExp][] = [
  ["throws", `const a = 1;\n  throw new Error("no " + a);`, /no 1 \(file:.*handler\.ts:2:9\)/],
  ["can't be parsed", "const a = 1;\nexport default (;", /handler\.ts:2:17/],
];

for (const [what, source, expected] of BROKEN) {
  Deno.test(`the start names file and line when the handler ${what}`, async () => {
    using folder = new Folder();
    const handler = folder.write("handler.ts", source);
    const args = ["run", "-A", path("mod.ts"), "--check", handler];
    const { code, stderr } = await run(Deno.execPath(), args, { env: { NO_COLOR: "1" } });
    assert.equal(code, 1);
    assert.match(stderr, expected);
  });
}

Deno.test("a handler that lacks a permission is told of the server's flags, not of Deno's", async () => {
  const handler = `export default (body) => {
    const word = new TextDecoder().decode(body);
    if (word === "env") return Deno.env.get("NO_SUCH_VARIABLE") ?? "";
    if (word === "read") return Deno.readTextFileSync("/etc/passwd");
    const module = { exports: {} };
    process.dlopen(module, "/nowhere/addon.node");
    return "";
  };
  import process from "node:process";`;
  await using server = await ServerProcess.start({ handler, args: ["--workers", "1"] });
  await using peer = new Peer(server.endpoint);
  for (const word of ["env", "read"]) {
    const [, error = ""] = await peer.ask(word);
    assert.match(error, new RegExp(`--handler-allow-${word}`));
    assert.doesNotMatch(error, / --allow-/);
  }
  const [, error = ""] = await peer.ask("addon");
  assert.match(error, /--handler-allow-all/);
});

// ---- jobs that a worker has lost ----

/** A worker of one job at a time, as far as `OrderWatch` sees it. */
function workerWith(jobs: number[], answered: number): Worker<unknown> {
  const table = new JobTable<Job<unknown>>();
  for (const id of jobs) {
    const job = { id, state: "assigned", links: noLinks() };
    table.set(id, job as unknown as Job<unknown>);
  }
  return { jobs: table, answered } as unknown as Worker<unknown>;
}

Deno.test("OrderWatch finds a worker that answers later jobs and keeps an earlier one", () => {
  const watch = new OrderWatch<unknown>();
  const worker = workerWith([1, 2, 3], 0);
  const other = workerWith([4, 5], 7);
  assert.deepEqual(watch.look([worker, other], 0), []);
  assert.equal(watch.wait(0), 1000);
  worker.jobs.delete(2);
  worker.answered++;
  assert.deepEqual(watch.look([worker, other], 999), []);
  assert.deepEqual(watch.look([worker, other], 1000), [worker]);
});

Deno.test("OrderWatch doubts no worker that answers in order, or nothing, or is to give a job up", () => {
  const watch = new OrderWatch<unknown>();
  const inOrder = workerWith([1, 2, 3], 0);
  const slow = workerWith([4, 5], 0);
  const aborted = workerWith([6, 7], 0);
  aborted.jobs.values().next().value!.state = "aborted";
  const workers = [inOrder, slow, aborted];
  for (let look = 0; look < 3; look++) {
    assert.deepEqual(watch.look(workers, look * 1000), []);
    inOrder.jobs.delete(look + 1);
    inOrder.answered++;
    aborted.answered++;
  }
  assert.deepEqual(watch.look([], 9000), []);
  assert.equal(watch.wait(9000), Infinity);
});

Deno.test("BrokerLoop replaces a worker that has lost a job, and gives the job to another", async () => {
  const settings = resolveOptions({ frontend: "tcp://127.0.0.1:0", prefetchBudget: 1000 }, {
    cpus: 1,
    cwd: Deno.cwd,
  });
  let admitted = 0;
  const lost: number[] = [];
  const failed: Failure[] = [];
  const hear = (event: LoopEvent) => {
    if (event.type === "ready") admitted++;
    if (event.type === "requestFailed") failed.push(event.failure);
    if (event.type !== "lost") return;
    lost.push(event.worker);
    const { worker } = event;
    loop.send({ type: "processEnded", worker, end: "outside", owesReason: false });
  };
  const options = {
    ...settings,
    services: servicesOf(settings),
    backend: "tcp://127.0.0.1:0",
  };
  const loop = new BrokerLoop(locateLibrary(Deno.env.get("ZMQ_LIBRARY")), options, hear);
  const expect = (worker: number) =>
    loop.send({
      type: "expect",
      service: "",
      worker,
      token: `token ${worker}`,
      publicKey: undefined,
    });
  const ended = loop.run();
  const ready = (worker: number) =>
    bytes(`${String.fromCharCode(FromWorker.READY)}token ${worker}`);
  for (const worker of [1, 2]) expect(worker);
  const client = new Peer(loop.frontend[0] ?? "");
  const workers: Peer[] = [];
  const timers: { stop(): void }[] = [];
  try {
    const forgetful = new Peer(loop.backend);
    workers.push(forgetful);
    forgetful.send(ready(1));
    await until("it is admitted", () => admitted === 1);
    // It forgets one job, and goes on with the others.
    timers.push(answerJobs(forgetful, (body) => body !== "lost"));
    const bodies: string[] = [];
    client.send("", "first");
    bodies.push((await client.receiveText())[1] ?? "");
    client.send("", "lost");
    let sent = 0;
    await until("it is told that one is lost", () => {
      client.send("", `later ${sent++}`);
      return lost.length > 0;
    });
    const good = new Peer(loop.backend);
    workers.push(good);
    good.send(ready(2));
    timers.push(answerJobs(good, () => true));
    while (!bodies.includes("lost")) bodies.push((await client.receiveText())[1] ?? "");
    assert.deepEqual(lost, [1]);
    assert.equal(loop.look().counters.lostJobs, 1);
    assert.deepEqual(failed, []);
  } finally {
    for (const timer of timers) timer.stop();
    loop.send({ type: "stop" });
    await ended;
    await loop.close(0);
    for (const peer of [client, ...workers]) await peer[Symbol.asyncDispose]();
  }
});

/** Echoes a worker's jobs, those that `wanted` says, until it is stopped. */
function answerJobs(peer: Peer, wanted: (body: string) => boolean): { stop(): void } {
  const reader = new JobReader();
  const timer = setInterval(() => {
    for (let message = peer.take(); message !== undefined; message = peer.take()) {
      if (message[0]?.[0] === FromBroker.ASK) peer.send(buildSignal(FromWorker.ALIVE));
      while (message[0]?.[0] === FromBroker.JOB) {
        const [header, body = bytes(""), ...rest] = message;
        reader.bytes.set(header);
        const { job } = reader.read(header.length);
        const reply = new Uint8Array(REPLY_BYTES);
        writeReply(new DataView(reply.buffer), { job, code: 200, micros: 1, frames: 1 });
        if (wanted(new TextDecoder().decode(body))) peer.send(reply, body);
        message = rest;
      }
    }
  }, 1);
  return { stop: () => clearInterval(timer) };
}
