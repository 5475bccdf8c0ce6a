/**
 * Reads once a second what the data plane has measured, and keeps the history of it. Runs only where somebody can
 * look: no control socket and no HTTP, no recorder.
 *
 * @module
 */

import type { Rates } from "../ops/status.ts";
import type { Measures } from "../ports/measures.ts";
import { History, type HistoryView, STEP_MS } from "./history.ts";

/** Feeds a history until it is closed. */
export class Recorder {
  readonly #measures: () => Promise<Measures>;
  readonly #history = new History();
  readonly #timer: ReturnType<typeof setInterval>;
  #isReading = false;

  constructor(measures: () => Promise<Measures>) {
    this.#measures = measures;
    this.#timer = setInterval(() => this.#read(), STEP_MS);
    Deno.unrefTimer(this.#timer);
    this.#read();
  }

  /** See `History`. */
  rates(service?: string): Rates {
    return this.#history.rates(service);
  }

  /** The last 15 minutes. */
  get history(): HistoryView {
    return this.#history.read();
  }

  async #read(): Promise<void> {
    // A plane that is held up is not asked again before it has answered.
    if (this.#isReading) return;
    this.#isReading = true;
    try {
      const measures = await this.#measures();
      const [at, time] = [performance.now(), Date.now()];
      this.#history.add({ at, time, measures });
    } catch {
      // The server is about to end, or has; the next step is one of several seconds if not.
    } finally {
      this.#isReading = false;
    }
  }

  close(): void {
    clearInterval(this.#timer);
  }
}
