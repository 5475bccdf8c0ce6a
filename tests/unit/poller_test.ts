/** Waiting for a few things with descriptors, and the bell that ends a wait. */

import { strict as assert } from "node:assert";
import { closeBell, openBell, ring } from "../../system/bell.ts";
import { Epoll } from "../../system/epoll.ts";
import { NO_WAIT, PollEvent } from "../../system/numbers.ts";
import { type Pollable, Poller } from "../../system/poller.ts";
import { Pair, testLibc } from "../rig/descriptors.ts";
import { LIMIT, within } from "../rig/wait.ts";

const libc = testLibc();
const { symbols } = libc;
const BYTE = new Uint8Array(1);

/** A port that counts how often activity was noted. */
class Port implements Pollable {
  readonly fd: number;
  readonly pollSet;
  notes = 0;
  watched = 0;

  constructor(fd: number, epoll?: Epoll) {
    this.fd = fd;
    this.pollSet = epoll?.pollSet;
  }

  watch(): void {
    this.watched++;
  }

  noteActivity(): void {
    this.notes++;
  }
}

function say(fd: number): void {
  assert.equal(symbols.send(fd, BYTE, 1, NO_WAIT), 1);
}

function hear(fd: number): void {
  assert.equal(symbols.recv(fd, BYTE, 1, NO_WAIT), 1);
}

/** Open files of this process, by Linux's own account. */
function openFiles(): number {
  return [...Deno.readDirSync("/proc/self/fd")].length;
}

const bells = symbols.eventfd === null ? ["pipe"] as const : ["eventfd", "pipe"] as const;

for (const by of bells) {
  Deno.test(`Poller whose bell is of the kind "${by}" wakes when it is rung, once for each time`, async () => {
    const poller = new Poller(libc, openBell(libc, by), []);
    const waiting = poller.wait(LIMIT);
    assert.equal(poller.waiting, true);
    poller.wake();
    await within("the bell rang", waiting);
    assert.equal(poller.waiting, false);
    poller.wake();
    assert.equal(poller.restSync(0, "taken"), false, "Nobody waits: nothing is rung");
    ring(libc, poller.bell);
    assert.equal(poller.restSync(LIMIT, "taken"), true);
    assert.equal(poller.restSync(0, "spare"), false);
    poller.close();
    poller.close();
  });
}

Deno.test("Poller that waits along with many others leaves threads to them, and to all else", async () => {
  const MANY = 80;
  const pollers = Array.from({ length: MANY }, () => new Poller(libc, openBell(libc), []));
  let open = true;
  const waiting = pollers.map(async (poller) => {
    while (open) await poller.wait(LIMIT);
  });
  try {
    await within("a file is read", Deno.readTextFile(new URL(import.meta.url)));
    await within("a latecomer is rung", rung());
  } finally {
    open = false;
    for (const poller of pollers) poller.wake();
    await within("all have their turn", Promise.all(waiting));
    for (const poller of pollers) poller.close();
  }
});

async function rung(): Promise<void> {
  const poller = new Poller(libc, openBell(libc), []);
  const waiting = poller.wait(LIMIT);
  poller.wake();
  await waiting;
  poller.close();
}

Deno.test("Poller wakes when another thread rings its bell while this thread is asleep", async () => {
  const poller = new Poller(libc, openBell(libc), []);
  const code = `self.onmessage = ({ data: { path, fd, flag } }) => {
    const { symbols } = Deno.dlopen(path, {
      write: { parameters: ["i32", "buffer", "u32"], result: "i32" },
    });
    const one = new Uint8Array(new BigUint64Array([1n]).buffer);
    self.postMessage("ready");
    // Not before the other thread says that it goes to sleep.
    Atomics.wait(new Int32Array(flag), 0, 0);
    symbols.write(fd, one, 8);
  };`;
  const url = `data:application/javascript,${encodeURIComponent(code)}`;
  const thread = new Worker(url, { type: "module" });
  const ready = new Promise((resolve) => thread.onmessage = resolve);
  const flag = new SharedArrayBuffer(4);
  thread.postMessage({ path: libc.path, fd: poller.bell, flag });
  await within("the thread was ready", ready);
  Atomics.store(new Int32Array(flag), 0, 1);
  Atomics.notify(new Int32Array(flag), 0);
  assert.equal(poller.restSync(LIMIT, "spare"), true);
  thread.terminate();
  poller.close();
});

Deno.test("Poller notes activity of the ports that are ready, and of no others", async () => {
  using one = new Pair(libc);
  using other = new Pair(libc);
  const ports = [new Port(one.one), new Port(other.one)];
  const poller = new Poller(libc, openBell(libc), ports);
  const notes = () => ports.map((port) => port.notes);
  assert.deepEqual(ports.map(({ watched }) => watched), [1, 1]);
  poller.restSync(0, "spare");
  assert.deepEqual(notes(), [0, 0]);
  say(other.other);
  assert.equal(poller.restSync(LIMIT, "spare"), false, "It was not the bell");
  assert.deepEqual(notes(), [0, 1]);
  hear(other.one);
  say(one.other);
  await within("a port was ready", poller.wait(LIMIT));
  assert.deepEqual(notes(), [1, 1]);
  one.close(one.other);
  assert.equal(poller.restSync(LIMIT, "taken"), false);
  assert.deepEqual(notes(), [2, 1], "A hang-up is activity");
  poller.close();
});

Deno.test("Poller is not woken by a port that is left out, and notes activity once it is taken in", () => {
  using pair = new Pair(libc);
  const port = new Port(pair.one);
  const poller = new Poller(libc, openBell(libc), [port]);
  say(pair.other);
  poller.leaveOut(port);
  poller.leaveOut(port);
  poller.restSync(1, "taken");
  assert.equal(port.notes, 0);
  poller.takeIn(port);
  poller.takeIn(port);
  assert.equal(port.notes, 1);
  poller.restSync(LIMIT, "taken");
  assert.equal(port.notes, 2);
  const stranger = new Port(pair.other);
  poller.leaveOut(stranger);
  poller.takeIn(stranger);
  assert.equal(stranger.notes, 0);
  poller.close();
});

for (const by of symbols.epoll_create1 === null ? ["poll"] as const : ["epoll", "poll"] as const) {
  Deno.test(`Poller waits for all descriptors of an Epoll by ${by}, however many are added`, async () => {
    const pairs = Array.from({ length: 60 }, () => new Pair(libc));
    const epoll = new Epoll(libc, by);
    using alone = new Pair(libc);
    const [many, single] = [new Port(epoll.fd, epoll), new Port(alone.one)];
    const poller = new Poller(libc, openBell(libc), [many, single]);
    poller.restSync(0, "spare");
    pairs.forEach(({ one }, token) => epoll.add(one, token, PollEvent.IN));
    poller.restSync(0, "spare");
    assert.deepEqual([many.notes, single.notes], [0, 0]);
    say(pairs[59]?.other ?? -1);
    await within("a descriptor was ready", poller.wait(LIMIT));
    assert.deepEqual([many.notes, single.notes], [1, 0]);
    assert.equal(epoll.wait(), 1);
    assert.equal(epoll.token(0), 59);
    poller.leaveOut(many);
    say(alone.other);
    poller.restSync(LIMIT, "taken");
    assert.deepEqual([many.notes, single.notes], [1, 1]);
    poller.takeIn(many);
    epoll.change(pairs[0]?.one ?? -1, 0, PollEvent.OUT);
    hear(pairs[59]?.one ?? -1);
    poller.restSync(LIMIT, "taken");
    assert.equal(many.notes, 3, "Noted when taken in, and as it can be written to");
    poller.close();
    epoll.close();
    for (const pair of pairs) pair[Symbol.dispose]();
  });
}

Deno.test("Poller has others take their turn while nothing comes, and keeps the thread while much does", async () => {
  using pair = new Pair(libc);
  const port = new Port(pair.one);
  const poller = new Poller(libc, openBell(libc), [port]);
  assert(poller.rest(0, "spare") instanceof Promise, "Nothing has come yet");
  say(pair.other);
  poller.restSync(LIMIT, "spare");
  // Within 4 ms of the wait before it, which a slow machine may exceed: then it has others take their turn.
  const rested = Array.from({ length: 1000 }, () => {
    poller.restSync(0, "spare");
    return poller.rest(LIMIT, "spare");
  });
  assert(rested.includes(undefined), "It kept the thread");
  await within("a port was ready", Promise.all(rested));
  poller.close();
});

Deno.test("Poller ends the wait that is under way when it is closed, and leaves no file open", async () => {
  const before = openFiles();
  for (const by of bells) {
    const poller = new Poller(libc, openBell(libc, by), []);
    const waiting = poller.wait(LIMIT);
    poller.close();
    await within("the wait ended", waiting);
    new Poller(libc, openBell(libc, by), []).close();
    closeBell(libc, openBell(libc, by));
  }
  assert.equal(openFiles(), before);
});
