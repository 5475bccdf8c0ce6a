/** Pools on other machines, without sockets: what they say, who may connect, and what the server makes of it. */

import { strict as assert } from "node:assert";
import { JOIN_DOMAIN, JoinAccess } from "../../auth/join_access.ts";
import { decodeKey } from "../../auth/z85.ts";
import { newCounters } from "../../broker/counters.ts";
import { JoinedLives } from "../../join/joined_lives.ts";
import { Joiners } from "../../join/joiners.ts";
import type { EventName, ServerEvents } from "../../ops/events.ts";
import { JoinerPeers } from "../../ports/joiner_peers.ts";
import type { Look, LoopCommand, WorkerLook } from "../../ports/messages.ts";
import {
  JOIN_HEARTBEAT,
  JOIN_SILENCE,
  MOST_JOIN_BYTES,
  readFromJoiner,
  readToJoiner,
  type ToJoiner,
  writeJoin,
} from "../../wire/join.ts";

// ---- who may connect

const KEYS = [
  "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7",
  "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID",
  "2l$Fs2l$Fs2l$Fs2l$Fs2l$Fs2l$Fs2l$Fs2l$Fs",
];
const [LISTED = "", WORKER = "", OTHER = ""] = KEYS;

function ask(access: JoinAccess, key: string | undefined, now = 0): string {
  const decision = access.decide(
    {
      ...{ domain: JOIN_DOMAIN, address: "10.0.0.1", identity: new Uint8Array() },
      mechanism: key === undefined ? "NULL" : "CURVE",
      credentials: key === undefined ? [] : [decodeKey(key)],
    },
    true,
    now,
  );
  if (decision === "wait") return decision;
  return decision.outcome === "allowed" ? `allowed ${decision.user}` : decision.outcome;
}

Deno.test("JoinAccess lets listed machines in and the workers that live, and each has places of its own", () => {
  const access = new JoinAccess(new Map([[LISTED, "east"], [OTHER, "west"]]));
  let last = 0;
  const open = (key: string) => {
    const said = ask(access, key);
    if (said.startsWith("allowed")) access.opened(++last, true);
    return said;
  };
  assert.equal(ask(access, undefined), "denied");
  assert.equal(open(WORKER), "denied");
  for (let count = 0; count < 16; count++) assert.equal(open(LISTED), "allowed east");
  assert.equal(open(LISTED), "later");
  assert.equal(open(OTHER), "allowed west");
  access.closed(1);
  access.closed(99);
  assert.deepEqual([open(LISTED), open(LISTED)], ["allowed east", "later"]);
  access.addWorker(WORKER, "east");
  assert.deepEqual([open(WORKER), open(WORKER), open(WORKER)], ["allowed ", "allowed ", "later"]);
  access.removeWorker(WORKER);
  access.configure(new Map());
  assert.deepEqual([ask(access, WORKER), ask(access, LISTED)], ["denied", "denied"]);
});

Deno.test("JoinAccess lets nothing of a machine in that takes a name of libzmq's, its workers neither, until the list is read again", () => {
  const names = new Map([[LISTED, "east"], [OTHER, "west"]]);
  const access = new JoinAccess(names);
  access.addWorker(WORKER, "east");
  assert.equal(ask(access, WORKER), "allowed ");
  assert.equal(ask(access, OTHER), "wait", "what is opened next is whose turn it is");
  assert.equal(access.opened(1, false), "east");
  assert.deepEqual([ask(access, WORKER), ask(access, LISTED)], ["denied", "denied"]);
  assert.equal(ask(access, OTHER), "allowed west");
  assert.equal(access.opened(2, true), undefined);
  access.configure(names);
  assert.equal(ask(access, LISTED), "allowed east");
});

Deno.test("JoinAccess gives the turn to others when a connection that was let in is never opened", () => {
  const access = new JoinAccess(new Map([[LISTED, "east"], [OTHER, "west"]]));
  assert.equal(ask(access, LISTED, 0), "allowed east");
  assert.deepEqual([ask(access, OTHER, 999), access.wait(999)], ["wait", 1]);
  assert.equal(ask(access, LISTED, 1000), "wait", "it had its turn");
  assert.equal(ask(access, OTHER, 1000), "allowed west");
  access.opened(1, true);
  assert.deepEqual([ask(access, LISTED, 2999), access.wait(2999)], ["wait", 1]);
  assert.deepEqual([ask(access, LISTED, 3000), access.wait(4000)], ["allowed east", Infinity]);
});

Deno.test("JoinerPeers hears what machines say that have proved a name, within bounds, and tells when they are gone", () => {
  const told: string[] = [];
  const peers = new JoinerPeers({
    said: (joiner, name, address, text) => told.push(`${joiner} ${name} ${address} ${text}`),
    gone: (joiner) => told.push(`${joiner} gone`),
    opened: (connection, isNamedByUs) => opened.push(`${connection} ${isNamedByUs}`),
    closed: (connection) => opened.push(`${connection} closed`),
  });
  const opened: string[] = [];
  const routingId = () => Uint8Array.of(0, 1);
  const say = (key: number, name: string, size: number, now = 0) =>
    peers.hear(key, routingId, { name, address: "a", size, text: () => "hi" }, now);
  peers.noticed(1);
  peers.noticed(2);
  peers.noticed("own name");
  assert.deepEqual(opened.splice(0), ["1 true", "2 true", "own name false"]);
  assert.deepEqual([say(1, "", 2), say(1, "east", MOST_JOIN_BYTES + 1)], [false, false]);
  assert.deepEqual([say(1, "east", 2), say(2, "west", 2)], [true, true]);
  assert.deepEqual(told, ["1 east a hi", "2 west a hi"]);
  let heard = 0;
  for (let count = 0; count < 5000; count++) if (say(2, "west", 2)) heard++;
  assert.equal(heard, 1999);
  assert.equal(say(2, "west", 2, 1000), true);
  const large = Array.from({ length: 100 }, () => say(1, "east", MOST_JOIN_BYTES, 2000));
  assert.equal(large.filter(Boolean).length, 64);
  assert.deepEqual([...peers.routeTo(1) ?? []], [0, 1]);
  peers.noticed(1);
  assert.equal(told.at(-1), "1 gone");
  assert.equal(peers.routeTo(1), undefined);
  assert.deepEqual(opened, ["1 closed"]);
});

// ---- what is said

Deno.test("readFromJoiner takes what joiners say, and nothing else", () => {
  const hello = {
    ...{ protocol: 1, workers: "1", version: "0.6.0", services: ["", "mail"], tickets: 4 },
    type: "hello",
  } as const;
  const figures = {
    state: "idle",
    ...{ worker: 3, ageMs: 1, residentBytes: 5, cpuMs: 2 },
    ...{ generation: 1, restarts: 0 },
  } as const;
  for (
    const message of [
      hello,
      { type: "tickets", service: "", count: 3 },
      { type: "started", worker: 3, pid: 7 },
      { type: "retire", worker: 3 },
      { type: "ended", worker: 3, end: "outside", owesReason: true },
      { type: "exited", worker: 3, code: 0, signal: null, reason: "recycled" },
      { type: "exited", worker: 3, code: 137, signal: "SIGKILL", reason: "crashed" },
      { type: "figures", workers: [figures] },
      { type: "bye" },
    ] as const
  ) assert.deepEqual(readFromJoiner(writeJoin(message)), JSON.parse(JSON.stringify(message)));
  const exited = { type: "exited", worker: 3, code: 0, signal: null, reason: "left" };
  const wrong = [
    ...[{ ...hello, services: "mail" }, { ...hello, services: ["a b"] }],
    ...[{ ...hello, tickets: 65 }, { ...hello, version: "x".repeat(65) }],
    { ...hello, services: Array.from({ length: 65 }, (_, each) => `s${each}`) },
    ...[{ type: "tickets", service: "", count: 0.5 }, { type: "tickets", count: 1 }],
    ...[{ type: "started", worker: -1, pid: 1 }, { type: "started", worker: "1", pid: 1 }],
    ...[{ type: "ended", worker: 3, end: "vanished" }, { type: "retire" }],
    ...[{ ...exited, reason: "lost" }, { ...exited, reason: "toString" }, { ...exited, code: "1" }],
    ...[{ ...exited, signal: "x".repeat(65) }, { ...exited, signal: 9 }, { ...exited, worker: -1 }],
    { type: "figures", workers: [{ ...figures, state: "dead" }] },
    { type: "figures", workers: Array.from({ length: 257 }, () => figures) },
    { type: "figures", workers: [{ ...figures, residentBytes: "1" }] },
    ...[{ type: "stop" }, { type: "toString" }, [], null, 7, "hello"],
  ];
  for (const each of wrong) {
    assert.equal(readFromJoiner(JSON.stringify(each)), undefined, JSON.stringify(each));
  }
  for (const text of ["", "{", "\u0000"]) assert.equal(readFromJoiner(text), undefined);
});

Deno.test("readToJoiner takes what servers say, and nothing else", () => {
  const said: ToJoiner = { type: "news", news: { type: "failed", worker: 1, message: "no" } };
  assert.deepEqual(readToJoiner(writeJoin(said)), said);
  for (const each of [{ type: "news", news: { type: "joined", worker: 1 } }, { type: "look" }]) {
    assert.equal(readToJoiner(JSON.stringify(each)), undefined);
  }
});

// ---- what the server makes of it

const TERMS = { concurrency: 2, maxMessageSize: 1000, maxFrames: 10 };

/** A server's side, with a clock of its own. */
class Desk {
  now = 1000;
  readonly commands: LoopCommand[] = [];
  readonly log: string[] = [];
  readonly happened: [name: EventName, event: ServerEvents[EventName]][] = [];
  readonly workers = new Map<number, WorkerLook>();
  readonly #told: [joiner: number, said: ToJoiner][] = [];
  #last = 0;
  readonly joiners = new Joiners({
    log: { warn: (message, fields) => this.log.push(`${message}: ${fields?.reason}`) },
    events: {
      emit: (name, event) => {
        this.happened.push([name, event]);
        return Promise.resolve();
      },
    },
    send: (command) => this.#sent(command),
    nextWorker: () => ++this.#last,
    makeKeys: () => ({ publicKey: `public ${this.#last}`, secretKey: `secret ${this.#last}` }),
    terms: () => new Map([["", TERMS]]),
    look: () => this.look,
  });

  #sent(command: LoopCommand): void {
    if (command.type !== "tellJoiner") return void this.commands.push(command);
    const said = readToJoiner(command.text);
    assert(said !== undefined, command.text);
    this.#told.push([command.joiner, said]);
  }

  get look(): Look {
    const nothing = { queued: 0, queuedBytes: 0, running: 0, foreign: 0, lastJobAt: 0 };
    return {
      ...{ ...nothing, serviceTime: undefined, clients: 0, connections: undefined },
      ...{ hasUnsent: false, readAt: 0, workers: this.workers, services: new Map() },
      counters: {
        ...newCounters(),
        ...{ malformed: 0, undelivered: 0, intruders: 0, denied: 0, takeovers: 0, squatters: 0 },
        ...{ invalidReplies: 0, lostJobs: 0, events: 0, eventsDropped: 0 },
      },
    };
  }

  say(message: object, joiner = 1, name = "east"): void {
    const text = JSON.stringify(message);
    this.joiners.said({ joiner, name, address: "10.0.0.2", text }, this.now);
  }

  hello(joiner = 1, name = "east", more: object = {}): void {
    const hello = { type: "hello", protocol: 1, workers: "1", version: "x", services: [""] };
    this.say({ ...hello, tickets: 1, ...more }, joiner, name);
  }

  /** What was told since the last call. */
  told(joiner = 1): ToJoiner[] {
    return this.#told.splice(0).filter(([to]) => to === joiner).map(([, said]) => said);
  }

  pass(time: number): void {
    for (const end = this.now + time; this.now < end;) {
      this.now = Math.min(end, this.now + Math.max(1, this.joiners.tick(this.now)));
      this.joiners.tick(this.now);
    }
  }

  get shown(): string[] {
    const found = this.joiners.describe(this.look, this.now);
    return found.map(({ worker, host, pid, state }) => `${worker} ${host} ${pid} ${state}`);
  }
}

const EAST = { host: "east", address: "10.0.0.2" };
const LOST = { code: -1, signal: null, reason: "lost", expected: false } as const;

const idle: WorkerLook = {
  ...{ jobs: 0, firstJob: undefined, firstJobAt: undefined, answered: 0 },
  spareSince: 1000,
};

Deno.test("Joiners gives tickets whose workers the loop expects before, and passes on what these do", () => {
  const desk = new Desk();
  desk.hello();
  const expected = {
    ...{ type: "expect", worker: 1, service: "", host: "east" },
    ...{ publicKey: "public 1" },
  };
  const [welcome] = desk.told();
  assert(welcome?.type === "welcome");
  const [ticket] = welcome.tickets;
  assert.deepEqual(desk.commands.splice(0), [{ ...expected, token: ticket?.token }]);
  assert.deepEqual([welcome.host, welcome.terms], ["east", { "": TERMS }]);
  assert.deepEqual(desk.shown, [], "a ticket is no worker");
  assert(
    desk.joiners.hear({ type: "ready", worker: 1 }),
    "it may be sooner than what is said of it",
  );
  desk.say({ type: "started", worker: 1, pid: 77 });
  desk.workers.set(1, idle);
  assert.deepEqual(desk.shown, ["1 east 77 idle"]);
  assert.deepEqual(desk.told(), [{ type: "news", news: { type: "ready", worker: 1 } }]);
  desk.say({ type: "retire", worker: 1 });
  desk.say({ type: "ended", worker: 1, end: "itself", owesReason: false });
  desk.say({ type: "ended", worker: 1, end: "itself", owesReason: false });
  assert.deepEqual(desk.commands.splice(0), [
    { type: "retire", worker: 1 },
    { type: "processEnded", worker: 1, end: "itself", owesReason: false },
  ]);
  assert(desk.joiners.hear({ type: "departed", worker: 1 }));
  assert.deepEqual(desk.shown, []);
  assert.equal(desk.joiners.hear({ type: "ready", worker: 1 }), false);
});

Deno.test("Joiners gives a pool up of which nothing is heard, and blames no job for it", () => {
  const desk = new Desk();
  desk.hello();
  desk.say({ type: "started", worker: 1, pid: 77 });
  desk.commands.splice(0);
  for (let second = 0; second < 20; second++) {
    desk.pass(JOIN_HEARTBEAT);
    desk.say({ type: "figures", workers: [] });
  }
  assert.deepEqual(desk.commands, []);
  desk.told();
  desk.pass(JOIN_SILENCE + JOIN_HEARTBEAT);
  assert.deepEqual(desk.commands.splice(0), [
    { type: "processEnded", worker: 1, end: "vanished", owesReason: false },
  ]);
  assert.equal(desk.told().at(-1)?.type, "unknown");
  const reason = "nothing was heard of it for 30001 ms";
  assert.deepEqual(desk.happened.slice(-2), [
    ["poolLeft", { ...EAST, workers: 1, reason, lost: true }],
    ["workerExited", { ...LOST, worker: 1, pid: 77, host: "east" }],
  ]);
  desk.say({ type: "figures", workers: [] });
  assert.deepEqual(desk.told(), [{ type: "unknown" }]);
  assert.equal(desk.joiners.tick(desk.now), Infinity);
});

Deno.test("Joiners gives nobody up while this thread was held up itself", () => {
  const desk = new Desk();
  desk.hello();
  desk.pass(JOIN_HEARTBEAT);
  desk.now += 60_000;
  desk.joiners.tick(desk.now);
  desk.commands.splice(0);
  desk.pass(JOIN_SILENCE - 1);
  assert.deepEqual(desk.commands, []);
});

Deno.test("Joiners tells a pool nothing more that says nothing, and starts none while the server stops", () => {
  const desk = new Desk();
  desk.hello();
  desk.joiners.hear({ type: "ready", worker: 1 });
  desk.workers.set(1, { ...idle, jobs: 1 });
  desk.told();
  desk.pass(20_000);
  assert.equal(desk.told().length, 30);
  desk.joiners.stop(1000, desk.now);
  desk.told();
  desk.hello(2);
  assert.deepEqual(desk.told(2), []);
});

Deno.test("Joiners tells pools at work more often than those at rest", () => {
  const desk = new Desk();
  desk.hello();
  desk.joiners.hear({ type: "ready", worker: 1 });
  desk.workers.set(1, { ...idle, jobs: 1, spareSince: undefined, firstJob: 4, firstJobAt: 990 });
  desk.told();
  const looks = () => desk.told().filter(({ type }) => type === "look");
  desk.pass(1000);
  const busy = looks();
  assert(busy.length >= 9, `${busy.length} looks`);
  const [look] = busy;
  assert(look?.type === "look" && look.workers[0]?.firstJobMs === 10);
  desk.workers.set(1, idle);
  desk.pass(200);
  looks();
  desk.say({ type: "figures", workers: [] });
  desk.pass(3000);
  assert(looks().length <= 3);
});

Deno.test("Joiners refuses another protocol, services that there are not, and too many of one name", () => {
  const desk = new Desk();
  const reason = () => {
    const [said] = desk.told();
    return said?.type === "refused" ? said.reason : said?.type;
  };
  desk.hello(1, "east", { protocol: 2 });
  assert.match(reason() ?? "", /speaks version 2.1 of the protocol; .* speaks 1.1: run the same/);
  desk.hello(1, "east", { services: ["mail"] });
  assert.match(reason() ?? "", /^the server has no service "mail"/);
  for (let joiner = 2; joiner < 6; joiner++) desk.hello(joiner);
  desk.told();
  desk.hello(1);
  assert.match(reason() ?? "", /^4 pools of the name "east" have joined already/);
  desk.hello(1, "west");
  assert.equal(reason(), "welcome");
});

Deno.test("Joiners drops pools that are not on the list any more, and lets workers leave when the server stops", () => {
  const desk = new Desk();
  desk.hello(1, "east");
  desk.hello(2, "west");
  desk.commands.splice(0);
  desk.told();
  desk.joiners.configure(new Map([["key", "west"]]));
  assert.equal(desk.commands.shift()?.type, "joinable");
  assert.deepEqual(desk.commands.splice(0), [
    { type: "processEnded", worker: 1, end: "vanished", owesReason: false },
  ]);
  assert.equal(desk.told(1)[0]?.type, "refused");
  desk.joiners.stop(3000, desk.now);
  assert.deepEqual(desk.commands.splice(0), [{ type: "retire", worker: 2 }]);
  assert.deepEqual(desk.told(2), [{ type: "stopping" }]);
  desk.say({ type: "tickets", service: "", count: 5 }, 2, "west");
  assert.deepEqual(desk.told(2), [{ type: "tickets", tickets: [] }]);
  desk.pass(3000);
  assert.equal(desk.commands.at(-1)?.type, "processEnded", "it has had its time");
});

// ---- what is told of workers

Deno.test("Joiners tells of a joined worker that it was started, is ready, and has ended, once and in this order", () => {
  const desk = new Desk();
  desk.hello(1, "east", { tickets: 3 });
  const happened = () => desk.happened.splice(0);
  assert.deepEqual(happened(), [
    ["poolJoined", { ...EAST, version: "x", services: undefined }],
  ]);
  desk.joiners.hear({ type: "ready", worker: 1 });
  assert.deepEqual(happened(), [], "it is told when it was said to be started");
  const one = { worker: 1, pid: 77, host: "east" };
  for (let time = 0; time < 2; time++) desk.say({ type: "started", worker: 1, pid: 77 });
  assert.deepEqual(happened(), [
    ["workerSpawned", { ...one, purpose: "serve" }],
    ["workerReady", one],
  ]);
  desk.say({ type: "ended", worker: 1, end: "itself", owesReason: false });
  desk.say({ type: "started", worker: 1, pid: 78 });
  desk.joiners.hear({ type: "departed", worker: 1 });
  const end = { code: 0, signal: null, reason: "recycled" } as const;
  for (let time = 0; time < 2; time++) desk.say({ type: "exited", worker: 1, ...end });
  assert.deepEqual(happened(), [["workerExited", { ...one, ...end, expected: true }]]);
  desk.say({ type: "exited", worker: 2, ...end });
  desk.say({ type: "ended", worker: 3, end: "itself", owesReason: false });
  desk.joiners.hear({ type: "departed", worker: 3 });
  assert.deepEqual(happened(), [], "nothing is told of tickets");
});

Deno.test("Joiners tells that joined workers are lost with their pool, and that they stop with the server", () => {
  const desk = new Desk();
  desk.hello(1, "east", { tickets: 3 });
  for (const worker of [1, 2, 3]) desk.say({ type: "started", worker, pid: 70 + worker });
  desk.say({ type: "ended", worker: 1, end: "itself", owesReason: false });
  desk.joiners.hear({ type: "departed", worker: 1 });
  desk.say({ type: "exited", worker: 1, code: 1, signal: null, reason: "crashed" });
  desk.say({ type: "ended", worker: 2, end: "itself", owesReason: false });
  desk.joiners.hear({ type: "departed", worker: 2 });
  desk.happened.splice(0);
  desk.joiners.gone(1);
  const reason = "its connection is gone";
  assert.deepEqual(desk.happened.splice(0), [
    ["poolLeft", { ...EAST, workers: 1, reason, lost: true }],
    ["workerExited", { ...LOST, worker: 2, pid: 72, host: "east" }],
    ["workerExited", { ...LOST, worker: 3, pid: 73, host: "east" }],
  ]);
  desk.hello(2, "west", { tickets: 2 });
  for (const worker of [4, 5]) desk.say({ type: "started", worker, pid: 70 + worker }, 2, "west");
  desk.joiners.stop(1000, desk.now);
  desk.happened.splice(0);
  desk.say({ type: "exited", worker: 4, code: 0, signal: null, reason: "left" }, 2, "west");
  desk.joiners.close();
  const stopped = { reason: "stopped", expected: true, host: "west" };
  assert.deepEqual(desk.happened, [
    ["workerExited", { worker: 4, pid: 74, code: 0, signal: null, ...stopped }],
    ["workerExited", { worker: 5, pid: 75, code: -1, signal: null, ...stopped }],
  ]);
});

Deno.test("Joiners lets a pool say nothing of its workers but of its own", () => {
  const desk = new Desk();
  desk.hello(1, "east");
  desk.hello(2, "evil");
  desk.say({ type: "started", worker: 1, pid: 77 });
  desk.happened.splice(0);
  desk.say({ type: "started", worker: 1, pid: 1 }, 2, "evil");
  desk.say({ type: "exited", worker: 1, code: 0, signal: null, reason: "left" }, 2, "evil");
  assert.deepEqual(desk.happened, []);
});

Deno.test("JoinedLives gives a worker up of which its pool does not say how it has ended", () => {
  const told: unknown[] = [];
  const lives = new JoinedLives({
    emit: (name, event) => Promise.resolve(void told.push([name, event])),
  });
  lives.started(1, "mail", { worker: 5, pid: 7, host: "east" });
  assert.equal(lives.tick(0), Infinity);
  lives.departed(5, 1000);
  assert.equal(lives.tick(1000), 30_000);
  assert.equal(lives.tick(30_999), 1);
  assert.equal(told.length, 1);
  assert.equal(lives.tick(31_000), Infinity);
  const one = { worker: 5, pid: 7, host: "east", service: "mail" };
  assert.deepEqual(told.slice(1), [["workerExited", { ...one, ...LOST }]]);
  lives.lost(1);
  lives.close();
  assert.equal(told.length, 2);
});
