/**
 * What a handler module may use. It default-exports a {@linkcode Handler}; {@linkcode json} and
 * {@linkcode text} make one of a function of other types.
 *
 * ```ts
 * import { text } from "jsr:@zmq/prefork/worker";
 *
 * export default text((name) => `Hello, ${name}`);
 * ```
 *
 * @module
 */

import { Code, isErrorCode } from "../wire/request.ts";
import { showMessage } from "./show.ts";

/** What a handler returns: one body frame, or several. Text is sent as UTF-8. */
export type HandlerResult = Uint8Array | string | readonly (Uint8Array | string)[];

/**
 * Answers one request.
 *
 * @param body the request's first body frame.
 * @param context what else is known of the request.
 */
export type Handler = (
  body: Uint8Array,
  context: HandlerContext,
) => HandlerResult | Promise<HandlerResult>;

/** What a handler module may export. */
export interface HandlerModule {
  /** Answers requests. */
  default: Handler;
  /** Awaited before the first request. */
  init?: () => void | Promise<void>;
  /** Awaited before the process leaves in order. */
  finish?: () => void | Promise<void>;
  /** Asked before each request; false answers it 403. */
  allow?: (request: HandlerContext) => boolean | Promise<boolean>;
  /** Run once in a process of its own, every `dequeueInterval`. */
  dequeue?: () => void | Promise<void>;
}

/** Plain values that a log line carries beside its message; an undefined one is left out. */
export type LogLineFields = Readonly<
  Record<string, string | number | boolean | bigint | null | undefined>
>;

/**
 * Writes to the server's log. A message may be any value: an error is logged with its stack, an object as
 * `console.log` shows it. Of a message 8,192 characters are kept, of a field 1,024. Never throws.
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

/** What is known of a request, beside its first body frame. */
export interface HandlerContext {
  /** The server's number for the job, unique while the server runs. */
  readonly id: number;
  /** 1 for the first try; more if a worker died before that had this job, and may have begun it. */
  readonly attempt: number;
  /** All body frames. */
  readonly frames: readonly Uint8Array[];
  /**
   * Who asks: the network address ("" over ipc), the identity that it chose ("" if none), and the user
   * that it has proved to be by its key ("" where nobody has to).
   */
  readonly client: { readonly address: string; readonly identity: string; readonly user: string };
  /** When the client gives up, as `Date.now()` counts; undefined if it did not say. */
  readonly deadline: number | undefined;
  /**
   * Fires when the deadline or the time limit passes, the client leaves or takes its request back, or
   * the worker is interrupted. A handler that goes on for `abortGrace` after that may lose its process.
   */
  readonly signal: AbortSignal;
  /** Writes to the server's log. */
  readonly log: HandlerLog;
}

/**
 * An error that a handler throws to answer with a code of its own.
 *
 * @example
 * ```ts
 * throw new RequestError(404, "No such customer");
 * ```
 */
export class RequestError extends Error {
  /** Tells it from other errors, also across copies of this module. */
  override readonly name = "RequestError";
  /** 400 to 599. */
  readonly code: number;

  /**
   * Makes an error reply.
   *
   * @throws {RangeError} when `code` is no integer from 400 to 599.
   */
  constructor(code: number, message: string) {
    super(message);
    if (!isErrorCode(code)) {
      throw new RangeError(
        `Cannot make a reply as "code" must be an integer from 400 to 599: current value is ${code}`,
      );
    }
    this.code = code;
  }
}

/**
 * A handler of JSON values. A body that is no JSON is answered 400.
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

/** A handler of text, UTF-8. */
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
