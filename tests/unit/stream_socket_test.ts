/** Listening sockets: compared with libzmq's, endpoint by endpoint, and with real connections. */

import { strict as assert } from "node:assert";
import { openStream } from "../../system/libc.ts";
import { Family, Level, NO_WAIT, SocketOption, TcpOption } from "../../system/numbers.ts";
import { inetAddress, ipText, readAddress, unixAddress } from "../../system/socket_address.ts";
import { type Accepted, listenAt, type Listener, peerProcess } from "../../system/stream_socket.ts";
import { openLibrary, Option, SocketType } from "../../zmq/library.ts";
import { Context } from "../../zmq/socket.ts";
import { run } from "../rig/commands.ts";
import { getOption, testLibc } from "../rig/descriptors.ts";
import { Folder } from "../rig/folder.ts";
import { until } from "../rig/wait.ts";

const libc = testLibc();
const { symbols } = libc;
const linux = Deno.build.os === "linux";

/** What libzmq binds, or says; the port that the system chose is left out. */
function bindByLibzmq(endpoint: string, ipv6: boolean): string {
  const context = new Context(openLibrary(libc.path));
  const socket = context.socket(SocketType.ROUTER);
  try {
    if (ipv6) socket.set(Option.IPV6, 1);
    return withoutPort(endpoint, socket.bind(endpoint));
  } catch (error) {
    return (error as Error).message;
  } finally {
    socket.close(0);
    context.terminateSync();
  }
}

function bindHere(endpoint: string, ipv6: boolean): string {
  try {
    const listener = listenAt(libc, endpoint, { ipv6 });
    listener.close();
    return withoutPort(endpoint, listener.endpoint);
  } catch (error) {
    return (error as Error).message;
  }
}

function withoutPort(endpoint: string, bound: string): string {
  if (!/:[0*]$/.test(endpoint)) return bound.replace(/tmp\w{6}\/socket$/, "tmp…/socket");
  assert(/:[1-9]\d*$/.test(bound), bound);
  return bound.replace(/\d+$/, "0");
}

const HOSTS = [
  "127.0.0.1",
  "*",
  "0.0.0.0",
  "lo",
  "eth0",
  "localhost",
  "host.invalid",
  "nosuchinterface0",
  "127.1",
  "127",
  "0x7f.1",
  "0177.0.0.1",
  "127.0.0.256",
  "1.2.3.4",
  "255.255.255.255",
  "224.0.0.1",
  "[::1]",
  "[::]",
  "[*]",
  "[::ffff:127.0.0.1]",
  "[::ffff:7f00:1]",
  "[0:0:0:0:0:0:0:1]",
  "[2001:db8::1]",
  "[fe80::1]",
  "[fe80::1%lo]",
  "[fe80::1%1]",
  "[::1%lo]",
  "[::1%nosuchinterface0]",
  "[::1%]",
  "[::1%0]",
  "[::1%x%lo]",
  "127.0.0.1%lo",
  "[ff02::1%lo]",
  "[1::2::3]",
  "[]",
  "[127.0.0.1]",
  "[lo]",
  "lo%lo",
  "*%lo",
  "a b",
  "ä",
];
const PORTS = ["0", "*", "65536", "00", "x", ""];

for (const ipv6 of [false, true]) {
  Deno.test(`listenAt binds what libzmq binds, or fails as it does, with IPv6 ${ipv6 ? "on" : "off"}`, () => {
    const endpoints = [
      ...HOSTS.map((host) => `tcp://${host}:0`),
      ...PORTS.map((port) => `tcp://127.0.0.1:${port}`),
      "tcp://127.0.0.1:1",
      "tcp://:0",
      "tcp://127.0.0.1",
    ];
    // A port of the system's own choice would be another one for each.
    const compared = endpoints.filter((endpoint) => !/:00$/.test(endpoint));
    const outcomes = compared.map((endpoint) => [endpoint, bindHere(endpoint, ipv6)]);
    const theirs = compared.map((endpoint) => [endpoint, bindByLibzmq(endpoint, ipv6)]);
    assert.deepEqual(outcomes, theirs);
    const bound = outcomes.filter(([, outcome]) => outcome?.startsWith("tcp://"));
    assert(
      bound.length >= 8 && bound.length < outcomes.length,
      "Some can be bound and others can't",
    );
  });
}

Deno.test("listenAt binds the same paths as libzmq, or fails as it does", () => {
  using folder = new Folder();
  const paths = [
    `${folder.path}/a`,
    `${folder.path}/none/a`,
    `${folder.path}/${"x".repeat(107 - folder.path.length - 1)}`,
    `${folder.path}/${"x".repeat(108 - folder.path.length - 1)}`,
    `${folder.path}/ä`,
    folder.path,
    `${folder.path}/`,
    "*",
    ...linux ? ["@", "@zmq-prefork-test", `@${"x".repeat(106)}`, `@${"x".repeat(107)}`] : [],
  ];
  for (const path of paths) {
    const endpoint = `ipc://${path}`;
    assert.equal(bindHere(endpoint, false), bindByLibzmq(endpoint, false));
    assert.equal(bindHere(endpoint, true), bindByLibzmq(endpoint, true));
  }
});

Deno.test("listenAt says that an address is in use, as libzmq does, and whoever has it keeps it", () => {
  const first = listenAt(libc, "tcp://127.0.0.1:0", { ipv6: false });
  const message = `Cannot bind to "${first.endpoint}": Address already in use`;
  assert.equal(bindHere(first.endpoint, false), message);
  assert.equal(bindByLibzmq(first.endpoint, false), message);
  const name = `ipc://@zmq-prefork-test-${crypto.randomUUID()}`;
  if (linux) {
    const abstract = listenAt(libc, name, { ipv6: false });
    assert.equal(bindHere(name, false), `Cannot bind to "${name}": Address already in use`);
    abstract.close();
    assert.equal(bindHere(name, false), name, "Its end frees it");
  }
  first.close();
  assert.equal(bindHere(first.endpoint, false), first.endpoint);
});

Deno.test("listenAt replaces what lies at a path, and leaves its own file there unless it chose the path", () => {
  using folder = new Folder();
  const path = folder.write("socket", "not a socket");
  const listener = listenAt(libc, `ipc://${path}`, { ipv6: false });
  assert.equal(Deno.lstatSync(path).isSocket, true);
  // As with libzmq, all that the umask lets may connect.
  assert.equal((Deno.lstatSync(path).mode ?? 0) & 0o777, 0o777 & ~Deno.umask());
  listener.close();
  listener.close();
  assert.equal(Deno.lstatSync(path).isSocket, true);
  const chosen = listenAt(libc, "ipc://*", { ipv6: false });
  const file = chosen.endpoint.slice("ipc://".length);
  const parent = file.slice(0, file.lastIndexOf("/"));
  assert.equal(Deno.lstatSync(file).isSocket, true);
  assert.equal((Deno.lstatSync(parent).mode ?? 0) & 0o777, 0o700);
  chosen.close();
  assert.throws(() => Deno.lstatSync(parent), Deno.errors.NotFound);
});

// ---- connections ----

const hasIpv6 = bindHere("tcp://[::1]:0", true).startsWith("tcp://");

async function accept(listener: Listener): Promise<Accepted> {
  return await until("a connection comes", () => {
    const accepted = listener.accept();
    assert.notEqual(accepted, "exhausted");
    return typeof accepted === "string" ? undefined : accepted;
  });
}

function portOf({ endpoint }: Listener): number {
  return Number(/\d+$/.exec(endpoint)?.[0]);
}

Deno.test("Listener accepts connections with the peer's address, and none when none is there", async () => {
  for (
    const [endpoint, hostname, address, ip] of [
      ["tcp://127.0.0.1:0", "127.0.0.1", "127.0.0.1", [127, 0, 0, 1]],
      ["tcp://*:0", "127.0.0.1", "::ffff:127.0.0.1", [127, 0, 0, 1]],
      ["tcp://[::1]:0", "::1", "::1", [...Array(15).fill(0), 1]],
    ] as const
  ) {
    const ipv6 = endpoint !== "tcp://127.0.0.1:0";
    if (ipv6 && !hasIpv6) continue;
    const listener = listenAt(libc, endpoint, { ipv6 });
    assert.equal(listener.accept(), "none");
    using peer = await Deno.connect({ hostname, port: portOf(listener) });
    const accepted = await accept(listener);
    assert.equal(accepted.address, address);
    assert.deepEqual([...accepted.ip ?? []], ip);
    assert.equal(listener.accept(), "none");
    await peer.write(new Uint8Array([1, 2, 3]));
    const bytes = new Uint8Array(10);
    const size = await until("bytes come", () => {
      const size = symbols.recv(accepted.fd, bytes, 10, NO_WAIT);
      return size >= 0 && size;
    });
    assert.deepEqual([...bytes.subarray(0, size)], [1, 2, 3]);
    symbols.close(accepted.fd);
    assert.equal(await peer.read(bytes), null);
    listener.close();
  }
});

Deno.test("connections are without delay and find dead hosts, as their listener was told", async () => {
  const probes = { idle: 30, interval: 10, count: 3 };
  const listener = listenAt(libc, "tcp://127.0.0.1:0", { ipv6: false, probes });
  using _peer = await Deno.connect({ port: portOf(listener) });
  const { fd } = await accept(listener);
  const option = (level: number, name: number) => getOption(libc, fd, level, name);
  assert.notEqual(option(Level.TCP, TcpOption.NODELAY), 0);
  assert.notEqual(option(Level.SOCKET, SocketOption.KEEPALIVE), 0);
  assert.equal(option(Level.TCP, TcpOption.KEEPIDLE), 30);
  assert.equal(option(Level.TCP, TcpOption.KEEPINTVL), 10);
  assert.equal(option(Level.TCP, TcpOption.KEEPCNT), 3);
  if (linux) assert.equal(option(Level.TCP, TcpOption.USER_TIMEOUT), 60_000);
  symbols.close(fd);
  listener.close();
  const plain = listenAt(libc, "tcp://127.0.0.1:0", { ipv6: false });
  using _other = await Deno.connect({ port: portOf(plain) });
  const accepted = await accept(plain);
  assert.equal(getOption(libc, accepted.fd, Level.SOCKET, SocketOption.KEEPALIVE), 0);
  symbols.close(accepted.fd);
  plain.close();
});

Deno.test("Listener takes a connection that was reset before it was accepted, and reads its end", async () => {
  const listener = listenAt(libc, "tcp://127.0.0.1:0", { ipv6: false });
  const fd = openStream(libc, Family.INET);
  const linger = new Uint8Array(new Int32Array([1, 0]).buffer); // struct linger: its end is a reset
  const SO_LINGER = linux ? 13 : 0x80;
  assert.equal(symbols.setsockopt(fd, Level.SOCKET, SO_LINGER, linger, 8), 0);
  const address = new Uint8Array(128);
  const size = new Uint32Array([128]);
  symbols.getsockname(listener.fd, address, new Uint8Array(size.buffer));
  symbols.connect(fd, address, size[0] ?? 0);
  symbols.close(fd);
  const accepted = await accept(listener);
  const bytes = new Uint8Array(1);
  await until("the reset is here", () => {
    // Its first sign is an error, and each one after it the end.
    symbols.recv(accepted.fd, bytes, 1, NO_WAIT);
    return symbols.recv(accepted.fd, bytes, 1, NO_WAIT) === 0;
  });
  symbols.close(accepted.fd);
  listener.close();
});

Deno.test("unix connections have no address, and the system knows whose they are", async () => {
  using folder = new Folder();
  const path = `${folder.path}/socket`;
  const listener = listenAt(libc, `ipc://${path}`, { ipv6: false });
  using _peer = await Deno.connect({ transport: "unix", path });
  const { fd, address, ip } = await accept(listener);
  assert.deepEqual([address, ip], ["", undefined]);
  const self = { pid: Deno.pid, uid: Deno.uid(), gid: Deno.gid() };
  assert.deepEqual(peerProcess(libc, fd), self);
  symbols.close(fd);
  assert.equal(peerProcess(libc, fd), undefined);
  listener.close();
});

Deno.test(
  "Listener says that it is exhausted while no file can be opened, and accepts as soon as one can",
  { ignore: !linux },
  async () => {
    const program = `
    import { openLibc, openStream } from ${
      JSON.stringify(new URL("../../system/libc.ts", import.meta.url).href)
    };
    import { listenAt } from ${
      JSON.stringify(new URL("../../system/stream_socket.ts", import.meta.url).href)
    };
    const libc = openLibc(${JSON.stringify(libc.path)});
    const listener = listenAt(libc, "tcp://127.0.0.1:0", { ipv6: false });
    const peer = await Deno.connect({ port: Number(/\\d+$/.exec(listener.endpoint)[0]) });
    const fds = [];
    try { for (;;) fds.push(openStream(libc, 1)); } catch (error) { console.log(error.message); }
    console.log(listener.accept());
    try { listenAt(libc, "tcp://127.0.0.1:1234", { ipv6: false }); } catch (error) { console.log(error.message); }
    for (const fd of fds) libc.symbols.close(fd);
    console.log(typeof listener.accept(), listener.accept());
    Deno.exit(0);`;
    const limited = ["-c", 'ulimit -n 128; exec "$0" run -A --no-lock -', Deno.execPath()];
    const { stdout, stderr } = await run("sh", limited, { stdin: program, env: { NO_COLOR: "1" } });
    assert.deepEqual(stdout.split("\n"), [
      "Cannot open a socket: Too many open files",
      "exhausted",
      'Cannot bind to "tcp://127.0.0.1:1234": Too many open files',
      "object none",
      "",
    ], stderr);
  },
);

// ---- addresses as text ----

Deno.test("addresses are written as the C library writes them", () => {
  const { getnameinfo } = Deno.dlopen(libc.path, {
    getnameinfo: {
      parameters: ["buffer", "u32", "buffer", "u32", "pointer", "u32", "i32"],
      result: "i32",
    },
  }).symbols;
  const NI_NUMERICHOST = linux ? 1 : 2;
  const random = (size: number) => crypto.getRandomValues(new Uint8Array(size));
  for (let times = 0; times < 2000; times++) {
    const ip = random(times % 5 === 0 ? 4 : 16);
    // Zeros, and what may stand for an IPv4 address, are rare among random ones.
    if (ip.length === 16) {
      for (let word = 0; word < 8; word++) {
        if (times % 3 > 0 && Math.random() < 0.6) ip.fill(0, 2 * word, 2 * word + 2);
      }
      if (times % 4 === 0) ip.set(random(2).fill(Math.random() < 0.5 ? 0xff : 0), 10);
      if (times % 8 === 0) ip.fill(0, 0, 10);
    }
    // Link-local ones have a scope, which is not theirs alone.
    if (ip[0] === 0xfe || ip[0] === 0xff) ip[0] = 0x20;
    const address = inetAddress(ip);
    const host = new Uint8Array(64);
    assert.equal(getnameinfo(address, address.length, host, 64, null, 0, NI_NUMERICHOST), 0);
    const text = new TextDecoder().decode(host.subarray(0, host.indexOf(0)));
    assert.equal(ipText(ip), text);
  }
});

Deno.test("addresses that are cut short, or of other families, are none", () => {
  const inet = inetAddress(new Uint8Array([1, 2, 3, 4]));
  assert.deepEqual(readAddress(inet, 16)?.family, "inet");
  for (let size = 0; size < 16; size++) assert.equal(readAddress(inet, size), undefined);
  const inet6 = inetAddress(new Uint8Array(16));
  assert.deepEqual(readAddress(inet6, 28)?.family, "inet6");
  assert.equal(readAddress(inet6, 27), undefined);
  assert.equal(readAddress(new Uint8Array(128).fill(99), 128), undefined);
  for (const path of ["/a/b", "@name", "ä"]) {
    const address = unixAddress(path) ?? new Uint8Array();
    assert.deepEqual(readAddress(address, address.length), { family: "unix", path });
  }
  assert.deepEqual(readAddress(unixAddress("/a") ?? inet, 2), { family: "unix", path: "" });
  const room = linux ? 107 : 103;
  assert.equal(unixAddress("x".repeat(room + 1)), undefined);
  assert.equal(unixAddress("ä".repeat(room / 2 + 1)), undefined);
  assert.equal(unixAddress("x".repeat(room))?.length, room + 2);
});
