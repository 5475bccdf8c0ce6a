/**
 * Connections of which nothing is read for now: messages that have begun wait for room. Reads nothing itself.
 *
 * @module
 */

import type { Connection } from "./connection.ts";

/** What is asked of the owner of connections that are held. */
export interface HeldEvents<T> {
  /** Nothing more is to be read of a connection; that its peer leaves is still to be heard. */
  stop(connection: Connection<T>): void;
  /** It is to be read again. */
  goOn(connection: Connection<T>): void;
  /** Messages have waited for room too long: some is to be made. */
  makeRoom(): void;
}

/** When messages have waited so long for room that another one has, that one is given up, ms. */
const HOLD_MS = 5000;

/** Connections whose messages wait for room. */
export class Held<T> {
  readonly #events: HeldEvents<T>;
  readonly #connections = new Set<Connection<T>>();
  /** Since when none could go on, ms. */
  #since = 0;

  /** Holds none yet. */
  constructor(events: HeldEvents<T>) {
    this.#events = events;
  }

  /** How many there are. */
  get size(): number {
    return this.#connections.size;
  }

  /** Nothing more is read of a message that has begun, until there is room. */
  hold(connection: Connection<T>, now: number): void {
    connection.isHeld = true;
    if (this.#connections.size === 0) this.#since = now;
    this.#connections.add(connection);
    this.#events.stop(connection);
  }

  /** It was closed. */
  forget(connection: Connection<T>): void {
    this.#connections.delete(connection);
  }

  /** Has those go on for which there is room now. */
  goOn(now: number): void {
    for (const connection of this.#connections) {
      if (connection.inlet?.mayGrow() === false) continue;
      this.#connections.delete(connection);
      this.#since = now;
      connection.isHeld = false;
      this.#events.goOn(connection);
    }
  }

  /** Has room made when nobody could go on for too long; returns ms until that is so. */
  tick(now: number): number {
    if (this.#connections.size === 0) return Infinity;
    const left = this.#since + HOLD_MS - now;
    if (left > 0) return left;
    this.#events.makeRoom();
    this.#since = now;
    this.goOn(now);
    return this.#connections.size === 0 ? Infinity : HOLD_MS;
  }
}
