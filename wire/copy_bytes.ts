/**
 * Copies bytes. A view for a copy takes longer to make than a few bytes to copy one by one.
 *
 * @module
 */

/** Copies of more bytes are made by way of a view. */
export const FEW_BYTES = 48;

/** Copies `count` bytes of `source`, from the `from`th on, into `target` at `at`. */
export function copyBytes(
  target: Uint8Array,
  at: number,
  source: Uint8Array,
  from: number,
  count: number,
): void {
  if (count > FEW_BYTES) return target.set(source.subarray(from, from + count), at);
  for (let index = 0; index < count; index++) target[at + index] = source[from + index] ?? 0;
}

/** The bytes of several frames, one behind the other. */
export function joinBytes(frames: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(frames.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const frame of frames) {
    bytes.set(frame, at);
    at += frame.length;
  }
  return bytes;
}
