/**
 * Handlers whose requests are calls of named functions: `rpc`, and what wraps such a function. What calls and their
 * answers look like is in wire/call.ts; the client's side is client/typed.ts.
 *
 * @module
 */

import { suggest } from "../options/errors.ts";
import { openTracing } from "../system/tracing.ts";
import { buildAnswer, CallFault, readCall } from "../wire/call.ts";
import { Code } from "../wire/request.ts";
import type { Handler, HandlerContext, HandlerParts, HandlerResult } from "./handler.ts";
import { RequestError } from "./request_error.ts";
import { check, type StandardSchema } from "./standard_schema.ts";

/** Undefined: nothing is traced. */
const tracing = openTracing();

/** A function that clients may call. Its `this` is the context of the request, unless it is an arrow function. */
export type RpcCall = (this: HandlerContext, ...args: never[]) => unknown;

/** Functions by name, and groups of them. */
export interface RpcCalls {
  /** A function, or a group. */
  readonly [name: string]: RpcCall | RpcCalls;
}

/** A handler made with {@linkcode rpc}. Its type tells clients what they may call. */
export interface RpcHandler<Calls> extends Handler {
  /** What `rpc` was given. */
  readonly calls: Calls;
}

/** What is known of a call. */
export interface RpcCallDescription {
  /** The name, with those of the groups ahead of it: `user.get`. */
  name: string;
  /** Parameters without a default. */
  parameters: number;
  /** Whether it is an `async function*`, as far as that can be seen. */
  streams: boolean;
  /** Who made the schema that its input is checked by, such as "zod"; undefined: there is none. */
  schema?: string;
}

/** What wrappers have made of a function that was not of the same kind. */
const wrapped = new WeakMap<
  object,
  Pick<RpcCallDescription, "parameters" | "streams" | "schema">
>();

/**
 * Makes a handler of functions that clients call by name. Arguments and results are JSON values, in which a
 * `Uint8Array` may stand anywhere; a function's types are a claim, which only {@linkcode procedure} checks. An
 * `async function*`, or a function that returns an async iterable or a `ReadableStream`, answers in parts.
 *
 * Functions get the request's context as `this`; for arrow functions see {@linkcode withContext}. An unknown name is
 * answered 404, what is not a call 400.
 *
 * @throws {TypeError} when there is no function, or a name that can't be called.
 *
 * @example
 * ```ts
 * export default rpc({
 *   add: (a: number, b: number) => a + b,
 *   user: {
 *     async get(id: string) {
 *       this.log.info("asked for a user");
 *       return { id, name: await Promise.resolve("Ada") };
 *     },
 *   },
 *   count: async function* (to: number) {
 *     for (let n = 1; n <= to; n++) yield n;
 *   },
 * });
 * ```
 */
export function rpc<Calls extends RpcCalls>(
  calls: Calls & ThisType<HandlerContext>,
): RpcHandler<Calls> {
  const table = new Map<string, RpcCall>();
  collect(table, "", calls, 0);
  if (table.size === 0) throw new TypeError("Cannot make a handler: rpc() was given no function");
  const handler: Handler = (_body, context) => answer(table, context);
  return Object.assign(handler, { calls });
}

/**
 * Gives a function the request's context as its first argument, which clients do not send.
 *
 * @example
 * ```ts
 * export default rpc({
 *   whoami: withContext((ctx, greeting: string) => `${greeting}, ${ctx.client.user}`),
 * });
 * ```
 */
export function withContext<Args extends unknown[], Result>(
  call: (context: HandlerContext, ...args: Args) => Result,
): (this: HandlerContext, ...args: Args) => Result {
  const wrapper = function (this: HandlerContext, ...args: Args): Result {
    return call(this, ...args);
  };
  wrapped.set(wrapper, { parameters: Math.max(0, call.length - 1), streams: isStreaming(call) });
  return wrapper;
}

/** The arguments of a call that takes one input. */
export type RpcInput<Input> = undefined extends Input ? [input?: Input] : [input: Input];

/**
 * Makes a call whose one argument is checked by a schema: one of zod, valibot, arktype, or of any other library that
 * has the Standard Schema interface. The function gets what the schema makes of the argument, and the request's
 * context. What does not fit is answered 400: the message says where, and `details.issues` has the issues.
 *
 * @throws {TypeError} when `schema` has no such interface.
 *
 * @example
 * ```ts
 * const Order = z.object({ items: z.array(z.number()).min(1) });
 * export default rpc({ sum: procedure(Order, ({ items }) => items.reduce((a, b) => a + b)) });
 * ```
 */
export function procedure<Input, Output, Result>(
  schema: StandardSchema<Input, Output>,
  call: (input: Output, context: HandlerContext) => Result,
): (this: HandlerContext, ...input: RpcInput<Input>) => Result | Promise<Result> {
  const { vendor } = interfaceOf(schema);
  const wrapper = function (
    this: HandlerContext,
    ...given: RpcInput<Input>
  ): Result | Promise<Result> {
    if (given.length > 1) throw badRequest(`The call takes one argument: it got ${given.length}`);
    const checked = check(schema, given[0]);
    if (!(checked instanceof Promise)) return call(checked, this);
    return checked.then((input) => call(input, this));
  };
  wrapped.set(wrapper, { parameters: 1, streams: isStreaming(call), schema: vendor });
  return wrapper;
}

function interfaceOf(schema: StandardSchema): StandardSchema["~standard"] {
  const standard: unknown = schema?.["~standard"];
  const fits = typeof standard === "object" && standard !== null && "version" in standard &&
    standard.version === 1 && "validate" in standard && typeof standard.validate === "function";
  if (fits) return schema["~standard"];
  throw new TypeError(
    "Cannot make a procedure: the schema must have the Standard Schema interface",
  );
}

// ---- what may be called ----

const MAX_GROUPS = 16;
/** The parts of a name: of at most 64 characters that can be seen, and no dot. */
const NAME = /^[^\s.\p{C}]{1,64}$/u;
/** What the client's side means something else by, or every function has. */
const RESERVED = new Set(["then", "with", "toJSON", "apply", "bind", "call"]);

/** Takes own properties only: what an object inherits is not for clients. */
function collect(table: Map<string, RpcCall>, group: string, calls: RpcCalls, depth: number): void {
  if (depth > MAX_GROUPS) throw wrongCalls(group, `its groups are deeper than ${MAX_GROUPS}`);
  for (const [key, value] of Object.entries(calls)) {
    const name = group === "" ? key : `${group}.${key}`;
    if (!NAME.test(key)) throw wrongCalls(name, "that is not a name");
    if (RESERVED.has(key) || key in Object.prototype) {
      throw wrongCalls(name, "that name is reserved");
    }
    if (typeof value === "function") table.set(name, checkCall(name, value));
    else if (isGroup(value)) collect(table, name, value, depth + 1);
    else throw wrongCalls(name, "it must be a function, or an object with functions");
  }
}

function checkCall(name: string, call: RpcCall): RpcCall {
  const source = Function.prototype.toString.call(call);
  if (/^class\b/.test(source)) throw wrongCalls(name, "it is a class, which can't be called");
  if (kindOf(call) !== "GeneratorFunction") return call;
  throw wrongCalls(name, "it is a generator: make it an async function*");
}

function isGroup(value: unknown): value is RpcCalls {
  return ["Object", "Module"].includes(kindOf(value));
}

function wrongCalls(name: string, why: string): TypeError {
  return new TypeError(`Cannot make a handler: rpc() was given ${JSON.stringify(name)}: ${why}`);
}

function isStreaming(call: unknown): boolean {
  return kindOf(call) === "AsyncGeneratorFunction";
}

/** `Object`, `Function`, `AsyncGeneratorFunction` … */
function kindOf(value: unknown): string {
  return Object.prototype.toString.call(value).slice("[object ".length, -1);
}

// ---- answers ----

type Answer = HandlerResult | HandlerParts;

/** What a request is answered with; no promise if the function has returned none. */
function answer(table: Map<string, RpcCall>, context: HandlerContext): Answer | Promise<Answer> {
  const request = read(context);
  if (request.do === "describe") return buildAnswer("result", { calls: describe(table) });
  const call = table.get(request.name);
  if (call === undefined) throw unknown(request.name, table);
  tracing?.describeActive("rpc.method", request.name);
  const result: unknown = Reflect.apply(call, context, request.args);
  return isThenable(result) ? Promise.resolve(result).then(encode) : encode(result);
}

function read({ frames }: HandlerContext): ReturnType<typeof readCall> {
  try {
    return readCall(frames);
  } catch (error) {
    throw error instanceof CallFault ? badRequest(error.message) : error;
  }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === "object" && value !== null && "then" in value &&
    typeof value.then === "function";
}

function encode(result: unknown): Answer {
  if (result instanceof ReadableStream) return encodeStream(result);
  return isIterable(result) ? encodeParts(result) : buildAnswer("result", result);
}

function isIterable(value: unknown): value is AsyncIterable<unknown> {
  return typeof value === "object" && value !== null && Symbol.asyncIterator in value;
}

/** What the iterator returns at its end is left out, as `for await` leaves it out. */
async function* encodeParts(parts: AsyncIterable<unknown>): HandlerParts {
  for await (const part of parts) yield buildAnswer("part", part);
}

/** Still a stream, as that can be cancelled while it is waited for. */
function encodeStream(parts: ReadableStream<unknown>): HandlerParts {
  return parts.pipeThrough(
    new TransformStream({ transform: (part, to) => to.enqueue(buildAnswer("part", part)) }),
  );
}

function describe(table: Map<string, RpcCall>): RpcCallDescription[] {
  return Array.from(table, ([name, call]) => ({
    name,
    ...wrapped.get(call) ?? { parameters: call.length, streams: isStreaming(call) },
  }));
}

/** Names that are compared with one that is unknown; and the longest name that is compared with them. */
const MAX_COMPARED = 100;
const LONGEST_COMPARED = 64;

function unknown(name: string, table: Map<string, RpcCall>): RequestError {
  const shown = JSON.stringify(name.slice(0, LONGEST_COMPARED));
  const names = [...table.keys()].slice(0, MAX_COMPARED);
  const hint = name.length > LONGEST_COMPARED ? "" : suggest(name, names);
  return new RequestError(Code.notFound, `Unknown call ${shown}${hint}`);
}

function badRequest(message: string): RequestError {
  return new RequestError(Code.badRequest, message);
}
