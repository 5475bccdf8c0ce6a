/**
 * The load generator: clients that keep a number of requests under way and compare each reply, byte for
 * byte, with the request that it must belong to. Run, it takes a `Load` as JSON, generates it until it
 * ends or stdin does, and prints the `Figures` as JSON; `startLoad` does that from code.
 *
 * @module
 */

import { Option, SocketType } from "../zmq/library.ts";
import { locateLibrary } from "../zmq/locate.ts";
import { Poller } from "../zmq/poller.ts";
import { Context, type Socket } from "../zmq/socket.ts";

/** What to send. It ends after `duration` or `requests`, or when it is stopped, whatever comes first. */
export interface Load {
  /** Where the server is. */
  endpoint: string;
  /** Sockets. */
  clients: number;
  /** Requests under way on each, at most. */
  window: number;
  /** Bytes of a body, at least 4: its number, then content that follows from number and seed. */
  size: number;
  /** How long to send, ms. @default {without end} */
  duration?: number;
  /** Requests in all. @default {without end} */
  requests?: number;
  /** Requests a second in all, at most. @default {as many as there are replies} */
  rate?: number;
  /**
   * Whether requests have their number ahead of the empty frame too, as REQ_CORRELATE sends one. Without
   * it nobody knows which of several requests of a client an error reply answers: they are only counted.
   *
   * @default {false}
   */
  correlate?: boolean;
  /** Replies to what is sent within this from the start have no latency that counts, ms. @default {0} */
  warmUp?: number;
  /** How long to wait for the last replies, ms. @default {10_000} */
  grace?: number;
  /** What the content of the bodies follows from. @default {1} */
  seed?: number;
}

/** What came of it. */
export interface Figures {
  /** Requests sent. */
  requests: number;
  /** Replies that are what they must be. */
  replies: number;
  /** Replies that differ from their request, belong to another client or to no request. */
  wrong: number;
  /** Replies to what was answered already. */
  duplicates: number;
  /** Requests that were not answered, not even by an error. */
  missing: number;
  /** Error replies by their code. */
  errors: Record<string, number>;
  /** Right replies a second. */
  rate: number;
  /** Latencies at 50, 95 and 99 %, µs; NaN without replies. */
  percentiles: [number, number, number];
  /** The longest latency, µs. */
  slowest: number;
}

/** A load in a process of its own. */
export interface LoadProcess extends AsyncDisposable {
  /** The process. */
  readonly pid: number;
  /** What came of it; rejected if the process failed. */
  readonly figures: Promise<Figures>;
  /** Sends no more: the figures follow once what is under way was answered. */
  stop(): void;
}

/** Generates a load in this process, until it ends or `signal` is aborted. */
export async function generate(load: Load, signal?: AbortSignal): Promise<Figures> {
  return await new Generator(load).run(signal);
}

/** Generates a load in a process of its own, so that what this one does disturbs no figure. */
export function startLoad(load: Load): LoadProcess {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "-A", new URL(import.meta.url).pathname, JSON.stringify(load)],
    stdin: "piped",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const lifeline = child.stdin.getWriter();
  const stop = () => void lifeline.close().catch(() => {});
  let ended = false;
  const figures = child.output().then(({ success, stdout }) => {
    ended = true;
    if (!success) throw new Error("Cannot tell the figures: the load generator has failed");
    return readFigures(new TextDecoder().decode(stdout));
  });
  figures.catch(() => {});
  const dispose = async () => {
    stop();
    if (!ended) child.kill("SIGKILL");
    await child.status;
  };
  return { pid: child.pid, figures, stop, [Symbol.asyncDispose]: dispose };
}

/** JSON has no NaN, it says null. */
function readFigures(text: string): Figures {
  const figures = JSON.parse(text);
  return { ...figures, percentiles: figures.percentiles.map((at: number | null) => at ?? NaN) };
}

const EMPTY = new Uint8Array(0);
const NUMBER_BYTES = 4;
/** Where in the noise a body begins follows from its number: so many bodies in a row differ. */
const SHIFTS = 4096;
/** Room for the text of an error reply. */
const ERROR_BYTES = 256;
const GRACE = 10_000;
/** The longest wait for a socket, ms. */
const WAIT = 100;

interface Client {
  readonly index: number;
  readonly socket: Socket;
  /** When each request that is under way was sent, by number. */
  readonly sentAt: Map<number, number>;
  /** Requests sent. */
  sent: number;
  /** Error replies that did not tell which request they answer. */
  unnamed: number;
}

class Generator {
  readonly #load: Load;
  readonly #context: Context;
  readonly #clients: Client[];
  readonly #poller: Poller;
  readonly #body: Uint8Array<ArrayBuffer>;
  readonly #bodyView: DataView;
  readonly #frame: Uint8Array<ArrayBuffer>;
  readonly #frameView: DataView;
  readonly #noise: Uint8Array<ArrayBuffer>;
  readonly #latencies = new Histogram();
  readonly #errors: Record<string, number> = {};
  readonly #startedAt = performance.now();
  /** When the last request may be sent, ms. */
  #endAt: number;
  #sent = 0;
  #replies = 0;
  #wrong = 0;
  #duplicates = 0;

  constructor(load: Load) {
    this.#load = load;
    this.#context = new Context(locateLibrary(Deno.env.get("ZMQ_LIBRARY")));
    this.#clients = Array.from({ length: load.clients }, (_, index) => this.#connect(index));
    this.#poller = new Poller(this.#context, this.#clients.map(({ socket }) => socket));
    this.#body = new Uint8Array(load.size);
    this.#bodyView = new DataView(this.#body.buffer);
    this.#frame = new Uint8Array(load.size + ERROR_BYTES);
    this.#frameView = new DataView(this.#frame.buffer);
    this.#noise = noise(load.size + SHIFTS, load.seed ?? 1);
    this.#endAt = this.#startedAt + (load.duration ?? Infinity);
  }

  async run(signal?: AbortSignal): Promise<Figures> {
    const stop = () => {
      this.#endAt = Math.min(this.#endAt, performance.now());
      this.#poller.wake();
    };
    signal?.addEventListener("abort", stop, { once: true });
    if (signal?.aborted) stop();
    try {
      while (this.#pass()) await this.#poller.wait(this.#pause());
      return this.#figures();
    } finally {
      signal?.removeEventListener("abort", stop);
      this.#poller.close();
      for (const { socket } of this.#clients) socket.close(0);
      await this.#context.terminate();
    }
  }

  /** Reads what is here and sends what may be; false when all is over. */
  #pass(): boolean {
    const now = performance.now();
    // A rate leaves some without: not always the same.
    const first = this.#sent % this.#clients.length;
    for (const client of [...this.#clients.slice(first), ...this.#clients.slice(0, first)]) {
      // A turn each: the replies to what is sent meanwhile are for the next one.
      for (let read = 0; read < this.#load.window && this.#read(client); read++);
      while (underWay(client) < this.#load.window && this.#maySend(now)) this.#send(client);
    }
    if (this.#clients.some((client) => underWay(client) > 0)) {
      return now < this.#endAt + (this.#load.grace ?? GRACE);
    }
    return !this.#isOver(now);
  }

  #isOver(now: number): boolean {
    return now >= this.#endAt || this.#sent >= (this.#load.requests ?? Infinity);
  }

  #maySend(now: number): boolean {
    return !this.#isOver(now) && now >= this.#nextAt;
  }

  /** When the rate allows the next request. */
  get #nextAt(): number {
    const { rate } = this.#load;
    return rate === undefined ? -Infinity : this.#startedAt + this.#sent * 1000 / rate;
  }

  /** How long to wait for the sockets, ms. */
  #pause(): number {
    if (this.#clients.some(({ socket }) => socket.readable())) return 0;
    const now = performance.now();
    const isFree = this.#clients.some((client) => underWay(client) < this.#load.window);
    return isFree && !this.#isOver(now) ? Math.min(WAIT, Math.max(0, this.#nextAt - now)) : WAIT;
  }

  #connect(index: number): Client {
    const socket = this.#context.socket(SocketType.DEALER);
    socket.set(Option.SNDHWM, 0);
    socket.set(Option.RCVHWM, 0);
    socket.connect(this.#load.endpoint);
    return { index, socket, sentAt: new Map(), sent: 0, unnamed: 0 };
  }

  #send(client: Client): void {
    const { socket, index } = client;
    const number = client.sent++ * this.#clients.length + index;
    this.#sent++;
    this.#bodyView.setUint32(0, number);
    this.#body.set(this.#content(number), NUMBER_BYTES);
    if (this.#load.correlate) socket.sendMore(this.#body.subarray(0, NUMBER_BYTES));
    socket.sendMore(EMPTY);
    socket.sendLast(this.#body);
    client.sentAt.set(number, performance.now());
  }

  /** What follows the number in a body. */
  #content(number: number): Uint8Array<ArrayBuffer> {
    const start = number % SHIFTS;
    return this.#noise.subarray(start, start + this.#load.size - NUMBER_BYTES);
  }

  /** Reads one message; false when there is none. */
  #read(client: Client): boolean {
    const { socket } = client;
    let size = socket.receiveInto(this.#frame);
    if (size < 0) return false;
    let named = -1;
    if (this.#load.correlate) {
      if (size === NUMBER_BYTES) named = this.#frameView.getUint32(0);
      size = this.#next(socket);
    }
    const body = size === 0 ? this.#next(socket) : -1;
    if (body === 0 && socket.more) this.#failed(client, named, this.#next(socket));
    else if (body < 0 || socket.more) this.#wrong++;
    else this.#judge(client, named, body);
    while (this.#next(socket) >= 0);
    return true;
  }

  /** The next frame of the same message: its size, or -1 if there is none. */
  #next(socket: Socket): number {
    return socket.more ? socket.receiveInto(this.#frame) : -1;
  }

  /** Takes the body in `#frame` for the reply to the request that it, or the envelope, names. */
  #judge(client: Client, named: number, size: number): void {
    const inside = size === this.#load.size ? this.#frameView.getUint32(0) : -1;
    const number = named < 0 ? inside : named;
    const sentAt = client.sentAt.get(number);
    if (sentAt === undefined) return this.#stray(client, number);
    client.sentAt.delete(number);
    if (inside !== number || !this.#isContent(number)) this.#wrong++;
    else this.#right(sentAt);
  }

  #right(sentAt: number): void {
    this.#replies++;
    if (sentAt < this.#startedAt + (this.#load.warmUp ?? 0)) return;
    this.#latencies.add((performance.now() - sentAt) * 1000);
  }

  #isContent(number: number): boolean {
    const content = this.#content(number);
    for (let index = 0; index < content.length; index++) {
      if (this.#frame[index + NUMBER_BYTES] !== content[index]) return false;
    }
    return true;
  }

  /** An answer to none of the requests under way at that client. */
  #stray({ index, sent }: Client, number: number): void {
    const { length } = this.#clients;
    const isOwn = number >= 0 && number % length === index && number < sent * length;
    if (isOwn) this.#duplicates++;
    else this.#wrong++;
  }

  /** An error reply, its text in `#frame`. */
  #failed(client: Client, named: number, size: number): void {
    const text = new TextDecoder().decode(this.#frame.subarray(0, Math.min(size, ERROR_BYTES)));
    const code = text.split(" ", 1)[0] ?? "";
    this.#errors[code] = (this.#errors[code] ?? 0) + 1;
    if (named < 0) client.unnamed++;
    else if (!client.sentAt.delete(named)) this.#stray(client, named);
  }

  #figures(): Figures {
    const seconds = (performance.now() - this.#startedAt) / 1000;
    return {
      requests: this.#sent,
      replies: this.#replies,
      wrong: this.#wrong,
      duplicates: this.#duplicates,
      missing: this.#clients.reduce((sum, client) => sum + Math.max(0, underWay(client)), 0),
      errors: this.#errors,
      rate: this.#replies / seconds,
      percentiles: [this.#latencies.at(0.5), this.#latencies.at(0.95), this.#latencies.at(0.99)],
      slowest: this.#latencies.slowest,
    };
  }
}

/** Requests that were not answered yet. */
function underWay({ sentAt, unnamed }: Client): number {
  return sentAt.size - unnamed;
}

/** Bytes that look random and follow from a seed: xorshift32. */
function noise(size: number, seed: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(size);
  let state = seed || 1;
  for (let index = 0; index < size; index++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    bytes[index] = state >>> 24;
  }
  return bytes;
}

/** Steps of a `Histogram` from one power of two to the next: values are told to 1 in 64. */
const STEPS = 64;
const POWERS = 40;

/** Counts values >= 0 by size, in a memory of fixed size. */
class Histogram {
  readonly #counts = new Float64Array(STEPS * POWERS);
  /** Values added. */
  count = 0;
  /** The greatest of them. */
  slowest = 0;

  add(value: number): void {
    this.count++;
    this.slowest = Math.max(this.slowest, value);
    const power = Math.max(0, Math.floor(Math.log2(value + 1)));
    const step = Math.floor(((value + 1) / 2 ** power - 1) * STEPS);
    const slot = Math.min(STEPS * POWERS - 1, power * STEPS + step);
    this.#counts[slot] = (this.#counts[slot] ?? 0) + 1;
  }

  /** The value that `share` of all do not exceed. */
  at(share: number): number {
    let left = this.count * share;
    for (const [slot, count] of this.#counts.entries()) {
      left -= count;
      if (count > 0 && left <= 0) {
        const upper = 2 ** Math.floor(slot / STEPS) * (1 + (slot % STEPS + 1) / STEPS) - 1;
        return Math.min(this.slowest, upper);
      }
    }
    return NaN;
  }
}

if (import.meta.main) {
  const stop = new AbortController();
  Deno.stdin.readable.pipeTo(new WritableStream()).finally(() => stop.abort());
  const figures = await generate(JSON.parse(Deno.args[0] ?? ""), stop.signal);
  console.log(JSON.stringify(figures));
  Deno.exit(0);
}
