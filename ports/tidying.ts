/**
 * Gives memory back to the system some time after much of it was in use. Knows no clock.
 *
 * @module
 */

/** A queue of this many jobs has taken memory that is worth being given back. */
const LONG_QUEUE = 1000;
/** The same for its bytes. */
const LARGE_QUEUE = 1024 ** 2;
/** Memory is given back when the queue has been shorter for this long, ms. */
const TIDY_DELAY = 5000;
/** V8 gives back what is left in steps, each a task of the event loop: for so long after, these are let run, ms. */
const SETTLE_TIME = 15_000;
/** Time between two of those steps, ms. */
export const SETTLE_INTERVAL = 50;

/** What is in use at a moment. */
export interface Usage {
  /** Jobs that wait for a worker, and their bytes. */
  readonly queued: number;
  readonly queuedBytes: number;
}

/** Waits for a quiet time, then has memory given back. */
export class Tidying {
  readonly #usage: Usage;
  readonly #hasUnsent: () => boolean;
  readonly #giveBack: () => void;
  /** When memory is to be given back, ms; Infinity: none is worth it. */
  #tidyAt = Infinity;
  /** When the last step is made, ms. */
  #settledAt = -Infinity;
  /** Whether tasks of the event loop should be let run now, though there is nothing to wait for. */
  isSettling = false;

  /** Looks at `usage` and at whether replies wait for slow clients. */
  constructor(usage: Usage, hasUnsent: () => boolean, giveBack: () => void) {
    this.#usage = usage;
    this.#hasUnsent = hasUnsent;
    this.#giveBack = giveBack;
  }

  /** Gives memory back if it is time to; returns ms until it is. */
  tick(now: number): number {
    const { queued, queuedBytes } = this.#usage;
    if (queued >= LONG_QUEUE || queuedBytes >= LARGE_QUEUE || this.#hasUnsent()) {
      this.#tidyAt = now + TIDY_DELAY;
      this.isSettling = false;
      return Infinity; // it ticks when the queue is shorter, too
    }
    if (now < this.#tidyAt) return Math.min(this.#tidyAt - now, this.#settle(now)); // Infinity, mostly
    this.#tidyAt = Infinity;
    this.#giveBack();
    this.#settledAt = now + SETTLE_TIME;
    return this.#settle(now);
  }

  #settle(now: number): number {
    this.isSettling = now < this.#settledAt;
    return this.isSettling ? SETTLE_INTERVAL : Infinity;
  }
}
