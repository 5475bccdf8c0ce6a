/**
 * Connections that are not read on for now: what each asked last found the queue of its service full. Those of one
 * service go on in the order in which they were paused, as its queue gets room. Reads nothing itself.
 *
 * @module
 */

import type { Connection } from "./connection.ts";

/** What is asked of the owner of connections that are paused. */
export interface PausedEvents<T> {
  /** For how many more requests the queue of a service has room. */
  roomFor(service: number): number;
  /** Nothing more is to be read of a connection; that its peer leaves is still to be heard. */
  stop(connection: Connection<T>): void;
  /** It is to be read again; `wasStopped`: `stop` was called for it. */
  goOn(connection: Connection<T>, wasStopped: boolean): void;
}

/** Connections of a service that go on at a time. */
const MOST = 64;

/** Connections whose services are full. */
export class Paused<T> {
  readonly #events: PausedEvents<T>;
  readonly #services = new Map<number, Set<Connection<T>>>();
  /** Those that have sent more, which would be told of again and again. */
  readonly #stopped = new Set<Connection<T>>();

  /** Has none yet. */
  constructor(events: PausedEvents<T>) {
    this.#events = events;
  }

  /** Whether there is none. */
  get isEmpty(): boolean {
    return this.#services.size === 0;
  }

  /** Whether one may go on. */
  get canGoOn(): boolean {
    for (const service of this.#services.keys()) if (this.#events.roomFor(service) > 0) return true;
    return false;
  }

  /** A connection is read on once a service has room. */
  pause(connection: Connection<T>, service: number): void {
    if (connection.isPaused) return;
    connection.isPaused = true;
    const paused = this.#services.get(service);
    if (paused === undefined) this.#services.set(service, new Set([connection]));
    else paused.add(connection);
  }

  /** Something has come over a paused connection. */
  stir(connection: Connection<T>): void {
    if (this.#stopped.has(connection)) return;
    this.#stopped.add(connection);
    this.#events.stop(connection);
  }

  /** It was closed. */
  forget(connection: Connection<T>): void {
    if (!connection.isPaused) return;
    this.#stopped.delete(connection);
    for (const service of this.#services.keys()) this.#take(connection, service);
  }

  /** Has as many go on as there is room for, within bounds: others have their turn, too. */
  goOn(): void {
    for (const [service, paused] of this.#services) {
      let room = Math.min(MOST, this.#events.roomFor(service));
      for (const connection of paused) {
        if (room-- <= 0) break;
        this.#take(connection, service);
        connection.isPaused = false;
        this.#events.goOn(connection, this.#stopped.delete(connection));
      }
    }
  }

  #take(connection: Connection<T>, service: number): void {
    const paused = this.#services.get(service);
    if (paused?.delete(connection) && paused.size === 0) this.#services.delete(service);
  }
}
