/**
 * This project's server, started as its users do, and asked over ZeroMQ.
 *
 * @module
 */

import { type Figures, startLoad } from "./load.ts";
import { clientsOf, type Peer, type Running, type Shape, type Span } from "./peer.ts";
import { Daemon } from "./processes.ts";

/** A handler of this folder. */
export type Handler = "echo" | "busy" | "wait" | "mix" | "hold";

/** How to start a server. */
export interface ServerOptions {
  /** Workers from the start to the end. */
  workers: number;
  /** What they do. @default {"echo"} */
  handler?: Handler;
  /** Other flags of the command. @default {none} */
  flags?: readonly string[];
}

/** The path of a file of this project. */
export function pathOf(relative: string): string {
  return decodeURIComponent(new URL(`../${relative}`, import.meta.url).pathname);
}

/** The arguments that start a server by `deno`. */
export function serverArguments({ workers, handler = "echo", flags = [] }: ServerOptions) {
  const frontend = flags.includes("--frontend") ? [] : ["--frontend", "tcp://127.0.0.1:0"];
  const module = pathOf(`bench/handler_${handler}.ts`);
  const own = ["--workers", String(workers), "--log-format", "json", ...frontend];
  return ["run", "-A", pathOf("mod.ts"), module, ...own, ...flags];
}

/** A line of the server's log. */
interface LogLine {
  /** When it was written, ms since 1970. */
  at: number;
  message: string;
  pid: number;
  frontend: string;
}

/** A server in a process of its own. */
export class Server implements Running {
  readonly #daemon: Daemon;
  readonly endpoint: string;

  private constructor(daemon: Daemon, endpoint: string) {
    this.#daemon = daemon;
    this.endpoint = endpoint;
  }

  /** Starts one, and waits until all workers are ready. */
  static async start(options: ServerOptions): Promise<Server> {
    const args = serverArguments(options);
    const daemon = new Daemon({ program: Deno.execPath(), args, reads: "stderr" });
    try {
      const endpoint = await daemon.line("where it listens", (line) => {
        const { message, frontend } = parse(line);
        return message === "listening" ? frontend : undefined;
      });
      const server = new Server(daemon, endpoint);
      await daemon.line(
        "that its workers are ready",
        () => server.workers.length >= options.workers ? true : undefined,
      );
      return server;
    } catch (error) {
      await daemon[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** The main process. */
  get pid(): number {
    return this.#daemon.pid;
  }

  /** Pids of the workers. */
  get workers(): number[] {
    return this.log("worker ready").map(({ pid }) => pid);
  }

  get pids(): number[] {
    return [this.pid, ...this.workers];
  }

  /** All lines of the log with this message. */
  log(message: string): LogLine[] {
    return this.#daemon.lines.map(parse).filter((line) => line.message === message);
  }

  load(shape: Shape, span: Span): Promise<Figures> {
    return askZmq(this.endpoint, shape, span);
  }

  /** Sends a signal to the main process. */
  signal(signal: Deno.Signal): void {
    Deno.kill(this.pid, signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#daemon[Symbol.asyncDispose]();
  }
}

/** What is no log line has no message. */
function parse(line: string): LogLine {
  if (!line.startsWith("{")) return { at: NaN, message: "", pid: NaN, frontend: "" };
  const { time, message, pid, frontend } = JSON.parse(line);
  return { at: Date.parse(time), message, pid: Number(pid), frontend: String(frontend) };
}

/** Asks what speaks ZeroMQ's REQ envelope. */
export async function askZmq(endpoint: string, shape: Shape, span: Span): Promise<Figures> {
  const { socket, size, width } = shape;
  const clients = clientsOf(shape);
  await using load = startLoad({ endpoint, socket, size, clients, window: width, ...span });
  return await load.figures;
}

/** The server with nothing but defaults. */
export const prefork: Peer = {
  name: "prefork",
  description: "`deno run -A mod.ts handler_echo.ts`, all limits at their defaults",
  missing: () => Promise.resolve(undefined),
  start: (workers) => Server.start({ workers }),
};
