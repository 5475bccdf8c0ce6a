/**
 * What a client keeps of a request until it ends, and what becomes of an answer in parts.
 *
 * @module
 */

import type { Span } from "../system/tracing.ts";
import type { Answer } from "./answer.ts";
import type { Progress } from "./options.ts";
import type { PartQueue } from "./part_queue.ts";
import { progressOf } from "./progress.ts";
import type { Reply } from "./reply.ts";

/** A request's body, and who is to hear of its answer. */
export interface Ask {
  readonly frames: readonly Uint8Array<ArrayBuffer>[];
  /** Takes a whole answer. */
  resolve(reply: Reply): void;
  reject(reason: unknown): void;
  /** Where parts go; undefined: none are wanted. */
  readonly parts: PartQueue | undefined;
  readonly onProgress: ((progress: Progress) => void) | undefined;
  /** Undefined: nothing is traced. */
  readonly span: Span | undefined;
}

/** A request whose answer goes into a queue of parts. */
export function streamAsk(
  frames: Ask["frames"],
  parts: PartQueue,
  onProgress: Ask["onProgress"],
  span: Ask["span"],
): Ask {
  return {
    frames,
    resolve: (reply) => parts.takeWhole(reply),
    reject: (reason) => parts.fail(reason),
    parts,
    onProgress,
    span,
  };
}

/**
 * Takes a part, or word of progress.
 *
 * @throws when the part can't be taken, and what `onProgress` throws.
 */
export function takePart(
  { parts, onProgress }: Ask,
  { kind, number, frames }: Pick<Answer, "kind" | "number" | "frames">,
): void {
  if (kind === "part") return parts?.take(number, frames);
  const progress = progressOf(frames);
  if (progress !== undefined) onProgress?.(progress);
}

/** All parts have come: so many. */
export function endParts(ask: Ask | undefined, count: number): void {
  try {
    if (ask?.parts === undefined) throw new Error("Cannot read the answer: it has come in parts");
    ask.parts.end(count);
  } catch (error) {
    ask?.reject(error);
  }
}
