/**
 * Who may use which part of a ring: memory that one side writes large bodies to and the other side reads, in order.
 * Nothing about that lies in the memory itself: each side counts, tells the other side in records, and checks what
 * it is told. No memory and no I/O here.
 *
 * @module
 */

/** Bodies start at multiples of this, bytes. */
const ALIGNMENT = 64;
const WORD = 2 ** 32;

/** The writing side. */
export class RingWriter {
  /** Bytes of the ring. */
  readonly size: number;
  /** Bytes that were used since the start, gaps included, and those of them that were read. */
  #written = 0;
  #read = 0;

  /** @param size a power of two, at least `ALIGNMENT`; 0: there is no ring. */
  constructor(size: number) {
    this.size = size;
  }

  /** Whether all that was written was read. */
  get isEmpty(): boolean {
    return this.#written === this.#read;
  }

  /** Where a body of `bytes` goes, at least 1; -1: there is no room. */
  place(bytes: number): number {
    const start = startOf(this.#written, bytes, this.size);
    const end = start + padded(bytes);
    if (bytes > this.size || end - this.#read > this.size) return -1;
    this.#written = end;
    return start % this.size;
  }

  /** The other side has read so many bytes since the start, modulo 2^32; false: it can't have. */
  credit(read: number): boolean {
    const more = (read - this.#read % WORD + WORD) % WORD;
    if (more > this.#written - this.#read) return false;
    this.#read += more;
    return true;
  }
}

/** The reading side. */
export class RingReader {
  /** Bytes of the ring. */
  readonly size: number;
  #read = 0;
  #told = 0;

  /** @param size a power of two, at least `ALIGNMENT`; 0: there is no ring. */
  constructor(size: number) {
    this.size = size;
  }

  /** Bytes that were read, and that the other side was not told of. */
  get untold(): number {
    return this.#read - this.#told;
  }

  /** Takes a body that is said to lie at `at`; false: it can't. What lies there is read before `tell`. */
  take(at: number, bytes: number): boolean {
    if (bytes < 1 || bytes > this.size) return false;
    const start = startOf(this.#read, bytes, this.size);
    if (at !== start % this.size) return false;
    this.#read = start + padded(bytes);
    return true;
  }

  /** How many bytes were read since the start, modulo 2^32: the other side is told that now. */
  tell(): number {
    this.#told = this.#read;
    return this.#read % WORD;
  }
}

/** Where a body starts, counted from the beginning: it never reaches around the end of the ring. */
function startOf(position: number, bytes: number, size: number): number {
  const at = position % size;
  return at + bytes > size ? position + size - at : position;
}

function padded(bytes: number): number {
  return Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
}
