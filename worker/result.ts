/**
 * What a handler returns, as the frames of a reply. Runs the handler's own code (getters, iterators,
 * proxies): call it before a message is begun.
 *
 * @module
 */

/** As it was before the handler could replace it. */
const Bytes = Uint8Array;
const utf8 = new TextEncoder();
const EMPTY = new Bytes(0);

/**
 * A result as frames, of which there is at least one.
 *
 * @throws {TypeError} when it is something else.
 */
export function toFrames(result: unknown): Uint8Array<ArrayBuffer>[] {
  const frames = Array.isArray(result) ? Array.from(result, toFrame) : [toFrame(result)];
  if (frames.length === 0) return [EMPTY];
  if (frames.every((frame) => frame !== undefined)) return frames;
  throw new TypeError(
    `The handler must return Uint8Array, string or an array of them: it returned ${
      describe(result)
    }`,
  );
}

function toFrame(value: unknown): Uint8Array<ArrayBuffer> | undefined {
  if (typeof value === "string") return utf8.encode(value);
  if (!(value instanceof Bytes)) return undefined;
  return isPlain(value) ? value : new Bytes(value);
}

function isPlain(bytes: Uint8Array): bytes is Uint8Array<ArrayBuffer> {
  return bytes.buffer instanceof ArrayBuffer;
}

/** What a value that is no frame is. */
function describe(value: unknown): string {
  if (Array.isArray(value)) {
    const wrong = Array.from(value).find((item: unknown) => toFrame(item) === undefined);
    return `an array with ${describe(wrong)}`;
  }
  if (typeof value === "object" && value !== null) return value.constructor?.name ?? "an object";
  return String(value);
}
