/**
 * Writes the content of an answer as the frames that go over a stream socket.
 *
 * @module
 */

import { copyBytes } from "../wire/copy_bytes.ts";
import { FrameFlag, headBytes, writeHead } from "../wire/zmtp.ts";
import type { Content } from "./content.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** Bytes over the wire of a content. */
export function framesSize({ size, sizes }: Content): number {
  if (sizes === undefined) return headBytes(size) + size;
  let sum = size;
  for (const each of sizes) sum += headBytes(each);
  return sum;
}

/** Writes the frames of a content, the last ones of a message, from `start` on. */
export function writeFrames(bytes: Bytes, start: number, content: Content): void {
  const { size, sizes } = content;
  if (sizes === undefined) {
    copyContent(bytes, writeHead(bytes, start, size, 0), content, 0, size);
    return;
  }
  let at = start;
  let from = 0;
  sizes.forEach((each, index) => {
    const isLast = index === sizes.length - 1;
    at = writeHead(bytes, at, each, isLast ? 0 : FrameFlag.MORE);
    copyContent(bytes, at, content, from, each);
    at += each;
    from += each;
  });
}

/** Copies `count` bytes of a content, from the `from`th on, to `at`. */
export function copyContent(
  target: Bytes,
  at: number,
  content: Content,
  from: number,
  count: number,
): void {
  const { bytes, start } = content;
  if (bytes === undefined) content.copyTo(target, at, from, count);
  else copyBytes(target, at, bytes, start + from, count);
}
