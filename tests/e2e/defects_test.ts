/** One test for each defect of the original that must not come back, against a real server. */

import { strict as assert } from "node:assert";
import { FromBroker, FromWorker } from "../../wire/job.ts";
import { locateLibrary } from "../../zmq/locate.ts";
import { Folder } from "../rig/folder.ts";
import { Gate } from "../rig/gate.ts";
import { linesOf } from "../rig/log_lines.ts";
import { errorReply, numbers } from "../rig/messages.ts";
import { canServeAsNobody, shareProgram } from "../rig/other_user.ts";
import { askOnce, Peer, receiveAll, receiveBodies } from "../rig/peer.ts";
import { PlainSocket } from "../rig/plain_socket.ts";
import { cpuMillis, isAlive } from "../rig/processes.ts";
import { ServerProcess } from "../rig/server_process.ts";
import { bytes, text } from "../rig/text.ts";
import { until } from "../rig/wait.ts";

const PID = "export default () => String(Deno.pid);";

/** Answers what it was asked after 5 ms. */
const SLOW = `export default async (body) => {
  await new Promise((resolve) => setTimeout(resolve, 5));
  return body;
};`;

function recycled(server: ServerProcess): number {
  return linesOf(server, "worker exited").filter(({ reason }) => reason === "recycled").length;
}

Deno.test("the server counts max_requests: workers are replaced when they have answered that many", async () => {
  const args = ["--workers", "1", "--max-requests", "5", "--max-requests-jitter", "0"];
  await using server = await ServerProcess.start({ handler: PID, args });
  await using peer = new Peer(server.endpoint);
  const answers = new Map<string, number>();
  await until("three were recycled", async () => {
    const [pid = ""] = await peer.ask("x");
    answers.set(pid, (answers.get(pid) ?? 0) + 1);
    return recycled(server) >= 3;
  });
  const gone = linesOf(server, "worker exited").map(({ pid }) => answers.get(String(pid)) ?? 0);
  assert.ok(gone.every((count) => count >= 5), `${gone}`);
  assert.ok(linesOf(server, "worker exited").every(({ code }) => code === 0));
});

Deno.test("the server keeps its workers when max_requests is not given", async () => {
  await using server = await ServerProcess.start({ handler: PID, args: ["--workers", "1"] });
  await using peer = new Peer(server.endpoint);
  for (let sent = 0; sent < 2000; sent++) peer.send("", "x");
  assert.equal(new Set(await receiveBodies(peer, 2000)).size, 1);
  assert.equal(linesOf(server, "worker exited").length, 0);
});

const asRoot = { ignore: !canServeAsNobody() };

Deno.test("the server applies user and group: workers run as them, and serve", asRoot, async () => {
  const NOBODY = 65_534;
  using folder = new Folder();
  Deno.chmodSync(folder.path, 0o755);
  const library = `${folder.path}/libzmq`;
  Deno.copyFileSync(locateLibrary(Deno.env.get("ZMQ_LIBRARY")).path, library);
  const program = shareProgram(folder);
  for (const args of [["--user", "nobody", "--group", "nogroup"], ["--user", String(NOBODY)]]) {
    await using server = await ServerProcess.start({
      args: ["--workers", "1", ...args],
      env: { ZMQ_LIBRARY: library },
      program,
    });
    const status = Deno.readTextFileSync(`/proc/${server.workers[0]}/status`);
    assert.match(status, new RegExp(`^Uid:(\\t${NOBODY}){4}$`, "m"));
    assert.match(status, new RegExp(`^Gid:(\\t${NOBODY}){4}$`, "m"));
    assert.match(status, /^Groups:\s*$/m);
    assert.deepEqual(await askOnce(server.endpoint, "x"), ["x"]);
    assert.equal(Deno.statSync(`/proc/${server.pid}`).uid, 0);
  }
});

Deno.test(
  "the server applies user and group when only its own user can read where libzmq lies",
  asRoot,
  async () => {
    using folder = new Folder();
    using open = new Folder();
    const library = `${folder.path}/libzmq`;
    Deno.copyFileSync(locateLibrary(Deno.env.get("ZMQ_LIBRARY")).path, library);
    await using server = await ServerProcess.start({
      raw: true,
      args: ["--workers", "1", "--user", "nobody", "--group", "nogroup"],
      env: { ZMQ_LIBRARY: library },
      program: shareProgram(open),
    });
    const first = await until(
      "its fate is known",
      () => server.lines.find(({ message }) => /^worker (ready|exited)$/.test(message)),
    );
    assert.equal(first.message, "worker ready", server.noise.join("\n"));
    assert.deepEqual(await askOnce(server.endpoint, "x"), ["x"]);
  },
);

/** Takes no CPU and never answers. */
const ENDLESS = `export default async (_body, ctx) => {
  ctx.log.info("started");
  await new Promise(() => setInterval(() => {}, 1e9));
};`;

/** CPU that a server and its workers use from now on for about a second, % of a core. */
async function cpuPercent(server: ServerProcess): Promise<number> {
  const SPAN = 1000;
  const used = () => [server.pid, ...server.workers].reduce((sum, pid) => sum + cpuMillis(pid), 0);
  const before = used();
  const start = performance.now();
  await new Promise((resolve) => setTimeout(resolve, SPAN));
  return 100 * (used() - before) / (performance.now() - start);
}

Deno.test("the server does not poll: it rests when a job runs, the queue is full and requests wait unread", async () => {
  const args = ["--workers", "1", "--queue-limit", "10"];
  await using server = await ServerProcess.start({ handler: ENDLESS, args });
  await using peer = new Peer(server.endpoint);
  for (let sent = 0; sent < 5000; sent++) peer.send("", "x");
  await server.line("started");
  await until("the queue is full", async () => (await server.state()).queued === 10);
  await using late = new Peer(server.endpoint);
  for (let sent = 0; sent < 10; sent++) late.send("", "x");
  const percent = await cpuPercent(server);
  console.log(`blocked: ${percent.toFixed(1)} % of a core`);
  assert.ok(percent < 10, `${percent} % of a core`);
});

Deno.test("the server does not poll: it rests when a client takes no answers", async () => {
  await using server = await ServerProcess.start({ args: ["--workers", "1"] });
  await using lazy = new PlainSocket(server.endpoint, { type: "DEALER", sendAll: true });
  const body = new Uint8Array(10_000);
  for (let sent = 0; sent < 4000; sent++) lazy.send("", body);
  await until("all are handled", async () => (await server.state()).answered === 4000);
  const percent = await cpuPercent(server);
  console.log(`a client that takes nothing: ${percent.toFixed(1)} % of a core`);
  assert.ok(percent < 20, `${percent} % of a core`);
});

Deno.test("the server does not poll: it rests when it stops and a job still runs", async () => {
  await using server = await ServerProcess.start({ handler: ENDLESS, args: ["--workers", "1"] });
  await using peer = new Peer(server.endpoint);
  peer.send("", "x");
  await server.line("started");
  server.signal("SIGTERM");
  await server.line("stopping");
  const percent = await cpuPercent(server);
  console.log(`stopping: ${percent.toFixed(1)} % of a core`);
  assert.ok(percent < 10, `${percent} % of a core`);
});

Deno.test("the server starts new workers when all are killed at once", async () => {
  await using server = await ServerProcess.start({ args: ["--workers", "4"] });
  await server.line("worker ready", 4);
  const before = server.workers;
  for (const pid of before) Deno.kill(pid, "SIGKILL");
  await server.line("worker ready", 8);
  assert.equal(server.workers.length, 4);
  assert.ok(before.every((pid) => !server.workers.includes(pid)));
  assert.deepEqual(await askOnce(server.endpoint, "after"), ["after"]);
});

Deno.test("the server answers what comes right when all workers are killed at once while idle", async () => {
  // A job may be sent to each of them before its end is known, and each of these ends counts.
  const args = ["--workers", "4", "--max-attempts", "5"];
  await using server = await ServerProcess.start({ args });
  await using peer = new Peer(server.endpoint);
  for (let round = 1; round <= 3; round++) {
    await until("four serve", () => server.workers.length === 4);
    for (let sent = 0; sent < 20; sent++) assert.deepEqual(await peer.ask("x"), ["x"]);
    const killed = server.workers;
    for (const pid of killed) Deno.kill(pid, "SIGKILL");
    for (let sent = 0; sent < 20; sent++) peer.send("", String(sent));
    assert.deepEqual(await receiveBodies(peer, 20), numbers(20));
    await until("they are gone", () => !server.workers.some((pid) => killed.includes(pid)));
  }
});

Deno.test("the server starts new workers when all are killed at once in the middle of jobs", async () => {
  // A job may be sent to one of them before its end is known, and that end counts too.
  const args = ["--workers", "3", "--max-attempts", "5"];
  await using server = await ServerProcess.start({ handler: SLOW, args });
  await server.line("worker ready", 3);
  await using peer = new Peer(server.endpoint);
  for (let sent = 0; sent < 100; sent++) peer.send("", String(sent));
  const first = await receiveBodies(peer, 10);
  for (const pid of server.workers) Deno.kill(pid, "SIGKILL");
  assert.deepEqual([...first, ...await receiveBodies(peer, 90)].sort(), numbers(100));
});

Deno.test("the server gives a dead worker no jobs: all are answered when one was killed while idle", async () => {
  await using server = await ServerProcess.start({ args: ["--workers", "2"] });
  await server.line("worker ready", 2);
  await using peer = new Peer(server.endpoint);
  for (let round = 0; round < 5; round++) {
    const [pid] = server.workers;
    assert.ok(pid);
    Deno.kill(pid, "SIGKILL");
    for (let sent = 0; sent < 100; sent++) peer.send("", String(sent));
    assert.deepEqual(await receiveBodies(peer, 100), numbers(100));
    await until("two serve", () => server.workers.length === 2 && !server.workers.includes(pid));
  }
});

Deno.test("the server loses no reply during QUIT: what was asked before is answered", async () => {
  await using server = await ServerProcess.start({ handler: SLOW, args: ["--workers", "2"] });
  await using peer = new Peer(server.endpoint);
  for (let sent = 0; sent < 100; sent++) peer.send("", String(sent));
  await until("all are read", async () => (await server.state()).requests === 100);
  server.signal("SIGQUIT");
  assert.deepEqual(await receiveBodies(peer, 100), numbers(100));
  assert.equal((await server.ended()).code, 0);
});

for (const count of [1500, 6000]) {
  Deno.test(`the server loses no reply during QUIT: ${count} that wait for a slow client are taken`, async () => {
    await using server = await ServerProcess.start({ args: ["--workers", "1"] });
    // Takes 1,000 and what fits into the connection until it reads.
    await using slow = new PlainSocket(server.endpoint, { type: "DEALER", sendAll: true });
    const body = new Uint8Array(5000);
    for (let sent = 0; sent < count; sent++) slow.send(String(sent), "", body);
    await until("all are handled", async () => (await server.state()).answered === count);
    server.signal("SIGQUIT");
    await server.line("stopping");
    const seen: string[] = [];
    while (seen.length < count) seen.push(text((await slow.receive())[0]));
    assert.deepEqual(seen.sort(), numbers(count));
    assert.equal((await server.ended()).code, 0);
  });
}

Deno.test("the server loses no reply during TERM: the running job's comes, the waiting ones get 503", async () => {
  using gate = new Gate();
  const args = ["--workers", "1", gate.grant];
  await using server = await ServerProcess.start({ handler: gate.handler, args });
  await using peer = new Peer(server.endpoint);
  // Large, so that its reply is still on its way when everybody has left.
  const large = new Uint8Array(20_000_000).fill(7);
  peer.send("running", "", large);
  await server.line("started");
  for (let sent = 0; sent < 20; sent++) peer.send("waiting", "", "x");
  await until("they wait", async () => (await server.state()).queued === 20);
  server.signal("SIGTERM");
  for (const [envelope, ...refusal] of await receiveAll(peer, 20)) {
    assert.equal(text(envelope), "waiting");
    assert.deepEqual(refusal.map(text), ["", ...errorReply(503, "The server is shutting down")]);
  }
  gate.open();
  const [envelope, , body] = await peer.receive();
  assert.equal(text(envelope), "running");
  assert.equal(body?.length, large.length);
  assert.equal((await server.ended()).code, 0);
});

Deno.test("the server loses no last reply when a worker leaves after each request", async () => {
  const args = ["--workers", "2", "--max-requests", "1", "--max-requests-jitter", "0"];
  await using server = await ServerProcess.start({ args });
  await using peer = new Peer(server.endpoint);
  const large = new Uint8Array(200_000).fill(7);
  let sent = 0;
  await until("some have left", async () => {
    peer.send(String(++sent), "", large);
    const [envelope, , body] = await peer.receive();
    assert.equal(text(envelope), String(sent));
    assert.equal(body?.length, large.length);
    return recycled(server) >= 5;
  });
  assert.ok(linesOf(server, "worker exited").every(({ code }) => code === 0));
});

Deno.test("the server loses no last reply when a worker is told to leave in the middle of a job", async () => {
  using gate = new Gate();
  const args = ["--workers", "1", gate.grant];
  await using server = await ServerProcess.start({ handler: gate.handler, args });
  await using peer = new Peer(server.endpoint);
  // Large, so that it takes a while to leave the worker.
  const large = new Uint8Array(20_000_000).fill(7);
  peer.send("", large);
  await server.line("started");
  const [pid] = server.workers;
  assert.ok(pid);
  Deno.kill(pid, "SIGTERM");
  // Its replacement is there before it has left.
  await server.line("worker ready", 2);
  assert.ok(isAlive(pid));
  gate.open();
  assert.equal((await peer.receive())[1]?.length, large.length);
  const exit = await server.line("worker exited");
  assert.deepEqual({ code: exit.code, pid: exit.pid }, { code: 0, pid });
  assert.equal(linesOf(server, "started").length, 1);
});

Deno.test("the server replies when the handler throws", async () => {
  const handler = 'export default () => { throw new Error("It broke"); };';
  await using server = await ServerProcess.start({ handler, args: ["--workers", "1"] });
  await using req = new PlainSocket(server.endpoint);
  for (let round = 0; round < 3; round++) {
    req.send("x");
    assert.deepEqual((await req.receive()).map(text), errorReply(500, "It broke"));
  }
});

Deno.test('the server serves clients named "waiting" and "processing", and bodies that are control words', async () => {
  await using server = await ServerProcess.start({ args: ["--workers", "2"] });
  const types = [...Object.values(FromWorker), ...Object.values(FromBroker)];
  const words = [
    "waiting",
    "processing",
    "READY",
    ...types.map((type) => String.fromCharCode(type)),
  ];
  const peers = words.map((identity) => new Peer(server.endpoint, { identity }));
  try {
    for (const [index, peer] of peers.entries()) {
      for (const word of words) {
        peer.send(word, "", word, "", word);
        assert.deepEqual(await peer.receiveText(), [word, "", word, "", word], words[index]);
      }
    }
  } finally {
    for (const peer of peers) await peer[Symbol.asyncDispose]();
  }
  const { malformed, intruders, strayReplies } = await server.state();
  assert.deepEqual({ malformed, intruders, strayReplies }, {
    malformed: 0,
    intruders: 0,
    strayReplies: 0,
  });
});

Deno.test("the server carries more than one body frame and more than one shape of envelope", async () => {
  await using server = await ServerProcess.start({ args: ["--workers", "1"] });
  await using peer = new Peer(server.endpoint);
  for (const envelope of [[], ["a"], ["a", "b"], ["a", "b", "c"]]) {
    for (const body of [["x"], ["x", "y"], ["x", "", "z"], ["", ""]]) {
      peer.send(...envelope, "", ...body);
      assert.deepEqual(await peer.receiveText(), [...envelope, "", ...body]);
    }
  }
});

Deno.test("the server lets nobody register as a worker who does not have the token", async () => {
  using gate = new Gate();
  const args = ["--workers", "1", "--backend", "tcp://127.0.0.1:0", gate.grant];
  await using server = await ServerProcess.start({ handler: gate.handler, args });
  assert.match(server.backend, /^tcp:\/\/127\.0\.0\.1:[1-9]/);
  await using client = new Peer(server.endpoint);
  await using intruder = new Peer(server.backend);
  const withToken = (type: number, token: string) => bytes(String.fromCharCode(type) + token);
  client.send("", "secret");
  await server.line("started");
  const forged = new Uint8Array(16);
  forged.set([FromWorker.REPLY, 0, 200, 0, 1]);
  const messages = [
    [withToken(FromWorker.READY, "")],
    [withToken(FromWorker.READY, crypto.randomUUID())],
    [withToken(FromWorker.READY, "x".repeat(5000))],
    [withToken(FromWorker.FAILED, crypto.randomUUID()), "the handler is bad"],
    [withToken(FromWorker.FAILED, ""), "the handler is bad"],
    [forged, "forged"],
    [withToken(FromWorker.LEAVING, "")],
    ["READY"],
    ["", ""],
    ["", "READY"],
    [""],
    Array.from({ length: 100 }, () => "x"),
  ];
  for (const frames of messages) intruder.send(...frames);
  for (let sent = 0; sent < 20; sent++) client.send("", "more secrets");
  await until("they came", async () => Number((await server.state()).intruders) >= 8);
  gate.open();
  assert.deepEqual(await client.receiveText(), ["", "secret"]);
  assert.equal(
    (await receiveBodies(client, 20)).filter((body) => body === "more secrets").length,
    20,
  );
  assert.equal(intruder.take(), undefined);
  const { strayReplies, idle, busy } = await server.state();
  assert.deepEqual({ strayReplies, workers: Number(idle) + Number(busy) }, {
    strayReplies: 0,
    workers: 1,
  });
});

Deno.test("the server gives no late reply to a client that has reconnected and asked anew", async () => {
  using gate = new Gate();
  const handler = `${gate.source}
    export default async (body, ctx) => {
      ctx.log.info("started");
      if (new TextDecoder().decode(body) === "old") await passed();
      return body;
    };`;
  const args = ["--workers", "2", "--abort-grace", "0", gate.grant];
  await using server = await ServerProcess.start({ handler, args });
  await server.line("worker ready", 2);
  {
    await using before = new Peer(server.endpoint, { identity: "same" });
    before.send("", "old");
    await server.line("started");
  }
  await using after = new Peer(server.endpoint, { identity: "same" });
  assert.deepEqual(await after.ask("new"), ["new"]);
  gate.open();
  await until("the old one is done", async () => (await server.state()).running === 0);
  assert.deepEqual(await after.ask("newer"), ["newer"]);
  assert.equal(after.take(), undefined);
});

Deno.test("the server answers a client of a known identity when it reconnects again and again", async () => {
  await using server = await ServerProcess.start({ args: ["--workers", "1"] });
  for (let round = 0; round < 30; round++) {
    await using peer = new Peer(server.endpoint, { identity: "same" });
    assert.deepEqual(await peer.ask(String(round)), [String(round)]);
    peer.send("", "unread");
  }
});

Deno.test("the server's workers do not outlive it when it is killed, be they idle or in a busy loop", async () => {
  const handler = `export default (body, ctx) => {
    ctx.log.info("started");
    if (body.length > 0) for (;;);
    return "";
  };`;
  await using server = await ServerProcess.start({ handler, args: ["--workers", "3"] });
  await server.line("worker ready", 3);
  await using peer = new Peer(server.endpoint);
  peer.send("", "spin");
  await server.line("started");
  const { workers } = server;
  server.signal("SIGKILL");
  await until("the server is gone", () => !isAlive(server.pid));
  const start = performance.now();
  await until("they are gone", () => !workers.some(isAlive));
  const took = performance.now() - start;
  console.log(`the workers were gone after ${took.toFixed(0)} ms`);
  assert.ok(took < 1000, `${took} ms`);
});

Deno.test("the server keeps a worker when TTOU comes more often than there are workers", async () => {
  await using server = await ServerProcess.start({ args: ["--workers", "2"] });
  await server.line("worker ready", 2);
  for (let count = 1; count <= 4; count++) {
    server.signal("SIGTTOU");
    const { min, max } = await server.line("resized", count);
    assert.deepEqual({ min, max }, { min: 1, max: 1 });
  }
  await until("one is left", () => server.workers.length === 1);
  assert.deepEqual(await askOnce(server.endpoint, "x"), ["x"]);
  const { idle, busy } = await server.state();
  assert.equal(Number(idle) + Number(busy), 1);
});

Deno.test("the server requires no identity of its clients", async () => {
  await using server = await ServerProcess.start({ args: ["--workers", "1"] });
  await using one = new PlainSocket(server.endpoint);
  await using two = new PlainSocket(server.endpoint);
  for (const [index, req] of [one, two, one, two].entries()) {
    req.send(String(index));
    assert.deepEqual((await req.receive()).map(text), [String(index)]);
  }
});
