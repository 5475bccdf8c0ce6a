/**
 * The bodies of requests: each differs from the many before it, and its maker can check whether
 * a reply has the very same bytes. All load generators use them. Also runs under Node: names nothing of
 * Deno.
 *
 * ```text
 * body   [u32 number, big-endian] [content]     content: noise that follows from number and seed
 * ```
 *
 * @module
 */

import { Buffer } from "node:buffer";

/** Bytes of the number that a body starts with. */
export const NUMBER_BYTES = 4;
/** The place in the noise where a body starts follows from its number: so many bodies in a row differ. */
const SHIFTS = 4096;

/** Bodies up to this size are compared byte by byte: a call of `Buffer.compare` takes longer. */
const SMALL_BYTES = 256;

/** One request's place in the noise. */
interface Place {
  /** As long as a body. Only the content is the body's own: the number must be written first. */
  readonly whole: Uint8Array<ArrayBuffer>;
  readonly content: Uint8Array<ArrayBuffer>;
}

/** Makes bodies of one size, and judges replies. */
export class Bodies {
  /** Bytes of a body. */
  readonly size: number;
  readonly #noise: Uint8Array<ArrayBuffer>;
  readonly #view: DataView<ArrayBuffer>;
  readonly #places: Place[] = [];
  /** What of the noise a number was written over. */
  #covered = 0;

  /**
   * Makes the noise.
   *
   * @throws {RangeError} when a body has no room for its number.
   */
  constructor(size: number, seed = 1) {
    if (size < NUMBER_BYTES) {
      const rule = `"size" must be at least ${NUMBER_BYTES}: current value is ${size}`;
      throw new RangeError(`Cannot make bodies as ${rule}`);
    }
    this.size = size;
    this.#noise = noise(size + SHIFTS, seed);
    this.#view = new DataView(this.#noise.buffer);
  }

  /** The body of a request, to keep. */
  make(number: number): Uint8Array<ArrayBuffer> {
    const body = this.lend(number).slice();
    this.takeBack(number);
    return body;
  }

  /** The same without a copy: nothing else may be asked for before it is taken back. */
  lend(number: number): Uint8Array<ArrayBuffer> {
    const { whole } = this.#place(number);
    const at = number % SHIFTS;
    this.#covered = this.#view.getUint32(at);
    this.#view.setUint32(at, number);
    return whole;
  }

  /** Ends a loan. */
  takeBack(number: number): void {
    this.#view.setUint32(number % SHIFTS, this.#covered);
  }

  /** What follows the number in the body of a request. */
  content(number: number): Uint8Array<ArrayBuffer> {
    return this.#place(number).content;
  }

  /** Whether `body` is the request's, byte for byte. */
  isRight(number: number, body: Uint8Array<ArrayBuffer>): boolean {
    if (body.length !== this.size || numberOf(body) !== number) return false;
    const content = this.content(number);
    if (body.length > SMALL_BYTES) {
      return Buffer.compare(body.subarray(NUMBER_BYTES), content) === 0;
    }
    for (let at = NUMBER_BYTES; at < body.length; at++) {
      if (body[at] !== content[at - NUMBER_BYTES]) return false;
    }
    return true;
  }

  #place(number: number): Place {
    const shift = number % SHIFTS;
    return this.#places[shift] ??= {
      whole: this.#noise.subarray(shift, shift + this.size),
      content: this.#noise.subarray(shift + NUMBER_BYTES, shift + this.size),
    };
  }
}

/** The number that a body starts with. */
function numberOf(body: Uint8Array<ArrayBuffer>): number {
  const [one = 0, two = 0, three = 0, four = 0] = body;
  return ((one << 24) | (two << 16) | (three << 8) | four) >>> 0;
}

/** Bytes that look random and follow from a seed: xorshift32. */
function noise(size: number, seed: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(size);
  let state = seed || 1;
  for (let index = 0; index < size; index++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    bytes[index] = state >>> 24;
  }
  return bytes;
}
