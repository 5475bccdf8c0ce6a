/**
 * Spans of OpenTelemetry, made through the API that is registered in this process: by Deno itself where it runs with
 * OTEL_DENO=true, or by a library that the user has started. It is found where npm:@opentelemetry/api finds it, so
 * that package is not needed here; spans made with it are parents and children of these all the same.
 *
 * @module
 */

import type { Attributes } from "../wire/span_words.ts";
import { flagsOf, parseTrace, spanIdOf, traceIdOf } from "../wire/trace.ts";

/** Where the API is registered, and where a context keeps its span: names that the API's package has fixed. */
const API = Symbol.for("opentelemetry.js.api.1");
const SPAN = Symbol.for("OpenTelemetry Context Key SPAN");
/** What spans of this package are called, as their scope. */
const SCOPE = "@zmq/prefork";
/** The API's codes: kinds of spans, and the status of one that has failed. */
const KINDS = { internal: 0, client: 2, consumer: 4 } as const;
const FAILED = 2;
/** `Date.now()` is off by less, ms. */
const COARSE_MS = 2;

/** A context of the API: what is active, for code and all that it awaits. */
export interface Context {
  getValue(key: symbol): unknown;
  setValue(key: symbol, value: unknown): Context;
  deleteValue(key: symbol): Context;
}

interface ApiSpan {
  spanContext(): { traceId: string; spanId: string; traceFlags: number };
  isRecording(): boolean;
  setAttribute(name: string, value: string | number | boolean): unknown;
  addEvent(name: string, attributes?: Attributes): unknown;
  setStatus(status: { code: number; message?: string }): unknown;
  end(at?: number): void;
}

interface Tracer {
  startSpan(
    name: string,
    options: { kind: number; attributes: Attributes; startTime?: number },
    context: Context,
  ): ApiSpan;
}

interface Api {
  trace: { getTracer(name: string): Tracer };
  context: {
    active(): Context;
    with<Result>(context: Context, call: () => Result): Result;
  };
}

/** What a span is made of. */
export interface SpanStart {
  name: string;
  kind: keyof typeof KINDS;
  attributes: Attributes;
  /** When it has started, ms since 1970. @default {now} */
  startedAt?: number;
}

/** A span that was started. */
export class Span {
  readonly #span: ApiSpan;
  /** One in which it is the active span. */
  readonly context: Context;
  #trace: Uint8Array<ArrayBuffer> | undefined;

  /** Made by `Tracing`. */
  constructor(span: ApiSpan, parent: Context) {
    this.#span = span;
    this.context = parent.setValue(SPAN, span);
  }

  /** What a request says of it, of wire/trace.ts; undefined: it has no ids. */
  get trace(): Uint8Array<ArrayBuffer> | undefined {
    if (this.#trace !== undefined) return this.#trace;
    const { traceId, spanId, traceFlags } = this.#span.spanContext();
    const flags = (traceFlags & 0xff).toString(16).padStart(2, "0");
    return this.#trace = parseTrace(`00-${traceId}-${spanId}-${flags}`);
  }

  /** Says something more of itself. */
  set(name: string, value: string | number | boolean): void {
    this.#span.setAttribute(name, value);
  }

  /** Something has happened meanwhile. */
  note(name: string, attributes: Attributes): void {
    this.#span.addEvent(name, attributes);
  }

  /** What it stands for has failed; `type`: a word or a code for the kind of error. */
  fail(type: string, message: string): void {
    this.#span.setAttribute("error.type", type);
    this.#span.setStatus({ code: FAILED, message });
  }

  /** It has ended: now, or at a time of ms since 1970. */
  end(at?: number): void {
    if (at === undefined) this.#span.end();
    else this.#span.end(at);
  }
}

/** Makes spans. */
export class Tracing {
  readonly #api: Api;
  readonly #tracer: Tracer;

  /** Made by `openTracing`. */
  constructor(api: Api, tracer: Tracer) {
    this.#api = api;
    this.#tracer = tracer;
  }

  /** What is active here. */
  get active(): Context {
    return this.#api.context.active();
  }

  /** A context without a span. */
  get none(): Context {
    return this.active.deleteValue(SPAN);
  }

  /** A context whose span is one of another process. */
  contextOf(trace: Uint8Array): Context {
    const ids = {
      traceId: traceIdOf(trace),
      spanId: spanIdOf(trace),
      traceFlags: flagsOf(trace),
      isRemote: true,
    };
    return this.none.setValue(SPAN, { spanContext: () => ids, isRecording: () => false });
  }

  /** Starts a span whose parent is that of a context. */
  start({ name, kind, attributes, startedAt }: SpanStart, parent: Context): Span {
    const options = { kind: KINDS[kind], attributes };
    const span = this.#tracer.startSpan(
      name,
      startedAt === undefined ? options : { ...options, startTime: startedAt },
      parent,
    );
    return new Span(span, parent);
  }

  /** Calls a function in a context: all that it awaits stays there. */
  run<Result>(context: Context, call: () => Result): Result {
    return this.#api.context.with(context, call);
  }

  /** Says something of the span that is active here, if there is one. */
  describeActive(name: string, value: string): void {
    const span = this.active.getValue(SPAN);
    if (isSpan(span)) span.setAttribute(name, value);
  }
}

/** Whether a context has a span. */
export function hasSpan(context: Context): boolean {
  return context.getValue(SPAN) !== undefined;
}

/** Times of the calendar, ms since 1970, to the microsecond unless the clock was set since this process started. */
export function preciseNow(): number {
  const coarse = Date.now();
  const fine = performance.timeOrigin + performance.now();
  return Math.abs(fine - coarse) < COARSE_MS ? fine : coarse;
}

/** What makes spans here; undefined: nobody has asked for any. */
export function openTracing(): Tracing | undefined {
  const api: unknown = Reflect.get(globalThis, API);
  if (!isApi(api)) return undefined;
  const tracer = api.trace.getTracer(SCOPE);
  // An API without anything behind it makes spans without ids. This one never ends, and so is nowhere to be seen.
  const probe = tracer.startSpan(
    "",
    { kind: KINDS.internal, attributes: {} },
    api.context.active(),
  );
  return /[1-9a-f]/.test(probe.spanContext().traceId) ? new Tracing(api, tracer) : undefined;
}

/** Whether a library of tracing has registered all that is used here. */
function isApi(value: unknown): value is Api {
  const { trace, context } = partsOf(value);
  return isCallable(partsOf(trace).getTracer) && isCallable(partsOf(context).active) &&
    isCallable(partsOf(context).with);
}

function isSpan(value: unknown): value is ApiSpan {
  return isCallable(partsOf(value).setAttribute);
}

function isCallable(value: unknown): boolean {
  return typeof value === "function";
}

/** The properties of an object, or of a class. */
function partsOf(value: unknown): Record<string, unknown> {
  const isOne = typeof value === "object" && value !== null || typeof value === "function";
  return isOne ? Object(value) : {};
}
