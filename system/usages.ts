/**
 * What processes use of the machine: memory and CPU time, read at most once a second for each.
 *
 * @module
 */

import { cpuTime, residentMemory } from "./proc.ts";

/** What a process uses; undefined where that can't be read. */
export interface Usage {
  /** Memory that it has (RSS). */
  residentBytes: number | undefined;
  /** CPU time since its start. */
  cpuMs: number | undefined;
}

/** A reading is used again for so long, ms. */
const MAX_AGE = 1000;
/** One that nobody has asked for that long is forgotten, ms. */
const FORGET_AFTER = 10_000;

/** Readings of processes. */
export class Usages {
  readonly #read: (pid: number) => Usage;
  readonly #usages = new Map<number, { usage: Usage; at: number }>();
  #cleanAt = 0;

  /** `read` is for tests. */
  constructor(read: (pid: number) => Usage = readUsage) {
    this.#read = read;
  }

  /** What a process uses, as of the last second. */
  of(pid: number, now: number): Usage {
    this.#forget(now);
    const known = this.#usages.get(pid);
    if (known !== undefined && now - known.at < MAX_AGE) return known.usage;
    const usage = this.#read(pid);
    this.#usages.set(pid, { usage, at: now });
    return usage;
  }

  #forget(now: number): void {
    if (now < this.#cleanAt) return;
    this.#cleanAt = now + FORGET_AFTER;
    for (const [pid, { at }] of this.#usages) {
      if (now - at >= FORGET_AFTER) this.#usages.delete(pid);
    }
  }
}

function readUsage(pid: number): Usage {
  return { residentBytes: residentMemory(pid), cpuMs: cpuTime(pid) };
}
