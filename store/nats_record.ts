/**
 * The record of a job, as it stands in NATS, and what a node makes of it. The record is the truth; the hint in the work
 * queue says that the job is due, and brings the body. Pure.
 *
 * A record is one message of its bucket: its words are JSON in the header `Job`, so that they can be listed and told
 * without results; the payload is the result. A hint, and a body that is kept, is `u32 bytes of JSON, JSON, body`
 * (little-endian).
 *
 * **Why nothing is lost and each result is once.** Each change of a record names the revision that it replaces, so of two
 * that were decided at the same time one is refused, and decides again. A hint is acknowledged after the change that
 * makes it needless was stored, never before:
 *
 * - submit: record, hint, answer. Ended in between: a record without a hint, of a job that nobody was told of.
 * - run ended: record with the result, then the hint's ack. Ended in between: the hint comes again, the record is done,
 *   the hint is acknowledged.
 * - next try soon: record with the count of tries, then nak with the delay. Ended in between: the hint comes after
 *   `ackWait`.
 * - next try later: body kept, record, ack. When it is due: hint, then the body is forgotten. A job has one hint at
 *   most (its subject holds one message), so a move that is repeated changes nothing.
 * - a node dies: its hints come to others after `ackWait`; what it stored late is refused by the revision.
 *
 * @module
 */

import { isRecord } from "../wire/json_object.ts";
import type { Frames, JobState, JobStatus, Submission } from "./messages.ts";

/** What stands in the header `Job`. */
export interface JobRecord extends JobStatus {
  backoff: { firstMs: number; maxMs: number };
  requestTimeout: number;
  expiresAt: number;
  trace: string;
  /** Where its body is. */
  place: "work" | "kept";
  /** Sizes of the result's frames; `null`: it has no result. */
  result: readonly number[] | null;
  /** Its last try has kept something. */
  hasCheckpoint: boolean;
  /** The state before. */
  was: JobState | "";
  /** Who wrote this, so that a writer that was not answered knows its own. */
  by: string;
  /** Nodes that have died while they ran it. */
  deaths?: number;
  /** The jobs that it waits for are done. */
  isReleased?: boolean;
  /** How many jobs its node had taken in the same ms before. */
  nth?: number;
}

/** What a hint says beside the body. */
export interface Hint {
  record: JobRecord;
  /** The record's revision; 0: not known. */
  revision: number;
  /** The due time that it was moved for; 0: it was not moved. */
  movedFor: number;
  sizes: readonly number[] | undefined;
}

const MAX_TEXT = 1000;
const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** States that a job does not leave by itself. */
export function isEnd(state: JobState): boolean {
  return state === "done" || state === "failed" || state === "cancelled" || state === "expired";
}

/** The record of a job that was just submitted. */
export function newRecord(job: Submission, id: string, now: number): JobRecord {
  const isLater = job.runAt > now || job.after.length > 0;
  return {
    id,
    service: job.service,
    user: job.user,
    state: isLater ? "scheduled" : "waiting",
    version: 1,
    attempt: 0,
    retries: job.retries,
    priority: job.priority,
    key: job.key,
    group: job.group,
    after: job.after,
    bytes: job.body.bytes.length,
    createdAt: now,
    runAt: Math.max(job.runAt, now),
    startedAt: undefined,
    endedAt: undefined,
    code: undefined,
    message: undefined,
    progress: undefined,
    node: "",
    backoff: job.backoff,
    requestTimeout: job.requestTimeout,
    expiresAt: job.expiresAt,
    trace: job.trace,
    place: isLater ? "kept" : "work",
    result: null,
    hasCheckpoint: false,
    was: "",
    by: "",
  };
}

/** A record after a change. */
export function changed(record: JobRecord, change: Partial<JobRecord>): JobRecord {
  return { ...record, ...change, was: record.state, version: record.version + 1 };
}

/** A record as others see it: what has come due by itself is shown as it is. `node`: the one that is asked. */
export function statusOf(record: JobRecord, now: number, node: string): JobStatus {
  const isDue = record.state === "scheduled" && record.runAt <= now && !isBlocked(record);
  return {
    id: record.id,
    service: record.service,
    user: record.user,
    state: isDue ? "waiting" : record.state,
    version: record.version,
    attempt: record.attempt,
    retries: record.retries,
    priority: record.priority,
    key: record.key,
    group: record.group,
    after: record.after,
    bytes: record.bytes,
    createdAt: record.createdAt,
    runAt: record.runAt,
    startedAt: record.startedAt,
    endedAt: record.endedAt,
    code: record.code,
    message: record.message,
    progress: record.progress,
    node: record.node === node ? "" : record.node,
  };
}

/** Whether a job that has ended was kept long enough. */
export function isPast(
  { state, endedAt }: JobRecord,
  { resultTtl, deadTtl }: { resultTtl: number; deadTtl: number },
  now: number,
): boolean {
  if (!isEnd(state)) return false;
  return now - (endedAt ?? now) > (state === "done" ? resultTtl : deadTtl);
}

/** Whether it waits for other jobs. */
export function isBlocked({ after, isReleased, attempt }: JobRecord): boolean {
  return after.length > 0 && !isReleased && attempt === 0;
}

/** Whether a job that has not started never will; one whose node has died in its run has started in time. */
export function isExpired(record: JobRecord, now: number): boolean {
  const { state, attempt, deaths = 0, expiresAt } = record;
  const hasStarted = attempt > 0 || deaths > 0;
  return expiresAt > 0 && now >= expiresAt && !hasStarted &&
    (state === "waiting" || state === "scheduled");
}

/** What a node does with a hint whose record it has read. */
export type Verdict =
  | { what: "run" }
  | { what: "expire" }
  /** Too many nodes have died while they ran it. */
  | { what: "fail" }
  /** It comes again after that, ms. */
  | { what: "later"; ms: number }
  /** It says nothing that is not known: acknowledged; `keep`: its body is kept first. */
  | { what: "drop"; keep: boolean };

/** Longer delays are kept apart from the work queue, where a delayed job counts as one that runs, ms. */
export const LONGEST_NAK = 10_000;
/** So many nodes may die of a job, for each of its tries. */
const DEATHS_PER_TRY = 3;
/** A hint without a record is not believed to be early any more, ms. */
const ORPHAN_AGE = 60_000;

/** See {@linkcode Verdict}. `record` undefined: there is none. `ageMs`: of the hint. */
export function judge(
  record: JobRecord | undefined,
  hint: Hint,
  ageMs: number,
  now: number,
): Verdict {
  if (record === undefined) {
    return ageMs > ORPHAN_AGE ? { what: "drop", keep: false } : { what: "later", ms: 500 };
  }
  if (isEnd(record.state)) return { what: "drop", keep: record.state !== "done" };
  if (isExpired(record, now)) return { what: "expire" };
  if (record.state === "scheduled") {
    const isMoved = hint.movedFor === record.runAt;
    // Its body is kept, and it will be moved when it is due.
    if (record.place === "kept" && !isMoved) return { what: "drop", keep: false };
    const ms = record.runAt - now;
    // More than was asked for: the clock was set back in the meantime.
    if (!isMoved && ms > 0 && ms <= LONGEST_NAK) return { what: "later", ms };
  }
  const deaths = record.state === "running" ? (record.deaths ?? 0) + 1 : 0;
  if (deaths > DEATHS_PER_TRY * (record.retries + 1)) return { what: "fail" };
  return { what: "run" };
}

/** A text that goes into a record. */
export function cut(text: string): string {
  return text.length > MAX_TEXT ? `${text.slice(0, MAX_TEXT)}…` : text;
}

/** The words of a record. */
export function buildRecord(record: JobRecord): string {
  return JSON.stringify(record);
}

/** Reads those; undefined: they are none. */
export function parseRecord(words: string | undefined): JobRecord | undefined {
  if (words === undefined || words === "") return undefined;
  const value = parseJson(words);
  return isJobRecord(value) ? value : undefined;
}

/** A hint, or a body that is kept, as a payload. */
export function buildHint(hint: Omit<Hint, "sizes">, body: Frames): Uint8Array<ArrayBuffer> {
  const words = encoder.encode(JSON.stringify({ ...hint, sizes: body.sizes }));
  const payload = new Uint8Array(4 + words.length + body.bytes.length);
  new DataView(payload.buffer).setUint32(0, words.length, true);
  payload.set(words, 4);
  payload.set(body.bytes, 4 + words.length);
  return payload;
}

/** Reads that; undefined: it is none. The body is a copy. */
export function parseHint(payload: Uint8Array): { hint: Hint; body: Frames } | undefined {
  if (payload.length < 4) return undefined;
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  const end = 4 + view.getUint32(0, true);
  if (end > payload.length) return undefined;
  const value = parseJson(decoder.decode(payload.subarray(4, end)));
  if (!isHint(value)) return undefined;
  const bytes = new Uint8Array(payload.subarray(end));
  return fits(value.sizes, bytes)
    ? { hint: value, body: { bytes, sizes: value.sizes } }
    : undefined;
}

/** The frames that a payload and their sizes are. */
export function framesOf(bytes: Uint8Array, sizes: readonly number[]): Frames {
  return { bytes: new Uint8Array(bytes), sizes: sizes.length === 1 ? undefined : sizes };
}

/** The sizes of frames. */
export function sizesOf({ bytes, sizes }: Frames): readonly number[] {
  return sizes ?? [bytes.length];
}

function fits(sizes: unknown, bytes: Uint8Array): boolean {
  if (sizes === undefined) return true;
  if (!Array.isArray(sizes) || !sizes.every((size) => Number.isSafeInteger(size) && size >= 0)) {
    return false;
  }
  return sizes.reduce((sum: number, size: number) => sum + size, 0) === bytes.length;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const NUMBERS = ["version", "attempt", "retries", "priority", "bytes", "createdAt", "runAt"];
const TEXTS = ["id", "service", "user", "state", "key", "group", "node", "place", "trace", "by"];

/** Whoever may write to the bucket is trusted as a node is: what could break this program is checked, and no more. */
function isJobRecord(value: unknown): value is JobRecord {
  return isRecord(value) && isRecord(value.backoff) && Array.isArray(value.after) &&
    NUMBERS.every((name) => Number.isFinite(value[name])) &&
    TEXTS.every((name) => typeof value[name] === "string") &&
    (value.result === null || Array.isArray(value.result));
}

function isHint(value: unknown): value is Hint {
  return isRecord(value) && isJobRecord(value.record) && typeof value.revision === "number" &&
    typeof value.movedFor === "number";
}

/** Room for the words of a record in one message, bytes. */
export const RECORD_ROOM = 65_536;

/** What the header of a body that is kept says. */
export interface KeptWords {
  id: string;
  service: string;
  state: JobRecord["state"];
  runAt: number;
  after: readonly string[];
}

/** See {@linkcode KeptWords}. */
export function keptWords({ id, service, state, runAt, after }: JobRecord): KeptWords {
  return { id, service, state, runAt, after };
}
