/**
 * One socket of the client: where it leads, and what is known of its connection.
 *
 * @module
 */

import { isIpv6 } from "../wire/endpoint.ts";
import { Option, SocketType } from "../zmq/library.ts";
import { type ConnectionEvent, Monitor } from "../zmq/monitor.ts";
import type { Context, Socket } from "../zmq/socket.ts";
import type { AbandonedError } from "./reply.ts";

/**
 * What is known of a connection.
 *
 * - `unconnected`: nothing was reached, or the connection has ended.
 * - `reached`: something listens there, and has not answered as a ZeroMQ socket does.
 * - `denied`: the server does not let this client in.
 * - `mismatch`: one side asks for keys and the other one has none.
 * - `failed`: the other side ended the handshake without a word, as a server with another key does.
 * - `connected`: the handshake has succeeded.
 */
export type ConnectionState =
  | "unconnected"
  | "reached"
  | "denied"
  | "mismatch"
  | "failed"
  | "connected";

/** How soon libzmq connects again; the time doubles. */
const RECONNECT_INTERVAL = 100;
const RECONNECT_INTERVAL_MAX = 1000;

/** A socket and the monitor of it. */
export class Connection {
  /** Where it leads. */
  readonly endpoint: string;
  /** The DEALER. */
  readonly socket: Socket;
  readonly #monitor: Monitor;
  #state: ConnectionState = "unconnected";

  /**
   * Opens a socket; `connect` comes next.
   *
   * @throws {ZmqError} when the system has no file descriptor left.
   */
  constructor(context: Context, endpoint: string) {
    this.endpoint = endpoint;
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

  /** What is known of the connection. */
  get state(): ConnectionState {
    return this.#state;
  }

  /** The sockets that news and answers come from. */
  get watched(): readonly Socket[] {
    return [this.socket, this.#monitor.socket];
  }

  /** Has the next read ask libzmq itself, whether a wake-up has come or not. */
  recheck(): void {
    for (const socket of this.watched) socket.noteActivity();
  }

  /** Reads the news of the connection that make a difference to requests. */
  *news(): Generator<"connected" | "disconnected"> {
    for (let event; (event = this.#monitor.next()) !== undefined;) {
      const before = this.#state;
      this.#state = stateAfter(before, event);
      if (this.#state === before) continue;
      if (this.#state === "connected") yield "connected";
      else if (before === "connected") yield "disconnected";
    }
  }

  /** Closes both; what was not sent by now is not sent. */
  close(): void {
    this.#monitor.close();
    this.socket.close(0);
  }
}

/** A failed handshake is remembered while libzmq connects again, until one succeeds. */
function stateAfter(state: ConnectionState, event: ConnectionEvent): ConnectionState {
  if (event.what === "disconnected") return state === "connected" ? "unconnected" : state;
  if (event.what === "reached") return state === "unconnected" ? "reached" : state;
  return event.what;
}

/** What a connection's state means for a request that waits on it. */
export function reasonOf(state: ConnectionState): AbandonedError["reason"] {
  if (state === "unconnected") return "unconnected";
  return state === "connected" ? "unanswered" : "handshake";
}

/** A connection's state as half a sentence, for messages. `hasKeys`: the client has. */
export function describeState(state: ConnectionState, hasKeys: boolean): string {
  switch (state) {
    case "unconnected":
      return "there is no connection to it";
    case "reached":
      return "what listens there does not answer as a ZeroMQ server";
    case "denied":
      return "the server denied the connection: this client's key or address is not one that it lets in";
    case "mismatch":
      return hasKeys
        ? "the handshake failed: the server takes no keys, and this client has some"
        : "the handshake failed: the server asks for keys, and this client has none";
    case "failed":
      return hasKeys
        ? "the handshake failed: the server key is probably not the public key of this server"
        : "the handshake failed: what listens there is not a ZeroMQ server";
    case "connected":
      return "it is connected and has sent no answer";
  }
}
