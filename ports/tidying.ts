/**
 * Gives memory back to the system some time after much of it was in use, which it is at a start, too. Knows no clock.
 *
 * @module
 */

/** A queue of this many jobs has taken memory that is worth being given back. */
const LONG_QUEUE = 1000;
/** The same for its bytes. */
const LARGE_QUEUE = 1024 ** 2;
/** So many messages are worth it, too: V8 gives a thread that is busy more and more room for new objects. */
const MANY_MESSAGES = 50_000;
/** With no more than these in `TIDY_DELAY` it is quiet. */
const FEW_MESSAGES = 500;
/** Memory is given back when the queue has been shorter, or it was quiet, for this long, ms. */
const TIDY_DELAY = 5000;
/** V8 gives back what is left in steps, each a task of the event loop: for so long after, these are let run, ms. */
const SETTLE_TIME = 15_000;
/** Time between two of those steps, ms. */
export const SETTLE_INTERVAL = 50;

/** What is in use at a moment. */
export interface Usage {
  /** Jobs that wait for a worker, and their bytes. */
  readonly queued: number;
  readonly queuedBytes: number;
}

/** The loop, as far as it is asked, and told. */
export interface Tidied {
  /** How many messages it has read since the start. */
  messages(): number;
  /** Whether replies wait for slow clients. */
  hasUnsent(): boolean;
  giveBack(): void;
}

/** Waits for a quiet time, then has memory given back. */
export class Tidying {
  readonly #usage: Usage;
  readonly #loop: Tidied;
  /** When memory is to be given back after the start, or a long queue, ms; Infinity: none is worth it. */
  #tidyAt: number | undefined;
  /** Whether it is for the start: V8 has nothing to give back then. */
  #isStart = true;
  /** When it is seen whether it was quiet, ms; Infinity: not before many more messages. */
  #quietAt = Infinity;
  /** Messages that had come when that was begun, and when memory was given back. */
  #before = 0;
  #tidied = 0;
  /** When the last step is made, ms. */
  #settledAt = -Infinity;
  /** Whether tasks of the event loop should be let run now, though there is nothing to wait for. */
  isSettling = false;

  /** Looks at `usage`, and at what `loop` does. */
  constructor(usage: Usage, loop: Tidied) {
    this.#usage = usage;
    this.#loop = loop;
  }

  /** Gives memory back if it is time to; returns ms until it is. */
  tick(now: number): number {
    const { queued, queuedBytes } = this.#usage;
    if (queued >= LONG_QUEUE || queuedBytes >= LARGE_QUEUE || this.#loop.hasUnsent()) {
      this.#tidyAt = now + TIDY_DELAY;
      this.#isStart = false;
      this.isSettling = false;
      return Infinity; // it ticks when the queue is shorter, too
    }
    // A start takes memory in many threads, and much of it is free then.
    this.#tidyAt ??= now + TIDY_DELAY;
    const messages = this.#loop.messages();
    this.#listen(messages, now);
    const dueAt = Math.min(this.#tidyAt, this.#quietAt);
    if (now < dueAt) return Math.min(dueAt - now, this.#settle(now)); // Infinity, mostly
    this.#tidyAt = this.#quietAt = Infinity;
    this.#tidied = messages;
    this.#loop.giveBack();
    if (!this.#isStart) this.#settledAt = now + SETTLE_TIME;
    this.#isStart = false;
    return this.#settle(now);
  }

  /** Waits for quiet once many messages have come. */
  #listen(messages: number, now: number): void {
    if (messages - this.#tidied < MANY_MESSAGES) return;
    const isFirst = this.#quietAt === Infinity;
    if (!isFirst && (now < this.#quietAt || messages - this.#before <= FEW_MESSAGES)) return;
    this.#quietAt = now + TIDY_DELAY;
    this.#before = messages;
  }

  #settle(now: number): number {
    this.isSettling = now < this.#settledAt;
    return this.isSettling ? SETTLE_INTERVAL : Infinity;
  }
}
