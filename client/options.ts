/**
 * The options of a client and of its requests, and the checks that they pass.
 *
 * @module
 */

import { canBePublic } from "../auth/curve25519.ts";
import { readPublicKey, readSecretKey } from "../auth/keys.ts";
import { DELIMITER, MAX_KEY_BYTES } from "../wire/request.ts";
import { type KeyPair, makeKeyPair, publicKeyOf } from "../zmq/curve.ts";
import type { Library } from "../zmq/library.ts";
import { CHARACTER_BYTES } from "./bodies.ts";
import type { Terms } from "./steps.ts";

const encoder = new TextEncoder();

/** What a `Client` may be told. */
export interface ClientOptions {
  /**
   * Where the server is: `tcp://host:port` (a name means its IPv4 address, `[…]` is an IPv6 one) or
   * `ipc://path`. A list names servers that can stand in for each other: the client stays with the one
   * that works, and takes the next in turn when there is no connection for 0.5 s, when a try goes
   * unanswered, or when the server is shutting down.
   *
   * @default {"tcp://localhost:6660"}
   */
  endpoint?: string | readonly string[];
  /**
   * How long one try waits for its answer, in ms, at least 1.
   *
   * @default {10_000}
   */
  timeout?: number;
  /**
   * How often a request is sent again after its first try went unanswered. With at least 1, a request
   * that a server refuses to start because it is shutting down (503) is sent again too: to the next
   * endpoint, or to the same one after 0.1 s to 1 s, as often as the time of its tries allows. That
   * counts as no try, and can't make it run twice.
   *
   * @default {2}
   */
  retries?: number;
  /**
   * Called before a request is sent again. What it throws is what the request is rejected with.
   *
   * @default {none}
   */
  onRetry?: (retry: Retry) => void;
  /**
   * The name that the server knows the client by: 1 to 255 bytes of UTF-8, the first of them not 0. No
   * two connected clients may have the same. Without one, ZeroMQ makes one for each connection.
   */
  identity?: string;
  /**
   * Sends the bare envelope of a REQ socket, which any ZeroMQ server understands. The server then
   * doesn't learn how long the client waits, and each request under way takes a socket of its own: so
   * with an identity there can be one at a time.
   *
   * @default {false}
   */
  plain?: boolean;
  /**
   * The keys of a server that asks for them. A client that the server doesn't let in isn't told so: its
   * requests get no answer.
   *
   * @default {none: a server that asks for keys gives no answer}
   */
  curve?: CurveOptions;
}

/**
 * Why a request is sent again: there was no connection, the server ended the handshake, it did not
 * answer in time, or it is shutting down.
 */
export type RetryReason = "unconnected" | "handshake" | "unanswered" | "unavailable";

/** A request that is sent again. */
export interface Retry {
  /** Which sending of the request has failed: 1 is the first. */
  attempt: number;
  /** Where that one was sent to. */
  endpoint: string;
  /** Why it has failed. */
  reason: RetryReason;
}

/** Keys, as `deno task keygen` makes them. */
export interface CurveOptions {
  /** The server's public key: 40 characters, or a file that holds it. */
  serverKey: string;
  /**
   * The file of the client's own secret key.
   *
   * @default {a key made for this client alone, which only a server lets in that takes any}
   */
  keyFile?: string;
}

/** What one request may be told. */
export interface RequestOptions {
  /** Gives the request up when it aborts. */
  signal?: AbortSignal;
  /** How long one try waits, in ms. @default {the client's timeout} */
  timeout?: number;
  /** How often it is sent again. @default {the client's retries} */
  retries?: number;
  /**
   * How long the handler may run, in ms; the server may allow less. If it takes longer, the answer is
   * error 504.
   *
   * @default {0, as long as the server allows}
   */
  requestTimeout?: number;
  /**
   * A name for what is asked, up to 128 bytes. While a request of the same key is queued or running,
   * this one waits for the same answer; the server may keep that for a while. So a retry is not done
   * twice. Choose one that nobody else can guess or use, such as `crypto.randomUUID()`.
   */
  key?: string;
}
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
}

/** Keys that were read. */
export interface Keys {
  /** The client's own. */
  own: KeyPair;
  /** The server's public key. */
  server: string;
}

const MAX_TIMEOUT = 0xffffffff;
const CLIENT_OPTIONS = ["endpoint", "timeout", "retries", "onRetry", "identity", "plain", "curve"];
const CURVE_OPTIONS = ["serverKey", "keyFile"];
const REQUEST_OPTIONS = ["signal", "timeout", "retries", "requestTimeout", "key"];

/**
 * A client's options, checked and complete.
 *
 * @throws {TypeError | RangeError} when one is unknown or not what it must be.
 */
export function checkOptions(options: ClientOptions): Settings {
  const what = "make a client";
  checkNames(what, options, CLIENT_OPTIONS);
  const { endpoint = "tcp://localhost:6660", timeout = 10_000, retries = 2 } = options;
  const { onRetry, identity, plain = false, curve } = options;
  const endpoints = checkEndpoints(what, endpoint);
  checkLimits(what, { timeout, retries });
  if (onRetry !== undefined && typeof onRetry !== "function") {
    throw wrong(what, "onRetry", "a function", onRetry, false);
  }
  if (identity !== undefined) checkIdentity(what, identity);
  if (typeof plain !== "boolean") throw wrong(what, "plain", "a boolean", plain, false);
  if (curve !== undefined) checkCurve(what, curve);
  return { endpoints, timeout, retries, onRetry, identity, plain, curve };
}

function checkEndpoints(what: string, endpoint: unknown): readonly string[] {
  const endpoints: unknown[] = Array.isArray(endpoint) ? [...endpoint] : [endpoint];
  if (endpoints.length > 0 && endpoints.every(isEndpoint)) return endpoints;
  const rule = `a string like "tcp://host:port" or "ipc://path", or a list of at least one`;
  const typed = endpoints.every((each) => typeof each === "string");
  throw wrong(what, "endpoint", rule, endpoint, typed);
}

function checkCurve(what: string, curve: CurveOptions): void {
  if (typeof curve !== "object" || curve === null) {
    throw wrong(what, "curve", "an object with a serverKey", curve, false);
  }
  checkNames(what, curve, CURVE_OPTIONS);
  for (const name of ["serverKey", "keyFile"] as const) {
    const value: unknown = curve[name];
    if (typeof value === "string" && value !== "" || name === "keyFile" && value === undefined) {
      continue;
    }
    const rule = "a string that is not empty";
    throw wrong(what, `curve.${name}`, rule, value, typeof value === "string");
  }
}

/**
 * Reads the keys that options name.
 *
 * @throws {Error} when a file can't be used, or a key is not of the kind that it must be.
 */
export function readKeys({ serverKey, keyFile }: CurveOptions, library: Library): Keys {
  const server = readPublicKey(serverKey);
  if (!canBePublic(server)) {
    throw new Error(
      `Cannot use "serverKey" as it is not a public key: it may be the secret one, or damaged`,
    );
  }
  if (keyFile === undefined) return { own: makeKeyPair(library), server };
  const secretKey = readSecretKey(keyFile);
  const own = { secretKey, publicKey: publicKeyOf(library, secretKey) };
  refuseMixUp(own, server, keyFile);
  return { own, server };
}

/** Says what is wrong with keys that were taken for each other, as far as it shows. */
function refuseMixUp(own: KeyPair, server: string, keyFile: string): void {
  const fault = own.secretKey === server
    ? "it has the server's public key: name the file of the client's own secret key"
    : own.publicKey === server
    ? "it has the server's secret key: the client needs a key of its own"
    : undefined;
  if (fault === undefined) return;
  throw new Error(`Cannot use the client's key file "${keyFile}" as ${fault}`);
}

function isEndpoint(endpoint: unknown): endpoint is string {
  if (typeof endpoint !== "string") return false;
  const port = Number(/^tcp:\/\/.+:(\d+)$/.exec(endpoint)?.[1] ?? 0);
  return port >= 1 && port <= 65_535 || /^ipc:\/\/./.test(endpoint);
}

/**
 * A request's options, checked and complete.
 *
 * @throws {TypeError | RangeError} when one is unknown or not what it must be.
 */
export function checkRequestOptions(options: RequestOptions, defaults: Settings): Terms {
  const what = "send a request";
  checkNames(what, options, REQUEST_OPTIONS);
  const { signal, timeout = defaults.timeout, retries = defaults.retries } = options;
  const { requestTimeout = 0, key = "" } = options;
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw wrong(what, "signal", "an AbortSignal", signal, false);
  }
  checkLimits(what, { timeout, retries });
  checkHeadedOnly(what, options, defaults);
  return { timeout, retries, requestTimeout, key };
}

/** Checks what only a request with a header can say. */
function checkHeadedOnly(what: string, options: RequestOptions, { plain }: Settings): void {
  const { requestTimeout = 0, key = "" } = options;
  if (
    typeof requestTimeout !== "number" || !(requestTimeout >= 0 && requestTimeout <= MAX_TIMEOUT)
  ) {
    const rule = `a number of ms from 0 to ${MAX_TIMEOUT}`;
    throw wrong(what, "requestTimeout", rule, requestTimeout, typeof requestTimeout === "number");
  }
  if (typeof key !== "string" || !fitsInKey(key)) {
    const rule = `a string of at most ${MAX_KEY_BYTES} bytes`;
    throw wrong(what, "key", rule, key, typeof key === "string");
  }
  if (plain && (requestTimeout > 0 || key !== "")) {
    throw new TypeError(`Cannot ${what} with "requestTimeout" or "key" as a plain client`);
  }
}

function fitsInKey(key: string): boolean {
  // Only long ones need counting.
  return key.length * CHARACTER_BYTES <= MAX_KEY_BYTES ||
    encoder.encode(key).length <= MAX_KEY_BYTES;
}

function checkNames(what: string, options: object, known: readonly string[]): void {
  const name = Object.keys(options).find((key) => !known.includes(key));
  if (name === undefined) return;
  throw new TypeError(`Cannot ${what} as there is no option "${name}": use ${known.join(", ")}`);
}

function checkLimits(what: string, { timeout, retries }: Pick<Terms, "timeout" | "retries">): void {
  if (typeof timeout !== "number" || !(timeout >= 1 && timeout <= MAX_TIMEOUT)) {
    const rule = `a number of ms from 1 to ${MAX_TIMEOUT}`;
    throw wrong(what, "timeout", rule, timeout, typeof timeout === "number");
  }
  if (!Number.isSafeInteger(retries) || retries < 0) {
    throw wrong(what, "retries", "an integer >= 0", retries, typeof retries === "number");
  }
}

function checkIdentity(what: string, identity: string): void {
  const bytes = typeof identity === "string" ? encoder.encode(identity) : DELIMITER;
  if (bytes.length >= 1 && bytes.length <= 255 && bytes[0] !== 0) return;
  const rule = "a string of 1 to 255 bytes, the first of them not 0";
  throw wrong(what, "identity", rule, identity, typeof identity === "string");
}

/** The error for a value that breaks a rule, though it may have the right type. */
function wrong(what: string, name: string, rule: string, value: unknown, typed: boolean): Error {
  const text = Deno.inspect(value, { strAbbreviateSize: 100 });
  const message = `Cannot ${what} as "${name}" must be ${rule}: current value is ${text}`;
  return typed ? new RangeError(message) : new TypeError(message);
}
