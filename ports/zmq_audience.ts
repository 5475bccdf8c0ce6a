/**
 * The audience on libzmq's XPUB socket, for subscribers with keys, and for all where the server is told so. libzmq keeps
 * the subscriptions and what waits for each subscriber, up to a number of messages, and drops what is too much without
 * a word: only the numbers of the events show it.
 *
 * @module
 */

import type { Scene } from "../auth/crowd.ts";
import { Connections } from "../system/connections.ts";
import { boundPort } from "../wire/endpoint.ts";
import { MAX_TOPIC_BYTES } from "../wire/event.ts";
import { HANDSHAKE_TIMEOUT, useZap, type ZapSettings } from "../zmq/curve.ts";
import { Option, SocketType } from "../zmq/library.ts";
import type { Message, MessagePool } from "../zmq/message.ts";
import { Monitor } from "../zmq/monitor.ts";
import type { Context, Socket } from "../zmq/socket.ts";
import type { Audience, AudienceCounters, AudienceEvents, Find, LastWrong } from "./audience.ts";
import { EventBatch, framesAt, type Topic } from "./event_batch.ts";
import { bindOrAdopt, type PassedSockets } from "./passed_sockets.ts";
import { keyOf, Prefixes } from "./prefixes.ts";

/** Maximum events that wait for one subscriber in libzmq. */
const SUBSCRIBER_HWM = 1000;
/** Maximum bytes of an event: as many may wait as the number above says. */
const MOST_BYTES = 16_384;
/** Different subscriptions that are kept here; with more of them all is taken to be wanted. */
const MOST = 100_000;
/** Subscriptions that are read before jobs have their turn. */
const READS = 256;
/** New subscriptions that are welcomed at a time. */
const WELCOMES = 32;
/** What is kept of a topic goes to all who have subscribed to it, so not more often than this, ms. */
const REPEAT_INTERVAL = 100;
/** A subscription as XPUB tells it: a byte, and the topic. */
const BUFFER_BYTES = 1 + MAX_TOPIC_BYTES;
const SUBSCRIBE = 1;

/** What a `ZmqAudience` is made of. */
export interface ZmqAudienceOptions {
  /** Whether endpoints may be IPv6. */
  ipv6: boolean;
  /** How it is decided who may connect; undefined: all may. */
  zap: ZapSettings | undefined;
  /** Endpoints whose sockets another process has bound. @default {none} */
  passed?: PassedSockets | undefined;
}

/** Subscribers, over libzmq. */
export class ZmqAudience implements Audience {
  readonly #socket: Socket;
  readonly #monitor: Monitor;
  readonly #scratch: Message;
  readonly #connections: Connections;
  readonly #portNumbers = new Set<number>();
  readonly #events: AudienceEvents;
  readonly #passed: PassedSockets | undefined;
  readonly #prefixes = new Prefixes();
  readonly subscriptions: Audience["subscriptions"];
  /** Whether there are so many subscriptions that they are not told apart. */
  #isCrowded = false;
  readonly #fresh = new Set<string>();
  readonly #greeting = new EventBatch(1024 ** 2);
  /** When what is kept of a topic was given again last, ms. */
  readonly #repeated = new Map<string, number>();
  readonly maxEventBytes = MOST_BYTES;
  readonly counters: AudienceCounters = { dropped: 0, malformed: 0, denied: 0 };
  readonly lastMalformed: LastWrong = { address: "", reason: "" };
  readonly lastDenial: LastWrong = { address: "", reason: "" };
  /** Connections whose handshakes have succeeded; those that were let in and have not yet; and failed ones. */
  #open = 0;
  #expected = 0;
  #failed = 0;
  #isClosed = false;

  /** Opens the socket; `bind` comes next. */
  constructor(
    context: Context,
    messages: MessagePool,
    { ipv6, zap, passed }: ZmqAudienceOptions,
    events: AudienceEvents,
  ) {
    this.#events = events;
    this.#passed = passed;
    const prefixes = this.#prefixes;
    this.subscriptions = {
      get size() {
        return prefixes.size;
      },
      match: (topic) => this.#match(topic),
    };
    this.#scratch = messages.take();
    this.#connections = new Connections(context.library);
    const socket = this.#socket = context.socket(SocketType.XPUB);
    socket.set(Option.SNDHWM, SUBSCRIBER_HWM);
    socket.set(Option.BACKLOG, 1024);
    socket.set(Option.HANDSHAKE_IVL, HANDSHAKE_TIMEOUT);
    // Each subscription of each connection is told, and also those that end with one.
    socket.set(Option.XPUB_VERBOSER, 1);
    // Nobody sends more than that: what subscribes to a longer topic is cut off.
    socket.setLong(Option.MAXMSGSIZE, 2 * BUFFER_BYTES);
    if (ipv6) socket.set(Option.IPV6, 1);
    if (zap !== undefined) useZap(socket, zap);
    this.#monitor = new Monitor(context, socket);
  }

  get ports(): readonly Socket[] {
    return [this.#socket, this.#monitor.socket];
  }

  #match(topic: string): boolean {
    return this.#isCrowded || this.#prefixes.match(topic);
  }

  get subscribers(): number {
    return this.#open;
  }

  get scene(): Pick<Scene, "connections" | "peers"> {
    return {
      connections: this.#open + this.#expected,
      peers: () => this.#connections.peers(this.#portNumbers),
    };
  }

  expect(): void {
    this.#expected++;
  }

  /** @throws {ZmqError} when it can't be bound. */
  bind(endpoint: string): string {
    const bound = bindOrAdopt(this.#socket, endpoint, this.#passed);
    const port = boundPort(bound);
    if (port !== undefined) this.#portNumbers.add(port);
    return bound;
  }

  read(): void {
    this.#countConnections();
    for (let reads = 0; reads < READS; reads++) {
      const size = this.#socket.receive(this.#scratch);
      if (size < 0) return;
      if (size > 0 && size <= BUFFER_BYTES) this.#take(this.#scratch.bytes(size));
      while (this.#scratch.more) this.#socket.receive(this.#scratch);
    }
    this.#scratch.clear();
  }

  #take(bytes: Uint8Array): void {
    const prefix = keyOf(bytes.subarray(1));
    if (bytes[0] === SUBSCRIBE) this.#add(prefix);
    else if (bytes[0] === 0) this.#prefixes.remove(prefix);
    this.#events.changed();
  }

  #add(prefix: string): void {
    if (this.#prefixes.size < MOST || this.#prefixes.has(prefix)) this.#prefixes.add(prefix);
    else this.#isCrowded = true;
    if (this.#fresh.size < MOST) this.#fresh.add(prefix);
  }

  /** A connection ends whether its handshake has succeeded or not. */
  #countConnections(): void {
    for (let event; (event = this.#monitor.next()) !== undefined;) {
      const { what } = event;
      if (what === "connected") this.#open++;
      if (what === "denied" || what === "mismatch" || what === "failed") this.#failed++;
      if (what !== "disconnected") this.#expected = Math.max(0, this.#expected - 1);
      else if (this.#failed > 0) this.#failed--;
      else this.#open = Math.max(0, this.#open - 1);
    }
  }

  isReadable(): boolean {
    return this.#socket.readable() || this.#monitor.socket.readable();
  }

  forgetTopics(): void {}

  publish({ entries, bytes }: EventBatch): boolean {
    let start = 0;
    for (const { topic, end } of entries) {
      if (this.#match(topic.key)) this.#socket.sendAll(framesAt(bytes, start, end));
      start = end;
    }
    return true;
  }

  /** XPUB can't send to one alone: all who have subscribed get it again. */
  welcome(find: Find, now: number): boolean {
    let left = WELCOMES;
    for (const prefix of this.#fresh) {
      if (left-- === 0) return true;
      find(prefix, this.#greeting);
      const wait = this.#repeat(this.#greeting, now);
      this.#greeting.clear();
      if (wait) continue;
      this.#fresh.delete(prefix);
    }
    return this.#fresh.size > 0;
  }

  /** Gives events again, those aside that were a moment ago; returns whether there were such. */
  #repeat({ entries, bytes }: EventBatch, now: number): boolean {
    let start = 0;
    let hasWaiting = false;
    for (const { topic, end } of entries) {
      const isDue = now - (this.#repeated.get(topic.key) ?? -Infinity) >= REPEAT_INTERVAL;
      if (isDue) this.#socket.sendAll(framesAt(bytes, start, end));
      if (isDue) this.#note(topic, now);
      hasWaiting ||= !isDue;
      start = end;
    }
    return hasWaiting;
  }

  #note({ key }: Topic, now: number): void {
    // Those of a moment ago are the last in it.
    this.#repeated.delete(key);
    this.#repeated.set(key, now);
    for (const [first, at] of this.#repeated) {
      if (now - at < REPEAT_INTERVAL) break;
      this.#repeated.delete(first);
    }
  }

  /** libzmq sends by itself. */
  flush(): void {}

  tick(): number {
    return Infinity;
  }

  giveBackMemory(): void {}

  close(lingerMs: number): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#monitor.close();
    this.#socket.close(lingerMs);
  }
}
