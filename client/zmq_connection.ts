/**
 * A connection of a client by a socket of libzmq's, and what libzmq says of it.
 *
 * libzmq connects again by itself. It is told to queue nothing for connections to come (`ZMQ_IMMEDIATE`), and to drop
 * what it has queued for one that ends: a request whose header has fields must not reach the next server, which may be
 * older. So what waits for a connection waits here.
 *
 * @module
 */

import type { StreamCredit } from "../wire/request_header.ts";
import { isIpv6 } from "../wire/endpoint.ts";
import { Option, SocketType } from "../zmq/library.ts";
import { Monitor } from "../zmq/monitor.ts";
import type { Context, Socket } from "../zmq/socket.ts";
import type { Answer } from "./answer.ts";
import { FieldGate, isForAll, isForSome, type Message } from "./field_gate.ts";
import type { AnswerReader, RequestWriter } from "./messages.ts";
import {
  type Connection,
  type ConnectionState,
  newsOf,
  RECONNECT_INTERVAL,
  RECONNECT_INTERVAL_MAX,
  type Sending,
  stateAfter,
} from "./transport.ts";

/** What reads and writes messages, for all connections. */
export interface Frames {
  readonly reader: AnswerReader;
  readonly writer: RequestWriter;
}

/** How soon libzmq is given again what it has not taken, ms. */
const RETRY_MS = 10;

/** A socket and the monitor of it. */
export class ZmqConnection implements Connection {
  readonly endpoint: string;
  readonly said = "";
  /** The DEALER. */
  readonly socket: Socket;
  readonly #monitor: Monitor;
  readonly #frames: Frames;
  #state: ConnectionState = "unconnected";
  #news: ("connected" | "disconnected")[] = [];
  readonly #gate = new FieldGate();
  /** Messages that libzmq was not given. */
  #waiting: Message[] = [];

  /**
   * Opens a socket; `connect` comes next.
   *
   * @throws {ZmqError} when the system has no file descriptor left.
   */
  constructor(context: Context, endpoint: string, frames: Frames) {
    this.endpoint = endpoint;
    this.#frames = frames;
    this.socket = context.socket(SocketType.DEALER);
    try {
      this.#monitor = new Monitor(context, this.socket);
    } catch (error) {
      this.socket.close(0);
      throw error;
    }
    this.socket.set(Option.SNDHWM, 0);
    this.socket.set(Option.RCVHWM, 0);
    this.socket.set(Option.IMMEDIATE, 1);
    this.socket.set(Option.RECONNECT_IVL, RECONNECT_INTERVAL);
    this.socket.set(Option.RECONNECT_IVL_MAX, RECONNECT_INTERVAL_MAX);
    // Not always: libzmq then looks names up as IPv6 only, and localhost as ::1.
    if (isIpv6(endpoint)) this.socket.set(Option.IPV6, 1);
  }

  /** Connects; libzmq keeps trying by itself. */
  connect(): void {
    this.socket.connect(this.endpoint);
  }

  get state(): ConnectionState {
    return this.#state;
  }

  get answer(): Answer {
    return this.#frames.reader.answer;
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

  get isAsking(): boolean {
    return this.#gate.holds;
  }

  read(): "answer" | "noise" | "nothing" {
    const read = this.#frames.reader.read(this.socket);
    if (read !== "answer") return read;
    const ready = this.#gate.learn(this.answer);
    if (ready === undefined) return "answer";
    this.#waiting.push(...ready);
    return "noise";
  }

  news(): readonly ("connected" | "disconnected")[] {
    this.#listen();
    const news = this.#news;
    if (news.length > 0) this.#news = [];
    return news;
  }

  /** Takes in what libzmq says of the connection. */
  #listen(): void {
    for (let event; (event = this.#monitor.next()) !== undefined;) {
      const before = this.#state;
      this.#state = stateAfter(before, event.what);
      const news = newsOf(before, this.#state);
      if (news !== undefined) this.#news.push(news);
      if (news === "disconnected") this.#startAnew();
    }
  }

  /** What needs fields waits until the next server has said that it knows them. */
  #startAnew(): void {
    const unsent = this.#waiting;
    this.#waiting = unsent.filter((message) => "cancels" in message || isForAll(message));
    this.#ask(this.#gate.startAnew(unsent.filter(isForSome)));
  }

  #ask(question: number | undefined): void {
    if (question !== undefined) this.#waiting.push({ asks: question });
  }

  send(request: Sending): void {
    if (request.fields === undefined || this.#gate.isOpen) this.#waiting.push(request);
    else this.#ask(this.#gate.hold(request));
  }

  cancel(id: number): void {
    if (!this.#gate.withdraw(id)) this.#waiting.push({ cancels: id });
  }

  grant(id: number, credit: StreamCredit): void {
    if (this.#gate.isOpen) this.#waiting.push({ grants: id, credit });
  }

  /** Gives libzmq what waits; libzmq does by itself what is due. */
  tick(): number {
    if (this.#waiting.length === 0 || this.#state !== "connected") return Infinity;
    this.#flush();
    return this.#waiting.length === 0 ? Infinity : RETRY_MS;
  }

  #flush(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    let given = 0;
    for (let message; (message = waiting[given]) !== undefined; given++) {
      if (!this.#give(message) && !this.#giveAgain(message)) break;
    }
    if (given < waiting.length) this.#waiting = [...waiting.slice(given), ...this.#waiting];
  }

  /** Gives a message after libzmq has taken in what its thread has for it: perhaps a connection. */
  #giveAgain(message: Message): boolean {
    this.socket.noteActivity();
    this.socket.readable();
    return this.#give(message);
  }

  /** Gives libzmq a message, or has it wait at the gate; false: there is no connection. */
  #give(message: Message): boolean {
    const { writer } = this.#frames;
    // A connection that was made again has no answer to go on with.
    if ("grants" in message && !this.#isStillOpen()) return true;
    if (!("item" in message)) return writer.say(this.socket, message);
    if (message.fields === undefined || this.#isStillOpen()) {
      return writer.send(this.socket, message);
    }
    this.#ask(this.#gate.hold(message));
    return true;
  }

  /**
   * Whether the server that knows fields is still the one that gets what libzmq is given. That its connection has ended
   * is known at once, and libzmq makes no other one within `RECONNECT_INTERVAL`.
   */
  #isStillOpen(): boolean {
    this.#monitor.socket.noteActivity();
    this.#listen();
    return this.#gate.isOpen;
  }
  /** Closes both; what was not sent by now is not sent. */
  close(): void {
    this.#monitor.close();
    this.socket.close(0);
  }
}
