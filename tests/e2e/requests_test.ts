/** Requests from outside: envelopes, bodies, sizes, floods and full queues, against a real server. */

import { parseStatus } from "../rig/status.ts";
import { strict as assert } from "node:assert";
import { Folder } from "../rig/folder.ts";
import { Gate } from "../rig/gate.ts";
import { linesOf } from "../rig/log_lines.ts";
import { errorReply, header, numbers } from "../rig/messages.ts";
import { askOnce, Peer, receiveAll, receiveBodies } from "../rig/peer.ts";
import { PlainSocket } from "../rig/plain_socket.ts";
import { cpuMillis } from "../rig/processes.ts";
import { randomNumbers } from "../rig/random.ts";
import { ServerProcess } from "../rig/server_process.ts";
import { bytes, text } from "../rig/text.ts";
import { until } from "../rig/wait.ts";

const MALFORMED = "malformed requests dropped";

/** How many malformed messages the log has told of. */
function malformedLogged(server: ServerProcess): number {
  return linesOf(server, MALFORMED).reduce((sum, { count }) => sum + Number(count), 0);
}

function filled(size: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(size).fill(120);
}

// ---- envelopes ----

Deno.test("the server answers over tcp and ipc when it has several frontends", async () => {
  using folder = new Folder();
  const ipc = ["a", "b"].map((name) => `ipc://${folder.path}/${name}`);
  const frontends = ["tcp://127.0.0.1:0", "tcp://127.0.0.1:*", ...ipc];
  const args = frontends.flatMap((endpoint) => ["--frontend", endpoint]);
  await using server = await ServerProcess.start({ args });
  const bound = String((await server.line("listening")).frontend).split(",");
  assert.equal(bound.length, 4);
  assert.equal(new Set(bound).size, 4);
  assert.deepEqual(bound.slice(2), ipc);
  assert.ok(
    bound.slice(0, 2).every((endpoint) => /^tcp:\/\/127\.0\.0\.1:[1-9]\d*$/.test(endpoint)),
  );
  const peers = bound.map((endpoint) => new Peer(endpoint));
  try {
    for (const [index, peer] of peers.entries()) peer.send("", `hello ${index}`);
    for (const [index, peer] of peers.entries()) {
      assert.deepEqual(await peer.receiveText(), ["", `hello ${index}`]);
    }
  } finally {
    for (const peer of peers) await peer[Symbol.asyncDispose]();
  }
});

Deno.test("the server gives the whole envelope back when it has up to 15 frames before the empty one", async () => {
  await using server = await ServerProcess.start();
  await using peer = new Peer(server.endpoint);
  for (let count = 0; count <= 15; count++) {
    const envelope = Array.from({ length: count }, (_, index) => `frame ${index}`);
    peer.send(...envelope, "", "body", "", "more");
    assert.deepEqual(await peer.receiveText(), [...envelope, "", "body", "", "more"]);
  }
});

Deno.test("the server gives an envelope of 1 KiB back and drops one of 1 byte more", async () => {
  await using server = await ServerProcess.start({ args: ["--workers", "1"] });
  await using peer = new Peer(server.endpoint);
  peer.send(filled(1025), "", "too long");
  peer.send(filled(1000), filled(25), "", "too long in all");
  peer.send(filled(1000), filled(24), "", "exactly");
  peer.send(filled(1024), "", "in one");
  const sizes = (await receiveAll(peer, 2)).map((frames) => frames.map(({ length }) => length));
  assert.deepEqual(sizes, [[1000, 24, 0, 7], [1024, 0, 6]]);
  assert.equal((await server.state()).malformed, 2);
});

Deno.test("the server gives binary envelope frames back untouched when they hold any byte", async () => {
  await using server = await ServerProcess.start();
  await using peer = new Peer(server.endpoint);
  const every = Uint8Array.from({ length: 256 }, (_, index) => index);
  const zero = new Uint8Array([0]);
  peer.send(every, zero, "", "x");
  assert.deepEqual(await peer.receive(), [every, zero, bytes(""), bytes("x")]);
});

Deno.test("the server answers REQ sockets when they correlate and when they do not", async () => {
  await using server = await ServerProcess.start();
  for (const correlate of [false, true]) {
    await using req = new PlainSocket(server.endpoint, { type: "REQ", correlate });
    for (let round = 0; round < 20; round++) {
      req.send(`round ${round}`, "", "end");
      assert.deepEqual((await req.receive()).map(text), [`round ${round}`, "", "end"]);
    }
  }
});

Deno.test("the server answers the new request of a REQ_RELAXED socket when the old one is still unanswered", async () => {
  using gate = new Gate();
  await using server = await ServerProcess.start({
    handler: gate.handler,
    args: ["--workers", "1", gate.grant],
  });
  await using req = new PlainSocket(server.endpoint, { type: "REQ", correlate: true });
  req.send("old");
  await server.line("started");
  req.send("new");
  gate.open();
  assert.deepEqual((await req.receive()).map(text), ["new"]);
});

Deno.test("the server answers clients with and without an identity when they ask at once", async () => {
  await using server = await ServerProcess.start();
  const identities = ["a", "x".repeat(255), new Uint8Array([255, 0, 254]), undefined, undefined];
  const peers = identities.map((identity) => new Peer(server.endpoint, { identity }));
  try {
    for (let round = 0; round < 20; round++) {
      peers.forEach((peer, index) => peer.send("", `${index}:${round}`));
      for (const [index, peer] of peers.entries()) {
        assert.deepEqual(await peer.receiveText(), ["", `${index}:${round}`]);
      }
    }
    assert.equal((await server.state()).clients, 5);
  } finally {
    for (const peer of peers) await peer[Symbol.asyncDispose]();
  }
});

Deno.test("the server gives our client's header back with a status when a request has one", async () => {
  await using server = await ServerProcess.start();
  await using peer = new Peer(server.endpoint);
  const mine = header(2 ** 53 - 1, 5000);
  peer.send("outer", mine, "", "a", "b");
  const [outer, returned, delimiter, status, ...body] = await peer.receive();
  assert.equal(text(outer), "outer");
  assert.deepEqual(returned, mine);
  assert.equal(delimiter?.length, 0);
  assert.equal(parseStatus(status ?? bytes("")), 200);
  assert.deepEqual(body.map(text), ["a", "b"]);
});

// ---- bodies ----

Deno.test("the server carries any number of body frames when it is let", async () => {
  await using server = await ServerProcess.start({ args: ["--max-frames", "5000"] });
  await using peer = new Peer(server.endpoint);
  for (const count of [1, 2, 3, 17, 1000, 5000]) {
    const body = Array.from({ length: count }, (_, index) => index % 3 === 0 ? "" : `${index}`);
    assert.deepEqual(await peer.ask(...body), body);
  }
});

Deno.test("the server answers with a body of 0 bytes when it was asked with one", async () => {
  await using server = await ServerProcess.start();
  await using peer = new Peer(server.endpoint);
  assert.deepEqual(await peer.ask(""), [""]);
  assert.deepEqual(await peer.ask("", "", ""), ["", "", ""]);
});

Deno.test("the server carries bytes untouched when a body is binary", async () => {
  await using server = await ServerProcess.start();
  await using peer = new Peer(server.endpoint);
  const random = randomNumbers(7);
  for (const size of [1, 28, 29, 30, 33, 34, 255, 256, 8191, 8192, 65_537, 3_000_000]) {
    const body = Uint8Array.from({ length: size }, () => random(256));
    peer.send("", body);
    const [, answer] = await peer.receive();
    assert.ok(Uint8Array.from(answer ?? []).every((byte, index) => byte === body[index]));
    assert.equal(answer?.length, size);
  }
});

// ---- sizes ----

Deno.test("the server answers 413 when a plain body is 1 byte over maxMessageSize and serves it when exactly that", async () => {
  await using server = await ServerProcess.start({ args: ["--max-message-size", "1000"] });
  await using peer = new Peer(server.endpoint);
  assert.deepEqual(await peer.ask(filled(1000)), [text(filled(1000))]);
  const [empty, error] = await peer.ask(filled(1001));
  assert.equal(empty, "");
  assert.match(error ?? "", /^413 .*1000.*1001/);
  // Counted over all frames, and the envelope is no part of it.
  assert.deepEqual(await peer.ask(filled(500), "", filled(500)), [
    text(filled(500)),
    "",
    text(filled(500)),
  ]);
  assert.match((await peer.ask(filled(500), filled(500), "x", "y"))[1] ?? "", /^413 /);
  peer.send(filled(1000), "", filled(1000));
  assert.deepEqual((await peer.receive()).map(({ length }) => length), [1000, 0, 1000]);
  const { rejected, answered } = await server.state();
  assert.deepEqual({ rejected, answered }, { rejected: 2, answered: 3 });
});

Deno.test("the server answers 413 when a body has 1 frame more than maxFrames and serves it when exactly as many", async () => {
  await using server = await ServerProcess.start({ args: ["--max-frames", "3"] });
  await using peer = new Peer(server.endpoint);
  assert.deepEqual(await peer.ask("a", "", "c"), ["a", "", "c"]);
  const tooMany = "413 The body must have at most 3 frames: it has 4";
  assert.deepEqual(await peer.ask("a", "", "", ""), ["", tooMany]);
  peer.send("many", "frames", "of", "envelope", "", "a", "b", "c");
  assert.equal((await peer.receive()).length, 8);
});

Deno.test("the server takes frames for memory when a queue of empty ones is full", async () => {
  using gate = new Gate();
  const { handler } = gate;
  const bounds = ["--workers", "1", "--queue-bytes", "1000", "--overflow", "reject"];
  await using server = await ServerProcess.start({ handler, args: [gate.grant, ...bounds] });
  await using peer = new Peer(server.endpoint);
  peer.send("running", "", "");
  await server.line("started");
  for (const name of ["1", "2", "3"]) peer.send(name, "", "", "", "");
  assert.deepEqual(await peer.receiveText(), ["3", "", ...errorReply(503, "The queue is full")]);
  gate.open();
  for (const name of ["running", "1", "2"]) assert.equal(text((await peer.receive())[0]), name);
});

Deno.test("the server answers 413 with the client's header when a body that has one is too large", async () => {
  await using server = await ServerProcess.start({ args: ["--max-message-size", "1000"] });
  await using peer = new Peer(server.endpoint);
  const mine = header(77);
  peer.send(mine, "", filled(1001));
  const [returned, delimiter, status, message, ...rest] = await peer.receive();
  assert.deepEqual(returned, mine);
  assert.equal(delimiter?.length, 0);
  assert.equal(parseStatus(status ?? bytes("")), 413);
  assert.match(text(message), /1000.*1001/);
  assert.equal(rest.length, 0);
  peer.send(mine, "", filled(1000));
  assert.equal(parseStatus((await peer.receive())[2] ?? bytes("")), 200);
});

Deno.test("the server carries a body of 64 MiB when no maxMessageSize is given, and answers 413 to 1 byte more", async () => {
  await using server = await ServerProcess.start({ args: ["--workers", "1"] });
  await using peer = new Peer(server.endpoint);
  const body = filled(64 * 1024 ** 2 + 1);
  peer.send("", body.subarray(1));
  assert.equal((await peer.receive())[1]?.length, 64 * 1024 ** 2);
  assert.match((await peer.ask(body))[1] ?? "", /^413 /);
});

Deno.test("the server serves others when a peer sends a frame far above maxMessageSize", async () => {
  await using server = await ServerProcess.start({ args: ["--max-message-size", "1000"] });
  await using hostile = new Peer(server.endpoint);
  hostile.send("", filled(1_000_000));
  await using peer = new Peer(server.endpoint);
  for (let round = 0; round < 20; round++) assert.deepEqual(await peer.ask("x"), ["x"]);
});

// ---- malformed ----

Deno.test("the server drops and counts malformed messages when clients send them, and serves the same client on", async () => {
  using folder = new Folder();
  const ipc = `ipc://${folder.path}/front`;
  await using server = await ServerProcess.start({
    args: ["--frontend", "tcp://127.0.0.1:0", "--frontend", ipc],
  });
  const seventeen = Array.from({ length: 17 }, () => "e");
  const malformed = [
    ["no empty frame"],
    ["no", "empty", "frame"],
    [""], // nothing after the empty one
    ["e", ""],
    [...seventeen, "", "too many envelope frames"],
    Array.from({ length: 100 }, () => "never empty"),
    [filled(1025), "", "too long"],
    [filled(100_000)],
  ];
  for (const endpoint of [server.endpoint, ipc]) {
    await using peer = new Peer(endpoint);
    for (const frames of malformed) {
      peer.send(...frames);
      assert.deepEqual(await peer.ask("still there?"), ["still there?"]);
    }
  }
  const state = await server.state();
  assert.equal(state.malformed, 2 * malformed.length);
  assert.equal(state.requests, 2 * malformed.length);
  await until("all are logged", () => malformedLogged(server) === 2 * malformed.length);
});

Deno.test("the server logs malformed messages at most once a second when they come in a flood", async () => {
  await using server = await ServerProcess.start();
  await using peer = new Peer(server.endpoint);
  const COUNT = 5000;
  for (let sent = 0; sent < COUNT; sent++) {
    peer.send("malformed");
    if (sent % 500 === 0) assert.deepEqual(await peer.ask("ok"), ["ok"]);
  }
  assert.equal((await peer.ask("ok"))[0], "ok");
  await until("some are logged", () => malformedLogged(server) > 0);
  peer.send("one more");
  await until("all are logged", () => malformedLogged(server) === COUNT + 1);
  const times = linesOf(server, MALFORMED).map(({ time }) => Date.parse(time));
  // Times in the log are whole ms of another clock.
  times.slice(1).forEach((time, index) => assert.ok(time - (times[index] ?? 0) >= 900, `${times}`));
  assert.ok(times.length >= 2);
});

Deno.test("the server serves others when a peer speaks something else than ZeroMQ", async () => {
  await using server = await ServerProcess.start();
  const port = Number(server.endpoint.split(":").at(-1));
  const strangers = [
    "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "\xff\0\0\0\0\0\0\0\x01\x7f",
    "\0".repeat(1000),
    "SSH-2.0-x\r\n",
  ];
  const connections: Deno.TcpConn[] = [];
  try {
    for (const words of strangers) {
      const connection = await Deno.connect({ hostname: "127.0.0.1", port });
      connections.push(connection);
      await connection.write(Uint8Array.from(words, (letter) => letter.charCodeAt(0)));
      assert.deepEqual(await askOnce(server.endpoint, "x"), ["x"]);
    }
  } finally {
    for (const connection of connections) connection.close();
  }
  assert.deepEqual(await askOnce(server.endpoint, "x"), ["x"]);
});

Deno.test("the server answers what is well formed and drops the rest when messages are random", async () => {
  await using server = await ServerProcess.start();
  await using peer = new Peer(server.endpoint);
  const random = randomNumbers(20_251_121);
  const frame = () => random(3) === 0 ? "" : "x".repeat(1 + random(random(8) === 0 ? 600 : 20));
  let malformed = 0;
  for (let round = 0; round < 60; round++) {
    const messages = Array.from({ length: 50 }, (_, index) => {
      const frames = Array.from({ length: 1 + random(random(6) === 0 ? 60 : 6) }, frame);
      // The last frame names the message, unless it is to be a delimiter without a body.
      return frames.at(-1) === "" ? frames : [...frames.slice(0, -1), `${round}:${index}`];
    });
    const expected: string[] = [];
    for (const frames of messages) {
      peer.send(...frames);
      if (isWellFormed(frames)) expected.push(frames.join("|"));
      else malformed++;
    }
    const answers = (await receiveAll(peer, expected.length)).map((frames) =>
      frames.map(text).join("|")
    );
    assert.deepEqual(answers.sort(), expected.sort());
  }
  assert.ok(malformed > 100);
  const state = await server.state();
  assert.equal(state.malformed, malformed);
  assert.equal(state.requests, 3000 - malformed);
});

/** At most 16 frames and 1 KiB up to and including the first empty one, and at least one after it. */
function isWellFormed(frames: string[]): boolean {
  const delimiter = frames.indexOf("");
  const size = frames.slice(0, delimiter).join("").length;
  return delimiter >= 0 && delimiter < 16 && delimiter < frames.length - 1 && size <= 1024;
}

// ---- many ----

Deno.test("the server gives 10,000 answers when one peer has 10,000 requests in flight", async () => {
  await using server = await ServerProcess.start({ args: ["--workers", "2"] });
  await using peer = new Peer(server.endpoint);
  for (let sent = 0; sent < 10_000; sent++) peer.send("", String(sent));
  assert.deepEqual(await receiveBodies(peer, 10_000), numbers(10_000));
  const { answered, undelivered, failed } = await server.state();
  assert.deepEqual({ answered, undelivered, failed }, {
    answered: 10_000,
    undelivered: 0,
    failed: 0,
  });
});

Deno.test("the server gives 10,000 answers when the peer reads none before all are handled", async () => {
  await using server = await ServerProcess.start({ args: ["--workers", "2"] });
  // Takes 1,000 answers and no more while it does not read.
  await using peer = new PlainSocket(server.endpoint, { type: "DEALER", sendAll: true });
  const body = filled(1024);
  for (let sent = 0; sent < 10_000; sent++) peer.send(String(sent), "", body);
  await until("all are handled", async () => (await server.state()).answered === 10_000);
  // While they wait, others are served.
  assert.deepEqual(await askOnce(server.endpoint, "other"), ["other"]);
  const seen: string[] = [];
  while (seen.length < 10_000) {
    const [envelope, delimiter, answer] = await peer.receive();
    assert.equal(delimiter?.length, 0);
    assert.equal(answer?.length, 1024);
    seen.push(text(envelope));
  }
  assert.deepEqual(seen.sort(), numbers(10_000));
  assert.equal((await server.state()).undelivered, 0);
});

Deno.test("the server gives every answer when 50 clients have 200 requests each in flight", async () => {
  await using server = await ServerProcess.start({ args: ["--workers", "2"] });
  const peers = Array.from({ length: 50 }, () => new Peer(server.endpoint));
  try {
    for (let sent = 0; sent < 200; sent++) {
      peers.forEach((peer, index) => peer.send("", `${index}:${sent}`));
    }
    for (const [index, peer] of peers.entries()) {
      const expected = Array.from({ length: 200 }, (_, sent) => `${index}:${sent}`).sort();
      assert.deepEqual(await receiveBodies(peer, 200), expected);
    }
  } finally {
    for (const peer of peers) await peer[Symbol.asyncDispose]();
  }
});

Deno.test("the server answers each client when 100 come, ask and leave one after another", async () => {
  await using server = await ServerProcess.start({ args: ["--workers", "2"] });
  for (let round = 0; round < 100; round++) {
    await using req = new PlainSocket(server.endpoint, { correlate: round % 2 === 0 });
    req.send(String(round));
    assert.deepEqual((await req.receive()).map(text), [String(round)]);
  }
  await until("none is remembered", async () => (await server.state()).clients === 0);
});

Deno.test("the server uses next to no CPU when 4 workers are idle", async () => {
  await using server = await ServerProcess.start({ args: ["--workers", "4"] });
  await server.line("worker ready", 4);
  await using peer = new Peer(server.endpoint);
  assert.deepEqual(await peer.ask("x"), ["x"]);
  const used = () => [server.pid, ...server.workers].reduce((sum, pid) => sum + cpuMillis(pid), 0);
  // Not a wait for something: the time over which the CPU is measured, the start's echoes left out.
  const span = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
  await span(500);
  const before = used();
  const start = performance.now();
  await span(3000);
  const percent = 100 * (used() - before) / (performance.now() - start);
  console.log(`idle with 4 workers: ${percent.toFixed(2)} % of a core`);
  assert.equal(server.workers.length, 4);
  assert.ok(percent < 2, `${percent} % of a core`);
});

// ---- full queues ----

Deno.test("the server answers 503 when the queue is full and overflow is reject", async () => {
  using gate = new Gate();
  const args = ["--workers", "1", "--overflow", "reject", "--queue-limit", "5", gate.grant];
  await using server = await ServerProcess.start({ handler: gate.handler, args });
  await using peer = new Peer(server.endpoint);
  peer.send("0", "", "running");
  await server.line("started");
  for (let sent = 1; sent <= 8; sent++) peer.send(String(sent), "", "waits");
  const refused = (await receiveAll(peer, 3)).map((frames) => frames.map(text));
  const rule = errorReply(503, "The queue is full");
  assert.deepEqual(refused, [["6", "", ...rule], ["7", "", ...rule], ["8", "", ...rule]]);
  gate.open();
  const answered = (await receiveAll(peer, 6)).map(([envelope]) => text(envelope)).sort();
  assert.deepEqual(answered, ["0", "1", "2", "3", "4", "5"]);
  assert.deepEqual(await askOnce(server.endpoint, "again"), ["again"]);
  assert.equal((await server.state()).refused, 3);
});

Deno.test("the server answers 503 when the queue has too many bytes and overflow is reject", async () => {
  using gate = new Gate();
  const args = ["--workers", "1", "--overflow", "reject", "--queue-bytes", "3000", gate.grant];
  await using server = await ServerProcess.start({ handler: gate.handler, args });
  await using peer = new Peer(server.endpoint);
  peer.send("0", "", filled(1000));
  await server.line("started");
  // The one that runs is held until it is answered, as those that wait are.
  for (let sent = 1; sent <= 3; sent++) peer.send(String(sent), "", filled(1000));
  const [envelope, ...refusal] = await peer.receiveText();
  assert.deepEqual([envelope, ...refusal], ["3", "", ...errorReply(503, "The queue is full")]);
  gate.open();
  const answered = (await receiveAll(peer, 3)).map(([envelope]) => text(envelope)).sort();
  assert.deepEqual(answered, ["0", "1", "2"]);
});

Deno.test("the server loses nothing when the queue is full and overflow is block", async () => {
  const handler = `export default async (_body, ctx) => {
    await new Promise((resolve) => setTimeout(resolve, 0));
    return ctx.frames;
  }`;
  const limits = ["--queue-limit", "5", "--queue-bytes", "2000", "--overflow", "block"];
  await using server = await ServerProcess.start({ handler, args: ["--workers", "2", ...limits] });
  await using one = new Peer(server.endpoint);
  await using two = new Peer(server.endpoint, { identity: "two" });
  for (let sent = 0; sent < 500; sent++) {
    one.send("", filled(500), String(sent));
    two.send("", filled(1), String(sent));
  }
  assert.deepEqual(await receiveBodies(one, 500), numbers(500));
  assert.deepEqual(await receiveBodies(two, 500), numbers(500));
  assert.equal((await server.state()).refused, 0);
});

Deno.test("the server stops reading when the queue is full and overflow is block", async () => {
  using gate = new Gate();
  const args = ["--workers", "1", "--queue-limit", "5", gate.grant];
  await using server = await ServerProcess.start({ handler: gate.handler, args });
  await using peer = new Peer(server.endpoint);
  for (let sent = 0; sent < 100; sent++) peer.send("", String(sent));
  await server.line("started");
  await until("the queue is full", async () => (await server.state()).queued === 5);
  assert.equal((await server.state()).requests, 6);
  gate.open();
  assert.deepEqual(await receiveBodies(peer, 100), numbers(100));
});

Deno.test("the server serves others when the client that has filled its queue hangs up", async () => {
  const handler = `export default (body, { signal }) =>
    body.length > 0 ? body : new Promise((_, reject) => signal.onabort = reject);`;
  for (const frontend of ["ipc", "tcp"]) {
    using folder = new Folder();
    const endpoint = frontend === "ipc" ? `ipc://${folder.path}/front` : "tcp://127.0.0.1:0";
    const args = ["--workers", "1", "--queue-limit", "5", "--frontend", endpoint];
    await using server = await ServerProcess.start({ handler, args });
    const bound = String((await server.line("listening")).frontend);
    {
      await using peer = new Peer(bound);
      for (let sent = 0; sent < 20; sent++) peer.send("", "");
      await until("the queue is full", async () => (await server.state()).queued === 5);
    }
    await using other = new Peer(bound);
    assert.deepEqual(await other.ask("hello"), ["hello"]);
  }
});

Deno.test("the server answers requests when they were sent before any worker was ready", async () => {
  await using server = await ServerProcess.start({
    raw: true,
    args: ["--workers", "1", "--start-delay", "2s"],
  });
  await server.line("listening");
  await using peer = new Peer(server.endpoint);
  for (let sent = 0; sent < 100; sent++) peer.send("", String(sent));
  await until("they are there", async () => (await server.state()).queued === 100);
  assert.equal(linesOf(server, "worker spawned").length, 0);
  assert.deepEqual(await receiveBodies(peer, 100), numbers(100));
});

Deno.test("the server answers a request when the client connected before the server was there", async () => {
  using folder = new Folder();
  const endpoint = `ipc://${folder.path}/front`;
  await using peer = new Peer(endpoint);
  peer.send("", "early");
  await using _server = await ServerProcess.start({ args: ["--frontend", endpoint] });
  assert.deepEqual(await peer.receiveText(), ["", "early"]);
});

// ---- peers that mean harm ----

Deno.test("the server lives on when a peer takes the identities that libzmq gives out next unless it is seeded", async () => {
  await using server = await ServerProcess.start({ args: ["--transport", "libzmq"] });
  await using first = new Peer(server.endpoint);
  assert.deepEqual(await first.ask("hello"), ["hello"]);
  // The first random number of a C library that nobody has seeded, and what is counted up from it.
  const UNSEEDED = { glibc: 0x6b8b4567, bsd: 16_807 };
  await using thieves = new AsyncDisposableStack();
  for (const start of Object.values(UNSEEDED)) {
    for (let ahead = 0; ahead < 8; ahead++) {
      const identity = new Uint8Array(5);
      new DataView(identity.buffer).setUint32(1, start + ahead);
      const thief = thieves.use(new Peer(server.endpoint, { identity }));
      thief.send("", "mine");
    }
  }
  await until("they are here", async () => Number((await server.state()).clients) > 8);
  for (let fresh = 0; fresh < 8; fresh++) {
    assert.deepEqual(await askOnce(server.endpoint, `${fresh}`), [`${fresh}`]);
  }
});
