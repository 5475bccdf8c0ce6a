/**
 * What becomes of a socket's connections: libzmq's socket monitor, zmq_socket_monitor(3). Says what
 * happened, not what to do about it.
 *
 * @module
 */

import { harden, Option, SocketType } from "./library.ts";
import type { Context, Socket } from "./socket.ts";

/** Something that happened to a connection. */
export type ConnectionEvent =
  /** The other side was reached over a socket of the system; the handshake starts. */
  | { what: "reached"; fd: number }
  /** The handshake has succeeded. */
  | { what: "connected" }
  /** The connection has ended after its handshake. */
  | { what: "disconnected" }
  /** The other side has denied this one, with a status code of ZAP: 300, 400 or 500. */
  | { what: "denied"; status: number }
  /** One side asks for keys and the other has none, or not of that kind. */
  | { what: "mismatch" }
  /** The handshake broke a rule, or the other side has ended it without a word. */
  | { what: "failed" };

/** zmq.h. */
const Event = {
  CONNECTED: 0x0001,
  LISTENING: 0x0008,
  DISCONNECTED: 0x0200,
  HANDSHAKE_FAILED_NO_DETAIL: 0x0800,
  HANDSHAKE_SUCCEEDED: 0x1000,
  HANDSHAKE_FAILED_PROTOCOL: 0x2000,
  HANDSHAKE_FAILED_AUTH: 0x4000,
} as const;

const MECHANISM_MISMATCH = 0x11000002;
const EVENTS = Object.values(Event).reduce((all, event) => all | event, 0);
/** u16 event, u32 value, in the machine's byte order, which is little-endian wherever this runs. */
const EVENT_BYTES = 6;
const UNLIMITED = 0;

/** The events of one socket. They must be read now and then: libzmq keeps those that are not. */
export class Monitor {
  /** Readable when there is news; watch it along with the socket itself. */
  readonly socket: Socket;
  readonly #target: Socket;
  readonly #bytes = new Uint8Array(EVENT_BYTES);
  readonly #view = new DataView(this.#bytes.buffer);
  readonly #address = new Uint8Array(1);

  /**
   * Starts before `target` connects.
   *
   * @throws {ZmqError} when the system has no file descriptor left.
   */
  constructor(context: Context, target: Socket) {
    this.#target = target;
    const endpoint = `inproc://monitor-${crypto.randomUUID()}`;
    this.socket = context.socket(SocketType.PAIR);
    // libzmq's I/O thread waits while there is no room for an event.
    this.socket.set(Option.RCVHWM, UNLIMITED);
    target.monitor(endpoint, EVENTS);
    this.socket.connect(endpoint);
  }

  /** What happened next, if something did. */
  next(): ConnectionEvent | undefined {
    while (this.#read()) {
      const event = eventOf(this.#view.getUint16(0, true), this.#view.getUint32(2, true));
      if (event !== undefined) return event;
    }
    return undefined;
  }

  /** The socket of the system that the target has come to listen at; undefined: none. Reads all events. */
  listener(): number | undefined {
    let fd: number | undefined;
    while (this.#read()) {
      if (this.#view.getUint16(0, true) === Event.LISTENING) fd = this.#view.getUint32(2, true);
    }
    return fd;
  }

  #read(): boolean {
    if (this.socket.receiveInto(this.#bytes) < 0) return false;
    while (this.socket.more) this.socket.receiveInto(this.#address);
    return true;
  }

  /**
   * Stops listening, before the target is closed: libzmq's I/O thread would wait forever to say something
   * of its end to nobody, and with it all sockets of the context.
   */
  close(): void {
    this.#target.unmonitor();
    this.socket.close(0);
  }
}

function eventOf(type: number, value: number): ConnectionEvent | undefined {
  switch (type) {
    case Event.CONNECTED:
      return { what: "reached", fd: value };
    case Event.HANDSHAKE_SUCCEEDED:
      return { what: "connected" };
    case Event.DISCONNECTED:
      return { what: "disconnected" };
    case Event.HANDSHAKE_FAILED_AUTH:
      return { what: "denied", status: value };
    case Event.HANDSHAKE_FAILED_PROTOCOL:
      return { what: value === MECHANISM_MISMATCH ? "mismatch" : "failed" };
    case Event.HANDSHAKE_FAILED_NO_DETAIL:
      return { what: "failed" };
  }
  return undefined; // the end of monitoring
}

harden(Monitor);
