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
import { main } from "./cli/client.ts";
import { Connection, type ConnectionState, describeState } from "./client/connection.ts";
import { Copier, type RequestBody } from "./client/copier.ts";
import {
  LazyPirate,
  type Link,
  type Repetition,
  type Step,
  type Terms,
} from "./client/lazy_pirate.ts";
import {
  checkOptions,
  checkRequestOptions,
  type ClientOptions,
  type Keys,
  readKeys,
  type RequestOptions,
  type RetryReason,
  type Settings,
} from "./client/options.ts";
import { AbandonedError, Reply, ReplyError } from "./client/reply.ts";
import { commandName } from "./cli/program.ts";
import {
  buildRequestHeader,
  Code,
  DELIMITER,
  HEADER_BYTES,
  MAX_KEY_BYTES,
  parseErrorText,
  readRequestId,
  readStatus,
  readStatusFlags,
  StatusFlag,
  writeRequestHeader,
} from "./wire/request.ts";
import { prove } from "./zmq/curve.ts";
import { shutDebugger } from "./system/debugger.ts";
import { type Library, Option } from "./zmq/library.ts";
import { locateLibrary } from "./zmq/locate.ts";
import { type Message, MessagePool } from "./zmq/message.ts";
import { Poller } from "./zmq/poller.ts";
import { Context, type Socket } from "./zmq/socket.ts";

export type { RequestBody } from "./client/copier.ts";
export type {
  ClientOptions,
  CurveOptions,
  RequestOptions,
  Retry,
  RetryReason,
} from "./client/options.ts";
export { AbandonedError, Reply, ReplyError } from "./client/reply.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder();

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
/** How often an idle client reads what has become of its connections, ms. */
const NEWS_INTERVAL = 10_000;
/** How long a server may take to notice that a connection was closed, ms; a busy one takes longer. */
const LEAVE_TIME = 20;

/**
 * A client of one server, or of several of which it asks one, for any number of requests at a time.
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
  readonly #connections = new Map<Link<Ask>, Connection>();
  /** How servers that would not start requests have put it, by request. */
  readonly #refusals = new WeakMap<Ask, ReplyError>();
  /** Reads the news of connections while nothing else does. */
  #newsTimer: ReturnType<typeof setInterval> | undefined;
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
    const { plain, identity, endpoints } = this.#settings;
    // Not from 0: a server may still answer what an earlier client of this identity asked.
    const firstId = crypto.getRandomValues(new Uint32Array(1))[0] ?? 0;
    const named = identity !== undefined;
    this.#pirate = new LazyPirate({ plain, named, firstId, endpoints: endpoints.length });
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

  /**
   * What the requests under way wait for: where they were sent to last, and what is known of that
   * connection, as half a sentence for people to read; undefined while there are none.
   */
  get waitingFor(): string | undefined {
    const last = [...this.#connections.values()].at(-1);
    if (this.#pirate.size === 0 || last === undefined) return undefined;
    return `"${last.endpoint}": ${describeState(last.state, this.#keys !== undefined)}`;
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
    this.#poller ??= new Poller(this.#openContext(), this.#watched());
    await this.#poller.wait(timeout);
  }

  #watched(): Socket[] {
    return [...this.#connections.values()].flatMap(({ watched }) => watched);
  }

  #readable(): boolean {
    for (const { watched: [socket, news] } of this.#connections.values()) {
      if (socket?.readable() || news?.readable()) return true;
    }
    return false;
  }

  /** Learns which connections were made and which have ended. */
  #readNews(now: number): void {
    for (const [link, connection] of this.#connections) {
      for (const news of connection.news()) {
        if (news === "connected") this.#pirate.connected(link, now);
        else this.#pirate.disconnected(link, now);
      }
    }
  }

  /** Reads what is there; true if there is more. */
  #receive(now: number): boolean {
    // Before anything times out, all that may be its answer is read.
    const isDue = now >= this.#pirate.dueAt;
    let left = isDue ? BATCH + this.#pirate.size : BATCH;
    for (const [link, { socket, watched }] of this.#connections) {
      if (isDue) { for (const each of watched) each.stir(); }
      while (left > 0 && this.#receiveMessage(link, socket, now)) left--;
    }
    // After the replies: those that a connection brought before its end are answers all the same.
    this.#readNews(now);
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
    const flags = readStatusFlags(this.#controlView);
    const frames = this.#receiveFrames(socket);
    if (id === undefined || code === undefined) return;
    if (code === Code.unavailable && (flags & StatusFlag.unstarted) !== 0) {
      return this.#takeRefusal(link, id, frames, now);
    }
    const ask = this.#pirate.answer(link, id, code, now);
    if (code === Code.ok) ask?.resolve(new Reply(frames));
    else ask?.reject(new ReplyError(code, decoder.decode(frames[0])));
  }

  /** A server that shuts down will not start a request. */
  #takeRefusal(link: Link<Ask>, id: number, frames: Uint8Array[], now: number): void {
    const error = new ReplyError(Code.unavailable, decoder.decode(frames[0]));
    const refused = this.#pirate.refuse(link, id, now);
    if (refused?.final) refused.item.reject(error);
    else if (refused !== undefined) this.#refusals.set(refused.item, error);
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
    // First, for the others may fail or take their time, and close what these ask about.
    for (const step of steps) {
      if (step.do === "giveUp") this.#giveUp(step);
      else if (step.do === "retry") this.#tellRetry(step);
    }
    for (const step of steps) {
      if (this.#closing) return;
      if (step.do === "open") this.#open(step.link);
      else if (step.do === "send") this.#send(step);
      else if (step.do === "cancel") this.#cancel(step);
      else if (step.do === "close") await this.#shut(step.link);
    }
  }

  #open(link: Link<Ask>): void {
    const { endpoints, identity } = this.#settings;
    const connection = new Connection(this.#openContext(), endpoints[link.endpoint] ?? "");
    this.#connections.set(link, connection);
    this.#dropPoller();
    if (identity !== undefined) {
      connection.socket.setBytes(Option.ROUTING_ID, encoder.encode(identity));
    }
    if (this.#keys !== undefined) prove(connection.socket, this.#keys.own, this.#keys.server);
    connection.connect();
    if (this.#newsTimer !== undefined) return;
    this.#newsTimer = setInterval(() => this.#readNews(performance.now()), NEWS_INTERVAL);
    Deno.unrefTimer(this.#newsTimer);
  }

  /** Takes a request back. */
  #cancel({ link, id }: Step<Ask> & { do: "cancel" }): void {
    const socket = this.#connections.get(link)?.socket;
    socket?.sendMore(buildRequestHeader({ type: "cancel", id }));
    socket?.sendMore(DELIMITER);
    socket?.sendLast(DELIMITER);
  }

  #send(step: Step<Ask> & { do: "send" }): void {
    const socket = this.#connections.get(step.link)?.socket;
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
    this.#connections.get(link)?.close();
    this.#connections.delete(link);
    if (this.#settings.identity === undefined) return;
    // A server ignores a newcomer whose identity is still connected: let it see the old one go.
    await this.#closeContext();
    await new Promise((resolve) => setTimeout(resolve, LEAVE_TIME));
  }

  #giveUp({ item, tries, timeout, link, refused }: Step<Ask> & { do: "giveUp" }): void {
    const refusal = refused ? this.#refusals.get(item) : undefined;
    if (refusal !== undefined) return item.reject(refusal);
    const state = this.#stateOf(link);
    const endpoint = this.#settings.endpoints.join(", ");
    const reason = reasonOf(state);
    const detail = describeState(state, this.#keys !== undefined);
    item.reject(new AbandonedError(endpoint, tries, timeout, reason, detail));
  }

  #tellRetry({ request, attempt, link, reason }: Repetition<Ask>): void {
    const { endpoints, onRetry } = this.#settings;
    if (onRetry === undefined) return;
    const endpoint = endpoints[link.endpoint] ?? "";
    try {
      const why = reason === "refused" ? "unavailable" : reasonOf(this.#stateOf(link));
      onRetry({ attempt, endpoint, reason: why });
    } catch (error) {
      this.#pirate.drop(request, performance.now());
      this.#stir();
      request.item.reject(error);
    }
  }

  #stateOf(link: Link<Ask>): ConnectionState {
    return this.#connections.get(link)?.state ?? "unconnected";
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
    for (const connection of this.#connections.values()) connection.close();
    this.#connections.clear();
    clearInterval(this.#newsTimer);
    this.#newsTimer = undefined;
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

/** What a connection's state means for a request that waits on it. */
function reasonOf(state: ConnectionState): Exclude<RetryReason, "unavailable"> {
  if (state === "unconnected" || state === "connected") {
    return state === "connected" ? "unanswered" : "unconnected";
  }
  return "handshake";
}

/** Lets everything else have its turn: signals, timers, and all that a promise which was kept leads to. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** `ZMQ_LIBRARY`, if this program may read it; never asks for the permission. */
function libraryOverride(): string | undefined {
  const { state } = Deno.permissions.querySync({ name: "env", variable: "ZMQ_LIBRARY" });
  return state === "granted" ? Deno.env.get("ZMQ_LIBRARY") : undefined;
}

/** The client of the command, which has this process to itself. */
function makeClient(options: ClientOptions): Client {
  shutDebugger(locateLibrary(libraryOverride()).path);
  return new Client(options);
}

if (import.meta.main) {
  const name = commandName(import.meta.url, "deno task client", "client");
  Deno.exit(await main(Deno.args, { name, makeClient }));
}
