/**
 * A job in a worker: how the handler is called, what it sees, when it should stop, and what its result
 * or its error means. No socket: worker.ts sends what comes of it, testing.ts hands it to a test.
 *
 * @module
 */

import type { WorkerConfig } from "../wire/worker_config.ts";
import { type Exports, exportsOf, faultOfHandler, HOOKS } from "./handler_module.ts";
import type { JobHeader, LogLevel } from "../wire/job.ts";
import { Code, isErrorCode } from "../wire/request.ts";
import { toFrames } from "./result.ts";
import { messageOf } from "./show.ts";
import { lengthOf } from "../zmq/library.ts";
import {
  type HandlerContext,
  type HandlerLog,
  type HandlerModule,
  type HandlerResult,
  type LogLineFields,
  RequestError,
} from "./handler.ts";

/**
 * Makes sure that a module has what is needed of it.
 *
 * @throws {TypeError} when it has not.
 */
export function checkModule(
  module: unknown,
  config: { needsDequeue: boolean },
): HandlerModule {
  const exports = exportsOf(module);
  if (!isHandlerModule(exports)) throw new TypeError(faultOfHandler(exports));
  for (const name of HOOKS) {
    if (exports[name] !== undefined && typeof exports[name] !== "function") {
      throw new TypeError(`The module's export "${name}" must be a function`);
    }
  }
  if (config.needsDequeue && exports.dequeue === undefined) {
    throw new TypeError('The module must export a function "dequeue", as "dequeueInterval" is set');
  }
  return exports;
}

function isHandlerModule(exports: Exports): exports is Exports & HandlerModule {
  return faultOfHandler(exports) === undefined;
}

/** Why a job should stop, and the code that it ends with if it does. */
export const Stop = {
  cancelled: { code: Code.cancelled, reason: "Nobody waits for the answer any more" },
  deadline: { code: Code.expired, reason: "The deadline has passed" },
  timeLimit: { code: Code.handlerTimeout, reason: "The handler ran past its limit" },
  interrupted: { code: Code.handlerFailed, reason: "The worker was interrupted" },
} as const;

/** One of them. */
export type Stop = typeof Stop[keyof typeof Stop];

/** Where a handler's log lines go. */
export interface JobLog {
  /** Takes any value, and fields. */
  logOf(job: Job, level: LogLevel, message: unknown, fields: unknown): void;
}

/** An error reply, as the handler's error makes it. */
export interface Failure {
  /** 400 to 599. */
  code: number;
  /** What the client reads, if it may. */
  message: string;
  /** Whether the message was worded for clients, or is the runtime's own. */
  worded: boolean;
  /** Whether the handler failed, and was not just told to stop. */
  failed: boolean;
}

/** A job of this worker. The handler sees none of it but through its context. */
export class Job {
  readonly header: JobHeader;
  readonly frames: readonly Uint8Array[];
  /** When its handler was called, ms. */
  startedAt = 0;
  #controller: AbortController | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #stopped: Stop | undefined;

  constructor(header: JobHeader, frames: readonly Uint8Array[]) {
    this.header = header;
    this.frames = frames;
  }

  get id(): number {
    return this.header.job;
  }

  /** Made when it is asked for. */
  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      const { stopped } = this;
      if (stopped !== undefined) this.abort(stopped);
      else this.#setTimer();
    }
    return this.#controller.signal;
  }

  /** Why the handler should have stopped by now, if it should. */
  get stopped(): Stop | undefined {
    if (this.#stopped !== undefined) return this.#stopped;
    const { stop, left } = this.#limit();
    return left > 0 ? undefined : stop;
  }

  /** Fires the signal. */
  abort(stop: Stop): void {
    this.#stopped = stop;
    this.#controller?.abort(new DOMException(stop.reason, "AbortError"));
  }

  /** The job has ended. */
  end(): void {
    if (this.#timer !== undefined) clearTimeout(this.#timer);
  }

  #setTimer(): void {
    const { stop, left } = this.#limit();
    // Timers hold no longer time.
    if (left <= 0x7fffffff) this.#timer = setTimeout(() => this.abort(stop), left);
  }

  /** The limit that comes first, and the ms until then; Infinity: there is none. */
  #limit(): { stop: Stop; left: number } {
    const { deadline, requestTimeout } = this.header;
    const untilDeadline = deadline === 0 ? Infinity : deadline - Date.now();
    const untilLimit = requestTimeout === 0
      ? Infinity
      : this.startedAt + requestTimeout - performance.now();
    return untilLimit < untilDeadline
      ? { stop: Stop.timeLimit, left: untilLimit }
      : { stop: Stop.deadline, left: untilDeadline };
  }
}

/** What a handler sees of its job. Whatever it adds to this or replaces, the job itself stays as it is. */
export class JobContext implements HandlerContext {
  readonly #job: Job;
  readonly #log: JobLog;

  constructor(job: Job, log: JobLog) {
    this.#job = job;
    this.#log = log;
  }

  get id(): number {
    return this.#job.header.job;
  }

  get attempt(): number {
    return this.#job.header.attempt;
  }

  get frames(): readonly Uint8Array[] {
    return this.#job.frames;
  }

  get client(): HandlerContext["client"] {
    return this.#job.header.client;
  }

  get deadline(): number | undefined {
    const { deadline } = this.#job.header;
    return deadline === 0 ? undefined : deadline;
  }

  get signal(): AbortSignal {
    return this.#job.signal;
  }

  get log(): HandlerLog {
    const write = (level: LogLevel) => (message: unknown, fields?: LogLineFields) =>
      this.#log.logOf(this.#job, level, message, fields);
    return {
      debug: write("debug"),
      info: write("info"),
      warn: write("warn"),
      error: write("error"),
    };
  }
}

/** Calls the handler, after `allow`. Without a promise if it answers at once. */
export function callHandler(
  module: HandlerModule,
  job: Job,
  context: HandlerContext,
): HandlerResult | Promise<HandlerResult> {
  const { allow, default: handler } = module;
  const [body = new Uint8Array(0)] = job.frames;
  const allowed = allow === undefined ? true : settled(allow(context));
  if (allowed instanceof Promise) {
    return allowed.then((allowed) => {
      demand(allowed);
      return handler(body, context);
    });
  }
  demand(allowed);
  return settled(handler(body, context));
}

/** What bounds a reply. */
export type ReplyBounds = Pick<WorkerConfig, "maxMessageSize" | "maxFrames">;

/**
 * The frames of a reply. Runs the handler's own code: call it before a message is begun.
 *
 * @throws {TypeError} when the result is no answer.
 * @throws {RangeError} when it is too large.
 */
export function framesOf(
  result: HandlerResult,
  { maxMessageSize, maxFrames }: ReplyBounds,
): { frames: Uint8Array<ArrayBuffer>[]; size: number } {
  const frames = toFrames(result);
  if (frames.length > maxFrames) {
    throw new RangeError(
      `The reply must have at most ${maxFrames} frames: it has ${frames.length}`,
    );
  }
  const size = bytesOf(frames);
  if (size <= maxMessageSize) return { frames, size };
  throw new RangeError(`The reply must have at most ${maxMessageSize} bytes: it has ${size}`);
}

/** What an error of the handler's is answered with. One that was told to stop and threw has done so. */
export function failureOf(job: Job, error: unknown): Failure {
  const { stopped } = job;
  if (stopped !== undefined && stopped !== Stop.interrupted) {
    return { code: stopped.code, message: stopped.reason, worded: true, failed: false };
  }
  const worded = wordedCodeOf(error);
  const code = worded ?? Code.handlerFailed;
  return { code, message: messageOf(error), worded: worded !== undefined, failed: true };
}

/** Bytes in all frames, whatever these pretend to have. */
export function bytesOf(frames: readonly Uint8Array[]): number {
  let sum = 0;
  for (const frame of frames) sum += lengthOf(frame);
  return sum;
}

function demand(allowed: boolean): void {
  if (!allowed) throw new RequestError(Code.forbidden, "The request is not allowed");
}

/** The code of an error that is worded for clients; also of another copy of this module, so by its name. */
function wordedCodeOf(error: unknown): number | undefined {
  try {
    const named = error instanceof Error && error.name === "RequestError" && "code" in error;
    const code = named ? error.code : undefined;
    return isErrorCode(code) ? code : undefined;
  } catch {
    return undefined; // it does not let itself be looked at
  }
}

/** A promise of any make as one of our own; other values as they are. */
function settled<T>(value: T | PromiseLike<T>): T | Promise<T> {
  return isThenable(value) ? Promise.resolve(value) : value;
}

function isThenable<T>(value: T | PromiseLike<T>): value is PromiseLike<T> {
  return typeof value === "object" && value !== null && "then" in value &&
    typeof value.then === "function";
}
