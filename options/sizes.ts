/**
 * Sizes as people write them: bytes, or with `k`, `M` or `G` (also `KiB`, `MiB`, `GiB`), powers of 1024.
 *
 * @module
 */

/** 2²⁰ bytes. */
export const MiB = 1024 ** 2;
/** 2³⁰ bytes. */
export const GiB = 1024 ** 3;

const UNITS: ReadonlyMap<string, number> = new Map([
  ["g", GiB],
  ["m", MiB],
  ["k", 1024],
]);

/**
 * Reads a size.
 *
 * @param text Such as `1.5k` or `64MiB`.
 * @returns Bytes, perhaps not a whole number; `undefined` if the text is not a size.
 */
export function parseSize(text: string): number | undefined {
  const [, number, unit = ""] = /^(\d+(?:\.\d+)?)(?:([kmg])(?:ib)?)?$/i.exec(text) ?? [];
  return number === undefined ? undefined : Number(number) * (UNITS.get(unit.toLowerCase()) ?? 1);
}

/**
 * Writes a size in its largest whole unit.
 *
 * @param bytes The size.
 * @returns A text that {@linkcode parseSize} reads.
 */
export function showSize(bytes: number): string {
  for (const [unit, factor] of UNITS) {
    if (bytes > 0 && bytes % factor === 0) return `${bytes / factor}${unit.toUpperCase()}iB`;
  }
  return String(bytes);
}
