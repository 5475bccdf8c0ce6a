/**
 * The checks that the options of a client and of its requests pass.
 *
 * @module
 */

import { complaint, unknownOption, wrongValue } from "../options/errors.ts";
import { EMPTY_FRAME } from "../wire/empty_frame.ts";
import { canConnect, ENDPOINT_RULE } from "../wire/endpoint.ts";
import { MAX_TOPIC_BYTES } from "../wire/event.ts";
import { MAX_KEY_BYTES } from "../wire/request_header.ts";
import { isServiceName, SERVICE_NAME_RULE } from "../wire/service_name.ts";
import { parseTrace } from "../wire/trace.ts";
import { CHARACTER_BYTES } from "./bodies.ts";
import type { Fields, Terms } from "./steps.ts";
import type {
  ClientOptions,
  CurveOptions,
  RequestOptions,
  Retry,
  StreamOptions,
  SubscribeOptions,
} from "./options.ts";
import { CREDIT } from "./part_queue.ts";

const encoder = new TextEncoder();

/** A client's options, complete and checked. */
export interface Settings {
  /** How long a try waits, ms. */
  timeout: number;
  /** Tries after the first. */
  retries: number;
  /** At least one. */
  endpoints: readonly string[];
  /** Called before a request is sent again. */
  onRetry: ((retry: Retry) => void) | undefined;
  /** The client's name, if it has one. */
  identity: string | undefined;
  /** Whether requests go without a header. */
  plain: boolean;
  /** The keys that were named. */
  curve: CurveOptions | undefined;
  /** Where the server publishes events. */
  events: string;
  /** What the server is talked to with, without keys. */
  transport: "native" | "libzmq";
}

const MAX_TIMEOUT = 0xffffffff;
const CLIENT_OPTIONS = [
  "endpoint",
  "timeout",
  "retries",
  "onRetry",
  "identity",
  "plain",
  "curve",
  "events",
  "transport",
];
const SUBSCRIBE_OPTIONS = ["endpoint", "signal"];
const CURVE_OPTIONS = ["serverKey", "keyFile"];
const REQUEST_OPTIONS = [
  "signal",
  "timeout",
  "retries",
  "requestTimeout",
  "key",
  "service",
  "trace",
  "onProgress",
];
const STREAM_OPTIONS = REQUEST_OPTIONS.filter((name) => name !== "key").concat("resumable");

/** What is not done because of a wrong option. */
type Purpose = "make a client" | "send a request" | "subscribe";

/**
 * A client's options, checked and complete.
 *
 * @throws {TypeError | RangeError} when one is unknown or not what it must be.
 */
export function checkOptions(options: ClientOptions): Settings {
  refuseUnknown(options, CLIENT_OPTIONS);
  const { endpoint = "tcp://localhost:6660", timeout = 10_000, retries = 2 } = options;
  const { onRetry, identity, plain = false, curve, transport = "native" } = options;
  const endpoints = checkEndpoints(endpoint);
  checkTries("make a client", { timeout, retries });
  if (onRetry !== undefined && typeof onRetry !== "function") {
    throw wrong("make a client", "onRetry", "a function", onRetry, false);
  }
  if (identity !== undefined) checkIdentity(identity);
  if (typeof plain !== "boolean") {
    throw wrong("make a client", "plain", "a boolean", plain, false);
  }
  if (curve !== undefined) checkCurve(curve);
  if (transport !== "native" && transport !== "libzmq") {
    const rule = "native or libzmq";
    throw wrong("make a client", "transport", rule, transport, typeof transport === "string");
  }
  const { events = "tcp://localhost:6662" } = options;
  checkEvents("make a client", "events", events);
  return { endpoints, timeout, retries, onRetry, identity, plain, curve, events, transport };
}

function checkEvents(purpose: Purpose, name: string, endpoint: unknown): void {
  if (isEndpoint(endpoint)) return;
  throw wrong(purpose, name, ENDPOINT_RULE, endpoint, typeof endpoint === "string");
}

/**
 * What is subscribed to, as bytes, and where.
 *
 * @throws {TypeError | RangeError} when something is not what it must be.
 */
export function checkSubscription(
  topics: unknown,
  options: SubscribeOptions,
  { events }: Settings,
): { topics: Uint8Array<ArrayBuffer>[]; endpoint: string } {
  refuseUnknown(options, SUBSCRIBE_OPTIONS);
  const { endpoint = events } = options;
  checkEvents("subscribe", "endpoint", endpoint);
  const list: unknown[] = Array.isArray(topics) ? topics : [topics];
  const bytes = list.flatMap((topic) => typeof topic === "string" ? [encoder.encode(topic)] : []);
  const rule = `texts of at most ${MAX_TOPIC_BYTES} bytes, one at least`;
  const fits = bytes.length > 0 && bytes.every(({ length }) => length <= MAX_TOPIC_BYTES);
  const areTexts = bytes.length === list.length;
  if (!areTexts || !fits) throw wrong("subscribe", "topics", rule, topics, areTexts);
  return { topics: bytes, endpoint };
}

function checkEndpoints(endpoint: unknown): readonly string[] {
  const endpoints: unknown[] = Array.isArray(endpoint) ? [...endpoint] : [endpoint];
  if (endpoints.length > 0 && endpoints.every(isEndpoint)) return endpoints;
  const rule = `${ENDPOINT_RULE}, or a list of at least one of these`;
  const hasType = endpoints.every((each) => typeof each === "string");
  throw wrong("make a client", "endpoint", rule, endpoint, hasType);
}

/** libzmq lets the address to connect from go first: `tcp://10.0.0.2:0;host:port`. */
const SOURCE = /^tcp:\/\/[^;/]+;/;

function isEndpoint(value: unknown): value is string {
  return typeof value === "string" && canConnect(value.replace(SOURCE, "tcp://"));
}

function checkIdentity(identity: string): void {
  const bytes = typeof identity === "string" ? encoder.encode(identity) : EMPTY_FRAME;
  if (bytes.length >= 1 && bytes.length <= 255 && bytes[0] !== 0) return;
  const rule = "a string of 1 to 255 bytes, the first of them not 0";
  throw wrong("make a client", "identity", rule, identity, typeof identity === "string");
}

function checkCurve(curve: CurveOptions): void {
  if (typeof curve !== "object" || curve === null) {
    throw wrong("make a client", "curve", "an object with a serverKey", curve, false);
  }
  refuseUnknown(curve, CURVE_OPTIONS, ' in "curve"');
  for (const name of ["serverKey", "keyFile"] as const) {
    const value: unknown = curve[name];
    if (name === "keyFile" && value === undefined) continue;
    if (typeof value === "string" && value !== "") continue;
    const rule = "a string that is not empty";
    throw wrong("make a client", `curve.${name}`, rule, value, typeof value === "string");
  }
}

/**
 * A request's options, checked and complete.
 *
 * @throws {TypeError | RangeError} when one is unknown or not what it must be.
 */
export function checkRequestOptions(options: RequestOptions, defaults: Settings): Terms {
  refuseUnknown(options, REQUEST_OPTIONS);
  const terms = checkTerms(options, defaults);
  if (options.onProgress === undefined) return terms;
  // Credit for no part asks for progress alone: parts then come together, as one answer.
  return { ...terms, fields: { ...terms.fields, stream: { bytes: 0, parts: 0 } } };
}

/**
 * The options of a request whose answer comes in parts, checked and complete.
 *
 * @throws {TypeError | RangeError} when one is unknown or not what it must be.
 */
export function checkStreamOptions(options: StreamOptions, defaults: Settings): Terms {
  refuseUnknown(options, STREAM_OPTIONS);
  if (defaults.plain) throw new TypeError("Cannot send a request: a plain client takes no parts");
  const { resumable = false } = options;
  if (typeof resumable !== "boolean") {
    throw wrong("send a request", "resumable", "a boolean", resumable, false);
  }
  const terms = checkTerms(options, defaults);
  return { ...terms, fields: { ...terms.fields, stream: CREDIT, resumable } };
}

function checkTerms(options: RequestOptions, defaults: Settings): Terms {
  const { signal, timeout = defaults.timeout, retries = defaults.retries } = options;
  const { requestTimeout = 0, key = "", service, trace } = options;
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw wrong("send a request", "signal", "an AbortSignal", signal, false);
  }
  checkTries("send a request", { timeout, retries });
  checkHeaded({ requestTimeout, key }, defaults);
  if (service !== undefined) checkService(service, defaults);
  checkOnProgress(options.onProgress, defaults);
  const terms = { timeout, retries, requestTimeout, key };
  if (trace !== undefined) {
    return { ...terms, fields: { service, trace: checkTrace(trace, defaults) } };
  }
  return { ...terms, fields: service === undefined ? undefined : { service } };
}

/** What is wrong is an error, though a server ignores it: who passes a trace by hand wants to find it again. */
function checkTrace(text: string, { plain }: Settings): Fields["trace"] {
  const trace = typeof text === "string" ? parseTrace(text) : undefined;
  if (trace === undefined) {
    const rule = 'a traceparent such as "00-<32 hex digits>-<16 hex digits>-01"';
    throw wrong("send a request", "trace", rule, text, typeof text === "string");
  }
  if (plain) throw new TypeError('Cannot send a request: a plain client has no "trace"');
  return trace;
}

function checkOnProgress(onProgress: unknown, { plain }: Settings): void {
  if (onProgress === undefined) return;
  if (typeof onProgress !== "function") {
    throw wrong("send a request", "onProgress", "a function", onProgress, false);
  }
  if (plain) throw new TypeError('Cannot send a request: a plain client has no "onProgress"');
}

/**
 * Checks the name of a service.
 *
 * @throws {TypeError | RangeError} when it can't be one, or the client is plain.
 */
export function checkService(service: string, { plain }: Settings): void {
  const hasType = typeof service === "string";
  if (!hasType || !isServiceName(service)) {
    throw wrong("send a request", "service", SERVICE_NAME_RULE, service, hasType);
  }
  if (plain) throw new TypeError('Cannot send a request: a plain client has no "service"');
}

/** Checks what only a request with a header can say. */
function checkHeaded(
  { requestTimeout, key }: Pick<Terms, "requestTimeout" | "key">,
  { plain }: Settings,
): void {
  if (!isNumberFrom(0, requestTimeout)) {
    const rule = `a number of ms from 0 to ${MAX_TIMEOUT}`;
    const hasType = typeof requestTimeout === "number";
    throw wrong("send a request", "requestTimeout", rule, requestTimeout, hasType);
  }
  if (typeof key !== "string" || !fitsInKey(key)) {
    const rule = `a string of maximum ${MAX_KEY_BYTES} bytes`;
    throw wrong("send a request", "key", rule, key, typeof key === "string");
  }
  if (plain && (requestTimeout > 0 || key !== "")) {
    throw new TypeError(
      'Cannot send a request: a plain client has no "requestTimeout" and no "key"',
    );
  }
}

function fitsInKey(key: string): boolean {
  // Only long ones need counting.
  return key.length * CHARACTER_BYTES <= MAX_KEY_BYTES ||
    encoder.encode(key).length <= MAX_KEY_BYTES;
}

function checkTries(
  purpose: Purpose,
  { timeout, retries }: Pick<Terms, "timeout" | "retries">,
): void {
  if (!isNumberFrom(1, timeout)) {
    const rule = `a number of ms from 1 to ${MAX_TIMEOUT}`;
    throw wrong(purpose, "timeout", rule, timeout, typeof timeout === "number");
  }
  if (!Number.isSafeInteger(retries) || retries < 0) {
    throw wrong(purpose, "retries", "an integer >= 0", retries, typeof retries === "number");
  }
}

function isNumberFrom(least: number, value: unknown): boolean {
  return typeof value === "number" && value >= least && value <= MAX_TIMEOUT;
}

function refuseUnknown(options: object, known: readonly string[], place = ""): void {
  const name = Object.keys(options).find((key) => !known.includes(key));
  if (name === undefined) return;
  throw new TypeError(unknownOption(name, known, `use ${known.join(", ")}`, place));
}

/** The error for a value that breaks a rule; with `hasType`, it is of the right type. */
function wrong(
  purpose: Purpose,
  name: string,
  rule: string,
  value: unknown,
  hasType: boolean,
): RangeError | TypeError {
  return wrongValue(`Cannot ${purpose}: ${complaint(`"${name}"`, rule, value)}`, hasType);
}
