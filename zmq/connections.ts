/**
 * Connections by their file descriptors, which libzmq tells and which the system uses again: whether one
 * is still the same, and whether its peer is still there. Reads and writes nothing.
 *
 * @module
 */

import type { Library } from "./library.ts";

/** A connection of libzmq's. */
export interface Connection {
  readonly fd: number;
  /** The system's own number for the socket, never used twice; undefined: it has none to tell. */
  readonly cookie: bigint | undefined;
}

/** Linux: asm-generic/socket.h. */
const SOL_SOCKET = 1;
const SO_COOKIE = 57;
const POLLRDHUP = 0x2000;
const HAS_COOKIES = Deno.build.os === "linux";

/** Tells connections apart. */
export class Connections {
  readonly #library: Library;
  readonly #cookie = new BigUint64Array(1);
  readonly #cookieBytes = new Uint8Array(this.#cookie.buffer);
  readonly #size = new Uint32Array(1);
  readonly #sizeBytes = new Uint8Array(this.#size.buffer);
  /** struct pollfd: i32 fd, i16 events, i16 revents. */
  readonly #poll = new DataView(new ArrayBuffer(8));
  readonly #pollBytes = new Uint8Array(this.#poll.buffer);

  /** Makes one that opens nothing. */
  constructor(library: Library) {
    this.#library = library;
  }

  /** The connection that has this file descriptor now. */
  of(fd: number): Connection {
    return { fd, cookie: HAS_COOKIES ? this.#cookieOf(fd) : undefined };
  }

  /** Whether a connection is open, and its peer has not hung up; true where nobody can tell. */
  isOpen({ fd, cookie }: Connection): boolean {
    if (!HAS_COOKIES) return true;
    if (cookie === undefined || this.#cookieOf(fd) !== cookie) return false;
    this.#poll.setInt32(0, fd, true);
    this.#poll.setInt16(4, POLLRDHUP, true);
    // It tells of hang-ups and errors unasked.
    return this.#library.symbols.poll(this.#pollBytes, 1, 0) <= 0;
  }

  /** Undefined: it is no socket, or closed. */
  #cookieOf(fd: number): bigint | undefined {
    this.#size[0] = this.#cookieBytes.length;
    const { getsockopt } = this.#library.symbols;
    const result = getsockopt(fd, SOL_SOCKET, SO_COOKIE, this.#cookieBytes, this.#sizeBytes);
    return result === 0 ? this.#cookie[0] : undefined;
  }
}
