/**
 * When replies are sent: while jobs end quickly one after the other, their replies go out together, so that the
 * broker is woken once for all of them.
 *
 * @module
 */

/** A reply waits this long for the next one; a slow job in between can make that longer. */
const HOLD_MS = 0.2;
/** A reply with more bytes is sent at once, and what waits goes with it. */
const LARGE_BYTES = 16_384;

/** Replies that wait for others. */
export class Hold {
  /** When the first one that waits was written, ms; undefined: none waits. */
  #since: number | undefined;

  /**
   * A reply of `size` bytes was written; returns whether all that wait are to be sent now. With `mayWait`, it may
   * wait for the next one.
   *
   * @param now ms.
   */
  add(size: number, mayWait: boolean, now: number): boolean {
    const since = this.#since ?? now;
    const isDue = !mayWait || size > LARGE_BYTES || now - since > HOLD_MS;
    this.#since = isDue ? undefined : since;
    return isDue;
  }

  /** Nothing waits any more; returns whether something did. */
  end(): boolean {
    const waited = this.#since !== undefined;
    this.#since = undefined;
    return waited;
  }
}
