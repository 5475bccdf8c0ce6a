/**
 * A connection of a client by a socket of libzmq's, and what libzmq says of it.
 *
 * @module
 */

import { isIpv6 } from "../wire/endpoint.ts";
import { Option, SocketType } from "../zmq/library.ts";
import { Monitor } from "../zmq/monitor.ts";
import type { Context, Socket } from "../zmq/socket.ts";
import type { Answer } from "./answer.ts";
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

/** A socket and the monitor of it. */
export class ZmqConnection implements Connection {
  readonly endpoint: string;
  readonly said = "";
  /** The DEALER. */
  readonly socket: Socket;
  readonly #monitor: Monitor;
  readonly #frames: Frames;
  #state: ConnectionState = "unconnected";

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

  read(): "answer" | "noise" | "nothing" {
    return this.#frames.reader.read(this.socket);
  }

  *news(): Generator<"connected" | "disconnected"> {
    for (let event; (event = this.#monitor.next()) !== undefined;) {
      const before = this.#state;
      this.#state = stateAfter(before, event.what);
      const news = newsOf(before, this.#state);
      if (news !== undefined) yield news;
    }
  }

  send(request: Sending): void {
    this.#frames.writer.send(this.socket, request, request.item.frames);
  }

  cancel(id: number): void {
    this.#frames.writer.cancel(this.socket, id);
  }

  /** libzmq does by itself what is due. */
  tick(): number {
    return Infinity;
  }

  /** Closes both; what was not sent by now is not sent. */
  close(): void {
    this.#monitor.close();
    this.socket.close(0);
  }
}
