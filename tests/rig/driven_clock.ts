/**
 * A clock that tests drive, without sleeping: time passes, and the clock on the wall can be set.
 */

import type { StoreClock } from "../../store/job_store.ts";

interface Timer {
  at: number;
  call: () => void;
}

/** Time that passes when it is told to. */
export class DrivenClock implements StoreClock {
  #steady = 1000;
  /** What the wall says minus what has passed. */
  #offset: number;
  readonly #timers = new Set<Timer>();

  constructor(now = Date.UTC(2026, 0, 15, 12)) {
    this.#offset = now - this.#steady;
  }

  now(): number {
    return this.#steady + this.#offset;
  }

  steady(): number {
    return this.#steady;
  }

  after(ms: number, call: () => void): () => void {
    const timer = { at: this.#steady + Math.max(0, ms), call };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  /** Timers that wait. */
  get waiting(): number {
    return this.#timers.size;
  }

  /** Sets the clock on the wall forth, or back. */
  set(byMs: number): void {
    this.#offset += byMs;
  }

  /** Lets time pass: calls what is due on the way, each at its own time, and lets promises go on in between. */
  async pass(ms: number): Promise<void> {
    const end = this.#steady + ms;
    await turn();
    for (;;) {
      const next = this.#next();
      if (next === undefined || next.at > end) break;
      this.#steady = Math.max(this.#steady, next.at);
      this.#timers.delete(next);
      next.call();
      await turn();
    }
    this.#steady = end;
  }

  #next(): Timer | undefined {
    let first: Timer | undefined;
    for (const timer of this.#timers) if (first === undefined || timer.at < first.at) first = timer;
    return first;
  }
}

/** Lets all promises that are fulfilled already go on. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

declare const setImmediate: (call: () => void) => void;
