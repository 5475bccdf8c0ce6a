/**
 * The spans of a worker's jobs, where it traces: how long a job has waited, its handler, and what that asks of other
 * services. Names and attributes are those of OpenTelemetry's conventions for messaging.
 *
 * @module
 */

import { type Context, hasSpan, preciseNow, type Span, type Tracing } from "../system/tracing.ts";
import type { JobHeader } from "../wire/job.ts";
import { Code } from "../wire/request.ts";
import { spanAttributes, spanName } from "../wire/span_words.ts";
import { harden } from "../zmq/library.ts";

/** Makes the spans of jobs. */
export class JobSpans {
  readonly #tracing: Tracing;
  readonly #service: string;
  readonly #none: Context;

  /** Those of the service that this worker serves. */
  constructor(tracing: Tracing, service: string) {
    this.#tracing = tracing;
    this.#service = service;
    this.#none = tracing.none;
  }

  /** The span of a job whose handler is called now; that of its wait has come before. */
  start({ job, attempt, trace, queuedAt }: JobHeader): Span {
    const now = preciseNow();
    const waitMs = queuedAt === 0 ? 0 : Math.max(0, now - queuedAt / 1000);
    const parent = trace === undefined ? this.#none : this.#tracing.contextOf(trace);
    const isWait = trace !== undefined && queuedAt > 0;
    const from = isWait ? this.#queue(parent, now - waitMs, now) : parent;
    const attributes = {
      ...spanAttributes("process", this.#service),
      "messaging.message.id": String(job),
      "prefork.attempt": attempt,
      ...(queuedAt === 0 ? {} : { "prefork.queue.duration": waitMs / 1000 }),
    };
    const name = spanName("process", this.#service);
    return this.#tracing.start({ name, kind: "consumer", attributes, startedAt: now }, from);
  }

  #queue(parent: Context, from: number, until: number): Context {
    const name = spanName("queue", this.#service);
    const attributes = spanAttributes("queue", this.#service);
    const span = this.#tracing.start(
      { name, kind: "internal", attributes, startedAt: from },
      parent,
    );
    span.end(until);
    return span.context;
  }

  /** Calls what runs a job's handler, whose span is the active one there. */
  run(span: Span, call: () => void): void {
    this.#tracing.run(span.context, call);
  }

  /** The span of a question to another service: a child of the active one, or else of the handler's. */
  ask(of: Span | undefined, service: string): Span {
    const { active } = this.#tracing;
    const parent = hasSpan(active) || of === undefined ? active : of.context;
    return this.#tracing.start({
      name: spanName("send", service),
      kind: "client",
      attributes: spanAttributes("send", service),
    }, parent);
  }
}

/** Ends a span with a code of wire/request.ts; of an error, `stack` is what is known of it. */
export function endSpan(span: Span, code: number, message = "", stack = ""): void {
  if (code === Code.cancelled) span.set("prefork.cancelled", true);
  if (stack !== "") {
    span.note("exception", { "exception.message": message, "exception.stacktrace": stack });
  }
  if (code !== Code.ok) span.fail(String(code), message);
  span.end();
}

harden(JobSpans);
