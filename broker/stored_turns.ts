/**
 * When tries of stored jobs have their turn beside clients' requests: these go first, but not for ever, and stored jobs
 * never have more than their share of the workers at a time. Knows no job and no clock.
 *
 * @module
 */

/** While requests wait, at least one of so many jobs that are started is a stored one. */
const EVERY = 10;
/** The share where none is given. */
const HALF = 0.5;

/** The turns of one service. */
export class StoredTurns {
  #share = HALF;
  /** Requests that were started since the last stored job, while one waited. */
  #passed = 0;

  /** Has another share from now on: a part of the workers, above 0 and up to 1. */
  configure({ jobShare = HALF }: { jobShare?: number | undefined }): void {
    this.#share = jobShare;
  }

  /** How many of so many workers may have stored jobs at a time: one at least. */
  most(workers: number): number {
    return Math.max(1, Math.floor(this.#share * workers));
  }

  /** Whether a stored job that waits goes before `requests` that wait. */
  isDue(requests: number): boolean {
    return requests === 0 || this.#passed >= this.#interval;
  }

  /** Requests that may go before one stored job: a small share has fewer turns, too. */
  get #interval(): number {
    return Math.max(EVERY, Math.ceil(1 / this.#share)) - 1;
  }

  /** A request was started while a stored job waited. */
  passed(): void {
    this.#passed++;
  }

  /** A stored job was started. */
  took(): void {
    this.#passed = 0;
  }
}
