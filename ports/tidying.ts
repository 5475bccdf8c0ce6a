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
      return Infinity; // it ticks when the queue is shorter, too
    }
    if (now < this.#tidyAt) return this.#tidyAt - now; // Infinity, mostly
    this.#tidyAt = Infinity;
    this.#giveBack();
    return Infinity;
  }
}
