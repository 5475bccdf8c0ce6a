/**
 * Counts the connections of a ROUTER from what it tells of them: the same notice when a peer comes and
 * when it leaves. Knows no sockets.
 *
 * @module
 */

/** Those that are in, and those that were let in and are about to be. */
export class Census {
  readonly #present = new Map<string | number, Uint8Array<ArrayBuffer>>();
  /** Until when each of those that were let in is waited for, ms; the oldest first. */
  #expected: number[] = [];
  #checkedAt = -Infinity;

  /** Connections, those that are about to be included. */
  get size(): number {
    return this.#present.size + this.#expected.length;
  }

  /** A peer was let in: its notice must come until `deadline`, ms, or is not coming. */
  expect(deadline: number): void {
    this.#expected.push(deadline);
  }

  /** A peer has come, or has left. */
  notice(key: string | number, id: Uint8Array<ArrayBuffer>): void {
    if (this.#present.delete(key)) return;
    this.#present.set(key, id);
    this.#expected.shift();
  }

  /** All notices that were under way at `now` have been read: who has not come by now is not coming. */
  caughtUp(now: number): void {
    const [first = Infinity] = this.#expected;
    if (now >= first) this.#expected = this.#expected.filter((deadline) => deadline > now);
  }

  /**
   * Forgets who has left without a notice, and gives their keys: a notice is lost when what the peer
   * has sent already fills the socket, and a peer can mean it to. Looks at most once in `CHECK_INTERVAL`.
   */
  check(now: number, isThere: (id: Uint8Array<ArrayBuffer>) => boolean): (string | number)[] {
    if (now - this.#checkedAt < CHECK_INTERVAL) return NOBODY;
    this.#checkedAt = now;
    const gone = [...this.#present].filter(([, id]) => !isThere(id)).map(([key]) => key);
    for (const key of gone) this.#present.delete(key);
    return gone;
  }
}

const CHECK_INTERVAL = 1000;
const NOBODY: (string | number)[] = [];
