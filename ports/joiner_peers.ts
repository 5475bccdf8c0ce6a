/**
 * The joining processes of other machines, as the socket that they and their workers connect to knows them. Passes on
 * what they say (wire/join.ts), and knows nothing of what it means.
 *
 * @module
 */

import { MOST_JOIN_BYTES } from "../wire/join.ts";
import { Squatters } from "./squatters.ts";

/** What is reported of joiners. */
export interface JoinerEvents {
  /** One of them says something; `name` is what it has proved to be, and `joiner` the number of its connection. */
  said(joiner: number, name: string, address: string, text: string): void;
  /** The connection of one is gone. */
  gone(joiner: number): void;
  /** A connection was opened, of a joiner or of a worker; `isNamedByUs`: under a name that libzmq has given. */
  opened(connection: Key, isNamedByUs: boolean): void;
  /** A connection was closed. */
  closed(connection: Key): void;
}

type Key = string | number;
type RoutingId = Uint8Array<ArrayBuffer>;

interface JoinerPeer {
  readonly joiner: number;
  readonly key: Key;
  readonly routingId: RoutingId;
  /** What it has said in the present second. */
  messages: number;
  bytes: number;
  secondStarted: number;
}

/** Joiners that are connected at a time. */
const MOST_PEERS = 1024;
/** What one may say in a second; the rest is not heard. */
const MOST_MESSAGES = 2000;
const MOST_BYTES = 4 * 1024 ** 2;

/** Joiners by their connections. */
export class JoinerPeers {
  readonly #events: JoinerEvents;
  readonly #byKey = new Map<Key, JoinerPeer>();
  readonly #byNumber = new Map<number, JoinerPeer>();
  /** All connections of the socket, those of workers too. */
  readonly #open = new Set<Key>();
  readonly #squatters = new Squatters();
  #last = 0;

  /** Knows none yet. */
  constructor(events: JoinerEvents) {
    this.#events = events;
  }

  /** libzmq reports that a connection has come, or gone. */
  noticed(key: Key): void {
    if (this.#open.delete(key)) this.#events.closed(key);
    else this.#enterConnection(key);
    const peer = this.#byKey.get(key);
    if (peer === undefined) return;
    this.#byKey.delete(key);
    this.#byNumber.delete(peer.joiner);
    this.#events.gone(peer.joiner);
  }

  #enterConnection(key: Key): void {
    this.#open.add(key);
    this.#events.opened(key, typeof key === "number" && this.#squatters.came(key));
  }

  /** An id that libzmq has given for certain: it counts up from there. */
  anchor(key: Key): void {
    this.#squatters.anchor(key);
  }

  /** One has said something, of so many bytes; false: it is not heard. `name`: what it has proved to be. */
  hear(
    key: Key,
    routingId: () => RoutingId,
    { name, address, size, text }: {
      name: string;
      address: string;
      size: number;
      text: () => string;
    },
    now: number,
  ): boolean {
    if (name === "" || size > MOST_JOIN_BYTES) return false;
    const peer = this.#byKey.get(key) ?? this.#enter(key, routingId);
    if (peer === undefined || !isWithin(peer, size, now)) return false;
    this.#events.said(peer.joiner, name, address, text());
    return true;
  }

  #enter(key: Key, routingId: () => RoutingId): JoinerPeer | undefined {
    if (this.#byKey.size >= MOST_PEERS) return undefined;
    const joiner = ++this.#last;
    const peer: JoinerPeer = {
      ...{ joiner, key, routingId: routingId() },
      ...{ messages: 0, bytes: 0, secondStarted: 0 },
    };
    this.#byKey.set(key, peer);
    this.#byNumber.set(joiner, peer);
    return peer;
  }

  /** How to reach one; undefined: it is gone. */
  routeTo(joiner: number): RoutingId | undefined {
    return this.#byNumber.get(joiner)?.routingId;
  }
}

/** Counts what one says; false: it says too much. */
function isWithin(peer: JoinerPeer, size: number, now: number): boolean {
  if (now - peer.secondStarted >= 1000) {
    peer.secondStarted = now;
    peer.messages = peer.bytes = 0;
  }
  peer.messages++;
  peer.bytes += size;
  return peer.messages <= MOST_MESSAGES && peer.bytes <= MOST_BYTES;
}
