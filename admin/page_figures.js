// @ts-check
/**
 * The figures of the last 15 minutes: what the server remembers, and a step each second from then on. Pure.
 *
 * @module
 */

import { total } from "./page_words.js";

/** @import { Status } from "../ops/status.ts" */

/**
 * What the server remembers: a value for each second up to `until`, ms since 1970.
 *
 * @typedef {object} History
 * @property {number} until
 * @property {number[]} requests
 * @property {number[]} errors
 * @property {(number | null)[]} p50Ms
 * @property {(number | null)[]} p99Ms
 * @property {number[]} queue
 * @property {number[]} running
 */

/** Steps of a second that are kept. */
export const STEPS = 900;
const MINUTE = 60;
/** Seconds between two steps from which the server is asked for what is between. */
const GAP = 3;

/** @typedef {"requests" | "p50Ms" | "p99Ms" | "waiting" | "running" | "errors"} FigureName */

/** @type {readonly FigureName[]} */
const NAMES = ["requests", "p50Ms", "p99Ms", "waiting", "running", "errors"];

/** The figures of each second; null: nothing is known of it. */
export class Figures {
  /**
   * Seconds since 1970, one after the other.
   *
   * @type {number[]}
   */
  times = [];
  /** @type {Record<FigureName, (number | null)[]>} */
  values = { requests: [], p50Ms: [], p99Ms: [], waiting: [], running: [], errors: [] };

  /**
   * Takes in what the server remembers. What it does not know, as it was started again, stays.
   *
   * @param {History} history
   */
  fill(history) {
    const end = Math.floor(history.until / 1000);
    this.#moveTo(end);
    /** @type {Record<FigureName, readonly (number | null)[]>} */
    const known = { ...history, waiting: history.queue };
    for (const name of NAMES) {
      const first = end - known[name].length + 1;
      known[name].forEach((value, at) => this.#set(name, first + at, value));
    }
  }

  /**
   * Takes in a step; returns whether steps before it are missing.
   *
   * @param {Status} status
   */
  add(status) {
    const now = Math.floor((status.startedAt + status.uptime) / 1000);
    const isMissing = now - (this.times.at(-1) ?? 0) > GAP;
    this.#moveTo(now);
    const { requests, errors, p50Ms = null, p99Ms = null } = status.rates;
    const waiting = total(status, "waiting");
    const running = total(status, "running");
    const step = { requests, errors, p50Ms, p99Ms, waiting, running };
    for (const name of NAMES) this.#set(name, now, step[name]);
    return isMissing;
  }

  /** What was counted in the last minute. */
  lastMinute() {
    const sum = (/** @type {FigureName} */ name) =>
      this.values[name].slice(-MINUTE).reduce(
        (/** @type {number} */ all, value) => all + (value ?? 0),
        0,
      );
    return { requests: Math.round(sum("requests")), errors: Math.round(sum("errors")) };
  }

  /**
   * Makes a second the last one, unless it is past.
   *
   * @param {number} end
   */
  #moveTo(end) {
    const before = this.times.at(-1);
    if (before !== undefined && end <= before) return;
    const shift = Math.min(before === undefined ? STEPS : end - before, STEPS);
    this.times = Array.from({ length: STEPS }, (_, at) => end - STEPS + 1 + at);
    for (const name of NAMES) {
      const kept = this.values[name].slice(shift);
      this.values[name] = [...kept, ...Array(STEPS - kept.length).fill(null)];
    }
  }

  /**
   * @param {FigureName} name
   * @param {number} second
   * @param {number | null} value
   */
  #set(name, second, value) {
    const at = STEPS - 1 - ((this.times.at(-1) ?? 0) - second);
    if (at >= 0 && at < STEPS) this.values[name][at] = value;
  }
}
