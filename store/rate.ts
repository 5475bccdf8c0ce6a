/**
 * How many jobs of a service may start in a time: a bucket of tokens that fills at the rate, and that each start takes
 * one from. Pure: it knows no clock and no jobs.
 *
 * @module
 */

import type { ServiceRules } from "./messages.ts";

/** A rate: see {@linkcode ServiceRules}. */
export type RateRule = ServiceRules["rate"];

/**
 * The starts of one service. Times are ms by any one clock. One that is set back fills nothing until it goes on, and one
 * that is set forth fills the bucket once.
 */
export class RateLimit {
  #rule: RateRule;
  /** What there was at `#filledAt`; a start takes 1. */
  #tokens: number;
  #filledAt: number;

  /** The bucket is full at first. */
  constructor(rule: RateRule, now: number) {
    this.#rule = rule;
    this.#tokens = mostOf(rule);
    this.#filledAt = now;
  }

  /** How many may start now; Infinity: there is no limit. */
  available(now: number): number {
    if (this.#rule.perSecond === 0) return Infinity;
    this.#fill(now);
    return Math.floor(this.#tokens + TINY);
  }

  /** Takes one start; false: none may start now. */
  take(now: number): boolean {
    const may = this.available(now) >= 1;
    if (may) this.#tokens = Math.max(0, this.#tokens - 1);
    return may;
  }

  /** Gives back a start that was taken and did not happen. */
  giveBack(): void {
    this.#tokens = Math.min(mostOf(this.#rule), this.#tokens + 1);
  }

  /** How long until the next may start, whole ms; 0: it may now. */
  waitMs(now: number): number {
    if (this.available(now) >= 1) return 0;
    return Math.max(1, Math.ceil((1 - this.#tokens) * 1000 / this.#rule.perSecond));
  }

  /** Applies another rule; what was taken stays taken. */
  configure(rule: RateRule, now: number): void {
    this.#fill(now);
    const wasLimited = this.#rule.perSecond > 0;
    this.#rule = rule;
    this.#tokens = wasLimited ? Math.min(this.#tokens, mostOf(rule)) : mostOf(rule);
  }

  #fill(now: number): void {
    const { perSecond } = this.#rule;
    const passed = Math.max(0, now - this.#filledAt);
    this.#filledAt = now;
    this.#tokens = Math.min(mostOf(this.#rule), this.#tokens + passed * perSecond / 1000);
  }
}

/** Sums of small parts may stay this much below a whole. */
const TINY = 1e-9;

/** A bucket below one token would let nothing start. */
function mostOf({ burst }: RateRule): number {
  return Math.max(1, burst);
}
