/**
 * Finds peers that have named themselves as libzmq names those without an identity: 0, and four bytes
 * that count upwards from a random start. libzmq's own sockets can't do so. When its count comes to an
 * identity that somebody has taken, libzmq ends the process: so a peer that takes one is an attacker.
 *
 * @module
 */

const RANGE = 2 ** 32;
/** Peers that may have been named by now though their notices are still to be read. */
const UNREAD = 65_536;

/** Which of libzmq's own identities are not its own. */
export class Squatters {
  readonly #present = new Set<number>();
  /** The highest that libzmq is known to have given; undefined: none is known. */
  #highest: number | undefined;
  /** Notices since then: libzmq also counts on when an identity is taken over. */
  #since = 0;
  /** Such peers that have come. */
  count = 0;

  /** An id that libzmq has given for certain. */
  anchor(key: string | number): void {
    if (typeof key === "number") this.#highest = numberOf(key);
  }

  /** Whether one is there. */
  get isPresent(): boolean {
    return this.#present.size > 0;
  }

  /**
   * A peer has come, of this `routingKey`: a number where its id is libzmq's, or looks so. False: it is not what libzmq
   * has given.
   */
  came(key: string | number): boolean {
    this.#since++;
    if (typeof key === "string" || this.#highest === undefined) return typeof key !== "string";
    const number = numberOf(key);
    const ahead = (number - this.#highest + RANGE) % RANGE;
    if (ahead <= this.#since + UNREAD) {
      this.#highest = number;
      this.#since = 0;
      return true;
    }
    if (RANGE - ahead <= UNREAD) return true;
    this.#present.add(key);
    this.count++;
    return false;
  }

  /** Forgets peers that are not there any more. */
  keep(isThere: (key: number) => boolean): void {
    for (const key of this.#present) if (!isThere(key)) this.#present.delete(key);
  }
}

/** A key has the lowest byte first, libzmq's count the highest. */
function numberOf(key: number): number {
  const bytes = [key, key >>> 8, key >>> 16, key >>> 24].map((byte) => byte & 0xff);
  return bytes.reduce((sum, byte) => sum * 256 + byte, 0);
}
