/**
 * How a server stops: when its workers are told to leave, and when it has ended. A state machine without a
 * clock: it knows neither workers nor sockets, and says what is due.
 *
 *     serving ─start→ draining ─(all served, or time is up)→ stopping ─(all answered)→ ended
 *         └──────────────────── kill ───────────────────────────↑
 *
 * @module
 */

/** Where a server is in its stop. */
export type Phase = "serving" | "draining" | "stopping" | "ended";

/** How things are. Times are ms. */
export interface Rest {
  /** Whether no job waits and none runs. */
  isIdle: boolean;
  /** Whether the last worker has left. */
  isDeserted: boolean;
  /** Whether replies wait for slow clients. */
  hasUnsent: boolean;
  /** When something was last read from clients. */
  readAt: number;
}

/** What is due: workers are told to leave, or the server ends. */
export type Step = "stopWorkers" | "end";

/** A stop is over when nothing was read from clients for this time, ms. */
const QUIET_TIME = 25;
/** Clients that go on asking after the last worker has left are not waited for longer than this, ms. */
const LAST_REQUESTS_TIME = 250;

/** The stop of one server. */
export class Shutdown {
  #phase: Phase = "serving";
  /** When workers are told to leave though requests still wait. */
  #stopAt = Infinity;
  /** When the server ends though clients have not taken their replies. */
  #endAt = Infinity;
  /** When the last worker had left. */
  #desertedAt: number | undefined;

  /** Where the server is in its stop. */
  get phase(): Phase {
    return this.#phase;
  }

  /** When the server ends at the latest; Infinity while it serves. */
  get endAt(): number {
    return this.#endAt;
  }

  /** Starts to stop within `timeout` ms; false: that was started before. */
  start(queued: "serve" | "refuse", timeout: number, now: number): boolean {
    if (this.#phase !== "serving") return false;
    this.#phase = "draining";
    this.#endAt = now + timeout;
    this.#stopAt = queued === "serve" ? this.#endAt : now;
    return true;
  }

  /** Waits for nobody any more: the workers are killed. */
  kill(now: number): void {
    if (this.#phase !== "ended") this.#phase = "stopping";
    this.#endAt = now;
  }

  /** What is due at `now`; undefined: nothing is. */
  next(now: number, rest: Rest): Step | undefined {
    if (this.#phase === "draining" && (rest.isIdle || now >= this.#stopAt)) {
      this.#phase = "stopping";
      return "stopWorkers";
    }
    if (this.#phase !== "stopping" || this.wait(now, rest) > 0) return undefined;
    this.#phase = "ended";
    return "end";
  }

  /** ms until something is due, if nothing happens before. */
  wait(now: number, rest: Rest): number {
    if (this.#phase === "draining") return this.#stopAt - now;
    if (this.#phase !== "stopping" || !rest.isDeserted) return Infinity;
    if (rest.hasUnsent) return this.#endAt - now;
    // What clients had sent before the stop is answered, even if the system still holds it.
    this.#desertedAt ??= now;
    const quietAt = Math.min(rest.readAt + QUIET_TIME, this.#desertedAt + LAST_REQUESTS_TIME);
    return Math.min(quietAt, this.#endAt) - now;
  }
}
