/**
 * A scenario about peers that send random bytes: what is not ZeroMQ at all, and what nearly is.
 *
 * @module
 */

import { startLoad } from "../bench/load.ts";
import { openFiles } from "../tests/rig/processes.ts";
import { randomNumbers } from "../tests/rig/random.ts";
import { ServerProcess } from "../tests/rig/server_process.ts";
import { bytes } from "../tests/rig/text.ts";
import type { Transport } from "../tests/rig/transports.ts";
import { pause, until } from "../tests/rig/wait.ts";
import { onEachTransport } from "./each_transport.ts";
import { describe, isFlawless } from "./figures.ts";
import type { Outcome, Scale, Scenario } from "./scenario.ts";

type Frame = Uint8Array<ArrayBuffer>;
type Random = (below: number) => number;

const STREAMS = 100_000;
/** Raw connections at a time. */
const CONNECTIONS = 50;
/** How many more or fewer file descriptors there may be when all have gone. */
const FD_MARGIN = 2;
/** How long a raw connection waits to be closed, ms. */
const PATIENCE = 2000;

/** Good clients along with the noise. */
const TRAFFIC = { clients: 4, window: 4, size: 100, correlate: true, grace: 30_000 };

/** Raw connections say anything but ZMTP, or nearly ZMTP. */
async function randomStreams(scale: Scale, transport: Transport): Promise<Outcome> {
  const args = ["--workers", "2", "--backend", "tcp://127.0.0.1:0", ...transport.args];
  await using server = await ServerProcess.start({ args });
  const before = await quietFds(server);
  await using load = startLoad({ ...TRAFFIC, endpoint: server.endpoint });
  const streams = new Streams(scale.of(STREAMS));
  const connections = Array.from({ length: CONNECTIONS }, () => connectAll(server, streams));
  await Promise.all(connections);
  load.stop();
  const figures = await load.figures;
  const back = (fds: number) => Math.abs(fds - before) <= FD_MARGIN;
  const after = await until("the connections are closed", () => back(openFiles(server.pid)))
    .then(() => openFiles(server.pid), () => openFiles(server.pid));
  const { intruders, malformed } = await server.state();
  const exits = server.lines.filter(({ message }) => message === "worker exited").length;
  return {
    reached: back(after) && exits === 0 && isFlawless(figures),
    measured:
      `${streams.sent} streams, of which ${malformed} malformed requests and ${intruders} ` +
      `messages of no worker came through; ${exits} workers ended; ${before} fds before, ${after} ` +
      `after; good clients: ${describe(figures)}`,
  };
}

/** Sends streams until there are no more; throws with the last ones once the server is gone. */
async function connectAll({ endpoint, backend }: ServerProcess, streams: Streams): Promise<void> {
  for (let stream = streams.next(); stream !== undefined; stream = streams.next()) {
    const port = Number((streams.sent % 2 === 0 ? endpoint : backend).split(":").at(-1));
    try {
      await exchange(port, stream);
    } catch (error) {
      if (error instanceof Deno.errors.ConnectionRefused) throw new Error(streams.suspects);
      if (!ENDINGS.some((ending) => error instanceof ending)) throw error;
    }
  }
}

/** How a connection may end: by the other side, or by this one when it has waited long enough. */
const ENDINGS = [
  Deno.errors.ConnectionReset,
  Deno.errors.BrokenPipe,
  Deno.errors.NotConnected,
  Deno.errors.Interrupted,
  Deno.errors.BadResource,
];

/** Sends a stream, and lets the other side read it all before the connection ends. */
async function exchange(port: number, { handshake, rest }: Stream): Promise<void> {
  const connection = await Deno.connect({ hostname: "127.0.0.1", port });
  const close = () => {
    try {
      connection.close();
    } catch {
      // It is closed.
    }
  };
  const timer = setTimeout(close, PATIENCE);
  try {
    const answer = new Uint8Array(1024);
    await writeAll(connection, handshake);
    for (let read = 0; handshake.length > 0 && read < HANDSHAKE_BYTES;) {
      read += await connection.read(answer) ?? HANDSHAKE_BYTES;
    }
    await writeAll(connection, rest);
    await connection.closeWrite();
    while (await connection.read(answer) !== null);
  } finally {
    clearTimeout(timer);
    close();
  }
}

async function writeAll(connection: Deno.Conn, content: Frame): Promise<void> {
  for (let at = 0; at < content.length;) at += await connection.write(content.subarray(at));
}

/** File descriptors of a server before anybody came, workers' own included. */
function quietFds(server: ServerProcess): Promise<number> {
  let last = 0;
  return until("the server is at rest", async () => {
    const fds = openFiles(server.pid);
    const rests = fds === last;
    last = fds;
    await pause(200);
    return rests && fds;
  });
}

/** ZMTP 3.0's greeting up to the mechanism, RFC 23: signature, version. */
const GREETING = [0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3];
const GREETING_BYTES = 64;
/** What a ROUTER says before it takes messages: a greeting and READY. */
const HANDSHAKE_BYTES = 107;
/** ZMTP 2.0's: signature, revision 1, DEALER, an empty identity. */
const GREETING_2 = [0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 1, 5, 0, 0];
/** ZMTP 1.0's: an empty identity. */
const GREETING_1 = [1, 0];
const HTTP = bytes(
  "GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n",
);
/** The start of TLS: a handshake record with a ClientHello. */
const TLS = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
const MECHANISMS = ["NULL", "PLAIN", "CURVE", "GSSAPI", "", "null", "ABCDEFGHIJKLMNOPQRST"];
const TYPES = ["DEALER", "REQ", "ROUTER", "REP", "PUB", "STREAM", "", "X".repeat(300)];
const COMMANDS = ["READY", "ERROR", "PING", "PONG", "SUBSCRIBE", "CANCEL", "HELLO", "INITIATE", ""];
/** Flags of a ZMTP frame, RFC 23. */
const Flags = { more: 1, long: 2, command: 4 };

/** A byte stream: the handshake, if that is right and to be answered, and the rest. */
interface Stream {
  handshake: Frame;
  rest: Frame;
}

/** Byte streams from nonsense to what is nearly right. */
class Streams {
  readonly #random: Random;
  readonly #count: number;
  readonly #last: Frame[] = [];
  /** How many were made. */
  sent = 0;

  constructor(count: number) {
    this.#count = count;
    this.#random = randomNumbers(count);
  }

  /** The next one; undefined: that was all. */
  next(): Stream | undefined {
    if (this.sent >= this.#count) return undefined;
    this.sent++;
    const right = this.#random(3) === 0;
    const handshake = new Uint8Array(right ? this.#handshake() : []);
    const rest = new Uint8Array(this.#spoil(right ? this.#frames() : this.#make()));
    this.#last.push(new Uint8Array([...handshake, ...rest]));
    if (this.#last.length > 2 * CONNECTIONS) this.#last.shift();
    return { handshake, rest };
  }

  /** A right one, to which a ROUTER says READY. */
  #handshake(): number[] {
    const mechanism = [...bytes("NULL")];
    const greeting = [...GREETING, 1, ...mechanism, ...Array(GREETING_BYTES).fill(0)];
    const type = this.#property("Socket-Type", bytes("DEALER"), 0);
    return [...greeting.slice(0, GREETING_BYTES), ...this.#command("READY", type)];
  }

  /** Those among which the one is that ended the server. */
  get suspects(): string {
    const hex = this.#last.map((stream) => stream.toHex());
    return `the server has ended after one of ${hex.join(" ")}`;
  }

  #make(): number[] {
    const random = this.#random;
    switch (random(10)) {
      case 0:
        return this.#noise(1 + random(300));
      case 1:
        return [...HTTP];
      case 2:
        return [...TLS, ...this.#noise(random(500))];
      case 3:
        return [...GREETING_1, ...this.#frames1()];
      case 4:
        return [...GREETING_2, ...this.#frames()];
      case 5:
        return [...this.#greeting(), ...this.#noise(random(300))];
      case 6:
        return [...this.#greeting(), ...this.#frames()];
      default:
        return [...this.#greeting(), ...this.#ready(), ...this.#frames()];
    }
  }

  /** Leaves some as they are, cuts some and changes bytes of others. */
  #spoil(stream: number[]): number[] {
    const random = this.#random;
    const kind = stream.length === 0 ? 3 : random(4);
    if (kind === 0) return stream.slice(0, 1 + random(stream.length));
    if (kind > 1) return stream;
    const spoilt = [...stream];
    for (let times = random(5); times >= 0; times--) spoilt[random(stream.length)] = random(256);
    return spoilt;
  }

  #greeting(): number[] {
    const usual = this.#random(4) > 0;
    const mechanism = [...bytes(usual ? "NULL" : this.#one(MECHANISMS))];
    const greeting = [...GREETING, usual ? 1 : this.#random(256), ...mechanism];
    return [...greeting, ...Array(GREETING_BYTES).fill(0)].slice(0, GREETING_BYTES);
  }

  #ready(): number[] {
    const usual = this.#random(2) > 0;
    const type = bytes(usual ? "DEALER" : this.#one(TYPES));
    const identity = usual ? [] : this.#noise(this.#random(this.#random(2) * 300 + 10));
    const properties = [
      ...this.#property("Socket-Type", type),
      ...this.#property("Identity", identity),
    ];
    const others = usual ? [] : this.#property("X-".repeat(this.#random(140)), this.#noise(20));
    return this.#command("READY", [...properties, ...others]);
  }

  /** One in `spoilt` has a random size; 0: none. */
  #property(name: string, value: Iterable<number>, spoilt = 20): number[] {
    const content = [...value];
    const { length } = content;
    const size = spoilt > 0 && this.#random(spoilt) === 0
      ? this.#noise(4)
      : [0, 0, length >> 8, length & 255];
    return [name.length & 255, ...bytes(name), ...size, ...content];
  }

  #command(name: string, content: number[]): number[] {
    return this.#frame(Flags.command, [name.length, ...bytes(name), ...content]);
  }

  #frames(): number[] {
    return Array.from({ length: this.#random(6) }, () => {
      if (this.#random(3) > 0) return this.#frame(this.#random(2), this.#noise(this.#random(400)));
      if (this.#random(3) > 0) {
        return this.#command(this.#one(COMMANDS), this.#noise(this.#random(60)));
      }
      // A size that no frame has.
      return [this.#random(8), ...this.#noise(8), ...this.#noise(this.#random(50))];
    }).flat();
  }

  /** A frame of ZMTP 2 and 3: short where it can be, mostly. */
  #frame(flags: number, content: number[]): number[] {
    const { length } = content;
    if (length < 256 && this.#random(4) > 0) return [flags, length, ...content];
    return [flags | Flags.long, 0, 0, 0, 0, 0, 0, length >> 8, length & 255, ...content];
  }

  /** Frames of ZMTP 1: the size, with the flags, in front of the flags. */
  #frames1(): number[] {
    return Array.from({ length: this.#random(6) }, () => {
      const content = this.#noise(this.#random(200));
      return [content.length + 1, this.#random(2), ...content];
    }).flat();
  }

  #noise(size: number): number[] {
    return Array.from({ length: size }, () => this.#random(256));
  }

  #one(words: readonly string[]): string {
    return words[this.#random(words.length)] ?? "";
  }
}

/** Peers that send random bytes. */
export const scenarios: Scenario[] = [{
  id: "R12",
  title:
    "100,000 random byte streams at both tcp ports, along with good clients, on each transport",
  figure:
    `0 crashes, but for libzmq's own where an automatic identity is guessed; fds ± ${FD_MARGIN}`,
  run: onEachTransport(randomStreams),
}];
