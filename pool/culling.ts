/**
 * When idle workers that the pool does not need are retired.
 *
 * @module
 */

import type { Settings } from "../options/settings.ts";
import { type SizeLimits, unneeded } from "./scaling.ts";
import type { Load, Postpone, Slot } from "./slot.ts";

/** What bounds the pool's size, and when that is checked. */
export type CullingLimits =
  & SizeLimits
  & Pick<Settings, "checkForSpawnInterval" | "checkForWaitingInterval" | "minChildTtl">;

/** The times that idle workers are spared by: the last check, the last start, the last sleep. */
export class Culling {
  readonly #limits: Readonly<CullingLimits>;
  #checkedAt = -Infinity;
  /** When a worker for clients' jobs was last started. */
  #startedAt = -Infinity;
  /** When this process last woke from a sleep that it had not asked for. */
  #awakeAt = -Infinity;

  /** @param limits live: a changed one counts from the next check. */
  constructor(limits: Readonly<CullingLimits>) {
    this.#limits = limits;
  }

  /** When workers are checked next. */
  get dueAt(): number {
    const { checkForWaitingInterval, minChildTtl } = this.#limits;
    return Math.max(this.#checkedAt + checkForWaitingInterval, this.#startedAt + minChildTtl);
  }

  /** A worker was started. */
  started(now: number): void {
    this.#startedAt = now;
  }

  /** Members to retire, if a check is due: after `checkForSpawnInterval` without jobs all that are idle. */
  check(members: readonly Slot[], load: Load, now: number): Slot[] {
    if (now < this.dueAt) return [];
    this.#checkedAt = now;
    const quietSince = Math.max(load.lastJobAt, this.#awakeAt);
    const isQuiet = now >= quietSince + this.#limits.checkForSpawnInterval;
    return unneeded(members, load, this.#limits, isQuiet);
  }

  /** Moves its times on, because no job could come while this process slept until `now`. */
  postpone(later: Postpone, now: number): void {
    this.#checkedAt = later(this.#checkedAt);
    this.#startedAt = later(this.#startedAt);
    this.#awakeAt = now;
  }
}
