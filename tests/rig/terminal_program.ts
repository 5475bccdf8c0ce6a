/** A program in a terminal of its own, with a window of any size: what it shows, keys, signals. */

import { path } from "./checkout.ts";
import { endNow, isAlive } from "./processes.ts";
import { Screen } from "./screen.ts";
import { bytes } from "./text.ts";
import { until, within } from "./wait.ts";

/** Python gives a program a terminal; its module for that is for Linux and macOS. */
export const hasTerminals = hasPython();

/** How a program has ended. */
export interface TerminalEnding {
  /** Its exit code, or less than 0: the signal. */
  code: number;
  /** Whether what is typed is shown again. */
  echo: boolean;
  /** Whether lines are edited again. */
  canonical: boolean;
}

/** A program in a terminal. */
export class TerminalProgram {
  readonly screen: Screen;
  readonly #child: Deno.ChildProcess;
  readonly #orders: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>;
  readonly #ending: Promise<TerminalEnding>;
  #pid: number | undefined;

  constructor(
    command: readonly string[],
    { columns = 80, rows = 24, env = {} }: {
      columns?: number;
      rows?: number;
      env?: Record<string, string>;
    } = {},
  ) {
    this.screen = new Screen(columns, rows);
    this.#child = new Deno.Command("/usr/bin/python3", {
      args: [path("tests/rig/in_terminal.py"), String(columns), String(rows), ...command],
      env,
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.#orders = this.#child.stdin.getWriter();
    this.#ending = this.#watch();
    // Who waits for the end hears of it.
    this.#ending.catch(() => {});
  }

  /** Types. */
  type(keys: string): Promise<void> {
    return this.#order({ keys });
  }

  /** Gives the window another size. */
  async resize(columns: number, rows: number): Promise<void> {
    this.screen.resize(columns, rows);
    await this.#order({ size: [columns, rows] });
  }

  /** Sends a signal by its number. */
  signal(signal: number): Promise<void> {
    return this.#order({ signal });
  }

  /** Takes the terminal away, as a connection that breaks does. */
  hangUp(): Promise<void> {
    return this.#order({ hang_up: true });
  }

  /** Waits until the screen shows this. */
  async shows(what: RegExp): Promise<void> {
    await until(`the screen shows ${what}`, () => what.test(this.screen.text)).catch((error) => {
      throw new Error(`${error.message}:\n${this.screen.text}`);
    });
  }

  /** Waits for the end. */
  ended(): Promise<TerminalEnding> {
    return within("the program in the terminal has ended", this.#ending);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#orders.close().catch(() => {});
    // The program loses its terminal with it.
    await endNow(this.#child);
    await this.#ending.catch(() => {});
    const pid = this.#pid;
    if (pid !== undefined) await until(`process ${pid} is gone`, () => !isAlive(pid));
  }

  async #order(order: object): Promise<void> {
    await this.#orders.write(bytes(`${JSON.stringify(order)}\n`));
  }

  async #watch(): Promise<TerminalEnding> {
    const said = this.#listen();
    for await (const piece of this.#child.stdout.pipeThrough(new TextDecoderStream())) {
      this.screen.write(piece);
    }
    return await said;
  }

  /** The first line has the pid, the last one the ending. */
  async #listen(): Promise<TerminalEnding> {
    let said = "";
    for await (const piece of this.#child.stderr.pipeThrough(new TextDecoderStream())) {
      said += piece;
      this.#pid ??= /"pid": (\d+)/.test(said) ? Number(/"pid": (\d+)/.exec(said)?.[1]) : undefined;
    }
    return JSON.parse(said.trim().split("\n").at(-1) ?? "");
  }
}

function hasPython(): boolean {
  try {
    const args = ["-c", "import pty, termios"];
    return new Deno.Command("/usr/bin/python3", { args, stderr: "null" }).outputSync().success;
  } catch {
    return false;
  }
}
