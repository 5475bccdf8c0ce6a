/**
 * Bytes on their way into a stream: what the other side has not taken yet. What is small is written into memory of
 * its own, so that much of it goes out at once; what is large is sent from where it lies. No I/O.
 *
 * @module
 */

/** Takes bytes. */
export interface Sink {
  /** Sends `count` bytes from the `from`th on; returns how many were taken, or less than 1: none now. */
  send(bytes: Uint8Array<ArrayBuffer>, from: number, count: number): number;
}

/** Bytes that go out together. */
interface Chunk {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** The first one that was not sent. */
  from: number;
  readonly end: number;
  /** Called once, when all were sent or none will be. */
  readonly done: (() => void) | undefined;
}

/** As it was before a handler could replace it. */
const Bytes = Uint8Array;

/** Memory for what is small: it grows up to the second, and then more of it is taken, bytes. */
const SMALLEST = 4096;
const LARGEST = 65_536;

/** What is to be sent over one connection. */
export class Outgoing {
  /** Where the next small thing is written; see `room`. */
  bytes: Uint8Array<ArrayBuffer> = new Bytes(SMALLEST);
  /** The same. */
  view: DataView = new DataView(this.bytes.buffer);
  /** What stands in `bytes` and was not sent: from `#from` up to `#used`. */
  #from = 0;
  #used = 0;
  /** What goes before that. */
  #chunks: Chunk[] = [];
  #waiting = 0;

  /** Bytes that were not sent. */
  get size(): number {
    return this.#waiting + this.#used - this.#from;
  }

  /** Makes sure that `size` more bytes can be written to `bytes`, and returns where. */
  room(size: number): number {
    const { length } = this.bytes;
    if (size > length - this.#used) this.#grow(size);
    return this.#used;
  }

  /** So many bytes were written where `room` said. */
  wrote(size: number): void {
    this.#used += size;
  }

  /** Adds bytes that must stay as they are until `done` is called. */
  push(bytes: Uint8Array<ArrayBuffer>, size: number, done: (() => void) | undefined): void {
    this.#seal();
    this.#chunks.push({ bytes, from: 0, end: size, done });
    this.#waiting += size;
  }

  /** Sends what it can; false: some is left, and the other side must read first. */
  send(sink: Sink): boolean {
    while (this.#chunks.length > 0) if (!this.#sendChunk(sink)) return false;
    while (this.#from < this.#used) {
      const sent = sink.send(this.bytes, this.#from, this.#used - this.#from);
      if (sent <= 0) return false;
      this.#from += sent;
    }
    this.#from = this.#used = 0;
    if (this.bytes.length > LARGEST) this.#use(new Bytes(SMALLEST));
    return true;
  }

  /** Drops all that was not sent. */
  drop(): void {
    for (const { done } of this.#chunks.splice(0)) done?.();
    this.#waiting = this.#from = this.#used = 0;
  }

  #sendChunk(sink: Sink): boolean {
    const [chunk] = this.#chunks;
    if (chunk === undefined) return true;
    while (chunk.from < chunk.end) {
      const sent = sink.send(chunk.bytes, chunk.from, chunk.end - chunk.from);
      if (sent <= 0) return false;
      chunk.from += sent;
      this.#waiting -= sent;
    }
    this.#chunks.shift();
    chunk.done?.();
    return true;
  }

  /** Makes room: what was written stays in its memory until it is sent. */
  #grow(size: number): void {
    const { length } = this.bytes;
    if (this.#used + size <= LARGEST) {
      const larger = new Bytes(Math.min(LARGEST, Math.max(2 * length, this.#used + size)));
      larger.set(this.bytes.subarray(0, this.#used));
      return this.#use(larger);
    }
    this.#seal();
    if (size > this.bytes.length) this.#use(new Bytes(Math.max(LARGEST, size)));
  }

  /** Closes what was written so far: something goes behind it that is written elsewhere. */
  #seal(): void {
    if (this.#used > this.#from) {
      const size = this.#used - this.#from;
      this.#chunks.push({ bytes: this.bytes, from: this.#from, end: this.#used, done: undefined });
      this.#waiting += size;
      this.#use(new Bytes(Math.min(LARGEST, this.bytes.length)));
    }
    this.#from = this.#used = 0;
  }

  #use(bytes: Uint8Array<ArrayBuffer>): void {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer);
  }
}
