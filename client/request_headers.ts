/**
 * Headers of requests, whatever carries them.
 *
 * @module
 */

import {
  buildRequestHeader,
  HEADER_BYTES,
  type RequestHeader,
  writeRequestHeader,
} from "../wire/request.ts";

/** Writes headers, most of them into the same memory. */
export class RequestHeaders {
  readonly #bytes = new Uint8Array(HEADER_BYTES);
  readonly #view = new DataView(this.#bytes.buffer);

  /** A request's header: good until the next one is made. */
  of({ id, timeout, requestTimeout, key }: Omit<RequestHeader, "type">): Uint8Array<ArrayBuffer> {
    if (key !== "") return buildRequestHeader({ id, timeout, requestTimeout, key });
    writeRequestHeader(this.#view, { id, timeout, requestTimeout });
    return this.#bytes;
  }
}
