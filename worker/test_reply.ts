/**
 * What a handler under test has answered, and what it has said on the way.
 *
 * @module
 */

import type { HandlerLog } from "./handler.ts";

/** A line that the handler has logged. */
export interface TestLogLine {
  /** The method of `ctx.log` that was called. */
  level: keyof HandlerLog;
  /** The text that the server's log would have. */
  message: string;
  /** The fields; an error that was logged has its stack in `stack`. */
  fields: Record<string, string | number | boolean>;
}

/** What a handler has said by `ctx.progress`. */
export interface TestProgress {
  /** How much is done. */
  done: number;
  /** How much that will be in all; undefined: the handler has not said it. */
  total: number | undefined;
  /** What is being done; "": the handler has not said it. */
  note: string;
}

/** What a handler has published by `ctx.publish`. */
export interface TestEvent {
  /** Its topic. */
  topic: string;
  /** Its frames. */
  frames: readonly Uint8Array[];
  /** Whether it is kept for those who subscribe later. */
  retain: boolean;
}

/** What a handler has submitted by `ctx.submit`. */
export interface TestSubmission {
  /** What was answered: `j-` and 32 digits, counting up from 1. */
  id: string;
  /** The options, as the server gets them. */
  options: Readonly<Record<string, unknown>>;
  /** The body. */
  frames: readonly Uint8Array[];
}

/** The end of a request: what a client would get, and what only the handler's side sees. */
export class TestReply {
  /** 200, or the code of an error reply: 400 to 599. */
  readonly code: number;
  /** The frames of the answer, of all its parts if it comes in parts; none in an error reply. */
  readonly frames: readonly Uint8Array[];
  /**
   * The message of an error reply; "" in an answer. A client on another machine gets the message only of a
   * `RequestError`, unless the server has `exposeErrors`.
   */
  readonly message: string;
  /** The details of a `RequestError`, as our client would get them; undefined: it has none. */
  readonly details: unknown;
  /** What the handler has thrown; undefined if it has not thrown. */
  readonly error: unknown;
  /** The lines that the handler has logged, in order. */
  readonly log: readonly TestLogLine[];
  /** The frames of each part that the handler has given, also of those before an error; none of a whole answer. */
  readonly parts: readonly (readonly Uint8Array[])[];
  /** What the handler has said of how far it is, all of it. */
  readonly progress: readonly TestProgress[];
  /** What the handler has published, all of it. */
  readonly published: readonly TestEvent[];
  /** What the handler has kept by `ctx.job.checkpoint`, all of it. */
  readonly checkpoints: readonly Uint8Array[];
  /** The jobs that the handler has submitted. */
  readonly submitted: readonly TestSubmission[];

  /** Made by `testHandler` and `TestWorker`. */
  constructor(reply: Omit<TestReply, "bytes" | "text" | "json">) {
    this.code = reply.code;
    this.frames = reply.frames;
    this.message = reply.message;
    this.details = reply.details;
    this.error = reply.error;
    this.log = reply.log;
    this.parts = reply.parts;
    this.progress = reply.progress;
    this.published = reply.published;
    this.checkpoints = reply.checkpoints;
    this.submitted = reply.submitted;
  }

  /** The first frame; empty if there is none. */
  get bytes(): Uint8Array {
    return this.frames[0] ?? new Uint8Array(0);
  }

  /** The first frame as UTF-8 text. */
  text(): string {
    return new TextDecoder().decode(this.bytes);
  }

  /**
   * The first frame as JSON. `T` is the caller's claim: nothing checks it.
   *
   * @throws {SyntaxError} when it is not JSON.
   */
  json<T = unknown>(): T {
    return JSON.parse(this.text());
  }
}
