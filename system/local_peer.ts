/**
 * The broker's end of a unix stream socket to a worker of its own machine.
 *
 * @module
 */

import { harden } from "../zmq/library.ts";
import type { Libc } from "./libc.ts";
import { NO_WAIT } from "./numbers.ts";
import { peerProcess } from "./stream_socket.ts";

type Frame = Uint8Array<ArrayBuffer>;

/** A connection, from the broker's side. */
export class LocalPeer {
  readonly #libc: Libc;
  readonly fd: number;
  #isOpen = true;

  /** `fd`: what was accepted, and is this one's now. */
  constructor(libc: Libc, fd: number) {
    this.#libc = libc;
    this.fd = fd;
  }

  /** The process at the other end; undefined: the system does not say. */
  get pid(): number | undefined {
    return peerProcess(this.#libc, this.fd)?.pid;
  }

  /** Receives into `bytes`, from the `from`th on; returns how many came, 0: the end, < 0: none now. */
  receive(bytes: Frame, from: number): number {
    const part = from === 0 ? bytes : bytes.subarray(from);
    return this.#libc.symbols.recv(this.fd, part, part.length, NO_WAIT);
  }

  /** Sends `count` bytes from the `from`th on; returns how many were taken, < 0: none now. */
  send(bytes: Frame, from: number, count: number): number {
    const part = from === 0 ? bytes : bytes.subarray(from);
    return this.#libc.symbols.send(this.fd, part, Math.min(count, part.length), NO_WAIT);
  }

  /** Closes it. */
  close(): void {
    if (this.#isOpen) this.#libc.symbols.close(this.fd);
    this.#isOpen = false;
  }
}

harden(LocalPeer);
