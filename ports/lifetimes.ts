/**
 * Finds connections that are to be given up: handshakes that take too long, and peers that say nothing any more
 * though they were asked whether they live. Closes and sends nothing itself.
 *
 * @module
 */

import type { Settings } from "../options/settings.ts";
import type { Connection } from "./connection.ts";

/** How long connections live. Durations are ms, 0: any time. */
export type LifetimeOptions = Pick<Settings, "handshakeTimeout" | "heartbeatInterval">;

/** What is asked of a connection's owner. */
export interface LifetimeEvents<T> {
  /** Whether something has come over a connection that was not read yet. */
  hasInput(connection: Connection<T>): boolean;
  /** A peer is to be asked whether it lives. */
  ask(connection: Connection<T>): void;
  /** A connection is to be closed. */
  giveUp(connection: Connection<T>, reason: string): void;
}

/** Maximum time between two looks at all connections once a peer has promised to be heard of, ms. */
const MAX_LOOK_INTERVAL = 1000;
/** Looks in one heartbeat interval. */
const LOOKS = 4;

/** The connections of one socket. */
export class Lifetimes<T> {
  readonly #options: LifetimeOptions;
  readonly #events: LifetimeEvents<T>;
  #lookInterval: number;
  /** Those whose handshakes are under way, the oldest first. */
  readonly #shaking = new Set<Connection<T>>();
  readonly #open = new Set<Connection<T>>();
  /** When all open ones are looked at next, ms. */
  #lookAt = 0;

  /** Knows of no connection yet. */
  constructor(options: LifetimeOptions, events: LifetimeEvents<T>) {
    this.#options = options;
    this.#events = events;
    const { heartbeatInterval } = options;
    this.#lookInterval = heartbeatInterval === 0 ? Infinity : heartbeatInterval / LOOKS;
  }

  /** A connection was accepted. */
  accepted(connection: Connection<T>): void {
    this.#shaking.add(connection);
  }

  /** Its handshake has ended. */
  opened(connection: Connection<T>): void {
    this.#shaking.delete(connection);
    this.#open.add(connection);
  }

  /** A peer has said how long it may say nothing. */
  promised(now: number): void {
    this.#lookInterval = Math.min(MAX_LOOK_INTERVAL, this.#lookInterval);
    this.#lookAt = Math.min(this.#lookAt, now + this.#lookInterval);
  }

  /** It was closed. */
  closed(connection: Connection<T>): void {
    this.#shaking.delete(connection);
    this.#open.delete(connection);
  }

  /** Does what is due; returns ms until something is. */
  tick(now: number): number {
    const sleepMs = this.#endHandshakes(now);
    if (this.#open.size === 0) return sleepMs;
    if (now >= this.#lookAt) {
      this.#lookAt = now + this.#lookInterval;
      for (const connection of this.#open) this.#look(connection, now);
    }
    return Math.min(sleepMs, this.#lookAt - now);
  }

  #endHandshakes(now: number): number {
    const { handshakeTimeout } = this.#options;
    if (handshakeTimeout === 0) return Infinity;
    for (const connection of this.#shaking) {
      const left = connection.since + handshakeTimeout - now;
      if (left > 0) return left;
      // It is this side that was late.
      if (this.#events.hasInput(connection)) return Math.min(MAX_LOOK_INTERVAL, handshakeTimeout);
      this.#events.giveUp(connection, `its handshake took longer than ${handshakeTimeout} ms`);
    }
    return Infinity;
  }

  #look(connection: Connection<T>, now: number): void {
    const { heartbeatInterval } = this.#options;
    // A peer that takes what it is sent lives, too.
    const livedAt = Math.max(connection.heardAt, connection.progressAt);
    const silentMs = now - livedAt;
    const { timeToLive } = connection;
    if (timeToLive > 0 && silentMs > timeToLive) return this.#giveUp(connection, silentMs);
    if (heartbeatInterval === 0 || connection.version !== "3.1") return;
    if (silentMs < heartbeatInterval) {
      connection.askedAt = NaN;
    } else if (!(connection.askedAt > livedAt)) {
      connection.askedAt = now;
      this.#events.ask(connection);
    } else if (now - connection.askedAt >= heartbeatInterval) {
      this.#giveUp(connection, silentMs);
    }
  }

  #giveUp(connection: Connection<T>, silentMs: number): void {
    // It is this side that has not listened.
    if (this.#events.hasInput(connection)) return;
    this.#events.giveUp(connection, `it has said nothing for ${Math.round(silentMs)} ms`);
  }
}
