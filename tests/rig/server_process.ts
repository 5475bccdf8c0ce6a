/** A server in a process of its own, as an operator starts it. */

import { path } from "./checkout.ts";
import { Folder } from "./folder.ts";
import type { LogLine } from "./log_lines.ts";
import { type Feature, serverFlags } from "./permissions.ts";
import { endNow, isAlive } from "./processes.ts";
import { until, within } from "./wait.ts";

/** Where servers put their private folders, so that a killed one leaves nothing behind. */
const temporary = new Folder();
// Workers that run as another user must get through it to the server's socket.
Deno.chmodSync(temporary.path, 0o711);
globalThis.addEventListener("unload", () => temporary[Symbol.dispose]());

/** Variables of every server that is a process of its own. */
export const ENVIRONMENT = { TMPDIR: temporary.path };

export interface ServerOptions {
  /** Arguments of mod.ts, in addition to the frontend (port 0) and the log's format. */
  args?: string[];
  /** Source of the handler module; the echo without it. */
  handler?: string;
  /** Environment of the server, in addition to the test's own. */
  env?: Record<string, string>;
  /** Features that need a permission and that neither arguments nor environment show. */
  features?: readonly Feature[];
  /** Permission flags of the main process. @default {the least} */
  permissions?: readonly string[];
  /** The deno that runs it, and so its workers. */
  program?: string;
  /** Whether not to wait until it listens. */
  raw?: boolean;
  /** A program, with arguments, that runs another one, which is named behind these. @default {none} */
  prefix?: string[] | undefined;
}

/** A server in a process of its own, as an operator starts it. */
export class ServerProcess {
  readonly folder = new Folder();
  readonly lines: LogLine[] = [];
  /** What it printed that is not a log line. */
  readonly noise: string[] = [];
  readonly #child: Deno.ChildProcess;
  readonly #read: Promise<void>;
  #status: Deno.CommandStatus | undefined;

  private constructor(options: ServerOptions) {
    const { args = [], handler, env = {}, permissions = serverFlags(options) } = options;
    const module = handler === undefined ? [] : [this.folder.write("handler.ts", handler)];
    const own = ["--log-format", "json", "--log-level", "debug"];
    const frontend = args.some((arg) => /^--(frontend|port|config|join$)/.test(arg))
      ? []
      : ["--frontend", "tcp://127.0.0.1:0"];
    const deno = options.program ?? Deno.execPath();
    const [program = deno, ...before] = [...options.prefix ?? [], deno];
    this.#child = new Deno.Command(program, {
      args: [
        ...before,
        ...["run", ...permissions, path("mod.ts"), ...module, ...frontend, ...own, ...args],
      ],
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
      env,
    }).spawn();
    this.#read = Promise.all([this.#collect(this.#child.stderr), this.#collect(this.#child.stdout)])
      .then(() => {});
    this.#child.status.then((status) => this.#status = status);
  }

  /** Starts a server and waits until a worker is ready, unless it is `raw`. */
  static async start(options: ServerOptions = {}): Promise<ServerProcess> {
    const server = new ServerProcess({ ...options, env: { ...ENVIRONMENT, ...options.env } });
    if (options.raw) return server;
    try {
      await server.line("listening");
      await server.line("worker ready");
      return server;
    } catch (error) {
      await server[Symbol.asyncDispose]();
      throw error;
    }
  }

  get pid(): number {
    return this.#child.pid;
  }

  /** The first endpoint really bound. */
  get endpoint(): string {
    const line = this.lines.find(({ message }) => message === "listening");
    return String(line?.frontend).split(",")[0] ?? "";
  }

  get backend(): string {
    return String(this.lines.find(({ message }) => message === "listening")?.backend);
  }

  /** Pids of workers that said READY and have not exited, by the log. */
  get workers(): number[] {
    const pids = (message: string) =>
      this.lines.filter((line) => line.message === message).map((line) => Number(line.pid));
    const gone = new Set(pids("worker exited"));
    return pids("worker ready").filter((pid) => !gone.has(pid));
  }

  signal(signal: Deno.Signal): void {
    this.#child.kill(signal);
  }

  /** Waits for the `count`th log line with this message. */
  line(message: string, count = 1): Promise<LogLine> {
    return until(`the log says "${message}" ${count} times`, () => {
      const line = this.lines.filter((line) => line.message === message)[count - 1];
      if (line === undefined && this.#status !== undefined) {
        throw new Error(`The server has ended: ${JSON.stringify(this.lines)} ${this.noise}`);
      }
      return line;
    });
  }

  /** The state that USR2 writes. */
  async state(): Promise<LogLine> {
    const before = this.lines.filter(({ message }) => message === "state").length;
    this.signal("SIGUSR2");
    return await this.line("state", before + 1);
  }

  /** Waits for its end. */
  async ended(): Promise<Deno.CommandStatus> {
    const status = await until("the server has ended", () => this.#status);
    await within("nothing holds the server's stderr open", this.#read);
    return status;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const started = this.lines.filter(({ message }) => message === "worker spawned");
    await endNow(this.#child);
    for (const { pid } of started) {
      await until(`worker ${pid} is gone`, () => !isAlive(Number(pid)));
    }
    // A worker's stderr is the server's, so this ends when the last of them has.
    await within("nothing holds the server's stderr open", this.#read);
    this.folder[Symbol.dispose]();
  }

  async #collect(stream: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<void> {
    let rest = "";
    for await (const text of stream.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + text).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) this.#sort(line);
    }
    if (rest !== "") this.#sort(rest);
  }

  #sort(line: string): void {
    try {
      this.lines.push(JSON.parse(line));
    } catch {
      this.noise.push(line);
    }
  }
}
