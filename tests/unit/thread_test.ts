/** The loop in a thread of its own: what the two threads share, and what they say to each other. */

import { strict as assert } from "node:assert";
import { resolveOptions } from "../../options/resolve.ts";
import { newCounters } from "../../broker/counters.ts";
import { Bulletin } from "../../ports/bulletin.ts";
import { Desk } from "../../ports/desk.ts";
import { readView, type View, writeView } from "../../ports/look_text.ts";
import type { LoopCommand, LoopEvent, Visit } from "../../ports/messages.ts";
import { RemoteLoop } from "../../ports/remote_loop.ts";
import { errorTold, tellable } from "../../ports/told_errors.ts";
import { closeBell, openBell } from "../../system/bell.ts";
import { type Libc, openLibc, SystemError } from "../../system/libc.ts";
import { Rope } from "../../system/rope.ts";
import { Errno, ZmqError } from "../../zmq/library.ts";
import { locateLibrary } from "../../zmq/locate.ts";
import { Peer } from "../rig/peer.ts";
import { until, within } from "../rig/wait.ts";

const LIBRARY = locateLibrary(Deno.env.get("ZMQ_LIBRARY")).path;

// ---- the desk ----

Deno.test("Desk shows one side where the other is, and lets only one of them move on", () => {
  const server = new Desk();
  const thread = new Desk(server.memory);
  assert.equal(server.waitWhile("called", 1), false);
  assert.equal(thread.move("called", "binding"), true);
  assert.equal(server.move("called", "unwanted"), false);
  assert.equal(server.waitWhile("called"), true);
  thread.enter("bound");
  assert.equal(server.isIn("bound"), true);
});

Deno.test("Desk has an answer to the last question only, of any length", () => {
  const server = new Desk();
  const thread = new Desk(server.memory);
  thread.answer("to nothing");
  server.ask();
  assert.equal(server.takeAnswer(1), undefined);
  assert.equal(thread.isAsked, true);
  server.ask();
  const text = "ü".repeat(100_000);
  thread.answer(text);
  assert.equal(thread.isAsked, false);
  assert.equal(server.takeAnswer(1), text);
  server.ask();
  thread.answer("short");
  assert.equal(server.takeAnswer(1), "short");
});

Deno.test("Desk counts what was sent and what was heard, and has the server's clock", () => {
  const server = new Desk();
  const thread = new Desk(server.memory);
  server.noteSent();
  server.noteSent();
  server.heard = -7;
  server.clock = 1234.5;
  assert.deepEqual([thread.sent, thread.heard, thread.clock], [2, -7, 1234.5]);
});

// ---- what is told ----

const COUNTERS: View["look"]["counters"] = {
  ...{ requests: 1, answered: 0, failed: 0, refused: 0, rejected: 0, expired: 0, abandoned: 0 },
  ...{ returned: 0, lost: 0, overran: 0, displaced: 0, cancelled: 0, joined: 0, cached: 0 },
  ...{ strayReplies: 0, malformed: 0, undelivered: 0, denied: 0, takeovers: 0, squatters: 0 },
  ...{ intruders: 0, invalidReplies: 0, lostJobs: 0, events: 0, eventsDropped: 0 },
};

const VIEW: View = {
  at: 100,
  backend: "ipc:///x",
  look: {
    queued: 1,
    queuedBytes: 2,
    running: 3,
    lastJobAt: 90,
    serviceTime: undefined,
    clients: 4,
    connections: undefined,
    hasUnsent: true,
    readAt: -Infinity,
    workers: new Map([
      [1, { jobs: 0, firstJob: undefined, firstJobAt: undefined, answered: 5, spareSince: 80 }],
      [2, { jobs: 1, firstJob: 6, firstJobAt: 60, answered: 7, spareSince: undefined }],
    ]),
    foreign: 2,
    services: new Map([["mail", {
      foreign: 0,
      queued: 1,
      queuedBytes: 2,
      running: 3,
      lastJobAt: 90,
      serviceTime: 1,
      counters: newCounters(),
      paused: true,
      oldestAt: 70,
    }]]),
    counters: COUNTERS,
  },
};

Deno.test("readView gives what writeView wrote, by the other clock", () => {
  assert.deepEqual(readView(writeView(VIEW, 0)).look.counters, COUNTERS);
  const { at, backend, look } = readView(writeView(VIEW, 1000));
  assert.deepEqual([at, backend], [1100, "ipc:///x"]);
  assert.deepEqual([look.lastJobAt, look.readAt, look.serviceTime], [1090, -Infinity, undefined]);
  assert.deepEqual(look.workers.get(1)?.spareSince, 1080);
  assert.deepEqual(look.workers.get(2), { jobs: 1, firstJob: 6, firstJobAt: 1060, answered: 7 });
  assert.equal(look.services.get("mail")?.lastJobAt, 1090);
  assert.equal(look.services.get("mail")?.oldestAt, 1070);
  const never = { ...VIEW, look: { ...VIEW.look, lastJobAt: 0, readAt: 5 } };
  const read = readView(writeView(never, 1000));
  assert.deepEqual([read.look.lastJobAt, read.look.readAt], [0, 1005]);
});

Deno.test("errorTold gives an error of the class and with the errno of the one that was told", () => {
  const first = new ZmqError("bind", Errno.EACCES, "Permission denied");
  const again = errorTold(structuredClone(tellable(first)));
  assert(again instanceof ZmqError);
  assert.deepEqual([again.message, again.errno, again.stack], [
    first.message,
    first.errno,
    first.stack,
  ]);
  assert(errorTold(tellable(new RangeError("x"))) instanceof RangeError);
  const { name, message } = errorTold(tellable(new Deno.errors.NotCapable("no")));
  assert.deepEqual([name, message], ["NotCapable", "no"]);
  assert.equal(errorTold(tellable("text")).message, "text");
});

const VISIT: Visit = {
  job: 1,
  id: undefined,
  service: "",
  client: { address: "", identity: "", user: "" },
  code: 200,
  attempt: 1,
  queued: 0,
  handler: 0,
  total: 0,
  in: 0,
  out: 0,
  shared: undefined,
  trace: undefined,
};

Deno.test("Bulletin has all of a pass, and a look where the server may act upon it", () => {
  const bulletin = new Bulletin(() => 0);
  assert.equal(bulletin.take(), undefined);
  bulletin.add({ type: "visits", visits: [VISIT, VISIT] });
  bulletin.add({ type: "log", level: "info", message: "x" });
  const first = bulletin.take();
  assert.deepEqual(first?.events.map(({ type }) => type), ["visits", "log"]);
  assert.deepEqual([first?.units, first?.asksForLook], [2, false]);
  bulletin.add({ type: "ready", worker: 1 });
  const second = bulletin.take();
  assert.deepEqual([second?.events.length, second?.asksForLook], [1, true]);
  bulletin.add({ type: "worked" });
  assert.deepEqual(bulletin.take(), { events: [], units: 2, asksForLook: true });
  assert.equal(bulletin.take(), undefined);
});

Deno.test("Bulletin drops and counts requests that a server does not hear of, and nothing else", () => {
  let heard = 0;
  const bulletin = new Bulletin(() => heard);
  const visits: LoopEvent = { type: "visits", visits: new Array<Visit>(1000).fill(VISIT) };
  for (let pass = 0; pass < 100; pass++) bulletin.add(visits);
  bulletin.add({ type: "departed", worker: 1 });
  const { events = [], units = 0 } = bulletin.take() ?? {};
  const kept = events.filter(({ type }) => type === "visits").length;
  assert(kept > 50 && kept < 100, `${kept} were kept`);
  assert.equal(events.at(-1)?.type, "departed");
  assert.equal(bulletin.take(), undefined);
  heard = units;
  const [said, ...more] = bulletin.take()?.events ?? [];
  assert.deepEqual(more, []);
  assert(said?.type === "log");
  assert.deepEqual(said.fields, { dropped: (100 - kept) * 1000 });
  bulletin.add(visits);
  assert.equal(bulletin.take()?.events.length, 1);
});

Deno.test("Rope rings a bell, and no file that gets the number of one that was closed", () => {
  const libc = openLibc(LIBRARY);
  // Files of other tests may get the number first.
  for (let round = 0; round < 1000; round++) if (ringsClosedBell(libc)) return;
  assert.fail("another file always got the number of the bell");
});

/** Rings a bell, closes it, and rings again; false: no other bell got its number. */
function ringsClosedBell(libc: Libc): boolean {
  const bell = openBell(libc);
  const rope = new Rope(LIBRARY, bell.writeEnd);
  const word = new Uint8Array(8);
  assert(libc.symbols.read(bell.readEnd, word, 8) < 0);
  rope.ring();
  assert.equal(libc.symbols.read(bell.readEnd, word, 8), 8);
  closeBell(libc, bell);
  const other = openBell(libc);
  const isSame = other.writeEnd === bell.writeEnd;
  if (isSame) {
    rope.ring();
    assert(libc.symbols.read(other.readEnd, word, 8) < 0);
  }
  rope.close();
  if (isSame) rope.ring();
  closeBell(libc, other);
  return isSame;
}

// ---- the thread ----

/** A loop in a thread of its own, and what it tells. */
class Remote {
  readonly events: LoopEvent[] = [];
  readonly loop: RemoteLoop;

  constructor(frontend = "tcp://127.0.0.1:0") {
    const settings = resolveOptions({ frontend }, { cpus: 2, cwd: () => "/" });
    // What resolves options also gives hooks, which can't be told.
    const plain = JSON.parse(JSON.stringify(settings));
    const limits = { ...plain, queueLimit: 1000, queueBytes: 2 ** 30, abortGrace: 1000 };
    const services = [{ name: "", limits, frontend: [], users: undefined }];
    const options = { ...limits, services, backend: "tcp://127.0.0.1:0" };
    this.loop = new RemoteLoop(LIBRARY, options, (event) => this.events.push(event));
  }

  told(type: LoopEvent["type"]): boolean {
    return this.events.some((event) => event.type === type);
  }

  async close(): Promise<void> {
    this.loop.send({ type: "stop" });
    await this.loop.close(0);
  }
}

const STRICT = { sanitizeOps: true, sanitizeResources: true };

Deno.test(
  "RemoteLoop has bound its endpoints when it is made, and serves once it runs",
  { sanitizeOps: true },
  async () => {
    const { loop, ...remote } = new Remote();
    assert.match(loop.frontend[0] ?? "", /^tcp:\/\/127\.0\.0\.1:[1-9]/);
    assert.equal(loop.look("now").queued, 0);
    const running = loop.run();
    const client = new Peer(loop.frontend[0] ?? "");
    client.send("", "waits");
    await until("it waits", () => loop.look("now").queued === 1);
    await until("it is told", () => loop.look("told").queued === 1);
    assert.deepEqual(remote.events.map(({ type }) => type).filter((type) => type !== "worked"), []);
    loop.send({ type: "stop" });
    await running;
    assert.equal(loop.look("now").queued, 1);
    await loop.close(0);
    await client[Symbol.asyncDispose]();
  },
);

Deno.test("RemoteLoop throws what the thread could not do", STRICT, async () => {
  const one = new Remote();
  const error = (() => {
    try {
      new Remote(one.loop.frontend[0]);
    } catch (error) {
      return error;
    }
  })();
  assert(error instanceof SystemError, String(error));
  assert(error.errno > 0);
  assert.match(error.message, /^Cannot bind to "tcp:.*": Address already in use$/);
  one.loop.run();
  await one.close();
});

Deno.test(
  "RemoteLoop has obeyed a command that changes what requests find when send returns",
  STRICT,
  async () => {
    const remote = new Remote();
    const running = remote.loop.run();
    const before = remote.loop.backend;
    remote.loop.send({ type: "moveBackend", endpoint: "tcp://127.0.0.1:0" });
    assert.notEqual(remote.loop.backend, before);
    await until("it is told", () => remote.told("backendMoved"));
    await remote.close();
    await running;
  },
);

Deno.test(
  "RemoteLoop closes its listeners before abandon returns, whether it ran or not",
  STRICT,
  async () => {
    for (const runs of [true, false]) {
      const remote = new Remote();
      const [endpoint] = remote.loop.frontend;
      if (runs) remote.loop.run();
      remote.loop.abandon();
      remote.loop.abandon();
      const next = new Remote(endpoint);
      next.loop.run();
      await next.close();
    }
  },
);

Deno.test("RemoteLoop rejects and closes everything when its thread fails", STRICT, async () => {
  const remote = new Remote();
  const [endpoint] = remote.loop.frontend;
  const running = remote.loop.run();
  remote.loop.send({ type: "configure" } as LoopCommand);
  await assert.rejects(within("it is told", running), TypeError);
  await assert.rejects(remote.loop.close(0), TypeError);
  remote.loop.send({ type: "stop" });
  assert.equal(remote.loop.look("now").queued, 0);
  const next = new Remote(endpoint);
  next.loop.run();
  await next.close();
});
