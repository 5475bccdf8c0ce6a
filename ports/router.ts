/**
 * A socket layer on streams of our own: listens, lets peers in, shakes hands, and reads and sends for many
 * connections on one thread. What messages mean is its owner's.
 *
 * @module
 */

import { Arrivals } from "../auth/arrivals.ts";
import type { Settings } from "../options/settings.ts";
import { Epoll } from "../system/epoll.ts";
import type { Libc } from "../system/libc.ts";
import { PollEvent } from "../system/numbers.ts";
import type { Pollable } from "../system/poller.ts";
import { Streams } from "../system/streams.ts";
import { buildError, buildPing, buildPong, type Command, type OwnType } from "../wire/zmtp.ts";
import type { BodyPool } from "./body.ts";
import { Connection } from "./connection.ts";
import { type FrameEvents, FrameReader } from "./frame_reader.ts";
import { Handshake, type Refusal } from "./handshake.ts";
import { Identities, type Takeover } from "./identities.ts";
import { Lifetimes } from "./lifetimes.ts";
import { LISTENER_TOKENS, Listeners, type ListenersOptions } from "./listeners.ts";
import { Outlets } from "./outlets.ts";
import { READABLE, Reading, type ReadingEvents } from "./reading.ts";
import { Unread } from "./unread.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** What bounds a `Router`. */
export interface RouterOptions extends
  ListenersOptions,
  Pick<
    Settings,
    "connectionBytes" | "handshakeTimeout" | "heartbeatInterval" | "maxConnectionRate"
  > {
  /** Maximum bytes that wait for peers, all together. */
  unreadBytes: number;
  /** What counts connections, where it counts others, too. */
  arrivals?: Arrivals;
}

/** What a `Router` reports. Bytes are valid during the call only. */
export interface RouterEvents<T>
  extends Omit<FrameEvents<T>, "command" | "broken">, ReadingEvents<T> {
  /** Why no other peer may connect from an address, "" over ipc; undefined: one may. */
  refusal(address: string, open: Arrivals): string | undefined;
  /** A peer has broken the protocol, and its connection was closed. */
  broken(connection: Connection<T>, reason: string): void;
  /** A connection is gone, and so many messages to it were not taken. */
  gone(connection: Connection<T>, undelivered: number): void;
  /** A peer subscribes to a topic by a command, or no more; not there: nobody can. */
  subscription?(
    connection: Connection<T>,
    name: "SUBSCRIBE" | "CANCEL",
    topic: Uint8Array,
  ): void;
}

/** A connection that was not let in. */
export interface Denial {
  /** "" over ipc. */
  address: string;
  reason: string;
}

/** The token of those peers that take more: `flush` finds out which. */
const SLOW_ONES = LISTENER_TOKENS - 1;
const PING = buildPing();

/** A socket that many peers connect to. */
export class Router<T> implements Pollable {
  readonly #type: OwnType;
  readonly #streams: Streams;
  readonly #events: RouterEvents<T>;
  readonly #epoll: Epoll;
  /** Slow peers, to know when they take more. */
  readonly #writable: Epoll;
  readonly #listeners: Listeners;
  readonly #handshake: Handshake<T>;
  readonly #reading: Reading<T>;
  readonly #lifetimes: Lifetimes<T>;
  readonly #arrivals: Arrivals;
  readonly #table: (Connection<T> | undefined)[] = [];
  /** Places that can be given anew, and those that can be once the present batch of events is done with. */
  readonly #free: number[] = [];
  readonly #freed: number[] = [];
  readonly #identities = new Identities<T>();
  /** When the present pass started, ms. */
  #now = 0;
  readonly unread: Unread;
  readonly outlets: Outlets<Connection<T>>;
  /** Connections that were not let in. */
  denied = 0;
  lastDenial: Denial = { address: "", reason: "" };
  /** Peers that wanted an identity of those that routers give. */
  squatters = 0;

  /**
   * Listens nowhere yet.
   *
   * @throws {SystemError} when the system has no file descriptor left.
   */
  constructor(
    type: OwnType,
    libc: Libc,
    bodies: BodyPool,
    options: RouterOptions,
    events: RouterEvents<T>,
  ) {
    this.#type = type;
    const streams = this.#streams = new Streams(libc);
    this.#events = events;
    const epoll = this.#epoll = new Epoll(libc);
    this.#writable = new Epoll(libc);
    // Without an epoll, slow peers are only tried from time to time.
    if (this.#writable.fd >= 0) epoll.add(this.#writable.fd, SLOW_ONES, PollEvent.IN);
    this.#listeners = new Listeners(libc, epoll, options, {
      accepted: (fd, address, bound) => this.#admit(fd, address, bound),
      exhausted: () => this.#deny("", "the system has no file descriptor left"),
    });
    this.#arrivals = options.arrivals ?? new Arrivals(options.maxConnectionRate);
    const unread = this.unread = new Unread(options.unreadBytes, options.connectionBytes);
    this.outlets = new Outlets(streams, bodies, unread, (connection) => this.#watch(connection));
    const handshake = this.#handshake = new Handshake<T>(type, {
      send: (connection, bytes) => this.#say(connection, bytes),
      opened: (connection, identity) => this.#open(connection, identity),
      refused: (connection, refusal) => this.#refuse(connection, refusal),
    });
    const reader = new FrameReader<T>({
      ...events,
      command: (connection, command) => this.#obey(connection, command),
      broken: (connection, reason) => this.breakOff(connection, reason),
    });
    const table = this.#table;
    this.#reading = new Reading({
      ...{ events, streams, epoll, table, handshake, reader },
      accept: (token, now) => this.#listeners.accept(token, now),
      close: (connection) => this.close(connection),
      settled: () => {
        if (this.#freed.length > 0) this.#free.push(...this.#freed.splice(0));
      },
    });
    this.#lifetimes = new Lifetimes(options, {
      hasInput: ({ fd }) => streams.hasInput(fd),
      ask: (connection) => {
        if (connection.backlog === undefined) this.#say(connection, PING);
      },
      giveUp: (connection, reason) => this.#giveUp(connection, reason),
    });
  }

  // ---- who comes and goes ----

  /** Readable, for poll(2), while something is to be read; -1: see `pollSet`. */
  get fd(): number {
    return this.#epoll.fd;
  }

  /** What is to be polled where there is no epoll. */
  get pollSet(): Epoll["pollSet"] {
    return this.#epoll.pollSet;
  }

  /** Connections, those whose handshakes are under way included. */
  get connections(): number {
    return this.#arrivals.connections;
  }

  /** Identities that another connection has taken over. */
  get takeovers(): number {
    return this.#identities.takeovers;
  }

  get lastTakeover(): Takeover {
    return this.#identities.lastTakeover;
  }

  /** The connection that has this place now. */
  at(place: number): Connection<T> | undefined {
    return this.#table[place];
  }

  /** All connections that were not closed. */
  *all(): Generator<Connection<T>> {
    for (const connection of this.#table) if (connection?.isThere) yield connection;
  }

  /**
   * Listens at one more endpoint, or anew at one whose file is gone, and returns the one really bound.
   *
   * @param bound what connections that are accepted there have as theirs.
   * @throws {SystemError} when it can't be bound.
   */
  bind(endpoint: string, bound?: number): string {
    return this.#listeners.bind(endpoint, bound, this.#now);
  }

  #admit(fd: number, address: string, bound: number | undefined): void {
    const reason = this.#arrivals.knock(address, this.#now)
      ? this.#events.refusal(address, this.#arrivals)
      : "its address has opened many connections within a second";
    if (reason === undefined) return this.#welcome(fd, address, bound);
    this.#deny(address, reason);
    this.#streams.close(fd);
  }

  #deny(address: string, reason: string): void {
    this.denied++;
    this.lastDenial = { address, reason };
  }

  #welcome(fd: number, address: string, bound: number | undefined): void {
    const place = this.#free.pop() ?? this.#table.length;
    try {
      this.#epoll.add(fd, place, READABLE);
    } catch {
      this.#free.push(place);
      this.#deny(address, "the system has no memory left");
      return this.#streams.close(fd);
    }
    const connection = new Connection<T>(fd, place, address, bound, this.#now);
    this.#table[place] = connection;
    this.#arrivals.enter(address, this.#now);
    this.#lifetimes.accepted(connection);
    this.#handshake.begin(connection);
  }

  /** A handshake is over: the peer has the identity now, whoever had it before. */
  #open(connection: Connection<T>, identity: Bytes): void {
    connection.state = "open";
    this.#lifetimes.opened(connection);
    // Nothing is sent to subscribers by their names: any number of them may have the same one.
    if (identity.length === 0 || this.#type === "XPUB") return;
    const former = this.#identities.enter(connection, identity);
    if (former !== undefined) this.close(former);
  }

  #refuse(connection: Connection<T>, { reason, isTold, isReserved }: Refusal): void {
    if (isReserved) this.squatters++;
    else this.#deny(connection.address, reason);
    if (isTold) this.#tell(connection, reason);
    this.close(connection);
  }

  #giveUp(connection: Connection<T>, reason: string): void {
    if (connection.state !== "open") this.#deny(connection.address, reason);
    this.close(connection);
  }

  /** A peer breaks the protocol: it is told why, as far as it listens, and its connection is closed. */
  breakOff(connection: Connection<T>, reason: string): void {
    if (!connection.isThere) return;
    if (connection.version !== "2.0" && connection.backlog === undefined) {
      this.#tell(connection, reason);
    }
    this.close(connection);
    this.#events.broken(connection, reason);
  }

  #tell(connection: Connection<T>, reason: string): void {
    this.#say(connection, buildError(reason));
    this.outlets.flushOne(connection, this.#now);
    this.#reading.discard(connection);
  }

  #say(connection: Connection<T>, bytes: Bytes): void {
    if (!this.outlets.open(connection, bytes.length, this.#now)) return;
    this.outlets.bytes.set(bytes, this.outlets.at);
  }

  /** Closes a connection; what was sent and not taken is lost. */
  close(connection: Connection<T>): void {
    const { place, inlet, address } = connection;
    if (!connection.isThere) return;
    connection.state = "closed";
    this.#table[place] = undefined;
    this.#freed.push(place);
    this.#lifetimes.closed(connection);
    this.#reading.forget(connection);
    this.#arrivals.leave(address);
    this.#identities.leave(connection);
    this.#closeFile(connection);
    connection.inlet = connection.left = undefined;
    connection.rest = 0;
    inlet?.drop();
    this.#events.gone(connection, this.outlets.forget(connection));
  }

  #closeFile(connection: Connection<T>): void {
    const { fd } = connection;
    this.#epoll.remove(fd);
    if (connection.isWatched) this.#writable.remove(fd);
    this.#streams.close(fd);
    this.#listeners.freed();
  }

  // ---- what comes ----

  /** `fd` was readable: only then something is to be read. */
  noteActivity(): void {
    this.#reading.noteActivity();
  }

  /** Whether something is here that was not read yet. */
  isReadable(): boolean {
    return this.#reading.isReadable();
  }

  /** A connection is read on once a service has room: what comes over it waits. */
  pause(connection: Connection<T>, service: number): void {
    this.#reading.pause(connection, service);
  }

  /** Reads some of what has come; returns how many messages that was. */
  read(now: number): number {
    this.#now = now;
    return this.#reading.read(now);
  }

  /** A peer says something of the connection. */
  #obey(connection: Connection<T>, command: Command): void {
    if (command.name === "SUBSCRIBE" || command.name === "CANCEL") {
      return this.#events.subscription?.(connection, command.name, command.topic);
    }
    if (command.name !== "PING") return;
    connection.timeToLive = command.timeToLive;
    if (command.timeToLive > 0) this.#lifetimes.promised(this.#now);
    const pong = buildPong(command.context);
    // Behind what it does not take, one answer is as good as many.
    if (connection.backlog === undefined) this.#say(connection, pong);
    else connection.pong = pong;
  }

  /**
   * Finds connections whose peers have hung up while nothing is read: what these have sent is for nobody.
   */
  findGone(): void {
    this.#reading.findGone(this.connections);
  }

  // ---- what is sent ----

  /** Sends what was written since the last call, and what slow peers take by now. */
  flush(now: number): void {
    this.#now = now;
    this.outlets.flush(now);
    if (this.outlets.slow.size === 0) return;
    const found = this.#writable.wait();
    for (let index = 0; index < found; index++) {
      const connection = this.#table[this.#writable.token(index)];
      if (connection !== undefined && this.outlets.drain(connection, now)) {
        this.#caughtUp(connection);
      }
    }
  }

  #watch(connection: Connection<T>): void {
    if (connection.isWatched) return;
    connection.isWatched = true;
    this.#writable.add(connection.fd, connection.place, PollEvent.OUT);
  }

  /** A slow peer has taken all. */
  #caughtUp(connection: Connection<T>): void {
    connection.isWatched = false;
    this.#writable.remove(connection.fd);
    const { pong } = connection;
    connection.pong = undefined;
    if (pong !== undefined) this.#say(connection, pong);
  }

  // ---- what is due, and the end ----

  /** Does what is due; returns ms until something is. */
  tick(now: number): number {
    this.#now = now;
    return Math.min(this.#lifetimes.tick(now), this.#listeners.tick(now), this.#reading.tick(now));
  }

  /** Takes no more connections: those that are there stay. */
  stopListening(): void {
    this.#listeners.close();
  }

  /** Closes all. What the system has taken is delivered, also to those who have sent more than was read. */
  closeAll(): void {
    this.stopListening();
    for (const connection of this.#table) {
      if (connection === undefined) continue;
      this.#streams.shutdown(connection.fd);
      this.#reading.discard(connection);
      this.close(connection);
    }
    this.#epoll.close();
    this.#writable.close();
  }
}
