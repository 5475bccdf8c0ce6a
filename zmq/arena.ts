/**
 * Small buffers for what C writes or reads, cut from larger ones. V8 keeps a small buffer on its heap and
 * moves it out when C is to see it, which takes ten times as long. Without this the main process needs about
 * a tenth more CPU for each request.
 *
 * @module
 */

import { Bytes } from "./library.ts";

/** What a piece keeps alive along with itself, bytes. */
const CHUNK_BYTES = 4096;
/** Larger buffers stand alone, bytes. */
const MAX_PIECE = 256;

/** Cuts small buffers; a chunk lives as long as one of its pieces. */
export class Arena {
  #chunk = new Bytes(CHUNK_BYTES);
  #used = 0;

  /** A buffer of `size` bytes, all 0. The receiver is trusted not to use what lies around it. */
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
