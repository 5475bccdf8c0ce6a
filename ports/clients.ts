/**
 * The clients of the frontend by their routing ids: who is there, who has left, and whose identity was
 * taken over by another connection. Sends nothing; requests are request_reader.ts's and replies reply_sender.ts's.
 *
 * libzmq lets a newcomer have an identity at once, and what is sent to that goes to the newcomer from
 * then on, though its notice may still wait to be read. So before something is sent to an identity
 * that a peer chose, `reaches` makes sure that all notices were read.
 *
 * @module
 */

import { clientsOf, isLive, newPeer, type Peer } from "../broker/job.ts";
import { ByteCache } from "../wire/byte_cache.ts";
import { buildJobHeader } from "../wire/job.ts";
import { type Connection, Connections } from "../system/connections.ts";
import { HANDSHAKE_TIMEOUT } from "../zmq/curve.ts";
import { cString, type Library } from "../zmq/library.ts";
import type { Message } from "../zmq/message.ts";
import type { Socket } from "../zmq/socket.ts";
import type { Body } from "./body.ts";
import { Census } from "./census.ts";
import { Squatters } from "./squatters.ts";

/** An identity that another connection has taken over. */
export interface Takeover {
  identity: string;
  /** Where the newcomer comes from, "" if that is not known. */
  address: string;
}

type Key = string | number;

const PEER_ADDRESS = cString("Peer-Address");
const USER_ID = cString("User-Id");
/** A peer that was let in has come within this time, ms: its handshake is over or cut off. */
const ARRIVAL_TIME = HANDSHAKE_TIMEOUT + 1000;
/** Maximum times that news are read before one reply, as more may come meanwhile. */
const LEARN_TURNS = 10;
/** Replies in a row that rely on what was found out for the first of them: sending them takes 0.1 ms. */
const SURE_REPLIES = 16;

/** Who is at the frontend. */
export class Clients {
  readonly #socket: Socket;
  readonly #connections: Connections;
  readonly #byKey = new Map<Key, Peer<Body>>();
  /** By the clients' places. */
  readonly #routingIds = new Map<number, Uint8Array<ArrayBuffer>>();
  #lastPlace = 0;
  /** The connections of clients that have not left, nor lost their identities. */
  readonly #connectionOf = new WeakMap<Peer<Body>, Connection>();
  readonly #census = new Census();
  readonly #gone: (client: Peer<Body>) => void;
  /** Reads what clients have sent; false: nothing may be read now. */
  readonly #catchUp: () => boolean;
  readonly #isKept: (client: Peer<Body>) => boolean;
  readonly #notified: boolean;
  readonly #proven: boolean;
  readonly #bound: number | undefined;
  /** Whether it reads on behalf of a reply. */
  #learning = false;
  /** The pass in which it was found out who has left, ms: libzmq has taken in nothing since. */
  #sureAt = -Infinity;
  /** Replies that may yet rely on that. */
  #sure = 0;
  /** How many come from which address. */
  readonly speakers = new Map<string, number>();
  readonly #addresses = new WeakMap<Peer<Body>, string>();
  /** Peers that name themselves as only libzmq names peers. */
  readonly squatters = new Squatters();
  /** Identities that another connection has taken over while their holder was there, as far as known. */
  takeovers = 0;
  /** The last of them. */
  lastTakeover: Takeover = { identity: "", address: "" };

  /**
   * @param options `notified`: whether the ROUTER reports peers; if not, a client is forgotten with its
   * last job. `proven`: whether peers prove their identity by a key. `bound`: see `Peer`. `firstPlace`: the places of all
   * come after it.
   * @param events `gone` is told of each client that has left or was taken over. `catchUp` reads what
   * clients have sent, as a reply must know who has left; false: nothing may be read now. `isKept`: whether a client
   * stays known without a job.
   */
  constructor(
    socket: Socket,
    library: Library,
    options: {
      notified: boolean;
      proven: boolean;
      bound?: number | undefined;
      firstPlace?: number;
    },
    events: {
      gone(client: Peer<Body>): void;
      catchUp(): boolean;
      isKept(client: Peer<Body>): boolean;
    },
  ) {
    this.#socket = socket;
    this.#connections = new Connections(library);
    this.#notified = options.notified;
    this.#proven = options.proven;
    this.#bound = options.bound;
    this.#gone = (client) => events.gone(client);
    this.#catchUp = () => events.catchUp();
    this.#isKept = (client) => events.isKept(client);
    this.#lastPlace = options.firstPlace ?? 0;
  }

  /** Clients known. */
  get size(): number {
    return this.#byKey.size;
  }

  /** All of them. */
  all(): Iterable<Peer<Body>> {
    return this.#byKey.values();
  }

  /** Connections, those of clients that were let in and are about to come included. */
  connections(now: number): number {
    this.check(now);
    return this.#census.size;
  }

  /** A client was let in: its connection counts from now on. */
  expect(now: number): void {
    if (this.#notified) this.#census.expect(now + ARRIVAL_TIME);
  }

  /** All notices of the ROUTER were read. */
  caughtUp(now: number): void {
    this.#census.caughtUp(now);
    this.check(now);
  }

  /** The ROUTER reports the peer whose id is in the first bytes of `buffer`. What that peer had asked ends. */
  notice(buffer: Uint8Array<ArrayBuffer>, size: number, now: number): void {
    const key = routingKey(buffer, size);
    // A known automatic identity leaves. A named one may be taken over, and libzmq counts on.
    if (typeof key === "string" || !this.#census.has(key)) this.squatters.came(key);
    this.#census.notice(key, buffer.slice(0, size), now);
    this.#forget(key);
  }

  /** The client that has sent a message, of whose body `frame` is one. */
  sender(buffer: Uint8Array<ArrayBuffer>, size: number, frame: Message): Peer<Body> {
    const key = routingKey(buffer, size);
    const known = this.#byKey.get(key);
    if (known !== undefined && (this.#notified || this.#isFrom(known, frame))) return known;
    if (known !== undefined) this.#tookOver(key, addressOf(frame));
    return this.#welcome(key, buffer.slice(0, size), frame);
  }

  /** The client that has an identity now; undefined: none. */
  holder(buffer: Uint8Array<ArrayBuffer>, size: number): Peer<Body> | undefined {
    return this.#byKey.get(routingKey(buffer, size));
  }

  /** Where a client comes from, "" if that is not known. */
  addressOf(client: Peer<Body>): string {
    return this.#addresses.get(client) ?? "";
  }

  /**
   * Whether what is sent to a client's identity next can reach only that client: all news were read, and so
   * the notices of connections that have taken an identity over.
   */
  reaches(client: Peer<Body>, now: number): boolean {
    if (!this.isNamed(client)) return true;
    if (!this.#notified) return this.#isOpen(client);
    if (now === this.#sureAt && this.#sure-- > 0) return this.#isKnown(client);
    for (let turn = 0; this.#hasNews(); turn++) {
      if (this.#learning || turn === LEARN_TURNS || !this.#learn()) return this.#isOpen(client);
    }
    this.#sure = this.#proven ? 0 : SURE_REPLIES - 1;
    this.#sureAt = now;
    return this.#isKnown(client);
  }

  #learn(): boolean {
    this.#learning = true;
    const hasRead = this.#catchUp();
    this.#learning = false;
    return hasRead;
  }

  /** Something is about to be read: libzmq takes news in, and what was found out may not hold any more. */
  expectNews(): void {
    this.#sureAt = -Infinity;
  }

  /** Whether a client is there: it has not left, nor lost its identity, as far as was read. */
  #isKnown(client: Peer<Body>): boolean {
    return this.#connectionOf.has(client);
  }

  /** The same, and its connection is open: what counts where not all that was sent can be read. */
  #isOpen(client: Peer<Body>): boolean {
    const connection = this.#connectionOf.get(client);
    return connection !== undefined && this.#connections.isOpen(connection);
  }

  /**
   * Whether something is to be read, asked of libzmq itself. If not, nobody has taken an identity over, nor
   * will somebody before a message that is sent right behind this.
   */
  #hasNews(): boolean {
    this.#socket.takeNews();
    return this.#socket.readable();
  }

  /** How the ROUTER knows a client; of one that has left, an id that nobody has. */
  routingId(client: Peer<Body>): Uint8Array<ArrayBuffer> {
    return this.#routingIds.get(client.place) ?? NOBODY;
  }

  /** Whether a client has chosen its identity, and so may lose it to another. */
  isNamed(client: Peer<Body>): boolean {
    return this.routingId(client)[0] !== 0;
  }

  /** Forgets a client that waits for nothing, where libzmq does not report its leaving. */
  forgetIdle(client: Peer<Body>): boolean {
    if (this.#notified || clientsOf(client).some(isLive) || this.#isKept(client)) return false;
    const id = this.routingId(client);
    const key = routingKey(id, id.length);
    if (this.#byKey.get(key) !== client) return false;
    this.#tally(this.#addresses.get(client) ?? "", -1);
    this.#routingIds.delete(client.place);
    return this.#byKey.delete(key);
  }

  #tally(address: string, change: number): void {
    const count = (this.speakers.get(address) ?? 0) + change;
    if (count > 0) this.speakers.set(address, count);
    else this.speakers.delete(address);
  }

  /** Finds clients that have left without a notice, and identities that were taken over by silent ones. */
  check(now: number): void {
    const isThere = (id: Uint8Array<ArrayBuffer>) => this.#socket.hasPeer(id) ?? true;
    for (const key of this.#census.endDoubts(now, isThere)) this.#tookOver(key, "");
    for (const key of this.#census.check(now, isThere)) this.#forget(key);
    this.squatters.keep((key) => this.#census.has(key));
  }

  /** The addresses of all peers that are connected to these ports, also those that were not let in. */
  peers(ports: ReadonlySet<number>): Iterable<Uint8Array> {
    return this.#connections.peers(ports);
  }

  /**
   * Finds clients that have hung up, whose notices wait behind messages that nobody reads. They stay known
   * until these are read, as gone: what they have sent is for nobody.
   */
  findGone(): void {
    for (const [key, client] of this.#byKey) {
      const connection = this.#connectionOf.get(client);
      if (!client.connected || !clientsOf(client).some(isLive) || connection === undefined) {
        continue;
      }
      if (this.#connections.isOpen(connection)) continue;
      if (this.#notified) this.#gone(client);
      else this.#forget(key);
    }
  }

  #welcome(key: Key, routingId: Uint8Array<ArrayBuffer>, frame: Message): Peer<Body> {
    // libzmq's own identities begin with a zero byte, and a client's may not.
    const isNamed = routingId[0] !== 0;
    const identity = isNamed ? new TextDecoder().decode(routingId) : "";
    // Where no key is asked for, a peer may send a property of this name itself.
    const user = this.#proven ? frame.property(USER_ID) ?? "" : "";
    const address = addressOf(frame);
    const place = ++this.#lastPlace;
    const header = buildJobHeader(identity, address, user);
    const client = newPeer<Body>(place, header, user, this.#bound);
    this.#byKey.set(key, client);
    this.#routingIds.set(place, routingId);
    this.#addresses.set(client, address);
    this.#tally(address, 1);
    this.#connectionOf.set(client, this.#connections.of(frame.fd));
    if (this.#notified && this.#census.spoke(key, routingId)) this.#tookOver(key, address);
    return client;
  }

  /** Whether a message came over the connection that a client is known by. */
  #isFrom(client: Peer<Body>, frame: Message): boolean {
    const connection = this.#connectionOf.get(client);
    if (connection === undefined || Number.isNaN(connection.fd)) return true;
    if (!this.isNamed(client)) return true;
    const { fd, cookie } = this.#connections.of(frame.fd);
    return fd === connection.fd && cookie === connection.cookie;
  }

  #tookOver(key: Key, address: string): void {
    this.takeovers++;
    this.lastTakeover = { identity: typeof key === "string" ? nameOf(key) : "", address };
    if (!this.#notified) this.#forget(key);
  }

  /** A client has left, if one was known by this key. */
  #forget(key: Key): void {
    const client = this.#byKey.get(key);
    if (client === undefined) return;
    this.#byKey.delete(key);
    this.#routingIds.delete(client.place);
    this.#connectionOf.delete(client);
    this.#tally(this.#addresses.get(client) ?? "", -1);
    this.#gone(client);
  }
}

/** A routing id as a key: libzmq's own, five bytes of which the first is 0, is a number. */
export function routingKey(id: Uint8Array, size: number): Key {
  if (size === 5 && id[0] === 0) {
    return (id[1] ?? 0) + (id[2] ?? 0) * 2 ** 8 + (id[3] ?? 0) * 2 ** 16 + (id[4] ?? 0) * 2 ** 24;
  }
  return KEYS.get(id, 0, size);
}

/** libzmq's own ids have five bytes, those of peers one at least. */
const NOBODY = new Uint8Array(0);
const KEYS = new ByteCache((id) => String.fromCharCode(...id));

/** The identity that a key was made of, as text. */
function nameOf(key: string): string {
  return new TextDecoder().decode(Uint8Array.from(key, (letter) => letter.charCodeAt(0)));
}

/** The network address that a frame came from; "" over ipc, where libzmq gives a process. */
function addressOf(frame: Message): string {
  const address = frame.property(PEER_ADDRESS) ?? "";
  return address.startsWith("localhost:") ? "" : address;
}
