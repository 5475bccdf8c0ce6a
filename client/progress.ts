/**
 * How far a handler is, as a server says it.
 *
 * @module
 */

import { readProgress } from "../wire/request.ts";
import type { Progress } from "./options.ts";

const decoder = new TextDecoder();

/** Reads the frames of a word of progress: `[f64 done, f64 total] [note]`; undefined: they are none. */
export function progressOf([numbers, note]: readonly Uint8Array[]): Progress | undefined {
  const progress = numbers && readProgress(numbers);
  if (progress === undefined) return undefined;
  const { done, total } = progress;
  return { done, total: Number.isNaN(total) ? undefined : total, note: decoder.decode(note) };
}
