/**
 * Bytes that go to another thread with a message: small ones lie side by side in a few buffers, which are handed over
 * as a whole, so that there is no buffer for each of them to be made, copied and freed on both sides.
 *
 * @module
 */

type Bytes = Uint8Array<ArrayBuffer>;

/** Bytes from this size on have a buffer of their own. */
export const LARGE_BYTES = 16 * 1024;
/** Sizes of a buffer that several share: at least as much as the last parcel had. */
const MIN_SHARED = 512;
const MAX_SHARED = 64 * 1024;

/** What goes with the next message. */
export class Parcel {
  #buffers: ArrayBuffer[] = [];
  #shared = new Uint8Array(0);
  #used = 0;
  /** Small bytes that the parcel has. */
  #small = 0;
  #next = MIN_SHARED;

  /** A copy that goes with the message: nobody here may read it once that was sent. */
  copy(bytes: Uint8Array): Bytes {
    const copy = this.take(bytes.length);
    copy.set(bytes);
    return copy;
  }

  /** Room for so many bytes: it is to be filled before anything else is taken. */
  take(size: number): Bytes {
    if (size >= LARGE_BYTES) return this.#own(size);
    if (this.#used + size > this.#shared.length) this.#open(size);
    const start = this.#used;
    this.#used += size;
    this.#small += size;
    return this.#shared.subarray(start, this.#used);
  }

  /** Bytes that nothing else has to do with go with the message as they are; others are copied. */
  give(bytes: Bytes): Bytes {
    const { buffer, byteLength } = bytes;
    if (byteLength < LARGE_BYTES || buffer.byteLength !== byteLength) return this.copy(bytes);
    this.#buffers.push(buffer);
    return bytes;
  }

  /** The buffers that are to be handed over with the message; what comes now is for the next one. */
  close(): ArrayBuffer[] {
    const buffers = this.#buffers;
    if (buffers.length === 0) return buffers;
    this.#buffers = [];
    this.#shared = NOTHING;
    this.#used = 0;
    this.#next = Math.max(MIN_SHARED, Math.min(MAX_SHARED, this.#small));
    this.#small = 0;
    return buffers;
  }

  #own(size: number): Bytes {
    const bytes = new Uint8Array(size);
    this.#buffers.push(bytes.buffer);
    return bytes;
  }

  #open(size: number): void {
    this.#shared = this.#own(Math.max(size, this.#next));
    this.#used = 0;
  }
}

const NOTHING = new Uint8Array(0);
