/**
 * Takes apart what has come over open connections: messages, and what peers say of the connection itself.
 *
 * @module
 */

import {
  type Command,
  FrameFlag,
  FrameHead,
  MAX_COMMAND_BYTES,
  readCommand,
} from "../wire/zmtp.ts";
import type { Connection, Inlet } from "./connection.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** What a `FrameReader` has read. Bytes are valid during the call only. */
export interface FrameEvents<T> {
  /** Whether another message may be told of: asked before each. */
  mayRead(): boolean;
  /** A message of an empty frame and another one, which lies in `bytes` from `start` up to `end`. */
  plain(connection: Connection<T>, bytes: Bytes, start: number, end: number): void;
  /** A message begins: what takes it in. */
  inlet(connection: Connection<T>): Inlet;
  /** A command of a peer. */
  command(connection: Connection<T>, command: Command): void;
  /** A peer has broken the protocol: the connection is to be closed. */
  broken(connection: Connection<T>, reason: string): void;
}

/** A frame of which a part has come waits for its rest if it has fewer bytes; else its bytes are passed on. */
const LARGE = 8192;

/** Reads frames. */
export class FrameReader<T> {
  readonly #events: FrameEvents<T>;
  readonly #head = new FrameHead();
  /** Messages that were read. */
  messages = 0;

  /** Reports to `events`. */
  constructor(events: FrameEvents<T>) {
    this.#events = events;
  }

  /**
   * Reads from `at` on what has come, `most` messages of it, and returns how far it could: what is left is to be given
   * again with more, or once messages may be told of, or the connection is not paused any more.
   */
  read(connection: Connection<T>, bytes: Bytes, at: number, end: number, most: number): number {
    const last = this.messages + most;
    while (at < end && this.messages < last && mayGoOn(connection)) {
      const next = bytes[at] === FrameFlag.MORE && bytes[at + 1] === 0 &&
          connection.inlet === undefined
        ? this.#readPlain(connection, bytes, at, end)
        : this.#readFrame(connection, bytes, at, end);
      if (next === at) return at;
      at = next;
    }
    return at;
  }

  /** What nearly all requests are: an empty frame, and one more. */
  #readPlain(connection: Connection<T>, bytes: Bytes, at: number, end: number): number {
    const second = at + 2;
    if (second >= end) return at;
    const head = this.#head;
    const size = head.read(bytes, second, end);
    if (size === 0) return at;
    const start = second + size;
    const stop = start + head.size;
    const isLast = size > 0 && !head.more && !head.isCommand;
    if (isLast && stop > end && head.size < LARGE) return at;
    // A large frame is passed on in pieces, and all else is looked at again.
    if (!isLast || stop > end) return this.#readFrame(connection, bytes, at, end);
    if (!this.#events.mayRead()) return at;
    this.#events.plain(connection, bytes, start, stop);
    this.messages++;
    return stop;
  }

  #readFrame(connection: Connection<T>, bytes: Bytes, at: number, end: number): number {
    const head = this.#head;
    const size = head.read(bytes, at, end);
    if (size === 0) return at;
    if (size < 0) {
      this.#events.broken(connection, "no frame begins so");
      return at;
    }
    const start = at + size;
    if (head.isCommand) return this.#readCommand(connection, bytes, at, start, end);
    if (connection.inlet === undefined && !this.#events.mayRead()) return at;
    if (start + head.size > end) {
      return head.size < LARGE ? at : this.#beginLarge(connection, bytes, start, end);
    }
    const { more } = head;
    const stop = start + head.size;
    const inlet = connection.inlet ??= this.#events.inlet(connection);
    if (!more) this.#end(connection);
    inlet.frame(bytes, start, stop, more);
    return stop;
  }

  /** A message's last frame is here: the next one begins anew, whatever is done on account of this one. */
  #end(connection: Connection<T>): void {
    connection.inlet = undefined;
    this.messages++;
  }

  #beginLarge(connection: Connection<T>, bytes: Bytes, start: number, end: number): number {
    const { more, size } = this.#head;
    const inlet = connection.inlet ??= this.#events.inlet(connection);
    connection.rest = size;
    connection.restMore = more;
    inlet.begin(size, more);
    for (let at = start; at < end && connection.rest > 0;) {
      const space = inlet.space(end - at);
      const count = Math.min(end - at, space?.length ?? end - at);
      space?.set(bytes.subarray(at, at + count));
      this.received(connection, count);
      at += count;
    }
    return end;
  }

  /** So many bytes of a large frame have come, and lie where its message's inlet wants them. */
  received(connection: Connection<T>, count: number): void {
    const { inlet } = connection;
    connection.rest -= count;
    if (connection.rest === 0) {
      connection.isLarge = true;
      if (!connection.restMore) this.#end(connection);
    }
    inlet?.received(count);
  }

  /** Commands come between frames, also those of one message: libzmq sends them so. */
  #readCommand(
    connection: Connection<T>,
    bytes: Bytes,
    at: number,
    start: number,
    end: number,
  ): number {
    const stop = start + this.#head.size;
    if (this.#head.size > MAX_COMMAND_BYTES) {
      this.#events.broken(connection, `a command must have at most ${MAX_COMMAND_BYTES} bytes`);
      return at;
    }
    if (stop > end) return at;
    if (connection.version === "2.0") {
      this.#events.broken(connection, "ZMTP 2.0 has no commands");
      return at;
    }
    const command = readCommand(bytes.subarray(start, stop));
    if (command === undefined) {
      this.#events.broken(connection, "a command is malformed");
      return at;
    }
    this.#events.command(connection, command);
    return stop;
  }
}

function mayGoOn<T>({ state, isPaused }: Connection<T>): boolean {
  return state === "open" && !isPaused;
}
