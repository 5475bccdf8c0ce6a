/**
 * Counts the connections of a ROUTER from its notices. A peer's coming and its leaving give the same
 * notice, and when a peer takes over another's identity there is none of the former one's leaving:
 *
 * ```text
 * (absent) ─notice→ present ─notice→ doubtful ─no longer there→ (absent)
 *                      ↑                │
 *                      └─ it speaks, or is still there after DOUBT_TIME: a newcomer took over
 * ```
 *
 * Knows no sockets.
 *
 * @module
 */

interface Presence {
  id: Uint8Array<ArrayBuffer>;
  /** Since when it is not known whether the peer has left or another has taken over, ms; NaN: it is. */
  doubtfulSince: number;
  /** Whether the notices since then are an even number, as when peers left and came in turn. */
  paired: boolean;
}

type Key = string | number;

/** Those that are in, and those that were let in and are about to be. */
export class Census {
  readonly #present = new Map<Key, Presence>();
  readonly #doubtful = new Set<Key>();
  /** Until when each of those that were let in is waited for, ms; the oldest first. */
  #expected: number[] = [];
  #checkedAt = -Infinity;

  /** Connections: those that are in doubt and those that are about to come included. */
  get size(): number {
    return this.#present.size + this.#expected.length;
  }

  /** Whether a peer of this key is in, as far as is known. */
  has(key: Key): boolean {
    return this.#present.has(key);
  }

  /** A peer was let in: its notice must come until `deadline`, ms, or is not coming. */
  expect(deadline: number): void {
    this.#expected.push(deadline);
  }

  /** A peer has come, has left, or has taken over from the one that was there. */
  notice(key: Key, id: Uint8Array<ArrayBuffer>, now: number): void {
    const presence = this.#present.get(key);
    if (presence === undefined) {
      this.#present.set(key, { id, doubtfulSince: NaN, paired: false });
      this.#expected.shift();
    } else {
      presence.paired = this.#doubtful.has(key) && !presence.paired;
      if (presence.paired) this.#expected.shift(); // one of the two has come
      presence.doubtfulSince = now;
      this.#doubtful.add(key);
    }
  }

  /** A peer's first message since its last notice: it is there. Whether it has taken over. */
  spoke(key: Key, id: Uint8Array<ArrayBuffer>): boolean {
    const presence = this.#present.get(key);
    if (presence === undefined) this.#present.set(key, { id, doubtfulSince: NaN, paired: false });
    return presence !== undefined && this.#doubtful.has(key) && this.#believe(key, presence);
  }

  /** All notices that were under way at `now` have been read: a peer that has not come by now is not coming. */
  caughtUp(now: number): void {
    const [first = Infinity] = this.#expected;
    if (now >= first) this.#expected = this.#expected.filter((deadline) => deadline > now);
  }

  /** Ends doubts, where that is possible; returns the keys that others have taken over. */
  endDoubts(now: number, isThere: (id: Uint8Array<ArrayBuffer>) => boolean): Key[] {
    if (this.#doubtful.size === 0) return NOBODY;
    return [...this.#doubtful].filter((key) => {
      const presence = this.#present.get(key);
      if (presence === undefined || !isThere(presence.id)) this.#remove(key);
      else return now - presence.doubtfulSince >= DOUBT_TIME && this.#believe(key, presence);
    });
  }

  /**
   * Forgets peers that have left without a notice, and returns their keys. A notice is lost when what the
   * peer has sent fills the socket, which a peer can do on purpose. Checks once in `CHECK_INTERVAL`.
   */
  check(now: number, isThere: (id: Uint8Array<ArrayBuffer>) => boolean): Key[] {
    if (now - this.#checkedAt < CHECK_INTERVAL) return NOBODY;
    this.#checkedAt = now;
    const gone = [...this.#present].filter(([, { id }]) => !isThere(id)).map(([key]) => key);
    for (const key of gone) this.#remove(key);
    return gone;
  }

  /** A doubtful peer is there: whether it must have taken over, as not all others can have left in order. */
  #believe(key: Key, presence: Presence): boolean {
    presence.doubtfulSince = NaN;
    this.#doubtful.delete(key);
    if (!presence.paired) this.#expected.shift();
    return !presence.paired;
  }

  #remove(key: Key): void {
    this.#present.delete(key);
    this.#doubtful.delete(key);
  }
}

const CHECK_INTERVAL = 1000;
/** The connection of a peer that has left is taken down sooner, ms. */
const DOUBT_TIME = 1000;
const NOBODY: Key[] = [];
