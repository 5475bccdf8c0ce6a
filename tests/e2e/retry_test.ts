/** What a client does when servers refuse, do not answer, or are not there: LazyPirate and Client. */

import assert from "node:assert/strict";
import { AbandonedError, Client, type Retry } from "../../client.ts";
import { LazyPirate } from "../../client/lazy_pirate.ts";
import type { Link, Pending, Step } from "../../client/steps.ts";
import { Turns } from "../../client/turns.ts";
import { deadEndpoint, echo, FakeServer, headerOf, silent } from "../rig/fake_server.ts";
import { Folder } from "../rig/folder.ts";
import { ServerProcess } from "../rig/server_process.ts";
import { bytes, text } from "../rig/text.ts";
import { LIMIT, until } from "../rig/wait.ts";
import { KeyRing } from "../rig/key_ring.ts";

const TERMS = { timeout: 10_000, retries: 2, requestTimeout: 0, key: "" };

/** A client's retry logic, and names for its links. */
class Ship {
  readonly pirate: LazyPirate<string>;
  readonly #links: Link<string>[] = [];

  constructor(options: { plain?: boolean; named?: boolean; endpoints?: number } = {}) {
    this.pirate = new LazyPirate({ plain: false, named: false, firstId: 1, ...options });
  }

  /** Does what is due and tells what was decided, links numbered as they come. */
  at(now: number): string[] {
    this.pirate.tick(now);
    return this.pirate.take().map((step) => this.#tell(step));
  }

  link(number: number): Link<string> {
    const link = this.#links[number - 1];
    assert.ok(link !== undefined, `There is a link ${number}`);
    return link;
  }

  #tell(step: Step<string>): string {
    switch (step.do) {
      case "giveUp":
        return `give up ${step.item}${step.refused ? ", refused" : ""}`;
      case "retry":
        return `retry ${step.request.item} after ${step.attempt}: ${step.reason}`;
      case "open":
        return `open ${this.#number(step.link)} to ${step.link.endpoint}`;
      case "send":
        return `send ${step.item} #${step.id} on ${this.#number(step.link)} for ${step.timeout}`;
      case "cancel":
        return `cancel #${step.id}`;
      case "close":
        return `close ${this.#number(step.link)}`;
    }
  }

  #number(link: Link<string>): number {
    if (!this.#links.includes(link)) this.#links.push(link);
    return this.#links.indexOf(link) + 1;
  }
}

Deno.test("LazyPirate sends a refused request again, later each time, within the time of its try", () => {
  const ship = new Ship();
  ship.pirate.add("a", { ...TERMS, timeout: 1000 }, 0);
  assert.deepEqual(ship.at(0), ["open 1 to 0", "send a #1 on 1 for 1000"]);
  ship.pirate.connected(ship.link(1), 1);
  ship.at(1);
  assert.deepEqual(ship.pirate.refuse(ship.link(1), 1, 10), { item: "a", final: false });
  assert.equal(ship.pirate.refuse(ship.link(1), 1, 10), undefined);
  assert.equal(ship.pirate.answer(ship.link(1), 1, 200, 10), undefined);
  assert.deepEqual(ship.at(10), ["retry a after 1: refused"]);
  assert.deepEqual(ship.at(109), []);
  assert.deepEqual(ship.at(110), ["send a #2 on 1 for 890"]);
  ship.pirate.refuse(ship.link(1), 2, 120);
  assert.deepEqual(ship.at(319), ["retry a after 2: refused"]);
  assert.deepEqual(ship.at(320), ["send a #3 on 1 for 680"]);
  assert.equal(ship.pirate.answer(ship.link(1), 3, 200, 330), "a");
  assert.equal(ship.pirate.size, 0);
});

Deno.test("LazyPirate gives a request up as refused when that is all that was heard to the end", () => {
  const ship = new Ship();
  ship.pirate.add("a", { ...TERMS, timeout: 50, retries: 1 }, 0);
  ship.at(0);
  ship.pirate.refuse(ship.link(1), 1, 10);
  ship.at(10);
  assert.deepEqual(ship.at(50), ["send a #2 on 1 for 50"]);
  ship.pirate.refuse(ship.link(1), 2, 60);
  assert.deepEqual(ship.at(100), ["retry a after 2: refused", "give up a, refused"]);
  assert.equal(ship.pirate.size, 0);
});

Deno.test("LazyPirate takes a refusal as the answer when a request has no retries", () => {
  const ship = new Ship({ endpoints: 2 });
  ship.pirate.add("a", { ...TERMS, retries: 0 }, 0);
  ship.at(0);
  assert.deepEqual(ship.pirate.refuse(ship.link(1), 1, 10), { item: "a", final: true });
  assert.equal(ship.pirate.size, 0);
});

Deno.test("LazyPirate sends refused requests to the next endpoint at once, and leaves the rest where they run", () => {
  const ship = new Ship({ endpoints: 2 });
  ship.pirate.add("runs", TERMS, 0);
  ship.pirate.add("a", TERMS, 0);
  ship.at(0);
  ship.pirate.connected(ship.link(1), 1);
  ship.pirate.refuse(ship.link(1), 2, 10);
  assert.deepEqual(ship.at(10), [
    "retry a after 1: refused",
    "open 2 to 1",
    "send a #3 on 2 for 9990",
  ]);
  ship.pirate.add("b", TERMS, 20);
  assert.deepEqual(ship.at(20), ["send b #4 on 2 for 10000"]);
  assert.equal(ship.pirate.answer(ship.link(1), 1, 200, 30), "runs");
  assert.deepEqual(ship.at(30), ["close 1"]);
});

Deno.test("LazyPirate waits when all endpoints refuse, and asks at once when one of them is connected anew", () => {
  const ship = new Ship({ endpoints: 2 });
  ship.pirate.add("a", TERMS, 0);
  ship.at(0);
  ship.pirate.connected(ship.link(1), 1);
  ship.pirate.refuse(ship.link(1), 1, 10);
  ship.at(10);
  ship.pirate.connected(ship.link(2), 11);
  ship.pirate.refuse(ship.link(2), 2, 20);
  assert.deepEqual(ship.at(20), ["retry a after 2: refused"]);
  ship.pirate.disconnected(ship.link(2), 30);
  ship.pirate.connected(ship.link(2), 60);
  assert.deepEqual(ship.at(60), ["send a #3 on 2 for 9940"]);
});

Deno.test("LazyPirate keeps the one link of a named client while requests run on it", () => {
  const ship = new Ship({ endpoints: 2, named: true });
  ship.pirate.add("runs", TERMS, 0);
  ship.pirate.add("a", TERMS, 0);
  ship.at(0);
  ship.pirate.connected(ship.link(1), 1);
  ship.pirate.refuse(ship.link(1), 2, 10);
  assert.deepEqual(ship.at(109), ["retry a after 1: refused"]);
  assert.deepEqual(ship.at(110), ["send a #3 on 1 for 9890"]);
  ship.pirate.refuse(ship.link(1), 3, 120);
  assert.equal(ship.pirate.answer(ship.link(1), 1, 200, 130), "runs");
  assert.deepEqual(ship.at(320), [
    "retry a after 2: refused",
    "close 1",
    "open 2 to 1",
    "send a #4 on 2 for 9680",
  ]);
});

Deno.test("LazyPirate takes the next endpoint, and counts no try, when one does not come up", () => {
  const ship = new Ship({ endpoints: 2 });
  ship.pirate.add("a", { ...TERMS, retries: 0 }, 0);
  assert.equal(ship.pirate.tick(0), 500);
  ship.at(0);
  assert.deepEqual(
    ship.at(500),
    [
      "retry a after 1: unconnected",
      "close 1",
      "open 2 to 1",
      "send a #2 on 2 for 9500",
    ].toSorted((one) => one.startsWith("close") ? -1 : 0),
  );
  ship.pirate.connected(ship.link(2), 510);
  ship.at(510);
  assert.equal(ship.pirate.tick(600), 9400);
  assert.equal(ship.pirate.answer(ship.link(2), 2, 200, 610), "a");
});

Deno.test("LazyPirate opens a link a second when no endpoint comes up", () => {
  const ship = new Ship({ endpoints: 3 });
  ship.pirate.add("a", { ...TERMS, timeout: 60_000, retries: 0 }, 0);
  const opened: string[] = [];
  for (let now = 0, sleep = 0; now < 60_000; now += sleep) {
    sleep = ship.pirate.tick(now);
    assert.ok(sleep > 0, "A tick leaves nothing due");
    for (const line of ship.at(now)) if (line.startsWith("open")) opened.push(line.slice(-1));
  }
  assert.ok(opened.length > 30 && opened.length < 130, `${opened.length} links`);
  assert.deepEqual(new Set(opened), new Set(["0", "1", "2"]));
});

Deno.test("LazyPirate takes the next endpoint when a try goes unanswered, and stays there", () => {
  const ship = new Ship({ endpoints: 2 });
  ship.pirate.add("a", { ...TERMS, timeout: 100 }, 0);
  ship.at(0);
  ship.pirate.connected(ship.link(1), 1);
  ship.at(1);
  assert.deepEqual(ship.at(100), [
    "close 1",
    "retry a after 1: unanswered",
    "open 2 to 1",
    "send a #2 on 2 for 100",
  ]);
  ship.pirate.connected(ship.link(2), 101);
  assert.equal(ship.pirate.answer(ship.link(2), 2, 200, 110), "a");
  ship.pirate.add("b", TERMS, 60_000);
  assert.deepEqual(ship.at(60_000), ["send b #3 on 2 for 10000"]);
});

Deno.test("LazyPirate moves what no server can have started when the connection ends", () => {
  const ship = new Ship();
  ship.pirate.add("a", TERMS, 0);
  ship.at(0);
  ship.pirate.connected(ship.link(1), 1);
  ship.pirate.refuse(ship.link(1), 1, 10);
  ship.at(10);
  ship.at(110);
  ship.pirate.disconnected(ship.link(1), 120);
  assert.deepEqual(ship.at(120), [
    "close 1",
    "retry a after 2: unconnected",
    "open 2 to 0",
    "send a #3 on 2 for 9880",
  ]);
});

Deno.test("LazyPirate leaves alone what a server may have started when the connection ends", () => {
  for (const endpoints of [1, 2]) {
    const ship = new Ship({ endpoints });
    ship.pirate.add("a", TERMS, 0);
    ship.at(0);
    ship.pirate.connected(ship.link(1), 1);
    ship.at(1);
    ship.pirate.disconnected(ship.link(1), 10);
    assert.deepEqual(ship.at(9999), []);
    assert.equal(ship.pirate.size, 1);
  }
});

Deno.test("LazyPirate sends what is asked afterwards to the next endpoint when the connection ends", () => {
  const ship = new Ship({ endpoints: 2 });
  ship.pirate.add("a", TERMS, 0);
  ship.at(0);
  ship.pirate.connected(ship.link(1), 1);
  ship.at(1);
  ship.pirate.disconnected(ship.link(1), 10);
  ship.at(510);
  ship.pirate.add("b", TERMS, 520);
  assert.deepEqual(ship.at(520), ["open 2 to 1", "send b #2 on 2 for 10000"]);
});

Deno.test("LazyPirate ends each request once, and starts none twice but for a timeout, when servers come and go", () => {
  for (let seed = 1; seed <= 200; seed++) {
    new Storm(seed, { named: seed % 3 === 0, endpoints: 1 + seed % 4 }).run();
  }
});

/** A request that a server has. */
interface Sent {
  id: number;
  item: string;
  /** Which try it is. */
  tries: number;
}

/** A random run: servers that connect, refuse, answer, lose what they were sent, and go. */
class Storm {
  readonly #pirate: LazyPirate<string>;
  readonly #seed: number;
  readonly #named: boolean;
  readonly #open = new Map<Link<string>, Set<Sent>>();
  /** Links whose server starts no more, and what it had before that. */
  readonly #closing = new Map<Link<string>, Set<Sent>>();
  readonly #asked = new Map<string, Pending<string>>();
  readonly #ended = new Set<string>();
  /** The try in which each request was last started. */
  readonly #started = new Map<string, number>();
  #random: number;
  #now = 0;

  constructor(seed: number, mode: { named: boolean; endpoints: number }) {
    this.#seed = this.#random = seed;
    this.#named = mode.named;
    this.#pirate = new LazyPirate<string>({ plain: false, firstId: 1, ...mode });
  }

  run(): void {
    for (let step = 0; step < 400; step++) {
      this.#now += this.#below(150);
      this.#act(step);
      const sleep = this.#pirate.tick(this.#now);
      assert.ok(sleep > 0, this.#where("a tick leaves nothing due"));
      this.#obey();
    }
    for (let sleep; (sleep = this.#pirate.tick(this.#now)) !== Infinity; this.#now += sleep) {
      this.#obey();
    }
    this.#obey();
    assert.equal(this.#ended.size, this.#asked.size, this.#where("all have ended"));
  }

  #act(step: number): void {
    const [link, sent] = this.#pick([...this.#open]) ?? [];
    const request = this.#pick([...sent ?? []]);
    const what = this.#below(8);
    if (what < 2) {
      const terms = { ...TERMS, timeout: 200 + this.#below(3000), retries: this.#below(3) };
      const item = `${step}`;
      this.#asked.set(item, this.#pirate.add(item, terms, this.#now));
    } else if (link === undefined || sent === undefined) return;
    else if (what === 2) this.#connect(link);
    else if (what === 3) this.#disconnect(link, sent);
    else if (link.state !== "up" || request === undefined) return;
    else if (what === 4) this.#closing.set(link, this.#closing.get(link) ?? new Set(sent));
    else if (this.#closing.has(link)) this.#refuse(link, sent, request);
    else this.#answer(link, sent, request);
  }

  #connect(link: Link<string>): void {
    if (link.state === "up") return;
    this.#closing.delete(link);
    this.#pirate.connected(link, this.#now);
  }

  #disconnect(link: Link<string>, sent: Set<Sent>): void {
    if (link.state !== "up") return;
    // What the server had is lost, and was started if it could be.
    for (const { item, tries } of this.#closing.get(link) ?? sent) {
      if (!this.#ended.has(item)) this.#start(item, tries);
    }
    sent.clear();
    this.#pirate.disconnected(link, this.#now);
  }

  #refuse(
    link: Link<string>,
    sent: Set<Sent>,
    request: Sent,
  ): void {
    sent.delete(request);
    this.#closing.get(link)?.delete(request);
    const refused = this.#pirate.refuse(link, request.id, this.#now);
    if (refused?.final) this.#end(refused.item);
  }

  #answer(
    link: Link<string>,
    sent: Set<Sent>,
    request: Sent,
  ): void {
    sent.delete(request);
    const answered = this.#pirate.answer(link, request.id, 200, this.#now);
    // A late answer is that of an earlier try.
    if (answered === undefined) return;
    this.#start(request.item, request.tries);
    this.#end(answered);
  }

  /** Under an identity, requests are moved that may have been started, when another one times out. */
  #start(item: string, tries: number): void {
    if (this.#named) return;
    assert.notEqual(this.#started.get(item), tries, this.#where("started twice in a try"));
    this.#started.set(item, tries);
  }

  #obey(): void {
    for (const step of this.#pirate.take()) {
      if (step.do === "open") this.#open.set(step.link, new Set());
      else if (step.do === "close") assert.ok(this.#open.delete(step.link), this.#where("closed"));
      else if (step.do === "giveUp") this.#end(step.item);
      else if (step.do === "send") {
        assert.ok(step.timeout > 0, this.#where("sent in time"));
        const sent = this.#open.get(step.link);
        assert.ok(sent !== undefined, this.#where("sent on an open link"));
        const { tries } = this.#asked.get(step.item) ?? { tries: 0 };
        sent.add({ id: step.id, item: step.item, tries });
      }
    }
  }

  #end(item: string): void {
    assert.ok(!this.#ended.has(item), this.#where(`${item} ends once`));
    this.#ended.add(item);
  }

  #pick<T>(list: readonly T[]): T | undefined {
    return list[this.#below(list.length)];
  }

  #where(what: string): string {
    return `${what}: seed ${this.#seed}, now ${this.#now}`;
  }

  /** A random integer from 0 to `limit` - 1 (xorshift). */
  #below(limit: number): number {
    this.#random ^= this.#random << 13;
    this.#random ^= this.#random >>> 17;
    this.#random ^= this.#random << 5;
    return (this.#random >>> 0) % Math.max(1, limit);
  }
}

Deno.test("Turns takes the endpoints in turn, the one that failed first again when all have", () => {
  const turns = new Turns(3);
  assert.equal(turns.next(0), 0);
  turns.shun(0, 0);
  assert.equal(turns.next(10), 1);
  turns.shun(1, 10);
  turns.shun(2, 20);
  assert.equal(turns.hasOther(20), false);
  assert.equal(turns.otherAt(20), 1000);
  assert.equal(turns.next(20), 0);
  turns.trust(2);
  assert.equal(turns.next(30), 2);
  assert.equal(turns.next(5000), 2);
});

// The client itself, against servers made here.

Deno.test("Client asks again when a server refuses as it is shutting down, and tells onRetry", async () => {
  await using server = new FakeServer((server, request) => {
    if (server.requests.length < 3) server.refuse(request);
    else echo(server, request);
  });
  const retries: Retry[] = [];
  const { endpoint } = server;
  await using client = new Client({ endpoint, onRetry: (retry) => retries.push(retry) });
  assert.equal((await client.request("x")).text(), "x");
  assert.deepEqual(
    retries,
    [1, 2].map((attempt) => ({ attempt, endpoint, reason: "unavailable" })),
  );
  const ids = new Set(server.requests.map((request) => headerOf(request)?.id));
  assert.equal(ids.size, 3);
});

Deno.test("Client takes a 503 for the answer when it has no flag, or there are no retries", async () => {
  const full = (server: FakeServer, request: Parameters<typeof echo>[1]) =>
    server.reply(request, 503, bytes("The queue is full"));
  await using server = new FakeServer(full);
  await using other = new FakeServer(echo);
  await using client = new Client({ endpoint: [server.endpoint, other.endpoint] });
  const isFull = { name: "ReplyError", code: 503, message: "The queue is full" };
  await assert.rejects(client.request("x"), isFull);
  await using closing = new FakeServer((server, request) => server.refuse(request));
  await using hasty = new Client({ endpoint: [closing.endpoint, other.endpoint], retries: 0 });
  const isClosing = { name: "ReplyError", code: 503, message: "The server is shutting down" };
  await assert.rejects(hasty.request("x"), isClosing);
  assert.deepEqual([server.requests.length, closing.requests.length], [1, 1]);
  assert.equal(other.requests.length, 0);
});

Deno.test("Client rejects with the refusal when nothing else was heard to the end", async () => {
  await using server = new FakeServer((server, request) => server.refuse(request));
  await using client = new Client({ endpoint: server.endpoint, timeout: 300, retries: 1 });
  await assert.rejects(client.request("x"), { name: "ReplyError", code: 503 });
  assert.ok(server.requests.length >= 3, `${server.requests.length} requests`);
});

Deno.test("Client takes a server's place when that refuses, is silent, or is not there", async () => {
  await using other = new FakeServer(echo);
  await using closing = new FakeServer((server, request) => server.refuse(request));
  await using mute = new FakeServer(silent);
  const cases = [[closing.endpoint, "unavailable"], [mute.endpoint, "unanswered"], [
    deadEndpoint(),
    "unconnected",
  ]] as const;
  for (const [endpoint, reason] of cases) {
    const retries: Retry[] = [];
    await using client = new Client({
      endpoint: [endpoint, other.endpoint],
      timeout: reason === "unanswered" ? 1000 : LIMIT,
      onRetry: (retry) => retries.push(retry),
    });
    assert.equal((await client.request(reason)).text(), reason);
    assert.deepEqual(retries[0], { attempt: 1, endpoint, reason });
    const before = retries.length;
    assert.equal((await client.request("again")).text(), "again");
    assert.equal(retries.length, before, "It stays with the one that works");
  }
});

Deno.test("Client rejects with what onRetry throws", async () => {
  await using server = new FakeServer((server, request) => server.refuse(request));
  const stop = new Error("enough");
  const onRetry = ({ attempt }: Retry) => {
    if (attempt === 2) throw stop;
  };
  await using client = new Client({ endpoint: server.endpoint, onRetry });
  await assert.rejects(client.request("x"), stop);
  assert.equal(server.requests.length, 2);
});

Deno.test("Client checks each endpoint of a list, and that onRetry is a function", () => {
  const make = (options: object) => () => new Client(options);
  assert.throws(
    make({ endpoint: [] }),
    /^RangeError: .*"endpoint" must be .* list of at least one/,
  );
  assert.throws(make({ endpoint: ["tcp://a:1", "b"] }), /^RangeError: .*"endpoint" must be/);
  assert.throws(make({ endpoint: ["tcp://a:1", 2] }), /^TypeError: .*"endpoint" must be/);
  assert.throws(make({ onRetry: true }), /^TypeError: .*"onRetry" must be a function/);
});

Deno.test("Client reaches a server when it has closed many sockets that were connected", async () => {
  await using server = new FakeServer((server, request) => {
    if (text(request.body[0]) !== "silent") echo(server, request);
  });
  const { endpoint } = server;
  await Promise.all(Array.from({ length: 6 }, async () => {
    await using client = new Client({ endpoint, timeout: LIMIT / 2, retries: 0 });
    await client.request("silent", { timeout: 25, retries: 80 }).catch(() => {});
    assert.equal((await client.request("at last")).text(), "at last");
  }));
});

/** Waits until a client says so of a request that is not answered: on a busy machine it knows that late. */
async function complains(options: { endpoint: string }, what: RegExp): Promise<void> {
  await using client = new Client({ ...options, timeout: 500, retries: 1 });
  const start =
    `Cannot get an answer from "${options.endpoint}": gave up after 2 tries of 500 ms: `;
  let said = "";
  await until(`it says ${what}`, async () => {
    const error = await client.request("x").then(() => undefined, (error: unknown) => error);
    assert.ok(error instanceof AbandonedError && error.message.startsWith(start), `${error}`);
    said = `${error.reason}: ${error.message.slice(start.length)}`;
    return what.test(said);
  }).catch(() => assert.match(said, what));
}

Deno.test("AbandonedError names what is known when nobody answers", async () => {
  await using mute = new FakeServer(silent);
  using nobody = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const endpoint = `tcp://127.0.0.1:${nobody.addr.port}`;
  await Promise.all([
    complains({ endpoint: mute.endpoint }, /^unanswered: it is connected and has sent no answer$/),
    complains({ endpoint: deadEndpoint() }, /^unconnected: there is no connection to it$/),
    complains({ endpoint }, /^handshake: what listens there does not answer as a ZeroMQ server$/),
  ]);
});

Deno.test("AbandonedError names a handshake that failed for the keys", async () => {
  using ring = new KeyRing("alice");
  await using server = await ServerProcess.start({ args: ring.args });
  await using plain = new FakeServer(silent);
  const { endpoint } = server;
  const curve = (serverKey: string, name: string) => ({
    serverKey,
    keyFile: ring.writeSecret(name, ring.pair(name).secretKey),
  });
  const { publicKey } = ring.server;
  const other = { endpoint, curve: curve(ring.pair("other").publicKey, "alice") };
  const stranger = { endpoint, curve: curve(publicKey, "bob") };
  const needless = { endpoint: plain.endpoint, curve: curve(publicKey, "alice") };
  await Promise.all([
    complains(other, /^handshake: .*server key is probably not the public key of this server$/),
    complains(stranger, /^handshake: the server denied the connection: /),
    complains({ endpoint }, /^handshake: .*the server asks for keys, and this client has none$/),
    complains(needless, /^handshake: .*the server takes no keys, and this client has some$/),
  ]);
});

/** Appends each body to a file of the folder, so that it is seen how often each was started. */
const NOTING = `export default (body) => {
  const path = new URL("./started-" + Deno.pid, import.meta.url);
  Deno.writeFileSync(path, new Uint8Array([...body, 10]), { append: true });
  return body;
};`;

Deno.test("Client hears no error, and has nothing started twice, when servers are restarted by TERM under load", async () => {
  using folder = new Folder();
  const handler = folder.write("handler.ts", NOTING);
  const endpoints = [`ipc://${folder.path}/a`, `ipc://${folder.path}/b`];
  const start = (frontend: string) =>
    ServerProcess.start({
      args: [
        handler,
        "--frontend",
        frontend,
        "--workers",
        "2",
        `--handler-allow-write=${folder.path}`,
      ],
      permissions: ["-A"],
    });
  const servers = await Promise.all(endpoints.map(start));
  let going = true;
  const answered: string[] = [];
  const reasons = new Set<string>();
  await using client = new Client({
    endpoint: endpoints,
    timeout: LIMIT,
    onRetry: ({ reason }) => reasons.add(reason),
  });
  const ask = async (name: number) => {
    for (let count = 0; going; count++) {
      answered.push((await client.request(`${name}.${count}`)).text());
    }
  };
  const asking = Promise.all(Array.from({ length: 16 }, (_, name) => ask(name)));
  try {
    for (const index of [0, 1, 0, 1]) {
      const before = answered.length;
      await until("there is load", () => answered.length > before + 200);
      servers[index]?.signal("SIGTERM");
      await servers[index]?.ended();
      await servers[index]?.[Symbol.asyncDispose]();
      servers[index] = await start(endpoints[index] ?? "");
    }
  } finally {
    going = false;
    await asking.finally(() => Promise.all(servers.map((server) => server[Symbol.asyncDispose]())));
  }
  const notes = [...Deno.readDirSync(folder.path)].filter(({ name }) =>
    name.startsWith("started-")
  );
  const started = notes.flatMap(({ name }) =>
    Deno.readTextFileSync(`${folder.path}/${name}`).trimEnd().split("\n")
  );
  assert.deepEqual(started.toSorted(), answered.toSorted());
  assert.ok(reasons.has("unavailable"), `${[...reasons]}`);
});
