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
  /**
   * Where `bytes` is undefined: sends `count` bytes, from the `from`th on, to a stream socket without copying them
   * here; returns how many it took, < 0: none.
   */
  send(fd: number, from: number, count: number): number;
}

/** Content in this process's memory: one record for one answer after the other. */
export class MemoryContent implements Content {
  bytes: Uint8Array<ArrayBuffer> = NOTHING;
  start = 0;
  size = 0;
  sizes: readonly number[] | undefined;

  /** Becomes `size` bytes from `start` on; `sizes`: those of its frames, undefined: it is one. */
  set(
    bytes: Uint8Array<ArrayBuffer>,
    start: number,
    size: number,
    sizes?: readonly number[],
  ): this {
    this.bytes = bytes;
    this.start = start;
    this.size = size;
    this.sizes = sizes;
    return this;
  }

  /** Becomes what a body has. */
  setBody({ bytes, size, sizes }: Body): this {
    return this.set(bytes, 0, size, sizes);
  }

  copyTo(target: Uint8Array<ArrayBuffer>, at: number, from: number, count: number): void {
    const start = this.start + from;
    target.set(this.bytes.subarray(start, start + count), at);
  }

  send(): number {
    return -1;
  }
}

const NOTHING = new Uint8Array(0);

/** How many frames a content has. */
export function framesOf({ sizes }: Pick<Content, "sizes">): number {
  return sizes?.length ?? 1;
}

/** A kept copy of `content`. */
export function keep(content: Content, bodies: BodyPool): Body {
  const body = bodies.take(content.size);
  content.copyTo(body.bytes, 0, 0, content.size);
  body.sizes = content.sizes?.slice();
  return body;
}

/** The first bytes of a content's frame, up to `most`, as text. */
export function textOf(content: Content, frame: number, most: number): string {
  const sizes = content.sizes ?? [content.size];
  const size = sizes[frame] ?? 0;
  const start = sizes.slice(0, frame).reduce((sum, size) => sum + size, 0);
  const bytes = new Uint8Array(Math.min(size, most));
  content.copyTo(bytes, 0, start, bytes.length);
  return new TextDecoder().decode(bytes);
}
