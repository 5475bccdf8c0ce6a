/** What slow peers have not taken, connections by addresses, and messages that have begun: bounds, counted exactly. */

import { strict as assert } from "node:assert";
import { Arrivals } from "../../auth/arrivals.ts";
import { AccessControl } from "../../auth/access_control.ts";
import { Backlog } from "../../ports/backlog.ts";
import { BodyPool } from "../../ports/body.ts";
import { Intake } from "../../ports/intake.ts";
import { Unread } from "../../ports/unread.ts";
import { buildPing } from "../../wire/zmtp.ts";
import { bodyWith } from "../rig/bodies.ts";
import { randomNumbers } from "../rig/random.ts";
import { bytes } from "../rig/text.ts";
import { message } from "../rig/zmtp.ts";

type Bytes = Uint8Array<ArrayBuffer>;

function join(parts: readonly Uint8Array[]): Bytes {
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

/** A message with a number, of some frames and about so many bytes. */
function numbered(number: number, frames: number, size: number): Bytes {
  const rest = Array.from({ length: frames }, () => new Uint8Array(size).fill(number % 200));
  return message([bytes(`${number}`), ...rest]);
}

/** Takes up to `count` bytes out, as a socket does. */
function take(backlog: Backlog, count: number): number[] {
  const taken: number[] = [];
  while (taken.length < count) {
    const part = backlog.first?.subarray(0, count - taken.length);
    if (part === undefined) break;
    taken.push(...part);
    backlog.took(part.length);
  }
  return taken;
}

Deno.test("Backlog gives out what was put in, in order, however it is taken", () => {
  const seed = 1 + Math.floor(Math.random() * 2 ** 31);
  const random = randomNumbers(seed);
  for (let round = 0; round < 200; round++) {
    const bodies = new BodyPool();
    const backlog = new Backlog(bodies);
    const written: Uint8Array[] = [];
    const out: number[] = [];
    for (let step = 0; step < 30; step++) {
      const one = numbered(step, random(3), random(400));
      put(backlog, bodies, one, random(5));
      written.push(one);
      if (random(3) === 0) out.push(...take(backlog, random(600)));
    }
    out.push(...take(backlog, Infinity));
    assert.deepEqual(Uint8Array.from(out), join(written), `seed ${seed}`);
    assert.equal(backlog.isEmpty, true);
  }
});

/** Puts a message in, in one of the ways in which that is done. */
function put(backlog: Backlog, bodies: BodyPool, one: Bytes, way: number): void {
  if (way === 0) backlog.addWritten(one, 0, one.length, "whole");
  else if (way === 1) {
    const cut = 1 + Math.floor(one.length / 2);
    backlog.addWritten(one, 0, cut, "begun");
    backlog.addRest(bodyWith(bodies, one.subarray(cut)));
  } else {
    const { bytes, at } = backlog.add(one.length);
    bytes.set(one, at);
  }
}

Deno.test("Backlog drops whole messages only, counts them, and keeps the rest of one that has begun", () => {
  const seed = 1 + Math.floor(Math.random() * 2 ** 31);
  const random = randomNumbers(seed);
  for (let round = 0; round < 2000; round++) {
    const bodies = new BodyPool();
    const backlog = new Backlog(bodies);
    const all = Array.from(
      { length: 1 + random(6) },
      (_, at) => numbered(at, random(3), random(90)),
    );
    const ways = all.map(() => random(3));
    // A PING between messages counts for nothing.
    const pings = all.map(() => random(6) === 0 ? buildPing() : new Uint8Array(0));
    all.forEach((one, at) => {
      const ping = pings[at] ?? new Uint8Array(0);
      if (ping.length > 0) put(backlog, bodies, ping, 2);
      put(backlog, bodies, one, ways[at] ?? 0);
    });
    const stream = join(all.flatMap((one, at) => [pings[at] ?? new Uint8Array(0), one]));
    const before = take(backlog, random(stream.length));
    const where = before.length;
    // Where the item ends that the peer has a part of.
    const items = all.flatMap((one, at) => [{ size: pings[at]?.length ?? 0, counts: 0 }, {
      size: one.length,
      counts: 1,
    }]);
    let end = 0;
    let lost = 0;
    let kept = where;
    for (const { size, counts } of items) {
      if (end < where && end + size > where) kept = end + size;
      if (end >= where) lost += counts;
      end += size;
    }
    const dropped = backlog.dropWhole();
    const what = `seed ${seed}, round ${round}, ${where} of ${stream.length}, ways ${ways}`;
    assert.deepEqual(dropped, { messages: lost, bytes: stream.length - kept }, what);
    const after = numbered(99, 1, 10);
    put(backlog, bodies, after, 2);
    const rest = Uint8Array.from([...before, ...take(backlog, Infinity)]);
    assert.deepEqual(rest, join([stream.subarray(0, kept), after]), what);
  }
});

Deno.test("Backlog counts what was not taken whole when it is given up", () => {
  const bodies = new BodyPool();
  const backlog = new Backlog(bodies);
  const all = [0, 1, 2, 3].map((number) => numbered(number, 1, 50));
  all.forEach((one, way) => put(backlog, bodies, one, way));
  const size = all[0]?.length ?? 0;
  take(backlog, size + 5);
  assert.deepEqual(backlog.clear(), { messages: 3, bytes: join(all).length - size - 5 });
  assert.equal(backlog.isEmpty, true);
});

Deno.test("Unread lets one have what all have left, one message each aside", () => {
  const unread = new Unread(1000, 600);
  const [one, other] = [share(), share()];
  assert(unread.hasRoom(one, 5000));
  unread.add(one, 300, 0);
  assert(unread.hasRoom(one, 300));
  assert(!unread.hasRoom(one, 301));
  unread.add(other, 400, 0);
  assert(!unread.hasRoom(one, 1));
  assert.equal(unread.total, 700);
  unread.took(other, 400, 5);
  assert(unread.hasRoom(one, 300));
  assert.deepEqual([other.unread, other.progressAt, unread.total], [0, 5, 300]);
});

function share() {
  return { unread: 0, progressAt: 0, droppedAt: 0 };
}

Deno.test("Intake lets only the oldest message go on when all have too many bytes, and gives that up", () => {
  const given: string[] = [];
  const intake = new Intake(1000);
  const begin = (name: string) => {
    const one = { bytes: 0, giveUp: () => (given.push(name), intake.end(one, one.bytes)) };
    intake.begin(one);
    return one;
  };
  const add = (one: { bytes: number }, bytes: number) => {
    one.bytes += bytes;
    intake.add(bytes);
  };
  const first = begin("first");
  const second = begin("second");
  add(second, 500);
  add(first, 500);
  assert.deepEqual([intake.mayGrow(first), intake.mayGrow(second)], [true, true]);
  add(second, 1);
  assert.deepEqual([intake.mayGrow(first), intake.mayGrow(second)], [true, false]);
  intake.giveUpOldest();
  assert.deepEqual([given, intake.mayGrow(second)], [["first"], true]);
  add(second, 600);
  assert(intake.mayGrow(second));
});

Deno.test("Intake promises 64 MiB at most that have not come", () => {
  const intake = new Intake(1000);
  assert(intake.promise(64 * 1024 ** 2));
  assert(!intake.promise(1));
  intake.settle(64 * 1024 ** 2);
  assert(intake.promise(1));
});

Deno.test("Arrivals lets an address open so many connections in a second, loopback and ipc any number", () => {
  const arrivals = new Arrivals(3);
  const knocks = (address: string, now: number) =>
    [1, 2, 3, 4].filter(() => arrivals.knock(address, now)).length;
  assert.equal(knocks("192.0.2.1", 0), 3);
  assert.equal(knocks("192.0.2.1", 0), 0);
  assert.equal(knocks("192.0.2.2", 0), 3);
  assert.equal(knocks("192.0.2.1", 700), 2);
  assert.equal(knocks("192.0.2.1", 60_000), 3);
  assert.equal(knocks("2001:db8::1", 0), 3);
  assert.equal(knocks("2001:db8::ffff", 0), 0);
  for (const address of ["127.0.0.1", "::1", ""]) assert.equal(knocks(address, 0), 4);
  assert.equal([1, 2, 3].filter(() => new Arrivals(0).knock("192.0.2.1", 0)).length, 3);
});

Deno.test("AccessControl refuses plain peers by address, by all that there are, and by those of their address", () => {
  const rules = {
    clients: undefined,
    allow: ["192.0.2.0/24"],
    deny: ["192.0.2.66"],
    maxConnections: 4,
    maxConnectionsPerAddress: 2,
  };
  const access = new AccessControl(rules);
  const open = new Arrivals(0);
  assert.equal(access.refusal("192.0.2.1", open), undefined);
  assert.equal(access.refusal("192.0.2.66", open), "the address is not allowed");
  assert.equal(access.refusal("198.51.100.1", open), "the address is not allowed");
  assert.equal(access.refusal("127.0.0.1", open), "the address is not allowed");
  assert.equal(access.refusal("", open), undefined);
  open.enter("192.0.2.1", 0);
  open.enter("192.0.2.1", 0);
  assert.equal(access.refusal("192.0.2.1", open), "there are 2 connections from its address");
  assert.equal(access.refusal("192.0.2.2", open), undefined);
  open.leave("192.0.2.1");
  assert.equal(access.refusal("192.0.2.1", open), undefined);
  for (let count = 0; count < 3; count++) open.enter("", 0);
  assert.equal(access.refusal("", open), "there are 4 connections");
});
