/**
 * Who may connect where pools on other machines join: the machines that are listed, and the workers that these have
 * announced. Knows no sockets. What is not allowed is denied.
 *
 * @module
 */

import type { ZapDecision, ZapRequest } from "../wire/zap.ts";
import type { ClientList } from "./client_list.ts";
import { encodeKey } from "./z85.ts";

/** What libzmq calls the socket when it asks. */
export const JOIN_DOMAIN = "joiners";

/**
 * Connections that each listed machine may have beside those of its workers: it may be restarted more often than the
 * ends of its former connections are noticed.
 */
const SPARE_CONNECTIONS = 16;

/** Decides who may connect. */
export class JoinAccess {
  #names: ClientList;
  /** Public keys of the workers that live. */
  readonly #workers = new Set<string>();

  /** @param names those of the machines, by their public keys. */
  constructor(names: ClientList) {
    this.#names = names;
  }

  /** Lets these machines in from now on; connections stay. */
  configure(names: ClientList): void {
    this.#names = names;
  }

  /** Lets the worker of this key connect. */
  addWorker(key: string): void {
    this.#workers.add(key);
  }

  /** Lets the worker of this key connect no more. */
  removeWorker(key: string): void {
    this.#workers.delete(key);
  }

  /** Whether a peer may connect where `open` others are; a machine's user is its name, a worker's "". */
  decide({ mechanism, credentials: [bytes, ...more] }: ZapRequest, open: number): ZapDecision {
    const isKey = mechanism === "CURVE" && bytes !== undefined && more.length === 0;
    const key = isKey ? encodeKey(bytes) : undefined;
    if (key === undefined) return { outcome: "denied", reason: "it proved no key" };
    const user = this.#workers.has(key) ? "" : this.#names.get(key);
    if (user === undefined) {
      return { outcome: "denied", reason: `key ${key} is not on the list of machines` };
    }
    // Many that are open would let one of them end libzmq: see ports/squatters.ts.
    const most = this.#workers.size + SPARE_CONNECTIONS * this.#names.size;
    return open < most
      ? { outcome: "allowed", user }
      : { outcome: "later", reason: `there are ${open} connections of joined pools` };
  }
}
