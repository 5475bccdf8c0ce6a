/** LazyPirate with a clock of its own: what it sends, repeats and gives up, with one server. */

import assert from "node:assert/strict";
import { LazyPirate } from "../../client/lazy_pirate.ts";
import type { Link, Step } from "../../client/steps.ts";

const SHARED = { plain: false, named: false, firstId: 1 };
const LIMITS = { timeout: 100, retries: 2, requestTimeout: 0, key: "", fields: undefined };

/** What was decided, in short, with links numbered as they come. */
class Log {
  readonly links: Link<string>[] = [];

  of(steps: Step<string>[]): string[] {
    return steps.filter((step) => step.do !== "retry").map((step) => {
      if (step.do === "giveUp") return `give up ${step.item} after ${step.tries}`;
      if (step.do === "cancel") return `cancel #${step.id} on ${this.#number(step.link)}`;
      const link = this.#number(step.link);
      if (step.do !== "send") return `${step.do} ${link}`;
      return `send ${step.item} #${step.id} on ${link} for ${step.timeout}`;
    });
  }

  link(number: number): Link<string> {
    const link = this.links[number - 1];
    assert.ok(link !== undefined);
    return link;
  }

  #number(link: Link<string>): number {
    if (!this.links.includes(link)) this.links.push(link);
    return this.links.indexOf(link) + 1;
  }
}

function setUp(options: Partial<typeof SHARED> = {}) {
  return { pirate: new LazyPirate<string>({ ...SHARED, ...options }), log: new Log() };
}

Deno.test("LazyPirate sends requests on one link when nothing is late", () => {
  const { pirate, log } = setUp();
  assert.equal(pirate.tick(0), Infinity);
  pirate.add("a", LIMITS, 0);
  pirate.add("b", { ...LIMITS, timeout: 40, retries: 0 }, 10);
  assert.deepEqual(log.of(pirate.take()), [
    "open 1",
    "send a #1 on 1 for 100",
    "send b #2 on 1 for 40",
  ]);
  assert.equal(pirate.tick(10), 40);
  assert.equal(pirate.answer(log.link(1), 2, 200, 20), "b");
  assert.equal(pirate.answer(log.link(1), 2, 200, 20), undefined);
  assert.equal(pirate.size, 1);
  assert.equal(pirate.answer(log.link(1), 1, 200, 20), "a");
  assert.equal(pirate.tick(20), Infinity);
  assert.deepEqual(pirate.take(), []);
});

Deno.test("LazyPirate repeats on a fresh link, then gives up, when nobody answers", () => {
  const { pirate, log } = setUp();
  pirate.add("a", LIMITS, 0);
  pirate.take().forEach((step) => log.of([step]));
  assert.equal(pirate.tick(99), 1);
  assert.deepEqual(pirate.take(), []);
  assert.equal(pirate.tick(100), 100);
  assert.deepEqual(log.of(pirate.take()), ["close 1", "open 2", "send a #2 on 2 for 100"]);
  assert.equal(pirate.answer(log.link(2), 1, 200, 150), undefined); // the first try's
  assert.equal(pirate.tick(205), 100);
  assert.deepEqual(log.of(pirate.take()), ["close 2", "open 3", "send a #3 on 3 for 100"]);
  assert.equal(pirate.tick(305), Infinity);
  assert.deepEqual(log.of(pirate.take()), ["close 3", "give up a after 3"]);
  assert.equal(pirate.size, 0);
});

Deno.test("LazyPirate takes a late try back and keeps its link open when others wait on it", () => {
  const { pirate, log } = setUp();
  pirate.add("slow", { ...LIMITS, timeout: 1000, retries: 0 }, 0);
  pirate.add("a", LIMITS, 0);
  log.of(pirate.take());
  pirate.tick(100);
  assert.deepEqual(log.of(pirate.take()), ["cancel #2 on 1", "open 2", "send a #3 on 2 for 100"]);
  pirate.add("b", LIMITS, 110);
  assert.deepEqual(log.of(pirate.take()), ["send b #4 on 2 for 100"]);
  assert.equal(pirate.answer(log.link(1), 1, 200, 120), "slow");
  assert.deepEqual(log.of(pirate.take()), ["close 1"]);
  assert.equal(pirate.answer(log.link(2), 3, 200, 130), "a");
  assert.equal(pirate.answer(log.link(2), 4, 200, 130), "b");
  assert.deepEqual(pirate.take(), []);
});

/** What a stream is asked with. */
function streamTerms(resumable: boolean) {
  const stream = { bytes: 100, parts: 4 };
  return { ...LIMITS, fields: { stream, resumable } };
}

Deno.test("LazyPirate waits anew after each part, and gives up behind the first one", () => {
  const { pirate, log } = setUp();
  const pending = pirate.add("a", streamTerms(false), 0);
  assert.deepEqual(log.of(pirate.take()), ["open 1", "send a #1 on 1 for 0"]);
  assert.equal(pirate.hear(log.link(1), 1, "progress", 60), pending);
  assert.equal(pirate.tick(150), 10);
  assert.equal(pirate.hear(log.link(1), 1, "part", 159), pending);
  assert.equal(pirate.tick(160), 99);
  assert.equal(pirate.tick(258), 1);
  pirate.tick(259);
  assert.deepEqual(log.of(pirate.take()), ["close 1", "give up a after 1"]);
  assert.equal(pirate.hear(log.link(1), 1, "part", 260), undefined);
});

Deno.test("LazyPirate repeats a stream that is resumable, and takes late parts of the first try for nobody's", () => {
  const { pirate, log } = setUp();
  pirate.add("a", streamTerms(true), 0);
  log.of(pirate.take());
  pirate.hear(log.link(1), 1, "part", 50);
  pirate.tick(150);
  assert.deepEqual(log.of(pirate.take()), ["close 1", "open 2", "send a #2 on 2 for 0"]);
  assert.equal(pirate.hear(log.link(1), 1, "part", 160), undefined);
  assert.equal(pirate.answer(log.link(2), 2, 200, 170), "a");
});

Deno.test("LazyPirate moves no stream that has begun to another link under an identity, but those that are resumable", () => {
  const { pirate, log } = setUp({ named: true });
  pirate.add("tied", { ...streamTerms(false), timeout: 1000 }, 0);
  pirate.add("free", { ...streamTerms(true), timeout: 1000 }, 0);
  log.of(pirate.take());
  pirate.hear(log.link(1), 1, "part", 10);
  pirate.hear(log.link(1), 2, "part", 10);
  pirate.add("late", { ...LIMITS, retries: 0 }, 20);
  log.of(pirate.take());
  pirate.tick(120);
  assert.deepEqual(log.of(pirate.take()), [
    "close 1",
    "give up tied after 1",
    "open 2",
    "send free #4 on 2 for 0",
    "give up late after 1",
  ]);
});

Deno.test("LazyPirate keeps the time of a request whose progress alone is told", () => {
  const { pirate, log } = setUp();
  const fields = { stream: { bytes: 0, parts: 0 } };
  pirate.add("a", { ...LIMITS, retries: 0, fields }, 0);
  assert.deepEqual(log.of(pirate.take()), ["open 1", "send a #1 on 1 for 100"]);
  pirate.hear(log.link(1), 1, "progress", 60);
  pirate.tick(100);
  assert.deepEqual(log.of(pirate.take()), ["close 1", "give up a after 1"]);
});

Deno.test("LazyPirate waits for a reader that holds its stream up, and no longer than its connection lasts", () => {
  let isHeldUp = true;
  const pirate = new LazyPirate<string>({ ...SHARED, isHeldUp: () => isHeldUp });
  const log = new Log();
  const pending = pirate.add("a", streamTerms(false), 0);
  log.of(pirate.take());
  pirate.connected(log.link(1), 1);
  pirate.hear(log.link(1), 1, "part", 10);
  for (let now = 110; now < 1000; now += 100) assert.equal(pirate.tick(now), 100);
  isHeldUp = false;
  pirate.grant(pending, { bytes: 7, parts: 2 }, 1050);
  assert.deepEqual(pirate.take(), [
    { do: "grant", link: log.link(1), id: 1, credit: { bytes: 7, parts: 2 } },
  ]);
  pirate.tick(1149);
  assert.equal(pirate.size, 1);
  isHeldUp = true;
  pirate.disconnected(log.link(1), 1149);
  pirate.tick(1149);
  assert.deepEqual(log.of(pirate.take()), ["close 1", "give up a after 1"]);
  pirate.grant(pending, { bytes: 7, parts: 2 }, 1150);
  assert.deepEqual(pirate.take(), []);
});

Deno.test("LazyPirate opens few links when many requests are late one after another", () => {
  const { pirate } = setUp();
  let opened = 0;
  let sent = 0;
  for (let now = 0; now < 1000; now++) {
    if (now < 700) pirate.add(`${now}`, { ...LIMITS, timeout: 100, retries: 2 }, now);
    pirate.tick(now);
    for (const step of pirate.take()) {
      if (step.do === "open") opened++;
      if (step.do === "send") sent++;
    }
  }
  assert.equal(pirate.size, 0);
  assert.equal(sent, 2100);
  assert.ok(opened <= 11, `${opened} links`);
});

Deno.test("LazyPirate moves the others without counting a try when it is named", () => {
  const { pirate, log } = setUp({ named: true });
  pirate.add("a", LIMITS, 0);
  pirate.add("b", { ...LIMITS, timeout: 100, retries: 0 }, 60);
  log.of(pirate.take());
  assert.equal(pirate.tick(100), 60);
  assert.deepEqual(log.of(pirate.take()), [
    "close 1",
    "open 2",
    "send b #3 on 2 for 60",
    "send a #4 on 2 for 100",
  ]);
  assert.equal(pirate.tick(160), 40); // link 2 is younger than the try: it may stay
  assert.deepEqual(log.of(pirate.take()), ["cancel #3 on 2", "give up b after 1"]);
  assert.equal(pirate.answer(log.link(2), 4, 200, 170), "a");
});

Deno.test("LazyPirate keeps the link when it is named and heard of meanwhile", () => {
  const { pirate, log } = setUp({ named: true });
  pirate.add("a", LIMITS, 0);
  pirate.add("b", LIMITS, 0);
  log.of(pirate.take());
  assert.equal(pirate.answer(log.link(1), 2, 200, 50), "b");
  pirate.add("c", { ...LIMITS, timeout: 1000, retries: 0 }, 60);
  pirate.tick(100);
  assert.deepEqual(log.of(pirate.take()), [
    "send c #3 on 1 for 1000",
    "cancel #1 on 1",
    "send a #4 on 1 for 100",
  ]);
});

Deno.test("LazyPirate gives each request a link when it is plain", () => {
  const { pirate, log } = setUp({ plain: true });
  pirate.add("a", LIMITS, 0);
  pirate.add("b", LIMITS, 0);
  assert.deepEqual(log.of(pirate.take()), [
    "open 1",
    "send a #1 on 1 for 100",
    "open 2",
    "send b #2 on 2 for 100",
  ]);
  assert.equal(pirate.answer(log.link(2), undefined, 200, 10), "b");
  assert.equal(pirate.answer(log.link(2), undefined, 200, 10), undefined);
  pirate.add("c", LIMITS, 20);
  assert.deepEqual(log.of(pirate.take()), ["send c #3 on 2 for 100"]);
  pirate.tick(100);
  assert.deepEqual(log.of(pirate.take()), ["close 1", "open 3", "send a #4 on 3 for 100"]);
  assert.equal(pirate.answer(log.link(1), undefined, 200, 110), undefined);
  assert.equal(pirate.answer(log.link(2), undefined, 200, 110), "c");
  assert.equal(pirate.answer(log.link(3), undefined, 200, 110), "a");
});

Deno.test("LazyPirate takes 408 as an answer when the try has time left, else as the timeout", () => {
  const { pirate, log } = setUp();
  pirate.add("a", LIMITS, 0);
  pirate.add("b", LIMITS, 0);
  log.of(pirate.take());
  assert.equal(pirate.answer(log.link(1), 1, 408, 50), "a");
  assert.equal(pirate.answer(log.link(1), 2, 408, 99.5), undefined);
  assert.equal(pirate.size, 1);
  pirate.tick(100);
  assert.deepEqual(log.of(pirate.take()), ["close 1", "open 2", "send b #3 on 2 for 100"]);
});

Deno.test("LazyPirate takes a request back when it is dropped, and keeps the link", () => {
  const { pirate, log } = setUp();
  const a = pirate.add("a", LIMITS, 0);
  const b = pirate.add("b", LIMITS, 0);
  log.of(pirate.take());
  pirate.drop(a, 0);
  pirate.drop(a, 0);
  assert.deepEqual(log.of(pirate.take()), ["cancel #1 on 1"]);
  pirate.drop(b, 5);
  assert.deepEqual(log.of(pirate.take()), ["cancel #2 on 1"]);
  assert.equal(pirate.tick(5), Infinity);
  pirate.add("c", LIMITS, 10);
  assert.deepEqual(log.of(pirate.take()), ["send c #3 on 1 for 100"]);
});

Deno.test("LazyPirate closes the link of a dropped request when it is plain", () => {
  const { pirate, log } = setUp({ plain: true });
  const a = pirate.add("a", LIMITS, 0);
  log.of(pirate.take());
  pirate.drop(a, 0);
  assert.deepEqual(log.of(pirate.take()), ["close 1"]);
});

Deno.test("LazyPirate keeps the link of a late try when the next one is to join it", () => {
  const { pirate, log } = setUp();
  pirate.add("a", { ...LIMITS, key: "k" }, 0);
  log.of(pirate.take());
  pirate.tick(100);
  assert.deepEqual(log.of(pirate.take()), ["open 2", "send a #2 on 2 for 100"]);
  pirate.tick(200);
  assert.deepEqual(log.of(pirate.take()), ["open 3", "send a #3 on 3 for 100"]);
  assert.equal(pirate.answer(log.link(3), 3, 200, 250), "a");
  assert.deepEqual(log.of(pirate.take()), ["close 1", "close 2"]);
});

Deno.test("LazyPirate closes all links of a request with a key when it is given up or dropped", () => {
  const { pirate, log } = setUp();
  pirate.add("a", { ...LIMITS, key: "k", retries: 1 }, 0);
  const b = pirate.add("b", { ...LIMITS, key: "l", timeout: 150 }, 0);
  pirate.tick(100);
  pirate.tick(150);
  log.of(pirate.take());
  pirate.tick(200);
  assert.deepEqual(log.of(pirate.take()), ["give up a after 2"]);
  pirate.drop(b, 210);
  assert.deepEqual(log.of(pirate.take()), ["close 1", "cancel #4 on 2"]);
});

Deno.test("LazyPirate ends each request once and in time when events come in any order", () => {
  for (let seed = 1; seed <= 300; seed++) {
    const mode = { plain: seed % 3 === 1, named: seed % 3 === 2 };
    new Voyage(seed, mode).run();
  }
});

/** A random run: a server that answers some requests, some late, some never. */
class Voyage {
  readonly #pirate: LazyPirate<string>;
  readonly #seed: number;
  readonly #mode: { plain: boolean; named: boolean };
  readonly #open = new Map<Link<string>, { id: number; item: string }[]>();
  readonly #ended = new Map<string, string>();
  readonly #latest = new Map<string, number>();
  #random: number;
  #now = 0;

  constructor(seed: number, mode: { plain: boolean; named: boolean }) {
    this.#seed = this.#random = seed;
    this.#mode = mode;
    this.#pirate = new LazyPirate<string>({ ...mode, firstId: 1 });
  }

  run(): void {
    for (let step = 0; step < 300; step++) {
      this.#now += this.#below(20);
      this.#act(step);
      const sleep = this.#pirate.tick(this.#now);
      assert.ok(sleep > 0, this.#where("a tick leaves nothing due"));
      this.#obey();
    }
    for (let sleep; (sleep = this.#pirate.tick(this.#now)) !== Infinity; this.#now += sleep) {
      this.#obey();
    }
    this.#obey();
    assert.equal(this.#pirate.size, 0);
    assert.deepEqual([...this.#ended.keys()].sort(), [...this.#latest.keys()].sort());
  }

  #act(step: number): void {
    if (this.#below(3) > 0) return this.#answerOne();
    const item = `${step}`;
    const key = !this.#mode.plain && this.#below(3) === 0 ? item : "";
    const limits = { ...LIMITS, timeout: 1 + this.#below(100), retries: this.#below(4), key };
    const longest = limits.timeout * (limits.retries + 1) + 20 * (limits.retries + 1);
    this.#latest.set(item, this.#now + longest);
    const request = this.#pirate.add(item, limits, this.#now);
    if (this.#below(10) > 0) return;
    this.#pirate.drop(request, this.#now);
    this.#end(item, "dropped");
  }

  #answerOne(): void {
    const links = [...this.#open.entries()].filter(([, sent]) => sent.length > 0);
    const [link, sent] = links[this.#below(links.length)] ?? [];
    if (link === undefined || sent === undefined) return;
    const [request] = sent.splice(this.#below(sent.length), 1);
    const id = this.#mode.plain ? undefined : request?.id;
    const item = this.#pirate.answer(link, id, 200, this.#now);
    if (item === undefined) return;
    assert.equal(item, request?.item, this.#where("an answer is the right one's"));
    this.#end(item, "answered");
  }

  #obey(): void {
    for (const step of this.#pirate.take()) {
      if (step.do === "open") this.#open.set(step.link, []);
      else if (step.do === "close") assert.ok(this.#open.delete(step.link), this.#where("closed"));
      else if (step.do === "giveUp") this.#end(step.item, "given up");
      else if (step.do === "cancel") {
        assert.ok(this.#open.has(step.link), this.#where("taken back on an open link"));
        assert.ok(!this.#mode.plain, this.#where("plain links have no words for it"));
      } else if (step.do === "send") {
        const sent = this.#open.get(step.link);
        assert.ok(sent !== undefined, this.#where("sent on an open link"));
        assert.ok(step.timeout > 0);
        sent.push(step);
      }
      if (this.#mode.named) assert.ok(this.#open.size <= 1, this.#where("one link under one name"));
    }
  }

  #end(item: string, how: string): void {
    assert.equal(this.#ended.get(item), undefined, this.#where("ends once"));
    assert.ok(this.#now <= (this.#latest.get(item) ?? 0), this.#where("ends in time"));
    this.#ended.set(item, how);
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

Deno.test("LazyPirate sends again what may run twice when its connection is lost, and nothing else", () => {
  const { pirate, log } = setUp();
  pirate.add("once", LIMITS, 0);
  pirate.add("twice", { ...LIMITS, isRepeatable: true }, 0);
  assert.deepEqual(log.of(pirate.take()), [
    "open 1",
    "send once #1 on 1 for 100",
    "send twice #2 on 1 for 100",
  ]);
  pirate.connected(log.link(1), 5);
  pirate.disconnected(log.link(1), 10);
  pirate.tick(10);
  // As a part of the same try, that has 90 ms left.
  assert.deepEqual(log.of(pirate.take()), ["send twice #3 on 1 for 90"]);
  pirate.connected(log.link(1), 20);
  assert.equal(pirate.answer(log.link(1), 2, 200, 30), undefined);
  assert.equal(pirate.answer(log.link(1), 3, 200, 30), "twice");
});

Deno.test("LazyPirate moves what may run twice to a fresh link when all on the lost one may", () => {
  const { pirate, log } = setUp({ plain: true });
  pirate.add("twice", { ...LIMITS, isRepeatable: true }, 0);
  assert.deepEqual(log.of(pirate.take()), ["open 1", "send twice #1 on 1 for 100"]);
  pirate.connected(log.link(1), 5);
  pirate.disconnected(log.link(1), 10);
  pirate.tick(10);
  assert.deepEqual(log.of(pirate.take()), ["close 1", "open 2", "send twice #2 on 2 for 90"]);
});
