/**
 * Connections by their file descriptors, which libzmq gives and which the system uses again: whether one
 * is still the same, and whether its peer is still there. Reads and writes nothing.
 *
 * @module
 */

import type { Library } from "../zmq/library.ts";

/** A connection of libzmq's. */
export interface Connection {
  readonly fd: number;
  /** The system's own number for the socket, never used twice; undefined: it has none to tell. */
  readonly cookie: bigint | undefined;
}

/** Addresses, sys/socket.h: their families differ between systems, and macOS has the length first. */
const AF_INET = 2;
const AF_INET6 = Deno.build.os === "darwin" ? 30 : 10;
const FAMILY_AT = Deno.build.os === "darwin" ? 1 : 0;
/** poll(2). */
const POLLNVAL = 0x20;
/** File descriptors that are checked together, and how many in a row must be closed to be the last. */
const CHUNK = 64;
const LAST_GAP = 4096;
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
  /** A struct sockaddr of any family. */
  readonly #name = new Uint8Array(128);
  /** struct pollfd: i32 fd, i16 events, i16 revents. */
  readonly #poll = new DataView(new ArrayBuffer(8));
  readonly #pollBytes = new Uint8Array(this.#poll.buffer);

  /** Makes one that opens nothing. */
  constructor(library: Library) {
    this.#library = library;
  }

  /** The connection that has this file descriptor now; NaN: one that libzmq does not tell, as of a peer of ZMTP 1 or 2. */
  of(fd: number): Connection {
    return { fd, cookie: HAS_COOKIES && !Number.isNaN(fd) ? this.#cookieOf(fd) : undefined };
  }

  /** Whether a connection is open, and its peer has not hung up; true where nobody can tell. */
  isOpen({ fd, cookie }: Connection): boolean {
    if (!HAS_COOKIES || Number.isNaN(fd)) return true;
    if (cookie === undefined || this.#cookieOf(fd) !== cookie) return false;
    this.#poll.setInt32(0, fd, true);
    this.#poll.setInt16(4, POLLRDHUP, true);
    // Hang-ups and errors are reported unasked.
    return this.#library.symbols.poll(this.#pollBytes, 1, 0) <= 0;
  }

  /** The addresses of all peers that are connected to one of these ports of this process. */
  *peers(ports: ReadonlySet<number>): Generator<Uint8Array> {
    const { getsockname, getpeername } = this.#library.symbols;
    for (const fd of this.#openFiles()) {
      this.#size[0] = this.#name.length;
      if (getsockname(fd, this.#name, this.#sizeBytes) !== 0) continue;
      if (addressIn(this.#name) === undefined || !ports.has(portIn(this.#name))) continue;
      this.#size[0] = this.#name.length;
      if (getpeername(fd, this.#name, this.#sizeBytes) !== 0) continue;
      const address = addressIn(this.#name);
      if (address !== undefined) yield address;
    }
  }

  *#openFiles(): Generator<number> {
    const entries = new DataView(new ArrayBuffer(8 * CHUNK));
    const bytes = new Uint8Array(entries.buffer);
    for (let start = 0, open = 0; start - open < LAST_GAP; start += CHUNK) {
      for (let index = 0; index < CHUNK; index++) {
        entries.setInt32(8 * index, start + index, true);
        entries.setInt32(8 * index + 4, 0, true);
      }
      if (this.#library.symbols.poll(bytes, CHUNK, 0) < 0) return; // above the limit of open files
      for (let index = 0; index < CHUNK; index++) {
        if ((entries.getInt16(8 * index + 6, true) & POLLNVAL) !== 0) continue;
        open = start + index;
        yield open;
      }
    }
  }

  /** Undefined: it is not a socket, or closed. */
  #cookieOf(fd: number): bigint | undefined {
    this.#size[0] = this.#cookieBytes.length;
    const { getsockopt } = this.#library.symbols;
    const result = getsockopt(fd, SOL_SOCKET, SO_COOKIE, this.#cookieBytes, this.#sizeBytes);
    return result === 0 ? this.#cookie[0] : undefined;
  }
}

/** The IP address in a struct sockaddr; an IPv4 address that is written as an IPv6 one is the former. */
function addressIn(name: Uint8Array): Uint8Array | undefined {
  switch (name[FAMILY_AT]) {
    case AF_INET:
      return name.slice(4, 8);
    case AF_INET6:
      return isMapped(name) ? name.slice(20, 24) : name.slice(8, 24);
    default:
      return undefined;
  }
}

function isMapped(name: Uint8Array): boolean {
  return name.subarray(8, 18).every((byte) => byte === 0) && name[18] === 0xff && name[19] === 0xff;
}

function portIn(name: Uint8Array): number {
  return (name[2] ?? 0) * 256 + (name[3] ?? 0);
}
