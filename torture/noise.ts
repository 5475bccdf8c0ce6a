/**
 * Scenarios about peers that send what is no request: random messages, and random bytes that are no
 * ZeroMQ at all.
 *
 * @module
 */

import { startLoad } from "../bench/load.ts";
import { Peer } from "../tests/rig/peer.ts";
import { randomNumbers } from "../tests/rig/random.ts";
import { bytes, text } from "../tests/rig/text.ts";
import { until } from "../tests/rig/wait.ts";
import {
  buildRequestHeader,
  Code,
  MAX_ENVELOPE_BYTES,
  MAX_ENVELOPE_FRAMES,
  parseRequestHeader,
  parseStatus,
} from "../wire/request.ts";
import { ServerProcess } from "../tests/rig/server_process.ts";
import { describe, isFlawless } from "./ground.ts";
import type { Outcome, Scale, Scenario } from "./scenario.ts";

type Frame = Uint8Array<ArrayBuffer>;
type Random = (below: number) => number;

const MESSAGES = 1_000_000;
/** Messages that are sent before all of them must have been read. */
const BURST = 500;
const MAX_FRAMES = 50;
const MAX_BYTES = 100_000;
const LARGEST = 65_536;
const HEADER_BYTES = 20;
const EMPTY = new Uint8Array(0);
/** What no random message is. */
const LAST_WORD = bytes("that was all of this burst");

const STREAMS = 100_000;
/** Raw connections at a time. */
const CONNECTIONS = 50;
/** File descriptors more or less when all have gone. */
const FD_MARGIN = 2;
/** How long a raw connection waits to be closed, ms. */
const PATIENCE = 2000;

/** Good clients, beside the noise. */
const TRAFFIC = { clients: 4, window: 4, size: 100, correlate: true, grace: 30_000 };

/** Peers that send noise. */
export const scenarios: Scenario[] = [{
  id: "R11",
  title:
    "1,000,000 random messages at the frontend and as many at the backend, good clients beside them",
  figure: "0 crashes, 0 wrong replies; each dropped and counted, or answered as it must be",
  run: randomMessages,
}, {
  id: "R12",
  title: "100,000 random byte streams at both tcp ports, good clients beside them",
  figure:
    `0 crashes, but for libzmq's own where an automatic identity is guessed; fds ± ${FD_MARGIN}`,
  run: randomStreams,
}];

async function randomMessages(scale: Scale): Promise<Outcome> {
  const limits = ["--max-frames", `${MAX_FRAMES}`, "--max-message-size", `${MAX_BYTES}`];
  const args = ["--workers", "1", "--backend", "tcp://127.0.0.1:0", ...limits];
  await using server = await ServerProcess.start({ args });
  await using load = startLoad({ ...TRAFFIC, endpoint: server.endpoint });
  const count = scale.of(MESSAGES);
  const front = await atFrontend(server, count);
  const intruders = await atBackend(server, count);
  load.stop();
  const figures = await load.figures;
  const { malformed, running, queued } = await server.state();
  const exits = server.lines.filter(({ message }) => message === "worker exited").length;
  const exact = intruders === count && malformed === front.malformed &&
    front.wrong + Number(running) + Number(queued) + exits === 0;
  return {
    reached: exact && isFlawless(figures),
    measured: `frontend: ${malformed} of ${front.malformed} malformed counted, ${front.answered} ` +
      `answered, ${front.wrong} wrongly; backend: ${intruders} of ${count} counted; ` +
      `${exits} workers ended; good clients: ${describe(figures)}`,
  };
}

/** Sends random messages to the frontend, and compares what comes back with what must. */
async function atFrontend(server: ServerProcess, count: number) {
  const noise = new Noise(count);
  const sum = { malformed: 0, answered: 0, wrong: 0 };
  await using peer = new Peer(server.endpoint);
  for (let sent = 0; sent < count;) {
    const expected: Expected[] = [];
    for (const end = Math.min(count, sent + BURST); sent < end; sent++) {
      const frames = noise.message();
      send(peer, frames);
      const answer = expect(frames);
      if (answer === undefined) sum.malformed++;
      else expected.push(answer);
    }
    send(peer, [LAST_WORD, EMPTY, EMPTY]);
    for (;;) {
      const reply = await peer.receive();
      // The only worker answers in order, so all the others have come by now.
      if (isSame(reply, [LAST_WORD, EMPTY, EMPTY])) break;
      // What is refused at once overtakes what is not.
      const index = expected.findIndex((one) => isAnswer(reply, one));
      if (index >= 0) expected.splice(index, 1);
      else sum.wrong++;
      sum.answered++;
    }
    sum.wrong += expected.length;
  }
  return sum;
}

/** Sends random messages to the backend; how many were counted as nobody's. */
async function atBackend(server: ServerProcess, count: number): Promise<number> {
  const noise = new Noise(count);
  await using peer = new Peer(server.backend);
  const counted = async () => Number((await server.state()).intruders);
  for (let sent = 0; sent < count;) {
    for (const end = Math.min(count, sent + 10 * BURST); sent < end; sent++) {
      send(peer, noise.message());
    }
    await until("they were read", async () => await counted() >= sent);
  }
  return await counted();
}

/** Raw connections say anything but ZMTP, or nearly ZMTP. */
async function randomStreams(scale: Scale): Promise<Outcome> {
  const args = ["--workers", "2", "--backend", "tcp://127.0.0.1:0"];
  await using server = await ServerProcess.start({ args });
  const before = await quietFds(server);
  await using load = startLoad({ ...TRAFFIC, endpoint: server.endpoint });
  const streams = new Streams(scale.of(STREAMS));
  const connections = Array.from({ length: CONNECTIONS }, () => connectAll(server, streams));
  await Promise.all(connections);
  load.stop();
  const figures = await load.figures;
  const back = (fds: number) => Math.abs(fds - before) <= FD_MARGIN;
  const after = await until("the connections are closed", () => back(fdsOf(server)))
    .then(() => fdsOf(server), () => fdsOf(server));
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
    const fds = fdsOf(server);
    const rests = fds === last;
    last = fds;
    await new Promise((resolve) => setTimeout(resolve, 200));
    return rests && fds;
  });
}

function fdsOf({ pid }: ServerProcess): number {
  return [...Deno.readDirSync(`/proc/${pid}/fd`)].length;
}

function send(peer: Peer, frames: readonly Frame[]): void {
  const last = frames.length - 1;
  frames.forEach((frame, index) => {
    if (index < last) peer.socket.sendMore(frame);
    else peer.socket.sendLast(frame);
  });
}

/** What must be answered to a message that is a request. */
interface Expected {
  /** With the empty frame. */
  envelope: Frame[];
  /** Whether a status follows. */
  headed: boolean;
  /** Whether it may have expired. */
  hurried: boolean;
  body: Frame[];
}

/** The form of a request, as docs/protocol.md has it; undefined: it is none. */
function expect(frames: readonly Frame[]): Expected | undefined {
  const end = frames.findIndex(({ length }) => length === 0);
  const fits = end < MAX_ENVELOPE_FRAMES && sizeOf(frames.slice(0, end)) <= MAX_ENVELOPE_BYTES;
  if (end < 0 || !fits || end === frames.length - 1) return undefined;
  const header = end > 0 ? parseRequestHeader(frames[end - 1] ?? EMPTY) : undefined;
  const body = frames.slice(end + 1);
  const headed = header !== undefined;
  const hurried = header !== undefined && header.timeout > 0;
  return { envelope: frames.slice(0, end + 1), headed, hurried, body };
}

function isAnswer(reply: readonly Frame[], { envelope, headed, hurried, body }: Expected): boolean {
  if (!isSame(reply.slice(0, envelope.length), envelope)) return false;
  const rest = reply.slice(envelope.length);
  const code = headed ? parseStatus(rest.shift() ?? EMPTY) : codeOf(rest);
  const tooLarge = body.length > MAX_FRAMES || sizeOf(body) > MAX_BYTES;
  if (tooLarge) return code === Code.tooLarge;
  if (hurried && code === Code.expired) return true;
  return (!headed || code === Code.ok) && isSame(rest, body);
}

/** The code of a plain error reply. */
function codeOf([first, second]: readonly Frame[]): number {
  return first?.length === 0 ? Number(text(second?.subarray(0, 3))) : Code.ok;
}

function sizeOf(frames: readonly Frame[]): number {
  return frames.reduce((sum, { length }) => sum + length, 0);
}

function isSame(some: readonly Frame[], others: readonly Frame[]): boolean {
  return some.length === others.length &&
    some.every((frame, index) => equals(frame, others[index] ?? EMPTY));
}

function equals(one: Frame, other: Frame): boolean {
  if (one.length !== other.length) return false;
  for (let index = 0; index < one.length; index++) if (one[index] !== other[index]) return false;
  return true;
}

/** Random messages that often are nearly requests. */
class Noise {
  readonly #random: Random;
  readonly #bytes = new Uint8Array(2 * LARGEST);

  constructor(seed: number) {
    this.#random = randomNumbers(seed);
    this.#bytes.forEach((_, index) => this.#bytes[index] = this.#random(256));
  }

  message(): Frame[] {
    const many = this.#random(500) === 0;
    const length = 1 + this.#random(many ? 3 * MAX_FRAMES : 7);
    return Array.from({ length }, () => this.#frame());
  }

  #frame(): Frame {
    const kind = this.#random(100);
    if (kind < 25) return EMPTY;
    if (kind < 28) return this.#header();
    if (kind < 30) return this.#header().subarray(0, this.#random(HEADER_BYTES));
    if (kind < 32) return this.#cut(LARGEST);
    if (kind < 36) return this.#cut(2000);
    if (kind < 40) return this.#cut(1);
    return this.#cut(60);
  }

  #cut(largest: number): Frame {
    const start = this.#random(LARGEST);
    return this.#bytes.subarray(start, start + 1 + this.#random(largest));
  }

  /** One of our client's, or nearly. */
  #header(): Frame {
    const id = this.#random(2 ** 31);
    const header = buildRequestHeader({ id, timeout: this.#random(2) * this.#random(5000) });
    if (this.#random(4) === 0) header[this.#random(HEADER_BYTES)] = this.#random(256);
    return header;
  }
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
/** The beginning of TLS: a handshake record with a ClientHello. */
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
      // A size that nobody has.
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
