import { strict as assert } from "node:assert";
import { ServiceTimes } from "../../broker/service_times.ts";
import { FairQueue, Line } from "../../broker/fair_queue.ts";
import { newJob, newPeer, renewJob } from "../../broker/job.ts";
import { ReplyCache } from "../../broker/reply_cache.ts";
import { type Links, List, noLinks } from "../../broker/list.ts";
import { randomNumbers } from "../rig/random.ts";

// List

interface Bead {
  name: string;
  links: Links<Bead>;
}

function beads(names: string): Bead[] {
  return [...names].map((name) => ({ name, links: noLinks<Bead>() }));
}

function stringed(names: string): { list: List<Bead>; items: Bead[] } {
  const list = new List<Bead>();
  const items = beads(names);
  for (const item of items) list.push(item);
  return { list, items };
}

/** What the list says, read from both of its ends. */
function read(list: List<Bead>): string {
  const forwards = [...list].map(({ name }) => name).join("");
  let backwards = "";
  for (let item = list.last; item !== undefined; item = item.links.previous) {
    backwards = item.name + backwards;
  }
  assert.equal(backwards, forwards);
  assert.equal(list.first?.name ?? "", forwards.at(0) ?? "");
  assert.equal(list.last?.name ?? "", forwards.at(-1) ?? "");
  return forwards;
}

Deno.test("List has neither a first nor a last item when it is empty", () => {
  const list = new List<Bead>();
  assert.equal(list.first, undefined);
  assert.equal(list.last, undefined);
  assert.deepEqual([...list], []);
});

Deno.test("List keeps the order when items join at the back and at the front", () => {
  const { list } = stringed("cd");
  for (const item of beads("ba")) list.unshift(item);
  for (const item of beads("ef")) list.push(item);
  assert.equal(read(list), "abcdef");
});

Deno.test("List closes up when an item leaves at the front, inside and at the back", () => {
  for (const [index, rest] of [[0, "bc"], [1, "ac"], [2, "ab"]] as const) {
    const { list, items } = stringed("abc");
    const item = items[index];
    assert(item);
    list.remove(item);
    assert.equal(read(list), rest);
    assert.deepEqual(item.links, noLinks());
  }
});

Deno.test("List is empty again when its only item leaves, and takes it back", () => {
  const { list, items: [item] } = stringed("a");
  assert(item);
  list.remove(item);
  assert.equal(read(list), "");
  list.unshift(item);
  assert.equal(read(list), "a");
});

Deno.test("List lets an item that left one list join another", () => {
  const { list, items } = stringed("abc");
  const other = stringed("xy").list;
  const b = items[1];
  assert(b);
  list.remove(b);
  other.push(b);
  assert.equal(read(list), "ac");
  assert.equal(read(other), "xyb");
});

Deno.test("List gives every item when each is removed as it comes", () => {
  const { list } = stringed("abcd");
  let seen = "";
  for (const item of list) {
    seen += item.name;
    list.remove(item);
  }
  assert.equal(seen, "abcd");
  assert.equal(read(list), "");
});

Deno.test("List moves an item to the back from wherever it is", () => {
  for (const [index, after] of [[0, "bca"], [1, "acb"], [2, "abc"]] as const) {
    const { list, items } = stringed("abc");
    const item = items[index];
    assert(item);
    list.toBack(item);
    assert.equal(read(list), after);
  }
});

Deno.test("List agrees with an array when items come and go at random", () => {
  for (let seed = 1; seed <= 200; seed++) {
    const random = randomNumbers(seed * 99_991);
    const list = new List<Bead>();
    const model: Bead[] = [];
    for (let step = 0; step < 100; step++) {
      const item = { name: String.fromCharCode(97 + random(26)), links: noLinks<Bead>() };
      const dice = random(5);
      if (dice < 2) {
        list.push(item);
        model.push(item);
      } else if (dice === 2) {
        list.unshift(item);
        model.unshift(item);
      } else {
        const [gone] = model.splice(random(model.length), 1);
        if (gone !== undefined) list.remove(gone);
      }
      assert.equal(read(list), model.map(({ name }) => name).join(""), `Seed ${seed}`);
    }
  }
});

// FairQueue

class Ticket {
  readonly links: Links<Ticket> = noLinks<Ticket>();

  constructor(readonly line: Line<Ticket>, readonly name: string, readonly bytes: number) {}
}

/** A queue, and lines by letter. */
class Hall {
  readonly queue = new FairQueue<Ticket>();
  readonly #lines = new Map<string, Line<Ticket>>();

  ticket(name: string, bytes = 1): Ticket {
    const letter = name.slice(0, 1);
    const line = this.#lines.get(letter) ?? new Line<Ticket>();
    this.#lines.set(letter, line);
    return new Ticket(line, name, bytes);
  }

  /** Adds tickets by name, "a1 a2 b1"; the letter is the line. */
  push(names: string): Ticket[] {
    const tickets = names.split(" ").map((name) => this.ticket(name));
    for (const ticket of tickets) this.queue.push(ticket);
    return tickets;
  }

  /** Takes all that is left, in order. */
  drain(): string {
    const names: string[] = [];
    for (let item = this.queue.shift(); item !== undefined; item = this.queue.shift()) {
      assert.deepEqual(item.links, noLinks());
      names.push(item.name);
    }
    assert.equal(this.queue.size, 0);
    assert.equal(this.queue.bytes, 0);
    return names.join(" ");
  }
}

Deno.test("FairQueue gives nothing when it is empty", () => {
  const { queue } = new Hall();
  assert.equal(queue.shift(), undefined);
  assert.equal(queue.size, 0);
  assert.equal(queue.bytes, 0);
  assert.deepEqual([...queue], []);
});

Deno.test("FairQueue keeps the order within a line", () => {
  const hall = new Hall();
  hall.push("a1 a2 a3");
  assert.equal(hall.drain(), "a1 a2 a3");
});

Deno.test("FairQueue takes lines in turn when several have items", () => {
  const hall = new Hall();
  hall.push("a1 a2 a3 b1 c1 c2");
  assert.equal(hall.drain(), "a1 b1 c1 a2 c2 a3");
});

Deno.test("FairQueue takes a single item second when another line has 10,000 ahead of it", () => {
  const hall = new Hall();
  for (let index = 0; index < 10_000; index++) hall.push(`a${index}`);
  hall.push("b0");
  assert.equal(hall.queue.size, 10_001);
  const first = [hall.queue.shift(), hall.queue.shift(), hall.queue.shift()];
  assert.deepEqual(first.map((item) => item?.name), ["a0", "b0", "a1"]);
});

Deno.test("FairQueue has a line miss a turn for each 16 KiB that were moved for it, while others wait", () => {
  const hall = new Hall();
  const [heavy] = hall.push("a1 a2 b1 b2 b3 b4");
  heavy?.line.charge(16_383);
  heavy?.line.charge(2 * 16_384 + 16_383);
  assert.equal(hall.drain(), "b1 b2 a1 b3 a2 b4");
});

Deno.test("FairQueue lets a line that moved much go on when nobody else waits", () => {
  const hall = new Hall();
  const [heavy] = hall.push("a1 a2 a3");
  heavy?.line.charge(2 ** 40);
  assert.equal(hall.queue.shift()?.name, "a1");
  // Whatever was moved, 16 turns are the most.
  hall.push(Array.from({ length: 20 }, (_, index) => `b${index + 1}`).join(" "));
  const order = hall.drain().split(" ");
  assert.equal(order.indexOf("a2"), 16);
  assert.equal(order.indexOf("a3"), 18);
});

Deno.test("FairQueue takes all in turn when all of them have moved much", () => {
  const hall = new Hall();
  for (const ticket of hall.push("a1 a2 b1 b2 c1 c2")) ticket.line.charge(10 * 16_384);
  assert.equal(hall.drain(), "a1 b1 c1 a2 b2 c2");
});

Deno.test("FairQueue puts a line at the end of the round when it comes again", () => {
  const hall = new Hall();
  hall.push("a1 b1 c1");
  assert.equal(hall.queue.shift()?.name, "a1");
  hall.push("a2");
  assert.equal(hall.drain(), "b1 c1 a2");
});

Deno.test("FairQueue gives a line one turn a round however often it comes", () => {
  const hall = new Hall();
  hall.push("a1 a2 b1 b2");
  assert.equal(hall.queue.shift()?.name, "a1");
  hall.push("a3 a4");
  assert.equal(hall.drain(), "b1 a2 b2 a3 a4");
});

Deno.test("FairQueue gives returned items first, the one returned last before all", () => {
  const hall = new Hall();
  const [a1, b1] = hall.push("a1 b1 a2 b2");
  assert(a1 && b1);
  assert.equal(hall.queue.shift(), a1);
  assert.equal(hall.queue.shift(), b1);
  hall.queue.unshift(b1);
  hall.queue.unshift(a1);
  assert.equal(hall.queue.size, 4);
  assert.equal(hall.drain(), "a1 b1 a2 b2");
});

Deno.test("FairQueue takes no turn from a line when its returned item goes first", () => {
  const hall = new Hall();
  const [a1] = hall.push("a1 a2 b1");
  assert(a1);
  hall.queue.shift();
  hall.queue.unshift(a1);
  assert.equal(hall.drain(), "a1 b1 a2");
});

Deno.test("FairQueue lets an item go from anywhere", () => {
  for (const name of ["a1", "a2", "a3", "b1", "c1"]) {
    const hall = new Hall();
    const tickets = hall.push("a1 a2 a3 b1 c1");
    const ticket = tickets.find((one) => one.name === name);
    assert(ticket);
    hall.queue.remove(ticket);
    assert.equal(hall.queue.size, 4);
    const rest = ["a1", "b1", "c1", "a2", "a3"].filter((one) => one !== name);
    // A line whose first item left keeps its turn.
    const order = name === "a1" ? ["a2", "b1", "c1", "a3"] : rest;
    assert.equal(hall.drain(), order.join(" "));
  }
});

Deno.test("FairQueue lets a returned item go, and takes it back as a new one", () => {
  const hall = new Hall();
  const [a1] = hall.push("a1 a2");
  assert(a1);
  hall.queue.shift();
  hall.queue.unshift(a1);
  hall.queue.remove(a1);
  assert.equal(hall.queue.size, 1);
  hall.queue.push(a1);
  assert.equal(hall.drain(), "a2 a1");
});

Deno.test("FairQueue sums bytes when items come, return and go", () => {
  const hall = new Hall();
  const { queue } = hall;
  const [a1, a2, b1] = [hall.ticket("a1", 5), hall.ticket("a2", 0), hall.ticket("b1", 70)];
  for (const item of [a1, a2, b1]) queue.push(item);
  assert.equal(queue.bytes, 75);
  assert.equal(queue.shift(), a1);
  assert.equal(queue.bytes, 70);
  queue.unshift(a1);
  assert.equal(queue.bytes, 75);
  queue.remove(b1);
  assert.equal(queue.bytes, 5);
  queue.remove(a1);
  assert.equal(queue.bytes, 0);
  assert.equal(queue.size, 1);
});

Deno.test("FairQueue gives every item when each is removed as it comes", () => {
  const hall = new Hall();
  const [a1] = hall.push("a1 a2 a3 b1 b2 c1");
  assert(a1);
  hall.queue.shift();
  hall.queue.unshift(a1);
  const seen: string[] = [];
  for (const item of hall.queue) {
    seen.push(item.name);
    hall.queue.remove(item);
  }
  assert.deepEqual(seen.sort(), ["a1", "a2", "a3", "b1", "b2", "c1"]);
  assert.equal(hall.drain(), "");
});

/** A queue that does all the slow and simple way. */
class NaiveQueue {
  returned: Ticket[] = [];
  round: { line: Line<Ticket>; items: Ticket[] }[] = [];

  push(item: Ticket): void {
    const place = this.round.find(({ line }) => line === item.line);
    if (place !== undefined) place.items.push(item);
    else this.round.push({ line: item.line, items: [item] });
  }

  shift(): Ticket | undefined {
    if (this.returned.length > 0) return this.returned.shift();
    const place = this.round.shift();
    const item = place?.items.shift();
    if (place !== undefined && place.items.length > 0) this.round.push(place);
    return item;
  }

  remove(item: Ticket): void {
    this.returned = this.returned.filter((one) => one !== item);
    for (const place of this.round) place.items = place.items.filter((one) => one !== item);
    this.round = this.round.filter(({ items }) => items.length > 0);
  }

  get all(): Ticket[] {
    return [...this.returned, ...this.round.flatMap(({ items }) => items)];
  }
}

Deno.test("FairQueue agrees with a naive queue when items come, return and go at random", () => {
  for (let seed = 1; seed <= 300; seed++) {
    const random = randomNumbers(seed * 77_777 + 5);
    const hall = new Hall();
    const model = new NaiveQueue();
    let taken: Ticket[] = [];
    for (let step = 0; step < 200; step++) {
      const dice = random(10);
      if (dice < 4) {
        const item = hall.ticket(`${"abcde"[random(5)]}${step}`, random(100));
        hall.queue.push(item);
        model.push(item);
      } else if (dice < 7) {
        const item = hall.queue.shift();
        assert.equal(item?.name, model.shift()?.name, `Seed ${seed}`);
        if (item !== undefined) taken.push(item);
      } else if (dice < 8) {
        // A worker dies: what it had comes back, the last first.
        for (const item of taken.toReversed()) {
          hall.queue.unshift(item);
          model.returned.unshift(item);
        }
        taken = [];
      } else {
        const waiting = model.all;
        const item = waiting[random(waiting.length)];
        if (item === undefined) continue;
        hall.queue.remove(item);
        model.remove(item);
      }
      const names = [...hall.queue].map(({ name }) => name).sort();
      assert.deepEqual(names, model.all.map(({ name }) => name).sort(), `Seed ${seed}`);
      assert.equal(hall.queue.size, model.all.length, `Seed ${seed}`);
      assert.equal(hall.queue.bytes, model.all.reduce((sum, { bytes }) => sum + bytes, 0));
    }
    let rest = "";
    for (let item = model.shift(); item !== undefined; item = model.shift()) {
      rest += ` ${item.name}`;
    }
    assert.equal(hall.drain(), rest.trimStart(), `Seed ${seed}`);
  }
});

// ReplyCache

/** A cache of texts, with what it has dropped. */
function cacheOf(limits: { ttl: number; bytes: number }) {
  const dropped: string[] = [];
  const cache = new ReplyCache<string>((body) => dropped.push(body));
  cache.configure(limits);
  const put = (key: string, body: string, now: number, bytes = 0) =>
    cache.put(key, { code: 200, body, bytes, weight: bytes }, now);
  return { cache, dropped, put };
}

Deno.test("ReplyCache gives an answer back until its time is over", () => {
  const { cache, dropped, put } = cacheOf({ ttl: 1000, bytes: 10_000 });
  put("k", "one", 5000);
  assert.equal(cache.get("k", 5999)?.body, "one");
  assert.equal(cache.get("k", 5999)?.code, 200);
  assert.equal(cache.get("other", 5000), undefined);
  assert.equal(cache.get("k", 6000), undefined);
  assert.deepEqual(dropped, []);
  cache.tick(6000);
  assert.deepEqual(dropped, ["one"]);
  assert.equal(cache.tick(6000), Infinity);
});

Deno.test("ReplyCache drops the oldest answers when its bytes are used up", () => {
  const { cache, dropped, put } = cacheOf({ ttl: 1000, bytes: 3200 });
  for (let index = 0; index < 4; index++) put(`${index}`, `body ${index}`, index, 1000);
  assert.deepEqual(dropped, ["body 0", "body 1"]);
  assert.equal(cache.get("1", 4), undefined);
  assert.equal(cache.get("2", 4)?.body, "body 2");
  put("huge", "too large", 5, 4000);
  assert.deepEqual(dropped, ["body 0", "body 1", "body 2", "body 3", "too large"]);
  assert.equal(cache.tick(5), Infinity);
  // The bytes of what was dropped count no more.
  for (const key of ["a", "b"]) put(key, key, 6, 1000);
  assert.equal(cache.get("a", 7)?.body, "a");
});

Deno.test("ReplyCache counts what an answer of many empty frames weighs, and the key's characters", () => {
  const { cache, dropped } = cacheOf({ ttl: 1000, bytes: 10_000 });
  cache.put("a".repeat(1000), { code: 200, body: "frames", bytes: 0, weight: 7000 }, 0);
  cache.configure({ ttl: 1000, bytes: 9000 + 512 });
  assert.deepEqual(dropped, []);
  cache.configure({ ttl: 1000, bytes: 10_000 });
  cache.put("b", { code: 200, body: "more", bytes: 0, weight: 7000 }, 1);
  assert.deepEqual(dropped, ["frames"]);
  const { cache: smaller, dropped: atOnce } = cacheOf({ ttl: 1000, bytes: 8999 });
  smaller.put("a".repeat(1000), { code: 200, body: "frames", bytes: 0, weight: 7000 }, 0);
  assert.deepEqual(atOnce, ["frames"]);
});

Deno.test("ReplyCache keeps the newest answer of a key, as new", () => {
  const { cache, dropped, put } = cacheOf({ ttl: 1000, bytes: 10_000 });
  put("a", "old", 0);
  put("b", "other", 10);
  put("a", "new", 500);
  assert.deepEqual(dropped, ["old"]);
  cache.tick(1100);
  assert.deepEqual(dropped, ["old", "other"]);
  assert.equal(cache.get("a", 1100)?.body, "new");
});

Deno.test("ReplyCache looks for what is too old once a second, and only while it has something", () => {
  const { cache, dropped, put } = cacheOf({ ttl: 10, bytes: 10_000 });
  assert.equal(cache.tick(0), Infinity);
  put("a", "a", 100);
  assert.equal(cache.tick(100), 1000);
  assert.equal(cache.tick(600), 500);
  assert.deepEqual(dropped, []);
  cache.tick(1100);
  assert.deepEqual(dropped, ["a"]);
  assert.equal(cache.tick(1100), Infinity);
});

Deno.test("ReplyCache gives everything up when it is switched off", () => {
  const { cache, dropped, put } = cacheOf({ ttl: 1000, bytes: 10_000 });
  put("a", "a", 0);
  assert.equal(cache.enabled, true);
  cache.configure({ ttl: 0, bytes: 10_000 });
  assert.equal(cache.enabled, false);
  assert.deepEqual(dropped, ["a"]);
  assert.equal(cache.get("a", 0), undefined);
});

// Jobs

const REQUEST = {
  envelope: [new Uint8Array([7])],
  requestId: 4,
  requestTimeout: 7,
  key: "k",
  stream: undefined,
  resumable: false,
  hops: 0,
  trace: undefined,
  stored: undefined,
  body: "hello",
  bytes: 5,
  deadline: 9,
};

Deno.test("newJob waits in its client's line, with no death and in no list", () => {
  const client = newPeer<string>(1, new Uint8Array(18)).home;
  const request = { ...REQUEST, client };
  const job = newJob(3, request);
  assert.equal(job.line, client.line);
  assert.equal(client.live, 0);
  assert.deepEqual([job.request, job.asker], [request, request]);
  // A copy: the next request may be told of by the same record.
  request.body = "other";
  assert.equal(job.request.body, "hello");
  assert.deepEqual({ ...job, request: 0, asker: 0, line: 0 }, {
    stream: undefined,
    id: 3,
    request: 0,
    asker: 0,
    bytes: 5,
    deadline: 9,
    line: 0,
    links: noLinks(),
    others: [],
    begun: false,
    arrivedAt: 0,
    sentAt: 0,
    deaths: 0,
    doubts: 0,
    excused: 0,
    beside: 0,
    stranded: 0,
    shelf: undefined,
    worker: undefined,
    running: false,
    startedAt: 0,
    abortedAt: 0,
    state: "queued",
  });
});

Deno.test("renewJob makes of a used record what newJob would make", () => {
  const client = newPeer<string>(1, new Uint8Array(18)).home;
  const other = newPeer<string>(2, new Uint8Array(18)).home;
  const request = { ...REQUEST, client };
  const fresh = newJob(3, request);
  const used = newJob(1, {
    client: other,
    envelope: [],
    requestId: undefined,
    requestTimeout: 1,
    key: "",
    body: "",
    bytes: 1,
    deadline: 1,
  });
  // Whatever it went through, but for its links: it is in no list when it is used again.
  const kept = ["links", "request"];
  for (const field of Object.keys(used)) {
    if (!kept.includes(field)) Object.assign(used, { [field]: "used" });
  }
  for (const field of Object.keys(used.request)) Object.assign(used.request, { [field]: "used" });
  const renewed = renewJob(used, 3, request);
  assert.equal(renewed, used);
  assert.deepEqual(renewed, fresh);
});

// Service times

/** The times of so many jobs, of which one in `every` takes `slow` ms, the others 0.01. */
function observed(jobs: number, every: number, slow: number): ServiceTimes {
  const times = new ServiceTimes();
  for (let job = 1; job <= jobs; job++) times.observe(job % every === 0 ? slow : 0.01);
  return times;
}

Deno.test("ServiceTimes knows nothing before the first job, and then a mean that follows", () => {
  const times = new ServiceTimes();
  assert.deepEqual([times.mean, times.expected, times.tail], [undefined, Infinity, 0]);
  times.observe(4);
  assert.equal(times.mean, 4);
  for (let job = 0; job < 200; job++) times.observe(1);
  assert(Math.abs((times.mean ?? 0) - 1) < 0.001);
});

Deno.test("ServiceTimes has slow jobs in its tail when they are one in 100, not one in 1000", () => {
  const common = observed(10_000, 100, 50).tail;
  assert(common >= 50 && common <= 100, `${common}`);
  const rare = observed(10_000, 1000, 50).tail;
  assert(rare >= 0.01 && rare <= 0.03, `${rare}`);
});

Deno.test("ServiceTimes sees a tail within some hundred jobs, and forgets it within some thousands", () => {
  const times = observed(5000, 1000, 50);
  assert(times.tail < 1);
  for (let job = 1; job <= 1000; job++) times.observe(job % 50 === 0 ? 50 : 0.01);
  assert(times.tail >= 50);
  for (let job = 1; job <= 8000; job++) times.observe(0.01);
  assert(times.tail < 1);
});

Deno.test("ServiceTimes takes any time there is", () => {
  for (const time of [0, 0.0001, 1, 1e5, 1e9]) {
    const times = new ServiceTimes();
    for (let job = 0; job < 100; job++) times.observe(time);
    assert(Math.abs((times.mean ?? -1) - time) <= time / 1e6);
    assert.equal(times.expected, times.mean);
    // Less than a microsecond is none.
    const least = time < 0.001 ? 0 : Math.min(time, 4_000_000);
    assert(times.tail >= least, `${time}: ${times.tail}`);
  }
});
