/**
 * Figures as a person reads them, each in few columns and with its unit. What options write is in
 * options/durations.ts and options/sizes.ts: those are exact, these are rounded.
 *
 * @module
 */

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** A time in ms: `0.35ms`, `8.2ms`, `820ms`, `12.3s`, `3m05s`, `2h12m`, `5d03h`. */
export function showSpan(ms: number): string {
  if (ms <= 0) return "0ms";
  if (ms < 0.995) return `${ms.toFixed(2)}ms`;
  if (ms < 9.95) return `${ms.toFixed(1)}ms`;
  if (ms < 999.5) return `${Math.round(ms)}ms`;
  if (ms < 59_950) return `${(ms / SECOND).toFixed(1)}s`;
  if (ms < HOUR - SECOND / 2) return pair(ms, MINUTE, SECOND, "ms");
  if (ms < DAY - MINUTE / 2) return pair(ms, HOUR, MINUTE, "hm");
  return pair(ms, DAY, HOUR, "dh");
}

/** `3m05s`, rounded to the smaller unit. */
function pair(ms: number, large: number, small: number, units: string): string {
  const count = Math.round(ms / small);
  const ratio = large / small;
  const rest = String(count % ratio).padStart(2, "0");
  return `${Math.floor(count / ratio)}${units[0]}${rest}${units[1]}`;
}

/** The same; undefined where there is none. */
export function spanOf(ms: number | null | undefined): string | undefined {
  return ms === undefined || ms === null ? undefined : showSpan(ms);
}

const SIZES = ["KiB", "MiB", "GiB", "TiB"];

/** Bytes: `512B`, `1.2KiB`, `35MiB`. */
export function showBytes(bytes: number): string {
  if (bytes < 1024) return `${bytes}B`;
  let size = bytes / 1024;
  let unit = 0;
  while (size >= 1023.5 && unit < SIZES.length - 1) {
    size /= 1024;
    unit++;
  }
  return `${size < 9.95 ? size.toFixed(1) : Math.round(size)}${SIZES[unit]}`;
}

/** The same; undefined where there are none. */
export function bytesOf(bytes: number | null | undefined): string | undefined {
  return bytes === undefined || bytes === null ? undefined : showBytes(bytes);
}

/** How many a second: `0`, `0.4`, `12`, `14200`. */
export function showRate(perSecond: number): string {
  if (perSecond === 0) return "0";
  return perSecond < 9.95 ? perSecond.toFixed(1) : String(Math.round(perSecond));
}

/** A number with its noun: `1 worker`, `3 workers`. */
export function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}
