/**
 * How late the timers of this thread are: what else runs on it keeps requests of operators, signals and the pool
 * waiting for that long.
 *
 * @module
 */

import { Histogram, type Spread } from "../broker/histogram.ts";

/** Time between two looks at the clock, ms. */
const INTERVAL = 250;

/** Measures from its start until it is closed. */
export class LoopLag {
  readonly #histogram = new Histogram();
  readonly #timer: ReturnType<typeof setInterval>;
  #dueAt = performance.now() + INTERVAL;

  constructor() {
    this.#timer = setInterval(() => this.#measure(), INTERVAL);
    Deno.unrefTimer(this.#timer);
  }

  #measure(): void {
    const now = performance.now();
    this.#histogram.add(Math.max(0, now - this.#dueAt) * 1000);
    this.#dueAt = now + INTERVAL;
  }

  /** What was measured so far. */
  read(): Spread {
    return this.#histogram.read();
  }

  close(): void {
    clearInterval(this.#timer);
  }
}
