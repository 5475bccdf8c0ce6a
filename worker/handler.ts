/**
 * What a handler module may use. A handler module exports a {@linkcode Handler} as its default;
 * {@linkcode json} and {@linkcode text} make one from a function of JSON values or of text.
 *
 * ```ts
 * import { text } from "jsr:@zmq/prefork/worker";
 *
 * export default text((name) => `Hello, ${name}`);
 * ```
 *
 * @module
 */

import { Code } from "../wire/request.ts";
import type { Answer } from "./answer.ts";
import { RequestError } from "./request_error.ts";
import type { JobTry, SubmissionOptions, SubmittedJob } from "./stored_job.ts";
import { showMessage } from "./show.ts";

export type { Answer } from "./answer.ts";
export { RequestError } from "./request_error.ts";
export type { JobTerms } from "../wire/job_terms.ts";
export type { JobTry, SubmissionOptions, SubmittedJob } from "./stored_job.ts";
export {
  procedure,
  rpc,
  type RpcCall,
  type RpcCalls,
  type RpcHandler,
  type RpcInput,
  withContext,
} from "./rpc.ts";
export type {
  RpcIssue,
  StandardSchema,
  StandardSchemaIssue,
  StandardSchemaResult,
} from "./standard_schema.ts";

/** What a handler returns: one body frame, or a list of them. Text is sent as UTF-8. */
export type HandlerResult = Uint8Array | string | readonly (Uint8Array | string)[];

/**
 * An answer in parts, each of them one frame or a list of them: what an `async function*` returns, or a
 * `ReadableStream`. What a generator returns is its last part, unless it is undefined.
 */
export type HandlerParts = AsyncIterable<HandlerResult>;

/**
 * Answers one request.
 *
 * @param body the request's first body frame.
 * @param context what else is known about the request.
 * @returns the answer, or its parts. A handler that throws answers with an error: a {@linkcode RequestError} with
 * its own code and message, anything else with code 500.
 *
 * @example
 * ```ts
 * const handler: Handler = async function* (_body, { signal }) {
 *   for (let count = 3; count > 0 && !signal.aborted; count--) yield String(count);
 * };
 * export default handler;
 * ```
 */
export type Handler = (
  body: Uint8Array,
  context: HandlerContext,
) => HandlerResult | HandlerParts | Promise<HandlerResult | HandlerParts>;

/** What a handler module may export. */
export interface HandlerModule {
  /** Answers requests. */
  default: Handler;
  /** Runs before the first request. The worker is ready when it has returned or its promise resolved. */
  init?: () => void | Promise<void>;
  /** Runs before the process exits, unless it is killed or crashes. */
  finish?: () => void | Promise<void>;
  /** Called before each request; if it returns false, the request is answered with error 403. */
  allow?: (request: HandlerContext) => boolean | Promise<boolean>;
  /** Runs once every `dequeueInterval`, in a process of its own. */
  dequeue?: () => void | Promise<void>;
}

/** Plain values that a log line carries along with its message; undefined ones are left out. */
export type LogLineFields = Readonly<
  Record<string, string | number | boolean | bigint | null | undefined>
>;

/**
 * Writes to the server's log. A message may be any value: an error is logged with its stack, an object as
 * `console.log` shows it. Messages are cut at 8,192 characters, fields at 1,024. Never throws.
 *
 * @example
 * ```ts
 * ctx.log.warn("slow query", { table: "orders", ms: 1200 });
 * ctx.log.error(error);
 * ```
 */
export interface HandlerLog {
  /** A line for developers. */
  debug(message: unknown, fields?: LogLineFields): void;
  /** A line for operators. */
  info(message: unknown, fields?: LogLineFields): void;
  /** Something that needs a look. */
  warn(message: unknown, fields?: LogLineFields): void;
  /** Something that went wrong. */
  error(message: unknown, fields?: LogLineFields): void;
}

/** What a handler gets along with the first body frame of a request. */
export interface HandlerContext {
  /** The server's number for the job, unique while the server runs. */
  readonly id: number;
  /**
   * 1 for the first attempt; more if workers have died that may have started this job. Of a stored job: which of its
   * tries this is.
   */
  readonly attempt: number;
  /** The stored job whose try this is; undefined: it is a request. */
  readonly job: JobTry | undefined;
  /** All body frames. */
  readonly frames: readonly Uint8Array[];
  /**
   * The client: its network address ("" over ipc), the identity that it chose ("" if none), and the user
   * that its key belongs to ("" if the server requires no keys).
   */
  readonly client: { readonly address: string; readonly identity: string; readonly user: string };
  /**
   * When the client will give up, ms since 1970, as `Date.now()` counts; undefined unless the request came
   * from a client that says so, as ours does.
   */
  readonly deadline: number | undefined;
  /**
   * Aborts when the answer is no longer wanted or would come too late: the deadline or the time limit has
   * passed, the client has disconnected or cancelled the request, or the worker was interrupted. A handler
   * that is still running `abortGrace` later may have its process killed.
   */
  readonly signal: AbortSignal;
  /**
   * The trace that the request belongs to, as W3C's `traceparent`: to be passed on to whatever the handler asks by
   * other means than `request` and, with OpenTelemetry on, `fetch`, which pass it on by themselves. Undefined where
   * the request has none and OpenTelemetry is off.
   */
  readonly trace: string | undefined;
  /**
   * How many parts of the answer the client has already. 0, unless workers have died in the middle of it and the
   * client has asked to have such an answer resumed: the handler goes on with the part of this number.
   */
  readonly partsSent: number;
  /**
   * Tells the client how far the handler is, if it wants to know, at most about 20 times a second; what was said
   * last before the answer is always told.
   *
   * @param done how much is done.
   * @param total how much that will be in all; undefined: it is not known.
   * @param note what is being done; of a long one the first 1,024 bytes are told.
   * @throws {TypeError} when an argument is of another type, or `done` is NaN.
   *
   * @example
   * ```ts
   * for (const [index, page] of pages.entries()) {
   *   ctx.progress(index, pages.length, page.title);
   *   await print(page);
   * }
   * ```
   */
  progress(done: number, total?: number, note?: string): void;
  /**
   * Asks another service of this server, by the rights of the client whose job this is: a service that its user may
   * not ask answers 403. What is asked ends with the job: by its deadline, its cancellation, or its answer.
   *
   * @param service its name; "": the service without a name.
   * @param body one frame, or a list of at least one. Text is sent as UTF-8.
   * @throws {RequestError} (the promise is rejected) with the service's own code and message, 404 where there is no
   * such service, 503 where its queue is full, 508 where a request has gone through 16 services.
   * @throws {DOMException} (the same) named "AbortError" when the job should stop, or has ended.
   * @throws {TypeError | RangeError} when an argument or an option is wrong.
   *
   * @example
   * ```ts
   * const handler: Handler = async (body, ctx) => {
   *   const small = await ctx.request("resize", body, { timeout: 5000 });
   *   return small.bytes;
   * };
   * ```
   */
  request(service: string, body?: HandlerResult, options?: QuestionOptions): Promise<Answer>;
  /**
   * Has a job stored by this server, by the rights of the client whose job this is: it is run later, and outlives the
   * server. The promise is fulfilled once it would survive a power cut.
   *
   * @param body one frame, or a list of at least one. Text is sent as UTF-8.
   * @throws {RequestError} (the promise is rejected) with code 400 where an option is wrong, 403 where the user may not
   * ask the service, 404 where there is none, 507 where nothing can be stored now.
   * @throws {DOMException} (the same) named "AbortError" when the job should stop, or has ended.
   *
   * @example
   * ```ts
   * const handler: Handler = async (body, ctx) => {
   *   const { id } = await ctx.submit(body, { service: "mail", delay: 60_000 });
   *   return id;
   * };
   * ```
   */
  submit(body?: HandlerResult, options?: SubmissionOptions): Promise<SubmittedJob>;
  /**
   * Tells those who have subscribed at the server's endpoint for events, if it has one. What a worker publishes beyond
   * 10,000 events or 16 MiB in a second is dropped, and the log says so.
   *
   * @param topic begins with `user.`; at most 255 bytes of UTF-8.
   * @param args the frames, any number of them; text is sent as UTF-8. Options may stand behind them: with
   * `retain: true` the event is kept, for those who subscribe later, until the topic's next one of this kind; one
   * without frames takes it back.
   * @throws {TypeError} when an argument is of another type.
   * @throws {RangeError} when the topic does not begin so, or the event has more than 1,047,552 bytes (over libzmq:
   * 16,384, a larger one is dropped) or more frames than `maxFrames` allows.
   *
   * @example
   * ```ts
   * const handler: Handler = (body, ctx) => {
   *   ctx.publish("user.uploads", `${body.length} bytes`);
   *   ctx.publish("user.last", body, { retain: true });
   *   return "thanks";
   * };
   * ```
   */
  publish(topic: string, ...args: PublishArguments): void;
  /** Writes to the server's log. */
  readonly log: HandlerLog;
}

/** What `publish` takes behind the topic: frames, and then options if there are some. */
export type PublishArguments =
  | (Uint8Array | string)[]
  | [...frames: (Uint8Array | string)[], options: PublishOptions];

/** How an event is published. */
export interface PublishOptions {
  /** Whether it is kept for those who subscribe later. @default {false} */
  retain?: boolean;
}

/** How another service is asked. */
export interface QuestionOptions {
  /** How long its answer is waited for, ms; never longer than the job's own client waits. @default {0: as long as that} */
  timeout?: number;
  /** How long its handler may run, ms, if the service lets it. @default {0: as long as the service lets it} */
  requestTimeout?: number;
  /** Requests of the same key, service and user are answered together: see docs/clients.md. @default {"": none are} */
  key?: string;
  /** Withdraws the question when it aborts. @default {none} */
  signal?: AbortSignal;
}

/**
 * Makes a handler of a function that takes and returns JSON values. A body that is not JSON is answered
 * with error 400; the function's types are the caller's claim, which nothing checks.
 *
 * @example
 * ```ts
 * export default json((order: { items: number[] }) => ({ sum: order.items.length }));
 * ```
 */
export function json<In, Out>(
  answer: (value: In, context: HandlerContext) => Out | Promise<Out>,
): Handler {
  return async (body, context) => {
    const result = await answer(parseJson<In>(body), context);
    return JSON.stringify(result) ?? "null";
  };
}

/**
 * Makes a handler of a function that takes and returns text, which is sent as UTF-8.
 *
 * @example
 * ```ts
 * export default text((name) => `Hello, ${name}`);
 * ```
 */
export function text(
  answer: (value: string, context: HandlerContext) => string | Promise<string>,
): Handler {
  const decoder = new TextDecoder();
  return (body, context) => answer(decoder.decode(body), context);
}

function parseJson<T>(body: Uint8Array): T {
  try {
    return JSON.parse(new TextDecoder().decode(body));
  } catch (error) {
    throw new RequestError(Code.badRequest, `The body must be JSON: ${showMessage(error)}`);
  }
}
