/**
 * The error with which a handler words its own answer.
 *
 * @module
 */

import { MAX_DETAILS_BYTES } from "../wire/job.ts";
import { isErrorCode } from "../wire/request.ts";

/** As it was before the handler could replace it. */
const stringify = JSON.stringify;
const utf8 = new TextEncoder();

/**
 * An error that a handler throws to answer with a code of its own. Clients get its message, whatever the
 * server's `exposeErrors` says.
 *
 * @example
 * ```ts
 * throw new RequestError(404, "No such customer");
 * throw new RequestError(409, "Sold out", { details: { left: 2 } });
 * ```
 */
export class RequestError extends Error {
  /** Always "RequestError", also in other copies of this module. */
  override readonly name = "RequestError";
  /** 400 to 599. */
  readonly code: number;
  /** What a program can make use of; undefined: nothing. Our client has it as `ReplyError.details`. */
  readonly details: unknown;

  /**
   * Makes an error for one reply.
   *
   * @param code an integer from 400 to 599.
   * @param message what the client reads.
   * @param options `details`: a JSON value for our client, maximum 65,536 bytes as text. Plain clients get
   * the message alone.
   * @throws {RangeError} when `code` is not an integer from 400 to 599, or `details` are too long.
   * @throws {TypeError} when `details` are not a JSON value.
   */
  constructor(code: number, message: string, { details }: { details?: unknown } = {}) {
    super(message);
    if (!isErrorCode(code)) {
      throw new RangeError(
        `Cannot make a reply: "code" must be an integer from 400 to 599: current value is ${code}`,
      );
    }
    if (details !== undefined) encodeDetails(details);
    this.code = code;
    this.details = details;
  }
}

/**
 * An error's details as they are sent.
 *
 * @throws {TypeError} when they are not a JSON value.
 * @throws {RangeError} when they are too long.
 */
export function encodeDetails(details: unknown): Uint8Array<ArrayBuffer> {
  const text: unknown = stringify(details);
  if (typeof text !== "string") {
    throw new TypeError(
      `Cannot make a reply: "details" must be a JSON value: it is a ${typeof details}`,
    );
  }
  const bytes = utf8.encode(text);
  if (bytes.length <= MAX_DETAILS_BYTES) return bytes;
  throw new RangeError(
    `Cannot make a reply: "details" must have at most ${MAX_DETAILS_BYTES} bytes: ` +
      `they have ${bytes.length}`,
  );
}
