/**
 * Programs of a bench: those that go on until they are stopped, and those that run to their end.
 *
 * @module
 */

import { run } from "../tests/rig/commands.ts";
import { until } from "../tests/rig/wait.ts";

/** How long a program has to end after TERM, ms. */
const PATIENCE = 120_000;

/** What to start. */
export interface Command {
  /** The program. */
  program: string;
  /** Its arguments. */
  args: readonly string[];
  /** Which of its streams has the lines to wait for; the other one is thrown away. */
  reads: "stdout" | "stderr" | "nothing";
  /** Whether its stdin stays open until it is disposed of, or is empty. @default {"null"} */
  stdin?: "piped" | "null";
  /** Variables in addition to those of this process. */
  env?: Record<string, string>;
}

/** A process that goes on until it is disposed of. */
export class Daemon implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #name: string;
  readonly #lines: string[] = [];
  #ended = false;

  /** Starts it. */
  constructor({ program, args, reads, stdin = "null", env = {} }: Command) {
    this.#name = program;
    this.#child = new Deno.Command(program, {
      args: [...args],
      env,
      stdin,
      stdout: reads === "stdout" ? "piped" : "null",
      stderr: reads === "stderr" ? "piped" : "null",
    }).spawn();
    this.#child.status.then(() => this.#ended = true);
    if (reads !== "nothing") this.#collect(this.#child[reads]);
  }

  /** The process. */
  get pid(): number {
    return this.#child.pid;
  }

  /** All lines so far. */
  get lines(): readonly string[] {
    return this.#lines;
  }

  /** The first line that `find` makes something of. */
  async line<T>(what: string, find: (line: string) => T | undefined): Promise<T> {
    return await until(`${this.#name} says ${what}`, () => {
      for (const line of this.#lines) {
        const found = find(line);
        if (found !== undefined) return found;
      }
      if (!this.#ended) return undefined;
      throw new Error(`Cannot go on as "${this.#name}" has ended: ${this.#lines.slice(-3)}`);
    });
  }

  /** Ends it. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#ended) this.#child.kill("SIGTERM");
    const timer = setTimeout(() => this.#ended || this.#child.kill("SIGKILL"), PATIENCE);
    await this.#child.status;
    clearTimeout(timer);
  }

  async #collect(stream: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<void> {
    let rest = "";
    for await (const text of stream.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + text).split("\n");
      rest = lines.pop() ?? "";
      this.#lines.push(...lines);
    }
  }
}

/** Runs a command to its end and gives what it printed. */
export async function output(
  program: string,
  args: readonly string[],
  options: { cwd?: string } = {},
): Promise<string> {
  const { code, stdout, stderr } = await run(program, [...args], options);
  if (code === 0) return stdout;
  throw new Error(`Cannot run "${program} ${args.join(" ")}": ${stderr.trim()}`);
}

/** Whether a program is there. */
export async function isThere(program: string, ...args: string[]): Promise<boolean> {
  return await output(program, args).then(() => true, () => false);
}
