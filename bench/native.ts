/**
 * What the load generator needs of C in addition to zmq/: a wait that blocks the thread, since it has nothing
 * else to do, and a comparison of bytes at the speed of memory.
 *
 * @module
 */

import { type Library, POLLIN } from "../zmq/library.ts";
import type { Message } from "../zmq/message.ts";
import type { Socket } from "../zmq/socket.ts";

const SYMBOLS = {
  zmq_poll: { parameters: ["buffer", "i32", "i64"], result: "i32" },
  // Found through what the library itself links to.
  memcmp: { parameters: ["buffer", "buffer", "u32"], result: "i32" },
  memcmp_in_place: { name: "memcmp", parameters: ["pointer", "buffer", "u32"], result: "i32" },
} as const;

type Symbols = Deno.DynamicLibrary<typeof SYMBOLS>["symbols"];

function open({ path }: Library): Symbols {
  return Deno.dlopen(path, SYMBOLS).symbols;
}

type Bytes = Uint8Array<ArrayBuffer>;

/** Whether two arrays of the same length have the same bytes. */
export function comparison(library: Library): (a: Bytes, b: Bytes) => boolean {
  const { memcmp } = open(library);
  return (a, b) => memcmp(a, b, a.length) === 0;
}

/** Whether a message has the same bytes as an array of its length. */
export function comparisonInPlace(library: Library): (message: Message, bytes: Bytes) => boolean {
  const { memcmp_in_place } = open(library);
  const { zmq_msg_data } = library.symbols;
  return ({ slot }, bytes) => memcmp_in_place(zmq_msg_data(slot), bytes, bytes.length) === 0;
}

/** sizeof(zmq_pollitem_t): a pointer, then int fd at 8, short events at 12, short revents at 14. */
const ITEM_BYTES = 16;

/** Waits for sockets while this thread does nothing else, not even take a signal. */
export class BlockingPoller {
  readonly #symbols: Symbols;
  readonly #items: Uint8Array<ArrayBuffer>;
  readonly #view: DataView<ArrayBuffer>;
  readonly #count: number;

  /** Watches `sockets`; they stay the caller's. */
  constructor(library: Library, sockets: readonly Socket[]) {
    this.#symbols = open(library);
    this.#count = sockets.length;
    this.#items = new Uint8Array(ITEM_BYTES * this.#count);
    this.#view = new DataView(this.#items.buffer);
    sockets.forEach((socket, index) => {
      this.#view.setInt32(index * ITEM_BYTES + 8, socket.fd, true);
      this.#view.setInt16(index * ITEM_BYTES + 12, POLLIN, true);
    });
  }

  /** Waits until a descriptor stirs or `timeout` ms have passed. */
  wait(timeout: number): void {
    this.#symbols.zmq_poll(this.#items, this.#count, BigInt(Math.ceil(timeout)));
  }

  /** Whether the socket of that index has stirred at the last wait. */
  stirred(index: number): boolean {
    return this.#view.getInt16(index * ITEM_BYTES + 14, true) !== 0;
  }
}
