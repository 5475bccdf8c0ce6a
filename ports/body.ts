/**
 * Bodies of requests in this process's memory, from the moment they have come until their job has ended. They are
 * given back by hand and used again: at a high rate, memory that V8 has to find and to fill with zeros costs more
 * than all else that is done with a small body.
 *
 * @module
 */

/** A body: the bytes of its frames, one behind the other. */
export class Body {
  /** Memory of the body's size, or larger. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Bytes of all frames: the first ones of `bytes`. */
  size = 0;
  /** Bytes of each frame; undefined: there is one frame. */
  sizes: readonly number[] | undefined;
  /** Who needs it: it is used again when nobody does. */
  holders = 0;

  /** For `BodyPool` only. */
  constructor(bytes: Uint8Array<ArrayBuffer>) {
    this.bytes = bytes;
  }

  /** How many frames it has. */
  get frames(): number {
    return this.sizes?.length ?? 1;
  }

  /** Copies its frames. */
  toFrames(): Uint8Array<ArrayBuffer>[] {
    const frames: Uint8Array<ArrayBuffer>[] = [];
    let start = 0;
    for (const size of this.sizes ?? [this.size]) {
      frames.push(this.bytes.slice(start, start + size));
      start += size;
    }
    return frames;
  }
}

/** What each frame takes along with its bytes, bytes: empty ones take memory too. */
const FRAME_WEIGHT = 256;

/** What frames weigh that have so many bytes together. */
export function weigh(bytes: number, frames: number): number {
  return bytes + FRAME_WEIGHT * frames;
}

/** Why a body that came with so many bytes and frames is too large; undefined: it is not. */
export function excessOf(
  bytes: number,
  frames: number,
  { maxMessageSize, maxFrames }: { maxMessageSize: number; maxFrames: number },
): string | undefined {
  if (bytes > maxMessageSize) {
    return `The body must have at most ${maxMessageSize} bytes: it has ${bytes}`;
  }
  if (frames <= maxFrames) return undefined;
  return `The body must have at most ${maxFrames} frames: it has ${frames}`;
}

/** Bytes of the memory of the smallest bodies; each size above it is four times as large. */
const SMALLEST = 64;
const FACTOR_BITS = 2;
/** Bodies up to this size are cut from chunks; larger ones have memory of their own, bytes. */
const LARGEST_PIECE = 4096;
const CHUNK_BYTES = 65_536;
/** Maximum bytes of large bodies that are kept to be used again. */
const MAX_KEPT = 32 * 1024 ** 2;

/** Bodies to take and give back. */
export class BodyPool {
  /** Small bodies that nobody holds, by their size: 64 bytes, 256 and so on. */
  #free: Body[][] = [];
  /** The same of large ones, by the power of two of their size. */
  readonly #large: Body[][] = [];
  #kept = 0;

  /** A body with room for `size` bytes, and one holder. What is in its memory is old. */
  take(size: number): Body {
    const body = size > LARGEST_PIECE ? this.#takeLarge(size) : this.#takeSmall(size);
    body.size = size;
    body.sizes = undefined;
    body.holders = 1;
    return body;
  }

  /** One holder less; nobody else may use the body then. */
  release(body: Body): void {
    if (--body.holders > 0) return;
    const room = body.bytes.length;
    if (room <= LARGEST_PIECE) {
      (this.#free[classOf(room)] ??= []).push(body);
    } else if (this.#kept + room <= MAX_KEPT) {
      this.#kept += room;
      (this.#large[powerOf(room)] ??= []).push(body);
    }
  }

  /** Drops what nobody holds. */
  dropFree(): void {
    this.#free = [];
    this.#large.length = 0;
    this.#kept = 0;
  }

  #takeSmall(size: number): Body {
    const index = classOf(size);
    const free = this.#free[index] ??= [];
    if (free.length === 0) this.#cut(free, SMALLEST << (FACTOR_BITS * index));
    const body = free.pop();
    return body ?? new Body(new Uint8Array(size));
  }

  #cut(free: Body[], room: number): void {
    const chunk = new Uint8Array(CHUNK_BYTES);
    for (let start = CHUNK_BYTES - room; start >= 0; start -= room) {
      free.push(new Body(chunk.subarray(start, start + room)));
    }
  }

  #takeLarge(size: number): Body {
    const power = powerOf(size);
    const kept = this.#large[power]?.pop();
    if (kept === undefined) return new Body(new Uint8Array(2 ** power));
    this.#kept -= kept.bytes.length;
    return kept;
  }
}

/** Which of the small sizes has room for `size` bytes. */
function classOf(size: number): number {
  let index = 0;
  for (let room = SMALLEST; room < size; room <<= FACTOR_BITS) index++;
  return index;
}

/** The power of two that has room for `size` bytes. */
function powerOf(size: number): number {
  return 32 - Math.clz32(size - 1);
}
