/**
 * What peers do wrong: counted where it happens, and reported to the log from here, each wrong at most once
 * a second. Knows no sockets and no clock.
 *
 * @module
 */

import type { LogFields } from "../wire/job.ts";
import type { EventQueue } from "./event_queue.ts";

/** What peers do wrong, and what the log says of it. */
const WRONGS = [
  ["denied", "denied connections"],
  ["takeovers", "identities taken over by another connection"],
  ["squatters", "peers named themselves as only libzmq names peers: an attack to end the server"],
  ["malformed", "malformed requests dropped"],
  ["intruders", "messages of no worker dropped"],
  ["strayReplies", "replies of workers to no job of theirs dropped"],
  ["invalidReplies", "replies of workers without a valid code answered 500"],
  ["undelivered", "replies not delivered: the client left or took none"],
] as const;

/** A kind of wrong. */
export type Wrong = typeof WRONGS[number][0];
/** How often each was done since the start. */
export type WrongCounts = Readonly<Record<Wrong, number>>;

/** Time between two reports, ms. */
const REPORT_INTERVAL = 1000;
/** Time between two looks whether there is something new, ms: it is asked for after everything that happens. */
const LOOK_INTERVAL = 100;

/** Reports what peers do wrong. */
export class Wrongs {
  readonly #counts: () => WrongCounts;
  /** More about the last one of a wrong. */
  readonly #last: (wrong: Wrong) => LogFields;
  readonly #events: EventQueue;
  readonly #reported: Record<Wrong, number> = {
    denied: 0,
    takeovers: 0,
    squatters: 0,
    malformed: 0,
    intruders: 0,
    strayReplies: 0,
    invalidReplies: 0,
    undelivered: 0,
  };
  #reportAt = 0;
  #lookAt = 0;

  /** Has reported nothing yet. */
  constructor(
    counts: () => WrongCounts,
    last: (wrong: Wrong) => LogFields,
    events: EventQueue,
  ) {
    this.#counts = counts;
    this.#last = last;
    this.#events = events;
  }

  /** Reports what is new; returns ms until that is due. */
  tick(now: number): number {
    if (now < this.#lookAt) return this.#lookAt - now;
    this.#lookAt = now + LOOK_INTERVAL;
    const counts = this.#counts();
    if (WRONGS.every(([wrong]) => counts[wrong] === this.#reported[wrong])) return Infinity;
    if (now < this.#reportAt) return this.#reportAt - now;
    this.#reportAt = now + REPORT_INTERVAL;
    for (const [wrong, message] of WRONGS) {
      const count = counts[wrong] - this.#reported[wrong];
      if (count === 0) continue;
      this.#reported[wrong] = counts[wrong];
      const fields = { count, ...this.#last(wrong) };
      this.#events.add({ type: "log", level: "warn", message, fields });
    }
    return Infinity;
  }
}
