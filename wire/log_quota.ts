/**
 * How much each worker may write to the log in a second. Lines beyond that are dropped and counted. Has
 * no clock of its own.
 *
 * @module
 */

import { Rate } from "./rate.ts";

/** What each subject may write in a second. */
export interface QuotaLimits {
  lines: number;
  bytes: number;
}

interface Entry {
  lines: Rate;
  bytes: Rate;
  dropped: number;
  seenAt: number;
}

/** Time between two reports of what was dropped, ms. */
const REPORT_INTERVAL = 1000;
/** A subject that has written nothing for this long is forgotten, ms. */
const FORGET_AFTER = 10_000;

/** Bounds the log lines of each subject, which is a worker's number. */
export class LogQuota {
  readonly #limits: QuotaLimits;
  readonly #entries = new Map<number, Entry>();
  #dropped = 0;
  #reportAt = 0;

  /** Applies the same limits to each subject. */
  constructor(limits: QuotaLimits) {
    this.#limits = limits;
  }

  /** Whether a line of `bytes` bytes may be written; if not, it counts as dropped. */
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

  /** Counts lines that were dropped elsewhere. */
  drop(subject: number, lines: number, now: number): void {
    if (this.#dropped === 0) this.#reportAt = now + REPORT_INTERVAL;
    this.#dropped += lines;
    this.#entryOf(subject).dropped += lines;
  }

  /** ms until the next report is due; Infinity: nothing was dropped. */
  wait(now: number): number {
    return this.#dropped === 0 ? Infinity : Math.max(0, this.#reportAt - now);
  }

  /** Lines dropped since the last report, by subject; empty while no report is due. */
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
