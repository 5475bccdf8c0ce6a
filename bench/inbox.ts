/**
 * Where a reply's body is received: small ones are copied into JavaScript, large ones stay where C has
 * them, as a copy would take longer than all the rest.
 *
 * @module
 */

import type { Library } from "../zmq/library.ts";
import { MessagePool } from "../zmq/message.ts";
import type { Socket } from "../zmq/socket.ts";
import { type Bodies, NUMBER_BYTES } from "./bodies.ts";
import { comparison, comparisonInPlace } from "./native.ts";

/** Room for the text of an error reply. */
const ERROR_BYTES = 256;
/** Bodies from this size on stay in C. */
const LARGE = 16 * 1024;

/** Holds the frame that was received last. */
export interface Inbox {
  /** Receives a frame: its size, or -1 when there is none. */
  receive(socket: Socket): number;
  /** The number that the reply starts with; it has the size of a body. */
  readonly number: number;
  /** Whether it is, byte for byte, the body of a request; it has the size of one. */
  isBody(number: number): boolean;
  /** The text that an error reply starts with. */
  text(size: number): string;
}

/** An inbox for bodies of that size. */
export function inboxFor(library: Library, bodies: Bodies): Inbox {
  return bodies.size < LARGE ? new CopyInbox(library, bodies) : new LargeInbox(library, bodies);
}

class CopyInbox implements Inbox {
  readonly #bodies: Bodies;
  readonly #frame: Uint8Array<ArrayBuffer>;
  readonly #view: DataView<ArrayBuffer>;
  readonly #content: Uint8Array<ArrayBuffer>;
  readonly #isSame: ReturnType<typeof comparison>;

  constructor(library: Library, bodies: Bodies) {
    this.#bodies = bodies;
    this.#frame = new Uint8Array(bodies.size + ERROR_BYTES);
    this.#view = new DataView(this.#frame.buffer);
    this.#content = this.#frame.subarray(NUMBER_BYTES, bodies.size);
    this.#isSame = comparison(library);
  }

  receive(socket: Socket): number {
    return socket.receiveInto(this.#frame);
  }

  get number(): number {
    return this.#view.getUint32(0);
  }

  isBody(number: number): boolean {
    return this.number === number && this.#isSame(this.#content, this.#bodies.content(number));
  }

  text(size: number): string {
    return new TextDecoder().decode(this.#frame.subarray(0, Math.min(size, this.#frame.length)));
  }
}

class LargeInbox implements Inbox {
  readonly #bodies: Bodies;
  readonly #message: ReturnType<MessagePool["take"]>;
  readonly #head = new Uint8Array(NUMBER_BYTES);
  readonly #view = new DataView(this.#head.buffer);
  readonly #isSame: ReturnType<typeof comparisonInPlace>;

  constructor(library: Library, bodies: Bodies) {
    this.#bodies = bodies;
    this.#message = new MessagePool(library).take();
    this.#isSame = comparisonInPlace(library);
  }

  receive(socket: Socket): number {
    return socket.receive(this.#message);
  }

  get number(): number {
    this.#message.copyTo(this.#head, NUMBER_BYTES);
    return this.#view.getUint32(0);
  }

  isBody(number: number): boolean {
    const isSame = this.#isSame(this.#message, this.#bodies.lend(number));
    this.#bodies.takeBack(number);
    return isSame;
  }

  text(size: number): string {
    return new TextDecoder().decode(this.#message.bytes(size));
  }
}
