/**
 * Small buffers for what C writes or reads, cut from larger ones. V8 keeps a small buffer of its own on its
 * heap, and makes it anew as soon as C is to see it, which takes ten times as long.
 *
 * @module
 */

import { Bytes } from "./library.ts";

/** What one piece keeps alive, bytes. */
const CHUNK_BYTES = 4096;
/** Larger ones are buffers of their own. */
const MAX_PIECE = 256;

/** Cuts buffers that live as long as somebody has one. */
export class Arena {
  #chunk = new Bytes(CHUNK_BYTES);
  #used = 0;

  /** A buffer of so many bytes, all 0. Whoever gets it is trusted not to look at what lies around it. */
  take(size: number): Uint8Array<ArrayBuffer> {
    if (size > MAX_PIECE) return new Bytes(size);
    if (this.#used + size > CHUNK_BYTES) {
      this.#chunk = new Bytes(CHUNK_BYTES);
      this.#used = 0;
    }
    const start = this.#used;
    this.#used += size;
    return this.#chunk.subarray(start, this.#used);
  }
}
