/**
 * Tests of handlers, in the test's own process: no server, no worker, no socket. Results, errors and hooks
 * of a handler are treated by the same code as in a worker.
 *
 * ```ts
 * import { testHandler } from "jsr:@zmq/prefork/testing";
 * import * as handler from "./handler.ts";
 *
 * Deno.test("the handler adds up", async () => {
 *   const reply = await testHandler(handler, { body: '{ "items": [1, 2] }' });
 *   if (reply.json<{ sum: number }>().sum !== 3) throw new Error(reply.text());
 * });
 * ```
 *
 * @module
 */

import { Code } from "../wire/request.ts";
import { parseTrace } from "../wire/trace.ts";
import type { Handler, HandlerContext, HandlerModule, HandlerParts } from "./handler.ts";
import { checkModule } from "./handler_module.ts";
import { callHandler, Job, JobContext, Stop } from "./job_context.ts";
import { drain, GatheredParts, isInParts } from "./parts.ts";
import { failureOf, framesOf } from "./result.ts";
import { contextLog, newSeen, type TestLimits, type TestService } from "./test_notes.ts";
import { TestReply } from "./test_reply.ts";

export type { TestLimits, TestService } from "./test_notes.ts";
export {
  type TestEvent,
  type TestLogLine,
  type TestProgress,
  TestReply,
  type TestSubmission,
} from "./test_reply.ts";

/** A request for a handler under test, and what its context says. */
export interface TestRequest {
  /**
   * The body: one frame, or a list of at least one. Text is sent as UTF-8.
   *
   * @default {one empty frame}
   */
  body?: Uint8Array | string | readonly (Uint8Array | string)[];
  /** The number of the job. @default {1, then 2, 3 … for the same `TestWorker`} */
  id?: number;
  /** 1, or more for a job that other workers have died on. @default {1} */
  attempt?: number;
  /** The client that asks; each part that is left out is "". @default {{}} */
  client?: Partial<HandlerContext["client"]>;
  /** When the client gives up, ms since 1970: `ctx.signal` aborts then. @default {undefined: never} */
  deadline?: number;
  /** How long the handler may run, ms: `ctx.signal` aborts then. @default {0: any time} */
  requestTimeout?: number;
  /**
   * Whether the client takes parts as they come, as many as there are; if not, they must fit into one reply.
   * @default {false}
   */
  stream?: boolean;
  /** The trace that it belongs to, as W3C's `traceparent`. @default {none} */
  trace?: string;
  /** Parts that the client has got from a worker that has died. @default {0} */
  partsSent?: number;
  /**
   * What other services answer that the handler asks by `ctx.request`, by their names; others answer 404.
   *
   * @default {{}}
   */
  services?: Readonly<Record<string, TestService>>;
  /**
   * Makes it a try of a stored job: `ctx.job`. Checkpoints and jobs that the handler submits are noted in the reply.
   *
   * @default {none: it is a request}
   */
  job?: TestJob;
  /** Cancels the request when it aborts, as a client can: `ctx.signal` aborts too. @default {none} */
  signal?: AbortSignal;
}

/** A stored job, as a test has it. */
export interface TestJob {
  /** Names the job. @default {"j-" and 32 zeros} */
  id?: string;
  /** Which try it is. @default {1} */
  attempt?: number;
  /** Tries in all. @default {5} */
  tries?: number;
  /** What a try before has kept; text is taken as UTF-8. @default {nothing} */
  kept?: Uint8Array | string;
}

/**
 * Asks a handler once, as a worker that serves one request: awaits `init`, asks `allow`, calls the
 * handler, awaits `finish`. If the handler throws, the reply has the code that a client would get; if
 * `allow` returns false, it has 403.
 *
 * A handler that is still running after `ctx.signal` has aborted is waited for: a test has no process to
 * kill.
 *
 * @param module the handler's module, as `import * as` gives it, or the handler alone.
 * @throws {TypeError} when a worker would not accept the module.
 * @throws what `init` or `finish` throws.
 *
 * @example
 * ```ts
 * const reply = await testHandler(handler, { body: "x", client: { user: "alice" }, attempt: 2 });
 * console.log(reply.code, reply.text(), reply.log);
 * ```
 */
export async function testHandler(
  module: HandlerModule | Handler,
  request: TestRequest & TestLimits = {},
): Promise<TestReply> {
  const { maxMessageSize, maxFrames, ...asked } = request;
  await using worker = await TestWorker.start(module, { maxMessageSize, maxFrames });
  return await worker.request(asked);
}

const NO_ERROR = { message: "", details: undefined, error: undefined } as const;
const MAX_MESSAGE_SIZE = 64 * 1024 * 1024;
const MAX_FRAMES = 1000;

/**
 * Asks a handler several times, between one `init` and one `finish`.
 *
 * @example
 * ```ts
 * await using worker = await TestWorker.start(handler);
 * const replies = await Promise.all([worker.request({ body: "a" }), worker.request({ body: "b" })]);
 * ```
 */
export class TestWorker {
  readonly #module: HandlerModule;
  readonly #bounds: Required<TestLimits>;
  #lastId = 0;
  #closing: Promise<void> | undefined;

  private constructor(module: HandlerModule, bounds: Required<TestLimits>) {
    this.#module = module;
    this.#bounds = bounds;
  }

  /**
   * Checks the module as a worker does, and awaits `init`.
   *
   * @throws {TypeError} when a worker would not accept the module.
   * @throws what `init` throws.
   */
  static async start(
    module: HandlerModule | Handler,
    { maxMessageSize = MAX_MESSAGE_SIZE, maxFrames = MAX_FRAMES }: TestLimits = {},
  ): Promise<TestWorker> {
    const exports = typeof module === "function" ? { default: module } : module;
    const checked = checkModule(exports, { needsDequeue: false });
    await checked.init?.();
    return new TestWorker(checked, { maxMessageSize, maxFrames });
  }

  /**
   * Asks once. Several requests may be under way, as with `concurrency`.
   *
   * @throws {Error} when this is closed.
   */
  async request(request: TestRequest = {}): Promise<TestReply> {
    if (this.#closing) throw new Error("Cannot ask: the worker is closed");
    const { job: stored } = request;
    const kept = stored?.kept === undefined ? [] : bodyOf(stored.kept);
    const frames = [...bodyOf(request.body ?? ""), ...kept];
    const { attempt = 1, deadline = 0, requestTimeout = 0, client = {} } = request;
    const takesParts = request.stream ?? false;
    const header = {
      job: request.id ?? ++this.#lastId,
      attempt,
      deadline,
      requestTimeout,
      frames: frames.length,
      stream: takesParts ? ENDLESS : undefined,
      partsSent: request.partsSent ?? 0,
      trace: request.trace === undefined ? undefined : traceOf(request.trace),
      queuedAt: 0,
      stored: stored && {
        id: stored.id ?? `j-${"0".repeat(32)}`,
        attempt: stored.attempt ?? 1,
        tries: stored.tries ?? 5,
        hasKept: kept.length > 0,
      },
      client: { address: "", identity: "", user: "", ...client },
    };
    const job = new Job(header, frames);
    const abort = () => job.abort(Stop.cancelled);
    if (request.signal?.aborted) abort();
    request.signal?.addEventListener("abort", abort, { once: true });
    try {
      return await this.#run(job, request.services ?? {});
    } finally {
      job.end();
      request.signal?.removeEventListener("abort", abort);
    }
  }

  /**
   * Runs `dequeue` once.
   *
   * @throws {TypeError} when the module has no `dequeue`.
   * @throws what `dequeue` throws.
   */
  async dequeue(): Promise<void> {
    checkModule(this.#module, { needsDequeue: true });
    await this.#module.dequeue?.();
  }

  /** Runs `finish` and awaits it; a second call runs nothing. */
  close(): Promise<void> {
    return this.#closing ??= Promise.resolve(this.#module.finish?.());
  }

  /** Closes: for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #run(job: Job, services: NonNullable<TestRequest["services"]>): Promise<TestReply> {
    const seen = newSeen();
    const context = new JobContext(job, contextLog(seen, services, this.#bounds));
    job.startedAt = performance.now();
    try {
      const result = await callHandler(this.#module, job, context);
      const frames = isInParts(result)
        ? await this.#drain(job, result, seen.parts)
        : framesOf(result, this.#bounds).frames;
      return new TestReply({ ...NO_ERROR, code: Code.ok, frames, ...seen });
    } catch (error) {
      const { code, message, details: json } = failureOf(job, error);
      const details = json && JSON.parse(new TextDecoder().decode(json));
      return new TestReply({ code, frames: [], message, details, error, ...seen });
    }
  }

  /** Notes each part; returns the frames of all. */
  async #drain(
    job: Job,
    parts: HandlerParts,
    seen: (readonly Uint8Array[])[],
  ): Promise<readonly Uint8Array[]> {
    const takesParts = job.credit !== undefined;
    const bounds = takesParts ? { maxMessageSize: Infinity, maxFrames: Infinity } : this.#bounds;
    const all = new GatheredParts(bounds);
    await drain(parts, job, {
      ready: () => undefined,
      take: (part) => {
        // Each part is bounded as a reply is, whoever takes it.
        if (takesParts) framesOf(part, this.#bounds);
        const before = all.frames.length;
        all.take(part);
        seen.push(all.frames.slice(before));
      },
    });
    return takesParts || all.frames.length > 0 ? all.frames : [new Uint8Array(0)];
  }
}

/** Credit that no test uses up. */
const ENDLESS = { bytes: 0x7fffffff, parts: 0x7fffffff };

function traceOf(text: string): Uint8Array<ArrayBuffer> {
  const trace = parseTrace(text);
  if (trace !== undefined) return trace;
  throw new TypeError(`Cannot ask: "trace" must be a traceparent: current value is ${text}`);
}

/** Copies, as if they had come over the wire. */
function bodyOf(body: NonNullable<TestRequest["body"]>): Uint8Array[] {
  const list = typeof body === "string" || body instanceof Uint8Array ? [body] : body;
  if (list.length === 0) throw new TypeError("Cannot ask: the body must have at least one frame");
  return list.map((frame) =>
    typeof frame === "string" ? new TextEncoder().encode(frame) : new Uint8Array(frame)
  );
}
