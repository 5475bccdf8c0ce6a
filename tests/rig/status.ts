/**
 * The status of a reply, as our own client gets it.
 *
 * @module
 */

import { readStatus } from "../../wire/request.ts";

/** Reads a reply's code; undefined if `frame` is not a status. */
export function parseStatus(frame: Uint8Array): number | undefined {
  return readStatus(new DataView(frame.buffer, frame.byteOffset, frame.byteLength), frame.length);
}
