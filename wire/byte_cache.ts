/**
 * Remembers what was made of short runs of bytes, as names and addresses that come with every message:
 * comparing bytes is cheaper than making texts of them. Forgets one for another of the same slot.
 *
 * @module
 */

interface Entry<V> {
  readonly bytes: Uint8Array;
  readonly value: V;
}

const SLOTS = 1024;
/** FNV-1a's. */
const OFFSET = 0x811c9dc5;
const PRIME = 0x01000193;

/** Values by the bytes that they are made of. */
export class ByteCache<V> {
  readonly #entries: (Entry<V> | undefined)[] = new Array(SLOTS).fill(undefined);
  /** What was asked for last: often, it is asked for again. */
  #last: Entry<V> | undefined;
  readonly #make: (bytes: Uint8Array<ArrayBuffer>) => V;

  /** `make` must give the same for the same bytes, or what may stand for it. */
  constructor(make: (bytes: Uint8Array<ArrayBuffer>) => V) {
    this.#make = make;
  }

  /** What `make` makes, or has made, of the bytes from `start` up to `end`. */
  get(source: Uint8Array, start: number, end: number): V {
    const last = this.#last;
    if (last !== undefined && isEqual(last.bytes, source, start, end)) return last.value;
    return (this.#last = this.#entry(source, start, end)).value;
  }

  #entry(source: Uint8Array, start: number, end: number): Entry<V> {
    let hash = OFFSET;
    for (let at = start; at < end; at++) hash = Math.imul(hash ^ (source[at] ?? 0), PRIME);
    const slot = (hash ^ (hash >>> 16)) & (SLOTS - 1);
    const known = this.#entries[slot];
    if (known !== undefined && isEqual(known.bytes, source, start, end)) return known;
    const bytes = new Uint8Array(source.subarray(start, end));
    return this.#entries[slot] = { bytes, value: this.#make(bytes) };
  }
}

function isEqual(bytes: Uint8Array, source: Uint8Array, start: number, end: number): boolean {
  if (bytes.length !== end - start) return false;
  for (let at = 0; at < bytes.length; at++) if (bytes[at] !== source[start + at]) return false;
  return true;
}
