/**
 * Asks a server: sends a request, waits for its reply, tries again, gives up. A library, and a command
 * line when run. It knows what is said (wire/) and sockets (zmq/), nothing of brokers and workers.
 *
 * ```ts
 * import { Client } from "jsr:@zmq/prefork/client";
 *
 * await using client = new Client({ endpoint: "tcp://localhost:6660" });
 * const reply = await client.request("hello");
 * console.log(reply.text());
 * ```
 *
 * `Client` owns sockets and waits; `LazyPirate` decides what is sent when, and on which of them.
 *
 * @module
 */

import { setImmediate } from "node:timers";
import { parseArgs } from "@std/cli/parse-args";
import { readPublicKey, readSecretKey } from "./auth/keys.ts";
import {
  buildRequestHeader,
  Code,
  DELIMITER,
  HEADER_BYTES,
  MAX_KEY_BYTES,
  parseErrorText,
  readRequestId,
  readStatus,
  writeRequestHeader,
} from "./wire/request.ts";
import { type KeyPair, makeKeyPair, prove, publicKeyOf } from "./zmq/curve.ts";
import { shutDebugger } from "./zmq/debugger.ts";
import { type Library, Option, SocketType } from "./zmq/library.ts";
import { locateLibrary } from "./zmq/locate.ts";
import { type Message, MessagePool } from "./zmq/message.ts";
import { Poller } from "./zmq/poller.ts";
import { Context, type Socket } from "./zmq/socket.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** What a `Client` may be told. */
export interface ClientOptions {
  /**
   * Where the server is: `tcp://host:port` (a name means its IPv4 address, `[…]` is an IPv6 one) or
   * `ipc://path`.
   *
   * @default {"tcp://localhost:6660"}
   */
  endpoint?: string;
  /**
   * How long one try waits for its answer, in ms, at least 1.
   *
   * @default {10_000}
   */
  timeout?: number;
  /**
   * How often a request is sent again after its first try went unanswered.
   *
   * @default {2}
   */
  retries?: number;
  /**
   * The name that the server knows the client by: 1 to 255 bytes of UTF-8, the first of them not 0. No
   * two connected clients may have the same. Without one, ZeroMQ makes one for each connection.
   */
  identity?: string;
  /**
   * Sends the bare envelope of a REQ socket, which any ZeroMQ server understands. The server then
   * doesn't learn how long the client waits, and each request under way takes a socket of its own: so
   * with an identity there can be one at a time.
   *
   * @default {false}
   */
  plain?: boolean;
  /**
   * The keys of a server that asks for them. A client that the server doesn't let in isn't told so: its
   * requests get no answer.
   *
   * @default {none: a server that asks for keys gives no answer}
   */
  curve?: CurveOptions;
}

/** Keys, as `deno task keygen` makes them. */
export interface CurveOptions {
  /** The server's public key: 40 characters, or a file that holds it. */
  serverKey: string;
  /**
   * The file of the client's own secret key.
   *
   * @default {a key made for this client alone, which only a server lets in that takes any}
   */
  keyFile?: string;
}

/** What one request may be told. */
export interface RequestOptions {
  /** Gives the request up when it aborts. */
  signal?: AbortSignal;
  /** How long one try waits, in ms. @default {the client's timeout} */
  timeout?: number;
  /** How often it is sent again. @default {the client's retries} */
  retries?: number;
  /**
   * How long the handler may run, in ms; the server may allow less. If it takes longer, the answer is
   * error 504.
   *
   * @default {0, as long as the server allows}
   */
  requestTimeout?: number;
  /**
   * A name for what is asked, up to 128 bytes. While a request of the same key is queued or running,
   * this one waits for the same answer; the server may keep that for a while. So a retry is not done
   * twice. Choose one that nobody else can guess or use, such as `crypto.randomUUID()`.
   */
  key?: string;
}

/** A request's body: one frame, or a list of at least one. Text is sent as UTF-8. */
export type RequestBody = Uint8Array | string | readonly (Uint8Array | string)[];

/** A server's answer. */
export class Reply {
  /** All body frames. */
  readonly frames: Uint8Array[];

  /** Made by `Client.request`. */
  constructor(frames: Uint8Array[]) {
    this.frames = frames;
  }

  /** The first body frame; empty if there is none. */
  get bytes(): Uint8Array {
    return this.frames[0] ?? DELIMITER;
  }

  /** The first body frame as UTF-8 text. */
  text(): string {
    return decoder.decode(this.bytes);
  }

  /**
   * The first body frame as JSON. `T` is the caller's claim: nothing checks it.
   *
   * @throws {SyntaxError} when it is no JSON.
   */
  json<T = unknown>(): T {
    return JSON.parse(this.text());
  }
}

/** An error reply: the server took the request and says why there is no answer. */
export class ReplyError extends Error {
  /** Always "ReplyError". */
  override readonly name = "ReplyError";
  /** What kind of failure; the numbers are HTTP's. */
  readonly code: number;

  /** Made of an error reply's code and message. */
  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}

/** All tries went unanswered. The server may yet have done what was asked. */
export class AbandonedError extends Error {
  /** Always "AbandonedError". */
  override readonly name = "AbandonedError";
  /** Where the answer should have come from. */
  readonly endpoint: string;
  /** How often the request was sent. */
  readonly tries: number;
  /** How long each try waited, ms. */
  readonly timeout: number;

  /** Made after the last try. */
  constructor(endpoint: string, tries: number, timeout: number) {
    const what = tries === 1 ? "1 try" : `${tries} tries`;
    super(`Cannot get an answer from "${endpoint}": gave up after ${what} of ${timeout} ms`);
    this.endpoint = endpoint;
    this.tries = tries;
    this.timeout = timeout;
  }
}

/** What a `Client` keeps of a request until it ends. */
interface Ask {
  readonly frames: readonly Uint8Array<ArrayBuffer>[];
  resolve(reply: Reply): void;
  reject(reason: unknown): void;
}

/** Messages read before signals and timers have their turn. */
const BATCH = 1000;
/** Room for any header. */
const CONTROL_BYTES = HEADER_BYTES + MAX_KEY_BYTES;
const RECONNECT_INTERVAL = 100;
const RECONNECT_INTERVAL_MAX = 1000;
/** How long a server may take to notice that a connection was closed, ms; a busy one takes longer. */
const LEAVE_TIME = 20;

/**
 * A client of one server, for any number of requests at a time.
 *
 * A try that got no answer within `timeout` is repeated on a fresh socket. Other requests that still
 * wait on the old one lose nothing: it is closed when the last of them has ended. Under an identity
 * there can be only one socket: it is replaced only if nothing at all came through it meanwhile, and
 * the others are then sent again, which doesn't count as a try of theirs.
 *
 * A server that is away is looked for about once a second. A request holds the process, an idle client
 * does not. While requests wait, each client takes one of the 32 threads that Deno has for such work:
 * share a client rather than make many.
 *
 * @example
 * ```ts
 * await using client = new Client({ timeout: 2000 });
 * const [one, two] = await Promise.all([client.request("one"), client.request("two")]);
 * ```
 */
export class Client {
  readonly #settings: Settings;
  readonly #library: Library;
  readonly #keys: Keys | undefined;
  readonly #pirate: LazyPirate<Ask>;
  readonly #copier = new Copier();
  readonly #frame: Message;
  /** The frame ahead of a body that was read last, as far as there is room. */
  readonly #control = new Uint8Array(CONTROL_BYTES);
  readonly #controlView = new DataView(this.#control.buffer);
  readonly #header = new Uint8Array(HEADER_BYTES);
  readonly #headerView = new DataView(this.#header.buffer);
  readonly #sockets = new Map<Link<Ask>, Socket>();
  #context: Context | undefined;
  #poller: Poller | undefined;
  #running: Promise<void> | undefined;
  #closing: Promise<void> | undefined;
  /** Whether something was asked or withdrawn since the loop last looked. */
  #stirred = false;

  /**
   * Loads libzmq and checks the options; connects with the first request.
   *
   * @throws {TypeError | RangeError} when an option is unknown or not what it must be.
   * @throws {Error} when libzmq can't be opened, or a key file can't be used.
   */
  constructor(options: ClientOptions = {}) {
    this.#settings = checkOptions(options);
    this.#library = locateLibrary(libraryOverride());
    this.#keys = this.#settings.curve && readKeys(this.#settings.curve, this.#library);
    this.#frame = new MessagePool(this.#library).take();
    const { plain, identity } = this.#settings;
    // Not from 0: a server may still answer what an earlier client of this identity asked.
    const firstId = crypto.getRandomValues(new Uint32Array(1))[0] ?? 0;
    this.#pirate = new LazyPirate({ plain, named: identity !== undefined, firstId });
  }

  /**
   * Asks, and waits for the answer. `body` may be reused as soon as this returns. It rejects with a
   * {@linkcode ReplyError} if the server answers so, with an {@linkcode AbandonedError} if no try is
   * answered, with the signal's reason if that aborts, and with a TypeError or RangeError if an
   * argument is not what it must be.
   *
   * @example
   * ```ts
   * const reply = await client.request(JSON.stringify({ items: [1, 2] }), { timeout: 500 });
   * const { sum } = reply.json<{ sum: number }>();
   * ```
   */
  request(body: RequestBody, options: RequestOptions = {}): Promise<Reply> {
    return new Promise((resolve, reject) => {
      const terms = checkRequestOptions(options, this.#settings);
      const frames = this.#copier.copy(body);
      if (this.#closing) throw new Error("Cannot send a request: the client is closed");
      options.signal?.throwIfAborted();
      this.#refuseSecondPlain();
      this.#add({ frames, resolve, reject }, terms, options.signal);
    });
  }

  /** Closes; requests under way are rejected. */
  close(): Promise<void> {
    return this.#closing ??= this.#close();
  }

  /** Closes: for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #refuseSecondPlain(): void {
    const { plain, identity } = this.#settings;
    if (!plain || identity === undefined || this.#pirate.size === 0) return;
    throw new Error(
      `Cannot send a request as a plain client with an identity must wait for its last one: ` +
        `identity is "${identity}"`,
    );
  }

  #add(ask: Ask, terms: Terms, signal: AbortSignal | undefined): void {
    if (signal === undefined) {
      this.#pirate.add(ask, terms, performance.now());
    } else {
      const abort = () => {
        this.#pirate.drop(pending, performance.now());
        this.#stir();
        ask.reject(signal.reason);
      };
      const unlisten = () => signal.removeEventListener("abort", abort);
      const { frames } = ask;
      const resolve = (reply: Reply) => (unlisten(), ask.resolve(reply));
      const reject = (reason: unknown) => (unlisten(), ask.reject(reason));
      const pending = this.#pirate.add({ frames, resolve, reject }, terms, performance.now());
      signal.addEventListener("abort", abort, { once: true });
    }
    this.#stir();
  }

  /** Makes the loop look at what is to be done. */
  #stir(): void {
    if (this.#running === undefined) this.#running = this.#run();
    if (this.#stirred) return;
    this.#stirred = true;
    this.#poller?.wake();
  }

  /** Receives, decides, sends, waits; until nothing is under way. */
  async #run(): Promise<void> {
    try {
      for (;;) {
        const more = this.#receive(performance.now());
        // What is asked meanwhile, and by those who have just got an answer, is sent together.
        await turn();
        this.#stirred = false;
        const now = performance.now();
        // Whoever had a turn may have held this up past a timeout.
        if (now >= this.#pirate.dueAt) this.#receive(now);
        const sleep = this.#pirate.tick(now);
        await this.#carryOut(this.#pirate.take());
        if (this.#stirred || more) continue;
        if (this.#pirate.size === 0) break;
        // Asked last, after all that was sent: a send can eat a socket's wake-up.
        if (!this.#readable()) await this.#wait(sleep);
      }
    } catch (error) {
      for (const ask of this.#pirate.clear()) ask.reject(error);
      this.#closeSockets();
    } finally {
      this.#running = undefined;
    }
  }

  async #wait(timeout: number): Promise<void> {
    this.#poller ??= new Poller(this.#openContext(), [...this.#sockets.values()]);
    await this.#poller.wait(timeout);
  }

  #readable(): boolean {
    for (const socket of this.#sockets.values()) if (socket.readable()) return true;
    return false;
  }

  /** Reads what is there; true if there is more. */
  #receive(now: number): boolean {
    // Before anything times out, all that may be its answer is read.
    const isDue = now >= this.#pirate.dueAt;
    let left = isDue ? BATCH + this.#pirate.size : BATCH;
    for (const [link, socket] of this.#sockets) {
      if (isDue) socket.stir();
      while (left > 0 && this.#receiveMessage(link, socket, now)) left--;
    }
    return left === 0;
  }

  /** Reads one message, if there is one. What is no answer is dropped, late replies too. */
  #receiveMessage(link: Link<Ask>, socket: Socket, now: number): boolean {
    let size = socket.receiveInto(this.#control);
    if (size < 0) return false;
    let id: number | undefined;
    while (size > 0 && socket.more) {
      id = readRequestId(this.#controlView, size);
      size = socket.receiveInto(this.#control);
    }
    // An envelope ends with an empty frame.
    if (size > 0) return true;
    if (this.#settings.plain) this.#takePlain(link, this.#receiveFrames(socket), now);
    else this.#takeHeaded(link, id, socket, now);
    return true;
  }

  /** Takes what follows an empty frame: `[status] [body…]`, or `[status] [message]`. */
  #takeHeaded(link: Link<Ask>, id: number | undefined, socket: Socket, now: number): void {
    const size = socket.more ? socket.receiveInto(this.#control) : 0;
    const code = readStatus(this.#controlView, size);
    const frames = this.#receiveFrames(socket);
    if (id === undefined || code === undefined) return;
    const ask = this.#pirate.answer(link, id, code, now);
    if (code === Code.ok) ask?.resolve(new Reply(frames));
    else ask?.reject(new ReplyError(code, decoder.decode(frames[0])));
  }

  #takePlain(link: Link<Ask>, frames: Uint8Array[], now: number): void {
    const error = parseErrorText(frames);
    const ask = this.#pirate.answer(link, undefined, error?.code ?? Code.ok, now);
    if (error === undefined) ask?.resolve(new Reply(frames));
    else ask?.reject(new ReplyError(error.code, error.message));
  }

  /** Reads the other frames of a message. */
  #receiveFrames(socket: Socket): Uint8Array[] {
    const frames: Uint8Array[] = [];
    if (!socket.more) return frames;
    do {
      const size = socket.receive(this.#frame);
      frames.push(this.#frame.bytes(size));
    } while (this.#frame.more);
    this.#frame.clear();
    return frames;
  }

  async #carryOut(steps: readonly Step<Ask>[]): Promise<void> {
    // First, for the others may fail or take their time.
    for (const step of steps) if (step.do === "giveUp") this.#giveUp(step);
    for (const step of steps) {
      if (this.#closing) return;
      if (step.do === "open") this.#open(step.link);
      else if (step.do === "send") this.#send(step);
      else if (step.do === "cancel") this.#cancel(step);
      else if (step.do === "close") await this.#shut(step.link);
    }
  }

  #open(link: Link<Ask>): void {
    const { endpoint, identity } = this.#settings;
    const socket = this.#openContext().socket(SocketType.DEALER);
    this.#sockets.set(link, socket);
    this.#dropPoller();
    socket.set(Option.SNDHWM, 0);
    socket.set(Option.RCVHWM, 0);
    socket.set(Option.RECONNECT_IVL, RECONNECT_INTERVAL);
    socket.set(Option.RECONNECT_IVL_MAX, RECONNECT_INTERVAL_MAX);
    // Not always: libzmq then looks names up as IPv6 only, and localhost as ::1.
    if (endpoint.includes("[")) socket.set(Option.IPV6, 1);
    if (identity !== undefined) {
      socket.setBytes(Option.ROUTING_ID, encoder.encode(identity));
    }
    if (this.#keys !== undefined) prove(socket, this.#keys.own, this.#keys.server);
    socket.connect(endpoint);
  }

  /** Takes a request back. */
  #cancel({ link, id }: Step<Ask> & { do: "cancel" }): void {
    const socket = this.#sockets.get(link);
    socket?.sendMore(buildRequestHeader({ type: "cancel", id }));
    socket?.sendMore(DELIMITER);
    socket?.sendLast(DELIMITER);
  }

  #send(step: Step<Ask> & { do: "send" }): void {
    const socket = this.#sockets.get(step.link);
    if (socket === undefined) return;
    if (!this.#settings.plain) socket.sendMore(this.#headerOf(step));
    socket.sendMore(DELIMITER);
    const { frames } = step.item;
    const last = frames.length - 1;
    frames.forEach((frame, index) => {
      if (index < last) socket.sendMore(frame);
      else socket.sendLast(frame);
    });
  }

  /** A request's header: good until the next one is made. */
  #headerOf(step: Step<Ask> & { do: "send" }): Uint8Array<ArrayBuffer> {
    if (step.key !== "") return buildRequestHeader(step);
    writeRequestHeader(this.#headerView, step);
    return this.#header;
  }

  async #shut(link: Link<Ask>): Promise<void> {
    this.#dropPoller();
    this.#sockets.get(link)?.close(0);
    this.#sockets.delete(link);
    if (this.#settings.identity === undefined) return;
    // A server ignores a newcomer whose identity is still connected: let it see the old one go.
    await this.#closeContext();
    await new Promise((resolve) => setTimeout(resolve, LEAVE_TIME));
  }

  #giveUp({ item, tries, timeout }: Step<Ask> & { do: "giveUp" }): void {
    item.reject(new AbandonedError(this.#settings.endpoint, tries, timeout));
  }

  #openContext(): Context {
    return this.#context ??= new Context(this.#library);
  }

  async #closeContext(): Promise<void> {
    const context = this.#context;
    this.#context = undefined;
    await context?.terminate();
  }

  #dropPoller(): void {
    this.#poller?.close();
    this.#poller = undefined;
  }

  #closeSockets(): void {
    this.#dropPoller();
    for (const socket of this.#sockets.values()) socket.close(0);
    this.#sockets.clear();
  }

  async #close(): Promise<void> {
    for (const ask of this.#pirate.clear()) {
      ask.reject(new Error("Cannot wait for a reply: the client was closed"));
    }
    if (this.#running) this.#stir();
    await this.#running;
    this.#closeSockets();
    await this.#closeContext();
  }
}

/** Lets everything else have its turn: signals, timers, and all that a promise which was kept leads to. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** A socket's life, as the retry logic sees it. */
export interface Link<T> {
  /** The requests that wait on it. */
  readonly requests: Set<Pending<T>>;
  /** When it was opened, or (under an identity) last heard from, ms. */
  freshAt: number;
}

/** What was said of a request. */
export interface Terms {
  /** How long a try waits, ms. */
  timeout: number;
  /** How many tries follow the first. */
  retries: number;
  /** How long the handler may run, ms; 0: as long as the server allows. */
  requestTimeout: number;
  /** A later try joins an earlier one of the same key; "": each is on its own. */
  key: string;
}

/**
 * A request under way.
 *
 * ```text
 * add → trying ─answer→ (end)
 *       trying ─timeout→ trying, under a new id and on another link … → (given up)
 * ```
 */
export interface Pending<T> extends Terms {
  /** What the caller keeps of it. */
  readonly item: T;
  /** Its id on the wire: each sending has its own, so a late reply to an earlier one fits nothing. */
  id: number;
  /** Tries begun. */
  tries: number;
  /** When this try began, ms. */
  startedAt: number;
  /** The socket that this try waits on. */
  link: Link<T>;
  /** Those of earlier tries, kept open so that the server does not take them for given up, if any. */
  former: Set<Link<T>> | undefined;
}

/** What is to be done, in this order. */
export type Step<T> =
  | { do: "open"; link: Link<T> }
  | { do: "close"; link: Link<T> }
  | { do: "cancel"; link: Link<T>; id: number }
  | {
    do: "send";
    link: Link<T>;
    id: number;
    timeout: number;
    requestTimeout: number;
    key: string;
    item: T;
  }
  | { do: "giveUp"; item: T; tries: number; timeout: number };

/**
 * The retry logic, without clock and sockets: the guide's Lazy Pirate, with many requests on one
 * socket. Times are ms of any clock that never goes back. What it decides is fetched with `take`.
 *
 * A link whose request timed out gets no more requests, and is closed once it is empty. A plain link
 * has one request at a time, since its replies have no id.
 */
export class LazyPirate<T> {
  readonly #plain: boolean;
  readonly #named: boolean;
  readonly #requests = new Map<number, Pending<T>>();
  readonly #links = new Set<Link<T>>();
  /** Plain links without a request. */
  readonly #idle: Link<T>[] = [];
  /** The link for new tries, unless plain. */
  #current: Link<T> | undefined;
  #nextId: number;
  #dueAt = Infinity;
  #steps: Step<T>[] = [];

  /** Starts without a link. `named`: there can be one link at a time, for it has an identity. */
  constructor(options: { plain: boolean; named: boolean; firstId: number }) {
    this.#plain = options.plain;
    this.#named = options.named;
    this.#nextId = options.firstId;
  }

  /** Requests under way. */
  get size(): number {
    return this.#requests.size;
  }

  /** No try times out before this time: a lower bound, ms. */
  get dueAt(): number {
    return this.#dueAt;
  }

  /** Takes a request in. */
  add(item: T, terms: Terms, now: number): Pending<T> {
    const link = this.#linkFor(now);
    const { timeout, retries, requestTimeout, key } = terms;
    const request: Pending<T> = {
      item,
      timeout,
      retries,
      requestTimeout,
      key,
      id: 0,
      tries: 1,
      startedAt: now,
      link,
      former: undefined,
    };
    this.#put(request, link, now);
    return request;
  }

  /**
   * Ends the request that a message from `link` answers and returns its item, or undefined if there is
   * none: the reply is late, or nobody's. A plain reply has no id.
   */
  answer(link: Link<T>, id: number | undefined, code: number, now: number): T | undefined {
    if (this.#named && !this.#plain) link.freshAt = now;
    const request = id === undefined ? first(link.requests) : this.#requests.get(id);
    if (request === undefined) return undefined;
    // The server has seen this try time out a moment before its `tick` here.
    if (code === Code.expired && now >= deadline(request) - 1) return undefined;
    this.#remove(request);
    if (this.#plain) this.#idle.push(link);
    else if (link !== this.#current) this.#closeIfEmpty(link);
    this.#leaveFormer(request);
    return request.item;
  }

  /** Forgets a request that nobody waits for any more, and lets the server know. */
  drop(request: Pending<T>, now: number): void {
    if (this.#requests.get(request.id) !== request) return;
    this.#remove(request);
    this.#leaveFormer(request);
    // A plain link has no words for it.
    if (this.#plain) this.#retire(request.link, now);
    else this.#steps.push({ do: "cancel", link: request.link, id: request.id });
  }

  /** Forgets everything, links and steps too, and returns the items of what was under way. */
  clear(): T[] {
    const items = [...this.#requests.values()].map(({ item }) => item);
    this.#requests.clear();
    this.#links.clear();
    this.#idle.length = 0;
    this.#current = undefined;
    this.#steps = [];
    return items;
  }

  /** Does what is due at `now`; returns ms until it must run again. */
  tick(now: number): number {
    if (now >= this.#dueAt) this.#timeOut(now);
    return this.#requests.size === 0 ? Infinity : this.#dueAt - now;
  }

  /** What was decided since the last call. */
  take(): Step<T>[] {
    const steps = this.#steps;
    this.#steps = [];
    const isOver = (step: Step<T>) => step.do === "send" && !this.#requests.has(step.id);
    const unsent = new Set(steps.filter(isOver).map((step) => "id" in step ? step.id : undefined));
    if (unsent.size === 0) return steps;
    return steps.filter((step) => !("id" in step && unsent.has(step.id)));
  }

  #timeOut(now: number): void {
    const late = [...this.#requests.values()].filter((request) => deadline(request) <= now);
    for (const request of late) this.#lapse(request);
    for (const { link, startedAt } of late) if (link.freshAt <= startedAt) this.#retire(link, now);
    for (const request of late) this.#takeBack(request);
    for (const request of late) this.#tryAgain(request, now);
    this.#dueAt = Infinity;
    for (const request of this.#requests.values()) this.#expect(request);
  }

  /** A try is over. If the next one is to join it, its link stays open. */
  #lapse(request: Pending<T>): void {
    const { link, key } = request;
    this.#remove(request);
    if (key === "" || this.#named) return;
    link.requests.add(request);
    request.former ??= new Set();
    request.former.add(link);
  }

  /** Lets the server know that nobody waits for a request, unless its link's end tells that. */
  #takeBack({ id, link, key }: Pending<T>): void {
    const knows = this.#plain || key !== "" || !this.#links.has(link);
    if (!knows) this.#steps.push({ do: "cancel", link, id });
  }

  /** The links of a request's earlier tries are needed no more. */
  #leaveFormer(request: Pending<T>): void {
    if (request.former === undefined) return;
    for (const link of request.former) {
      link.requests.delete(request);
      if (link !== this.#current) this.#closeIfEmpty(link);
    }
    request.former = undefined;
  }

  #tryAgain(request: Pending<T>, now: number): void {
    const { item, tries, timeout, retries } = request;
    if (tries > retries) {
      this.#leaveFormer(request);
      this.#steps.push({ do: "giveUp", item, tries, timeout });
      return;
    }
    request.tries++;
    request.startedAt = now;
    this.#put(request, this.#linkFor(now), now);
  }

  /** Sends a request on `link`, under a new id. */
  #put(request: Pending<T>, link: Link<T>, now: number): void {
    request.link = link;
    request.id = this.#nextId++;
    this.#requests.set(request.id, request);
    link.requests.add(request);
    this.#expect(request);
    const { id, item, key, requestTimeout } = request;
    const timeout = deadline(request) - now;
    this.#steps.push({ do: "send", link, id, timeout, requestTimeout, key, item });
  }

  #remove(request: Pending<T>): void {
    this.#requests.delete(request.id);
    request.link.requests.delete(request);
  }

  #expect(request: Pending<T>): void {
    this.#dueAt = Math.min(this.#dueAt, deadline(request));
  }

  #linkFor(now: number): Link<T> {
    if (this.#plain) return this.#idle.pop() ?? this.#open(now);
    return this.#current ??= this.#open(now);
  }

  #open(now: number): Link<T> {
    const link: Link<T> = { requests: new Set(), freshAt: now };
    this.#links.add(link);
    this.#steps.push({ do: "open", link });
    return link;
  }

  #retire(link: Link<T>, now: number): void {
    if (link === this.#current) this.#current = undefined;
    const moved = this.#named ? [...link.requests] : [];
    for (const request of moved) this.#remove(request);
    this.#closeIfEmpty(link);
    for (const request of moved) this.#put(request, this.#linkFor(now), now);
  }

  #closeIfEmpty(link: Link<T>): void {
    if (link.requests.size > 0 || !this.#links.delete(link)) return;
    this.#steps.push({ do: "close", link });
  }
}

function deadline({ startedAt, timeout }: Pending<unknown>): number {
  return startedAt + timeout;
}

function first<T>(set: ReadonlySet<T>): T | undefined {
  for (const value of set) return value;
  return undefined;
}

/** A client's options, complete and checked. */
interface Settings {
  timeout: number;
  retries: number;
  endpoint: string;
  identity: string | undefined;
  plain: boolean;
  curve: CurveOptions | undefined;
}

/** Keys that were read. */
interface Keys {
  own: KeyPair;
  server: string;
}

const MAX_TIMEOUT = 0xffffffff;
const CLIENT_OPTIONS = ["endpoint", "timeout", "retries", "identity", "plain", "curve"];
const CURVE_OPTIONS = ["serverKey", "keyFile"];
const REQUEST_OPTIONS = ["signal", "timeout", "retries", "requestTimeout", "key"];

function checkOptions(options: ClientOptions): Settings {
  const what = "make a client";
  checkNames(what, options, CLIENT_OPTIONS);
  const { endpoint = "tcp://localhost:6660", timeout = 10_000, retries = 2 } = options;
  const { identity, plain = false, curve } = options;
  if (typeof endpoint !== "string" || !isEndpoint(endpoint)) {
    const rule = `a string like "tcp://host:port" or "ipc://path"`;
    throw wrong(what, "endpoint", rule, endpoint, typeof endpoint === "string");
  }
  checkLimits(what, { timeout, retries });
  if (identity !== undefined) checkIdentity(what, identity);
  if (typeof plain !== "boolean") throw wrong(what, "plain", "a boolean", plain, false);
  if (curve !== undefined) checkCurve(what, curve);
  return { endpoint, timeout, retries, identity, plain, curve };
}

function checkCurve(what: string, curve: CurveOptions): void {
  if (typeof curve !== "object" || curve === null) {
    throw wrong(what, "curve", "an object with a serverKey", curve, false);
  }
  checkNames(what, curve, CURVE_OPTIONS);
  for (const name of ["serverKey", "keyFile"] as const) {
    const value: unknown = curve[name];
    if (typeof value === "string" && value !== "" || name === "keyFile" && value === undefined) {
      continue;
    }
    const rule = "a string that is not empty";
    throw wrong(what, `curve.${name}`, rule, value, typeof value === "string");
  }
}

function readKeys({ serverKey, keyFile }: CurveOptions, library: Library): Keys {
  const server = readPublicKey(serverKey);
  if (keyFile === undefined) return { own: makeKeyPair(library), server };
  const secretKey = readSecretKey(keyFile);
  return { own: { secretKey, publicKey: publicKeyOf(library, secretKey) }, server };
}

function isEndpoint(endpoint: string): boolean {
  const port = Number(/^tcp:\/\/.+:(\d+)$/.exec(endpoint)?.[1] ?? 0);
  return port >= 1 && port <= 65_535 || /^ipc:\/\/./.test(endpoint);
}

function checkRequestOptions(options: RequestOptions, defaults: Settings): Terms {
  const what = "send a request";
  checkNames(what, options, REQUEST_OPTIONS);
  const { signal, timeout = defaults.timeout, retries = defaults.retries } = options;
  const { requestTimeout = 0, key = "" } = options;
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw wrong(what, "signal", "an AbortSignal", signal, false);
  }
  checkLimits(what, { timeout, retries });
  checkHeadedOnly(what, options, defaults);
  return { timeout, retries, requestTimeout, key };
}

/** Checks what only a request with a header can say. */
function checkHeadedOnly(what: string, options: RequestOptions, { plain }: Settings): void {
  const { requestTimeout = 0, key = "" } = options;
  if (
    typeof requestTimeout !== "number" || !(requestTimeout >= 0 && requestTimeout <= MAX_TIMEOUT)
  ) {
    const rule = `a number of ms from 0 to ${MAX_TIMEOUT}`;
    throw wrong(what, "requestTimeout", rule, requestTimeout, typeof requestTimeout === "number");
  }
  if (typeof key !== "string" || !fitsInKey(key)) {
    const rule = `a string of at most ${MAX_KEY_BYTES} bytes`;
    throw wrong(what, "key", rule, key, typeof key === "string");
  }
  if (plain && (requestTimeout > 0 || key !== "")) {
    throw new TypeError(`Cannot ${what} with "requestTimeout" or "key" as a plain client`);
  }
}

/** UTF-8 takes so many at most for each 16 bits of a string. */
const CHARACTER_BYTES = 3;

function fitsInKey(key: string): boolean {
  // Only long ones need counting.
  return key.length * CHARACTER_BYTES <= MAX_KEY_BYTES ||
    encoder.encode(key).length <= MAX_KEY_BYTES;
}

function checkNames(what: string, options: object, known: readonly string[]): void {
  const name = Object.keys(options).find((key) => !known.includes(key));
  if (name === undefined) return;
  throw new TypeError(`Cannot ${what} as there is no option "${name}": use ${known.join(", ")}`);
}

function checkLimits(what: string, { timeout, retries }: Pick<Terms, "timeout" | "retries">): void {
  if (typeof timeout !== "number" || !(timeout >= 1 && timeout <= MAX_TIMEOUT)) {
    const rule = `a number of ms from 1 to ${MAX_TIMEOUT}`;
    throw wrong(what, "timeout", rule, timeout, typeof timeout === "number");
  }
  if (!Number.isSafeInteger(retries) || retries < 0) {
    throw wrong(what, "retries", "an integer >= 0", retries, typeof retries === "number");
  }
}

function checkIdentity(what: string, identity: string): void {
  const bytes = typeof identity === "string" ? encoder.encode(identity) : DELIMITER;
  if (bytes.length >= 1 && bytes.length <= 255 && bytes[0] !== 0) return;
  const rule = "a string of 1 to 255 bytes, the first of them not 0";
  throw wrong(what, "identity", rule, identity, typeof identity === "string");
}

/** The error for a value that breaks a rule, though it may have the right type. */
function wrong(what: string, name: string, rule: string, value: unknown, typed: boolean): Error {
  const text = Deno.inspect(value, { strAbbreviateSize: 100 });
  const message = `Cannot ${what} as "${name}" must be ${rule}: current value is ${text}`;
  return typed ? new RangeError(message) : new TypeError(message);
}

/** Bytes that small frames share. What keeps one of them keeps all of these. */
const SHARED_BYTES = 8192;
const SMALL_BYTES = 512;

/** Copies bodies, for they may be sent more than once; small frames share memory, which costs less. */
class Copier {
  #shared = new Uint8Array(SHARED_BYTES);
  #used = 0;

  /** A body's frames. @throws {TypeError} when it is no body. */
  copy(body: RequestBody): Uint8Array<ArrayBuffer>[] {
    if (typeof body === "string" || body instanceof Uint8Array) return [this.#frame(body)];
    if (!Array.isArray(body) || body.length === 0) throw wrongBody(body);
    return body.map((frame) => {
      if (typeof frame !== "string" && !(frame instanceof Uint8Array)) throw wrongBody(body);
      return this.#frame(frame);
    });
  }

  #frame(frame: Uint8Array | string): Uint8Array<ArrayBuffer> {
    const isText = typeof frame === "string";
    const most = isText ? frame.length * CHARACTER_BYTES : frame.length;
    if (most > SMALL_BYTES) return isText ? encoder.encode(frame) : new Uint8Array(frame);
    if (this.#used + most > SHARED_BYTES) {
      this.#shared = new Uint8Array(SHARED_BYTES);
      this.#used = 0;
    }
    const room = this.#shared.subarray(this.#used);
    const size = isText ? encoder.encodeInto(frame, room).written : frame.length;
    if (!isText) room.set(frame);
    this.#used += size;
    return room.subarray(0, size);
  }
}

function wrongBody(body: unknown): TypeError {
  const text = Deno.inspect(body, { depth: 1, iterableLimit: 3, strAbbreviateSize: 100 });
  return new TypeError(
    `Cannot send a request as the body must be a Uint8Array, a string, or a list of at least one: ` +
      `current value is ${text}`,
  );
}

/** `ZMQ_LIBRARY`, if this program may read it; never asks for the permission. */
function libraryOverride(): string | undefined {
  const { state } = Deno.permissions.querySync({ name: "env", variable: "ZMQ_LIBRARY" });
  return state === "granted" ? Deno.env.get("ZMQ_LIBRARY") : undefined;
}

const HELP = `Ask a ZeroMQ job server.

Usage: deno task client [options] [file…]

The request is --data, or what the files contain, or standard input. One newline at the end of the
files or of standard input is left off. Only replies go to stdout.

Options:
  -e, --endpoint ENDPOINT  where the server is (tcp://localhost:6660)
  -t, --timeout TIME       how long one try waits: seconds, or 500ms, 10s, 5m (10s)
  -r, --retries N          how often an unanswered request is sent again (2)
  -i, --identity NAME      the name that the server knows this client by
      --curve-server-key KEY|FILE
                           the public key of a server that asks for keys, or its file
      --curve-key FILE     this client's secret key; without it, one is made that nobody knows
      --data TEXT          the request
  -k, --key KEY            a name for the request: while another of that name is under way, or its
                           answer is kept, this one gets the same answer
      --request-timeout TIME
                           how long the handler may run (as long as the server lets it)
      --plain              send the bare envelope of a REQ socket
      --lines              each line is a request; the replies come in the order of the lines
  -j N                     with --lines: so many requests at a time (1)
      --raw                print the reply as it is, with no newline after each frame
  -q, --quiet              show no progress bar
  -h, --help               show this help

Exit status: 0 answered, 1 error reply, 2 usage or local error, 3 no answer. With --lines, that of
the worst line.
`;

/** What the command line asks for. */
interface Command {
  client: ClientOptions;
  request: RequestOptions;
  /** The request itself; undefined: read `files`, or stdin if there are none. */
  text: string | undefined;
  files: string[];
  lines: boolean;
  jobs: number;
  raw: boolean;
  quiet: boolean;
  help: boolean;
}

/** Reads the arguments, or throws a TypeError or RangeError. */
function readCommand(args: string[]): Command {
  const unknown: string[] = [];
  const flags: Record<string, unknown> = parseArgs(args, {
    string: [
      "endpoint",
      "timeout",
      "retries",
      "identity",
      "key",
      "request-timeout",
      "data",
      "j",
      "_",
      ...CURVE_FLAGS,
    ],
    boolean: ["plain", "lines", "raw", "quiet", "help"],
    alias: {
      endpoint: "e",
      timeout: "t",
      retries: "r",
      identity: "i",
      key: "k",
      quiet: "q",
      help: "h",
    },
    unknown: (arg, key) => key === undefined || (unknown.push(arg), false),
  });
  if (unknown.length > 0) throw new TypeError(`Cannot run as there is no option "${unknown[0]}"`);
  const option = (name: string) => typeof flags[name] === "string" ? flags[name] : undefined;
  const [timeout, retries, jobs] = [option("timeout"), option("retries"), option("j")];
  const client = {
    endpoint: option("endpoint"),
    timeout: timeout === undefined ? undefined : readDuration("--timeout", timeout),
    retries: retries === undefined ? undefined : readInteger("--retries", retries, 0),
    identity: option("identity"),
    plain: flags.plain === true,
    curve: readCurve(option("curve-server-key"), option("curve-key")),
  };
  const runTimeout = option("request-timeout");
  const request = {
    key: option("key"),
    requestTimeout: runTimeout === undefined
      ? undefined
      : readDuration("--request-timeout", runTimeout),
  };
  const command = {
    client,
    request,
    text: option("data"),
    // parseArgs takes the value of --data "" for an argument of its own.
    files: Array.isArray(flags._) ? flags._.map(String).filter((path) => path !== "") : [],
    lines: flags.lines === true,
    jobs: jobs === undefined ? 1 : readInteger("-j", jobs, 1),
    raw: flags.raw === true,
    quiet: flags.quiet === true,
    help: flags.help === true,
  };
  checkCombination(command, jobs !== undefined);
  return command;
}

const CURVE_FLAGS = ["curve-server-key", "curve-key"];

function readCurve(
  serverKey: string | undefined,
  keyFile: string | undefined,
): CurveOptions | undefined {
  if (serverKey !== undefined) return { serverKey, keyFile };
  if (keyFile === undefined) return undefined;
  throw new TypeError(`Cannot run with "--curve-key" alone: it needs "--curve-server-key"`);
}

function checkCombination(
  { client, request, text, files, lines, jobs }: Command,
  hasJobs: boolean,
): void {
  if (text !== undefined && files.length > 0) {
    throw new TypeError(`Cannot run with "--data" and files: give one or the other`);
  }
  if (lines && request.key !== undefined) {
    throw new TypeError(`Cannot run with "--lines" and "--key": each line is a request of its own`);
  }
  if (hasJobs && !lines) throw new TypeError(`Cannot run with "-j" alone: it needs "--lines"`);
  if (jobs > 1 && client.plain && client.identity !== undefined) {
    throw new TypeError(`Cannot run with "--plain" and "--identity" and more than one at a time`);
  }
}

const UNIT_MS = new Map([["ms", 1], ["s", 1000], ["m", 60_000], ["h", 3_600_000]]);

/** Milliseconds; a bare number is seconds. */
function readDuration(name: string, text: string): number {
  const [, number, unit = "s"] = /^(\d+\.?\d*|\.\d+)(ms|s|m|h)?$/.exec(text) ?? [];
  if (number !== undefined) return Number(number) * (UNIT_MS.get(unit) ?? NaN);
  throw new TypeError(
    `Cannot run as "${name}" must be like 10, 500ms, 10s or 5m: current value is "${text}"`,
  );
}

function readInteger(name: string, text: string, min: number): number {
  const number = Number(text);
  if (/^\d+$/.test(text) && number >= min) return number;
  throw new RangeError(
    `Cannot run as "${name}" must be an integer >= ${min}: current value is "${text}"`,
  );
}

/** Where a request's bytes come from. */
interface Input {
  chunks: AsyncIterable<Uint8Array>;
  /** Bytes in it, if that is known. */
  size: number | undefined;
}

/** Opens all inputs, so that a missing file is found before anything is sent. */
function openInputs({ text, files }: Command): Input[] {
  if (text !== undefined) {
    const bytes = encoder.encode(text);
    return [{ chunks: ReadableStream.from([bytes]), size: bytes.length }];
  }
  return files.length === 0 ? [openInput("-")] : files.map(openInput);
}

function openInput(path: string): Input {
  if (path === "-") return { chunks: Deno.stdin.readable, size: fileSize("/dev/stdin") };
  return { chunks: Deno.openSync(path).readable, size: fileSize(path) };
}

function fileSize(path: string): number | undefined {
  try {
    const { isFile, size } = Deno.statSync(path);
    return isFile ? size : undefined;
  } catch {
    return undefined; // /dev/stdin does not exist everywhere, and can be a closed pipe
  }
}

/** All of the inputs as one body. */
async function readBody(command: Command): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for (const input of openInputs(command)) {
    for await (const chunk of input.chunks) chunks.push(chunk);
  }
  const body = concat(chunks);
  const chomp = command.text === undefined && body.at(-1) === NEWLINE;
  return chomp ? body.subarray(0, -1) : body;
}

/**
 * Lines without their newlines, those that end in a chunk at a time; the last one of an input needs
 * none. Each group is to be taken to its end before the next.
 */
async function* readLines(inputs: readonly Input[]): AsyncGenerator<Iterable<Uint8Array>> {
  for (const { chunks } of inputs) {
    const begun: Uint8Array[] = [];
    for await (const chunk of chunks) yield linesOf(chunk, begun);
    if (begun.length > 0) yield [concat(begun)];
  }
}

/** The lines that end in a chunk; `begun` is what earlier chunks have of the first one, then of the next. */
function* linesOf(chunk: Uint8Array, begun: Uint8Array[]): Generator<Uint8Array> {
  let start = 0;
  for (let end; (end = chunk.indexOf(NEWLINE, start)) >= 0; start = end + 1) {
    const line = chunk.subarray(start, end);
    yield begun.length === 0 ? line : concat([...begun.splice(0), line]);
  }
  if (start < chunk.length) begun.push(chunk.subarray(start));
}

const NEWLINE = 10;

function concat(chunks: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(chunks.reduce((sum, { length }) => sum + length, 0));
  let offset = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, offset);
    offset += chunk.length;
  }
  return bytes;
}

/** Bytes of replies that are written at once. */
const OUTPUT_BYTES = 65_536;

/** Collects replies for stdout. */
class Output {
  readonly #raw: boolean;
  readonly #bytes = new Uint8Array(OUTPUT_BYTES);
  #size = 0;

  /** `raw`: with no newline after each frame. */
  constructor({ raw }: Command) {
    this.#raw = raw;
  }

  /** Adds a reply. @throws when stdout fails, for it writes if there is no room. */
  add({ frames }: Reply): void {
    for (const frame of frames) {
      this.#append(frame);
      if (!this.#raw) this.#append(NEWLINE_FRAME);
    }
  }

  /** Writes what was added. @throws when stdout fails. */
  flush(): void {
    const size = this.#size;
    this.#size = 0;
    print(this.#bytes.subarray(0, size));
  }

  #append(bytes: Uint8Array): void {
    if (this.#size + bytes.length > OUTPUT_BYTES) this.flush();
    if (bytes.length > OUTPUT_BYTES) return print(bytes);
    this.#bytes.set(bytes, this.#size);
    this.#size += bytes.length;
  }
}

const NEWLINE_FRAME = Uint8Array.of(NEWLINE);

const BAR_WIDTH = 30;
const BAR_INTERVAL = 100;
const ERASE = "\r\x1b[K";

/** A progress bar on stderr. It moves when a line has ended. */
class ProgressBar {
  readonly #shown: boolean;
  readonly #total: number;
  #bytes = 0;
  #lines = 0;
  #failed = 0;
  #drawnAt = -Infinity;
  #drawn = false;

  /** `total`: bytes of all lines, or NaN. */
  constructor(shown: boolean, total: number) {
    this.#shown = shown;
    this.#total = total;
  }

  /** Counts a line of so many bytes. */
  add(bytes: number, outcome: Reply | Error): void {
    this.#bytes += bytes;
    this.#lines++;
    if (outcome instanceof Error) this.#failed++;
  }

  /** Shows itself, unless it has just done so. */
  draw(now: number): void {
    if (!this.#shown || now - this.#drawnAt < BAR_INTERVAL) return;
    this.#drawnAt = now;
    this.#drawn = true;
    complain(`\r${this.#text()}`);
  }

  /** Makes room for other output. */
  erase(): void {
    if (this.#drawn) complain(ERASE);
    this.#drawn = false;
  }

  #text(): string {
    const failed = this.#failed > 0 ? `, ${this.#failed} failed` : "";
    const counts = `${this.#lines} lines${failed}`;
    const part = Math.min(1, this.#bytes / this.#total);
    if (Number.isNaN(part)) return counts;
    const bar = "#".repeat(Math.floor(part * BAR_WIDTH)).padEnd(BAR_WIDTH, ".");
    return `[${bar}] ${Math.floor(part * 100)} % ${counts}`;
  }
}

async function askOnce(client: Client, command: Command): Promise<number> {
  const output = new Output(command);
  output.add(await client.request(await readBody(command), command.request));
  output.flush();
  return EXIT_OK;
}

/** Lines that may wait for an earlier one's reply, for each that may be under way. */
const UNPRINTED_PER_JOB = 16;

/** A line, and what became of it. */
interface Line {
  number: number;
  bytes: number;
  outcome: Reply | Error | undefined;
}

/** Asks a line at a time, or several, and prints the replies in the order of the lines. */
class LineRun {
  readonly #client: Client;
  readonly #command: Command;
  readonly #inputs: Input[];
  readonly #output: Output;
  readonly #bar: ProgressBar;
  readonly #failed = Promise.withResolvers<never>();
  /** Lines that were read and not asked; undefined: there is none left. */
  #unasked: Iterator<Uint8Array> | undefined;
  /** Lines that were asked and not printed, in their order. */
  readonly #unprinted: Line[] = [];
  #number = 0;
  #underWay = 0;
  #worst = EXIT_OK;
  /** going → (settling → going)* → stopped, as stdout takes no more */
  #state: "going" | "settling" | "stopped" = "going";
  /** Tells the reader that lines were asked and printed. */
  #moved: (() => void) | undefined;

  constructor(client: Client, command: Command) {
    this.#client = client;
    this.#command = command;
    this.#inputs = openInputs(command);
    this.#output = new Output(command);
    const total = this.#inputs.reduce((sum, { size = NaN }) => sum + size, 0);
    this.#bar = new ProgressBar(Deno.stderr.isTerminal() && !command.quiet, total);
  }

  /** Runs to the end of the input, or until stdout fails; returns the worst line's exit code. */
  async run(): Promise<number> {
    try {
      await Promise.race([this.#readAll(), this.#failed.promise]);
    } finally {
      this.#bar.erase();
    }
    return this.#worst;
  }

  async #readAll(): Promise<void> {
    for await (const lines of readLines(this.#inputs)) {
      this.#unasked = lines[Symbol.iterator]();
      this.#askNext();
      while (this.#unasked !== undefined) await this.#move();
    }
    while (this.#unprinted.length > 0) await this.#move();
  }

  #move(): Promise<void> {
    return new Promise((resolve) => this.#moved = resolve);
  }

  /** Asks as many as may be under way. */
  #askNext(): void {
    const { jobs } = this.#command;
    if (this.#state === "stopped") this.#unasked = undefined;
    while (this.#underWay < jobs && this.#unprinted.length < jobs * UNPRINTED_PER_JOB) {
      const line = this.#unasked?.next();
      if (line === undefined || line.done) return void (this.#unasked = undefined);
      this.#ask(line.value);
    }
  }

  #ask(bytes: Uint8Array): void {
    const line: Line = { number: ++this.#number, bytes: bytes.length + 1, outcome: undefined };
    this.#unprinted.push(line);
    this.#underWay++;
    // Without a signal, which may give any reason, it rejects with errors only.
    this.#client.request(bytes, this.#command.request).then(
      (reply) => this.#end(line, reply),
      (error: Error) => this.#end(line, error),
    );
  }

  #end(line: Line, outcome: Reply | Error): void {
    line.outcome = outcome;
    this.#underWay--;
    this.#askNext();
    if (this.#state !== "going") return;
    this.#state = "settling";
    // Once all have ended whose replies came together, and the client has sent what they led to.
    setImmediate(() => this.#settle());
  }

  #settle(): void {
    try {
      this.#bar.erase();
      this.#printEnded();
      this.#bar.draw(performance.now());
      this.#state = "going";
    } catch (error) {
      this.#state = "stopped";
      this.#failed.reject(error);
    }
    this.#askNext();
    this.#moved?.();
  }

  /** Prints what has ended up to the first line that has not. */
  #printEnded(): void {
    for (;;) {
      const [line] = this.#unprinted;
      if (line?.outcome === undefined) break;
      this.#unprinted.shift();
      this.#print(line.number, line.outcome);
      this.#bar.add(line.bytes, line.outcome);
    }
    this.#output.flush();
  }

  #print(number: number, outcome: Reply | Error): void {
    if (outcome instanceof Reply) return this.#output.add(outcome);
    // What was said before goes first.
    this.#output.flush();
    complain(`client: line ${number}: ${explain(outcome)}\n`);
    this.#worst = Math.max(this.#worst, exitCode(outcome));
  }
}

const EXIT_OK = 0;
const EXIT_ERROR_REPLY = 1;
const EXIT_USAGE = 2;
const EXIT_NO_ANSWER = 3;

function exitCode(error: unknown): number {
  if (error instanceof AbandonedError) return EXIT_NO_ANSWER;
  return error instanceof ReplyError ? EXIT_ERROR_REPLY : EXIT_USAGE;
}

function explain(error: unknown): string {
  if (error instanceof ReplyError) return `error ${error.code}: ${error.message}`;
  return error instanceof Error ? error.message : String(error);
}

/** Writes to stdout. It may block: replies then wait in the socket, and are read before any timeout. */
function print(bytes: Uint8Array): void {
  let written = 0;
  while (written < bytes.length) written += Deno.stdout.writeSync(bytes.subarray(written));
}

/** Writes to stderr, which may be closed. */
function complain(text: string): void {
  try {
    Deno.stderr.writeSync(encoder.encode(text));
  } catch {
    // nobody listens
  }
}

async function main(args: string[]): Promise<number> {
  try {
    const command = readCommand(args);
    if (command.help) {
      print(encoder.encode(HELP));
      return EXIT_OK;
    }
    shutDebugger(locateLibrary(libraryOverride()).path);
    await using client = new Client(command.client);
    if (command.lines) return await new LineRun(client, command).run();
    return await askOnce(client, command);
  } catch (error) {
    if (error instanceof Deno.errors.BrokenPipe) return EXIT_OK;
    const usage = error instanceof TypeError || error instanceof RangeError;
    complain(`client: ${explain(error)}${usage ? "; -h shows the options" : ""}\n`);
    return exitCode(error);
  }
}

if (import.meta.main) Deno.exit(await main(Deno.args));
