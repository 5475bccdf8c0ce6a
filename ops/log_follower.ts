/**
 * Follows a log file's path to a new file after a rotation. Decides when the path is checked; checking and
 * opening is the log's part.
 *
 * @module
 */

import type { Log } from "./log.ts";

/** How often the path is checked, ms. */
const LOOK_INTERVAL = 1000;
/** How long a path that can't be opened is left alone, ms. */
const RETRY_INTERVAL = 60_000;

/** Checks the log's path from time to time. */
export class LogFollower {
  readonly #log: Pick<Log, "moved">;
  readonly #reopen: () => boolean;
  #dueAt = -Infinity;

  /** `reopen` opens the log again; false: it could not. */
  constructor(log: Pick<Log, "moved">, reopen: () => boolean) {
    this.#log = log;
    this.#reopen = reopen;
  }

  /** Does what is due at `now`; returns ms until it must run again. */
  tick(now: number): number {
    if (now < this.#dueAt) return this.#dueAt - now;
    const failed = this.#log.moved && !this.#reopen();
    const wait = failed ? RETRY_INTERVAL : LOOK_INTERVAL;
    this.#dueAt = now + wait;
    return wait;
  }
}
