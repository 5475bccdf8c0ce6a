/**
 * What end-to-end tests share: servers as processes of their own, handlers written to private folders,
 * raw peers, and waiting for conditions with a generous limit.
 */

import { type KeyPair, prove } from "../../zmq/curve.ts";
import { openLibrary, Option, SocketType } from "../../zmq/library.ts";
import { locateLibrary } from "../../zmq/locate.ts";
import { MessagePool } from "../../zmq/message.ts";
import { Poller } from "../../zmq/poller.ts";
import { Context } from "../../zmq/socket.ts";
import { type Feature, serverFlags } from "./permissions.ts";

/** Nothing in a test takes this long, be the machine as loaded as it may, ms. */
export const LIMIT = 60_000;
const LOOK_INTERVAL = 10;

export const ROOT = new URL("../..", import.meta.url);

export function path(relative: string): string {
  return decodeURIComponent(new URL(relative, ROOT).pathname);
}

/** Waits until `look` gives something that is neither false nor undefined. */
export async function until<T>(
  what: string,
  look: () => T | false | undefined | Promise<T | false | undefined>,
  limit = LIMIT,
): Promise<T> {
  const end = performance.now() + limit;
  for (;;) {
    const seen = await look();
    if (seen !== false && seen !== undefined) return seen;
    if (performance.now() > end) throw new Error(`Waited ${limit} ms in vain until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, LOOK_INTERVAL));
  }
}

/** A private folder that is removed at the end. */
export class Folder {
  readonly path = Deno.makeTempDirSync({ prefix: "zmq-prefork-test-" });

  /** Writes a file and returns its path. */
  write(name: string, text: string): string {
    const file = `${this.path}/${name}`;
    Deno.writeTextFileSync(file, text);
    return file;
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.path, { recursive: true });
  }
}

/** Deno in a folder that anybody can enter: where it was installed, another user may not run it. */
export function shareProgram(folder: Folder): string {
  const program = `${folder.path}/deno`;
  Deno.chmodSync(folder.path, 0o755);
  try {
    Deno.linkSync(Deno.execPath(), program);
  } catch {
    Deno.copyFileSync(Deno.execPath(), program);
  }
  return program;
}

/** Whether this is root, and another user can read the modules of this checkout. */
export function canServeAsNobody(): boolean {
  if (Deno.build.os !== "linux" || Deno.uid() !== 0) return false;
  const args = ["-c", 'test -r "$0"', path("worker.ts")];
  return new Deno.Command("/bin/sh", { args, uid: 65_534 }).outputSync().success;
}

/** A line of a server's JSON log. */
export interface LogLine {
  time: string;
  level: string;
  message: string;
  [field: string]: unknown;
}

export interface ServerOptions {
  /** Arguments of mod.ts, beside the frontend (port 0) and the log's format. */
  args?: string[];
  /** Source of the handler module; the echo without it. */
  handler?: string;
  /** Environment of the server, beside the test's own. */
  env?: Record<string, string>;
  /** What it uses that neither arguments nor environment tell of, and needs a permission. */
  features?: readonly Feature[];
  /** Permission flags of the main process. @default {the least} */
  permissions?: readonly string[];
  /** The deno that runs it, and so its workers. */
  program?: string;
  /** Not to wait until it listens. */
  raw?: boolean;
}

/** A server in a process of its own, as an operator starts it. */
export class ServerProcess {
  readonly folder = new Folder();
  readonly lines: LogLine[] = [];
  /** What it printed that is no log line. */
  readonly noise: string[] = [];
  readonly #child: Deno.ChildProcess;
  readonly #read: Promise<void>;
  #status: Deno.CommandStatus | undefined;

  private constructor(options: ServerOptions) {
    const { args = [], handler, env = {}, permissions = serverFlags(options) } = options;
    const module = handler === undefined ? [] : [this.folder.write("handler.ts", handler)];
    const own = ["--log-format", "json", "--log-level", "debug"];
    const frontend = args.some((arg) => /^--(frontend|port|config)/.test(arg))
      ? []
      : ["--frontend", "tcp://127.0.0.1:0"];
    this.#child = new Deno.Command(options.program ?? Deno.execPath(), {
      args: ["run", ...permissions, path("mod.ts"), ...module, ...frontend, ...own, ...args],
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
      env,
    }).spawn();
    this.#read = Promise.all([this.#collect(this.#child.stderr), this.#collect(this.#child.stdout)])
      .then(() => {});
    this.#child.status.then((status) => this.#status = status);
  }

  /** Starts a server and waits until its workers are ready. */
  static async start(options: ServerOptions = {}): Promise<ServerProcess> {
    const server = new ServerProcess(options);
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
    await this.#read;
    return status;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const started = this.lines.filter(({ message }) => message === "worker spawned");
    if (this.#status === undefined) this.#child.kill("SIGKILL");
    await this.#child.status;
    for (const { pid } of started) {
      await until(`worker ${pid} is gone`, () => !isAlive(Number(pid)));
    }
    // A worker's stderr is the server's, so this ends when the last of them has.
    await this.#read;
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

/** Whether a process lives; one that has ended but was not waited for does not. */
export function isAlive(pid: number): boolean {
  try {
    const stat = Deno.readTextFileSync(`/proc/${pid}/stat`);
    return stat.slice(stat.lastIndexOf(")") + 2)[0] !== "Z";
  } catch {
    return false;
  }
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();

export function bytes(text: string): Uint8Array<ArrayBuffer> {
  return encoder.encode(text);
}

export function text(frame: Uint8Array | undefined): string {
  return decoder.decode(frame);
}

/** A bare ZeroMQ socket that sends and receives whole messages: frames are what the test says. */
export class Peer {
  readonly #context: Context;
  readonly #poller: Poller;
  readonly #messages: MessagePool;
  readonly socket: ReturnType<Context["socket"]>;

  constructor(
    endpoint: string,
    options: {
      identity?: string | Uint8Array<ArrayBuffer>;
      /** Its own CURVE keys, and the server's. */
      keys?: { own: KeyPair; server: string };
    } = {},
  ) {
    const library = openLibrary(locateLibrary(Deno.env.get("ZMQ_LIBRARY")).path);
    this.#context = new Context(library);
    this.#messages = new MessagePool(library);
    this.socket = this.#context.socket(SocketType.DEALER);
    const { identity, keys } = options;
    if (keys !== undefined) prove(this.socket, keys.own, keys.server);
    if (endpoint.includes("[")) this.socket.set(Option.IPV6, 1);
    if (identity !== undefined) {
      this.socket.setBytes(
        Option.ROUTING_ID,
        typeof identity === "string" ? bytes(identity) : identity,
      );
    }
    this.socket.set(Option.SNDHWM, 0);
    this.socket.set(Option.RCVHWM, 0);
    this.socket.connect(endpoint);
    this.#poller = new Poller(this.#context, [this.socket]);
  }

  /** Sends one message. */
  send(...frames: (string | Uint8Array<ArrayBuffer>)[]): void {
    frames.map((frame) => typeof frame === "string" ? bytes(frame) : frame)
      .forEach((frame, index) =>
        index < frames.length - 1 ? this.socket.sendMore(frame) : this.socket.sendLast(frame)
      );
  }

  /** A message that is here already. */
  take(): Uint8Array<ArrayBuffer>[] | undefined {
    this.socket.stir(); // nobody may have waited for it
    const frame = this.#messages.take();
    const frames: Uint8Array<ArrayBuffer>[] = [];
    for (;;) {
      const size = this.socket.receive(frame);
      if (size < 0) break;
      frames.push(frame.bytes(size));
      if (!frame.more) break;
    }
    this.#messages.release(frame);
    return frames.length === 0 ? undefined : frames;
  }

  /** The next message. */
  async receive(limit = LIMIT): Promise<Uint8Array<ArrayBuffer>[]> {
    const end = performance.now() + limit;
    for (;;) {
      const frames = this.take();
      if (frames !== undefined) return frames;
      if (performance.now() > end) throw new Error(`Waited ${limit} ms in vain for a message`);
      if (!this.socket.readable()) await this.#poller.wait(100);
    }
  }

  /** The next message, as text, a frame an item. */
  async receiveText(limit = LIMIT): Promise<string[]> {
    return (await this.receive(limit)).map(text);
  }

  /** Asks as a REQ socket does and gives the body of the reply, frames as text. */
  async ask(...body: (string | Uint8Array<ArrayBuffer>)[]): Promise<string[]> {
    this.send("", ...body);
    const [delimiter, ...frames] = await this.receiveText();
    if (delimiter !== "") throw new Error(`The reply has no empty frame first: ${frames}`);
    return frames;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#poller.close();
    this.socket.close(0);
    await this.#context.terminate();
  }
}

/** Runs a command to its end. */
export async function run(
  command: string,
  args: string[],
  options: { stdin?: string; env?: Record<string, string>; cwd?: string } = {},
): Promise<{ code: number; stdout: string; stderr: string }> {
  const child = new Deno.Command(command, {
    args,
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
    env: options.env,
    cwd: options.cwd,
  }).spawn();
  const writer = child.stdin.getWriter();
  if (options.stdin !== undefined) await writer.write(bytes(options.stdin)).catch(() => {});
  await writer.close().catch(() => {});
  const { code, stdout, stderr } = await child.output();
  return { code, stdout: text(stdout), stderr: text(stderr) };
}
