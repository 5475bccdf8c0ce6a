/**
 * Ids of the jobs whose submitters have named none: the number of the job stands in them, so that they are found
 * without an index. A key of the file hides it: nobody else can tell how many jobs there are.
 *
 * An id has 48 bits of the hidden number and 80 random ones. Whether an id is one of these shows when the job of that
 * number has it.
 *
 * @module
 */

/** Bytes of an id, and of the number in it. */
const ID_BYTES = 16;
const NUMBER_BYTES = 6;
/** Bytes of a key: each round has four. */
export const KEY_BYTES = 16;
/** Hex digits of half the number, and where they stand in an id. */
const HALF_DIGITS = 6;
const FIRST_HALF = 2;
const SECOND_HALF = FIRST_HALF + HALF_DIGITS;
const HALF = 2 ** 24;
/** Ids whose random bytes are drawn at a time: one by one takes longer than all else here. */
const DRAWN = 128;

/** Makes such ids, and reads the numbers in them. */
export class OwnIds {
  readonly #rounds: readonly number[];
  readonly #drawn = new Uint8Array(DRAWN * ID_BYTES);
  #at = this.#drawn.length;

  /** `key`: of the file, random. */
  constructor(key: Uint8Array<ArrayBuffer>) {
    const view = new DataView(key.buffer, key.byteOffset, KEY_BYTES);
    this.#rounds = [0, 4, 8, 12].map((at) => view.getUint32(at));
  }

  /** The bytes of a new id for the job of a number. */
  make(seq: number): Uint8Array<ArrayBuffer> {
    if (this.#at === this.#drawn.length) {
      crypto.getRandomValues(this.#drawn);
      this.#at = 0;
    }
    const id = this.#drawn.slice(this.#at, this.#at += ID_BYTES);
    let high = Math.floor(seq / HALF);
    let low = seq % HALF;
    // A Feistel network: each number becomes another one, and can be read again.
    for (const key of this.#rounds) [high, low] = [low, high ^ mix(low, key)];
    const number = high * HALF + low;
    for (let at = NUMBER_BYTES - 1, rest = number; at >= 0; at--, rest = Math.floor(rest / 256)) {
      id[at] = rest % 256;
    }
    return id;
  }

  /** The number in an id; of any other id, any number. */
  seqOf(id: string): number {
    let high = parseInt(id.slice(FIRST_HALF, SECOND_HALF), 16);
    let low = parseInt(id.slice(SECOND_HALF, SECOND_HALF + HALF_DIGITS), 16);
    for (let round = this.#rounds.length - 1; round >= 0; round--) {
      [high, low] = [low ^ mix(high, this.#rounds[round] ?? 0), high];
    }
    return high * HALF + low;
  }
}

/** 24 bits that all bits of a number and of a key have a part in. */
function mix(half: number, key: number): number {
  let bits = Math.imul(half ^ key, 0x85ebca6b);
  bits = Math.imul(bits ^ bits >>> 13, 0xc2b2ae35);
  return (bits ^ bits >>> 16) & HALF - 1;
}
