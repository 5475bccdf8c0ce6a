/**
 * The content of an answer while it is brought to those who wait for it. It lies in what was just received, or in a
 * body that is kept, and is copied only where somebody takes it later.
 *
 * @module
 */

import type { Body, BodyPool } from "./body.ts";

/** Frames, valid until the call that they were given to returns. */
export interface Content {
  /** Bytes of all frames. */
  readonly size: number;
  /** Bytes of each frame; undefined: there is one frame. */
  readonly sizes: readonly number[] | undefined;
  /** Memory that has all of it from `start` on; undefined: it lies elsewhere, and is large. */
  readonly bytes: Uint8Array<ArrayBuffer> | undefined;
  readonly start: number;
  /** Copies `count` bytes, from the `from`th on, into `target` at `at`. */
  copyTo(target: Uint8Array<ArrayBuffer>, at: number, from: number, count: number): void;
  /** Sends `count` bytes, from the `from`th on, to a stream socket; returns how many it took, < 0: none. */
  send(fd: number, from: number, count: number): number;
}

/** A kept copy of `content`. */
export function keep(content: Content, bodies: BodyPool): Body {
  const body = bodies.take(content.size);
  content.copyTo(body.bytes, 0, 0, content.size);
  body.sizes = content.sizes?.slice();
  return body;
}
