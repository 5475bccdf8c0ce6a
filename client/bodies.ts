/**
 * Bodies of requests, copied: they may be sent more than once, and the caller may change them meanwhile.
 *
 * @module
 */

const encoder = new TextEncoder();

/** A request's body: one frame, or a list of at least one. Text is sent as UTF-8. */
export type RequestBody = Uint8Array | string | readonly (Uint8Array | string)[];

/** The most bytes that UTF-8 takes for each 16 bits of a string. */
export const CHARACTER_BYTES = 3;

/** Small frames share blocks of memory; a block lives as long as one of its frames. */
const SHARED_BYTES = 8192;
/** The largest frame that shares memory. */
const SMALL_BYTES = 512;

/** Copies bodies. Small frames share memory, which costs less. */
export class Bodies {
  #shared = new Uint8Array(SHARED_BYTES);
  #used = 0;

  /** A body's frames. @throws {TypeError} when it is not a body. */
  copy(body: RequestBody): Uint8Array<ArrayBuffer>[] {
    if (typeof body === "string" || body instanceof Uint8Array) return [this.#frame(body)];
    return framesOf(body).map((frame) => this.#frame(frame));
  }

  #frame(frame: Uint8Array | string): Uint8Array<ArrayBuffer> {
    const isText = typeof frame === "string";
    const most = isText ? frame.length * CHARACTER_BYTES : frame.length;
    if (most > SMALL_BYTES) return isText ? encoder.encode(frame) : new Uint8Array(frame);
    if (this.#used + most > SHARED_BYTES) {
      this.#shared = new Uint8Array(SHARED_BYTES);
      this.#used = 0;
    }
    const start = this.#used;
    if (isText) {
      this.#used += encoder.encodeInto(frame, this.#shared.subarray(start)).written;
      return this.#shared.subarray(start, this.#used);
    }
    this.#used += frame.length;
    this.#shared.set(frame, start);
    return this.#shared.subarray(start, this.#used);
  }
}

/** A body's frames as they are. @throws {TypeError} when it is not a body. */
export function framesOf(body: RequestBody): readonly (Uint8Array | string)[] {
  if (typeof body === "string" || body instanceof Uint8Array) return [body];
  if (!Array.isArray(body) || body.length === 0) throw wrongBody(body);
  const isFrame = (frame: unknown) => typeof frame === "string" || frame instanceof Uint8Array;
  if (!body.every(isFrame)) throw wrongBody(body);
  return body;
}

function wrongBody(body: unknown): TypeError {
  const text = Deno.inspect(body, { depth: 1, iterableLimit: 3, strAbbreviateSize: 100 });
  return new TypeError(
    `Cannot send a request: the body must be a Uint8Array, a string, or a list of at least one: ` +
      `current value is ${text}`,
  );
}
