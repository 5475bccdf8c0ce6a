/**
 * The load generator: clients that keep a number of requests under way and compare each reply, byte for
 * byte, with the request that it must belong to. Run, it takes a `Load` as JSON, generates it until it
 * ends or stdin does, and prints the `Figures` as JSON.
 *
 * @module
 */

import { openBell } from "../system/bell.ts";
import { openLibc } from "../system/libc.ts";
import { Poller } from "../system/poller.ts";
import { type Library, Option, SocketType } from "../zmq/library.ts";
import { locateLibrary } from "../zmq/locate.ts";
import { Context, type Socket } from "../zmq/socket.ts";
import { Bodies, NUMBER_BYTES } from "./bodies.ts";
import { Histogram } from "./histogram.ts";
import { type Inbox, inboxFor } from "./inbox.ts";
import type { Figures, Load } from "./load.ts";
import { BlockingPoller } from "./native.ts";

/** Generates a load in this process, until it ends or `signal` is aborted. */
export async function generate(load: Load, signal?: AbortSignal): Promise<Figures> {
  return await new Generator(load, "shared").run(signal);
}

const EMPTY = new Uint8Array(0);
/** zmq.h; the project itself has no use for it. */
const REQ = 3;
const GRACE = 10_000;
/** The longest wait for a socket, ms. */
const WAIT = 100;
/** The maximum of replies that a client reads in a turn, so that the server need not wait for requests. */
const TURN = 64;
/** The clock is read once for so many messages: that costs more than any other step. */
const CLOCK_STEPS = 8;
/** How long a thread of its own may be blocked before it checks whether it was stopped, ms. */
const BLOCKED = 50;

interface Client {
  readonly index: number;
  readonly socket: Socket;
  /** When each request that is under way was sent, by number. */
  readonly sentAt: Map<number, number>;
  /** Requests sent. */
  sent: number;
  /** Error replies that do not name the request that they answer. */
  unnamed: number;
  /** Whether there may be something to read that no wait will report. */
  stirred: boolean;
}

/** How a generator waits. */
interface Waiting {
  wait(timeout: number): Promise<void>;
  stirred(index: number): boolean;
  wake(): void;
  close(): void;
}

class Generator {
  readonly #load: Load;
  readonly #context: Context;
  readonly #clients: Client[];
  readonly #waiting: Waiting;
  readonly #window: number;
  readonly #isReq: boolean;
  readonly #correlate: boolean;
  readonly #bodies: Bodies;
  readonly #inbox: Inbox;
  /** What comes ahead of a body: its number, if it does, and the empty frame. */
  readonly #head = new Uint8Array(NUMBER_BYTES);
  readonly #headView = new DataView(this.#head.buffer);
  readonly #latencies = new Histogram();
  readonly #marked = new Histogram();
  readonly #errors: Record<string, number> = {};
  readonly #startedAt = performance.now();
  readonly #warmAt: number;
  /** When the last request may be sent, ms. */
  #endAt: number;
  /** When it was seen that nothing more is to be sent, ms. */
  #overAt = Infinity;
  #now = this.#startedAt;
  #clockSteps = 0;
  #sent = 0;
  #replies = 0;
  /** Right replies after the warm-up and before the end, and the last of them, ms. */
  #counted = 0;
  #countedAt = 0;
  #wrong = 0;
  #duplicates = 0;

  /** On a `shared` thread others get their turn while it waits; else it may block the thread. */
  constructor(load: Load, thread: "own" | "shared") {
    this.#load = load;
    const library = locateLibrary(Deno.env.get("ZMQ_LIBRARY"));
    this.#context = new Context(library);
    this.#isReq = load.socket === "req";
    this.#correlate = load.correlate === true;
    this.#window = this.#isReq ? 1 : load.window;
    this.#clients = Array.from({ length: load.clients }, (_, index) => this.#connect(index));
    const sockets = this.#clients.map(({ socket }) => socket);
    this.#waiting = thread === "own"
      ? blocking(new BlockingPoller(library, sockets))
      : sharing(pollerOf(library, sockets));
    this.#bodies = new Bodies(load.size, load.seed);
    this.#inbox = inboxFor(library, this.#bodies);
    this.#warmAt = this.#startedAt + (load.warmUp ?? 0);
    this.#endAt = this.#startedAt + (load.duration ?? Infinity);
  }

  async run(signal?: AbortSignal): Promise<Figures> {
    const stop = () => {
      this.#endAt = Math.min(this.#endAt, performance.now());
      this.#waiting.wake();
    };
    signal?.addEventListener("abort", stop, { once: true });
    if (signal?.aborted) stop();
    try {
      while (this.#pass()) await this.#pause();
      return this.#figures();
    } finally {
      signal?.removeEventListener("abort", stop);
      this.#waiting.close();
      for (const { socket } of this.#clients) socket.close(0);
      await this.#context.terminate();
    }
  }

  /** Reads what is here and sends what may be; false when all is over. */
  #pass(): boolean {
    this.#now = performance.now();
    // A rate leaves some without: not always the same.
    const { length } = this.#clients;
    const first = this.#sent % length;
    let underWay = 0;
    for (let step = 0; step < length; step++) {
      const client = this.#clients[(first + step) % length];
      if (client === undefined) continue;
      this.#serve(client);
      underWay += waitingFor(client);
    }
    if (this.#isOver()) this.#overAt = Math.min(this.#overAt, this.#now);
    return underWay > 0 ? this.#now < this.#lossAt : !this.#isOver();
  }

  /** When what was not answered is lost, ms. */
  get #lossAt(): number {
    const { grace } = this.#load;
    return grace === undefined ? this.#endAt + GRACE : this.#overAt + grace;
  }

  #serve(client: Client): void {
    if (client.stirred) client.stirred = this.#readTurn(client);
    while (waitingFor(client) < this.#window && this.#maySend()) {
      this.#send(client);
      // Sending may have read what a wait would have reported.
      client.stirred = true;
    }
  }

  /** Reads a turn of replies; whether there may be more of them. */
  #readTurn(client: Client): boolean {
    // A REQ must not be asked while it waits for nothing.
    const most = this.#isReq ? waitingFor(client) : Math.min(this.#window, TURN);
    let read = 0;
    while (read < most && this.#read(client)) read++;
    return !this.#isReq && read === most;
  }

  #isOver(): boolean {
    return this.#now >= this.#endAt || this.#sent >= (this.#load.requests ?? Infinity);
  }

  #maySend(): boolean {
    return !this.#isOver() && (this.#load.rate === undefined || this.#now >= this.#dueAt);
  }

  /** When the rate allows the next request, ms. */
  get #dueAt(): number {
    const { rate } = this.#load;
    return rate === undefined ? -Infinity : this.#startedAt + this.#sent * 1000 / rate;
  }

  /** When a request is to be sent though no reply has come, ms. */
  get #nextAt(): number {
    const isFree = this.#clients.some((client) => waitingFor(client) < this.#window);
    return isFree && !this.#isOver() ? this.#dueAt : Infinity;
  }

  /** Waits for the sockets, or only checks them when there is something to do. */
  async #pause(): Promise<void> {
    const isBusy = this.#clients.some(({ stirred }) => stirred);
    await this.#waiting.wait(isBusy ? 0 : Math.min(WAIT, this.#nextAt - performance.now()));
    for (const client of this.#clients) client.stirred ||= this.#waiting.stirred(client.index);
  }

  #connect(index: number): Client {
    const socket = this.#context.socket(this.#isReq ? REQ : SocketType.DEALER);
    socket.set(Option.SNDHWM, 0);
    socket.set(Option.RCVHWM, 0);
    const { endpoint, reconnectInterval } = this.#load;
    if (reconnectInterval !== undefined) socket.set(Option.RECONNECT_IVL, reconnectInterval);
    socket.connect(endpoint);
    return { index, socket, sentAt: new Map(), sent: 0, unnamed: 0, stirred: true };
  }

  #send(client: Client): void {
    const { socket, index } = client;
    const number = client.sent++ * this.#clients.length + index;
    this.#sent++;
    if (this.#correlate) {
      this.#headView.setUint32(0, number);
      socket.sendMore(this.#head);
    }
    if (!this.#isReq) socket.sendMore(EMPTY);
    client.sentAt.set(number, this.#clock());
    socket.sendLast(this.#bodies.lend(number));
    this.#bodies.takeBack(number);
  }

  /** The time, as it was a few messages ago. */
  #clock(): number {
    if (++this.#clockSteps % CLOCK_STEPS === 0) this.#now = performance.now();
    return this.#now;
  }

  /** Reads one message; false when there is none. */
  #read(client: Client): boolean {
    const { socket } = client;
    let named = -1;
    let size = this.#isReq ? this.#inbox.receive(socket) : socket.receiveInto(this.#head);
    if (size < 0) return false;
    if (this.#correlate) {
      if (size === NUMBER_BYTES) named = this.#headView.getUint32(0);
      size = socket.more ? socket.receiveInto(this.#head) : -1;
    }
    if (!this.#isReq) size = size === 0 ? this.#next(socket) : -1;
    const { more } = socket;
    if (size === 0 && more) this.#failed(client, named, this.#next(socket));
    else if (size < 0 || more) this.#wrong++;
    else this.#judge(client, named, size);
    if (more) { while (this.#next(socket) >= 0); }
    return true;
  }

  /** The next frame of the same message: its size, or -1 if there is none. */
  #next(socket: Socket): number {
    return socket.more ? this.#inbox.receive(socket) : -1;
  }

  /** Takes what is in the inbox for the reply to the request that it, or the envelope, names. */
  #judge(client: Client, named: number, size: number): void {
    const inside = size === this.#bodies.size ? this.#inbox.number : -1;
    const number = named < 0 ? inside : named;
    const sentAt = client.sentAt.get(number);
    if (sentAt === undefined) return this.#stray(client, number);
    client.sentAt.delete(number);
    if (inside !== number || !this.#inbox.isBody(number)) this.#wrong++;
    else this.#right(number, sentAt);
  }

  #right(number: number, sentAt: number): void {
    const now = this.#clock();
    this.#replies++;
    if (now >= this.#warmAt && now < this.#endAt) {
      this.#counted++;
      this.#countedAt = now;
    }
    if (sentAt < this.#warmAt) return;
    const { mark } = this.#load;
    const latencies = mark !== undefined && number % mark === 0 ? this.#marked : this.#latencies;
    latencies.add((now - sentAt) * 1000);
  }

  /** An answer to none of the requests under way at that client. */
  #stray({ index, sent }: Client, number: number): void {
    const { length } = this.#clients;
    const isOwn = number >= 0 && number % length === index && number < sent * length;
    if (isOwn) this.#duplicates++;
    else this.#wrong++;
  }

  /** An error reply, its text in the inbox. */
  #failed(client: Client, named: number, size: number): void {
    const code = this.#inbox.text(size).split(" ", 1)[0] ?? "";
    this.#errors[code] = (this.#errors[code] ?? 0) + 1;
    if (named < 0) client.unnamed++;
    else if (!client.sentAt.delete(named)) this.#stray(client, named);
  }

  #figures(): Figures {
    const { requests } = this.#load;
    // A number of requests is over with the last reply.
    const end = requests === undefined ? this.#endAt : Math.min(this.#endAt, this.#countedAt);
    const seconds = (end - this.#warmAt) / 1000;
    const missing = (sum: number, client: Client) => sum + Math.max(0, waitingFor(client));
    return {
      requests: this.#sent,
      replies: this.#replies,
      wrong: this.#wrong,
      duplicates: this.#duplicates,
      missing: this.#clients.reduce(missing, 0),
      errors: this.#errors,
      rate: seconds > 0 ? this.#counted / seconds : 0,
      percentiles: this.#latencies.percentiles,
      slowest: Math.max(this.#latencies.slowest, this.#marked.slowest),
      marked: { replies: this.#marked.count, percentiles: this.#marked.percentiles },
    };
  }
}

/** Requests of a client that were not answered yet. */
function waitingFor({ sentAt, unnamed }: Client): number {
  return sentAt.size - unnamed;
}

/** Blocks the thread, but checks now and then whether it is to stop. */
function blocking(poller: BlockingPoller): Waiting {
  let heardAt = performance.now();
  return {
    async wait(timeout) {
      poller.wait(Math.min(Math.max(0, timeout), BLOCKED));
      if (performance.now() - heardAt < BLOCKED) return;
      await new Promise((resolve) => setTimeout(resolve));
      heardAt = performance.now();
    },
    stirred: (index) => poller.stirred(index),
    wake: () => {},
    close: () => {},
  };
}

/** Leaves the thread to others meanwhile; does not know which socket has something. */
function pollerOf({ path }: Library, sockets: readonly Socket[]): Poller {
  const libc = openLibc(path);
  return new Poller(libc, openBell(libc), sockets);
}

function sharing(poller: Poller): Waiting {
  return {
    wait: (timeout) => poller.wait(timeout),
    stirred: () => true,
    wake: () => poller.wake(),
    close: () => poller.close(),
  };
}

if (import.meta.main) {
  const stop = new AbortController();
  Deno.stdin.readable.pipeTo(new WritableStream()).finally(() => stop.abort());
  const load: Load = JSON.parse(Deno.args[0] ?? "");
  const figures = await new Generator(load, "own").run(stop.signal);
  console.log(JSON.stringify(figures));
  Deno.exit(0);
}
