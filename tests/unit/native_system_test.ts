/** Clients over sockets of our own, where the system lacks descriptors, or calls that others have. */

import { strict as assert } from "node:assert";
import { openBell } from "../../system/bell.ts";
import type { Libc } from "../../system/libc.ts";
import { POLL_ITEM_BYTES, PollEvent } from "../../system/numbers.ts";
import { Poller } from "../../system/poller.ts";
import { listenAt } from "../../system/stream_socket.ts";
import { Errno } from "../../zmq/library.ts";
import { testLibc } from "../rig/descriptors.ts";
import { Folder } from "../rig/folder.ts";
import { assertClean, bodyOf, NativeFront } from "../rig/native_front.ts";
import { RawPeer } from "../rig/raw_peer.ts";
import { bytes } from "../rig/text.ts";
import { until, within } from "../rig/wait.ts";
import { message } from "../rig/zmtp.ts";

const REAL = testLibc();

/** The C library of a system that has none of what macOS lacks. */
const BARE: Libc = {
  path: REAL.path,
  symbols: { ...REAL.symbols, epoll_create1: null, accept4: null, eventfd: null },
};

/** One whose system has no descriptor left for anybody who connects, while it is told so. */
class Exhausted implements Libc {
  readonly path = REAL.path;
  readonly symbols: Libc["symbols"];
  isShort = true;
  /** How often it was asked while it had none. */
  asked = 0;

  constructor() {
    const { accept4 } = REAL.symbols;
    assert(accept4);
    this.symbols = {
      ...REAL.symbols,
      accept4: (...args) => this.isShort ? this.#refuse() : accept4(...args),
    };
  }

  #refuse(): number {
    const { errno_linux, copyIn } = REAL.symbols;
    this.asked++;
    copyIn(BigInt(errno_linux?.() ?? 0), new Uint8Array(Int32Array.of(Errno.EMFILE).buffer), 4);
    return -1;
  }
}

/** Whether a descriptor would end a wait. */
function isReady(fd: number): boolean {
  const item = new DataView(new ArrayBuffer(POLL_ITEM_BYTES));
  item.setInt32(0, fd, true);
  item.setInt16(4, PollEvent.IN, true);
  return REAL.symbols.poll(new Uint8Array(item.buffer), 1, 0) > 0;
}

const lacksAccept4 = REAL.symbols.accept4 === null;

Deno.test(
  "NativeSource asks nobody in, and does not spin, while the system has no descriptor, and then takes all who wait",
  { ignore: lacksAccept4 },
  async () => {
    const libc = new Exhausted();
    using front = new NativeFront({}, "tcp://127.0.0.1:0", libc);
    const [{ fd = -1 } = {}] = front.source.ports;
    libc.isShort = false;
    const before = await front.during(RawPeer.connect(front.endpoint));
    libc.isShort = true;
    const waiting = await Promise.all([1, 2, 3].map(() => RawPeer.dial(front.endpoint)));
    await until("they wait", () => isReady(fd));
    front.later = 1e6 - performance.now(); // the time stands still from here on, but for its parts of a ms
    front.turn();
    assert.deepEqual([libc.asked, front.source.counters.denied], [1, 1]);
    assert.match(String(front.source.lastOf("denied").reason), /no file descriptor left/);
    assert.equal(isReady(fd), false, "Those who wait would end each wait at once");
    for (let count = 0; count < 100; count++) {
      front.later = 1e6 - performance.now();
      front.turn();
    }
    assert.equal(libc.asked, 1);
    // Whoever was there before is served.
    await before.write(message(["", "served"].map(bytes)));
    const asked = await until("a request comes", () => {
      front.later = 1e6 - performance.now();
      front.turn();
      return front.asked.shift();
    });
    front.reply(asked, "answer");
    front.source.flush(front.now);
    assert.equal(await before.messageText().then((frames) => frames.at(-1)), "answer");
    assert.equal(libc.asked, 1);
    // Asked again as soon as a connection was closed, and after a while, once each.
    before[Symbol.dispose]();
    await until("it is closed, and those who wait are asked in", () => {
      front.later = 1e6 - performance.now();
      front.turn();
      return libc.asked === 2;
    });
    assert.equal(isReady(fd), false);
    front.later += 150;
    front.turn();
    front.turn();
    assert.deepEqual([libc.asked, isReady(fd)], [3, false]);
    libc.isShort = false;
    front.later += 150;
    front.turn();
    front.turn();
    assert.equal(front.source.connections(), 3);
    for (const peer of waiting) {
      await front.during(peer.shakeHands());
      peer[Symbol.dispose]();
    }
  },
);

Deno.test("Listener makes connections that never wait and are not inherited where accept4 is missing", async () => {
  const listener = listenAt(BARE, "tcp://127.0.0.1:0", { ipv6: false });
  const port = Number(/\d+$/.exec(listener.endpoint)?.[0]);
  using _peer = await Deno.connect({ port });
  const accepted = await until("it comes", () => {
    const accepted = listener.accept();
    return typeof accepted === "string" ? undefined : accepted;
  });
  const { fcntl, close } = REAL.symbols;
  const [GETFD, GETFL] = [1, 3];
  assert.equal(accepted.address, "127.0.0.1");
  assert.equal(fcntl(accepted.fd, GETFD, 0), 1);
  assert.notEqual(fcntl(accepted.fd, GETFL, 0) & (Deno.build.os === "linux" ? 0o4000 : 4), 0);
  assert.equal(listener.accept(), "none");
  close(accepted.fd);
  listener.close();
});

Deno.test("NativeSource serves many clients, and slow ones, where the system has poll(2) and nothing better", async () => {
  using front = new NativeFront({}, "tcp://127.0.0.1:0", BARE);
  const [port] = front.source.ports;
  assert(port !== undefined);
  assert.equal(port.fd, -1);
  const poller = new Poller(BARE, openBell(BARE), [port]);
  const connect = () => front.during(RawPeer.connect(front.endpoint));
  const peers: RawPeer[] = [];
  for (let count = 0; count < 40; count++) peers.push(await connect());
  front.turn();
  // The wait is for all of them, and ends with a request of any.
  for (const index of [0, 20, 39]) {
    const waiting = poller.wait(60_000);
    await peers[index]?.write(message(["", `from ${index}`].map(bytes)));
    await within("the wait ended", waiting);
    const asked = await front.request();
    assert.deepEqual(bodyOf(asked), [`from ${index}`]);
    // More than the system takes at once: the rest waits until the client reads.
    front.reply(asked, "x".repeat(8_000_000), `to ${index}`);
    front.source.flush(front.now);
    assert.equal(front.source.hasUnsent, true);
    const frames = await front.during(peers[index]?.messageText() ?? Promise.reject());
    assert.deepEqual(frames.map(({ length }) => length), [0, 8_000_000, `to ${index}`.length]);
    await front.until("all is taken", () => !front.source.hasUnsent);
  }
  for (const peer of peers.splice(0, 39)) peer[Symbol.dispose]();
  await front.until("they are gone", () => front.source.connections() === 1);
  await peers[0]?.write(message(["", "the last"].map(bytes)));
  assert.deepEqual(bodyOf(await front.request()), ["the last"]);
  assertClean(front);
  peers[0]?.[Symbol.dispose]();
  poller.close();
});

Deno.test("NativeSource takes those who wait when it listens anew at a path whose file is gone, and keeps one listener", async () => {
  using folder = new Folder();
  const endpoint = `ipc://${folder.path}/socket`;
  using front = new NativeFront({}, endpoint);
  const files = () => [...Deno.readDirSync("/dev/fd")].length;
  const before = files();
  for (let times = 1; times <= 3; times++) {
    const waiting = await RawPeer.dial(endpoint);
    Deno.removeSync(`${folder.path}/socket`);
    assert.equal(front.source.bind(endpoint), endpoint);
    assert.equal(front.source.connections(), 1, "It was let in before its listener was closed");
    await front.during(waiting.shakeHands());
    const peer = await front.during(RawPeer.connect(endpoint));
    await peer.write(message(["", "found"].map(bytes)));
    assert.deepEqual(bodyOf(await front.request()), ["found"]);
    waiting[Symbol.dispose]();
    peer[Symbol.dispose]();
    await front.until("they are gone", () => front.source.connections() === 0);
    assert.deepEqual(front.source.endpoints, [endpoint]);
    await front.until("no file more is open than before", () => files() === before);
  }
});
