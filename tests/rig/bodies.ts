/** Bodies of which a test says what is in them. */

import type { Body, BodyPool } from "../../ports/body.ts";

/** A body of these frames. */
export function bodyWith(pool: BodyPool, ...frames: readonly Uint8Array[]): Body {
  const body = pool.take(frames.reduce((sum, frame) => sum + frame.length, 0));
  let at = 0;
  for (const frame of frames) {
    body.bytes.set(frame, at);
    at += frame.length;
  }
  if (frames.length !== 1) body.sizes = frames.map((frame) => frame.length);
  return body;
}
