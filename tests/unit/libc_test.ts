/** The C library's functions as they are bound: each is called once, with real descriptors. */

import { strict as assert } from "node:assert";
import {
  addressOf,
  control,
  errnoOf,
  libcPath,
  openConnector,
  openLibc,
  openStream,
  openTransfer,
  setOption,
  systemError,
  textAt,
} from "../../system/libc.ts";
import {
  Control,
  Family,
  Level,
  Mapping,
  MemoryFile,
  NO_WAIT,
  PollEvent,
  Seal,
  SocketOption,
  TcpOption,
} from "../../system/numbers.ts";
import { Resending } from "../../system/resending.ts";
import { cString, Errno, SocketType } from "../../zmq/library.ts";
import { locateLibrary } from "../../zmq/locate.ts";
import { Monitor } from "../../zmq/monitor.ts";
import { Context } from "../../zmq/socket.ts";
import { getOption, Pair, testLibc } from "../rig/descriptors.ts";
import { until } from "../rig/wait.ts";

const libc = testLibc();
const { symbols } = libc;
const linux = Deno.build.os === "linux";

Deno.test("libcPath names a file by which the C library opens, and the path is from the root", () => {
  const path = libcPath(libc) ?? "";
  assert(path.startsWith("/"), path);
  const own = openLibc(path);
  assert.equal(libcPath(own), path);
  // Not the same one twice: by then it may be what another test has opened.
  for (const { symbols } of [openTransfer(path), openConnector(path)]) {
    assert.equal(symbols.close(openStream(own, Family.UNIX)), 0);
  }
});

Deno.test("errnoOf tells why a call failed, and systemError says so", () => {
  assert.equal(symbols.connect(-1, new Uint8Array(16), 16), -1);
  assert.equal(errnoOf(libc), Errno.EBADF);
  const error = systemError(libc, 'bind to "x"', Errno.EADDRINUSE);
  assert.equal(error.message, 'Cannot bind to "x": Address already in use');
  assert.equal(error.errno, Errno.EADDRINUSE);
});

Deno.test("openStream opens a socket that never waits and is not inherited, or says what is wrong", () => {
  const fd = openStream(libc, Family.INET);
  const [GETFD, FD_CLOEXEC] = [1, 1];
  assert.notEqual(control(libc, fd, Control.GETFL, 0) & Control.O_NONBLOCK, 0);
  assert.equal(control(libc, fd, GETFD, 0) & FD_CLOEXEC, FD_CLOEXEC);
  symbols.close(fd);
  assert.throws(() => openStream(libc, 255), /^SystemError: Cannot open a socket: /);
});

Deno.test("options of sockets are set and read, and those that a system lacks are none", () => {
  const fd = openStream(libc, Family.INET);
  const { SOCKET } = Level;
  assert.equal(getOption(libc, fd, SOCKET, SocketOption.REUSEADDR), 0);
  assert.equal(setOption(libc, fd, SOCKET, SocketOption.REUSEADDR, 1), true);
  assert.notEqual(getOption(libc, fd, SOCKET, SocketOption.REUSEADDR), 0);
  assert.equal(setOption(libc, fd, SOCKET, -1, 1), false);
  assert.equal(getOption(libc, fd, SOCKET, -1), undefined);
  symbols.close(fd);
  assert.equal(getOption(libc, fd, SOCKET, SocketOption.REUSEADDR), undefined);
});

Deno.test("bytes are sent from a buffer and from an address, and received into both", () => {
  using pair = new Pair(libc);
  const { one, other } = pair;
  const sent = crypto.getRandomValues(new Uint8Array(300));
  assert.equal(symbols.send(one, sent, 200, NO_WAIT), 200);
  assert.equal(symbols.sendFrom(one, addressOf(libc, sent) + 200n, 100, NO_WAIT), 100);
  const received = new Uint8Array(300);
  assert.equal(symbols.recvInto(other, addressOf(libc, received), 50, NO_WAIT), 50);
  assert.equal(symbols.recv(other, received.subarray(50), 250, NO_WAIT), 250);
  assert.deepEqual(received, sent);
  assert.equal(symbols.recv(other, received, 300, NO_WAIT), -1);
  assert.equal(errnoOf(libc), Errno.EAGAIN);
  pair.close(one);
  assert.equal(symbols.recv(other, received, 300, NO_WAIT), 0, "The end");
  assert.equal(symbols.send(other, sent, 1, NO_WAIT), -1, "Nobody is there, and no signal comes");
  assert.equal(errnoOf(libc), Errno.EPIPE);
});

Deno.test("memory at an address is copied out and in", () => {
  const memory = new TextEncoder().encode("memory at an address\0");
  const address = addressOf(libc, memory);
  assert.equal(textAt(libc, address), "memory at an address");
  assert.equal(textAt(libc, address + 20n), "");
  assert.equal(textAt(libc, 0n), undefined);
  symbols.copyIn(address + 10n, new TextEncoder().encode("AN"), 2);
  const out = new Uint8Array(10);
  symbols.copyOut(out, address + 10n, 10);
  assert.equal(new TextDecoder().decode(out), "AN address");
});

Deno.test("poll finds what is readable, on this thread and on another", async () => {
  using pair = new Pair(libc);
  const { one, other } = pair;
  const item = new DataView(new ArrayBuffer(8));
  const bytes = new Uint8Array(item.buffer);
  item.setInt32(0, other, true);
  item.setInt16(4, PollEvent.IN, true);
  assert.equal(symbols.poll(bytes, 1, 0), 0);
  const waiting = symbols.poll_async(bytes, 1, 60_000);
  symbols.write(one, new Uint8Array(1), 1);
  assert.equal(await waiting, 1);
  assert.equal(item.getInt16(6, true), PollEvent.IN);
});

Deno.test("a sealed file in memory is shared by two mappings, and can't be made shorter", {
  ignore: !linux,
}, () => {
  const { memfd_create, ftruncate, mmap, munmap, close, copyIn, copyOut } = symbols;
  const fd = memfd_create?.(cString("test"), MemoryFile.CLOEXEC | MemoryFile.ALLOW_SEALING) ?? -1;
  assert(fd >= 0);
  assert.equal(ftruncate(fd, 8192n), 0);
  const seals = Seal.SHRINK | Seal.GROW | Seal.SEAL;
  assert.equal(control(libc, fd, Control.ADD_SEALS, seals), 0);
  assert.equal(control(libc, fd, Control.GET_SEALS, 0), seals);
  assert.equal(ftruncate(fd, 4096n), -1);
  const both = Mapping.PROT_READ | Mapping.PROT_WRITE;
  const map = () => BigInt(mmap(0n, 8192n, both, Mapping.SHARED, fd, 0n));
  const [here, there] = [map(), map()];
  assert(here !== Mapping.FAILED && there !== Mapping.FAILED && here !== there);
  copyIn(here + 5000n, new Uint8Array([1, 2, 3]), 3);
  const seen = new Uint8Array(3);
  copyOut(seen, there + 5000n, 3);
  assert.deepEqual([...seen], [1, 2, 3]);
  for (const address of [here, there]) assert.equal(munmap(address, 8192n), 0);
  close(fd);
  assert.equal(BigInt(mmap(0n, 8192n, both, Mapping.SHARED, fd, 0n)), Mapping.FAILED);
});

Deno.test(
  "Resending has what a socket accepts send again at least each second, where the system can",
  {
    ignore: Deno.build.os !== "linux",
  },
  async () => {
    const library = locateLibrary(Deno.env.get("ZMQ_LIBRARY"));
    const context = new Context(library);
    const [router, dealer] = [SocketType.ROUTER, SocketType.DEALER].map((type) =>
      context.socket(type)
    );
    assert(router !== undefined && dealer !== undefined);
    const libc = openLibc(library.path);
    const resending = new Resending(libc);
    const [listening, connecting] = [router, dealer].map((each) => new Monitor(context, each));
    assert(listening !== undefined && connecting !== undefined);
    const endpoint = router.bind("tcp://127.0.0.1:0");
    const listener = listening.listener();
    assert(listener !== undefined);
    const before = getOption(libc, listener, Level.TCP, RTO_MAX_MS);
    resending.soon(listener);
    dealer.connect(endpoint);
    const reached = await until("it is connected", () => connecting.next());
    assert(reached.what === "reached");
    resending.soon(reached.fd);
    const all = [listener, reached.fd].map((fd) => [
      getOption(libc, fd, Level.TCP, RTO_MAX_MS),
      getOption(libc, fd, Level.TCP, THIN_LINEAR_TIMEOUTS),
    ]);
    // Before Linux 6.15 there is no such option.
    const longest = before === undefined ? undefined : 1000;
    assert.deepEqual(all, [[longest, 1], [longest, 1]]);
    for (const each of [listening, connecting]) each.close();
    for (const each of [router, dealer]) each.close(0);
    context.terminateSync();
  },
);

const { RTO_MAX_MS, THIN_LINEAR_TIMEOUTS } = TcpOption;
