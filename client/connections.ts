/**
 * All sockets of a client, and the wait for any of them. Which of them are opened, used and closed when
 * is decided elsewhere.
 *
 * @module
 */

import { openBell } from "../system/bell.ts";
import { type Connector, openConnector, openTransfer, type Transfer } from "../system/libc.ts";
import { Poller } from "../system/poller.ts";
import { prove } from "../zmq/curve.ts";
import { type Library, Option } from "../zmq/library.ts";
import { Context } from "../zmq/socket.ts";
import { Connection, type ConnectionState } from "./connection.ts";
import type { Keys } from "./keys.ts";

/** How often an idle client reads what has become of its connections. */
const NEWS_INTERVAL = 10_000;
/** How long a server may take to notice that a connection was closed; a busy one takes longer. */
const LEAVE_MS = 20;

const encoder = new TextEncoder();

/** Who hears of connections; `now` is ms. */
export interface ConnectionListener<Key> {
  /** A handshake has succeeded. */
  connected(key: Key, now: number): void;
  /** A connection has ended. */
  disconnected(key: Key, now: number): void;
}

/** What connections need to know. */
export interface ConnectionsOptions<Key> {
  /** libzmq. */
  library: Library;
  /** The client's name, if it has one. */
  identity: string | undefined;
  /** The client's keys, if it has some. */
  keys: Keys | undefined;
  /** Hears when connections were made and have ended. */
  listener: ConnectionListener<Key>;
}

/** Connections by the caller's key. */
export class Connections<Key> implements Iterable<[Key, Connection]> {
  readonly #options: ConnectionsOptions<Key>;
  readonly #connections = new Map<Key, Connection>();
  #context: Context | undefined;
  #poller: Poller | undefined;
  /** The C library, once something was to be waited for. */
  #libc: { connector: Connector; transfer: Transfer } | undefined;
  /** Reads the news of connections while nothing else does. */
  #newsTimer: ReturnType<typeof setInterval> | undefined;

  /** Opens nothing. */
  constructor(options: ConnectionsOptions<Key>) {
    this.#options = options;
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
   * Opens a socket and connects it; libzmq keeps trying by itself.
   *
   * @throws {ZmqError} when the system has no file descriptor left, or libzmq refuses the endpoint.
   */
  open(key: Key, endpoint: string): void {
    const { identity, keys } = this.#options;
    const connection = new Connection(this.#openContext(), endpoint);
    this.#connections.set(key, connection);
    this.#dropPoller();
    if (identity !== undefined) {
      connection.socket.setBytes(Option.ROUTING_ID, encoder.encode(identity));
    }
    if (keys !== undefined) prove(connection.socket, keys.own, keys.server);
    connection.connect();
    if (this.#newsTimer !== undefined) return;
    this.#newsTimer = setInterval(() => this.readNews(performance.now()), NEWS_INTERVAL);
    Deno.unrefTimer(this.#newsTimer);
  }

  /** Closes a connection; under an identity, it returns when the server has probably seen it go. */
  async close(key: Key): Promise<void> {
    this.#dropPoller();
    this.#connections.get(key)?.close();
    this.#connections.delete(key);
    if (this.#options.identity === undefined) return;
    // A server ignores a newcomer whose identity is still connected.
    await this.#closeContext();
    await new Promise((resolve) => setTimeout(resolve, LEAVE_MS));
  }

  /** Closes all connections at once; new ones may be opened. */
  closeAll(): void {
    this.#dropPoller();
    for (const connection of this.#connections.values()) connection.close();
    this.#connections.clear();
    clearInterval(this.#newsTimer);
    this.#newsTimer = undefined;
  }

  /** Closes all connections, and waits until libzmq has ended. */
  async end(): Promise<void> {
    this.closeAll();
    await this.#closeContext();
  }

  /** Reports which connections were made and which have ended. */
  readNews(now: number): void {
    for (const [key, connection] of this.#connections) {
      for (const news of connection.news()) this.#options.listener[news](key, now);
    }
  }

  /** Waits for `timeout` ms, until `wake` is called, or until a socket can be read. */
  async wait(timeout: number): Promise<void> {
    // Asked last, after all that was sent: a send can eat a socket's wake-up.
    if (this.#isReadable()) return;
    this.#poller ??= this.#openPoller();
    await this.#poller.wait(timeout);
  }

  /** Ends the wait that is under way, if one is. */
  wake(): void {
    this.#poller?.wake();
  }

  #isReadable(): boolean {
    for (const { watched: [socket, news] } of this.#connections.values()) {
      if (socket?.readable() || news?.readable()) return true;
    }
    return false;
  }

  #openPoller(): Poller {
    const { path } = this.#options.library;
    const libc = this.#libc ??= { connector: openConnector(path), transfer: openTransfer(path) };
    return new Poller(libc.transfer, openBell(libc.connector), this.#watched());
  }

  #watched() {
    return [...this.#connections.values()].flatMap(({ watched }) => watched);
  }

  #openContext(): Context {
    return this.#context ??= new Context(this.#options.library);
  }

  async #closeContext(): Promise<void> {
    const context = this.#context;
    this.#context = undefined;
    await context?.terminate();
  }

  #dropPoller(): void {
    this.#poller?.close();
    this.#poller = undefined;
  }
}
