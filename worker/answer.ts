/**
 * The answer of another service, as a handler gets it.
 *
 * @module
 */

/** As they were before the handler could replace them. */
const Bytes = Uint8Array;
const parse = JSON.parse;
const decoder = new TextDecoder();

/** What another service of the server has answered. */
export class Answer {
  /** All body frames; each has memory of its own. */
  readonly frames: readonly Uint8Array[];

  /** Made by `HandlerContext.request`. */
  constructor(frames: readonly Uint8Array[]) {
    this.frames = frames;
  }

  /** The first body frame; empty if there is none. */
  get bytes(): Uint8Array {
    return this.frames[0] ?? new Bytes();
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
    return parse(this.text());
  }
}
