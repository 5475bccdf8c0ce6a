/**
 * Integers of 8 bytes on the wire, little-endian. Their lowest 53 bits count, which is what a number holds.
 *
 * @module
 */

const HIGH = 2 ** 32;

/** Reads the integer at `at`. */
export function readWide(view: DataView, at: number): number {
  return view.getUint32(at, true) + view.getUint32(at + 4, true) * HIGH;
}

/** Writes an integer from 0 to 2^53 - 1 at `at`. */
export function writeWide(view: DataView, at: number, value: number): void {
  view.setUint32(at, value >>> 0, true);
  view.setUint32(at + 4, Math.floor(value / HIGH), true);
}
