/**
 * What comes of a request: a reply, an error reply, or none.
 *
 * @module
 */

import { DELIMITER } from "../wire/request.ts";

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
    return this.frames[0] ?? DELIMITER;
  }

  /** The first body frame as UTF-8 text. */
  text(): string {
    return decoder.decode(this.bytes);
  }

  /**
   * The first body frame as JSON. `T` is the caller's claim: nothing checks it.
   *
   * @throws {SyntaxError} when it is no JSON.
   */
  json<T = unknown>(): T {
    return JSON.parse(this.text());
  }
}

/** An error reply: the server took the request and says why there is no answer. */
export class ReplyError extends Error {
  /** Always "ReplyError". */
  override readonly name = "ReplyError";
  /** What kind of failure; the numbers are HTTP's. */
  readonly code: number;

  /** Made of an error reply's code and message. */
  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}

/** All tries went unanswered. The server may yet have done what was asked. */
export class AbandonedError extends Error {
  /** Always "AbandonedError". */
  override readonly name = "AbandonedError";
  /** Where the answer should have come from; several endpoints are separated by ", ". */
  readonly endpoint: string;
  /** How often the request was sent. */
  readonly tries: number;
  /** How long each try waited, ms. */
  readonly timeout: number;
  /**
   * What is known of the last try: there was no connection, the server ended the handshake (the wrong
   * key, or a client that it doesn't let in), or it was connected and did not answer.
   */
  readonly reason: "unconnected" | "handshake" | "unanswered";

  /** Made after the last try; `detail` says more of the reason. */
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
