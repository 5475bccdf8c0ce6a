/**
 * Subscriptions over a SUB socket of libzmq's, for servers that require keys. libzmq connects and subscribes again by
 * itself.
 *
 * @module
 */

import { isIpv6 } from "../wire/endpoint.ts";
import { prove } from "../zmq/curve.ts";
import { type Library, Option, SocketType } from "../zmq/library.ts";
import { type Message, MessagePool } from "../zmq/message.ts";
import { Monitor } from "../zmq/monitor.ts";
import { Context, type Socket } from "../zmq/socket.ts";
import { Answer } from "./answer.ts";
import type { Keys } from "./keys.ts";
import {
  type Connection,
  type ConnectionState,
  newsOf,
  RECONNECT_INTERVAL,
  RECONNECT_INTERVAL_MAX,
  stateAfter,
  type Transport,
} from "./transport.ts";

/** libzmq's own thread looks after its connections. */
const IDLE_INTERVAL = 10_000;
/** Events that libzmq reads ahead; more wait at the server. */
const READ_AHEAD = 1000;

/** What subscribes to topics by libzmq. */
export class ZmqSubscriptions implements Transport {
  readonly idleInterval = IDLE_INTERVAL;
  readonly #library: Library;
  readonly #topics: readonly Uint8Array<ArrayBuffer>[];
  readonly #keys: Keys | undefined;
  #context: Context | undefined;

  /** Opens nothing. */
  constructor(
    library: Library,
    topics: readonly Uint8Array<ArrayBuffer>[],
    keys: Keys | undefined,
  ) {
    this.#library = library;
    this.#topics = topics;
    this.#keys = keys;
  }

  /** Begins to connect. */
  open(endpoint: string): Connection {
    this.#context ??= new Context(this.#library);
    const scratch = new MessagePool(this.#library).take();
    const connection = new ZmqSubscription(this.#context, endpoint, scratch);
    try {
      const { socket } = connection;
      if (this.#keys !== undefined) prove(socket, this.#keys.own, this.#keys.server);
      for (const topic of this.#topics) socket.setBytes(Option.SUBSCRIBE, topic);
      socket.connect(endpoint);
      return connection;
    } catch (error) {
      connection.close();
      throw error;
    }
  }

  /** Waits until libzmq has ended. */
  async end(): Promise<void> {
    const context = this.#context;
    this.#context = undefined;
    await context?.terminate();
  }
}

/** A SUB socket, and the monitor of it. */
class ZmqSubscription implements Connection {
  readonly endpoint: string;
  readonly said = "";
  readonly isAsking = false;
  readonly socket: Socket;
  readonly #monitor: Monitor;
  readonly #scratch: Message;
  readonly answer = new Answer();
  #state: ConnectionState = "unconnected";

  constructor(context: Context, endpoint: string, scratch: Message) {
    this.endpoint = endpoint;
    this.#scratch = scratch;
    this.socket = context.socket(SocketType.SUB);
    try {
      this.#monitor = new Monitor(context, this.socket);
    } catch (error) {
      this.socket.close(0);
      throw error;
    }
    this.socket.set(Option.RCVHWM, READ_AHEAD);
    this.socket.set(Option.RECONNECT_IVL, RECONNECT_INTERVAL);
    this.socket.set(Option.RECONNECT_IVL_MAX, RECONNECT_INTERVAL_MAX);
    if (isIpv6(endpoint)) this.socket.set(Option.IPV6, 1);
  }

  get state(): ConnectionState {
    return this.#state;
  }

  get watched(): readonly Socket[] {
    return [this.socket, this.#monitor.socket];
  }

  recheck(): void {
    for (const socket of this.watched) socket.noteActivity();
  }

  isReadable(): boolean {
    return this.socket.readable() || this.#monitor.socket.readable();
  }

  read(): "answer" | "nothing" {
    const { answer } = this;
    let size = this.socket.receive(this.#scratch);
    if (size < 0) return "nothing";
    answer.begin();
    answer.frames.push(this.#scratch.bytes(size));
    while (this.#scratch.more) {
      size = this.socket.receive(this.#scratch);
      answer.frames.push(this.#scratch.bytes(size));
    }
    this.#scratch.clear();
    return "answer";
  }

  news(): ("connected" | "disconnected")[] {
    const all: ("connected" | "disconnected")[] = [];
    for (let event; (event = this.#monitor.next()) !== undefined;) {
      const before = this.#state;
      this.#state = stateAfter(before, event.what);
      const news = newsOf(before, this.#state);
      if (news !== undefined) all.push(news);
    }
    return all;
  }

  /** It has nothing to send: what it subscribes to is libzmq's to say. */
  send(): void {}

  cancel(): void {}

  grant(): void {}

  tick(): number {
    return Infinity;
  }

  close(): void {
    this.#monitor.close();
    this.socket.close(0);
  }
}
