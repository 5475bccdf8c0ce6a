/** Waiting for many descriptors, by epoll(7) and by poll(2). */

import { strict as assert } from "node:assert";
import { Epoll } from "../../system/epoll.ts";
import { NO_WAIT, PollEvent } from "../../system/numbers.ts";
import { Pair, testLibc } from "../rig/descriptors.ts";

const { IN, OUT, HUP } = PollEvent;
const libc = testLibc();
const { symbols } = libc;
const BYTE = new Uint8Array(1);

/** What a wait finds: events by token. */
function found(epoll: Epoll, timeoutMs = 0): Map<number, number> {
  const count = epoll.wait(timeoutMs);
  return new Map(Array.from({ length: count }, (_, i) => [epoll.token(i), epoll.events(i)]));
}

const ways = symbols.epoll_create1 === null ? ["poll"] as const : ["epoll", "poll"] as const;

for (const by of ways) {
  Deno.test(`Epoll by ${by} tells of a descriptor as long as it is ready, and not before`, () => {
    using pair = new Pair(libc);
    const epoll = new Epoll(libc, by);
    assert.equal(epoll.wait(), 0);
    epoll.add(pair.one, 2 ** 31, IN);
    assert.equal(epoll.wait(), 0);
    assert.equal(epoll.wait(5), 0, "The time is over");
    symbols.send(pair.other, BYTE, 1, NO_WAIT);
    for (let times = 0; times < 3; times++) assert.deepEqual([...found(epoll)], [[2 ** 31, IN]]);
    symbols.recv(pair.one, BYTE, 1, NO_WAIT);
    assert.equal(epoll.wait(), 0);
    epoll.close();
  });

  Deno.test(`Epoll by ${by} waits for other events, or for none, once it is told`, () => {
    using pair = new Pair(libc);
    const epoll = new Epoll(libc, by);
    epoll.add(pair.one, 1, IN | OUT);
    assert.deepEqual([...found(epoll)], [[1, OUT]]);
    epoll.change(pair.one, 2, IN);
    assert.equal(epoll.wait(), 0);
    epoll.change(pair.one, 3, 0);
    symbols.send(pair.other, BYTE, 1, NO_WAIT);
    assert.equal(epoll.wait(), 0);
    pair.close(pair.other);
    const [[token, events] = [0, 0]] = found(epoll);
    assert.equal(token, 3);
    assert.equal(events & HUP, HUP, "A hang-up is told unasked");
    epoll.remove(pair.one);
    assert.equal(epoll.wait(), 0);
    epoll.close();
  });

  Deno.test(`Epoll by ${by} refuses descriptors that it knows, that it does not know, and that are none`, () => {
    using pair = new Pair(libc);
    const epoll = new Epoll(libc, by);
    epoll.add(pair.one, 1, IN);
    const refused = /^SystemError: Cannot watch a descriptor: /;
    assert.throws(() => epoll.add(pair.one, 1, IN), /File exists/);
    assert.throws(() => epoll.change(pair.other, 1, IN), /No such file/);
    assert.throws(() => epoll.add(-1, 1, IN), refused);
    epoll.remove(pair.other);
    epoll.remove(-1);
    epoll.close();
    epoll.close();
  });

  Deno.test(`Epoll by ${by} forgets a descriptor that was closed without being removed`, () => {
    using pair = new Pair(libc);
    using rest = new Pair(libc);
    const epoll = new Epoll(libc, by);
    epoll.add(pair.one, 1, IN);
    epoll.add(rest.one, 2, IN);
    pair.close(pair.one);
    assert.equal(epoll.wait(), 0);
    symbols.send(rest.other, BYTE, 1, NO_WAIT);
    assert.deepEqual([...found(epoll)], [[2, IN]]);
    epoll.close();
  });

  Deno.test(`Epoll by ${by} tells of all when more are ready than one wait can tell of`, () => {
    const pairs = Array.from({ length: 300 }, () => new Pair(libc));
    const epoll = new Epoll(libc, by);
    pairs.forEach(({ one }, token) => epoll.add(one, token, IN));
    for (const { other } of pairs) symbols.send(other, BYTE, 1, NO_WAIT);
    const seen = new Set<number>();
    const counts = [0, 0, 0].map(() => {
      const tokens = [...found(epoll).keys()];
      for (const token of tokens) seen.add(token);
      return tokens.length;
    });
    assert.deepEqual(counts, [256, 256, 256]);
    assert.equal(seen.size, 300);
    // Those that are left keep their tokens while others go.
    for (const pair of pairs.splice(0, 299)) {
      epoll.remove(pair.one);
      pair[Symbol.dispose]();
    }
    assert.deepEqual([...found(epoll)], [[299, IN]]);
    for (const pair of pairs) pair[Symbol.dispose]();
    epoll.close();
  });
}

Deno.test("Epoll has a descriptor that is readable while one of its own is ready", {
  ignore: ways.length < 2,
}, () => {
  using pair = new Pair(libc);
  const [outer, inner] = [new Epoll(libc), new Epoll(libc)];
  inner.add(pair.one, 7, OUT);
  outer.add(inner.fd, 1, IN);
  assert.deepEqual([...found(outer)], [[1, IN]]);
  inner.change(pair.one, 7, IN);
  assert.equal(outer.wait(), 0);
  assert.equal(new Epoll(libc, "poll").fd, -1);
  inner.close();
  outer.close();
});
