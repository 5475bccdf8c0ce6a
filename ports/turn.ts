/**
 * The turn that the loop takes now: its time, and what has come of it so far. Every part of the loop that hears
 * something says so here.
 *
 * @module
 */

import { Ticks } from "../system/ticks.ts";

/** One of a loop's turns after the other. */
export class Turn {
  /** What is due from time to time. */
  readonly ticks = new Ticks([]);
  /** When it started, ms. */
  now = performance.now();
  /** Something was done to the broker since it started: another turn follows at once. */
  again = false;
  /** Whether the server is to be told that something has changed. */
  hasWorked = false;
  /** When something was last read from clients, ms. */
  readAt = -Infinity;

  /** Notes that something has changed: all that ticks is asked again, and the server is told. */
  worked(): void {
    this.hasWorked = true;
    this.ticks.touch();
  }
}
