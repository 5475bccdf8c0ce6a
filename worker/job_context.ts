/**
 * A job in a worker: how the handler is called, what it sees of its job, and when it should stop. No
 * socket: service.ts and testing.ts own the jobs and do something with the results.
 *
 * @module
 */

import type { Span } from "../system/tracing.ts";
import { Credit, type StreamCredit } from "../wire/credit.ts";
import type { JobHeader, LogLevel } from "../wire/job.ts";
import { Code } from "../wire/request.ts";
import { traceText } from "../wire/trace.ts";
import {
  type HandlerContext,
  type HandlerLog,
  type HandlerModule,
  type HandlerParts,
  type HandlerResult,
  type LogLineFields,
  type PublishArguments,
  type QuestionOptions,
  RequestError,
} from "./handler.ts";
import type { Answer } from "./answer.ts";
import { type AskService, type JobTry, StoredTry, submitBy } from "./stored_job.ts";
import { checkProgress, type Progress } from "./progress.ts";

/** Why a job should stop, and the code that it ends with if it does. */
export const Stop = {
  cancelled: { code: Code.cancelled, reason: "Nobody waits for the answer any more" },
  deadline: { code: Code.expired, reason: "The deadline has passed" },
  timeLimit: { code: Code.handlerTimeout, reason: "The handler ran past its limit" },
  interrupted: { code: Code.handlerFailed, reason: "The worker was interrupted" },
} as const;

/** A reason of `Stop`. */
export type Stop = typeof Stop[keyof typeof Stop];

/** Where a handler's log lines go, what it says of how far it is, and what it asks. */
export interface JobLog {
  /** Takes any value, and fields. */
  logOf(job: Job, level: LogLevel, message: unknown, fields: unknown): void;
  /** How far a job is, checked. */
  progressOf(job: Job, progress: Progress): void;
  /** What a job's handler publishes: see `HandlerContext.publish`. */
  publishFor(job: Job, topic: unknown, args: PublishArguments): void;
  /** What a job asks another service. */
  askFor(
    job: Job,
    service: string,
    body: HandlerResult,
    options: QuestionOptions,
  ): Promise<Answer>;
}

/** A job of this worker. The handler sees it only through its `JobContext`. */
export class Job {
  readonly header: JobHeader;
  readonly frames: readonly Uint8Array[];
  /** What the last try of a stored job has kept. */
  readonly kept: Uint8Array | undefined;
  /** What the client takes of an answer in parts now; undefined: it takes it as one. */
  readonly credit: Credit | undefined;
  /** When its handler was called, ms. */
  startedAt = 0;
  /** The span of its handler; undefined: nothing is traced, or it has ended with an error. */
  span: Span | undefined;
  #controller: AbortController | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #stopped: Stop | undefined;
  /** Whether it was answered. */
  isOver = false;
  #onStop: (() => void) | undefined;
  #onCredit: (() => void) | undefined;

  constructor(header: JobHeader, frames: readonly Uint8Array[]) {
    this.header = header;
    const hasKept = header.stored?.hasKept === true && frames.length > 1;
    this.kept = hasKept ? frames[frames.length - 1] : undefined;
    this.frames = hasKept ? frames.slice(0, -1) : frames;
    const { stream } = header;
    const takesParts = stream !== undefined && stream.parts > 0 || header.partsSent > 0;
    this.credit = takesParts && stream !== undefined ? new Credit(stream) : undefined;
  }

  get id(): number {
    return this.header.job;
  }

  /** Aborts when the handler should stop; made at the first use, as most handlers need none. */
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
    const { stop, leftMs } = this.#limit();
    return leftMs > 0 ? undefined : stop;
  }

  /** Asks the handler to stop. */
  abort(stop: Stop): void {
    this.#stopped = stop;
    this.#controller?.abort(stopError(stop));
    this.#onStop?.();
    this.#onCredit?.();
  }

  /** Has `listener` called when the handler should stop; at once, if it should already. */
  onStop(listener: () => void): void {
    this.#onStop = listener;
    // Whoever makes the signal sets the timer, too.
    if (this.signal.aborted) listener();
  }

  /** The client takes more of the answer. */
  grant(credit: StreamCredit): void {
    this.credit?.grant(credit);
    if (this.credit?.isOpen) this.#onCredit?.();
  }

  /** Waits until the client takes more, or the job should stop. */
  waitForCredit(): Promise<void> {
    return new Later((resolve) => this.#onCredit = () => resolve());
  }

  /** The job was answered: stops its timer. */
  end(): void {
    this.isOver = true;
    if (this.#timer !== undefined) clearTimeout(this.#timer);
  }

  #setTimer(): void {
    const { stop, leftMs } = this.#limit();
    // No timer can be longer.
    if (leftMs <= 0x7fffffff) this.#timer = setTimeout(() => this.abort(stop), leftMs);
  }

  /** The limit that comes first, and the time until then; Infinity: there is none. */
  #limit(): { stop: Stop; leftMs: number } {
    const { deadline, requestTimeout } = this.header;
    const untilDeadline = deadline === 0 ? Infinity : deadline - Date.now();
    const untilLimit = requestTimeout === 0
      ? Infinity
      : this.startedAt + requestTimeout - performance.now();
    return untilLimit < untilDeadline
      ? { stop: Stop.timeLimit, leftMs: untilLimit }
      : { stop: Stop.deadline, leftMs: untilDeadline };
  }
}

/** As it was before the handler could replace it. */
const Later = Promise;

/** What a handler is told to stop by. */
export function stopError({ reason }: Stop): DOMException {
  return new DOMException(reason, "AbortError");
}

/** What a handler sees of its job. Whatever the handler adds or replaces here, the job stays as it is. */
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
    const { stored, attempt } = this.#job.header;
    return stored?.attempt ?? attempt;
  }

  get job(): JobTry | undefined {
    const { header: { stored }, kept } = this.#job;
    return stored && new StoredTry(stored, kept, this.#ask);
  }

  get #ask(): AskService {
    return (service, body, options) => this.#log.askFor(this.#job, service, body, options);
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

  get trace(): string | undefined {
    const { span, header } = this.#job;
    const trace = span?.trace ?? header.trace;
    return trace === undefined ? undefined : traceText(trace);
  }

  get partsSent(): number {
    return this.#job.header.partsSent;
  }

  // Functions of their own, as a handler may take them out of its context: `(body, { progress }) => …`.
  get progress(): HandlerContext["progress"] {
    return (done, total, note) => {
      this.#log.progressOf(this.#job, checkProgress(done, total, note));
    };
  }

  get publish(): HandlerContext["publish"] {
    return (topic, ...args) => this.#log.publishFor(this.#job, topic, args);
  }

  get request(): HandlerContext["request"] {
    return (service, body = "", options = {}) =>
      this.#log.askFor(this.#job, service, body, options);
  }

  get submit(): HandlerContext["submit"] {
    return (body = "", options = {}) => submitBy(this.#ask, body, options);
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

/** Calls `allow`, then the handler. Returns no promise if both answer at once. */
export function callHandler(
  module: HandlerModule,
  job: Job,
  context: HandlerContext,
): HandlerResult | HandlerParts | Promise<HandlerResult | HandlerParts> {
  const { allow, default: handler } = module;
  const [body = new Uint8Array(0)] = job.frames;
  const allowed = allow === undefined ? true : toPromise(allow(context));
  if (allowed instanceof Promise) {
    return allowed.then((allowed) => {
      refuseUnless(allowed);
      return handler(body, context);
    });
  }
  refuseUnless(allowed);
  return toPromise(handler(body, context));
}

function refuseUnless(allowed: boolean): void {
  if (!allowed) throw new RequestError(Code.forbidden, "The request is not allowed");
}

/** A foreign promise as one of the runtime's; any other value as it is. */
function toPromise<T>(value: T | PromiseLike<T>): T | Promise<T> {
  return isThenable(value) ? Promise.resolve(value) : value;
}

function isThenable<T>(value: T | PromiseLike<T>): value is PromiseLike<T> {
  return typeof value === "object" && value !== null && "then" in value &&
    typeof value.then === "function";
}
