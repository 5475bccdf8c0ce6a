/**
 * How a request can end: with a reply, with an error reply, or without an answer; and a wait for a background job.
 *
 * @module
 */

import type { JobStatus } from "../wire/job_status.ts";

const decoder = new TextDecoder();

/** A server's answer. */
export class Reply {
  /** All body frames. */
  readonly frames: Uint8Array[];

  /** Made by `Client.request`. */
  constructor(frames: Uint8Array[]) {
    this.frames = frames;
  }

  /** The first body frame; empty if there is none. */
  get bytes(): Uint8Array {
    return this.frames[0] ?? new Uint8Array();
  }

  /** The first body frame as UTF-8 text. */
  text(): string {
    return decoder.decode(this.bytes);
  }

  /**
   * The first body frame as JSON. `T` is the caller's claim: nothing checks it.
   *
   * @throws {SyntaxError} when it is not JSON.
   */
  json<T = unknown>(): T {
    return JSON.parse(this.text());
  }
}

/** An error reply: the server got the request, and says why there is no answer. */
export class ReplyError extends Error {
  /** Always "ReplyError". */
  override readonly name = "ReplyError";
  /**
   * What went wrong, in HTTP's numbers: 400 bad request, 403 not allowed, 404 no such service, 408 not
   * started before the deadline, 413 too large, 499 cancelled, 500 the handler failed, 502 workers died while they ran it,
   * 503 the server is full or shutting down, 504 the handler took too long, or a number from 400 to 599
   * that the handler chose.
   */
  readonly code: number;
  /**
   * The `details` of the handler's `RequestError`; undefined: it has none, or the client is plain. Nothing
   * checks them.
   */
  readonly details: unknown;

  /** Made of an error reply's code, message and details. */
  constructor(code: number, message: string, details?: unknown) {
    super(message);
    this.code = code;
    this.details = details;
  }
}

/** What an error reply's last frame has; undefined: there is none, or it is not JSON. */
export function parseDetails(frame: Uint8Array | undefined): unknown {
  if (frame === undefined) return undefined;
  try {
    return JSON.parse(decoder.decode(frame));
  } catch {
    return undefined; // of a server of another kind
  }
}

/** All tries went unanswered. The server may have done what was asked all the same. */
export class AbandonedError extends Error {
  /** Always "AbandonedError". */
  override readonly name = "AbandonedError";
  /** Where the answer should have come from; several endpoints are separated by ", ". */
  readonly endpoint: string;
  /** How many tries there were. */
  readonly tries: number;
  /** How long each try waited, ms. */
  readonly timeout: number;
  /**
   * What is known of the last try: `unconnected`, there was no connection; `handshake`, the server ended
   * the handshake (the key is wrong, or this client may not connect); `unanswered`, it was connected and
   * did not answer.
   */
  readonly reason: "unconnected" | "handshake" | "unanswered";

  /** Made after the last try, which waited `timeout` ms; `detail` says more about the reason. */
  constructor(
    endpoint: string,
    tries: number,
    timeout: number,
    reason: AbandonedError["reason"] = "unanswered",
    detail = "",
  ) {
    const what = tries === 1 ? "1 try" : `${tries} tries`;
    const known = detail === "" ? "" : `: ${detail}`;
    super(
      `Cannot get an answer from "${endpoint}": gave up after ${what} of ${timeout} ms${known}`,
    );
    this.reason = reason;
    this.endpoint = endpoint;
    this.tries = tries;
    this.timeout = timeout;
  }
}

/** A background job has not ended within the time that was waited. */
export class NotEndedError extends Error {
  /** Always "NotEndedError". */
  override readonly name = "NotEndedError";
  /** The job as it was then. */
  readonly status: JobStatus;

  /** Made after a wait of `wait` ms. */
  constructor(status: JobStatus, wait: number) {
    super(
      `Cannot get the result of job "${status.id}": it is ${status.state} after a wait of ${wait} ms`,
    );
    this.status = status;
  }
}
