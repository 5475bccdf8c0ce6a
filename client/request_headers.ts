/**
 * Headers of requests, whatever carries them.
 *
 * @module
 */

import {
  buildRequestHeader,
  HEADER_BYTES,
  type HeaderWords,
  needsFields,
  writeRequestHeader,
} from "../wire/request_header.ts";

/** Writes headers, most of them into the same memory. */
export class RequestHeaders {
  readonly #bytes = new Uint8Array(HEADER_BYTES);
  readonly #view = new DataView(this.#bytes.buffer);

  /** A request's header: good until the next one is made. */
  of(words: Omit<HeaderWords, "type">): Uint8Array<ArrayBuffer> {
    const { id, timeout = 0, requestTimeout = 0, key = "" } = words;
    if (key !== "" || needsFields(words)) return buildRequestHeader(words);
    writeRequestHeader(this.#view, { id, timeout, requestTimeout });
    return this.#bytes;
  }
}
