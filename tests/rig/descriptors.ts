/** Descriptors of the system, for tests of what is built on them. */

import { openBell } from "../../system/bell.ts";
import { type Libc, openLibc } from "../../system/libc.ts";
import { Family, SocketKind } from "../../system/numbers.ts";
import { type Pollable, Poller } from "../../system/poller.ts";
import { locateLibrary } from "../../zmq/locate.ts";

const LIBRARY = locateLibrary(Deno.env.get("ZMQ_LIBRARY")).path;

/** The C library, as the server opens it. */
export function testLibc(): Libc {
  return openLibc(LIBRARY);
}

/** Reads a socket option of C type int; undefined: it can't be read. */
export function getOption(
  { symbols }: Libc,
  fd: number,
  level: number,
  option: number,
): number | undefined {
  const value = new Int32Array(1);
  const bytes = new Uint8Array(value.buffer);
  const size = new Uint8Array(new Uint32Array([bytes.length]).buffer);
  return symbols.getsockopt(fd, level, option, bytes, size) === 0 ? value[0] : undefined;
}

let opened: Libc | undefined;

/** What waits for `ports`. */
export function pollerOf(ports: readonly Pollable[]): Poller {
  const libc = opened ??= testLibc();
  return new Poller(libc, openBell(libc), ports);
}

/** Two connected stream sockets that never wait. */
export class Pair {
  readonly #libc: Libc;
  readonly #open: Set<number>;
  readonly one: number;
  readonly other: number;

  constructor(libc: Libc) {
    this.#libc = libc;
    const { socketpair } = Deno.dlopen(libc.path, {
      socketpair: { parameters: ["i32", "i32", "i32", "buffer"], result: "i32" },
    }).symbols;
    const fds = new Int32Array(2);
    const type = SocketKind.STREAM | SocketKind.NONBLOCK | SocketKind.CLOEXEC;
    if (socketpair(Family.UNIX, type, 0, new Uint8Array(fds.buffer)) !== 0) {
      throw new Error("No pair of sockets can be opened");
    }
    [this.one, this.other] = [fds[0] ?? -1, fds[1] ?? -1];
    this.#open = new Set(fds);
  }

  /** Closes one of them now. */
  close(fd: number): void {
    if (this.#open.delete(fd)) this.#libc.symbols.close(fd);
  }

  [Symbol.dispose](): void {
    for (const fd of this.#open) this.close(fd);
  }
}
