/**
 * Identities that peers choose: one that comes back is served at once, one that another connection has
 * takes over, and what the former one had asked ends before the newcomer is served.
 */

import { strict as assert } from "node:assert";
import { Census } from "../../ports/census.ts";
import { openLibrary, Option, SocketType } from "../../zmq/library.ts";
import { locateLibrary } from "../../zmq/locate.ts";
import { Message, MessagePool } from "../../zmq/message.ts";
import { Context } from "../../zmq/socket.ts";
import { Folder } from "../rig/folder.ts";
import { Gate } from "../rig/gate.ts";
import { linesOf } from "../rig/log_lines.ts";
import { type Asked, bodyOf } from "../rig/native_front.ts";
import { Peer } from "../rig/peer.ts";
import { ServerProcess } from "../rig/server_process.ts";
import { bytes, text } from "../rig/text.ts";
import { until } from "../rig/wait.ts";
import { ZmqFront } from "../rig/zmq_front.ts";
import { dial, greeting, nullReady } from "../rig/zmtp.ts";
import { KeyRing } from "../rig/key_ring.ts";
import { randomNumbers } from "../rig/random.ts";

const TCP = "tcp://127.0.0.1:0";
/** Debian's, without the draft API: it tells of no connections. */
const PLAIN_LIBRARY = "/usr/lib/x86_64-linux-gnu/libzmq.so.5";
const OURS = locateLibrary(Deno.env.get("ZMQ_LIBRARY")).path;
const REQ = 3;
/**
 * A reply that takes longer to be handed to libzmq was held up by the system: libzmq may have taken in a
 * takeover in the midst of it, after the server's check (docs/protocol.md, Identities).
 */
const INTERRUPTED_MS = 1;

/** Answers; adds the body to `interrupted` if the system has held that up. */
function answer(front: ZmqFront, to: Asked, body: string, interrupted = new Set<string>()): void {
  const startedAt = front.now = performance.now();
  front.reply(to, 200, body);
  if (performance.now() - startedAt > INTERRUPTED_MS) interrupted.add(body);
}

function textOf(asked: Asked): string {
  return bodyOf(asked).join("|");
}

/** Endpoints of both kinds. */
async function onBoth(run: (endpoint: string) => Promise<void>): Promise<void> {
  using folder = new Folder();
  for (const endpoint of [TCP, `ipc://${folder.path}/front`]) await run(endpoint);
}

Deno.test("Frontend ends what a client had asked, and serves the newcomer, when that takes its identity over", () =>
  onBoth(async (endpoint) => {
    await using front = new ZmqFront({ endpoint });
    await using former = new Peer(front.endpoint, { identity: "bob" });
    former.send("", "former");
    const first = await front.request("former");
    await using newcomer = new Peer(front.endpoint, { identity: "bob" });
    newcomer.send("", "newcomer");
    const second = await front.request("newcomer");
    assert.deepEqual(front.gone, [first.client.peer]);
    assert.equal(first.client === second.client, false);
    answer(front, first, "for the former");
    answer(front, second, "for the newcomer");
    assert.deepEqual(await newcomer.receiveText(), ["", "for the newcomer"]);
    assert.equal(front.frontend.replies.undelivered, 1);
    const { takeovers: count, lastTakeover: last } = front.frontend.known;
    const address = endpoint === TCP ? "127.0.0.1" : "";
    assert.deepEqual([count, last], [1, { identity: "bob", address }]);
    assert.deepEqual([front.frontend.known.size, front.frontend.known.connections(0)], [1, 1]);
    assert.equal(former.take(), undefined);
  }));

/** A newcomer that says nothing, once libzmq has let it have its identity. */
async function silentNewcomer(front: ZmqFront, identity: string): Promise<Deno.Conn> {
  const connection = await dial(front.endpoint);
  await connection.write(greeting("NULL"));
  await connection.write(nullReady({ Identity: identity }));
  // libzmq takes it in when it is asked; its notice is not read by that.
  await until(
    "it is taken in",
    () => (front.frontend.port.noteActivity(), front.frontend.port.readable()),
  );
  return connection;
}

Deno.test("Frontend sends a newcomer nothing of the former client when its notice is yet to be read", () =>
  onBoth(async (endpoint) => {
    await using front = new ZmqFront({ endpoint });
    await using former = new Peer(front.endpoint, { identity: "bob" });
    former.send("", "former");
    const asked = await front.request("former");
    front.read();
    using connection = await silentNewcomer(front, "bob");
    answer(front, asked, "for the former");
    assert.deepEqual([front.gone.length, front.frontend.replies.undelivered], [1, 1]);
    front.frontend.close(100);
    const heard = await heardFrom(connection);
    assert.equal(heard.includes("for the former"), false);
    assert.equal(heard.includes("READY"), true);
  }));

/** All that the server says until it closes. */
async function heardFrom(connection: Deno.Conn): Promise<string> {
  let heard = "";
  const chunk = new Uint8Array(4096);
  for (;;) {
    const size = await connection.read(chunk).catch(() => null);
    if (size === null) return heard;
    heard += new TextDecoder("latin1").decode(chunk.subarray(0, size));
  }
}

Deno.test("Frontend counts a newcomer that says nothing, and nobody once it has left", async () => {
  await using front = new ZmqFront();
  await using former = new Peer(front.endpoint, { identity: "bob" });
  former.send("", "former");
  await front.request("former");
  const connection = await silentNewcomer(front, "bob");
  await until("it is known to be another", () => {
    front.read();
    return front.frontend.known.connections(performance.now()) === 1 &&
      front.frontend.known.takeovers === 1;
  });
  assert.deepEqual(front.frontend.known.lastTakeover, { identity: "bob", address: "" });
  connection.close();
  await until("nobody is left", () => {
    front.read();
    return front.frontend.known.connections(performance.now()) === 0;
  });
});

Deno.test("Frontend does not take a client that comes back for one that takes over", async () => {
  await using front = new ZmqFront();
  for (let round = 0; round < 5; round++) {
    await using peer = new Peer(front.endpoint, { identity: "bob" });
    peer.send("", `round ${round}`);
    answer(front, await front.request(`round ${round}`), "answer");
    assert.deepEqual(await peer.receiveText(), ["", "answer"]);
    await peer[Symbol.asyncDispose]();
    await until("it has left", () => {
      front.read();
      return front.frontend.known.connections(performance.now()) === 0;
    });
  }
  assert.deepEqual([front.frontend.known.takeovers, front.gone.length], [0, 5]);
});

Deno.test(
  "Frontend gives an identity to the newcomer when libzmq tells of no connections",
  { ignore: !exists(PLAIN_LIBRARY) },
  () =>
    onBoth(async (endpoint) => {
      await using front = new ZmqFront({ endpoint, library: PLAIN_LIBRARY });
      assert.equal(front.frontend.notified, false);
      await using former = new Peer(front.endpoint, { identity: "bob" });
      former.send("", "former");
      const first = await front.request("former");
      first.client.live = 1; // as a broker counts it
      await former[Symbol.asyncDispose]();
      await using newcomer = new Peer(front.endpoint, { identity: "bob" });
      newcomer.send("", "newcomer");
      const second = await front.request("newcomer");
      assert.deepEqual(front.gone, [first.client.peer]);
      answer(front, first, "for the former");
      answer(front, second, "for the newcomer");
      assert.deepEqual(await newcomer.receiveText(), ["", "for the newcomer"]);
      assert.deepEqual([front.frontend.replies.undelivered, front.frontend.known.takeovers], [
        1,
        1,
      ]);
    }),
);

Deno.test(
  "Frontend sends nothing to an identity whose client has hung up when libzmq tells of no connections",
  { ignore: !exists(PLAIN_LIBRARY) },
  () =>
    onBoth(async (endpoint) => {
      await using front = new ZmqFront({ endpoint, library: PLAIN_LIBRARY });
      const former = new Peer(front.endpoint, { identity: "bob" });
      former.send("", "former");
      const asked = await front.request("former");
      await former[Symbol.asyncDispose]();
      await using newcomer = new Peer(front.endpoint, { identity: "bob" });
      newcomer.send("", "newcomer");
      // It is not read yet: only the system can tell that the former one has hung up.
      await until(
        "it is taken in",
        () => (front.frontend.port.noteActivity(), front.frontend.port.readable()),
      );
      answer(front, asked, "for the former");
      assert.equal(front.frontend.replies.undelivered, 1);
      answer(front, await front.request("newcomer"), "for the newcomer");
      assert.deepEqual(await newcomer.receiveText(), ["", "for the newcomer"]);
    }),
);

function exists(file: string): boolean {
  try {
    return Deno.statSync(file).isFile;
  } catch {
    return false;
  }
}

// A model: peers of a few identities come, ask, are answered, leave and take over in any order

/** A peer that may ask several things at once, in a context that it shares. */
class Asker {
  readonly #socket: ReturnType<Context["socket"]>;
  readonly #frame: Message;
  readonly asked = new Set<string>();
  asks = 0;

  constructor(
    context: Context,
    messages: MessagePool,
    endpoint: string,
    readonly name: string,
    readonly number: number,
    readonly interrupted: ReadonlySet<string>,
  ) {
    this.#socket = context.socket(SocketType.DEALER);
    this.#frame = messages.take();
    this.#socket.setBytes(Option.ROUTING_ID, bytes(name));
    this.#socket.connect(endpoint);
  }

  ask(): string {
    const body = `${this.name} ${this.number}.${++this.asks}`;
    this.asked.add(body);
    this.#socket.sendMore(bytes(""));
    this.#socket.sendLast(bytes(body));
    return body;
  }

  /** Takes what has come, all of which must be for this one, unless its sending was interrupted. */
  check(): string[] {
    const taken: string[] = [];
    this.#socket.noteActivity();
    while (this.#socket.receive(this.#frame) >= 0) {
      const first = text(this.#frame.bytes());
      assert.deepEqual([first, this.#frame.more], ["", true]);
      this.#socket.receive(this.#frame);
      const body = text(this.#frame.bytes());
      const mayHear = this.asked.has(body) || this.interrupted.has(body);
      assert.ok(mayHear, `${this.name} ${this.number} hears "${body}"`);
      taken.push(body);
    }
    return taken;
  }

  close(): void {
    this.#socket.close(0);
  }
}

Deno.test("Frontend gives no client another one's reply, whatever they do in whatever order", () =>
  onBoth(async (endpoint) => {
    const seed = 1 + Math.floor(Math.random() * 2 ** 31);
    const random = randomNumbers(seed);
    await using front = new ZmqFront({ endpoint });
    const opened = openLibrary(OURS);
    const context = new Context(opened);
    const messages = new MessagePool(opened);
    const interrupted = new Set<string>();
    let peers: Asker[] = [];
    let waiting: Asked[] = [];
    let number = 0;
    const open = (name: string) => {
      const peer = new Asker(context, messages, front.endpoint, name, ++number, interrupted);
      peers.push(peer);
      return peer;
    };
    const read = () => {
      front.read();
      waiting.push(...front.requests.splice(0));
    };
    const close = (peer: Asker) => {
      peer.close();
      peers = peers.filter((each) => each !== peer);
    };
    const NAMES = ["a", "b", "c"];
    try {
      for (let step = 0; step < 1500; step++) {
        const peer = peers[random(peers.length)];
        const move = random(10);
        if (move === 0 || peer === undefined) open(NAMES[random(3)] ?? "").ask();
        else if (move === 1 && peers.length > 4) close(peer);
        else if (move < 5) peer.ask();
        else if (move < 7) read();
        else if (waiting.length > 0) {
          const [asked] = waiting.splice(random(waiting.length), 1);
          if (asked !== undefined) answer(front, asked, textOf(asked), interrupted);
        } else await new Promise((resolve) => setTimeout(resolve, random(2)));
        for (const each of peers) each.check();
      }
      for (const peer of [...peers]) close(peer);
      await until(
        "all have left",
        () => (read(), front.frontend.known.connections(performance.now()) === 0),
      );
      // What they had asked is nobody's any more.
      const undelivered = front.frontend.replies.undelivered;
      for (const asked of waiting) answer(front, asked, textOf(asked), interrupted);
      assert.equal(front.frontend.replies.undelivered, undelivered + waiting.length);
      waiting = [];
      for (const name of NAMES) {
        const peer = open(name);
        const body = peer.ask();
        answer(front, await front.request(body), body, interrupted);
        await until("it is answered", () => peer.check().includes(body));
      }
    } catch (error) {
      throw new Error(`Seed ${seed}: ${error}`, { cause: error });
    } finally {
      for (const peer of peers) peer.close();
      await context.terminate();
      // A context may never end whose ROUTER is closed while it loses a peer.
      await until("nobody is left", () => (read(), front.frontend.known.size === 0));
    }
  }));

// The census

const there = () => true;
const nobody = () => false;

Deno.test("Census counts one in doubt until it is known to have left", () => {
  const census = new Census();
  census.notice("bob", bytes("bob"), 0);
  census.notice("bob", bytes("bob"), 100);
  assert.deepEqual([census.endDoubts(100, there), census.size], [[], 1]);
  assert.deepEqual([census.endDoubts(101, nobody), census.size], [[], 0]);
});

Deno.test("Census tells of a takeover when a peer is still there a second after its second notice", () => {
  const census = new Census();
  census.notice("bob", bytes("bob"), 0);
  census.expect(10_000);
  census.notice("bob", bytes("bob"), 100);
  assert.equal(census.size, 2);
  assert.deepEqual(census.endDoubts(1099, there), []);
  assert.deepEqual(census.endDoubts(1100, there), ["bob"]);
  assert.deepEqual([census.endDoubts(9999, there), census.size], [[], 1]);
});

Deno.test("Census tells of a takeover when a peer speaks after its second notice, not after its third", () => {
  const census = new Census();
  const notice = () => census.notice("bob", bytes("bob"), 0);
  const spoke = () => census.spoke("bob", bytes("bob"));
  notice();
  assert.equal(spoke(), false);
  notice();
  assert.deepEqual([spoke(), spoke(), census.size], [true, false, 1]);
  notice();
  notice();
  assert.deepEqual([spoke(), census.size], [false, 1]);
  notice();
  notice();
  notice();
  assert.deepEqual([spoke(), census.size], [true, 1]);
});

Deno.test("Census awaits nobody any more who has come and taken over, or has come back", () => {
  const census = new Census();
  const notice = () => census.notice("bob", bytes("bob"), 0);
  for (let peer = 0; peer < 4; peer++) census.expect(10_000);
  notice();
  assert.equal(census.size, 4);
  notice();
  notice(); // the first one left, and the second one came
  assert.equal(census.size, 3);
  notice();
  census.spoke("bob", bytes("bob")); // the third one has taken over
  assert.equal(census.size, 2);
});

// Servers

/** Asks once over a new REQ socket of this identity, and closes it. */
async function askAs(
  context: Context,
  messages: MessagePool,
  endpoint: string,
  identity: string,
): Promise<string> {
  const socket = context.socket(REQ);
  const frame = messages.take();
  try {
    socket.setBytes(Option.ROUTING_ID, bytes(identity));
    socket.connect(endpoint);
    socket.sendLast(bytes("?"));
    await until(
      "it is answered",
      () => (socket.noteActivity(), socket.receive(frame) >= 0),
      20_000,
    );
    return text(frame.bytes());
  } finally {
    socket.close(0);
    messages.release(frame);
  }
}

Deno.test("the server answers a REQ of a fixed identity each time that it closes and comes back", () =>
  onBoth(async (frontend) => {
    await using server = await ServerProcess.start({ args: ["--frontend", frontend] });
    const opened = openLibrary(OURS);
    const context = new Context(opened);
    const messages = new MessagePool(opened);
    for (let round = 0; round < 300; round++) {
      assert.equal(await askAs(context, messages, server.endpoint, "bob"), "?");
    }
    await context.terminate();
    const { answered, requests } = await server.state();
    assert.deepEqual([answered, requests], [300, 300]);
  }));

Deno.test("the server cancels what a client had asked when another takes its identity over, and says so", async () => {
  using gate = new Gate();
  const handler = `${gate.source}
    export default async (body, ctx) => {
      if (new TextDecoder().decode(body) === "who") return ctx.client.identity;
      ctx.log.info("started");
      await passed();
      ctx.log.info(\`aborted \${ctx.signal.aborted}\`);
      return "late";
    };`;
  const args = [gate.grant, "--workers", "2", "--abort-grace", "0"];
  await using server = await ServerProcess.start({ handler, args });
  // Two that come again would take it from each other all the time.
  const bob = { identity: "bob", after: "never" } as const;
  await using former = new Peer(server.endpoint, bob);
  former.send("", "slow");
  await server.line("started");
  await using newcomer = new Peer(server.endpoint, bob);
  assert.deepEqual(await newcomer.ask("who"), ["bob"]);
  const told = "identities taken over by another connection";
  await server.line(told);
  const [first] = linesOf(server, told);
  assert.deepEqual([first?.count, first?.identity, first?.address], [1, "bob", "127.0.0.1"]);
  gate.open();
  const { message } = await until(
    "it has ended",
    () => server.lines.find(({ message }) => message.startsWith("aborted ")),
  );
  assert.equal(message, "aborted true");
  const { takeovers, abandoned, clients, connections } = await server.state();
  assert.deepEqual([takeovers, abandoned, clients, connections], [1, 1, 1, 1]);
  assert.deepEqual(await newcomer.ask("who"), ["bob"]);
  assert.equal(newcomer.take(), undefined);
  // The log says it at most once a second, whatever the number.
  for (let round = 0; round < 10; round++) {
    await using again = new Peer(server.endpoint, bob);
    assert.deepEqual(await again.ask("who"), ["bob"]);
  }
  assert.ok(linesOf(server, told).length <= 10);
});

Deno.test("the server gives nothing of a user to another one that takes the identity over", async () => {
  using keys = new KeyRing("alice", "bob");
  using gate = new Gate();
  const handler = `${gate.source}
    export default async (body, ctx) => {
      if (new TextDecoder().decode(body) === "who") return ctx.client.user;
      ctx.log.info("started");
      await passed();
      return ctx.client.user + "'s secret";
    };`;
  const args = [...keys.args, gate.grant, "--workers", "2", "--abort-grace", "0"];
  await using server = await ServerProcess.start({ handler, args });
  const peer = (name: string) => {
    const own = keys.pair(name);
    return new Peer(server.endpoint, {
      identity: "x",
      keys: { own, server: keys.server.publicKey },
    });
  };
  await using alice = peer("alice");
  alice.send("", "secret");
  await server.line("started");
  await using bob = peer("bob");
  assert.deepEqual(await bob.ask("who"), ["bob"]);
  gate.open();
  await until("the job has ended", async () => (await server.state()).running === 0);
  assert.deepEqual(await bob.ask("who"), ["bob"]);
  assert.equal(bob.take(), undefined);
});
