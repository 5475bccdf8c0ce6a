/**
 * The connection of a joining process to the server: one DEALER of libzmq, with keys, and what becomes of it. Knows
 * nothing of what is said.
 *
 * @module
 */

import { openBell } from "../system/bell.ts";
import { openConnector, openTransfer } from "../system/libc.ts";
import { Poller } from "../system/poller.ts";
import { Resending } from "../system/resending.ts";
import { isIpv6 } from "../wire/endpoint.ts";
import { JOIN_HEARTBEAT, JOIN_TIMEOUT, JOINER_SAYS, TO_JOINER } from "../wire/join.ts";
import { type KeyPair, prove } from "../zmq/curve.ts";
import { type Library, Option, SocketType } from "../zmq/library.ts";
import { type Message, MessagePool } from "../zmq/message.ts";
import { type ConnectionEvent, Monitor } from "../zmq/monitor.ts";
import { Context, type Socket } from "../zmq/socket.ts";

/** Where a link leads, and what it proves. */
export interface LinkOptions {
  readonly endpoint: string;
  /** The public key of the server. */
  readonly serverKey: string;
  readonly keys: KeyPair;
}

/** More than the server ever says at once. */
const MOST_BYTES = 16 * 1024 ** 2;
/** Time between two tries to connect, ms; libzmq doubles the first up to the second. */
const RETRY_INTERVAL = 200;
const RETRY_INTERVAL_MAX = 2000;
const HEAD = Uint8Array.of(JOINER_SAYS);

/** A connection that libzmq makes again and again, until it is closed. */
export class Link {
  readonly #context: Context;
  readonly #socket: Socket;
  readonly #monitor: Monitor;
  readonly #poller: Poller;
  readonly #frame: Message;
  readonly #resending: Resending;

  /**
   * Connects.
   *
   * @throws {ZmqError} when the system has no file descriptor left.
   */
  constructor(library: Library, { endpoint, serverKey, keys }: LinkOptions) {
    this.#context = new Context(library);
    const socket = this.#socket = this.#context.socket(SocketType.DEALER);
    this.#monitor = new Monitor(this.#context, socket);
    socket.set(Option.SNDHWM, 0);
    socket.setLong(Option.MAXMSGSIZE, MOST_BYTES);
    socket.set(Option.RECONNECT_IVL, RETRY_INTERVAL);
    socket.set(Option.RECONNECT_IVL_MAX, RETRY_INTERVAL_MAX);
    if (isIpv6(endpoint)) socket.set(Option.IPV6, 1);
    socket.beat(JOIN_HEARTBEAT, JOIN_TIMEOUT);
    prove(socket, keys, serverKey);
    socket.connect(endpoint);
    this.#frame = new MessagePool(library).take();
    const { path } = library;
    const libc = openConnector(path);
    this.#resending = new Resending(libc);
    this.#poller = new Poller(openTransfer(path), openBell(libc), [
      socket,
      this.#monitor.socket,
    ]);
  }

  /** What became of the connection next; undefined: nothing yet. */
  nextEvent(): ConnectionEvent | undefined {
    const event = this.#monitor.next();
    if (event?.what === "reached") this.#resending.soon(event.fd);
    return event;
  }

  /** What the server has said next; undefined: nothing yet. "": it said what it never says. */
  nextWord(): string | undefined {
    const size = this.#socket.receive(this.#frame);
    if (size < 0) return undefined;
    const isWord = size === 1 && this.#frame.more && this.#frame.bytes(1)[0] === TO_JOINER;
    let text = "";
    for (let number = 0; this.#frame.more; number++) {
      const length = this.#socket.receive(this.#frame);
      if (isWord && number === 0) text = new TextDecoder().decode(this.#frame.bytes(length));
    }
    this.#frame.clear();
    return text;
  }

  /** Says something. */
  say(text: string): void {
    this.#socket.sendAll([HEAD, new TextEncoder().encode(text)]);
    // A send can eat the wake-up of what arrived meanwhile.
    this.#poller.wake();
  }

  /** Waits until something has come, or for `timeout` ms. */
  async wait(timeout: number): Promise<void> {
    const isReadable = this.#socket.readable() || this.#monitor.socket.readable();
    await this.#poller.wait(isReadable ? 0 : timeout);
  }

  /** Ends a wait. */
  wake(): void {
    this.#poller.wake();
  }

  /** Closes; what was said is still sent, for up to `linger` ms in which this thread waits. */
  close(linger: number): void {
    this.#monitor.close();
    this.#poller.close();
    this.#socket.close(linger);
    this.#context.terminateSync();
  }
}
