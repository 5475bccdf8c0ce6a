/**
 * The workers of a queue of jobs, where each is a process of one program.
 *
 * @module
 */

import { type Command, Daemon } from "./daemon.ts";

/** So many processes, which are there while jobs may run. */
export class JobWorkers implements AsyncDisposable {
  readonly #count: number;
  #running: AsyncDisposableStack | undefined;

  /** Starts none. */
  constructor(count: number) {
    this.#count = count;
  }

  /** Starts them, and waits until each has said that it is ready; does nothing while they are there. */
  async start(command: Pick<Command, "program" | "args">): Promise<void> {
    if (this.#running !== undefined) return;
    const running = this.#running = new AsyncDisposableStack();
    const workers = Array.from(
      { length: this.#count },
      () => running.use(new Daemon({ ...command, reads: "stdout" })),
    );
    for (const worker of workers) await worker.line("that it is ready", () => true);
  }

  /** Ends them. */
  async stop(): Promise<void> {
    await this.#running?.[Symbol.asyncDispose]();
    this.#running = undefined;
  }

  /** Ends them. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }
}
