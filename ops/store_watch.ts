/**
 * When the thread of the store is held to be gone, and when another one is started in its place. Time is passed in, ms.
 * Knows no thread: whoever has one reports what it does (store_host.ts).
 *
 *     none ─started→ opening ─answered→ open
 *      ↑ │              │                │
 *      │ due            │                │
 *      │ ↓              │                │
 *     resting ←─ lost ──┴────────────────┘
 *
 * @module
 */

/** A thread is asked so often whether it still answers. */
const PULSE_INTERVAL = 5000;
/**
 * Questions that an open store may leave unanswered: 30 s. They are counted, so that a machine that was asleep holds
 * nobody to be gone.
 */
const OPEN_PATIENCE = 6;
/** The same of a store that is being opened, 2 min: a large file that was not closed takes long. Doubled each time. */
const OPENING_PATIENCE = 24;
const MOST_PATIENCE = 16 * OPENING_PATIENCE;
/** Time before a store is started again; doubled each time, unless it had been open for a while. */
const FIRST_REST = 1000;
const MOST_REST = 60_000;
const STEADY_AFTER = 60_000;

/** What is to be done now: start a thread, ask it for a sign of life, or hold it to be gone. */
export type StoreStep = "start" | "ask" | "giveUp" | undefined;

/** Watches over the thread of one store. */
export class StoreWatch {
  #state: "none" | "opening" | "open" | "resting" = "none";
  /** When something is due; while it rests: when it starts again. */
  #dueAt = Infinity;
  #openedAt = 0;
  /** Questions without an answer since the last one. */
  #unanswered = 0;
  #patience = OPENING_PATIENCE;
  #restMs = FIRST_REST;

  /** How long until a thread may be started, ms. */
  restMs(now: number): number {
    return this.#state === "resting" ? Math.max(0, this.#dueAt - now) : 0;
  }

  /** A thread was started. */
  started(now: number): void {
    this.#state = "opening";
    this.#unanswered = 0;
    this.#dueAt = now + PULSE_INTERVAL;
  }

  /** It has given a sign of life. */
  answered(now: number): void {
    this.#unanswered = 0;
    if (this.#state !== "opening") return;
    this.#state = "open";
    this.#openedAt = now;
    this.#patience = OPENING_PATIENCE;
  }

  /** It is gone; returns how long nothing is started, ms. */
  lost(now: number): number {
    const isSteady = this.#state === "open" && now - this.#openedAt >= STEADY_AFTER;
    if (this.#state === "opening") this.#patience = Math.min(MOST_PATIENCE, 2 * this.#patience);
    const rest = isSteady ? FIRST_REST : this.#restMs;
    this.#restMs = Math.min(MOST_REST, 2 * rest);
    this.#state = "resting";
    this.#dueAt = now + rest;
    return rest;
  }

  /** What is due; each step is given once. */
  step(now: number): StoreStep {
    if (now < this.#dueAt || this.#state === "none") return undefined;
    if (this.#state === "resting") {
      this.#state = "none";
      this.#dueAt = Infinity;
      return "start";
    }
    if (this.#unanswered >= (this.#state === "open" ? OPEN_PATIENCE : this.#patience)) {
      return "giveUp";
    }
    this.#unanswered++;
    this.#dueAt = now + PULSE_INTERVAL;
    return "ask";
  }

  /** How long until something is due, ms. */
  waitMs(now: number): number {
    return Math.max(0, this.#dueAt - now);
  }

  /** How long a thread that is given up now has not answered, s. */
  get silenceS(): number {
    return this.#unanswered * PULSE_INTERVAL / 1000;
  }
}
