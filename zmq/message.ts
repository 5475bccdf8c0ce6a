/**
 * One frame as a `zmq_msg_t`: a body moves from socket to socket in it without being copied into
 * JavaScript. Knows no protocol.
 *
 * @module
 */

import {
  Bytes,
  cString,
  harden,
  lengthOf,
  type Library,
  readCString,
  type Symbols,
} from "./library.ts";

/** sizeof(zmq_msg_t), zmq.h. */
const MESSAGE_BYTES = 64;
const SLAB_SLOTS = 256;
const KEPT_SLOTS = 1024;

/** A frame that libzmq owns. Always initialised: empty, or holding what was received. */
export class Message {
  readonly #symbols: Symbols;
  /** The zmq_msg_t itself, in memory that never moves. */
  readonly slot: Uint8Array<ArrayBuffer>;

  /** For `MessagePool` only. */
  constructor(symbols: Symbols, slot: Uint8Array<ArrayBuffer>) {
    this.#symbols = symbols;
    this.slot = slot;
    symbols.zmq_msg_init(slot);
  }

  /** Bytes in it. */
  get size(): number {
    return Number(this.#symbols.zmq_msg_size(this.slot));
  }

  /** Whether more frames of the same message follow. */
  get more(): boolean {
    return this.#symbols.zmq_msg_more(this.slot) !== 0;
  }

  /** Copies its bytes out. */
  bytes(size: number = this.size): Uint8Array<ArrayBuffer> {
    const bytes = new Bytes(size);
    if (size > 0) this.#symbols.memcpy(bytes, this.#symbols.zmq_msg_data(this.slot), size);
    return bytes;
  }

  /** Copies its first `size` bytes, which it must have, into `target`, as far as that has room. */
  copyTo(target: Uint8Array<ArrayBuffer>, size: number): void {
    const count = Math.min(size, lengthOf(target));
    if (count > 0) this.#symbols.memcpy(target, this.#symbols.zmq_msg_data(this.slot), count);
  }

  /** A property of the connection that it came over, as `Peer-Address`; a C string as `name`. */
  property(name: Uint8Array<ArrayBuffer>): string | undefined {
    return readCString(this.#symbols, this.#symbols.zmq_msg_gets(this.slot, name));
  }

  /** Whether it came over a connection; the notices of a ROUTER did not. */
  get fromPeer(): boolean {
    return this.#symbols.zmq_msg_gets(this.slot, FD_PROPERTY) !== null;
  }

  /** The file descriptor of the connection that it came over; NaN if it came over none. */
  get fd(): number {
    return Number(this.property(FD_PROPERTY) ?? NaN);
  }

  /** Makes this one share the content of `source`. */
  copyFrom(source: Message): void {
    this.#symbols.zmq_msg_copy(this.slot, source.slot);
  }

  /** Replaces the content by a copy of `bytes`. */
  fill(bytes: Uint8Array<ArrayBuffer>): void {
    this.#symbols.zmq_msg_close(this.slot);
    const size = lengthOf(bytes);
    this.#symbols.zmq_msg_init_size(this.slot, size);
    if (size > 0) this.#symbols.memcpy_out(this.#symbols.zmq_msg_data(this.slot), bytes, size);
  }

  /** Gives the content up. */
  clear(): void {
    this.#symbols.zmq_msg_close(this.slot);
    this.#symbols.zmq_msg_init(this.slot);
  }
}

/** libzmq's name for the file descriptor of a frame's connection. */
const FD_PROPERTY = cString("__fd");

/** Messages to take and give back. */
export class MessagePool {
  readonly #symbols: Symbols;
  readonly #free: Message[] = [];

  /** Makes an empty pool for one library. */
  constructor(library: Library) {
    this.#symbols = library.symbols;
  }

  /** An empty message. */
  take(): Message {
    if (this.#free.length === 0) this.#grow();
    return this.#free.pop() ?? this.take();
  }

  /** A message with a copy of `bytes`. */
  from(bytes: Uint8Array<ArrayBuffer>): Message {
    const message = this.take();
    message.fill(bytes);
    return message;
  }

  /** A message with the content of `source`, which is empty then. */
  moved(source: Message): Message {
    const message = this.take();
    message.copyFrom(source);
    source.clear();
    return message;
  }

  /** Keeps the slot of a message that was sent, and so is empty, for the next `take`. */
  putBack(message: Message): void {
    this.#free.push(message);
  }

  /** Gives the content of `message` up and keeps the slot for the next `take`. */
  release(message: Message): void {
    message.clear();
    this.#free.push(message);
  }

  /** The same of several messages. */
  releaseAll(messages: readonly Message[]): void {
    for (const message of messages) this.release(message);
  }

  /** Drops free slots, except `KEPT_SLOTS`. */
  dropFree(): void {
    this.#free.splice(KEPT_SLOTS);
  }

  #grow(): void {
    // Views of one large buffer: V8 would keep 64 bytes of their own on its heap, where they move.
    const slab = new Bytes(MESSAGE_BYTES * SLAB_SLOTS);
    for (let start = 0; start < slab.length; start += MESSAGE_BYTES) {
      const slot = slab.subarray(start, start + MESSAGE_BYTES);
      this.#free.push(new Message(this.#symbols, slot));
    }
  }
}

harden(Message, MessagePool);
