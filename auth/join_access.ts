/**
 * Who may connect where pools on other machines join: the machines that are listed, and the workers that these have
 * announced. Knows no sockets. What is not allowed is denied.
 *
 * A machine on the list may be hostile, and must not keep others out: each key has places of its own. What libzmq
 * reports of a connection does not say whose it is, so one at a time is let in: what is opened next is that one's. None
 * of a machine's is let in any more once one has named itself as only libzmq names peers, which could end the server:
 * see ports/squatters.ts.
 *
 * @module
 */

import type { ZapDecision, ZapRequest } from "../wire/zap.ts";
import type { ClientList } from "./client_list.ts";
import { encodeKey } from "./z85.ts";

/** What libzmq calls the socket when it asks. */
export const JOIN_DOMAIN = "joiners";

/** Connections of one key: a machine may be restarted more often than the ends of its former ones are noticed. */
const MOST_OF_MACHINE = 16;
const MOST_OF_WORKER = 2;
/** A connection that was let in is open within this time, or never, ms. */
const OPENING_TIME = 1000;
/** Whose connection never was waits for this long before it has the next turn, ms. */
const PENALTY = 2000;

/** A connection, as its socket knows it. */
type Connection = string | number;

/** Who has proved a key. */
interface Holder {
  readonly key: string;
  /** What its machine is called on the list. */
  readonly host: string;
}

/** Decides who may connect. */
export class JoinAccess {
  #names: ClientList;
  /** The machines of workers that live, by the workers' public keys. */
  readonly #workers = new Map<string, string>();
  readonly #open = new Map<Connection, string>();
  /** How many connections there are of each key. */
  readonly #counts = new Map<string, number>();
  /** Machines of which nothing is let in. */
  readonly #barred = new Set<string>();
  /** Whose turn to open a connection it is, until when, ms. */
  #opening: Holder & { readonly until: number } | undefined;
  /** Machines that must wait for their next turn, and until when, ms. */
  readonly #penalties = new Map<string, number>();

  /** @param names those of the machines, by their public keys. */
  constructor(names: ClientList) {
    this.#names = names;
  }

  /** Lets these machines in from now on, also those that were barred; connections stay. */
  configure(names: ClientList): void {
    this.#names = names;
    this.#barred.clear();
  }

  /** Lets the worker of this key connect, which lives on a machine of this name. */
  addWorker(key: string, host: string): void {
    this.#workers.set(key, host);
  }

  /** Lets the worker of this key connect no more. */
  removeWorker(key: string): void {
    this.#workers.delete(key);
  }

  /**
   * Whether a peer may connect; a machine's user is its name, a worker's "". "wait": it is another one's turn.
   *
   * @param isTold Whether `opened` and `closed` are called: libzmq may not be able to tell.
   */
  decide(
    { mechanism, credentials }: ZapRequest,
    isTold: boolean,
    now: number,
  ): ZapDecision | "wait" {
    const [bytes, ...more] = credentials;
    const isKey = mechanism === "CURVE" && bytes !== undefined && more.length === 0;
    const key = isKey ? encodeKey(bytes) : undefined;
    if (key === undefined) return { outcome: "denied", reason: "it proved no key" };
    const machine = this.#workers.get(key);
    const host = machine ?? this.#names.get(key);
    if (host === undefined) {
      return { outcome: "denied", reason: `key ${key} is not on the list of machines` };
    }
    if (this.#barred.has(host)) return { outcome: "denied", reason: barred(host) };
    const open = this.#counts.get(key) ?? 0;
    if (open >= (machine === undefined ? MOST_OF_MACHINE : MOST_OF_WORKER)) {
      return { outcome: "later", reason: `there are ${open} connections of this key of "${host}"` };
    }
    if (!isTold) return { outcome: "allowed", user: machine === undefined ? host : "" };
    this.#endOpening(now);
    if (this.#opening !== undefined || this.#mustWait(host, now)) return "wait";
    this.#opening = { key, host, until: now + OPENING_TIME };
    return { outcome: "allowed", user: machine === undefined ? host : "" };
  }

  /** Who was to open a connection has not. */
  #endOpening(now: number): void {
    if (this.#opening === undefined || now < this.#opening.until) return;
    this.#penalties.set(this.#opening.host, now + PENALTY);
    this.#opening = undefined;
  }

  #mustWait(host: string, now: number): boolean {
    const until = this.#penalties.get(host) ?? now;
    if (until <= now) this.#penalties.delete(host);
    return until > now;
  }

  /**
   * A connection was opened. Returns the machine's name if it is barred from now on, as the connection has a name that
   * libzmq has not given.
   */
  opened(connection: Connection, isNamedByUs: boolean): string | undefined {
    const holder = this.#opening;
    this.#opening = undefined;
    if (holder === undefined) return undefined;
    const { key, host } = holder;
    this.#open.set(connection, key);
    this.#counts.set(key, (this.#counts.get(key) ?? 0) + 1);
    if (isNamedByUs) return undefined;
    this.#barred.add(host);
    return host;
  }

  /** A connection was closed. */
  closed(connection: Connection): void {
    const key = this.#open.get(connection);
    if (key === undefined) return;
    this.#open.delete(connection);
    const left = (this.#counts.get(key) ?? 1) - 1;
    if (left > 0) this.#counts.set(key, left);
    else this.#counts.delete(key);
  }

  /** Returns ms until somebody who was told to wait may have a turn at last; Infinity: that is not known. */
  wait(now: number): number {
    const times = [...this.#penalties.values()];
    if (this.#opening !== undefined) times.push(this.#opening.until);
    return Math.min(Infinity, ...times.filter((time) => time > now).map((time) => time - now));
  }
}

function barred(host: string): string {
  return `"${host}" has named a connection itself, which no pool does`;
}
