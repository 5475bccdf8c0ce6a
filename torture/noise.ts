/**
 * A scenario about peers that send random messages, which seldom are requests.
 *
 * @module
 */

import { parseStatus } from "../tests/rig/status.ts";
import { startLoad } from "../bench/load.ts";
import { Peer } from "../tests/rig/peer.ts";
import { randomNumbers } from "../tests/rig/random.ts";
import { ServerProcess } from "../tests/rig/server_process.ts";
import { bytes, text } from "../tests/rig/text.ts";
import type { Transport } from "../tests/rig/transports.ts";
import { until } from "../tests/rig/wait.ts";
import { Code, MAX_ENVELOPE_BYTES, MAX_ENVELOPE_FRAMES } from "../wire/request.ts";
import {
  buildRequestHeader,
  parseRequestHeader,
  type RequestHeader,
} from "../wire/request_header.ts";
import { onEachTransport } from "./each_transport.ts";
import { describe, isFlawless } from "./figures.ts";
import type { Outcome, Scale, Scenario } from "./scenario.ts";

type Frame = Uint8Array<ArrayBuffer>;
type Random = (below: number) => number;

const MESSAGES = 1_000_000;
/** Messages that are sent before all of them must have been read. */
const BURST = 500;
const MAX_FRAMES = 50;
const MAX_BYTES = 100_000;
const LARGEST = 65_536;
/** Bytes of a message that is read to its end. */
const MOST_BYTES = 2 * MAX_BYTES;
const HEADER_BYTES = 20;
const EMPTY = new Uint8Array(0);
/** What no random message is. */
const LAST_WORD = bytes("that was all of this burst");

/** Good clients along with the noise. */
const TRAFFIC = { clients: 4, window: 4, size: 100, correlate: true, grace: 30_000 };

async function randomMessages(scale: Scale, transport: Transport): Promise<Outcome> {
  const limits = ["--max-frames", `${MAX_FRAMES}`, "--max-message-size", `${MAX_BYTES}`];
  const args = ["--workers", "1", "--backend", "tcp://127.0.0.1:0", ...limits, ...transport.args];
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
      if (answer === "malformed") sum.malformed++;
      else if (answer !== "silence") expected.push(answer);
    }
    send(peer, [LAST_WORD, EMPTY, EMPTY]);
    // The only worker answers in order; what has expired there is given back, and answered behind all others.
    for (let isLast = false; !isLast || expected.some(({ hurried }) => hurried);) {
      const reply = await peer.receive();
      if (isSame(reply, [LAST_WORD, EMPTY, EMPTY])) {
        isLast = true;
        sum.wrong += expected.filter(({ hurried }) => !hurried).length;
        continue;
      }
      // What is refused at once overtakes what is not.
      const index = expected.findIndex((one) => isAnswer(reply, one));
      if (index >= 0) expected.splice(index, 1);
      else sum.wrong++;
      sum.answered++;
    }
  }
  return sum;
}

/** Sends random messages to the backend; how many were counted as no worker's. */
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
  /** The error that its header gets; undefined: it can be served. */
  refused: number | undefined;
  body: Frame[];
}

/** The form of a request, as docs/protocol.md has it; "silence": it is a word that has no answer. */
function expect(frames: readonly Frame[]): Expected | "malformed" | "silence" {
  const end = frames.findIndex(({ length }) => length === 0);
  const fits = end < MAX_ENVELOPE_FRAMES && sizeOf(frames.slice(0, end)) <= MAX_ENVELOPE_BYTES;
  if (end < 0 || !fits || end === frames.length - 1) return "malformed";
  const header = end > 0 ? parseRequestHeader(frames[end - 1] ?? EMPTY) : undefined;
  const body = frames.slice(end + 1);
  const headed = header !== undefined;
  const refused = header && refusalOf(header);
  if (headed && header.type !== "request" && refused === undefined) return "silence";
  const hurried = header !== undefined && header.timeout > 0;
  return { envelope: frames.slice(0, end + 1), headed, hurried, refused, body };
}

/** The code that a header gets by itself. */
function refusalOf({ type, fault, service }: RequestHeader): number | undefined {
  if (fault !== "") return Code.badRequest;
  return type === "request" && service !== "" ? Code.notFound : undefined;
}

function isAnswer(
  reply: readonly Frame[],
  { envelope, headed, hurried, refused, body }: Expected,
): boolean {
  if (!isSame(reply.slice(0, envelope.length), envelope)) return false;
  const rest = reply.slice(envelope.length);
  const code = headed ? parseStatus(rest.shift() ?? EMPTY) : codeOf(rest);
  const tooLarge = body.length > MAX_FRAMES || sizeOf(body) > MAX_BYTES;
  if (refused !== undefined) return code === refused;
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
    const frames: Frame[] = [];
    let bytes = 0;
    while (frames.length < length) {
      const frame = this.#frame();
      bytes += frame.length;
      // What goes beyond ends its connection.
      frames.push(bytes > MOST_BYTES ? EMPTY : frame);
    }
    return frames;
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
    const service = "s".repeat(this.#random(3) === 0 ? this.#random(64) : 0);
    const timeout = this.#random(2) * this.#random(5000);
    const header = buildRequestHeader({ id, timeout, service });
    if (this.#random(4) === 0) header[this.#random(header.length)] = this.#random(256);
    return header;
  }
}

/** Peers that send noise. */
export const scenarios: Scenario[] = [{
  id: "R11",
  title:
    "1,000,000 random messages at the frontend and as many at the backend, along with good clients, on each transport",
  figure: "0 crashes, 0 wrong replies; each dropped and counted, or answered as it must be",
  run: onEachTransport(randomMessages),
}];
