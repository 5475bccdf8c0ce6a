/** LazyPirate and Turns when servers refuse, do not answer, or are not there. */

import assert from "node:assert/strict";
import { LazyPirate } from "../../client/lazy_pirate.ts";
import type { Link, Pending, Step } from "../../client/steps.ts";
import { Turns } from "../../client/turns.ts";

const TERMS = { timeout: 10_000, retries: 2, requestTimeout: 0, key: "", fields: undefined };

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
      case "grant":
        return `grant #${step.id} ${step.credit.parts} parts`;
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
