/**
 * Which jobs use too much CPU time, by readings of what their workers' processes have used, and what their
 * workers are sent for it. Not here: who reads and sends.
 *
 * @module
 */

import type { Settings } from "../options/settings.ts";
import type { KillSignal, Postpone, Slot } from "./slot.ts";

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

  /** CPU times were read, and `judge` is given each of them. */
  read(now: number): void {
    this.#readAt = now;
  }

  /**
   * Judges a worker by a reading: the signal that it is to be sent, harsher each time; undefined: none. The
   * first one interrupts the job, from which the worker may recover; the next ones are for it to end.
   */
  judge(slot: Slot, reading: CpuReading, now: number): KillSignal | undefined {
    if (!isJudged(slot)) return undefined;
    const used = this.#usedBy(reading);
    if (used === undefined) slot.clear();
    const isRogue = used !== undefined && used > this.#limits.rogueCpuTime;
    if (!isRogue || slot.state === "killed") return undefined;
    if (slot.signal === undefined) slot.suspect();
    else slot.stop("rogue", now);
    return harsher(slot.signal);
  }

  /** CPU time since the first reading of the same job; undefined: it has another job now, or none. */
  #usedBy(reading: CpuReading): number | undefined {
    const first = this.#first.get(reading.worker);
    if (first?.job !== undefined && first.job === reading.job) {
      return reading.cpuTime - first.cpuTime;
    }
    this.#first.set(reading.worker, reading);
    return undefined;
  }

  /** Its process has ended. */
  forget(worker: number): void {
    this.#first.delete(worker);
  }

  /** Moves its time on, because nothing was read while this process slept. */
  postpone(later: Postpone): void {
    this.#readAt = later(this.#readAt);
  }
}

/** A recycled worker has all the time it wants, unless it is a rogue. */
function isJudged({ state, reason }: Slot): boolean {
  return state === "ready" || reason === "rogue" || reason === "recycled";
}

function harsher(signal: KillSignal | undefined): KillSignal {
  if (signal === undefined) return "SIGINT";
  return signal === "SIGINT" ? "SIGTERM" : "SIGKILL";
}
