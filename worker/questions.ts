/**
 * What handlers ask other services of their server, until it is answered. How it gets there is the lane's business,
 * and which service answers the broker's.
 *
 * @module
 */

import type { Span } from "../system/tracing.ts";
import { EMPTY_FRAME } from "../wire/empty_frame.ts";
import { buildQuestion } from "../wire/question.ts";
import { Code } from "../wire/request.ts";
import { harden } from "../zmq/library.ts";
import { Answer } from "./answer.ts";
import type { HandlerResult, QuestionOptions } from "./handler.ts";
import { endSpan, type JobSpans } from "./job_spans.ts";
import { type Job, stopError } from "./job_context.ts";
import { RequestError } from "./request_error.ts";
import { bytesOf, type ReplyBounds, sentFramesOf } from "./result.ts";

type Frame = Uint8Array<ArrayBuffer>;

/** The way of questions to the broker. */
export interface QuestionWay {
  /** Asks on behalf of a job. The first frame is the question's head. */
  ask(job: number, frames: readonly Uint8Array[], size: number): void;
  /** Nobody waits for the answer any more. */
  withdraw(question: number): void;
}

/** A question that was not answered. */
interface Open {
  readonly job: Job;
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: unknown) => void;
  /** Undoes what a signal was told. */
  readonly forgetSignal: () => void;
  /** Undefined: nothing is traced. */
  readonly span: Span | undefined;
}

/** As they were before the handler could replace them. */
const Later = Promise;
const parse = JSON.parse;
const decoder = new TextDecoder();
const NOTHING = () => {};

/** The questions of a worker. */
export class Questions {
  readonly #way: QuestionWay;
  readonly #bounds: ReplyBounds;
  readonly #spans: JobSpans | undefined;
  readonly #open = new Map<number, Open>();
  #last = 0;

  /** Has asked nothing yet; `spans`: undefined where nothing is traced. */
  constructor(way: QuestionWay, bounds: ReplyBounds, spans?: JobSpans) {
    this.#spans = spans;
    this.#way = way;
    this.#bounds = bounds;
  }

  /**
   * Asks a service on behalf of a job; its answer.
   *
   * @throws {TypeError | RangeError} when the service, the body or an option is none.
   */
  ask(job: Job, service: string, body: HandlerResult, options: QuestionOptions): Promise<Answer> {
    const { timeout = 0, requestTimeout = 0, key = "", signal } = options;
    requireText("service", service);
    requireText("key", key);
    requireTime("timeout", timeout);
    requireTime("requestTimeout", requestTimeout);
    const number = ++this.#last;
    const deadline = timeout > 0 ? Date.now() + timeout : 0;
    const frames = sentFramesOf(body, "Cannot ask");
    const size = bytesOf(frames);
    this.#requireFit(frames.length, size);
    const span = this.#spans?.ask(job.span, service);
    // Without one of its own, the broker passes on the trace of the job.
    const trace = span?.trace;
    const head = buildQuestion({ number, deadline, requestTimeout, key, service, trace });
    return new Later((resolve, reject) => {
      const stopped = signal?.aborted ? signal.reason : reasonOf(job);
      if (stopped !== undefined) {
        if (span !== undefined) endSpan(span, Code.cancelled);
        return reject(stopped);
      }
      const forgetSignal = this.#listen(number, signal);
      this.#open.set(number, { job, resolve, reject, forgetSignal, span });
      this.#way.ask(job.id, [head, ...frames], head.length + size);
    });
  }

  /** The head is a frame more. */
  #requireFit(frames: number, size: number): void {
    const { maxMessageSize, maxFrames } = this.#bounds;
    if (size > maxMessageSize) {
      throw new RangeError(
        `Cannot ask: the body must have at most ${maxMessageSize} bytes: it has ${size}`,
      );
    }
    const most = Math.max(1, maxFrames - 1);
    if (frames <= most) return;
    throw new RangeError(`Cannot ask: the body must have at most ${most} frames: it has ${frames}`);
  }

  #listen(number: number, signal: AbortSignal | undefined): () => void {
    if (signal === undefined) return NOTHING;
    const listener = () => this.#withdraw(number, signal.reason);
    signal.addEventListener("abort", listener, { once: true });
    return () => signal.removeEventListener("abort", listener);
  }

  /** A question was answered, by these frames or by an error. */
  answered(number: number, code: number, frames: readonly Frame[]): void {
    const open = this.#take(number);
    if (open === undefined) return;
    if (code === Code.ok) {
      if (open.span !== undefined) endSpan(open.span, code);
      return open.resolve(new Answer(frames));
    }
    const error = errorOf(code, frames);
    if (open.span !== undefined) endSpan(open.span, code, error.message);
    open.reject(error);
  }

  /** A job should stop, or was answered: what it has asked is not waited for any more. */
  end(job: Job, reason: unknown): void {
    if (this.#open.size === 0) return;
    for (const [number, open] of this.#open) if (open.job === job) this.#withdraw(number, reason);
  }

  #withdraw(number: number, reason: unknown): void {
    const open = this.#take(number);
    if (open === undefined) return;
    this.#way.withdraw(number);
    if (open.span !== undefined) endSpan(open.span, Code.cancelled);
    open.reject(reason);
  }

  #take(number: number): Open | undefined {
    const open = this.#open.get(number);
    this.#open.delete(number);
    open?.forgetSignal();
    return open;
  }
}

/** Why a job should ask nothing any more; undefined: it may. */
function reasonOf(job: Job): unknown {
  const { stopped } = job;
  return stopped === undefined ? undefined : stopError(stopped);
}

/** An error as the service has worded it: thrown on, it answers the handler's own client. */
function errorOf(code: number, frames: readonly Frame[]): RequestError {
  const message = decoder.decode(frames[0] ?? EMPTY_FRAME);
  const details = frames[1];
  return details === undefined
    ? new RequestError(code, message)
    : new RequestError(code, message, { details: parse(decoder.decode(details)) });
}

function requireText(name: string, value: unknown): void {
  if (typeof value === "string") return;
  throw new TypeError(`Cannot ask: "${name}" must be a string: it is a ${typeof value}`);
}

function requireTime(name: string, value: unknown): void {
  if (typeof value === "number" && value >= 0 && value < Infinity) return;
  throw new RangeError(
    `Cannot ask: "${name}" must be a number of ms >= 0: current value is ${value}`,
  );
}

harden(Questions);
