/**
 * Headers of requests, whatever carries them.
 *
 * @module
 */

import { buildRequestHeader, HEADER_BYTES, writeRequestHeader } from "../wire/request_header.ts";
import type { RequestWords } from "./transport.ts";

/** Writes headers, most of them into the same memory. */
export class RequestHeaders {
  readonly #bytes = new Uint8Array(HEADER_BYTES);
  readonly #view = new DataView(this.#bytes.buffer);

  /** A request's header: good until the next one is made. */
  of(words: RequestWords): Uint8Array<ArrayBuffer> {
    if (words.key !== "" || words.fields !== undefined) return buildHeader(words);
    writeRequestHeader(this.#view, words);
    return this.#bytes;
  }
}

/** A request's header, in memory of its own. */
export function buildHeader({ fields, ...words }: RequestWords): Uint8Array<ArrayBuffer> {
  const { id, timeout, requestTimeout, key } = words;
  return buildRequestHeader({ id, timeout, requestTimeout, key, ...fields });
}
