/** The memory of a process over time. */

import { residentMemory } from "../../system/proc.ts";

/** Reads how much memory a process has, again and again, until it is disposed of. */
export class MemoryWatch {
  readonly #pid: number;
  readonly #timer: ReturnType<typeof setInterval>;
  #mostBytes = 0;

  constructor(pid: number, intervalMs = 50) {
    this.#pid = pid;
    this.#timer = setInterval(() => this.bytes, intervalMs);
  }

  /** What it has now. */
  get bytes(): number {
    const bytes = residentMemory(this.#pid) ?? 0;
    this.#mostBytes = Math.max(this.#mostBytes, bytes);
    return bytes;
  }

  /** The most that it had at any reading. */
  get mostBytes(): number {
    return this.#mostBytes;
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}
