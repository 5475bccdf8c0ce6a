/**
 * What is to be done from time to time: a list of it, and a timer that runs such a list. Each entry of a
 * list has its own due time, and none hangs under another's tick.
 *
 * @module
 */

/** Something that has work to do from time to time. */
export interface Ticking {
  /**
   * Does what is due at `now` (monotonic ms), and returns ms until something is due again; Infinity: only
   * after something has happened. May be called sooner than it has asked for.
   */
  tick(now: number): number;
}

interface Entry {
  readonly ticking: Ticking;
  /** When it is to tick next, ms. */
  dueAt: number;
}

/** A list of what ticks. */
export class Ticks implements Ticking {
  readonly #entries: Entry[] = [];
  /** Something has happened since the due times were asked for. */
  #isStale = false;

  /** Makes a list whose entries are all due at once. */
  constructor(ticking: readonly Ticking[]) {
    this.add(...ticking);
  }

  /** Adds more at the end, due at once. */
  add(...ticking: readonly Ticking[]): void {
    for (const each of ticking) this.#entries.push({ ticking: each, dueAt: -Infinity });
  }

  /** Something has happened that may have changed when entries are due: all tick next time. */
  touch(): void {
    this.#isStale = true;
  }

  /** Has the entries tick that are due, in order; returns ms until the next one is. */
  tick(now: number): number {
    const all = this.#isStale;
    this.#isStale = false;
    let next = Infinity;
    for (const entry of this.#entries) {
      if (all || now >= entry.dueAt) entry.dueAt = now + entry.ticking.tick(now);
      if (entry.dueAt < next) next = entry.dueAt;
    }
    return this.#isStale ? 0 : Math.max(0, next - now);
  }
}

/** The longest time that a timer takes, ms. */
const MAX_TIMEOUT = 0x7fffffff;

/** Runs a list by a timer of its own, and at once when it is woken. */
export class TickTimer {
  readonly #ticks: Ticks;
  readonly #failed: (error: unknown) => void;
  #isOpen = true;
  #isWoken = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** When the timer fires, ms. */
  #firesAt = Infinity;

  /**
   * Runs nothing before the first `wake`.
   *
   * @param failed gets what a tick throws; the timer has stopped then.
   */
  constructor(ticks: Ticks, failed: (error: unknown) => void) {
    this.#ticks = ticks;
    this.#failed = failed;
  }

  /** Something has happened: the whole list ticks as soon as what runs now has returned. */
  wake(): void {
    this.#ticks.touch();
    if (this.#isWoken || !this.#isOpen) return;
    this.#isWoken = true;
    queueMicrotask(() => this.#run());
  }

  /** Runs nothing any more. */
  stop(): void {
    this.#isOpen = false;
    clearTimeout(this.#timer);
  }

  #run(): void {
    this.#isWoken = false;
    if (!this.#isOpen) return;
    const now = performance.now();
    try {
      this.#sleep(this.#ticks.tick(now), now);
    } catch (error) {
      this.stop();
      this.#failed(error);
    }
  }

  /** A timer that fires too soon stays: under load there are many runs, and few of them change it. */
  #sleep(time: number, now: number): void {
    const dueAt = now + time;
    if (dueAt >= this.#firesAt || time === Infinity || !this.#isOpen) return;
    clearTimeout(this.#timer);
    this.#firesAt = dueAt;
    this.#timer = setTimeout(() => {
      this.#firesAt = Infinity;
      this.#run();
    }, Math.min(Math.ceil(time), MAX_TIMEOUT));
  }
}
