/**
 * Typed calls: functions of a handler made with `rpc`, called as if they were here. Their names, arguments and results
 * come from the type of the handler's module alone, which is not loaded. What goes over the wire is in wire/call.ts.
 *
 * @module
 */

import { buildCall, type CallAnswer, CallFault, DESCRIBE, readAnswer } from "../wire/call.ts";
import type { RequestBody } from "./bodies.ts";
import type { RequestOptions, StreamOptions } from "./options.ts";
import type { Reply } from "./reply.ts";

// ---- types ----

/** A module whose default export was made with `rpc`. */
export interface RpcModule {
  /** The handler. */
  readonly default: { readonly calls: object };
}

/** Options of typed calls. */
export interface CallOptions extends RequestOptions {
  /**
   * Whether a stream may be run again after parts have come, as with `Client.stream`.
   *
   * @default {false}
   */
  resumable?: boolean;
}

/** What `Client.typed` returns: the calls of a module, and `with`. */
export type Typed<Module extends RpcModule> =
  & TypedCalls<Module["default"]["calls"]>
  & TypedRoot<Module>;

/** What the calls of a module have beside them. */
export interface TypedRoot<Module extends RpcModule> {
  /**
   * The same calls with other options, which are added to those that they had.
   *
   * @example
   * ```ts
   * await api.with({ timeout: 500 }).add(1, 2);
   * ```
   */
  with(options: CallOptions): Typed<Module>;
}

/** Functions and groups of a handler as a client calls them. */
export type TypedCalls<Calls> = {
  readonly [Name in keyof Calls]: Calls[Name] extends
    (this: never, ...args: infer Args) => infer Result
    ? (...args: SentArguments<Args>) => TypedAnswer<Awaited<Result>>
    : TypedCalls<Calls[Name]>;
};

/** What a client gives to a function that takes `Args`. */
export type SentArguments<Args extends readonly unknown[]> = {
  [Index in keyof Args]: Sent<Args[Index]>;
};

/** What comes of a call: a promise, or parts if the function streams. */
export type TypedAnswer<Result> = [Result] extends [never] ? Promise<never>
  : [Result] extends [AsyncIterable<infer Part>] ? TypedStream<Received<Part>>
  : Promise<Received<Result>>;

/**
 * Values that come one after the other: `for await` gets each as soon as it is here, and leaving that loop cancels
 * the call. Awaited, it is the list of all values, which the server sends together.
 */
export interface TypedStream<Part> extends AsyncIterable<Part>, Promise<Part[]> {}

/** What JSON has a form for that stays as it is, and bytes. */
export type SentAsIs = string | number | boolean | null | undefined | Uint8Array;

/** What JSON would lose something of, or all: it is refused. */
export type NeverSent =
  | bigint
  | symbol
  | Error
  | RegExp
  | ArrayBufferLike
  | ArrayBufferView
  | PromiseLike<unknown>
  | ReadonlyMap<never, unknown>
  | ReadonlySet<never>
  | WeakMap<never, unknown>
  | WeakSet<never>
  | AsyncIterable<unknown>
  | ((...args: never[]) => unknown);

/**
 * What a client may give where a function takes `Value`: the same, if that is what arrives. `never` for what JSON turns
 * into something else, such as a `Date`.
 */
export type Sent<Value> = unknown extends Value ? Value
  : Value extends SentAsIs ? Value
  : Value extends NeverSent | { toJSON(...args: never[]): unknown } ? never
  : { [Key in keyof Value]: Sent<Value[Key]> };

/**
 * What a client gets where a function returns `Value`: what JSON makes of it, with bytes as they are. A `Date`
 * becomes a string, methods are left out, and `never` stands for what is refused, such as a `Map`.
 */
export type Received<Value> = unknown extends Value ? Value
  : Value extends Uint8Array ? Uint8Array<ArrayBuffer>
  : Value extends SentAsIs ? Value
  : Value extends void ? undefined
  : Value extends { toJSON(...args: never[]): infer Made } ? Received<Made>
  : Value extends NeverSent ? never
  : Value extends readonly unknown[] ? { [Index in keyof Value]: Received<Value[Index]> }
  : { [Key in keyof Value as KeptKey<Value, Key>]: Received<Value[Key]> };

/** A key that JSON has, too: none of a symbol, none of a method. */
export type KeptKey<Value, Key extends keyof Value> = Key extends symbol ? never
  : Value[Key] extends (...args: never[]) => unknown ? never
  : Key;

// ---- calls ----

/** What requests are sent with. */
export interface Asking {
  /** Sends a request; see `Client`. `call`: the function that it calls, for traces. */
  request(body: RequestBody, options: RequestOptions, call?: string): Promise<Reply>;
  /** The same, of which each part is given as soon as it is here; undefined: plain requests have none. */
  stream?(body: RequestBody, options: StreamOptions, call?: string): AsyncIterable<Reply>;
}

/** What is known of a call. */
export interface CallDescription {
  /** The name, such as `user.get`. */
  name: string;
  /** Parameters without a default. */
  parameters: number;
  /** Whether its answer comes in parts, as far as that can be seen. */
  streams: boolean;
  /** Who made the schema of its input; undefined: there is none. */
  schema?: string;
}

/** The calls of a module, whatever it is. */
export function typedCalls(client: Asking, options: CallOptions): object {
  const call = (name: string, args: readonly unknown[]) => callByName(client, name, args, options);
  const others = { with: (more: CallOptions) => typedCalls(client, { ...options, ...more }) };
  return callsOf("", call, others);
}

/**
 * What every function has, and what others ask objects for: `await` for `then`, `JSON.stringify` for `toJSON`. A
 * handler has no calls of these names.
 */
const NOT_CALLS = new Set(["then", "toJSON", "apply", "bind", "call"]);

/** An object on which any name is a call, and a group as well: only the server knows. */
export function callsOf(
  path: string,
  call: (name: string, args: readonly unknown[]) => unknown,
  others: Readonly<Record<string, unknown>>,
): object {
  const inner = new Map<string, object>();
  return new Proxy(() => {}, {
    get(target, key) {
      if (typeof key === "symbol" || NOT_CALLS.has(key) || key in Object.prototype) {
        return Reflect.get(target, key);
      }
      if (Object.hasOwn(others, key)) return others[key];
      const known = inner.get(key) ?? callsOf(path === "" ? key : `${path}.${key}`, call, {});
      inner.set(key, known);
      return known;
    },
    set: () => false,
    apply(_target, _this, args) {
      if (path === "") throw new TypeError("Cannot call the calls themselves: name one of them");
      return call(path, args);
    },
  });
}

/** What becomes of a call: it is sent when it is iterated, else at the end of the turn. */
type CallState = "made" | "sent" | "iterated";

/**
 * Calls a function by its name. What comes of it can be awaited, or iterated if it comes in parts: these come one by
 * one if the iteration starts in the turn of the call, else the server gathers them.
 */
export function callByName(
  client: Asking,
  name: string,
  args: readonly unknown[],
  options: CallOptions,
): Promise<unknown> & AsyncIterable<unknown> {
  const { promise, resolve, reject } = Promise.withResolvers<CallAnswer>();
  const body = attempt(() => bodyOf(name, args));
  let state: CallState = "made";
  queueMicrotask(() => {
    if (state === "iterated") return;
    state = "sent";
    send(client, name, body, options).then(resolve, reject);
  });
  const iterate = () => {
    if (state === "iterated") throw new TypeError(`Cannot iterate over "${name}" twice`);
    const parts = state === "made" ? streamed(client, name, body, options) : undefined;
    if (parts === undefined) return partsOf(name, single(promise));
    state = "iterated";
    // Nobody need wait for it.
    value.catch(() => {});
    reject(new TypeError(`Cannot await "${name}": it is iterated`));
    return partsOf(name, parts);
  };
  const value = promise.then((read) => read.is === "parts" ? read.values : read.value);
  return Object.assign(value, { [Symbol.asyncIterator]: iterate });
}

/** The frames of a call, that belong to nobody else: the caller may change its bytes before they are sent. */
function bodyOf(name: string, args: readonly unknown[]): Uint8Array[] {
  const [head = DESCRIBE, ...bytes] = buildCall(name, args);
  return [head, ...bytes.map((frame) => frame.slice())];
}

/** Does something now, and says what came of it, or throws, when it is asked. */
function attempt<Value>(make: () => Value): () => Value {
  try {
    const made = make();
    return () => made;
  } catch (error) {
    return () => {
      throw error;
    };
  }
}

async function send(
  client: Asking,
  name: string,
  body: () => readonly Uint8Array[],
  { resumable: _, ...options }: CallOptions,
): Promise<CallAnswer> {
  const { frames } = await client.request(body(), options, name);
  return readAnswer(frames);
}

/** The parts of a call, sent when the first is asked for; undefined: it is one that is answered whole. */
function streamed(
  client: Asking,
  name: string,
  body: () => readonly Uint8Array[],
  { key, ...terms }: CallOptions,
): AsyncIterable<CallAnswer> | undefined {
  // Requests of a key share an answer as a whole, and plain ones get no other.
  const replies = key === undefined ? client.stream?.(body(), terms, name) : undefined;
  return replies && readParts(replies);
}

async function* single(answer: Promise<CallAnswer>): AsyncGenerator<CallAnswer, void, undefined> {
  yield await answer;
}

async function* partsOf(
  name: string,
  answers: AsyncIterable<CallAnswer>,
): AsyncGenerator<unknown, void, undefined> {
  for await (const answer of answers) {
    if (answer.is === "parts") yield* answer.values;
    else throw new TypeError(`Cannot iterate over "${name}": its answer does not come in parts`);
  }
}

async function* readParts(
  replies: AsyncIterable<Reply>,
): AsyncGenerator<CallAnswer, void, undefined> {
  for await (const { frames } of replies) yield readAnswer(frames);
}

/** Calls a function by its name, and gives its result, or each part as soon as it is here. */
export function answersTo(
  client: Asking,
  name: string,
  args: readonly unknown[],
  options: CallOptions,
): AsyncIterable<CallAnswer> {
  const frames = buildCall(name, args);
  const body = () => frames;
  return streamed(client, name, body, options) ?? single(send(client, name, body, options));
}

/**
 * What a handler made with `rpc` offers.
 *
 * @throws {Error} when the handler is another one.
 */
export async function describeCalls(
  client: Asking,
  options: CallOptions,
): Promise<CallDescription[]> {
  const { frames } = await client.request(DESCRIBE, options);
  const calls = callsIn(frames);
  if (calls !== undefined) return calls;
  throw new Error("Cannot list the calls: the handler is not made with rpc()");
}

function callsIn(frames: readonly Uint8Array[]): CallDescription[] | undefined {
  try {
    const answer = readAnswer(frames);
    const value = answer.is === "result" ? answer.value : undefined;
    const calls = isRecord(value) ? value.calls : undefined;
    return Array.isArray(calls) && calls.every(isDescription) ? calls : undefined;
  } catch (error) {
    if (error instanceof CallFault) return undefined;
    throw error;
  }
}

function isDescription(value: unknown): value is CallDescription {
  return isRecord(value) && typeof value.name === "string" &&
    typeof value.parameters === "number" && typeof value.streams === "boolean" &&
    (value.schema === undefined || typeof value.schema === "string");
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}
