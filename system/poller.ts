/**
 * Waits for a few things that have descriptors: poll(2), on another thread, or on this one while so much comes
 * that the change of threads would take longer, or while this thread has nothing else to do.
 *
 * A descriptor of libzmq's is edge-triggered, and any call on its socket may eat the edge. So the rule that loses
 * nothing: receive from every such socket, or ask it, until there is nothing, right before a wait; and ask again
 * after anything was sent while a wait is under way. `Socket` itself knows when there can be nothing, and then
 * answers without a call.
 *
 * @module
 */

import { Bytes, harden } from "../zmq/library.ts";
import { type Bell, closeBell, ring } from "./bell.ts";
import type { Transfer } from "./libc.ts";
import { POLL_ITEM_BYTES, PollEvent } from "./numbers.ts";

/** When nothing has come for this long, the wait is made on another thread. */
const QUIET_MS = 2;
/** However much comes, timers, signals and promises have their turn this often, ms. */
const TURN_INTERVAL = 4;
/** Time to ask again and again before sleeping: a thread that sleeps takes about as long to be back at work. */
const SPIN_MS = 0.5;
/** It pays to ask again and again after this many waits in a row that were shorter than `SPIN_MS`. */
const SHORT_WAITS = 2;
/**
 * Waits on other threads that may last as long as they like. The runtime has 32 threads for those and for all else
 * that takes time, files and names of hosts among it: more waits than that would keep each other, and the program,
 * waiting for ever.
 */
const LONG_WAITS = 16;
/** How long those beyond last, ms: then others have their turn. */
const SHARED_MS = 20;

/** Waits on other threads that are under way, of all pollers of this thread. */
let waits = 0;

/** Of an eventfd exactly so many are read, of a pipe as many as have come up to this. */
const BELL_BYTES = 8;

/** Descriptors, with the events that are waited for. */
export interface PollItems {
  /** Structs pollfd: the first `count` count. */
  readonly items: Uint8Array<ArrayBuffer>;
  readonly count: number;
}

/** Something to wait for. */
export interface Pollable {
  /** Readable when there may be something to do; -1: `pollSet` is polled instead. */
  readonly fd: number;
  readonly pollSet?: PollItems | undefined;
  /** From now on `noteActivity` is called; told once. */
  watch?(): void;
  /** A descriptor was ready. */
  noteActivity(): void;
}

/** Waits for some pollables, and can be woken. */
export class Poller {
  readonly #libc: Transfer;
  readonly #bell: Bell;
  readonly #ports: readonly Pollable[];
  readonly #isLeftOut: boolean[];
  /** One item for the bell and one for each port, then those of poll sets. */
  #items: Uint8Array<ArrayBuffer>;
  #view: DataView;
  readonly #fixed: number;
  #count: number;
  readonly #hasSets: boolean;
  readonly #heard = new Bytes(BELL_BYTES);
  #waiting = false;
  #closed = false;
  #rang = false;
  /** When a descriptor was last ready, and when timers and promises have their next turn, ms. */
  #activeAt = -Infinity;
  #turnAt = 0;
  /** Waits in a row that were shorter than `SPIN_MS`. */
  #shortWaits = 0;

  /** Watches `ports`, which stay the caller's; the bell is the poller's now. */
  constructor(libc: Transfer, bell: Bell, ports: readonly Pollable[]) {
    this.#libc = libc;
    this.#bell = bell;
    this.#ports = [...ports];
    this.#isLeftOut = ports.map(() => false);
    this.#hasSets = ports.some(({ pollSet }) => pollSet !== undefined);
    this.#fixed = this.#count = 1 + ports.length;
    this.#items = new Bytes(POLL_ITEM_BYTES * this.#count);
    this.#view = new DataView(this.#items.buffer);
    this.#listen(0, bell.readEnd);
    ports.forEach((port, index) => {
      port.watch?.();
      this.#listen(1 + index, port.fd);
    });
  }

  /** What ends a wait when it is rung, from this thread or another: see `ring`. */
  get bell(): number {
    return this.#bell.writeEnd;
  }

  /** Whether `wait` is under way. */
  get waiting(): boolean {
    return this.#waiting;
  }

  /** A port no longer ends a wait, until `takeIn`. Not while `wait` is under way. */
  leaveOut(port: Pollable): void {
    const index = this.#indexOf(port);
    if (index < 0 || this.#isLeftOut[index]) return;
    this.#isLeftOut[index] = true;
    this.#listen(1 + index, -1);
  }

  /** A port ends a wait again. Not while `wait` is under way. */
  takeIn(port: Pollable): void {
    const index = this.#indexOf(port);
    if (index < 0 || !this.#isLeftOut[index]) return;
    this.#isLeftOut[index] = false;
    this.#listen(1 + index, port.fd);
    // Whatever came meanwhile was not noted.
    port.noteActivity();
  }

  /** Waits for other events of a port's own descriptor, `PollEvent` bits; a wait that is under way must be ended. */
  expect(port: Pollable, events: number): void {
    const index = this.#indexOf(port);
    if (index < 0 || this.#isLeftOut[index]) return;
    this.#listen(1 + index, port.fd, events);
  }

  /**
   * Waits until a port is ready, the bell rings, or `timeoutMs` have passed; less if many wait. Timers, signals and
   * promises have their turn, also when there is nothing to wait for.
   */
  async wait(timeoutMs: number): Promise<void> {
    this.#waiting = true;
    const mostMs = ++waits > LONG_WAITS ? SHARED_MS : Infinity;
    try {
      this.#gather();
      const limitMs = limited(Math.min(timeoutMs, mostMs));
      await this.#libc.symbols.poll_async(this.#items, this.#count, limitMs);
      // Asked again: this thread may have been held up since.
      if (!this.#closed) this.#ask(0);
    } finally {
      waits--;
      this.#waiting = false;
      if (this.#closed) closeBell(this.#libc, this.#bell);
    }
  }

  /**
   * The same for a loop that is all that runs on this thread. While much comes, it waits here, undefined
   * is returned, and others have their turn only every `TURN_INTERVAL`. With `cores` to spare, it asks
   * again and again for a moment before it sleeps; whoever else wants the core gets it.
   */
  rest(timeoutMs: number, cores: "spare" | "taken"): Promise<void> | undefined {
    const now = performance.now();
    const isQuiet = now - this.#activeAt > QUIET_MS;
    if (isQuiet || now >= this.#turnAt) {
      this.#turnAt = now + TURN_INTERVAL;
      // A wait of no time gives everything its turn: the runtime's other ways keep sockets waiting for long.
      return this.wait(isQuiet ? timeoutMs : 0);
    }
    this.#restHere(Math.min(timeoutMs, QUIET_MS), cores, now);
    return undefined;
  }

  /**
   * The same for a loop that has its thread for itself: it always waits here, and nothing else on this thread has
   * its turn. Returns whether the bell rang, as there is something to be heard that no port tells.
   */
  restSync(timeoutMs: number, cores: "spare" | "taken"): boolean {
    this.#rang = false;
    this.#restHere(timeoutMs, cores, performance.now());
    return this.#rang;
  }

  #restHere(timeoutMs: number, cores: "spare" | "taken", now: number): void {
    if (timeoutMs <= 0) this.#ask(0);
    else if (cores === "taken" || this.#shortWaits < SHORT_WAITS || !this.#spin(now, timeoutMs)) {
      this.#ask(timeoutMs);
    }
    this.#shortWaits = performance.now() - now < SPIN_MS ? this.#shortWaits + 1 : 0;
  }

  /** Asks for up to `SPIN_MS` until something is ready; returns whether something is, or the time is over. */
  #spin(now: number, timeoutMs: number): boolean {
    while (!this.#ask(0)) {
      const spent = performance.now() - now;
      if (spent > timeoutMs) return true;
      if (spent > SPIN_MS) return false;
      this.#libc.symbols.sched_yield();
    }
    return true;
  }

  /** Asks what is ready, or becomes so within `timeoutMs`; returns whether something is. */
  #ask(timeoutMs: number): boolean {
    this.#gather();
    if (this.#libc.symbols.poll(this.#items, this.#count, limited(timeoutMs)) <= 0) return false;
    this.#activeAt = performance.now();
    let next = this.#fixed;
    for (let index = 1; index < this.#fixed; index++) {
      const port = this.#ports[index - 1];
      const end = next + this.#sizeOfSet(index - 1);
      if (this.#isReady(index) || this.#isAnyReady(next, end)) port?.noteActivity();
      next = end;
    }
    if (this.#isReady(0)) this.#hear();
    return true;
  }

  /** Ends the wait that is under way on this thread's behalf, if one is. Another thread rings the bell. */
  wake(): void {
    if (this.#waiting) ring(this.#libc, this.#bell.writeEnd);
  }

  /** Closes the bell, and ends the wait that is under way, if one is. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    if (!this.#waiting) return closeBell(this.#libc, this.#bell);
    // Until the wait has ended, no other file may get the bell's number.
    ring(this.#libc, this.#bell.writeEnd);
  }

  /** An eventfd is empty after one read; a pipe may hold more, which ends the next wait. */
  #hear(): void {
    this.#rang = true;
    this.#libc.symbols.read(this.#bell.readEnd, this.#heard, BELL_BYTES);
  }

  #isReady(index: number): boolean {
    return this.#view.getInt16(index * POLL_ITEM_BYTES + 6, true) !== 0;
  }

  #isAnyReady(start: number, end: number): boolean {
    for (let index = start; index < end; index++) if (this.#isReady(index)) return true;
    return false;
  }

  /** Not by an array's method: a handler that shares this thread could have replaced it, and get the port. */
  #indexOf(port: Pollable): number {
    let index = this.#ports.length - 1;
    while (index >= 0 && this.#ports[index] !== port) index--;
    return index;
  }

  #listen(index: number, fd: number, events: number = PollEvent.IN): void {
    this.#view.setInt32(index * POLL_ITEM_BYTES, fd, true); // poll(2) passes over -1
    this.#view.setInt32(index * POLL_ITEM_BYTES + 4, events, true);
  }

  #sizeOfSet(index: number): number {
    return this.#isLeftOut[index] ? 0 : this.#ports[index]?.pollSet?.count ?? 0;
  }

  /** Puts the descriptors of poll sets behind the others. */
  #gather(): void {
    if (!this.#hasSets) return;
    let count = this.#fixed;
    this.#ports.forEach((_, index) => count += this.#sizeOfSet(index));
    this.#makeRoom(count);
    this.#count = count;
    let at = this.#fixed;
    this.#ports.forEach(({ pollSet }, index) => {
      const size = this.#sizeOfSet(index);
      if (pollSet === undefined || size === 0) return;
      this.#items.set(pollSet.items.subarray(0, size * POLL_ITEM_BYTES), at * POLL_ITEM_BYTES);
      at += size;
    });
  }

  #makeRoom(count: number): void {
    if (count * POLL_ITEM_BYTES <= this.#items.length) return;
    const items = new Bytes(2 * count * POLL_ITEM_BYTES);
    items.set(this.#items);
    this.#items = items;
    this.#view = new DataView(items.buffer);
  }
}

/** What poll(2) takes for a time, ms. */
function limited(timeoutMs: number): number {
  return Math.min(Math.max(0, Math.ceil(timeoutMs)), 0x7fffffff);
}

harden(Poller);
