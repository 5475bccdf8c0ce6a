/** Frames as our own client sends them, and replies as tests compare them. */

import { buildRequestHeader, type RequestHeader } from "../../wire/request_header.ts";

/** A header of our own client, as sent ahead of the empty frame. */
export function header(
  id: number,
  timeout = 0,
  said: Partial<RequestHeader> = {},
): Uint8Array<ArrayBuffer> {
  return buildRequestHeader({ id, timeout, ...said });
}

/** The form of a plain error reply: an empty frame, then this. */
export function errorReply(code: number, message: string): string[] {
  return ["", `${code} ${message}`];
}

/** Numbers from 0 as sorted text: the bodies of `count` requests. */
export function numbers(count: number): string[] {
  return Array.from({ length: count }, (_, index) => String(index)).sort();
}
