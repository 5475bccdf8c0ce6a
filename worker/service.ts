/**
 * A worker at work: its jobs and its time. How they come and go is in lane.ts and behind it; how a job is called
 * and what its result means, in job_context.ts and result.ts.
 *
 * @module
 */

import {
  FromWorker,
  type JobHeader,
  type LogLevel,
  ReplyFlag,
  type ReplyHeader,
} from "../wire/job.ts";
import type { Credit } from "../wire/credit.ts";
import { EMPTY_FRAME } from "../wire/empty_frame.ts";
import { Rate } from "../wire/rate.ts";
import { Code } from "../wire/request.ts";
import { traceIdOf } from "../wire/trace.ts";
import type { WorkerConfig } from "../wire/worker_config.ts";
import { harden } from "../zmq/library.ts";
import type {
  Handler,
  HandlerModule,
  HandlerParts,
  HandlerResult,
  PublishArguments,
  QuestionOptions,
} from "./handler.ts";
import { callHandler, Job, JobContext, type JobLog, Stop } from "./job_context.ts";
import type { Orders, WorkerLane } from "./lane.ts";
import { drain, GatheredParts, isInParts, SentParts, Turns } from "./parts.ts";
import type { Answer } from "./answer.ts";
import { Questions } from "./questions.ts";
import { checkPublication } from "./publication.ts";
import { PendingJobs } from "./pending_jobs.ts";
import { type Progress, ProgressReports } from "./progress.ts";
import { bytesOf, failureOf, framesOf, type ReplyBounds } from "./result.ts";
import { endSpan, type JobSpans } from "./job_spans.ts";
import { MAX_TEXT, show, showFields, showMessage, showStack } from "./show.ts";

/** The longest wait. */
const LONGEST_WAIT_MS = 60_000;
/** Once no job has ended in this many microtask turns, all that still run wait for a timer or for I/O. */
const IDLE_TURNS = 8;
/** Error replies of one second that bring a stack along: writing a stack as text takes long. */
const MAX_STACKS = 100;

const ENDED = new DOMException("The job has ended", "AbortError");

/** Answers with what was asked: the handler where none was named. */
export const echo: Handler = (_body, { frames }) => frames;

/** Runs the broker's jobs, and reports what comes of them. */
export class Service implements JobLog {
  readonly #lane: WorkerLane;
  readonly #orders: Orders;
  readonly #encoder = new TextEncoder();
  /** When a job was last started or ended, ms. */
  #now = 0;
  readonly #pending = new PendingJobs();
  readonly #running = new Map<number, Job>();
  readonly #stacks = new Rate(MAX_STACKS);
  #handler: HandlerModule = { default: echo };
  #concurrency = 1;
  /** Asynchronous jobs that have ended, and parts that were sent. */
  #ended = 0;
  readonly #turns: Turns;
  readonly #progress: ProgressReports;
  readonly #questions: Questions;
  /** Of the running ones, those that are risky; and whether `flush` follows as soon as none can end any more. */
  #risky = 0;
  #isSettling = false;
  readonly #bounds: ReplyBounds;
  readonly #spans: JobSpans | undefined;
  /** Written anew for each reply; the lane keeps none. */
  readonly #header: ReplyHeader = { job: 0, code: 0, flags: 0, micros: 0.5, frames: 0 };
  /** serving → draining: takes no more jobs, and leaves when none is left */
  #state: "serving" | "draining" = "serving";

  /** Serves the broker that is behind `lane`; `spans`: undefined where nothing is traced. */
  constructor(lane: WorkerLane, bounds: ReplyBounds, spans?: JobSpans) {
    this.#lane = lane;
    this.#spans = spans;
    this.#bounds = bounds;
    this.#turns = new Turns(lane);
    this.#progress = new ProgressReports((job, frames) => lane.progress(job, frames));
    this.#questions = new Questions(
      {
        ask: (job, frames, size) => lane.ask(job, frames, size),
        withdraw: (question) => lane.withdraw(question),
      },
      bounds,
      spans,
    );
    this.#orders = {
      job: (header, frames) => this.#pending.add(new Job(header, frames)),
      cancel: (job, code) => this.#cancel(job, code),
      grant: (job, credit) => (this.#running.get(job) ?? this.#pending.find(job))?.grant(credit),
      answer: (question, code, frames) => this.#questions.answered(question, code, frames),
      stop: () => this.#state = "draining",
      ask: () => lane.remark(FromWorker.ALIVE),
      lost: () => this.#lose(),
    };
  }

  /** Serves until the broker or `retire` ends that, then leaves in order. */
  async run(handler: HandlerModule, config: WorkerConfig): Promise<void> {
    const lane = this.#lane;
    this.#handler = handler;
    this.#concurrency = config.concurrency;
    lane.introduce(FromWorker.READY, config.token);
    const { memoryInterval } = config;
    const timer = memoryInterval > 0
      ? setInterval(() => lane.memory(Deno.memoryUsage().rss), memoryInterval)
      : undefined;
    for (;;) {
      const more = this.#pump();
      if (this.#running.size > 0) await this.#letReadyJobsEnd();
      lane.flush();
      if (this.#done) break;
      const isBusy = more || lane.isReadable() || this.#turns.isAwaited;
      const timeout = isBusy ? 0 : LONGEST_WAIT_MS;
      // Nothing else needs this thread unless a handler waits for something.
      if (this.#running.size > 0) await lane.wait(timeout);
      else await lane.rest(timeout);
    }
    await this.#finish();
    clearInterval(timer);
    lane.remark(FromWorker.LEAVING);
    lane.close();
  }

  /** Leaves as soon as the running jobs have ended; gives back those that were not started. */
  retire(): void {
    if (this.#state === "draining") return;
    this.#state = "draining";
    this.#lane.remark(FromWorker.RETIRE);
    for (let job = this.#pending.take(); job !== undefined; job = this.#pending.take()) {
      this.#lane.giveBack(job.id);
    }
    this.#lane.wake();
  }

  /** Nobody waits for any answer any more: leaves as soon as the handler lets it. */
  #lose(): void {
    this.#state = "draining";
    while (this.#pending.take() !== undefined);
    this.interrupt();
  }

  /** Asks all running jobs to stop. */
  interrupt(): void {
    for (const job of this.#running.values()) job.abort(Stop.interrupted);
  }

  /** Reports that the module is loaded, and that `init()` comes next. */
  reportLoaded(token: string): void {
    this.#lane.introduce(FromWorker.LOADED, token);
  }

  /** Reports that the handler can't be loaded, and closes. */
  reportFailure(token: string, message: string): void {
    this.#lane.fail(token, cut(message));
    this.#lane.close();
  }

  /** Writes a line to the server's log; with an error, its stack too. */
  log(level: LogLevel, message: string, error?: unknown): void {
    this.#log(level, message, showFields(undefined, error), 0);
  }

  /** Writes what a job's handler logs: any value, and fields. */
  logOf(job: Job, level: LogLevel, message: unknown, fields: unknown): void {
    const shown = showFields(fields, message);
    this.#log(level, show(message), withTrace(shown, job), job.id);
  }

  /** Passes on how far a job's handler is, if its client wants to know. */
  progressOf(job: Job, progress: Progress): void {
    const isWanted = job.header.stream !== undefined && !job.isOver;
    if (isWanted) this.#progress.add(job.id, progress);
  }

  /** Passes on what a job's handler publishes. */
  publishFor(job: Job, topic: unknown, args: PublishArguments): void {
    const { frames, size, retain } = checkPublication(topic, args, this.#bounds);
    this.#lane.publish(job.id, frames, size, retain);
  }

  /** Asks another service on behalf of a job. */
  askFor(
    job: Job,
    service: string,
    body: HandlerResult,
    options: QuestionOptions,
  ): Promise<Answer> {
    return this.#questions.ask(job, service, body, options);
  }

  #log(level: LogLevel, message: string, fields: string, job: number): void {
    this.#lane.log(level, job, cut(message), fields);
  }

  get #done(): boolean {
    return this.#state === "draining" && this.#running.size === 0 &&
      this.#pending.next === undefined;
  }

  /** Lets those asynchronous jobs end that have nothing to wait for, so that their replies share a message. */
  async #letReadyJobsEnd(): Promise<void> {
    let idle = 0;
    this.#isSettling = true;
    for (let ended = this.#ended; this.#running.size > 0 && idle < IDLE_TURNS; idle++) {
      await undefined;
      if (this.#ended !== ended) idle = 0;
      ended = this.#ended;
    }
    this.#isSettling = false;
  }

  async #finish(): Promise<void> {
    try {
      await this.#handler.finish?.();
    } catch (error) {
      this.log("error", `The handler's finish() failed: ${showMessage(error)}`, error);
    }
  }

  /** Reads what has come and starts what may run; true if there may be more to read. */
  #pump(): boolean {
    const more = this.#lane.read(this.#orders);
    this.#now = performance.now();
    this.#turns.next();
    this.#startPending();
    return more;
  }

  #cancel(job: number, code: number): void {
    if (!this.#pending.remove(job)) return this.#running.get(job)?.abort(Stop.cancelled);
    this.#reply(job, code, 0, 0, [this.#encoder.encode(Stop.cancelled.reason)]);
  }

  #startPending(): void {
    while (this.#running.size < this.#concurrency) {
      const job = this.#pending.take();
      if (job === undefined) return;
      const { deadline } = job.header;
      // The broker answers an expired job itself: another client may wait longer for the same answer.
      if (deadline > 0 && Date.now() > deadline) this.#lane.giveBack(job.id);
      else this.#start(job);
    }
  }

  #start(job: Job): void {
    if (isRisky(job.header)) this.#lane.flush();
    job.startedAt = this.#now;
    const spans = this.#spans;
    if (spans === undefined) return this.#call(job);
    job.span = spans.start(job.header);
    spans.run(job.span, () => this.#call(job));
  }

  /** Runs a job. A result that is there at once is answered at once, without a promise. */
  #call(job: Job): void {
    try {
      const result = callHandler(this.#handler, job, new JobContext(job, this));
      if (result instanceof Promise || isInParts(result)) {
        this.#running.set(job.id, job);
        if (isRisky(job.header)) this.#risky++;
        this.#await(result, job);
        return;
      }
      this.#replyResult(job, result);
    } catch (error) {
      this.#replyError(job, error);
    }
    this.#endJob(job);
  }

  /** What it has asked needs no answer any more. */
  #endJob(job: Job): void {
    job.end();
    this.#questions.end(job, ENDED);
    if (job.span !== undefined) endSpan(job.span, Code.ok);
  }

  async #await(
    result: HandlerParts | Promise<HandlerResult | HandlerParts>,
    job: Job,
  ): Promise<void> {
    try {
      const value = await result;
      if (isInParts(value)) await this.#replyParts(job, value);
      else this.#replyResult(job, value);
    } catch (error) {
      this.#replyError(job, error);
    }
    this.#endJob(job);
    this.#ended++;
    this.#running.delete(job.id);
    if (isRisky(job.header)) this.#risky--;
    this.#startPending();
    // What was sent may have eaten a wake-up, and the loop may wait for the last job.
    this.#lane.wake();
  }

  /** All that runs the handler's code comes before the first frame is sent. */
  #replyResult(job: Job, result: HandlerResult): void {
    const { frames, size } = framesOf(result, this.#bounds);
    this.#lastProgress(job);
    this.#reply(job.id, Code.ok, 0, this.#tookMs(job), frames, size);
  }

  #replyParts(job: Job, parts: HandlerParts): Promise<void> {
    const { credit } = job;
    return credit === undefined ? this.#gather(job, parts) : this.#stream(job, parts, credit);
  }

  /** The client takes all parts as one reply, which has one frame at least. */
  async #gather(job: Job, parts: HandlerParts): Promise<void> {
    const all = new GatheredParts(this.#bounds);
    await drain(parts, job, all);
    const frames = all.frames.length === 0 ? [EMPTY_FRAME] : all.frames;
    this.#lastProgress(job);
    this.#reply(job.id, Code.ok, 0, this.#tookMs(job), frames, all.size);
  }

  /** The client takes parts as they come, up to its credit. */
  async #stream(job: Job, parts: HandlerParts, credit: Credit): Promise<void> {
    const send = (frames: Uint8Array[], size: number) => this.#sendPart(job.id, frames, size);
    await drain(parts, job, new SentParts(job, credit, this.#bounds, this.#turns, send));
    this.#lastProgress(job);
    this.#reply(job.id, Code.ok, ReplyFlag.ENDS_PARTS, this.#tookMs(job), [EMPTY_FRAME], 0);
  }

  #sendPart(job: number, frames: Uint8Array[], size: number): void {
    const mayWait = this.#isSettling && this.#risky === 0 && !this.#lane.waiting;
    const header = this.#headerOf(job, Code.ok, 0, 0, frames.length);
    this.#lane.part(header, frames, size, mayWait, performance.now());
    this.#ended++;
  }

  /** What a job has said of how far it is comes before its answer. */
  #lastProgress({ id, header }: Job): void {
    if (header.stream !== undefined) this.#progress.end(id);
  }

  #replyError(job: Job, error: unknown): void {
    this.#lastProgress(job);
    const tookMs = this.#tookMs(job);
    const { code, message, worded, failed, details } = failureOf(job, error);
    const stack = failed && code >= Code.handlerFailed ? this.#stackOf(error) : "";
    const frames = [this.#encoder.encode(cut(message))];
    if (details !== undefined) frames.push(details);
    if (stack !== "") frames.push(this.#encoder.encode(cut(stack)));
    const flags = (worded ? 0 : ReplyFlag.PRIVATE) | (stack === "" ? 0 : ReplyFlag.STACK) |
      (details === undefined ? 0 : ReplyFlag.DETAILS);
    this.#reply(job.id, code, flags, tookMs, frames);
    if (job.span === undefined) return;
    endSpan(job.span, code, message, stack);
    job.span = undefined;
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
    frames: readonly Uint8Array[],
    size: number = bytesOf(frames),
  ): void {
    const next = this.#pending.next?.header;
    const othersEnd = this.#isSettling && this.#risky === 0;
    // Another reply follows soon if another job does; the loop that would flush may be asleep.
    const mayWait = (next === undefined ? othersEnd : !isRisky(next)) && !this.#lane.waiting;
    const header = this.#headerOf(job, code, flags, tookMs, frames.length);
    this.#lane.reply(header, frames, size, mayWait, this.#now);
  }

  /** One record for all. */
  #headerOf(
    job: number,
    code: number,
    flags: number,
    tookMs: number,
    frames: number,
  ): ReplyHeader {
    const header = this.#header;
    header.job = job;
    header.code = code;
    header.flags = flags;
    header.micros = tookMs * 1000;
    header.frames = frames;
    return header;
  }
}

/** The fields of a line, as JSON, with the trace that a job has only here: the server knows of others. */
function withTrace(fields: string, { span, header }: Job): string {
  if (span?.trace === undefined || header.trace !== undefined) return fields;
  const trace = `"trace":"${traceIdOf(span.trace)}"}`;
  return fields === "" || fields === "{}" ? `{${trace}` : `${fields.slice(0, -1)},${trace}`;
}

function cut(message: string): string {
  return message.slice(0, MAX_TEXT);
}

/**
 * Whether replies must be sent before this job starts. On a second attempt it may end the process, and
 * unsent replies with it; with a time limit, the broker must know which job is running.
 */
function isRisky({ attempt, requestTimeout }: JobHeader): boolean {
  return attempt > 1 || requestTimeout > 0;
}

harden(Service);
