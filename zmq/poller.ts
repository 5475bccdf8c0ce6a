/**
 * Waits for sockets without blocking JavaScript: libzmq's own poll, on another thread, over file
 * descriptors only.
 *
 * A socket's descriptor is edge-triggered and any call on the socket may eat the edge. So the rule
 * that loses nothing: ask every socket whether it is readable right before a wait, and ask again after
 * anything was sent while a wait is under way.
 *
 * @module
 */

import { harden, POLLIN, SocketType, type Symbols } from "./library.ts";
import type { Context, Socket } from "./socket.ts";

/** sizeof(zmq_pollitem_t): a pointer, then int fd at 8, short events at 12, short revents at 14. */
const ITEM_BYTES = 16;
const NOTHING = new Uint8Array(0);

/** Waits for some sockets, and can be woken. */
export class Poller {
  readonly #symbols: Symbols;
  readonly #bell: Socket;
  readonly #rope: Socket;
  readonly #items: Uint8Array<ArrayBuffer>;
  readonly #count: number;
  #waiting = false;

  /**
   * Watches `sockets`; they stay the caller's.
   *
   * @throws {ZmqError} when the system has no file descriptor left.
   */
  constructor(context: Context, sockets: readonly Socket[]) {
    this.#symbols = context.library.symbols;
    this.#bell = context.socket(SocketType.PAIR);
    try {
      this.#rope = context.socket(SocketType.PAIR);
    } catch (error) {
      // An open socket would keep the context from ever terminating.
      this.#bell.close(0);
      throw error;
    }
    const endpoint = `inproc://bell-${crypto.randomUUID()}`;
    this.#bell.bind(endpoint);
    this.#rope.connect(endpoint);
    const watched = [this.#bell, ...sockets];
    this.#count = watched.length;
    this.#items = new Uint8Array(ITEM_BYTES * watched.length);
    const view = new DataView(this.#items.buffer);
    watched.forEach((socket, index) => {
      view.setInt32(index * ITEM_BYTES + 8, socket.fd, true);
      view.setInt16(index * ITEM_BYTES + 12, POLLIN, true);
    });
  }

  /** Waits until a descriptor stirs, `wake` is called, or `timeout` ms have passed. */
  async wait(timeout: number): Promise<void> {
    this.#drainBell();
    const limit = Math.min(Math.max(0, Math.ceil(timeout)), 0x7fffffff);
    this.#waiting = true;
    try {
      await this.#symbols.zmq_poll_async(this.#items, this.#count, BigInt(limit));
    } finally {
      this.#waiting = false;
    }
  }

  /** Ends the wait that is under way, if one is. */
  wake(): void {
    if (this.#waiting) this.#rope.sendLast(NOTHING);
  }

  /** Closes the bell; no wait may be under way. */
  close(): void {
    this.#bell.close(0);
    this.#rope.close(0);
  }

  #drainBell(): void {
    while (this.#bell.readable()) this.#bell.receiveInto(SCRATCH);
  }
}

const SCRATCH = new Uint8Array(1);

harden(Poller);
