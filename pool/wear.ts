/**
 * When a worker is worn and is to be recycled: after so many answered jobs, with so much memory, at such
 * an age. Each worker has limits of its own, so that not all reach them together.
 *
 * @module
 */

import type { Settings } from "../options/settings.ts";
import type { Load, Slot, WearCause } from "./slot.ts";

/** When workers are recycled; 0 stands for never. */
export type WearLimits = Pick<
  Settings,
  | "maxRequests"
  | "maxRequestsJitter"
  | "maxMemory"
  | "maxMemoryJitter"
  | "maxAge"
  | "maxAgeJitter"
>;

/** How much memory a worker has. */
export interface MemoryReading {
  /** Whose reading this is. */
  worker: number;
  /** Bytes of its process that are in memory. */
  bytes: number;
}

/** The time between two readings of memory. */
const MEMORY_INTERVAL_MS = 1_000;

/** Each worker's own limits, and its memory when that was last read. */
export class Wear {
  readonly #limits: Readonly<WearLimits>;
  readonly #random: () => number;
  readonly #bounds = new Map<number, Record<WearCause, number>>();
  readonly #memory = new Map<number, number>();
  #readAt = -Infinity;

  /**
   * @param limits live: a changed one is for workers that become ready later.
   * @param random gives numbers from 0 to 1, for the jitter.
   */
  constructor(limits: Readonly<WearLimits>, random: () => number) {
    this.#limits = limits;
    this.#random = random;
  }

  /** Gives a worker that is ready limits of its own. */
  draw(worker: number): void {
    const { maxRequests, maxRequestsJitter, maxMemory, maxMemoryJitter } = this.#limits;
    const { maxAge, maxAgeJitter } = this.#limits;
    this.#bounds.set(worker, {
      requests: this.#spread(maxRequests, maxRequestsJitter),
      memory: this.#spread(maxMemory, maxMemoryJitter),
      age: this.#spread(maxAge, maxAgeJitter),
    });
  }

  #spread(limit: number, jitter: number): number {
    if (limit === 0) return Infinity;
    return Math.max(1, Math.round(limit * (1 + jitter * (2 * this.#random() - 1))));
  }

  /** Whether the workers' memory is to be read again. */
  isDue(now: number): boolean {
    return this.#limits.maxMemory > 0 && now >= this.#readAt + MEMORY_INTERVAL_MS;
  }

  /** The memory of some workers was read. */
  read(readings: readonly MemoryReading[], now: number): void {
    this.#readAt = now;
    for (const { worker, bytes } of readings) this.#memory.set(worker, bytes);
  }

  /** The limit that a ready worker has reached; undefined: none. */
  causeFor(slot: Slot, load: Load, now: number): WearCause | undefined {
    const bounds = this.#bounds.get(slot.worker);
    if (bounds === undefined) return undefined;
    const answered = load.answered(slot.worker);
    if (answered >= bounds.requests) return "requests";
    // A worker that never had a job has the memory that a new one would have.
    const isUsed = answered > 0 || load.busy(slot.worker);
    if (isUsed && (this.#memory.get(slot.worker) ?? 0) >= bounds.memory) return "memory";
    return slot.age(now) >= bounds.age ? "age" : undefined;
  }

  /** Its process has ended. */
  forget(worker: number): void {
    this.#bounds.delete(worker);
    this.#memory.delete(worker);
  }
}
