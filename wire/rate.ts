/**
 * How much of something may pass in a second: a bucket that fills by the clock and is emptied by what
 * passes. Has no clock of its own.
 *
 * @module
 */

/** A bound of so much a second; what was not used is kept for one second. */
export class Rate {
  readonly #perSecond: number;
  #left: number;
  #at = -Infinity;

  /** Lets `perSecond` pass in the first second. */
  constructor(perSecond: number) {
    this.#perSecond = perSecond;
    this.#left = perSecond;
  }

  /** Whether anything may pass at `now` (ms); a large amount may, as long as something is left. */
  has(now: number): boolean {
    const filled = this.#left + (now - this.#at) * this.#perSecond / 1000;
    this.#left = Math.min(this.#perSecond, filled);
    this.#at = now;
    return this.#left > 0;
  }

  /** Counts what has passed: what is more than was left is paid back later. */
  take(amount: number): void {
    this.#left -= amount;
  }
}
