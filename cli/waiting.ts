/**
 * Tells who sits at a terminal what the client waits for, once that takes its time.
 *
 * @module
 */

import type { Retry, RetryReason } from "../client/options.ts";
import type { Stderr } from "./stderr.ts";

/** How long nothing is said while nothing is answered, and the least time between two lines, ms. */
const QUIET_TIME = 1000;

const REASONS: Record<RetryReason, string> = {
  unconnected: "there is no connection",
  handshake: "the handshake failed",
  unanswered: "there was no answer in time",
  unavailable: "the server is shutting down",
};

/** Speaks when a second has passed without an answer, when more is known, and at retries. */
export class Waiting {
  readonly #stderr: Stderr;
  readonly #look: () => string | undefined;
  readonly #timer: ReturnType<typeof setInterval>;
  /** What was said last, to say it once. */
  #said: string | undefined;
  #saidAt = -Infinity;
  #heard = false;

  /** `look` tells what is waited for; undefined: nothing is. */
  constructor(stderr: Stderr, look: () => string | undefined) {
    this.#stderr = stderr;
    this.#look = look;
    this.#timer = setInterval(() => this.#tick(), QUIET_TIME);
  }

  /** Something was answered. */
  heard(): void {
    this.#heard = true;
    this.#said = undefined;
  }

  /** A request is sent again. */
  retry({ attempt, endpoint, reason }: Retry): void {
    const now = performance.now();
    if (now - this.#saidAt < QUIET_TIME) return;
    this.#saidAt = now;
    this.#stderr.say(`"${endpoint}": ${REASONS[reason]}, trying again after ${times(attempt)}`);
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }

  #tick(): void {
    const state = this.#look();
    if (!this.#heard && state !== undefined && state !== this.#said) {
      this.#said = state;
      this.#stderr.say(`waiting for an answer from ${state}`);
    }
    this.#heard = false;
  }
}

function times(count: number): string {
  return count === 1 ? "the first time" : `${count} times`;
}
