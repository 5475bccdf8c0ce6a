/**
 * Reports at a terminal what the client waits for, when that takes long.
 *
 * @module
 */

import type { Retry, RetryReason } from "../client/options.ts";
import type { Stderr } from "./stderr.ts";

/** A wait is reported after this time without an answer; two lines are at least this far apart. */
const QUIET_MS = 1000;

const REASONS: Record<RetryReason, string> = {
  unconnected: "there is no connection",
  handshake: "the handshake failed",
  unanswered: "there was no answer in time",
  unavailable: "the server is shutting down",
};

/** Reports a wait after a second without an answer, again when more is known, and at retries. */
export class Waiting {
  readonly #stderr: Stderr;
  readonly #look: () => string | undefined;
  readonly #timer: ReturnType<typeof setInterval>;
  /** The wait that was reported last, to report it once. */
  #said: string | undefined;
  #saidAt = -Infinity;
  #heard = false;

  /** `look` returns what the client waits for, as half a sentence; undefined: it waits for nothing. */
  constructor(stderr: Stderr, look: () => string | undefined) {
    this.#stderr = stderr;
    this.#look = look;
    this.#timer = setInterval(() => this.#tick(), QUIET_MS);
  }

  /** Something was answered. */
  heard(): void {
    this.#heard = true;
    this.#said = undefined;
  }

  /** A request is sent again. */
  retry({ attempt, endpoint, reason }: Retry): void {
    const now = performance.now();
    if (now - this.#saidAt < QUIET_MS) return;
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
