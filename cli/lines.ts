/**
 * `--lines` of the client's command: each line is a request, some at a time, and the replies are printed in
 * the order of the lines.
 *
 * @module
 */

import { setImmediate } from "node:timers";
import type { Client } from "../client.ts";
import type { RequestOptions } from "../client/options.ts";
import { Reply } from "../client/reply.ts";
import { type Input, readLines } from "./input.ts";
import { Exit, exitCodeOf, explain } from "./outcome.ts";
import { ReplyOutput } from "./reply_output.ts";
import type { ProgressBar } from "./progress.ts";
import type { Stderr } from "./stderr.ts";

/** Lines that may wait for an earlier line's reply, for each request that may be under way. */
const UNPRINTED_PER_JOB = 16;

/** What a run needs. */
export interface LinesOptions {
  /** Whom to ask. */
  client: Pick<Client, "request">;
  /** What all requests have in common. */
  request: RequestOptions;
  /** Where the lines come from. */
  inputs: readonly Input[];
  /** How many requests may be under way at a time. */
  jobs: number;
  /** Prints no newline after each frame. */
  raw: boolean;
  /** Where failures are reported. */
  stderr: Stderr;
  /** Shows how far the run has come, if that is wanted. */
  bar: ProgressBar | undefined;
  /** Called when a line was answered, also by an error. */
  heard(): void;
}

/** A line, and what became of it. */
interface Line {
  number: number;
  bytes: number;
  outcome: Reply | Error | undefined;
}

/** Asks the lines and prints the replies. */
export class LineRun {
  readonly #options: LinesOptions;
  readonly #output: ReplyOutput;
  /** Lines that were asked and not printed, in their order. */
  readonly #unprinted: Line[] = [];
  #asked = 0;
  #underWay = 0;
  #allAsked = false;
  #worst: number = Exit.answered;
  /** Resolves when a line was asked, answered or printed. */
  #change = Promise.withResolvers<void>();

  /** Reads and asks nothing yet. */
  constructor(options: LinesOptions) {
    this.#options = options;
    this.#output = new ReplyOutput(options);
  }

  /**
   * Runs to the end of the input; returns the worst line's exit status.
   *
   * @throws when the input can't be read or standard output fails.
   */
  async run(): Promise<number> {
    try {
      await Promise.all([this.#askAll(), this.#printAll()]);
    } finally {
      this.#options.stderr.erase();
    }
    return this.#worst;
  }

  async #askAll(): Promise<void> {
    const { inputs, jobs } = this.#options;
    for await (const line of readLines(inputs)) {
      while (this.#underWay >= jobs || this.#unprinted.length >= jobs * UNPRINTED_PER_JOB) {
        await this.#change.promise;
      }
      this.#ask(line);
    }
    this.#allAsked = true;
    this.#changed();
  }

  #ask(bytes: Uint8Array): void {
    const line: Line = { number: ++this.#asked, bytes: bytes.length + 1, outcome: undefined };
    this.#unprinted.push(line);
    this.#underWay++;
    const { client, request } = this.#options;
    // Without a signal, which may give any reason, it rejects with errors only.
    client.request(bytes, request).then(
      (reply) => this.#end(line, reply),
      (error: Error) => this.#end(line, error),
    );
  }

  #end(line: Line, outcome: Reply | Error): void {
    line.outcome = outcome;
    this.#underWay--;
    this.#options.heard();
    this.#changed();
  }

  async #printAll(): Promise<void> {
    while (!this.#allAsked || this.#unprinted.length > 0) {
      await this.#change.promise;
      // First all end whose replies came together, and the client sends what is asked next.
      await new Promise((resolve) => setImmediate(resolve));
      this.#printEnded();
      this.#changed();
    }
  }

  /** Prints what has ended, up to the first line that has not. */
  #printEnded(): void {
    while (this.#unprinted[0]?.outcome !== undefined) {
      const line = this.#unprinted.shift();
      if (line?.outcome !== undefined) this.#print(line, line.outcome);
    }
    this.#output.flush();
    this.#options.bar?.draw(performance.now());
  }

  #print({ number, bytes }: Line, outcome: Reply | Error): void {
    const { bar, stderr } = this.#options;
    bar?.add(bytes, outcome instanceof Reply ? "answered" : "failed");
    if (outcome instanceof Reply) return this.#output.add(outcome);
    // The replies of earlier lines go first, wherever both streams lead.
    this.#output.flush();
    stderr.say(`line ${number}: ${explain(outcome)}`);
    this.#worst = Math.max(this.#worst, exitCodeOf(outcome));
  }

  #changed(): void {
    this.#change.resolve();
    this.#change = Promise.withResolvers();
  }
}
