/**
 * A worker process. What a handler module may use is in worker/handler.ts, and how a job is run in
 * worker/job_context.ts.
 *
 * `main` reads its orders from stdin, opens libzmq, gives FFI up, loads the handler, says
 * READY, serves, drains and leaves. mod.ts starts it with a main module that names the handler.
 *
 * @module
 */

import {
  buildJobSignal,
  buildLog,
  buildMemory,
  buildSignal,
  FromBroker,
  FromWorker,
  type JobHeader,
  JobReader,
  type LogLevel,
  readCode,
  readJobId,
  REPLY_BYTES,
  ReplyFlag,
  writeReply,
} from "./wire/job.ts";
import { Rate } from "./wire/rate.ts";
import { Code } from "./wire/request.ts";
import { MAX_TEXT, messageOf, placeOf, show, showFields, stackOf } from "./worker/show.ts";
import { LOAD_FAILED, type WorkerConfig } from "./wire/worker_config.ts";
import { prove } from "./zmq/curve.ts";
import { shutDebugger } from "./system/debugger.ts";
import { forbidFileWrites } from "./system/file_limit.ts";
import { dieWithParent } from "./system/lifeline.ts";
import { openLibrary, Option, SocketType } from "./zmq/library.ts";
import { type Message, MessagePool } from "./zmq/message.ts";
import { Poller } from "./zmq/poller.ts";
import { Context, type Socket } from "./zmq/socket.ts";
import { confine } from "./system/seccomp.ts";
import { setTitle } from "./system/title.ts";
import type { Handler, HandlerModule, HandlerResult } from "./worker/handler.ts";
import {
  bytesOf,
  callHandler,
  checkModule,
  failureOf,
  framesOf,
  Job,
  JobContext,
  type JobLog,
  type ReplyBounds,
  Stop,
} from "./worker/job_context.ts";

export {
  type Handler,
  type HandlerContext,
  type HandlerLog,
  type HandlerModule,
  type HandlerResult,
  json,
  type LogLineFields,
  RequestError,
  text,
} from "./worker/handler.ts";

/** Answers with what was asked: the handler where none was named. */
const echo: Handler = (_body, { frames }) => frames;

/**
 * Runs a worker process to its end.
 *
 * @param load imports the handler module; without it, requests are echoed.
 */
export async function main(load?: () => Promise<unknown>): Promise<void> {
  keepFor(THE_SERVERS);
  const config = await readConfig();
  keepFor(config.signals);
  const service = await prepare(config);
  leaveWithoutParent();
  try {
    const module = await load?.();
    giveUpLinks(config.links);
    const handler = load === undefined ? { default: echo } : checkModule(module, config);
    if (config.purpose === "check") Deno.exit(0);
    if (handler.init !== undefined) service?.loaded(config.token);
    await handler.init?.();
    if (service !== undefined) await service.run(handler, config);
    else await runDequeue(handler);
  } catch (error) {
    const message = `Cannot load the handler "${config.handler}": ${loadError(error)}`;
    if (service === undefined) console.error(message);
    else service.fail(config.token, message);
    Deno.exit(LOAD_FAILED);
  }
  Deno.exit(0);
}

/** What is wrong with a handler, and where: Deno itself only says the place of what it can't parse. */
function loadError(error: unknown): string {
  const [message, place] = [messageOf(error), placeOf(error)];
  return place === "" || message.includes(place) ? message : `${message} (${place})`;
}

/** Does all that needs FFI, then gives it up. */
async function prepare(config: WorkerConfig): Promise<Service | undefined> {
  try {
    const mode = Deno.build.os === "linux" ? "kernel" : "thread";
    await dieWithParent(config.library, config.parent, mode);
    // It can be open only if the signal came to a worker that was slow to start.
    if (shutDebugger(config.library) === "open") throw new Error("Deno's debugger is open");
    setTitle(config.library, config.title);
    const service = config.purpose === "serve" ? new Service(config) : undefined;
    // Its threads are there by now, and are bound too.
    if (!config.mayWriteFiles) forbidFileWrites(config.library);
    if (config.callGrants !== undefined) confine(config.library, config.callGrants);
    if (!config.keepFfi) giveUpFfi(config.library);
    if (service !== undefined) logUncaught(service);
    return service;
  } catch (error) {
    console.error(`Cannot start a worker: ${messageOf(error)}`);
    Deno.exit(1);
  }
}

/** What nobody in the handler catches is logged, and ends neither the worker nor its other jobs. */
function logUncaught(service: Service): void {
  const log = (event: Event, error: unknown) => {
    event.preventDefault();
    service.log("error", `Uncaught in the handler: ${messageOf(error)}`, error);
  };
  addEventListener("unhandledrejection", (event) => log(event, event.reason));
  addEventListener("error", (event) => log(event, event.error));
}

/** Runs the handler's `dequeue()` once. */
async function runDequeue(handler: HandlerModule): Promise<void> {
  try {
    await handler.dequeue?.();
    await handler.finish?.();
  } catch (error) {
    console.error(`The handler's dequeue() failed: ${messageOf(error)}`);
    Deno.exit(1);
  }
}

/** The first line of stdin. */
async function readConfig(): Promise<WorkerConfig> {
  const chunk = new Uint8Array(4096);
  const decoder = new TextDecoder();
  let line = "";
  while (!line.endsWith("\n")) {
    const size = await Deno.stdin.read(chunk);
    if (size === null) throw new Error("Cannot start a worker by hand: it is the server that does");
    line += decoder.decode(chunk.subarray(0, size), { stream: true });
  }
  return JSON.parse(line);
}

/** From here on nobody in this process can open a library or make a pointer. */
function giveUpFfi(library: string): void {
  Deno.permissions.revokeSync({ name: "ffi", path: library });
  Deno.permissions.revokeSync({ name: "ffi" });
}

/** What a handler's own links were lent for is over once they are loaded. */
function giveUpLinks(links: readonly string[]): void {
  for (const path of links) Deno.permissions.revokeSync({ name: "read", path });
}

/** What means something to the server: sent to the whole cgroup, it comes to workers too. */
const THE_SERVERS = ["SIGHUP", "SIGUSR2", "SIGTTIN", "SIGTTOU", "SIGALRM"] as const;

/** Makes signals harmless where the handler does not listen for them. */
function keepFor(signals: readonly Deno.Signal[]): void {
  for (const signal of signals) Deno.addSignalListener(signal, () => {});
}

/** Stdin says nothing more; its end is the parent's. */
async function leaveWithoutParent(): Promise<void> {
  const chunk = new Uint8Array(64);
  while (await Deno.stdin.read(chunk).catch(() => null) !== null);
  Deno.exit(1);
}

/** The longest wait, ms. */
const LONG = 60_000;
/** Messages read before the jobs in them begin. */
const BATCH = 256;
/** But no more once their bodies have so many bytes. */
const BATCH_BYTES = 262_144;
/** Turns in which nothing ends before the rest of the jobs are taken to wait for something. */
const IDLE_TURNS = 8;
/** A reply waits for the next one at most this long, ms, if that is not held up by a slow job. */
const HOLD = 0.2;
/** One that has more bytes does not wait at all. */
const LARGE = 16_384;
/** Errors that are replied with their stacks, a second: writing these down takes long. */
const MAX_STACKS = 100;
/** A worker leaves once its last replies are on their way, or after this, ms. */
const LINGER = 5000;

/** The socket to the broker, and the jobs that came over it. */
class Service implements JobLog {
  readonly #context: Context;
  readonly #socket: Socket;
  readonly #poller: Poller;
  readonly #frame: Message;
  readonly #reader = new JobReader();
  readonly #replyHeader = new Uint8Array(REPLY_BYTES);
  readonly #replyView = new DataView(this.#replyHeader.buffer);
  readonly #encoder = new TextEncoder();
  /** When the message that is being sent was begun, ms; undefined: none is. */
  #begunAt: number | undefined;
  /** When the last job began or ended, ms. */
  #now = 0;
  readonly #pending: Job[] = [];
  readonly #running = new Map<number, Job>();
  readonly #stacks = new Rate(MAX_STACKS);
  #handler: HandlerModule = { default: echo };
  #concurrency = 1;
  /** Asynchronous jobs that have ended. */
  #ended = 0;
  readonly #bounds: ReplyBounds;
  /** serving → draining: no more jobs, leave when none is left */
  #state: "serving" | "draining" = "serving";

  constructor(config: WorkerConfig) {
    const library = openLibrary(config.library);
    this.#bounds = config;
    this.#context = new Context(library);
    this.#socket = this.#context.socket(SocketType.DEALER);
    this.#socket.set(Option.SNDHWM, 0);
    this.#socket.set(Option.RCVHWM, 0);
    if (config.backend.includes("[")) this.#socket.set(Option.IPV6, 1);
    if (config.curve !== undefined) prove(this.#socket, config.curve, config.curve.serverKey);
    this.#socket.connect(config.backend);
    this.#poller = new Poller(this.#context, [this.#socket]);
    this.#frame = new MessagePool(library).take();
  }

  /** Serves until the broker or a signal ends it, then leaves in order. */
  async run(handler: HandlerModule, config: WorkerConfig): Promise<void> {
    this.#handler = handler;
    this.#concurrency = config.concurrency;
    this.#listen();
    this.#say(FromWorker.READY, config.token);
    const { memoryInterval } = config;
    const timer = memoryInterval > 0
      ? setInterval(() => this.#tellMemory(), memoryInterval)
      : undefined;
    for (;;) {
      const more = this.#pump();
      if (this.#running.size > 0) await this.#settle();
      this.#endMessage();
      if (this.#done) break;
      const timeout = more || this.#socket.readable() ? 0 : LONG;
      // Nothing else needs this thread unless a handler waits for something.
      if (this.#running.size > 0) await this.#poller.wait(timeout);
      else await this.#poller.rest(timeout, "taken");
    }
    await this.#finish();
    clearInterval(timer);
    this.#tell(buildSignal(FromWorker.LEAVING));
    this.#close();
  }

  /** Lets those jobs end whose handlers are asynchronous but have nothing to wait for. */
  async #settle(): Promise<void> {
    let idle = 0;
    for (let ended = this.#ended; this.#running.size > 0 && idle < IDLE_TURNS; idle++) {
      await undefined;
      if (this.#ended !== ended) idle = 0;
      ended = this.#ended;
    }
  }

  /** Tells the parent that the module is loaded, and that `init()` comes next. */
  loaded(token: string): void {
    this.#say(FromWorker.LOADED, token);
  }

  /** Tells the parent that the handler can't be loaded. */
  fail(token: string, message: string): void {
    this.#say(FromWorker.FAILED, token, message);
    this.#close();
  }

  /** Writes a line to the server's log; with an error, its stack too. */
  log(level: LogLevel, message: string, error?: unknown): void {
    this.#log(level, message, showFields(undefined, error), 0);
  }

  /** Writes what a job's handler logs: any value, and fields. */
  logOf(job: Job, level: LogLevel, message: unknown, fields: unknown): void {
    this.#log(level, show(message), showFields(fields, message), job.id);
  }

  #log(level: LogLevel, message: string, fields: string, job: number): void {
    this.#tell(buildLog(level, job), this.#encode(message), this.#encoder.encode(fields));
    // A send can eat the wake-up of what arrived meanwhile.
    this.#poller.wake();
  }

  #encode(message: string): Uint8Array<ArrayBuffer> {
    return this.#encoder.encode(message.slice(0, MAX_TEXT));
  }

  /** A job that never awaits holds this up, as it does all else in this process. */
  #tellMemory(): void {
    this.#tell(buildMemory(Deno.memoryUsage().rss));
    // A send can eat the wake-up of what arrived meanwhile.
    this.#poller.wake();
  }

  get #done(): boolean {
    return this.#state === "draining" && this.#running.size === 0 && this.#pending.length === 0;
  }

  #say(type: number, token: string, message?: string): void {
    const frame = this.#encoder.encode("\0" + token);
    frame[0] = type;
    if (message === undefined) this.#tell(frame);
    else this.#tell(frame, this.#encode(message));
  }

  /** Says something beside replies: those that wait for each other go first. */
  #tell(...frames: Uint8Array<ArrayBuffer>[]): void {
    this.#endMessage();
    this.#socket.sendAll(frames);
  }

  #listen(): void {
    Deno.addSignalListener("SIGTERM", () => this.#retire());
    Deno.addSignalListener("SIGQUIT", () => this.#retire());
    Deno.addSignalListener("SIGINT", () => {
      for (const job of this.#running.values()) job.abort(Stop.interrupted);
    });
  }

  /** Somebody wants this worker to leave: gives back what it has not started. */
  #retire(): void {
    if (this.#state === "draining") return;
    this.#state = "draining";
    this.#tell(buildSignal(FromWorker.RETIRE));
    for (const { id } of this.#pending.splice(0)) this.#giveBack(id);
    this.#poller.wake();
  }

  #giveBack(job: number): void {
    this.#tell(buildJobSignal(FromWorker.RETURN, job, 0));
  }

  async #finish(): Promise<void> {
    try {
      await this.#handler.finish?.();
    } catch (error) {
      this.log("error", `The handler's finish() failed: ${messageOf(error)}`, error);
    }
  }

  #close(): void {
    this.#poller.close();
    this.#socket.close(LINGER);
    this.#context.terminateSync();
  }

  /** Reads what has come and starts what may run; true if there may be more to read. */
  #pump(): boolean {
    let size = 0;
    let bytes = 0;
    for (let read = 0; read < BATCH && bytes < BATCH_BYTES; read++) {
      size = this.#socket.receiveInto(this.#reader.bytes);
      if (size < 0) break;
      bytes += this.#read(size);
    }
    this.#now = performance.now();
    this.#startPending();
    return size >= 0;
  }

  /** Reads one message, of which the first frame was read; the bytes of its bodies. */
  #read(size: number): number {
    const { bytes, view } = this.#reader;
    const type = bytes[0];
    if (type === FromBroker.JOB) return this.#readJobs(size);
    if (type === FromBroker.CANCEL) this.#cancel(readJobId(view), readCode(view));
    else if (type === FromBroker.STOP) this.#state = "draining";
    else if (type === FromBroker.ASK) this.#tell(buildSignal(FromWorker.ALIVE));
    return 0;
  }

  /** Reads one job after the other; the first one's header was read. */
  #readJobs(size: number): number {
    let bytes = 0;
    for (;;) {
      const header = this.#reader.read(size);
      const frames: Uint8Array[] = [];
      while (frames.length < header.frames) {
        const length = this.#socket.receive(this.#frame);
        frames.push(this.#frame.bytes(length));
        bytes += length;
      }
      this.#pending.push(new Job(header, frames));
      if (!this.#frame.more) break;
      size = this.#socket.receiveInto(this.#reader.bytes);
    }
    return bytes;
  }

  #cancel(job: number, code: number): void {
    const index = this.#pending.findIndex(({ id }) => id === job);
    if (index < 0) return this.#running.get(job)?.abort(Stop.cancelled);
    this.#pending.splice(index, 1);
    this.#reply(job, code, 0, 0, [this.#encode(Stop.cancelled.reason)]);
  }

  #startPending(): void {
    while (this.#running.size < this.#concurrency) {
      const job = this.#pending.shift();
      if (job === undefined) return;
      const { deadline } = job.header;
      // The broker answers it; it may know of somebody who waits longer.
      if (deadline > 0 && Date.now() > deadline) this.#giveBack(job.id);
      else this.#start(job);
    }
  }

  /** Runs a job. One that answers at once is answered at once, without a promise. */
  #start(job: Job): void {
    if (isRisky(job.header)) this.#endMessage();
    job.startedAt = this.#now;
    try {
      const result = callHandler(this.#handler, job, new JobContext(job, this));
      if (result instanceof Promise) {
        this.#running.set(job.id, job);
        this.#await(result, job);
        return;
      }
      this.#replyResult(job, result);
    } catch (error) {
      this.#replyError(job, error);
    }
    job.end();
  }

  async #await(result: Promise<HandlerResult>, job: Job): Promise<void> {
    try {
      const value = await result;
      this.#replyResult(job, value);
    } catch (error) {
      this.#replyError(job, error);
    }
    job.end();
    this.#ended++;
    this.#running.delete(job.id);
    this.#startPending();
    // What was sent may have eaten a wake-up, and the loop may wait for the last job.
    this.#poller.wake();
  }

  /** All that runs the handler's code comes before the first frame is sent. */
  #replyResult(job: Job, result: HandlerResult): void {
    const { frames, size } = framesOf(result, this.#bounds);
    this.#reply(job.id, Code.ok, 0, this.#took(job), frames, size);
  }

  #replyError(job: Job, error: unknown): void {
    const took = this.#took(job);
    const { code, message, worded, failed } = failureOf(job, error);
    const stack = failed && code >= Code.handlerFailed ? this.#stackOf(error) : "";
    const flags = (worded ? 0 : ReplyFlag.PRIVATE) | (stack === "" ? 0 : ReplyFlag.STACK);
    const texts = stack === "" ? [message] : [message, stack];
    this.#reply(job.id, code, flags, took, texts.map((text) => this.#encode(text)));
  }

  #stackOf(error: unknown): string {
    if (!this.#stacks.has(this.#now)) return "";
    this.#stacks.take(1);
    return stackOf(error);
  }

  /** How long a job has taken, ms. */
  #took(job: Job): number {
    this.#now = performance.now();
    return this.#now - job.startedAt;
  }

  /**
   * Sends a reply, in one message with those before and behind it while jobs end quickly one after the
   * other: libzmq's thread is woken once for all of them.
   */
  #reply(
    job: number,
    code: number,
    flags: number,
    took: number,
    frames: readonly Uint8Array<ArrayBuffer>[],
    size: number = bytesOf(frames),
  ): void {
    const begunAt = this.#begunAt ?? this.#now;
    const next = this.#pending[0]?.header;
    const isLast = next === undefined || isRisky(next) || this.#poller.waiting || size > LARGE ||
      this.#now - begunAt > HOLD;
    this.#begunAt = isLast ? undefined : begunAt;
    const header = { job, code, flags, micros: took * 1000, frames: frames.length };
    writeReply(this.#replyView, header);
    this.#socket.sendMore(this.#replyHeader);
    const last = frames.length - 1;
    for (let index = 0; index < last; index++) this.#socket.sendMore(frames[index] ?? EMPTY);
    if (isLast) this.#socket.sendLast(frames[last] ?? EMPTY);
    else this.#socket.sendMore(frames[last] ?? EMPTY);
  }

  /** Sends what has been answered: something else is to be said, or the next answer may take its time. */
  #endMessage(): void {
    if (this.#begunAt === undefined) return;
    this.#begunAt = undefined;
    this.#socket.sendLast(EMPTY);
  }
}

/**
 * Whether no answer may wait for a job: it may end the process, and with it what was not sent; or it has a
 * time limit, and the broker must know which job it is that runs.
 */
function isRisky({ attempt, requestTimeout }: JobHeader): boolean {
  return attempt > 1 || requestTimeout > 0;
}

const EMPTY = new Uint8Array(0);
