/**
 * Waits for sockets: poll(2) over their file descriptors, on another thread, or on this one while so
 * much comes that the change of threads would take longer.
 *
 * A socket's descriptor is edge-triggered and any call on the socket may eat the edge. So the rule
 * that loses nothing: receive from every socket, or ask it, until there is nothing, right before a wait;
 * and ask again after anything was sent while a wait is under way. `Socket` itself knows when there can
 * be nothing, and then answers without a call.
 *
 * @module
 */

import { EMPTY_FRAME } from "../wire/empty_frame.ts";
import { harden, POLLIN, SocketType, type Symbols } from "./library.ts";
import type { Context, Socket } from "./socket.ts";

/** sizeof(struct pollfd): int fd, then short events at 4, short revents at 6. */
const ITEM_BYTES = 8;
/** When nothing has come for this long, the wait is made on another thread. */
const QUIET_MS = 2;
/** However much comes, timers, signals and promises have their turn this often, ms. */
const TURN_INTERVAL = 4;
/** Time to ask again and again before sleeping: a thread that sleeps takes about as long to be back at work. */
const SPIN_MS = 0.5;
/** It pays to ask again and again after this many waits in a row that were shorter than `SPIN_MS`. */
const SHORT_WAITS = 2;

/** Waits for some sockets, and can be woken. */
export class Poller {
  readonly #symbols: Symbols;
  readonly #bell: Socket;
  readonly #rope: Socket;
  readonly #items: Uint8Array<ArrayBuffer>;
  readonly #sockets: readonly Socket[];
  readonly #view: DataView;
  #waiting = false;
  #closed = false;
  /** When a descriptor was last readable, and when timers and promises have their next turn, ms. */
  #activeAt = -Infinity;
  #turnAt = 0;
  /** Waits in a row that were shorter than `SPIN_MS`. */
  #shortWaits = 0;

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
    this.#sockets = [this.#bell, ...sockets];
    this.#items = new Uint8Array(ITEM_BYTES * this.#sockets.length);
    this.#view = new DataView(this.#items.buffer);
    this.#sockets.forEach((socket, index) => {
      socket.watch();
      this.#view.setInt32(index * ITEM_BYTES, socket.fd, true);
      this.#view.setInt16(index * ITEM_BYTES + 4, POLLIN, true);
    });
  }

  /**
   * Waits until a descriptor is readable, `wake` is called, or `timeout` ms have passed. Timers, signals and
   * promises have their turn, also when there is nothing to wait for.
   */
  async wait(timeout: number): Promise<void> {
    this.#waiting = true;
    try {
      const { length } = this.#sockets;
      await this.#symbols.poll_async(this.#items, length, limited(timeout));
      // Asked again: this thread may have been held up since.
      if (!this.#closed) this.#ask(0);
    } finally {
      this.#waiting = false;
    }
  }

  /**
   * The same for a loop that is all that runs on this thread. While much comes, it waits here, undefined
   * is returned, and others have their turn only every `TURN_INTERVAL`. With `cores` to spare, it asks
   * again and again for a moment before it sleeps; whoever else wants the core gets it.
   */
  rest(timeout: number, cores: "spare" | "taken"): Promise<void> | undefined {
    const now = performance.now();
    const isQuiet = now - this.#activeAt > QUIET_MS;
    if (isQuiet || now >= this.#turnAt) {
      this.#turnAt = now + TURN_INTERVAL;
      // A wait of no time gives everything its turn: the runtime's other ways keep sockets waiting for long.
      return this.wait(isQuiet ? timeout : 0);
    }
    if (timeout <= 0) this.#ask(0);
    else if (cores === "taken" || this.#shortWaits < SHORT_WAITS || !this.#spin(now)) {
      this.#ask(Math.min(timeout, QUIET_MS));
    }
    this.#shortWaits = performance.now() - now < SPIN_MS ? this.#shortWaits + 1 : 0;
    return undefined;
  }

  /** Asks for up to `SPIN_MS` until a descriptor is readable; returns whether one is. */
  #spin(now: number): boolean {
    while (!this.#ask(0)) {
      if (performance.now() - now > SPIN_MS) return false;
      this.#symbols.sched_yield();
    }
    return true;
  }

  /** Asks which descriptors are readable, or become so within `timeout` ms; returns whether one is. */
  #ask(timeout: number): boolean {
    const { length } = this.#sockets;
    if (this.#symbols.poll(this.#items, length, limited(timeout)) <= 0) return false;
    this.#activeAt = performance.now();
    for (let index = 0; index < length; index++) {
      if (this.#view.getInt16(index * ITEM_BYTES + 6, true) !== 0) {
        this.#sockets[index]?.noteActivity();
      }
    }
    this.#drainBell();
    return true;
  }

  /** Whether `wait` is under way. */
  get waiting(): boolean {
    return this.#waiting;
  }

  /** Ends the wait that is under way, if one is. */
  wake(): void {
    if (this.#waiting) this.#rope.sendLast(EMPTY_FRAME);
  }

  /** Closes the bell, and ends the wait that is under way, if one is. */
  close(): void {
    this.wake();
    this.#closed = true;
    this.#bell.close(0);
    this.#rope.close(0);
  }

  #drainBell(): void {
    while (this.#bell.readable()) this.#bell.receiveInto(SCRATCH);
  }
}

/** What poll(2) takes for a time, ms. */
function limited(timeout: number): number {
  return Math.min(Math.max(0, Math.ceil(timeout)), 0x7fffffff);
}

const SCRATCH = new Uint8Array(1);

harden(Poller);
