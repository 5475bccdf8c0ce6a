/**
 * Descriptors that are waited for by poll(2), where there is nothing better. Each wait looks at all of them.
 *
 * @module
 */

import { harden } from "../zmq/library.ts";
import type { TransferSymbols } from "./libc.ts";
import type { PollItems } from "./poller.ts";
import { POLL_ITEM_BYTES, PollEvent } from "./numbers.ts";

/** Items that there is room for at first. */
const ROOM = 16;

/** Descriptors, each with its token and the events that are waited for. */
export class PollSet implements PollItems {
  readonly #symbols: TransferSymbols;
  readonly #indexes = new Map<number, number>();
  #items = new Uint8Array(ROOM * POLL_ITEM_BYTES);
  #view = new DataView(this.#items.buffer);
  #tokens = new Uint32Array(ROOM);
  #count = 0;
  /** Where the search for those that are ready begins, so that all have their turn. */
  #next = 0;

  /** Has no descriptor yet. */
  constructor(symbols: TransferSymbols) {
    this.#symbols = symbols;
  }

  /** Structs pollfd: the first `count` of them. Valid until a descriptor is added. */
  get items(): Uint8Array<ArrayBuffer> {
    return this.#items;
  }

  /** How many descriptors there are. */
  get count(): number {
    return this.#count;
  }

  /** Adds a descriptor, or waits for other events of it. */
  set(fd: number, token: number, events: number): void {
    let index = this.#indexes.get(fd);
    if (index === undefined) {
      if (this.#count === this.#tokens.length) this.#grow();
      this.#indexes.set(fd, index = this.#count++);
    }
    this.#tokens[index] = token;
    this.#view.setInt32(index * POLL_ITEM_BYTES, fd, true);
    this.#view.setInt32(index * POLL_ITEM_BYTES + 4, events, true); // and no revents
  }

  /** Whether a descriptor is among them. */
  has(fd: number): boolean {
    return this.#indexes.has(fd);
  }

  /** Waits for a descriptor no more. */
  remove(fd: number): void {
    const index = this.#indexes.get(fd);
    if (index === undefined) return;
    this.#indexes.delete(fd);
    const last = --this.#count;
    if (index === last) return;
    const start = last * POLL_ITEM_BYTES;
    this.#items.copyWithin(index * POLL_ITEM_BYTES, start, start + POLL_ITEM_BYTES);
    this.#tokens[index] = this.#tokens[last] ?? 0;
    this.#indexes.set(this.#view.getInt32(start, true), index);
  }

  /**
   * Waits until a descriptor is ready or `timeoutMs` have passed, and writes the tokens and the events of those
   * that are ready; returns how many.
   */
  wait(timeoutMs: number, tokens: Uint32Array, events: Uint32Array): number {
    if (this.#symbols.poll(this.#items, this.#count, timeoutMs) <= 0) return 0;
    let [found, closed] = [0, 0];
    let index = this.#next;
    for (let looked = this.#count; looked > 0 && found < tokens.length; looked--, index++) {
      if (index >= this.#count) index = 0;
      const ready = this.#view.getInt16(index * POLL_ITEM_BYTES + 6, true);
      if ((ready & PollEvent.NVAL) !== 0) closed++;
      else if (ready !== 0) {
        tokens[found] = this.#tokens[index] ?? 0;
        events[found++] = ready;
      }
    }
    this.#next = index;
    if (closed > 0) this.#dropClosed();
    return found;
  }

  /** Those that were closed without being removed would end each wait at once. */
  #dropClosed(): void {
    for (let start = (this.#count - 1) * POLL_ITEM_BYTES; start >= 0; start -= POLL_ITEM_BYTES) {
      const ready = this.#view.getInt16(start + 6, true);
      if ((ready & PollEvent.NVAL) !== 0) this.remove(this.#view.getInt32(start, true));
    }
  }

  #grow(): void {
    const items = new Uint8Array(this.#items.length * 2);
    const tokens = new Uint32Array(this.#tokens.length * 2);
    items.set(this.#items);
    tokens.set(this.#tokens);
    this.#items = items;
    this.#view = new DataView(items.buffer);
    this.#tokens = tokens;
  }
}

harden(PollSet);
