/**
 * How far `--lines` or a handler has come, as a bar on the terminal.
 *
 * @module
 */

import type { Progress } from "../client/options.ts";
import type { Stderr } from "./stderr.ts";

const WIDTH = 30;
/** The most of a note that is shown; a terminal has 80 columns. */
const NOTE_LENGTH = 40;
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
    return withBar(this.#bytes / this.#total, counts);
  }
}

/** A bar of what a handler says: `[######........................] 20 % its note`. */
export class HandlerBar {
  readonly #stderr: Stderr;
  #drawnAt = -Infinity;

  /** Draws nothing yet. */
  constructor(stderr: Stderr) {
    this.#stderr = stderr;
  }

  /** Draws it at `now` (ms), unless it was drawn a moment ago and has not come to its end. */
  draw({ done, total = NaN, note }: Progress, now: number): void {
    if (now - this.#drawnAt < DRAW_INTERVAL && done !== total) return;
    this.#drawnAt = now;
    const line = printable(note);
    this.#stderr.draw(withBar(done / total, Number.isNaN(total) ? `${done} ${line}` : line));
  }
}

/** A text of the server's, which must neither move the cursor nor need a second line. */
function printable(text: string): string {
  return text.replace(/\p{C}+/gu, " ").trim().slice(0, NOTE_LENGTH);
}

/** `part`: from 0 to 1, or NaN where that is not known. */
function withBar(part: number, text: string): string {
  if (Number.isNaN(part)) return text.trim();
  const share = Math.min(1, Math.max(0, part));
  const bar = "#".repeat(Math.floor(share * WIDTH)).padEnd(WIDTH, ".");
  return `[${bar}] ${Math.floor(share * 100)} % ${text}`.trim();
}
