/**
 * What is done with connected stream sockets that never wait: bytes are received and sent, and they are closed.
 *
 * @module
 */

import { Bytes, harden } from "../zmq/library.ts";
import type { Libc } from "./libc.ts";
import { MessageFlag, NO_WAIT, POLL_ITEM_BYTES, PollEvent, Shutdown } from "./numbers.ts";

/** Calls on stream sockets. A failure is "not now" for them: a connection's end is what poll(2) reports of it. */
export class Streams {
  readonly #symbols: Libc["symbols"];
  readonly #item = new DataView(new ArrayBuffer(POLL_ITEM_BYTES));
  readonly #itemBytes = new Bytes(this.#item.buffer);

  /** Opens nothing. */
  constructor({ symbols }: Libc) {
    this.#symbols = symbols;
  }

  /** Receives up to `count` bytes into `bytes` at `at`; returns how many, 0: the peer has hung up, < 0: none now. */
  receive(fd: number, bytes: Uint8Array<ArrayBuffer>, at: number, count: number): number {
    const room = at === 0 ? bytes : bytes.subarray(at);
    return this.#symbols.recv(fd, room, Math.min(count, room.length), NO_WAIT);
  }

  /**
   * Sends `count` bytes, from the `from`th on; returns how many the system has taken, < 1: none now. "more": others
   * follow at once.
   */
  send(
    fd: number,
    bytes: Uint8Array<ArrayBuffer>,
    from: number,
    count: number,
    followed: "last" | "more",
  ): number {
    const part = from === 0 ? bytes : bytes.subarray(from);
    const flags = followed === "more" ? NO_WAIT | MessageFlag.MORE : NO_WAIT;
    return this.#symbols.send(fd, part, Math.min(count, part.length), flags);
  }

  /** Whether something can be received, or the peer has hung up. */
  hasInput(fd: number): boolean {
    this.#item.setInt32(0, fd, true);
    this.#item.setInt16(4, PollEvent.IN, true);
    return this.#symbols.poll(this.#itemBytes, 1, 0) > 0;
  }

  /** Sends no more; what was sent is delivered. */
  shutdown(fd: number): void {
    this.#symbols.shutdown(fd, Shutdown.WRITE);
  }

  /** Closes a descriptor. */
  close(fd: number): void {
    this.#symbols.close(fd);
  }
}

harden(Streams);
