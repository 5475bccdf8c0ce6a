/**
 * This project's server, started as its users do, and asked over ZeroMQ.
 *
 * @module
 */

import { path } from "../tests/rig/checkout.ts";
import { linesOf, type LogLine } from "../tests/rig/log_lines.ts";
import { ServerProcess } from "../tests/rig/server_process.ts";
import type { Figures } from "./load.ts";
import type { Peer, Running, Shape, Span } from "./peer.ts";
import { askZmq } from "./zmq_load.ts";

/** A handler of this folder; "none": there are services in its place. */
export type Handler = "echo" | "busy" | "wait" | "mix" | "hold" | "parts" | "none";

/** How to start a server. */
export interface ServerOptions {
  /** Workers from the start to the end. */
  workers: number;
  /** What they do. @default {"echo"} */
  handler?: Handler;
  /** Other flags of the command. @default {none} */
  flags?: readonly string[];
  /** Not to wait until its workers are ready. */
  raw?: boolean;
}

/** A server in a process of its own. */
export class Server implements Running {
  /** Flags of all servers, in addition to their own. */
  static flags: readonly string[] = [];
  readonly #process: ServerProcess;

  private constructor(process: ServerProcess) {
    this.#process = process;
  }

  /** Starts one, and waits until all workers are ready, unless it is `raw`. */
  static async start(options: ServerOptions): Promise<Server> {
    const { workers, handler = "echo", flags = [], raw = false } = options;
    const own = ["--workers", String(workers), "--log-level", "info"];
    const process = await ServerProcess.start({
      args: [...moduleOf(handler), ...own, ...Server.flags, ...flags],
      permissions: ["-A"],
      raw,
    });
    if (!raw) await process.line("worker ready", workers);
    return new Server(process);
  }

  /** Where clients reach it. */
  get endpoint(): string {
    return this.#process.endpoint;
  }

  /** The main process. */
  get pid(): number {
    return this.#process.pid;
  }

  /** Pids of the workers. */
  get workers(): number[] {
    return this.#process.workers;
  }

  /** Pids of the main process and of the workers. */
  get pids(): number[] {
    return [this.pid, ...this.workers];
  }

  /** All lines of the log with this message. */
  log(message: string): LogLine[] {
    return linesOf(this.#process, message);
  }

  load(shape: Shape, span: Span, endpoint = this.endpoint): Promise<Figures> {
    return askZmq(endpoint, shape, span);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#process[Symbol.asyncDispose]();
  }
}

function moduleOf(handler: Handler): string[] {
  return handler === "none" ? [] : [path(`bench/handler_${handler}.ts`)];
}

/** The server with nothing but defaults. */
export const prefork: Peer = {
  name: "prefork",
  description: "`deno run -A mod.ts handler_echo.ts`, all limits at their defaults",
  missing: () => Promise.resolve(undefined),
  start: (workers) => Server.start({ workers }),
};
