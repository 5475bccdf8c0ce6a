/**
 * What the end of a run means for its job: done, tried again, or failed. The same for every store. Pure.
 *
 * @module
 */

import type { Frames, JobState, RunOutcome } from "./messages.ts";

/** What becomes of a job whose run has ended. */
export type Verdict = "done" | "again" | "failed" | "cancelled" | "returned";

/** What is known of a job whose run has ended. */
export interface Tried {
  /** Tries that have begun, this one included. */
  attempt: number;
  /** Tries after the first one. */
  retries: number;
}

/** The answer of a handler whose job was cancelled. */
const CANCELLED = 499;

/** What becomes of it. A fault of the request (4xx) is final: no other try would end otherwise. */
export function verdictOf(outcome: RunOutcome, { attempt, retries }: Tried): Verdict {
  if (outcome.code >= 200 && outcome.code < 300) return "done";
  if (outcome.code === CANCELLED) return "cancelled";
  if (outcome.unstarted) return "returned";
  if (outcome.code < 500) return "failed";
  return attempt <= retries ? "again" : "failed";
}

/** A part of the time that it varies by, so that jobs which failed together don't come together again. */
const JITTER = 0.2;

/** How long a job waits before its next try, ms: doubled with each, ± 20 %. `random`: 0 to 1. */
export function backoffMs(
  { firstMs, maxMs }: { firstMs: number; maxMs: number },
  attempt: number,
  random: number,
): number {
  // 2 ** 40 ms is more than any limit.
  const plain = Math.min(maxMs, firstMs * 2 ** Math.min(attempt - 1, 40));
  return Math.round(plain * (1 + JITTER * (2 * random - 1)));
}

/** The longest message of an error that is kept, characters. */
const MAX_MESSAGE = 4096;

/** The message of a run that has failed: the first frame. */
export function messageOfRun({ bytes, sizes }: Frames): string {
  // A character has 4 bytes at most.
  const size = Math.min(sizes?.[0] ?? bytes.length, 4 * MAX_MESSAGE);
  const text = new TextDecoder().decode(bytes.subarray(0, size));
  return text.length > MAX_MESSAGE ? text.slice(0, MAX_MESSAGE) : text;
}

/** Why an operator can't have a job run again that is in this state. */
export function notAgain(state: JobState): string {
  if (state === "done") return "it is done, and its body is not kept: submit it again";
  return `it is ${state}: only a job that has failed, expired or was cancelled can be tried again`;
}
