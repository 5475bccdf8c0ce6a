/**
 * The lines that workers print, on their way to the server's log: of each worker only so many a second.
 *
 * @module
 */

import type { Log } from "../ops/log.ts";
import { LogQuota } from "../wire/log_quota.ts";
import { type Printer, Prints } from "./prints.ts";

/** What is logged of one worker's prints in a second. */
const QUOTA = { lines: 5000, bytes: 4 * 1024 ** 2 };

/** Reads what all workers print. */
export class PrintedLines {
  readonly #log: Log;
  /** Called when `tick` is due. */
  readonly #wake: () => void;
  readonly #prints = new Prints();
  readonly #quota = new LogQuota(QUOTA);

  constructor(log: Log, wake: () => void) {
    this.#log = log;
    this.#wake = wake;
  }

  /** Logs what comes out of a stream of a worker, to its end. */
  read(worker: number, from: "stdout" | "stderr", stream: ReadableStream<Uint8Array>): void {
    this.#prints.read(stream, this.#printer(worker, from));
  }

  /** Logs how much was dropped; returns ms until it must run again. */
  tick(now: number): number {
    for (const { subject: worker, dropped } of this.#quota.report(now)) {
      this.#log.warn("a worker prints too much: lines were dropped", { worker, dropped });
    }
    return this.#quota.wait(now);
  }

  /** Reads what has been printed so far and no more. */
  close(): Promise<void> {
    return this.#prints.close();
  }

  #printer(worker: number, from: "stdout" | "stderr"): Printer {
    const level = from === "stdout" ? "info" : "warn";
    return {
      admits: (bytes) => this.#quota.admits(worker, bytes, performance.now()),
      drop: (lines) => {
        this.#quota.drop(worker, lines, performance.now());
        this.#wake();
      },
      print: (line) => this.#log[level](line, { worker, from }),
    };
  }
}
