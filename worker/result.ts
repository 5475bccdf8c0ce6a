/**
 * What a handler's result or its error is answered with. Runs the handler's own code (getters, iterators,
 * proxies): call it before the first frame of a reply is sent.
 *
 * @module
 */

import { EMPTY_FRAME } from "../wire/empty_frame.ts";
import { Code, isErrorCode } from "../wire/request.ts";
import type { WorkerConfig } from "../wire/worker_config.ts";
import { lengthOf } from "../zmq/library.ts";
import type { HandlerResult } from "./handler.ts";
import { type Job, Stop } from "./job_context.ts";
import { encodeDetails } from "./request_error.ts";
import { showMessage } from "./show.ts";

/** As it was before the handler could replace it. */
const Bytes = Uint8Array;
const utf8 = new TextEncoder();

/** An error reply, as the handler's error makes it. */
export interface Failure {
  /** 400 to 599. */
  code: number;
  /** What the client reads if `worded` is set, or if the server exposes errors. */
  message: string;
  /** Whether the message was written for clients: by a RequestError, or by this package. */
  worded: boolean;
  /** Whether the handler failed, and was not just told to stop. */
  failed: boolean;
  /** A RequestError's details as JSON; undefined: it has none. */
  details: Uint8Array<ArrayBuffer> | undefined;
}

/** What bounds a reply. */
export type ReplyBounds = Pick<WorkerConfig, "maxMessageSize" | "maxFrames">;

/**
 * The frames of a reply, at least one, and the bytes in them.
 *
 * @throws {TypeError} when the result is neither bytes, nor text, nor an array of these.
 * @throws {RangeError} when the reply has more frames or bytes than `bounds` allow.
 */
export function framesOf(
  result: HandlerResult | undefined,
  { maxMessageSize, maxFrames }: ReplyBounds,
): { frames: Uint8Array[]; size: number } {
  // Nearly all results are one frame: these two lines are what a reply costs here then.
  const isOne = result instanceof Bytes;
  const frames = isOne ? [result] : toFrames(result);
  if (frames.length > maxFrames) {
    throw new RangeError(
      `The reply must have at most ${maxFrames} frames: it has ${frames.length}`,
    );
  }
  const size = isOne ? lengthOf(result) : bytesOf(frames);
  if (size <= maxMessageSize) return { frames, size };
  throw new RangeError(`The reply must have at most ${maxMessageSize} bytes: it has ${size}`);
}

/**
 * The frames of what a handler sends otherwise than as its answer, at least one. `act`: what failed, for the error.
 *
 * @throws {TypeError} when it is neither bytes, nor text, nor an array of these.
 */
export function sentFramesOf(body: HandlerResult | undefined, act: string): Uint8Array[] {
  return toFrames(body, `${act}: the body must be`, "it is");
}

/** What a handler's error is answered with: the stop, if the handler was told to stop, whatever it threw. */
export function failureOf(job: Job, error: unknown): Failure {
  const { stopped } = job;
  if (stopped !== undefined && stopped !== Stop.interrupted) {
    const { code, reason: message } = stopped;
    return { code, message, worded: true, failed: false, details: undefined };
  }
  const code = wordedCodeOf(error);
  const message = showMessage(error);
  if (code !== undefined) {
    return { code, message, worded: true, failed: true, details: detailsOf(error) };
  }
  return { code: Code.handlerFailed, message, worded: false, failed: true, details: undefined };
}

/** The bytes in all frames, whatever their `length` pretends. */
export function bytesOf(frames: readonly Uint8Array[]): number {
  let sum = 0;
  for (const frame of frames) sum += lengthOf(frame);
  return sum;
}

/** A result as frames, of which there is at least one. */
function toFrames(
  result: unknown,
  rule = "The handler must return",
  fact = "it returned",
): Uint8Array[] {
  const frames = Array.isArray(result) ? Array.from(result, toFrame) : [toFrame(result)];
  if (frames.length === 0) return [EMPTY_FRAME];
  if (frames.every((frame) => frame !== undefined)) return frames;
  const kinds = "Uint8Array, string or an array of them";
  throw new TypeError(`${rule} ${kinds}: ${fact} ${describe(result)}`);
}

function toFrame(value: unknown): Uint8Array | undefined {
  if (typeof value === "string") return utf8.encode(value);
  return value instanceof Bytes ? value : undefined;
}

/** Names the kind of a value that is not a frame, or of the first one in an array. */
function describe(value: unknown): string {
  if (Array.isArray(value)) {
    const wrong = Array.from(value).find((item: unknown) => toFrame(item) === undefined);
    return `an array with ${describe(wrong)}`;
  }
  if (typeof value === "object" && value !== null) return value.constructor?.name ?? "an object";
  return String(value);
}

/** The details of a RequestError; undefined: it has none that can be sent. */
function detailsOf(error: unknown): Uint8Array<ArrayBuffer> | undefined {
  try {
    const details = error instanceof Error && "details" in error ? error.details : undefined;
    return details === undefined ? undefined : encodeDetails(details);
  } catch {
    return undefined; // of another copy of this package, or changed since
  }
}

/** The code of a RequestError, which may be of another copy of this package: so its name decides. */
function wordedCodeOf(error: unknown): number | undefined {
  try {
    const named = error instanceof Error && error.name === "RequestError" && "code" in error;
    const code = named ? error.code : undefined;
    return isErrorCode(code) ? code : undefined;
  } catch {
    return undefined; // its properties throw
  }
}
