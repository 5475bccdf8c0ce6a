/**
 * Who is connected under which identity. The newcomer has it: a peer that comes back may be sooner than the news
 * that its former connection is gone.
 *
 * @module
 */

import type { Connection } from "./connection.ts";

/** An identity that another connection has taken over. */
export interface Takeover {
  identity: string;
  /** Where the newcomer comes from, "" over ipc. */
  address: string;
}

/** Connections by the identities of their peers. */
export class Identities<T> {
  readonly #connections = new Map<string, Connection<T>>();
  /** Identities that another connection has taken over. */
  takeovers = 0;
  lastTakeover: Takeover = { identity: "", address: "" };

  /** A connection has this identity now; returns the one that had it before. */
  enter(connection: Connection<T>, identity: Uint8Array<ArrayBuffer>): Connection<T> | undefined {
    connection.identity = identity;
    const key = keyOf(identity);
    const former = this.#connections.get(key);
    this.#connections.set(key, connection);
    if (former === undefined) return undefined;
    this.takeovers++;
    const { address } = connection;
    this.lastTakeover = { identity: new TextDecoder().decode(identity), address };
    return former;
  }

  /** A connection was closed. */
  leave(connection: Connection<T>): void {
    const { identity } = connection;
    if (identity.length === 0) return;
    const key = keyOf(identity);
    if (this.#connections.get(key) === connection) this.#connections.delete(key);
  }
}

/** An identity as a key of a Map: a letter for each byte. */
function keyOf(identity: Uint8Array): string {
  return String.fromCharCode(...identity);
}
