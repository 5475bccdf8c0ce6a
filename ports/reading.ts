/**
 * Whose turn it is to be read among the connections of a router, and how much of what each has sent is read in it.
 * Connections of which nothing is read for now are held.ts's and paused.ts's; what messages mean is frame_reader.ts's.
 *
 * @module
 */

import { type Epoll, EPOLL_BATCH } from "../system/epoll.ts";
import { PollEvent } from "../system/numbers.ts";
import type { Streams } from "../system/streams.ts";
import type { Connection } from "./connection.ts";
import type { FrameEvents, FrameReader } from "./frame_reader.ts";
import type { Handshake } from "./handshake.ts";
import { Held, type HeldEvents } from "./held.ts";
import { LISTENER_TOKENS } from "./listeners.ts";
import { Paused, type PausedEvents } from "./paused.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** What is asked before something is read. */
export interface ReadingEvents<T>
  extends
    Pick<FrameEvents<T>, "mayRead">,
    Pick<HeldEvents<T>, "makeRoom">,
    Pick<PausedEvents<T>, "roomFor"> {}

/** What is read, by what, and what is asked of the connections' owner. */
export interface ReadingGround<T> {
  readonly events: ReadingEvents<T>;
  readonly streams: Streams;
  readonly epoll: Epoll;
  /** The connections by their places, which are their tokens. */
  readonly table: readonly (Connection<T> | undefined)[];
  /** Reads what comes before a handshake is over, and what comes then. */
  readonly handshake: Handshake<T>;
  readonly reader: FrameReader<T>;
  /** Somebody wants to connect, at the listener with this token. */
  accept(token: number, now: number): void;
  /** A peer is gone, and all that it has sent was read. */
  close(connection: Connection<T>): void;
  /** All that the epoll has told was seen to: nobody is told of by the number of another any more. */
  settled(): void;
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
/** What is asked of the epoll about a connection that is read. */
export const READABLE = PollEvent.IN | PollEvent.RDHUP;
const HUNG_UP = PollEvent.HUP | PollEvent.ERR;

/** Reads many connections, none at the cost of the others. */
export class Reading<T> {
  readonly #ground: ReadingGround<T>;
  readonly #events: ReadingEvents<T>;
  readonly #streams: Streams;
  readonly #epoll: Epoll;
  readonly #table: ReadingGround<T>["table"];
  readonly #handshake: Handshake<T>;
  readonly #reader: FrameReader<T>;
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

  /** Has read nothing yet. */
  constructor(ground: ReadingGround<T>) {
    const { events, streams, epoll, table, handshake, reader } = ground;
    this.#ground = ground;
    this.#events = events;
    this.#streams = streams;
    this.#epoll = epoll;
    this.#table = table;
    this.#handshake = handshake;
    this.#reader = reader;
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
  }

  /** The epoll was readable: only then something is to be read. */
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

  /** A connection was closed. */
  forget(connection: Connection<T>): void {
    this.#held.forget(connection);
    this.#paused.forget(connection);
    this.#parked.delete(connection);
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
    this.#ground.settled();
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
    if (token >= LISTENER_TOKENS) return this.#ground.accept(token, this.#now);
    const connection = this.#table[token];
    // What a parked one has sent is read once it has told of what came before.
    if (connection === undefined || this.#parked.has(connection)) return;
    if (connection.isHeld || connection.isPaused) {
      if ((events & (HUNG_UP | PollEvent.RDHUP)) !== 0) this.#ground.close(connection);
      else if (connection.isPaused) this.#paused.stir(connection);
      return;
    }
    if (connection.inlet?.mayGrow() === false) return this.#held.hold(connection, this.#now);
    const size = connection.rest > 0 ? this.#receiveRest(connection) : this.#receive(connection);
    if (size > 0) connection.heardAt = this.#now;
    // Whatever was sent before the end has been read by now.
    else if (size === 0 || (events & HUNG_UP) !== 0) this.#ground.close(connection);
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

  /**
   * Finds connections whose peers have hung up while nothing is read: what these have sent is for nobody. Then all
   * that the last wait has found is to be found anew.
   */
  findGone(connections: number): void {
    const rounds = Math.ceil(connections / EPOLL_BATCH) + 1;
    for (let round = 0, found = EPOLL_BATCH; round < rounds && found === EPOLL_BATCH; round++) {
      found = this.#epoll.wait();
      for (let index = 0; index < found; index++) {
        const events = this.#epoll.events(index);
        const connection = this.#table[this.#epoll.token(index)];
        if (connection === undefined) continue;
        if ((events & (HUNG_UP | PollEvent.RDHUP)) !== 0) this.#ground.close(connection);
      }
    }
    this.#next = this.#found = 0;
    this.#isStirred = true;
  }

  /**
   * Receives what a peer has sent and nobody reads: the system cuts off a connection that is closed before, and what
   * was sent may be lost.
   */
  discard({ fd }: Connection<T>): void {
    for (let count = 0; count < DISCARDS; count++) {
      if (this.#streams.receive(fd, this.#buffer, 0, this.#buffer.length) <= 0) return;
    }
  }

  /** Does what is due about messages that wait for room; returns ms until something is. */
  tick(now: number): number {
    return this.#held.tick(now);
  }
}
