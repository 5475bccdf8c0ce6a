/**
 * The workers of a pool, each from the decision to start it until its process has ended. Not here: how
 * many there should be.
 *
 * @module
 */

import { type Purpose, Slot } from "./slot.ts";

/** Workers by id. */
export class Slots {
  readonly #slots = new Map<number, Slot>();
  readonly #nextWorker: () => number;

  /** @param nextWorker gives each worker its number: none twice. */
  constructor(nextWorker: () => number) {
    this.#nextWorker = nextWorker;
  }

  /** How many processes there are, or are about to be. */
  get size(): number {
    return this.#slots.size;
  }

  /** A worker whose process has not ended. */
  get(worker: number): Slot | undefined {
    return this.#slots.get(worker);
  }

  /** All of them, the oldest first. */
  [Symbol.iterator](): IterableIterator<Slot> {
    return this.#slots.values();
  }

  /** A new one. */
  add(
    start: { purpose: Purpose; generation: number; replaces: number | undefined },
    now: number,
  ): Slot {
    const slot = new Slot({ worker: this.#nextWorker(), ...start }, now);
    this.#slots.set(slot.worker, slot);
    return slot;
  }

  /** Its process has ended, or was never made. */
  remove(worker: number): void {
    this.#slots.delete(worker);
  }

  /** Those that serve clients' jobs, or will when they have started. */
  serving(): Slot[] {
    return [...this.#slots.values()].filter((slot) => slot.isServing);
  }

  /** Those that are not ready yet. */
  starting(): Slot[] {
    return this.serving().filter(({ state }) => state === "starting");
  }

  /** Those that serve clients' jobs now. */
  ready(): Slot[] {
    return this.serving().filter(({ state }) => state === "ready");
  }

  /** The pool's size is theirs: all that serve or will, but replacements of workers that are ready. */
  members(): Slot[] {
    return this.serving().filter((slot) => !this.isReplacement(slot));
  }

  /** Whether a worker is to take the place of one that is still ready. */
  isReplacement({ state, replaces }: Slot): boolean {
    if (state !== "starting" || replaces === undefined) return false;
    return this.#slots.get(replaces)?.state === "ready";
  }

  /** Processes that serve, or have served and leave. */
  processes(): Slot[] {
    return [...this.#slots.values()].filter(({ purpose }) => purpose === "serve");
  }

  /** Workers for clients' jobs by their state, and dequeue workers of any state. */
  counts(): Record<"starting" | "ready" | "stopping" | "dequeue", number> {
    const counts = { starting: 0, ready: 0, stopping: 0, dequeue: 0 };
    for (const slot of this.#slots.values()) {
      if (slot.purpose === "dequeue") counts.dequeue++;
      else if (slot.isLeaving) counts.stopping++;
      else if (slot.state === "ready") counts.ready++;
      else counts.starting++;
    }
    return counts;
  }
}
