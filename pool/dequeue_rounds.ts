/**
 * When the next round of the handler's own backlog is due.
 *
 * @module
 */

import type { Settings } from "../options/settings.ts";
import type { Postpone } from "./slot.ts";

/** How often a round starts, and how many processes may be at it. */
export type DequeueLimits = Pick<Settings, "dequeueInterval" | "maxDequeueWorkers">;

/** Rounds, one an interval. */
export class DequeueRounds {
  readonly #limits: Readonly<DequeueLimits>;
  /** When the interval began; Infinity until the first question, which starts it. */
  #lastAt = Infinity;

  /** @param limits live: `restart` when the interval has changed. */
  constructor(limits: Readonly<DequeueLimits>) {
    this.#limits = limits;
  }

  /** When the next round is due; Infinity: never. */
  get dueAt(): number {
    const { dequeueInterval } = this.#limits;
    return dequeueInterval > 0 ? this.#lastAt + dequeueInterval : Infinity;
  }

  /** Whether a process is to be started: a round is due, and not as many as may be are `running`. */
  starts(running: number, now: number): boolean {
    this.#lastAt = Math.min(this.#lastAt, now);
    if (now < this.dueAt) return false;
    this.#lastAt = now;
    return running < this.#limits.maxDequeueWorkers;
  }

  /** Counts the interval from now. */
  restart(now: number): void {
    this.#lastAt = now;
  }

  /** Moves its time on, because no round could start while this process slept. */
  postpone(later: Postpone): void {
    this.#lastAt = later(this.#lastAt);
  }
}
