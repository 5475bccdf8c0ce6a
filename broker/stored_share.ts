/**
 * What stored jobs get of the workers: which one takes their next try, and how many tries the store is to be asked
 * for. When they have their turn beside requests is stored_turns.ts's business.
 *
 * @module
 */

import type { Admission } from "./admission.ts";
import type { Dispatch } from "./dispatch.ts";
import type { Worker } from "./job.ts";
import type { BrokerLimits } from "./limits.ts";
import type { Roster } from "./roster.ts";
import type { StoredTurns } from "./stored_turns.ts";
import type { Waiting } from "./waiting.ts";

/** A job costs its worker and this process at least so much, whatever its handler takes, ms. */
const MIN_HANDLER_MS = 0.02;

/** The share of one service. */
export class StoredShare<B> {
  #concurrency: number;
  readonly #turns: Pick<StoredTurns, "most">;
  readonly #waiting: Pick<Waiting<B>, "storedBytes">;
  readonly #admission: Pick<Admission<B>, "isOpen" | "isPaused">;
  readonly #roster: Roster<B>;
  readonly #dispatch: Dispatch<B>;

  /** Chooses from the workers of `roster`. */
  constructor(
    { concurrency }: Pick<BrokerLimits, "concurrency">,
    turns: Pick<StoredTurns, "most">,
    waiting: Pick<Waiting<B>, "storedBytes">,
    admission: Pick<Admission<B>, "isOpen" | "isPaused">,
    roster: Roster<B>,
    dispatch: Dispatch<B>,
  ) {
    this.#concurrency = concurrency;
    this.#turns = turns;
    this.#waiting = waiting;
    this.#admission = admission;
    this.#roster = roster;
    this.#dispatch = dispatch;
  }

  /** Applies another limit from now on. */
  configure({ concurrency }: Pick<BrokerLimits, "concurrency">): void {
    this.#concurrency = concurrency;
  }

  /** Bytes of tries that wait for a worker. */
  get bytes(): number {
    return this.#waiting.storedBytes;
  }

  /** The worker for the next try; undefined: the try waits on. */
  choose(now: number): Worker<B> | undefined {
    const { withStored, workers } = this.#roster;
    const hasRoom = withStored.size < this.#turns.most(workers.size);
    return hasRoom ? this.#dispatch.choose(now) : this.#dispatch.chooseAmong(withStored, now);
  }

  /**
   * How many tries would be started within `aheadMs`, from those that the broker has taken in on: what the share has
   * room for at once, and what is done by then if handlers take as long as they did: of that, at most `most`.
   */
  room(aheadMs: number, most: number): number {
    if (!this.#admission.isOpen || this.#admission.isPaused) return 0;
    const { workers } = this.#roster;
    if (workers.size === 0) return 0;
    const slots = Math.min(this.#turns.most(workers.size), workers.size) * this.#concurrency;
    const { mean } = this.#dispatch.times;
    const ahead = mean === undefined ? 1 : aheadMs / Math.max(mean, MIN_HANDLER_MS);
    return slots + Math.min(most, Math.floor(slots * ahead));
  }
}
