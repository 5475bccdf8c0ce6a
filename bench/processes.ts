/**
 * Processes of a bench: started, waited for, ended, and what /proc tells of them.
 *
 * @module
 */

/** Nothing takes this long, however loaded the machine, ms. */
const LIMIT = 120_000;
const LOOK_INTERVAL = 10;
/** clock_gettime ticks of /proc, ms; the same on every Linux that Deno runs on. */
const TICK = 10;

const decoder = new TextDecoder();

/** What to start. */
export interface Command {
  /** The program. */
  program: string;
  /** Its arguments. */
  args: readonly string[];
  /** Which of its streams has the lines to wait for; the other one is thrown away. */
  reads: "stdout" | "stderr" | "nothing";
  /** Variables beside this process's own. */
  env?: Record<string, string>;
}

/** A process that goes on until it is told to end. */
export class Daemon implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #name: string;
  readonly #lines: string[] = [];
  #ended = false;

  /** Starts it. */
  constructor({ program, args, reads, env = {} }: Command) {
    this.#name = program;
    this.#child = new Deno.Command(program, {
      args: [...args],
      env,
      stdin: "null",
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
    const timer = setTimeout(() => this.#ended || this.#child.kill("SIGKILL"), LIMIT);
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
  const command = new Deno.Command(program, { args: [...args], ...options });
  const { success, stdout, stderr } = await command.output();
  if (success) return decoder.decode(stdout);
  throw new Error(`Cannot run "${program} ${args.join(" ")}": ${decoder.decode(stderr).trim()}`);
}

/** Whether a program is there. */
export async function isThere(program: string, ...args: string[]): Promise<boolean> {
  return await output(program, args).then(() => true, () => false);
}

/** Waits until `look` gives something. */
export async function until<T>(what: string, look: () => T | undefined): Promise<T> {
  const end = performance.now() + LIMIT;
  for (;;) {
    const seen = look();
    if (seen !== undefined) return seen;
    if (performance.now() > end) throw new Error(`Waited ${LIMIT} ms in vain until ${what}`);
    await pause(LOOK_INTERVAL);
  }
}

/** Lets time pass, ms. */
export function pause(time: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, time));
}

/** CPU time that processes have used so far, ms, in steps of 10. */
export function cpuTime(pids: readonly number[]): number {
  // proc(5): after the name in parentheses come state, … utime, stime.
  const ticks = pids.map((pid) => {
    const stat = Deno.readTextFileSync(`/proc/${pid}/stat`);
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return Number(fields[11]) + Number(fields[12]);
  });
  return TICK * sum(ticks);
}

/** The same to the microsecond, of the threads that live: for processes that do next to nothing. */
export function exactCpuTime(pids: readonly number[]): number {
  const times = pids.flatMap((pid) =>
    [...Deno.readDirSync(`/proc/${pid}/task`)].map(({ name }) => {
      const [nanoseconds] = Deno.readTextFileSync(`/proc/${pid}/task/${name}/schedstat`).split(" ");
      return Number(nanoseconds) / 1e6;
    })
  );
  return sum(times);
}

/** What a process has in memory, MB. */
export function memory(pid: number): number {
  const status = Deno.readTextFileSync(`/proc/${pid}/status`);
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]) * 1024 / 1e6;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
