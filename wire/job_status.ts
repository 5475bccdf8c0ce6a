/**
 * What is known of a job that is stored, and what its submitter is answered: the JSON in the first frames of those
 * answers. Reads and builds; no I/O. What is asked is submission.ts's.
 *
 * @module
 */

import { isRecord, parseJson } from "./json_object.ts";
import { isJobId } from "./submission.ts";

/** The states in which a job has ended; it does not leave them by itself. */
export type EndState = "done" | "failed" | "cancelled" | "expired";

/** Where a job is in its life; store/messages.ts draws it. */
export type JobState = "scheduled" | "waiting" | "running" | EndState;

/** All of `EndState`. */
export const END_STATES: readonly EndState[] = ["done", "failed", "cancelled", "expired"];

/** All of `JobState`. */
export const JOB_STATES: readonly JobState[] = ["scheduled", "waiting", "running", ...END_STATES];

const ENDS: readonly string[] = END_STATES;
const STATES: readonly string[] = JOB_STATES;

/** Whether a job in this state has ended. */
export function hasEnded(state: JobState): boolean {
  return ENDS.includes(state);
}

/** What is known of a job, as its submitter sees it. Never its body. Times are ms since 1970; undefined: not yet. */
export interface JobStatus {
  /** Names the job: `j-` and 32 hex digits. */
  id: string;
  /** The service whose handler runs it; "": the one without a name. */
  service: string;
  /** Where it is in its life. */
  state: JobState;
  /** Grows with each change. */
  version: number;
  /** Tries that have begun. */
  attempt: number;
  /** Tries that may follow the first one. */
  retries: number;
  /** 0 to 9, 9 first. */
  priority: number;
  /** What makes it unique while it has not ended; "": it need not be. */
  key: string;
  /** The group whose jobs have a limit of their own; "": none. */
  group: string;
  /** The jobs that must be done before it starts. */
  after: readonly string[];
  /** Bytes of its body. */
  bytes: number;
  /** When it was stored. */
  createdAt: number;
  /** When it may run next. */
  runAt: number;
  /** When its last try has begun. */
  startedAt: number | undefined;
  /** When it has ended. */
  endedAt: number | undefined;
  /** How its last try has ended: 200, or the code of an error. */
  code: number | undefined;
  /** What went wrong in its last try. */
  message: string | undefined;
  /** How far it is, in units of its handler. */
  progress: { done: number; total: number | undefined; note: string } | undefined;
  /** The server that runs it, or has; "": the one that was asked. */
  node: string;
}

const encoder = new TextEncoder();

/** The answer to `job.submit`. */
export interface StoredWords {
  /** The job's id. */
  id: string;
  /** False where a job of the same key is alive, whose id this is. */
  isNew: boolean;
}

/** The answer to `job.submit`, one frame. */
export function buildStored({ id, isNew }: StoredWords): Uint8Array<ArrayBuffer> {
  return encoder.encode(JSON.stringify({ id, isNew }));
}

/** Reads that; undefined: it is none. */
export function parseStored(frame: Uint8Array): StoredWords | undefined {
  const value = parseJson(frame);
  if (!isRecord(value)) return undefined;
  const { id, isNew } = value;
  return isJobId(id) && typeof isNew === "boolean" ? { id, isNew } : undefined;
}

/** The status of a job, one frame: without its user, whom only operators are told. */
export function buildStatus(status: JobStatus & { user?: string }): Uint8Array<ArrayBuffer> {
  const { user: _, ...words } = status;
  return encoder.encode(JSON.stringify(words));
}

/** Reads that; undefined: it is none. Of what no server leaves out, what is not there reads as none. */
export function parseStatus(frame: Uint8Array): JobStatus | undefined {
  const value = parseJson(frame);
  if (!isRecord(value)) return undefined;
  const { id, state, version } = value;
  if (!isJobId(id) || !isState(state) || typeof version !== "number") return undefined;
  return { ...parseDetails(value), id, state, version };
}

function parseDetails(
  value: Readonly<Record<string, unknown>>,
): Omit<JobStatus, "id" | "state" | "version"> {
  const text = (name: string) => textOf(value[name]) ?? "";
  const number = (name: string) => numberOf(value[name]) ?? 0;
  return {
    service: text("service"),
    attempt: number("attempt"),
    retries: number("retries"),
    priority: number("priority"),
    key: text("key"),
    group: text("group"),
    after: Array.isArray(value.after) ? value.after.filter(isJobId) : [],
    bytes: number("bytes"),
    createdAt: number("createdAt"),
    runAt: number("runAt"),
    startedAt: numberOf(value.startedAt),
    endedAt: numberOf(value.endedAt),
    code: numberOf(value.code),
    message: textOf(value.message),
    progress: parseProgress(value.progress),
    node: text("node"),
  };
}

function parseProgress(value: unknown): JobStatus["progress"] {
  const done = isRecord(value) ? numberOf(value.done) : undefined;
  if (!isRecord(value) || done === undefined) return undefined;
  return { done, total: numberOf(value.total), note: textOf(value.note) ?? "" };
}

function isState(value: unknown): value is JobState {
  return typeof value === "string" && STATES.includes(value);
}

function textOf(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}

function numberOf(value: unknown): number | undefined {
  return typeof value === "number" ? value : undefined;
}
