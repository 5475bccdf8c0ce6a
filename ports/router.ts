/**
 * A socket layer on streams of our own: listens, lets peers in, shakes hands, and reads and sends for many
 * connections on one thread. What messages mean is its owner's.
 *
 * @module
 */

import { Arrivals } from "../auth/arrivals.ts";
import type { Settings } from "../options/settings.ts";
import { Epoll, EPOLL_BATCH } from "../system/epoll.ts";
import type { Libc } from "../system/libc.ts";
import { PollEvent } from "../system/numbers.ts";
import type { Pollable } from "../system/poller.ts";
import { Streams } from "../system/streams.ts";
import { buildError, buildPing, buildPong, type Command, type OwnType } from "../wire/zmtp.ts";
import type { BodyPool } from "./body.ts";
import { Connection } from "./connection.ts";
import { type FrameEvents, FrameReader } from "./frame_reader.ts";
import { Handshake, type Refusal } from "./handshake.ts";
import { Held } from "./held.ts";
import { Identities, type Takeover } from "./identities.ts";
import { Lifetimes } from "./lifetimes.ts";
import { LISTENER_TOKENS, Listeners, type ListenersOptions } from "./listeners.ts";
import { Outlets } from "./outlets.ts";
import { Paused, type PausedEvents } from "./paused.ts";
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
  extends Omit<FrameEvents<T>, "command" | "broken">, Pick<PausedEvents<T>, "roomFor"> {
  /** Why no other peer may connect from an address, "" over ipc; undefined: one may. */
  refusal(address: string, open: Arrivals): string | undefined;
  /** A peer has broken the protocol, and its connection was closed. */
  broken(connection: Connection<T>, reason: string): void;
  /** Messages have waited for room too long: some is to be made. */
  makeRoom(): void;
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

/** Maximum time that is read before others have their turn, ms. */
const TURN_MS = 0.3;
/** Messages that are read of one peer before the next has its turn, where others wait for theirs. */
const TURN_MESSAGES = 64;
/** Bytes that are read of one peer before the next has its turn. */
const READ_BYTES = 32_768;
/** The same where a large frame may begin: what is read along with its head is copied. */
const SIP_BYTES = 512;
/** Bytes of a large frame that are read before the next peer has its turn. */
const LARGE_TURN_BYTES = 1024 ** 2;
/** Times that what is left unread of a connection is received and dropped before it is closed. */
const DISCARDS = 16;
/** The token of those peers that take more: `flush` finds out which. */
const SLOW_ONES = LISTENER_TOKENS - 1;
const READABLE = PollEvent.IN | PollEvent.RDHUP;
const HUNG_UP = PollEvent.HUP | PollEvent.ERR;
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
  readonly #reader: FrameReader<T>;
  readonly #lifetimes: Lifetimes<T>;
  readonly #arrivals: Arrivals;
  readonly #table: (Connection<T> | undefined)[] = [];
  /** Places that can be given anew, and those that can be once the present batch of events is done with. */
  readonly #free: number[] = [];
  #freed: number[] = [];
  readonly #identities = new Identities<T>();
  /** Connections that have sent more than was told of when they had their turn, in the order of their next ones. */
  readonly #parked = new Set<Connection<T>>();
  /** Whether those have their turn first, or those of which something new has come. */
  #first: "parked" | "found" = "parked";
  /** Whether there was no room for all messages: each connection may tell of one in its turn. */
  #isTight = false;
  readonly #held: Held<T>;
  readonly #paused: Paused<T>;
  /** What is left of one read, and what comes with the next. */
  readonly #buffer = new Uint8Array(2 * READ_BYTES);
  /** Events that the last wait has found, and the next of them. */
  #found = 0;
  #next = 0;
  /** Whether the epoll may have something to tell. */
  #isStirred = true;
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
    const stop = ({ fd, place }: Connection<T>) => epoll.change(fd, place, PollEvent.RDHUP);
    const goOn = ({ fd, place }: Connection<T>) => epoll.change(fd, place, READABLE);
    this.#held = new Held({ stop, goOn, makeRoom: () => events.makeRoom() });
    this.#paused = new Paused({
      roomFor: (service) => events.roomFor(service),
      stop,
      goOn: (connection, wasStopped) => {
        if (wasStopped) goOn(connection);
        this.#takeLeft(connection);
      },
    });
    const unread = this.unread = new Unread(options.unreadBytes, options.connectionBytes);
    this.outlets = new Outlets(streams, bodies, unread, (connection) => this.#watch(connection));
    this.#handshake = new Handshake(type, {
      send: (connection, bytes) => this.#say(connection, bytes),
      opened: (connection, identity) => this.#open(connection, identity),
      refused: (connection, refusal) => this.#refuse(connection, refusal),
    });
    this.#reader = new FrameReader({
      ...events,
      command: (connection, command) => this.#obey(connection, command),
      broken: (connection, reason) => this.breakOff(connection, reason),
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
    this.#discard(connection);
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
    this.#held.forget(connection);
    this.#paused.forget(connection);
    this.#parked.delete(connection);
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
    this.#isStirred = true;
  }

  /** Whether something is here that was not read yet. */
  isReadable(): boolean {
    return this.#parked.size > 0 || this.#next < this.#found || this.#paused.canGoOn;
  }

  /** A connection is read on once a service has room: what comes over it waits. */
  pause(connection: Connection<T>, service: number): void {
    this.#paused.pause(connection, service);
  }

  /** Reads some of what has come; returns how many messages that was. */
  read(now: number): number {
    this.#now = now;
    const before = this.#reader.messages;
    if (this.#held.size > 0) this.#held.goOn(now);
    if (!this.#paused.isEmpty) this.#paused.goOn();
    // While there is no room, nobody waits for the epoll, and it stirs nobody.
    const mayHaveMore = this.#isStirred || (this.#isTight && this.#events.mayRead());
    if (this.#next === this.#found && mayHaveMore) this.#wait();
    if (this.#parked.size === 0) this.#readFound();
    else this.#takeTurns();
    return this.#reader.messages - before;
  }

  /** Who has sent much and who has just sent something: neither may keep the other from being read. */
  #takeTurns(): void {
    this.#first = this.#first === "parked" ? "found" : "parked";
    if (this.#first === "found") this.#readFound();
    this.#resume();
    if (this.#first === "parked") this.#readFound();
  }

  #readFound(): void {
    const end = this.#found > this.#next ? performance.now() + TURN_MS : 0;
    while (this.#next < this.#found && this.#events.mayRead()) {
      const index = this.#next++;
      this.#stir(this.#epoll.token(index), this.#epoll.events(index));
      if (performance.now() >= end) break;
    }
  }

  /**
   * Asks which connections are to be read. All that were found are read before it is asked again: the system puts
   * those last that it has told of.
   */
  #wait(): void {
    // Nobody is told of by the number of another any more.
    if (this.#freed.length > 0) this.#free.push(...this.#freed.splice(0));
    this.#next = 0;
    this.#found = this.#epoll.wait();
    // Whoever comes after this makes the epoll readable.
    if (this.#found < EPOLL_BATCH) this.#isStirred = false;
  }

  /** Goes on with those that were stopped in the middle of what they have sent, one behind the other. */
  #resume(): void {
    const end = performance.now() + TURN_MS;
    for (const connection of this.#parked) {
      if (!this.#events.mayRead()) return;
      this.#parked.delete(connection);
      this.#takeLeft(connection);
      if (performance.now() >= end) break;
    }
    if (this.#parked.size === 0) this.#isTight = false;
  }

  /** Reads what has come before and could not be told of then. */
  #takeLeft(connection: Connection<T>): void {
    const { left } = connection;
    connection.left = undefined;
    if (left !== undefined) this.#take(connection, left, left.length);
  }

  #stir(token: number, events: number): void {
    if (token >= LISTENER_TOKENS) return this.#listeners.accept(token, this.#now);
    const connection = this.#table[token];
    // What a parked one has sent is read once it has told of what came before.
    if (connection === undefined || this.#parked.has(connection)) return;
    if (connection.isHeld || connection.isPaused) {
      if ((events & (HUNG_UP | PollEvent.RDHUP)) !== 0) this.close(connection);
      else if (connection.isPaused) this.#paused.stir(connection);
      return;
    }
    if (connection.inlet?.mayGrow() === false) return this.#held.hold(connection, this.#now);
    const size = connection.rest > 0 ? this.#receiveRest(connection) : this.#receive(connection);
    if (size > 0) connection.heardAt = this.#now;
    // Whatever was sent before the end has been read by now.
    else if (size === 0 || (events & HUNG_UP) !== 0) this.close(connection);
  }

  /** Receives what fits, and reads it; returns how many bytes came, 0: the peer has hung up, < 0: none. */
  #receive(connection: Connection<T>): number {
    const { left, fd } = connection;
    const at = left?.length ?? 0;
    const most = connection.isLarge ? SIP_BYTES : READ_BYTES;
    const size = this.#streams.receive(fd, this.#buffer, at, most);
    if (size <= 0) return size;
    connection.isLarge = false;
    if (left !== undefined) this.#buffer.set(left);
    connection.left = undefined;
    this.#take(connection, this.#buffer, at + size);
    // The system has most of a large frame by now.
    if (connection.isThere && connection.rest > 0) this.#receiveRest(connection);
    return size;
  }

  /** Reads the first `end` bytes, as many as its turn gives it, and keeps what is left of them. */
  #take(connection: Connection<T>, bytes: Bytes, end: number): void {
    let at = 0;
    if (connection.state !== "open") at = this.#handshake.read(connection, bytes, at, end);
    const most = this.#isTight ? 1 : this.#isAlone ? Infinity : TURN_MESSAGES;
    const last = this.#reader.messages + most;
    if (connection.state === "open") at = this.#reader.read(connection, bytes, at, end, most);
    if (at === end || !connection.isThere) return;
    if (connection.isPaused) {
      connection.left = bytes.slice(at, end);
      return;
    }
    if (!this.#events.mayRead()) this.#isTight = true;
    else if (this.#reader.messages < last) {
      // A small part of a message must not keep all that came with it in memory.
      connection.left = bytes.slice(at, end);
      return;
    }
    connection.left = bytes === this.#buffer ? bytes.slice(at, end) : bytes.subarray(at, end);
    this.#parked.add(connection);
  }

  /** Whether nobody else waits for a turn. */
  get #isAlone(): boolean {
    return this.#next === this.#found && this.#parked.size === 0;
  }

  /** Receives a part of a large frame to where its message wants it; returns as `#receive` does. */
  #receiveRest(connection: Connection<T>): number {
    let total = 0;
    while (connection.rest > 0 && total < LARGE_TURN_BYTES) {
      const { rest, fd } = connection;
      const space = connection.inlet?.space(rest) ?? this.#buffer;
      const most = Math.min(rest, space.length);
      const size = this.#streams.receive(fd, space, 0, most);
      if (size <= 0) return total > 0 ? total : size;
      total += size;
      this.#reader.received(connection, size);
      if (size < most) break;
    }
    return total;
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
   * Finds connections whose peers have hung up while nothing is read: what these have sent is for nobody. Then all
   * that the last wait has found is to be found anew.
   */
  findGone(): void {
    const rounds = Math.ceil(this.connections / EPOLL_BATCH) + 1;
    for (let round = 0, found = EPOLL_BATCH; round < rounds && found === EPOLL_BATCH; round++) {
      found = this.#epoll.wait();
      for (let index = 0; index < found; index++) {
        const events = this.#epoll.events(index);
        const connection = this.#table[this.#epoll.token(index)];
        if (connection === undefined) continue;
        if ((events & (HUNG_UP | PollEvent.RDHUP)) !== 0) this.close(connection);
      }
    }
    this.#next = this.#found = 0;
    this.#isStirred = true;
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
    return Math.min(this.#lifetimes.tick(now), this.#listeners.tick(now), this.#held.tick(now));
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
      this.#discard(connection);
      this.close(connection);
    }
    this.#epoll.close();
    this.#writable.close();
  }

  /** The system cuts off a connection that is closed before all was read, and what was sent may be lost. */
  #discard({ fd }: Connection<T>): void {
    for (let count = 0; count < DISCARDS; count++) {
      if (this.#streams.receive(fd, this.#buffer, 0, this.#buffer.length) <= 0) return;
    }
  }
}
