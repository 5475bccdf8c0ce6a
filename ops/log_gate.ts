/**
 * How much each worker may write to the log: so much a second, and what is more is counted. Has no clock
 * of its own.
 *
 * @module
 */

import { Rate } from "../wire/rate.ts";

/** What passes in a second. */
export interface GateLimits {
  lines: number;
  bytes: number;
}

interface Entry {
  lines: Rate;
  bytes: Rate;
  dropped: number;
  seenAt: number;
}

/** How often it is told what was dropped, ms. */
const REPORT_INTERVAL = 1000;
/** Who has said nothing for so long is forgotten, ms. */
const FORGET_AFTER = 10_000;

/** Lets lines pass, of each subject so many. */
export class LogGate {
  readonly #limits: GateLimits;
  readonly #entries = new Map<number, Entry>();
  #dropped = 0;
  #reportAt = 0;

  /** Makes a gate with these limits for each subject. */
  constructor(limits: GateLimits) {
    this.#limits = limits;
  }

  /** Whether a line of so many bytes passes; if not, it is counted. */
  admits(subject: number, bytes: number, now: number): boolean {
    const entry = this.#entryOf(subject);
    entry.seenAt = now;
    if (entry.lines.has(now) && entry.bytes.has(now)) {
      entry.lines.take(1);
      entry.bytes.take(bytes);
      return true;
    }
    this.drop(subject, 1, now);
    return false;
  }

  /** Counts lines that were dropped before they came here. */
  drop(subject: number, lines: number, now: number): void {
    if (this.#dropped === 0) this.#reportAt = now + REPORT_INTERVAL;
    this.#dropped += lines;
    this.#entryOf(subject).dropped += lines;
  }

  /** ms until there is something to report; Infinity: nothing was dropped. */
  wait(now: number): number {
    return this.#dropped === 0 ? Infinity : Math.max(0, this.#reportAt - now);
  }

  /** Lines that were dropped since the last report, by subject; nothing if that was a moment ago. */
  report(now: number): { subject: number; dropped: number }[] {
    if (this.wait(now) > 0) return [];
    this.#dropped = 0;
    const report: { subject: number; dropped: number }[] = [];
    for (const [subject, entry] of this.#entries) {
      if (entry.dropped > 0) report.push({ subject, dropped: entry.dropped });
      else if (now - entry.seenAt > FORGET_AFTER) this.#entries.delete(subject);
      entry.dropped = 0;
    }
    return report;
  }

  #entryOf(subject: number): Entry {
    const known = this.#entries.get(subject);
    if (known !== undefined) return known;
    const { lines, bytes } = this.#limits;
    const entry = { lines: new Rate(lines), bytes: new Rate(bytes), dropped: 0, seenAt: 0 };
    this.#entries.set(subject, entry);
    return entry;
  }
}
