/**
 * One job that runs here, and the records that may follow it. Pure.
 *
 * @module
 */

import type { Frames, RunOutcome } from "./messages.ts";
import { cut, type JobRecord, sizesOf } from "./nats_record.ts";
import { messageOfRun } from "./verdict.ts";

/** One job that runs here. */
export interface Run {
  number: number;
  id: string;
  service: string;
  /** As it stands in NATS, as far as is known. */
  record: JobRecord;
  revision: number;
  /** Where its hint is acknowledged. */
  reply: string;
  body: Frames;
  /** By the steady clock. */
  startedAt: number;
  isMarked: boolean;
  /** A change is under way. */
  isWriting: boolean;
  outcome: RunOutcome | undefined;
  progress: JobRecord["progress"];
  /** By the steady clock: not before. */
  progressAt: number;
  isCancelled: boolean;
  /** The record may say otherwise. */
  isSuspect: boolean;
}

/** The record of a run as it is now. */
export function running({ record }: Run, node: string): JobRecord {
  return { ...record, state: "running", node };
}

/** The record that follows it, with what its handler has said last about how far it is. */
export function after({ record, progress }: Run): JobRecord {
  return { ...record, progress: progress ?? record.progress, version: record.version + 1 };
}

/** It is done. */
export function doneRecord(run: Run, { code, result }: RunOutcome, now: number): JobRecord {
  return {
    ...after(run),
    state: "done",
    endedAt: now,
    code,
    message: undefined,
    result: sizesOf(result),
  };
}

/** It is dead. */
export function failedRecord(run: Run, { code, result }: RunOutcome, now: number): JobRecord {
  return {
    ...after(run),
    state: "failed",
    endedAt: now,
    code,
    message: cut(messageOfRun(result)),
    place: "kept",
    result: sizesOf(result),
  };
}

/** An operator has cancelled its run. */
export function cancelledRecord(run: Run, now: number): JobRecord {
  return { ...after(run), state: "cancelled", endedAt: now, place: "kept" };
}

/** An error that this node has found. */
export function errorOutcome(code: number, text: string): RunOutcome {
  return { code, unstarted: false, result: { bytes: new TextEncoder().encode(text) }, ms: 0 };
}
