/**
 * All connections of a client, and the wait for any of them. Which of them are opened, used and closed when
 * is decided elsewhere.
 *
 * @module
 */

import { openBell } from "../system/bell.ts";
import { type Connector, openConnector, openTransfer, type Transfer } from "../system/libc.ts";
import { PollEvent } from "../system/numbers.ts";
import { Poller } from "../system/poller.ts";
import type { Connection, ConnectionState, Ground, Pace, Transport, Watched } from "./transport.ts";

/** How long a server may take to notice that a connection was closed; a busy one takes longer. */
const LEAVE_MS = 20;

/** Who hears of connections; `now` is ms. */
export interface ConnectionListener<Key> {
  /** A handshake has succeeded. */
  connected(key: Key, now: number): void;
  /** A connection has ended. */
  disconnected(key: Key, now: number): void;
}

/** What connections need to know. */
export interface ConnectionsOptions<Key> {
  /** What makes them. */
  transport: Transport;
  /** A library that is linked to the C library. */
  library: string;
  /** Whether the client has a name, which only one connection at a time can have. */
  named: boolean;
  /** Hears when connections were made and have ended. */
  listener: ConnectionListener<Key>;
  /** Called now and then while connections are open: an idle client is to look after them. */
  attend: () => void;
}

/** Connections by the caller's key. */
export class Connections<Key> implements Iterable<[Key, Connection]> {
  readonly #options: ConnectionsOptions<Key>;
  readonly #connections = new Map<Key, Connection>();
  readonly #ground: Ground;
  #poller: Poller | undefined;
  /** The C library, once something was to be connected. */
  #libc: { connector: Connector; transfer: Transfer } | undefined;
  /** Looks after connections while nothing else does. */
  #timer: ReturnType<typeof setInterval> | undefined;

  /** Opens nothing. */
  constructor(options: ConnectionsOptions<Key>) {
    this.#options = options;
    const openLibc = () => this.#openLibc();
    this.#ground = {
      get libc() {
        return openLibc();
      },
      changed: (watched) => this.#expect(watched),
      wake: () => this.wake(),
    };
  }

  /** The connections, the oldest first. */
  [Symbol.iterator](): Iterator<[Key, Connection]> {
    return this.#connections.entries();
  }

  /** A connection; undefined if it is closed. */
  get(key: Key): Connection | undefined {
    return this.#connections.get(key);
  }

  /** What is known of a connection; a closed one is "unconnected". */
  stateOf(key: Key): ConnectionState {
    return this.#connections.get(key)?.state ?? "unconnected";
  }

  /** The connection that was opened last, of those that are open. */
  get newest(): Connection | undefined {
    return [...this.#connections.values()].at(-1);
  }

  /**
   * Opens a connection, which keeps trying by itself.
   *
   * @throws {Error} when the system has no file descriptor left, or nobody could connect to the endpoint.
   */
  open(key: Key, endpoint: string): void {
    const { transport, attend } = this.#options;
    this.#dropPoller();
    this.#connections.set(key, transport.open(endpoint, this.#ground));
    if (this.#timer !== undefined) return;
    this.#timer = setInterval(attend, transport.idleInterval);
    Deno.unrefTimer(this.#timer);
  }

  /** Closes a connection; under an identity, it returns when the server has probably seen it go. */
  async close(key: Key): Promise<void> {
    this.#dropPoller();
    this.#connections.get(key)?.close();
    this.#connections.delete(key);
    if (!this.#options.named) return;
    // A server may ignore a newcomer whose identity is still connected.
    await this.#options.transport.end();
    await new Promise((resolve) => setTimeout(resolve, LEAVE_MS));
  }

  /** Closes all connections at once; new ones may be opened. */
  closeAll(): void {
    this.#dropPoller();
    for (const connection of this.#connections.values()) connection.close();
    this.#connections.clear();
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /** Closes all connections, and waits until what made them has let them go. */
  async end(): Promise<void> {
    this.closeAll();
    await this.#options.transport.end();
  }

  /** Reports which connections were made and which have ended. */
  readNews(now: number): void {
    for (const [key, connection] of this.#connections) {
      for (const news of connection.news()) this.#options.listener[news](key, now);
    }
  }

  /** Sends what was given to connections, and does what is due; returns ms until something is. */
  tick(now: number, pace: Pace): number {
    let sleep = Infinity;
    for (const connection of this.#connections.values()) {
      sleep = Math.min(sleep, connection.tick(now, pace));
    }
    return sleep;
  }

  /** Waits for `timeout` ms, until `wake` is called, or until a connection can be read. */
  async wait(timeout: number): Promise<void> {
    // Asked last, after all that was sent: a send can eat the wake-up of libzmq's socket.
    for (const connection of this.#connections.values()) if (connection.isReadable()) return;
    this.#poller ??= this.#openPoller();
    await this.#poller.wait(timeout);
  }

  /** Ends the wait that is under way, if one is. */
  wake(): void {
    this.#poller?.wake();
  }

  #openPoller(): Poller {
    const { connector, transfer } = this.#openLibc();
    const watched = [...this.#connections.values()].flatMap(({ watched }) => watched);
    const poller = this.#poller = new Poller(transfer, openBell(connector), watched);
    for (const each of watched) this.#expect(each);
    return poller;
  }

  #expect(watched: Watched): void {
    this.#poller?.expect(watched, watched.events ?? PollEvent.IN);
  }

  #openLibc() {
    const { library } = this.#options;
    return this.#libc ??= {
      connector: openConnector(library),
      transfer: openTransfer(library),
    };
  }

  #dropPoller(): void {
    this.#poller?.close();
    this.#poller = undefined;
  }
}
