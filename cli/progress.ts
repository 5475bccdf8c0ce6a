/**
 * How far `--lines` has come, as a bar on the terminal.
 *
 * @module
 */

import type { Stderr } from "./stderr.ts";

const WIDTH = 30;
/** The least time between two pictures of the bar. */
const DRAW_INTERVAL = 100;

/** A bar that is drawn over itself: `[######........................] 20 % 12 lines, 1 failed`. */
export class ProgressBar {
  readonly #stderr: Stderr;
  readonly #total: number;
  #bytes = 0;
  #lines = 0;
  #failed = 0;
  #drawnAt = -Infinity;

  /** `total`: the bytes of all lines; NaN if that is not known: then it only counts the lines. */
  constructor(stderr: Stderr, total: number) {
    this.#stderr = stderr;
    this.#total = total;
  }

  /** Counts a line of so many bytes, its newline included. */
  add(bytes: number, result: "answered" | "failed"): void {
    this.#bytes += bytes;
    this.#lines++;
    if (result === "failed") this.#failed++;
  }

  /** Draws the bar at `now` (ms), unless it was drawn a moment ago. */
  draw(now: number): void {
    if (now - this.#drawnAt < DRAW_INTERVAL) return;
    this.#drawnAt = now;
    this.#stderr.draw(this.#text());
  }

  #text(): string {
    const failed = this.#failed > 0 ? `, ${this.#failed} failed` : "";
    const counts = `${this.#lines} ${this.#lines === 1 ? "line" : "lines"}${failed}`;
    const part = Math.min(1, this.#bytes / this.#total);
    if (Number.isNaN(part)) return counts;
    const bar = "#".repeat(Math.floor(part * WIDTH)).padEnd(WIDTH, ".");
    return `[${bar}] ${Math.floor(part * 100)} % ${counts}`;
  }
}
