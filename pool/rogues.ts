/**
 * Which jobs use too much CPU time, by readings of what their workers' processes have used. Not here: what
 * is done about it.
 *
 * @module
 */

import type { Settings } from "../options/table.ts";
import type { Postpone } from "./slot.ts";

/** What a job may use, and how often that is checked. */
export type RogueLimits = Pick<Settings, "babysitInterval" | "rogueCpuTime">;

/** What a worker has used. */
export interface CpuReading {
  /** Whose reading this is. */
  worker: number;
  /** The job it runs; undefined: none. */
  job: number | undefined;
  /** CPU time (ms) of its process since that was started. */
  cpuTime: number;
}

/** What a reading says: the worker has no job, or another one than before; the same, within bounds or not. */
export type Finding = "other job" | "within bounds" | "rogue";

/** The first reading of each worker's job, to compare later ones with. */
export class Rogues {
  readonly #limits: Readonly<RogueLimits>;
  readonly #first = new Map<number, CpuReading>();
  #readAt = -Infinity;

  /** @param limits live: a changed one counts from the next reading. */
  constructor(limits: Readonly<RogueLimits>) {
    this.#limits = limits;
  }

  /** Whether CPU times are to be read again. */
  isDue(now: number): boolean {
    return this.#limits.babysitInterval > 0 && now >= this.dueAt;
  }

  /** When CPU times are to be read again. */
  get dueAt(): number {
    return this.#readAt + this.#limits.babysitInterval;
  }

  /** CPU times were read: `judge` is told each one that counts. */
  read(now: number): void {
    this.#readAt = now;
  }

  /** Compares a reading with the first one of the same job. */
  judge(reading: CpuReading): Finding {
    const first = this.#first.get(reading.worker);
    if (reading.job === undefined || first?.job !== reading.job) {
      this.#first.set(reading.worker, reading);
      return "other job";
    }
    const used = reading.cpuTime - first.cpuTime;
    return used > this.#limits.rogueCpuTime ? "rogue" : "within bounds";
  }

  /** Its process has ended. */
  forget(worker: number): void {
    this.#first.delete(worker);
  }

  /** Moves its time on, as nobody could read while this process slept. */
  postpone(later: Postpone): void {
    this.#readAt = later(this.#readAt);
  }
}
