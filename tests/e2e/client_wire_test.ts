/** What the client says and takes byte by byte over sockets of its own, against servers by hand. */

import assert from "node:assert/strict";
import { AbandonedError, Client, type Retry } from "../../client.ts";
import { buildStatus } from "../../wire/request.ts";
import { buildRequestHeader } from "../../wire/request_header.ts";
import { buildError, buildPong } from "../../wire/zmtp.ts";
import { echo, FakeServer } from "../rig/fake_server.ts";
import { Folder } from "../rig/folder.ts";
import { frameOf, greetingOf, RawPeer } from "../rig/raw_peer.ts";
import { ServerProcess } from "../rig/server_process.ts";
import { bytes, text } from "../rig/text.ts";
import { LIMIT, until } from "../rig/wait.ts";
import { command, greeting, nullReady } from "../rig/zmtp.ts";

type Bytes = Uint8Array<ArrayBuffer>;

const MORE = 1;
const LONG = 2;
const GREETING_BYTES = 64;
const READY = nullReady({ "Socket-Type": "ROUTER", Identity: "" });

/** Somebody who listens; what he says is the test's. */
class Listener {
  readonly #listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  readonly endpoint = `tcp://127.0.0.1:${this.#listener.addr.port}`;

  async accept(): Promise<RawPeer> {
    return RawPeer.of(await this.#listener.accept());
  }

  /** Accepts, and shakes hands as a ROUTER; the client's greeting and READY. */
  async welcome(version: "3.0" | "3.1" = "3.1"): Promise<{ peer: RawPeer; said: Bytes }> {
    const peer = await this.accept();
    await peer.write(greetingOf(version));
    const hello = await peer.hear(GREETING_BYTES);
    const ready = await peer.command("READY");
    await peer.write(READY);
    return { peer, said: Uint8Array.of(...hello, ...ready) };
  }

  [Symbol.dispose](): void {
    this.#listener.close();
  }
}

/** A request's header frame and its body, as the server has them. */
async function request(peer: RawPeer): Promise<{ header: Bytes; body: Bytes[] }> {
  const [header, delimiter, ...body] = await peer.message();
  assert.ok(header !== undefined && delimiter?.length === 0);
  return { header, body };
}

/** An answer as it goes over the wire. */
function answer(header: Bytes, ...body: Bytes[]): Bytes {
  const frames = [header, new Uint8Array(0), buildStatus(200), ...body];
  return join(frames.map((frame, index) => {
    const more = index < frames.length - 1 ? MORE : 0;
    return frameOf(more | (frame.length > 255 ? LONG : 0), frame);
  }));
}

function join(parts: readonly Uint8Array[]): Bytes {
  return new Uint8Array(parts.flatMap((part) => [...part]));
}

for (const version of ["3.0", "3.1"] as const) {
  Deno.test(`Client shakes hands as a DEALER with its identity when the server speaks ZMTP ${version}`, async () => {
    using listener = new Listener();
    await using client = new Client({ endpoint: listener.endpoint, identity: "ä", retries: 0 });
    const asked = client.request(["one", "two"]);
    const { peer, said } = await listener.welcome(version);
    using _peer = peer;
    assert.deepEqual([...said.subarray(0, 12)], [...greetingOf("3.1").subarray(0, 12)].with(8, 1));
    assert.equal(text(said.subarray(12, 16)), "NULL");
    const properties = text(said.subarray(GREETING_BYTES));
    assert.equal(properties, "\x0bSocket-Type\0\0\0\x06DEALER\x08Identity\0\0\0\x02ä");
    const { header, body } = await request(peer);
    assert.deepEqual(body.map(text), ["one", "two"]);
    await peer.write(answer(header, bytes("yes")));
    assert.equal((await asked).text(), "yes");
  });
}

Deno.test("Client shakes hands when the server speaks ZMTP 2.0", async () => {
  using listener = new Listener();
  await using client = new Client({ endpoint: listener.endpoint, identity: "me", retries: 0 });
  const asked = client.request("one");
  using peer = await listener.accept();
  const ROUTER = 6;
  await peer.write(Uint8Array.of(0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 1, ROUTER, 0, 0));
  assert.deepEqual([...await peer.hear(12)].slice(9), [0x7f, 3, 5]);
  assert.equal(text((await peer.frame()).body), "me");
  const { header } = await request(peer);
  await peer.write(answer(header, bytes("yes")));
  assert.equal((await asked).text(), "yes");
});

Deno.test("Client takes answers when they come byte by byte, and together", async () => {
  using listener = new Listener();
  await using client = new Client({ endpoint: listener.endpoint, retries: 0, timeout: LIMIT });
  const large = new Uint8Array(5000).map((_, index) => index);
  const asked = ["a", "b", "c"].map((body) => client.request(body));
  const { peer } = await listener.welcome();
  using _peer = peer;
  const [a, b, c] = [await request(peer), await request(peer), await request(peer)];
  await peer.writeSingly(answer(a.header, bytes("first"), new Uint8Array(0), large));
  const both = [answer(b.header, large, bytes("last")), answer(c.header, bytes("third"))];
  await peer.write(join(both));
  const replies = await Promise.all(asked);
  assert.deepEqual(replies[0]?.frames, [bytes("first"), new Uint8Array(0), large]);
  assert.deepEqual(replies[1]?.frames, [large, bytes("last")]);
  assert.equal(replies[2]?.text(), "third");
});

Deno.test("Client gives each body in memory of its own, of exact length, while others are under way", async () => {
  await using server = new FakeServer(echo);
  await using client = new Client({ endpoint: server.endpoint, timeout: LIMIT });
  const { port1, port2 } = new MessageChannel();
  try {
    const sizes = Array.from({ length: 300 }, (_, index) => [0, 1, 16, 300, 9000][index % 5] ?? 0);
    await Promise.all(sizes.map(async (size, index) => {
      const sent = new Uint8Array(size).fill(index);
      const { bytes } = await client.request(sent);
      assert.equal(bytes.buffer.byteLength, size);
      assert.deepEqual(bytes, sent);
      port1.postMessage(bytes, [bytes.buffer]);
      assert.equal(bytes.byteLength, 0);
    }));
  } finally {
    port1.close();
    port2.close();
  }
});

Deno.test("Client answers whether it lives, in the middle of a request and when it is idle", async () => {
  using listener = new Listener();
  await using client = new Client({ endpoint: listener.endpoint, retries: 0, timeout: LIMIT });
  const asked = client.request("x");
  const { peer } = await listener.welcome();
  using _peer = peer;
  const { header } = await request(peer);
  const ping = (context: string) => command("PING", Uint8Array.of(0, 0, ...bytes(context)));
  const half = answer(header, bytes("yes"));
  await peer.write(join([half.subarray(0, 26), ping("busy"), half.subarray(26)]));
  assert.deepEqual(await peer.command("PONG"), bytes("busy"));
  assert.equal((await asked).text(), "yes");
  await peer.write(ping("idle"));
  assert.deepEqual(await peer.command("PONG"), bytes("idle"));
});

Deno.test("Client connects anew when the server says nothing for as long as it has said itself", async () => {
  using listener = new Listener();
  await using client = new Client({ endpoint: listener.endpoint, retries: 0, timeout: LIMIT });
  const asked = client.request("x");
  const first = (await listener.welcome()).peer;
  await request(first);
  await first.write(command("PING", Uint8Array.of(0, 2))); // 200 ms
  await first.gone();
  first[Symbol.dispose]();
  using second = (await listener.welcome()).peer;
  const later = client.request("y");
  const { header } = await request(second);
  await second.write(answer(header, bytes("yes")));
  assert.equal((await later).text(), "yes");
  await Promise.all([client.close(), assert.rejects(asked, /closed$/)]);
});

/** What a request ends with. */
async function complaint(client: Client): Promise<string> {
  const error = await client.request("x").then(() => undefined, (error: unknown) => error);
  assert.ok(error instanceof AbandonedError, `${error}`);
  return `${error.reason}: ${error.message.replace(/^.*? ms: /, "")}`;
}

Deno.test("Client has the server's own words while it waits, and what else ends a handshake", async () => {
  const cases: [Bytes, RegExp][] = [
    [join([greetingOf("3.1"), buildError("not allowed")]), /denied .*: not allowed$/],
    [join([greetingOf("3.1"), buildError("400")]), /denied the connection: this client's key or/],
    [join([greetingOf("3.1"), buildError("a\n\x1b[1mb")]), /denied the connection: a\[1mb$/],
    [greeting("CURVE"), /server asks for keys, and this client has none$/],
    [
      bytes("HTTP/1.1 400 Bad Request\r\n\r\n"),
      /failed: what listens there is not a ZeroMQ server$/,
    ],
    [
      join([greetingOf("3.1"), nullReady({ "Socket-Type": "PUB" })]),
      /the handshake fai/,
    ],
    [join([greetingOf("3.1"), buildPong(bytes("x"))]), /the handshake failed/],
    [join([greetingOf("3.1"), Uint8Array.of(0x7f)]), /the handshake failed/],
  ];
  for (const [said, expected] of cases) {
    const listener = new Listener();
    await using client = new Client({ endpoint: listener.endpoint, retries: 0, timeout: LIMIT });
    const asked = assert.rejects(client.request("x"), /closed$/);
    const serving = sayToAll(listener, said);
    await until(`it says ${expected}`, () => expected.test(client.waitingFor ?? ""));
    await Promise.all([client.close(), asked]);
    listener[Symbol.dispose]();
    await serving;
  }
});

/** Says the same to whoever connects, until nobody is listened to any more. */
async function sayToAll(listener: Listener, said: Bytes): Promise<void> {
  for (;;) {
    using peer = await listener.accept().catch(() => undefined);
    if (peer === undefined) return;
    await peer.tryWrite(said);
    await peer.ended();
  }
}

Deno.test("Client leaves a server that breaks the protocol, and gets its answer over the next connection", async () => {
  const huge = frameOf(LONG, new Uint8Array(100), 2n ** 60n);
  const cases: Bytes[] = [
    Uint8Array.of(0x80),
    Uint8Array.of(0x05, 0),
    frameOf(4 | LONG, new Uint8Array(8), 2n ** 40n),
    command("", new Uint8Array(0)).with(1, 0).subarray(0, 2),
    huge,
  ];
  for (const said of cases) {
    using listener = new Listener();
    await using client = new Client({ endpoint: listener.endpoint, retries: 1, timeout: LIMIT });
    const lost = client.request("lost").catch(() => {});
    const first = (await listener.welcome()).peer;
    await request(first);
    await first.write(said);
    // A frame may be as large as it likes: memory is taken as it comes.
    if (said !== huge) await first.gone();
    first[Symbol.dispose]();
    using second = (await listener.welcome()).peer;
    const asked = client.request("x");
    const { header } = await request(second);
    await second.write(answer(header, bytes("yes")));
    assert.equal((await asked).text(), "yes");
    await client.close();
    await lost;
  }
});

Deno.test("Client sends over the next connection what waited for the first, and no request twice", async () => {
  using listener = new Listener();
  await using client = new Client({ endpoint: listener.endpoint, retries: 0, timeout: LIMIT });
  const large = new Uint8Array(8 * 1024 ** 2).fill(7);
  const asked = [client.request(large), client.request("behind"), client.request("last")];
  const first = (await listener.welcome()).peer;
  await first.hear(100_000);
  first[Symbol.dispose]();
  using second = (await listener.welcome()).peer;
  for (const size of [large.length, 6, 4]) {
    const { header, body } = await request(second);
    assert.equal(body[0]?.length, size);
    await second.write(answer(header, bytes(`${size}`)));
  }
  const replies = await Promise.all(asked);
  assert.deepEqual(replies.map((reply) => reply.text()), [`${large.length}`, "6", "4"]);
});

Deno.test("Client needs no retry when the server was restarted while it was idle", async () => {
  using folder = new Folder();
  const endpoint = `ipc://${folder.path}/s`;
  const retries: Retry[] = [];
  await using client = new Client({ endpoint, onRetry: (retry) => retries.push(retry) });
  for (let round = 0; round < 3; round++) {
    await using _server = new FakeServer(echo, endpoint);
    assert.equal((await client.request(`${round}`)).text(), `${round}`);
  }
  assert.deepEqual(retries, []);
});

Deno.test({
  name: "Client reaches an abstract name, and connects from the address that is named",
  ignore: Deno.build.os !== "linux",
  fn: async () => {
    await using abstract = new FakeServer(echo, `ipc://@prefork-${crypto.randomUUID()}`);
    await using client = new Client({ endpoint: abstract.endpoint, retries: 0 });
    assert.equal((await client.request("hi")).text(), "hi");
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const endpoint = `tcp://127.0.0.9:0;127.0.0.1:${listener.addr.port}`;
    await using other = new Client({ endpoint, retries: 0 });
    const asked = other.request("hi");
    using connection = await listener.accept();
    listener.close();
    assert.equal((connection.remoteAddr as Deno.NetAddr).hostname, "127.0.0.9");
    await Promise.all([other.close(), assert.rejects(asked)]);
  },
});

Deno.test("Client says that there is no connection when the host's name is nobody's", async () => {
  const endpoint = "tcp://nobody.invalid:6660";
  await using client = new Client({ endpoint, retries: 0, timeout: 300 });
  assert.match(await complaint(client), /^unconnected: there is no connection to it$/);
});

Deno.test("Client is served by a server of ours over each of its transports", async () => {
  await using server = await ServerProcess.start({});
  const { endpoint } = server;
  for (const transport of ["native", "libzmq"] as const) {
    await using client = new Client({ endpoint, transport, identity: transport });
    assert.equal((await client.request("hello")).frames.length, 1);
  }
});

Deno.test("a cancelled request has a header of its own on the wire", async () => {
  using listener = new Listener();
  await using client = new Client({ endpoint: listener.endpoint, retries: 0, timeout: LIMIT });
  const { signal, abort } = aborter();
  const asked = assert.rejects(client.request("x", { signal }));
  const { peer } = await listener.welcome();
  using _peer = peer;
  const { header } = await request(peer);
  abort();
  const taken = await request(peer);
  const id = new DataView(header.buffer).getUint32(8, true);
  const expected = buildRequestHeader({ type: "cancel", id });
  assert.deepEqual(taken.header.subarray(0, 12), expected.subarray(0, 12));
  assert.deepEqual(taken.body, [new Uint8Array(0)]);
  await asked;
});

function aborter() {
  const controller = new AbortController();
  return { signal: controller.signal, abort: () => controller.abort() };
}
