/**
 * A worker at work: the socket to the broker, and the jobs that came over it. How a job is called and
 * what its result means is in job_context.ts and result.ts.
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
  ReplyFlag,
} from "../wire/job.ts";
import { Rate } from "../wire/rate.ts";
import { Code } from "../wire/request.ts";
import type { WorkerConfig } from "../wire/worker_config.ts";
import { prove } from "../zmq/curve.ts";
import { harden, openLibrary, Option, SocketType } from "../zmq/library.ts";
import { type Message, MessagePool } from "../zmq/message.ts";
import { Poller } from "../zmq/poller.ts";
import { Context, type Socket } from "../zmq/socket.ts";
import type { Handler, HandlerModule, HandlerResult } from "./handler.ts";
import { callHandler, Job, JobContext, type JobLog, Stop } from "./job_context.ts";
import { Replies } from "./replies.ts";
import { bytesOf, failureOf, framesOf, type ReplyBounds } from "./result.ts";
import { MAX_TEXT, show, showFields, showMessage, showStack } from "./show.ts";

/** The longest wait. */
const LONGEST_WAIT_MS = 60_000;
/** Messages that are read before the first of their jobs is started. */
const BATCH_MESSAGES = 256;
/** A batch of messages is full with this many bytes in their bodies, however few they are. */
const BATCH_BYTES = 262_144;
/** Once no job has ended in this many microtask turns, all that still run wait for a timer or for I/O. */
const IDLE_TURNS = 8;
/** Error replies of one second that bring a stack along: writing a stack as text takes long. */
const MAX_STACKS = 100;
/** How long a worker that leaves waits for its last replies to be sent. */
const LINGER_MS = 5000;

/** Answers with what was asked: the handler where none was named. */
export const echo: Handler = (_body, { frames }) => frames;

/** Runs the broker's jobs, and reports what comes of them. */
export class Service implements JobLog {
  readonly #context: Context;
  readonly #socket: Socket;
  readonly #poller: Poller;
  readonly #frame: Message;
  readonly #reader = new JobReader();
  readonly #replies: Replies;
  readonly #encoder = new TextEncoder();
  /** When a job was last started or ended, ms. */
  #now = 0;
  readonly #pending: Job[] = [];
  readonly #running = new Map<number, Job>();
  readonly #stacks = new Rate(MAX_STACKS);
  #handler: HandlerModule = { default: echo };
  #concurrency = 1;
  /** Asynchronous jobs that have ended. */
  #ended = 0;
  readonly #bounds: ReplyBounds;
  /** serving → draining: takes no more jobs, and leaves when none is left */
  #state: "serving" | "draining" = "serving";

  /** Opens libzmq and connects; needs FFI until it returns. */
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
    this.#replies = new Replies(this.#socket);
  }

  /** Serves until the broker or `retire` ends that, then leaves in order. */
  async run(handler: HandlerModule, config: WorkerConfig): Promise<void> {
    this.#handler = handler;
    this.#concurrency = config.concurrency;
    this.#report(FromWorker.READY, config.token);
    const { memoryInterval } = config;
    const timer = memoryInterval > 0
      ? setInterval(() => this.#reportMemory(), memoryInterval)
      : undefined;
    for (;;) {
      const more = this.#pump();
      if (this.#running.size > 0) await this.#letReadyJobsEnd();
      this.#replies.flush();
      if (this.#done) break;
      const timeout = more || this.#socket.readable() ? 0 : LONGEST_WAIT_MS;
      // Nothing else needs this thread unless a handler waits for something.
      if (this.#running.size > 0) await this.#poller.wait(timeout);
      else await this.#poller.rest(timeout, "taken");
    }
    await this.#finish();
    clearInterval(timer);
    this.#send(buildSignal(FromWorker.LEAVING));
    this.#close();
  }

  /** Leaves as soon as the running jobs have ended; gives back those that were not started. */
  retire(): void {
    if (this.#state === "draining") return;
    this.#state = "draining";
    this.#send(buildSignal(FromWorker.RETIRE));
    for (const { id } of this.#pending.splice(0)) this.#giveBack(id);
    this.#poller.wake();
  }

  /** Asks all running jobs to stop. */
  interrupt(): void {
    for (const job of this.#running.values()) job.abort(Stop.interrupted);
  }

  /** Reports that the module is loaded, and that `init()` comes next. */
  reportLoaded(token: string): void {
    this.#report(FromWorker.LOADED, token);
  }

  /** Reports that the handler can't be loaded, and closes. */
  reportFailure(token: string, message: string): void {
    this.#report(FromWorker.FAILED, token, message);
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
    this.#send(buildLog(level, job), this.#encode(message), this.#encoder.encode(fields));
    // A send can eat the wake-up of what arrived meanwhile.
    this.#poller.wake();
  }

  #encode(message: string): Uint8Array<ArrayBuffer> {
    return this.#encoder.encode(message.slice(0, MAX_TEXT));
  }

  /** A job that never awaits holds this report up, as it does all else in this process. */
  #reportMemory(): void {
    this.#send(buildMemory(Deno.memoryUsage().rss));
    // A send can eat the wake-up of what arrived meanwhile.
    this.#poller.wake();
  }

  #report(type: number, token: string, message?: string): void {
    const frame = this.#encoder.encode("\0" + token);
    frame[0] = type;
    if (message === undefined) this.#send(frame);
    else this.#send(frame, this.#encode(message));
  }

  /** Sends a message that is not a reply, after the replies that wait. */
  #send(...frames: Uint8Array<ArrayBuffer>[]): void {
    this.#replies.flush();
    this.#socket.sendAll(frames);
  }

  get #done(): boolean {
    return this.#state === "draining" && this.#running.size === 0 && this.#pending.length === 0;
  }

  /** Lets those asynchronous jobs end that have nothing to wait for, so that their replies share a message. */
  async #letReadyJobsEnd(): Promise<void> {
    let idle = 0;
    for (let ended = this.#ended; this.#running.size > 0 && idle < IDLE_TURNS; idle++) {
      await undefined;
      if (this.#ended !== ended) idle = 0;
      ended = this.#ended;
    }
  }

  #giveBack(job: number): void {
    this.#send(buildJobSignal(FromWorker.RETURN, job, 0));
  }

  async #finish(): Promise<void> {
    try {
      await this.#handler.finish?.();
    } catch (error) {
      this.log("error", `The handler's finish() failed: ${showMessage(error)}`, error);
    }
  }

  #close(): void {
    this.#poller.close();
    this.#socket.close(LINGER_MS);
    this.#context.terminateSync();
  }

  /** Reads what has come and starts what may run; true if there may be more to read. */
  #pump(): boolean {
    let size = 0;
    let bytes = 0;
    for (let read = 0; read < BATCH_MESSAGES && bytes < BATCH_BYTES; read++) {
      size = this.#socket.receiveInto(this.#reader.bytes);
      if (size < 0) break;
      bytes += this.#read(size);
    }
    this.#now = performance.now();
    this.#startPending();
    return size >= 0;
  }

  /** Reads the rest of a message whose first frame, of `size` bytes, was read; returns its bodies' bytes. */
  #read(size: number): number {
    const { bytes, view } = this.#reader;
    const type = bytes[0];
    if (type === FromBroker.JOB) return this.#readJobs(size);
    if (type === FromBroker.CANCEL) this.#cancel(readJobId(view), readCode(view));
    else if (type === FromBroker.STOP) this.#state = "draining";
    else if (type === FromBroker.ASK) this.#send(buildSignal(FromWorker.ALIVE));
    return 0;
  }

  /** Reads the jobs of a message, of which the first one's header was read. */
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
      // The broker answers an expired job itself: another client may wait longer for the same answer.
      if (deadline > 0 && Date.now() > deadline) this.#giveBack(job.id);
      else this.#start(job);
    }
  }

  /** Runs a job. A result that is there at once is answered at once, without a promise. */
  #start(job: Job): void {
    if (isRisky(job.header)) this.#replies.flush();
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
    this.#reply(job.id, Code.ok, 0, this.#tookMs(job), frames, size);
  }

  #replyError(job: Job, error: unknown): void {
    const tookMs = this.#tookMs(job);
    const { code, message, worded, failed } = failureOf(job, error);
    const stack = failed && code >= Code.handlerFailed ? this.#stackOf(error) : "";
    const flags = (worded ? 0 : ReplyFlag.PRIVATE) | (stack === "" ? 0 : ReplyFlag.STACK);
    const texts = stack === "" ? [message] : [message, stack];
    this.#reply(job.id, code, flags, tookMs, texts.map((text) => this.#encode(text)));
  }

  #stackOf(error: unknown): string {
    if (!this.#stacks.has(this.#now)) return "";
    this.#stacks.take(1);
    return showStack(error);
  }

  #tookMs(job: Job): number {
    this.#now = performance.now();
    return this.#now - job.startedAt;
  }

  #reply(
    job: number,
    code: number,
    flags: number,
    tookMs: number,
    frames: readonly Uint8Array<ArrayBuffer>[],
    size: number = bytesOf(frames),
  ): void {
    const next = this.#pending[0]?.header;
    // Another reply follows soon if another job does; the loop that would flush may be asleep.
    const mayWait = next !== undefined && !isRisky(next) && !this.#poller.waiting;
    const header = { job, code, flags, micros: tookMs * 1000, frames: frames.length };
    this.#replies.add(header, frames, size, mayWait, this.#now);
  }
}

/**
 * Whether replies must be sent before this job starts. On a second attempt it may end the process, and
 * unsent replies with it; with a time limit, the broker must know which job is running.
 */
function isRisky({ attempt, requestTimeout }: JobHeader): boolean {
  return attempt > 1 || requestTimeout > 0;
}

harden(Service);
