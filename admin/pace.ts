/**
 * Bounds what those without the token can make this process do: their requests take turns, and what they ask for again
 * within a moment is not made again.
 *
 * @module
 */

import type { HttpAnswer } from "./http_message.ts";

/** Lets as many through in a second as it is told to; the others wait for their turns, in order. */
export class Pace {
  readonly #stepMs: number;
  readonly #burstMs: number;
  /** When the turn after the last one is, ms. */
  #nextAt = 0;

  /** @param burst how many may come at once after a pause. */
  constructor(perSecond: number, burst: number) {
    this.#stepMs = 1000 / perSecond;
    this.#burstMs = burst * this.#stepMs;
  }

  /** How long one who comes at `now` has to wait, ms. */
  take(now: number): number {
    const at = Math.max(this.#nextAt, now - this.#burstMs);
    this.#nextAt = at + this.#stepMs;
    return Math.max(0, at - now);
  }

  /** Waits for a turn. */
  async turn(): Promise<void> {
    const wait = this.take(performance.now());
    if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait));
  }
}

/** How long an answer is given to others who ask for the same, ms. */
const SHARED_FOR = 250;
const MAX_KEPT = 50;

/** Answers that several get. */
export class SharedAnswers {
  readonly #kept = new Map<string, { until: number; answer: Promise<HttpAnswer> }>();

  /** The answer that is kept by this name, or a new one. */
  get(name: string, now: number, make: () => Promise<HttpAnswer>): Promise<HttpAnswer> {
    const found = this.#kept.get(name);
    if (found !== undefined && now < found.until) return found.answer;
    if (this.#kept.size >= MAX_KEPT) this.#kept.clear();
    const answer = make();
    this.#kept.set(name, { until: now + SHARED_FOR, answer });
    return answer;
  }
}
