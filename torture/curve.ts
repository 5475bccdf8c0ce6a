/**
 * Scenarios about peers that want to talk to a server that asks for keys.
 *
 * @module
 */

import { Client } from "../client.ts";
import { KeyRing } from "../tests/rig/key_ring.ts";
import { randomNumbers } from "../tests/rig/random.ts";
import { ServerProcess } from "../tests/rig/server_process.ts";
import { bytes } from "../tests/rig/text.ts";
import { until } from "../tests/rig/wait.ts";
import { command, dial, greeting, nullReady } from "../tests/rig/zmtp.ts";
import { type KeyPair, makeKeyPair, prove } from "../zmq/curve.ts";
import { Option, SocketType } from "../zmq/library.ts";
import { locateLibrary } from "../zmq/locate.ts";
import { MessagePool } from "../zmq/message.ts";
import { Context, type Socket } from "../zmq/socket.ts";
import type { Outcome, Scale, Scenario } from "./scenario.ts";

const ATTEMPTS_OF_A_KIND = 2000;
/** Attempts at a time. */
const WIDTH = 20;
/** Requests that the good client has under way. */
const WINDOW = 4;
const NOISE_BYTES = 300;
/** So long that each socket tries once, ms. */
const RECONNECT_INTERVAL = 60_000;

/** What came of the attempts of one kind. */
interface Attempts {
  /** Those that the server has ended. */
  made: number;
  /** Those that the server has let in. */
  in: number;
  /** Those that were answered. */
  answered: number;
}

/** Counts what the server lets through to attempts. */
class Watch {
  readonly attempts: Attempts = { made: 0, in: 0, answered: 0 };

  /** What a server has sent over a whole connection; all of a handshake's commands have plain names. */
  add(heard: string): void {
    this.attempts.made++;
    if (heard.includes("\x05READY")) this.attempts.in++;
    if (heard.includes("\x07MESSAGE") || heard.includes("hello")) this.attempts.answered++;
  }
}

/** Goes through `count` attempts, some at a time. */
async function inParallel(count: number, attempt: (index: number) => Promise<void>): Promise<void> {
  let next = 0;
  const lane = async () => {
    while (next < count) await attempt(next++);
  };
  await Promise.all(Array.from({ length: WIDTH }, lane));
}

// ---- by hand ----

/** Says something, and nothing more; gives all that the server says until it hangs up. */
async function say(endpoint: string, ...parts: Uint8Array[]): Promise<string> {
  using connection = await dial(endpoint);
  let heard = "";
  try {
    for (const part of parts) await connection.write(part);
    await connection.closeWrite();
    const chunk = new Uint8Array(4096);
    const decoder = new TextDecoder("latin1");
    for (let size; (size = await connection.read(chunk)) !== null;) {
      heard += decoder.decode(chunk.subarray(0, size));
    }
  } catch (error) {
    if (!isHangUp(error)) throw error;
  }
  return heard;
}

/** Either side may hang up in the middle of a word. */
function isHangUp(error: unknown): boolean {
  const { BadResource, BrokenPipe, ConnectionReset, Interrupted, NotConnected } = Deno.errors;
  return [BadResource, BrokenPipe, ConnectionReset, Interrupted, NotConnected]
    .some((known) => error instanceof known);
}

/** A request of one frame, as ZMTP sends it where nothing is encrypted. */
const REQUEST = Uint8Array.from([1, 0, 0, 5, ...bytes("hello")]);
const PLAIN_HELLO = command("HELLO", Uint8Array.from([5, ...bytes("alice"), 1, 120]));

type Kind = (endpoint: string, count: number) => Promise<Attempts>;

const withoutMechanism: Kind = async (endpoint, count) => {
  const watch = new Watch();
  await inParallel(count, async () => {
    watch.add(await say(endpoint, greeting("NULL"), nullReady(), REQUEST));
  });
  return watch.attempts;
};

const plain: Kind = async (endpoint, count) => {
  const watch = new Watch();
  await inParallel(count, async () => {
    watch.add(await say(endpoint, greeting("PLAIN"), PLAIN_HELLO, nullReady(), REQUEST));
  });
  return watch.attempts;
};

const noise: Kind = async (endpoint, count) => {
  const watch = new Watch();
  const random = randomNumbers(17);
  await inParallel(count, async () => {
    const size = 1 + random(NOISE_BYTES);
    watch.add(await say(endpoint, Uint8Array.from({ length: size }, () => random(256))));
  });
  return watch.attempts;
};

// ---- by libzmq ----

/** Passes connections on to a server, and counts what it lets through. */
class Relay {
  readonly #listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  readonly #endpoint: string;
  readonly watch = new Watch();

  constructor(endpoint: string) {
    this.#endpoint = endpoint;
    this.#accept();
  }

  get endpoint(): string {
    return `tcp://127.0.0.1:${this.#listener.addr.port}`;
  }

  async #accept(): Promise<void> {
    for await (const connection of this.#listener) this.#pass(connection);
  }

  /** Until one side hangs up; then the other one is hung up on. */
  async #pass(near: Deno.TcpConn): Promise<void> {
    const far = await dial(this.#endpoint);
    const heard: string[] = [];
    const decoder = new TextDecoder("latin1");
    const ways = [
      carry(near, far, () => {}),
      carry(far, near, (chunk) => heard.push(decoder.decode(chunk))),
    ];
    await Promise.race(ways);
    near.close();
    far.close();
    await Promise.all(ways);
    this.watch.add(heard.join(""));
  }

  [Symbol.dispose](): void {
    this.#listener.close();
  }
}

async function carry(
  from: Deno.Conn,
  to: Deno.Conn,
  see: (chunk: Uint8Array) => void,
): Promise<void> {
  const chunk = new Uint8Array(4096);
  try {
    for (let size; (size = await from.read(chunk)) !== null;) {
      see(chunk.subarray(0, size));
      await to.write(chunk.subarray(0, size));
    }
  } catch (error) {
    if (!isHangUp(error)) throw error;
  }
}

/** Sockets of libzmq that ask, each with a key of its own, one batch after the other. */
async function askWithKeys(endpoint: string, count: number, server: () => string) {
  const library = locateLibrary(Deno.env.get("ZMQ_LIBRARY"));
  const message = new MessagePool(library).take();
  const context = new Context(library);
  using relay = new Relay(endpoint);
  const { attempts } = relay.watch;
  const open = (own: KeyPair): Socket => {
    const socket = context.socket(SocketType.DEALER);
    prove(socket, own, server());
    socket.set(Option.RECONNECT_IVL, RECONNECT_INTERVAL);
    socket.connect(relay.endpoint);
    socket.sendMore(bytes(""));
    socket.sendLast(bytes("hello"));
    return socket;
  };
  while (attempts.made < count) {
    const before = attempts.made;
    const sockets = Array.from({ length: WIDTH }, () => open(makeKeyPair(library)));
    await until("all are denied", () => attempts.made >= before + WIDTH);
    attempts.answered += sockets.filter((socket) => socket.receive(message) >= 0).length;
    for (const socket of sockets) socket.close(0);
  }
  await context.terminate();
  return attempts;
}

function misled(): Kind {
  const library = locateLibrary(Deno.env.get("ZMQ_LIBRARY"));
  return (endpoint, count) => askWithKeys(endpoint, count, () => makeKeyPair(library).publicKey);
}

function unknown(keys: KeyRing): Kind {
  return (endpoint, count) => askWithKeys(endpoint, count, () => keys.server.publicKey);
}

// ---- meanwhile ----

/** A client that may come in, and asks all the time. */
class GoodClient {
  readonly #client: Client;
  readonly #asking: Promise<void>[];
  #over = false;
  answered = 0;
  /** Requests without an answer, or with another one. */
  failed = 0;
  /** The longest wait for an answer, ms. */
  slowest = 0;

  constructor(endpoint: string, keys: KeyRing) {
    const keyFile = keys.writeSecret("good", keys.pair("good").secretKey);
    const curve = { serverKey: keys.server.publicKey, keyFile };
    this.#client = new Client({ endpoint, curve, retries: 0 });
    this.#asking = Array.from({ length: WINDOW }, (_, lane) => this.#ask(lane));
  }

  async #ask(lane: number): Promise<void> {
    for (let number = 0; !this.#over; number++) {
      const body = `${lane} ${number}`;
      const asked = performance.now();
      const answer = await this.#client.request(body).then((reply) => reply.text(), String);
      this.slowest = Math.max(this.slowest, performance.now() - asked);
      if (answer === body) this.answered++;
      else this.failed++;
    }
  }

  /** Stops, once what is under way was answered. */
  async stop(): Promise<void> {
    this.#over = true;
    await Promise.all(this.#asking);
    await this.#client.close();
  }
}

async function badAttempts(scale: Scale): Promise<Outcome> {
  using keys = new KeyRing("good");
  await using server = await ServerProcess.start({ args: [...keys.args, "--workers", "1"] });
  const { endpoint } = server;
  const good = new GoodClient(endpoint, keys);
  const kinds = [withoutMechanism, plain, misled(), unknown(keys), noise];
  const outcomes: Attempts[] = [];
  try {
    for (const kind of kinds) {
      const before = good.answered;
      outcomes.push(await kind(endpoint, scale.of(ATTEMPTS_OF_A_KIND)));
      await until("the good client is served", () => good.answered > before);
    }
  } finally {
    await good.stop();
  }
  const sum = (of: (attempts: Attempts) => number) =>
    outcomes.reduce((all, attempts) => all + of(attempts), 0);
  const [made, entered, answered] = [sum((a) => a.made), sum((a) => a.in), sum((a) => a.answered)];
  const { requests, connections } = await server.state();
  const others = Number(requests) - good.answered;
  const enough = made >= scale.of(ATTEMPTS_OF_A_KIND) * kinds.length;
  return {
    reached: enough && entered + answered + others + good.failed === 0,
    measured:
      `${made} attempts, ${entered} in, ${answered + others} answered, ${connections} left; ` +
      `good client: ${good.answered} answered, ${good.failed} not, ` +
      `slowest ${Math.round(good.slowest)} ms`,
  };
}

/** What must hold at a server that asks for keys. */
export const scenarios: Scenario[] = [{
  id: "R17",
  title:
    "CURVE: 10,000 bad attempts of five kinds (no mechanism, PLAIN, wrong server key, unknown " +
    "client key, raw bytes)",
  figure: "0 in, 0 answered, and a good client is served all the time",
  run: badAttempts,
}];
