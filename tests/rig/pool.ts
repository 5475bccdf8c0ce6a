/**
 * What the end-to-end tests of serve(), the pool, signals, hooks and the command share beyond
 * harness.ts: traffic that never stops, servers whose files are all in one place, and what a log tells.
 */

import { serve, type ServeOptions, type Server } from "../../mod.ts";
import {
  Folder,
  isAlive,
  LIMIT,
  type LogLine,
  path,
  Peer,
  type ServerOptions,
  ServerProcess,
  text,
  until,
} from "./harness.ts";
import { type Feature, serverFlags } from "./permissions.ts";

/** Where servers put their private folders, so that a killed one leaves nothing behind. */
const temporary = new Folder();
Deno.test.afterAll(() => temporary[Symbol.dispose]());

/** Environment of every server that is a process. */
export const ENVIRONMENT = { TMPDIR: temporary.path };

/** Starts a server and waits until a worker is ready, unless it is `raw`. */
export function startServer(options: ServerOptions = {}): Promise<ServerProcess> {
  return ServerProcess.start({ ...options, env: { ...ENVIRONMENT, ...options.env } });
}

/** A server in this process, that logs nothing. */
export function serveQuietly(options: ServeOptions = {}): Server {
  return serve({ frontend: "tcp://127.0.0.1:0", logLevel: "critical", ...options });
}

/** A handler module as a URL. */
export function moduleOf(source: string): string {
  return `data:application/javascript,${encodeURIComponent(source)}`;
}

/** A client's endpoint. */
export function endpointOf(server: Server): string {
  return server.frontend[0] ?? "";
}

/** Waits for a promise, but not for ever. */
export async function within<T>(what: string, promise: Promise<T>): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(`Waited in vain until ${what}`)), LIMIT);
  try {
    return await Promise.race([promise, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

/** How a command has ended, and what it printed. */
export interface Ending {
  code: number;
  stdout: string;
  stderr: string;
}

/** Runs mod.ts to its end; it is killed if that takes too long. */
export async function runServer(
  args: string[],
  options: Pick<ServerOptions, "env" | "features" | "permissions"> & {
    uid?: number;
    limit?: number;
  } = {},
): Promise<Ending> {
  const env = { ...ENVIRONMENT, ...options.env };
  const { permissions = serverFlags({ ...options, args, env }), uid, limit = 30_000 } = options;
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", ...permissions, path("mod.ts"), ...args],
    env,
    ...(uid === undefined ? {} : { uid }),
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    signal: AbortSignal.timeout(limit),
  }).output();
  return { code, stdout: text(stdout), stderr: text(stderr) };
}

/** A client that always has some requests in flight, until `end`. */
export class Traffic {
  readonly #peer: Peer;
  readonly #replies = new Map<string, string[]>();
  readonly #done: Promise<void>;
  #sent = 0;
  #open = true;

  constructor(endpoint: string, options: { window?: number; body?: string } = {}) {
    this.#peer = new Peer(endpoint);
    this.#done = this.#run(options.window ?? 4, options.body ?? "x");
    this.#done.catch(() => {});
  }

  /** Requests that were answered so far. */
  get answered(): number {
    return this.#replies.size;
  }

  /** Waits until `count` more are answered. */
  async more(count: number): Promise<void> {
    const wanted = this.answered + count;
    await until(`${wanted} requests are answered`, () => this.answered >= wanted);
  }

  /** Asks no more, waits for what was asked, and gives the bodies of all replies in order. */
  async end(): Promise<string[][]> {
    this.#open = false;
    await this.#done;
    return Array.from({ length: this.#sent }, (_, id) => this.#replies.get(String(id)) ?? []);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#open = false;
    await this.#done.catch(() => {});
    await this.#peer[Symbol.asyncDispose]();
  }

  async #run(window: number, body: string): Promise<void> {
    while (this.#open || this.answered < this.#sent) {
      while (this.#open && this.#sent - this.answered < window) {
        this.#peer.send(String(this.#sent++), "", body);
      }
      const [id = "", , ...reply] = await this.#peer.receiveText(20_000);
      if (this.#replies.has(id)) throw new Error(`Request ${id} was answered twice`);
      this.#replies.set(id, reply);
    }
  }
}

/** ms from one line of a log to another. */
export function between(from: LogLine | undefined, to: LogLine | undefined): number {
  return Date.parse(String(to?.time)) - Date.parse(String(from?.time));
}

/** The least number of workers that were ready at a time, from the `from`th on. */
export function leastReady(lines: readonly LogLine[], from: number): number {
  const ready = new Set<unknown>();
  let most = 0;
  let least = Infinity;
  for (const { message, worker } of lines) {
    if (message === "worker ready") ready.add(worker);
    if (message === "worker exited") ready.delete(worker);
    most = Math.max(most, ready.size);
    if (most >= from) least = Math.min(least, ready.size);
  }
  return least;
}

/** The most workers that were starting at a time. */
export function mostStarting(lines: readonly LogLine[]): number {
  const starting = new Set<unknown>();
  let most = 0;
  for (const { message, worker } of lines) {
    if (message === "worker spawned") starting.add(worker);
    else if (message === "worker ready" || message === "worker exited") starting.delete(worker);
    most = Math.max(most, starting.size);
  }
  return most;
}

/** Lines of a log file in JSON; throws if one is none. */
export function readLog(file: string): LogLine[] {
  return Deno.readTextFileSync(file).split("\n").slice(0, -1).map((line) => JSON.parse(line));
}

/** Waits for the `count`th line with this message in a log file. */
export function lineIn(file: string, message: string, count = 1): Promise<LogLine> {
  return until(`"${file}" says "${message}" ${count} times`, () => {
    try {
      return readLog(file).filter((line) => line.message === message)[count - 1];
    } catch (error) {
      if (error instanceof Deno.errors.NotFound || error instanceof SyntaxError) return undefined;
      throw error;
    }
  });
}

/** A server whose log is a file, started in a way of its own. */
export class LoggedServer {
  readonly folder = new Folder();
  readonly file = `${this.folder.path}/log`;
  readonly child: Deno.ChildProcess;

  constructor(
    options: {
      args?: string[];
      handler?: string;
      command?: string;
      detached?: boolean;
      /** Whether the server may look at its log. */
      followed?: boolean;
    } = {},
  ) {
    const { args = [], handler, command = Deno.execPath(), detached = false } = options;
    const features: Feature[] = options.followed ? [["following", { FILE: this.file }]] : [];
    const module = handler === undefined ? [] : [this.folder.write("handler.ts", handler)];
    const log = ["--log-file", this.file, "--log-format", "json", "--log-level", "debug"];
    const frontend = ["--frontend", "tcp://127.0.0.1:0"];
    const all = [...module, ...frontend, ...log, ...args];
    const permissions = serverFlags({ args: all, env: ENVIRONMENT, program: command, features });
    this.child = new Deno.Command(command, {
      args: ["run", ...permissions, path("mod.ts"), ...all],
      env: ENVIRONMENT,
      detached,
      stdin: "null",
      stdout: "null",
      stderr: "inherit",
    }).spawn();
  }

  /** Waits until a worker is ready, and gives the endpoint for clients. */
  async ready(): Promise<string> {
    await this.line("worker ready");
    return String((await this.line("listening")).frontend);
  }

  /** Waits for its end. */
  ended(): Promise<Deno.CommandStatus> {
    return within("the server has ended", this.child.status);
  }

  /** Lines that the log has by now. */
  get lines(): LogLine[] {
    return readLog(this.file);
  }

  /** Waits for the `count`th line with this message. */
  line(message: string, count = 1): Promise<LogLine> {
    return lineIn(this.file, message, count);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.child.kill("SIGKILL");
    } catch {
      // It has ended.
    }
    await this.child.status;
    for (const { message, pid } of this.lines) {
      if (message !== "worker spawned") continue;
      await until(`worker ${pid} is gone`, () => !isAlive(Number(pid)));
    }
    this.folder[Symbol.dispose]();
  }
}

/** Fields of proc(5)'s stat from the third (state) on. */
export function statOf(pid: number): string[] {
  const stat = Deno.readTextFileSync(`/proc/${pid}/stat`);
  return stat.slice(stat.lastIndexOf(")") + 2).split(" ");
}
