/**
 * Asks the store as a client asks a server, for the program that runs the server: the same questions have the same
 * answers and errors, and nothing goes over a socket. Not here: the questions (client/submitting.ts, stored_job.ts).
 *
 * @module
 */

import { framesOf, type RequestBody } from "../client/bodies.ts";
import type { RequestOptions } from "../client/options.ts";
import { AbandonedError, Reply, ReplyError } from "../client/reply.ts";
import type { JobAsker } from "../client/submitting.ts";
import type { Settings } from "../options/settings.ts";
import type { Frames } from "../store/messages.ts";
import { joinBytes } from "../wire/copy_bytes.ts";
import { buildStatus, buildStored } from "../wire/job_status.ts";
import {
  JOB_PREFIX,
  type JobCommand,
  jobCommandOf,
  jobQuestion,
  parseJobQuestion,
  parseSubmission,
} from "../wire/submission.ts";
import { parseTrace } from "../wire/trace.ts";
import { type StoreLink, StoreRefusedError } from "./store_link.ts";

/** What bounds a job's body. */
export type BodyLimits = Pick<Settings, "maxMessageSize" | "maxFrames">;

type Bytes = Uint8Array<ArrayBuffer>;

/** A question waits for its answer as long as a client does that says nothing else, ms. */
const TIMEOUT = 10_000;
const BAD_REQUEST = 400;
const NOT_FOUND = 404;
const TOO_LARGE = 413;
const encoder = new TextEncoder();

/** Asks for one user. */
export class StoredAsker implements JobAsker {
  readonly plain = false;
  readonly timeout = TIMEOUT;
  readonly retries = 0;
  readonly #link: StoreLink;
  readonly #limits: () => BodyLimits;
  readonly #user: string;

  /** `user`: whose the jobs are that it submits; it may ask about those of each. */
  constructor(link: StoreLink, limits: () => BodyLimits, user = "") {
    this.#link = link;
    this.#limits = limits;
    this.#user = user;
  }

  async request(body: RequestBody, options: RequestOptions): Promise<Reply> {
    const { service = "", timeout = TIMEOUT, signal, trace } = options;
    signal?.throwIfAborted();
    const [words = new Uint8Array(), ...frames] = framesOf(body).map(bytesOf);
    const command = jobCommandOf(service.slice(JOB_PREFIX.length));
    const answer = command === "submit" || command === undefined
      ? this.#submit(words, frames, trace)
      : this.#ask(command, words);
    try {
      return new Reply(await within(answer, timeout, signal, this.#link.store));
    } catch (error) {
      throw error instanceof StoreRefusedError ? new ReplyError(error.code, error.message) : error;
    }
  }

  async #submit(words: Bytes, frames: Bytes[], trace: string | undefined): Promise<Bytes[]> {
    const read = parseSubmission(words, Date.now());
    if (read.fault !== undefined) throw new ReplyError(BAD_REQUEST, read.fault);
    if (trace !== undefined && parseTrace(trace) === undefined) {
      throw new RangeError(`Cannot submit a job: "trace" must be a traceparent of W3C`);
    }
    const body = joined(frames);
    const excess = excessOf(body.bytes.length, frames.length, this.#limits());
    if (excess !== undefined) throw new ReplyError(TOO_LARGE, excess);
    const job = { ...read.words, user: this.#user, trace: trace ?? "", body };
    return [buildStored(await this.#link.submit(job))];
  }

  async #ask(command: Exclude<JobCommand, "submit">, words: Bytes): Promise<Bytes[]> {
    const read = parseJobQuestion(command, words);
    if (read.fault !== undefined) throw new ReplyError(BAD_REQUEST, read.fault);
    // Where nothing was ever stored, nobody who asks is to make a store.
    if (!this.#link.isUsed) throw new ReplyError(NOT_FOUND, "There is no such job");
    const { status, result } = await this.#link.ask(
      jobQuestion(command, read.words, read.words.wait),
    );
    return [buildStatus(status), ...result === undefined ? [] : split(result)];
  }
}

/** Waits for an answer no longer than `timeout` ms, or until `signal` aborts. */
async function within<T>(
  answer: Promise<T>,
  timeout: number,
  signal: AbortSignal | undefined,
  store: string,
): Promise<T> {
  const { promise: ended, reject } = Promise.withResolvers<never>();
  const abort = () => reject(signal?.reason);
  const timer = setTimeout(
    () => reject(new AbandonedError(store, 1, timeout)),
    Math.min(timeout, MAX_TIMEOUT),
  );
  signal?.addEventListener("abort", abort, { once: true });
  try {
    return await Promise.race([answer, ended]);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", abort);
  }
}

/** The longest time that a timer takes, ms. */
const MAX_TIMEOUT = 0x7fffffff;

/** A copy: the caller may change it. */
function bytesOf(frame: Uint8Array | string): Bytes {
  return typeof frame === "string" ? encoder.encode(frame) : new Uint8Array(frame);
}

function joined(frames: readonly Bytes[]): Frames {
  const [first = new Uint8Array()] = frames;
  if (frames.length <= 1) return { bytes: first };
  return { bytes: joinBytes(frames), sizes: frames.map(({ length }) => length) };
}

function split({ bytes, sizes = [bytes.length] }: Frames): Bytes[] {
  let at = 0;
  return sizes.map((size) => bytes.subarray(at, at += size));
}

/** Why a body is too large; undefined: it is not. */
function excessOf(
  bytes: number,
  frames: number,
  { maxMessageSize, maxFrames }: BodyLimits,
): string | undefined {
  if (bytes > maxMessageSize) {
    return `The body must have at most ${maxMessageSize} bytes: it has ${bytes}`;
  }
  if (frames <= maxFrames) return undefined;
  return `The body must have at most ${maxFrames} frames: it has ${frames}`;
}
