/**
 * The socket on which a service manager listens for the state of this process: the datagram protocol of sd_notify(3).
 * Linux only. What is said there is up to others.
 *
 * @module
 */

import { Bytes } from "../zmq/library.ts";
import { errnoOf, openConnector, systemError } from "./libc.ts";
import { Family, NO_WAIT, SocketKind } from "./numbers.ts";
import { unixAddress } from "./socket_address.ts";

/** SOCK_DGRAM, sys/socket.h. */
const DATAGRAM = 2;
/** CLOCK_MONOTONIC, time.h. */
const MONOTONIC = 1;

/** An open connection to a service manager. */
export interface NotifySocket {
  /** Sends one message: lines of `NAME=value`. What the other side does not take at once is lost. */
  send(text: string): void;
  /** The system's monotonic clock, µs. */
  monotonicMicros(): bigint;
  /** Closes it. */
  close(): void;
}

/**
 * Connects. Needs FFI for `library`.
 *
 * @param address A path, or `@` and a name in Linux's abstract namespace: the value of NOTIFY_SOCKET.
 * @throws {Error} when it can't: nobody listens there, or the address is of another kind.
 */
export function openNotifySocket(library: string, address: string): NotifySocket {
  const bytes = /^[/@]./.test(address) ? unixAddress(address) : undefined;
  if (bytes === undefined) {
    throw new Error(`Cannot notify "${address}": it must be a path, or @ and a name`);
  }
  const libc = openConnector(library);
  const { symbols } = Deno.dlopen(library, {
    send: { parameters: ["i32", "buffer", "usize", "i32"], result: "isize" },
    clock_gettime: { parameters: ["i32", "buffer"], result: "i32" },
  });
  const fd = libc.symbols.socket(Family.UNIX, DATAGRAM | SocketKind.CLOEXEC, 0);
  if (fd < 0 || libc.symbols.connect(fd, bytes, bytes.length) !== 0) {
    const errno = errnoOf(libc);
    if (fd >= 0) libc.symbols.close(fd);
    throw systemError(libc, `notify "${address}"`, errno);
  }
  const encoder = new TextEncoder();
  let isOpen = true;
  return {
    send(text) {
      const message = encoder.encode(text);
      if (isOpen) symbols.send(fd, message, BigInt(message.length), NO_WAIT);
    },
    monotonicMicros() {
      const time = new BigInt64Array(2);
      symbols.clock_gettime(MONOTONIC, new Bytes(time.buffer));
      return (time[0] ?? 0n) * 1_000_000n + (time[1] ?? 0n) / 1000n;
    },
    close() {
      if (isOpen) libc.symbols.close(fd);
      isOpen = false;
    },
  };
}
