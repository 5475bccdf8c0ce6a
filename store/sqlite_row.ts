/**
 * A job as a row of the table of jobs: what is small. Reads and makes rows; the statements are sqlite_table.ts's.
 *
 * @module
 */

import type { JobState, JobStatus, Submission } from "./messages.ts";
import { bytesIn, idText, numberIn, optionalIn, type Row, textIn } from "./sqlite_columns.ts";

/** What of a submission seldom differs from the defaults: members are left out where they don't. */
export interface Rest {
  retries?: number;
  backoff?: [number, number];
  timeout?: number;
  trace?: string;
  after?: readonly string[];
  sizes?: readonly number[];
  isDelay?: true;
  /** What its last run has said of it. */
  progress?: JobStatus["progress"];
}

/** A job's row without its body and result. */
export interface JobRow {
  seq: number;
  id: string;
  /** Its number. */
  service: number;
  stage: number;
  priority: number;
  user: string;
  group: string;
  key: string;
  due: number;
  expires: number | undefined;
  created: number;
  tries: number;
  deaths: number;
  version: number;
  bytes: number;
  weight: number;
  parts: number;
  rest: Rest;
  started: number | undefined;
  ended: number | undefined;
  code: number | undefined;
  message: string | undefined;
}

/** Tries after the first one, and the back-off, where a submission says nothing. */
const RETRIES = 4;
const BACKOFF = { firstMs: 1000, maxMs: 3_600_000 };

const STATES: readonly JobState[] = [
  "scheduled",
  "waiting",
  "scheduled",
  "done",
  "failed",
  "cancelled",
  "expired",
];

/** The columns of a row without its body and result. */
export const COLUMNS =
  "seq, id, service, stage, priority, user, grp, key, due, expires, created, tries, deaths, version, " +
  "bytes, weight, parts, rest, started, ended, code, message";

/** The row that was read; undefined: none was. */
export function rowOf(row: Row | undefined): JobRow | undefined {
  return row && toJob(row);
}

/** A row of these columns. */
export function toJob(row: Row): JobRow {
  const rest = textIn(row, "rest");
  return {
    seq: numberIn(row, "seq"),
    id: idText(bytesIn(row, "id")),
    service: numberIn(row, "service"),
    stage: numberIn(row, "stage"),
    priority: numberIn(row, "priority"),
    user: textIn(row, "user") ?? "",
    group: textIn(row, "grp") ?? "",
    key: textIn(row, "key") ?? "",
    due: numberIn(row, "due"),
    expires: optionalIn(row, "expires"),
    created: numberIn(row, "created"),
    tries: numberIn(row, "tries"),
    deaths: numberIn(row, "deaths"),
    version: numberIn(row, "version"),
    bytes: numberIn(row, "bytes"),
    weight: numberIn(row, "weight"),
    parts: numberIn(row, "parts"),
    rest: rest === undefined ? {} : JSON.parse(rest),
    started: optionalIn(row, "started"),
    ended: optionalIn(row, "ended"),
    code: optionalIn(row, "code"),
    message: textIn(row, "message"),
  };
}

/** The row of a job that was just added. */
export function newRow(
  job: Submission,
  place: Pick<JobRow, "seq" | "id" | "service" | "stage" | "parts" | "rest"> & { now: number },
): JobRow {
  const { now, ...own } = place;
  return {
    ...own,
    priority: job.priority,
    user: job.user,
    group: job.group,
    key: job.key,
    due: job.runAt === 0 ? now : job.runAt,
    expires: job.expiresAt === 0 ? undefined : job.expiresAt,
    created: now,
    tries: 0,
    deaths: 0,
    version: 1,
    bytes: job.body.bytes.length,
    weight: job.body.bytes.length,
    started: undefined,
    ended: undefined,
    code: undefined,
    message: undefined,
  };
}

/** What differs from the defaults; undefined: nothing does. */
export function restOf(job: Submission, sizes: readonly number[] | undefined): Rest | undefined {
  const { backoff } = job;
  const isPlain = job.retries === RETRIES && backoff.firstMs === BACKOFF.firstMs &&
    backoff.maxMs === BACKOFF.maxMs && job.requestTimeout === 0 && job.trace === "" &&
    job.after.length === 0 && sizes === undefined && job.isDelay !== true;
  if (isPlain) return undefined;
  const rest: Rest = {};
  if (job.retries !== RETRIES) rest.retries = job.retries;
  if (backoff.firstMs !== BACKOFF.firstMs || backoff.maxMs !== BACKOFF.maxMs) {
    rest.backoff = [backoff.firstMs, backoff.maxMs];
  }
  if (job.requestTimeout !== 0) rest.timeout = job.requestTimeout;
  if (job.trace !== "") rest.trace = job.trace;
  if (job.after.length > 0) rest.after = job.after;
  if (sizes !== undefined) rest.sizes = sizes;
  if (job.isDelay === true) rest.isDelay = true;
  return rest;
}

/** Tries after the first one. */
export function retriesOf({ rest }: JobRow): number {
  return rest.retries ?? RETRIES;
}

/** How long it waits between tries. */
export function backoffOf({ rest }: JobRow): { firstMs: number; maxMs: number } {
  const [firstMs, maxMs] = rest.backoff ?? [BACKOFF.firstMs, BACKOFF.maxMs];
  return { firstMs, maxMs };
}

/** What is known of a job that is not running. */
export function statusOf(job: JobRow, service: string): JobStatus {
  return {
    id: job.id,
    service,
    user: job.user,
    state: STATES[job.stage] ?? "scheduled",
    version: job.version,
    attempt: job.tries,
    retries: retriesOf(job),
    priority: job.priority,
    key: job.key,
    group: job.group,
    after: job.rest.after ?? [],
    bytes: job.bytes,
    createdAt: job.created,
    runAt: job.due,
    startedAt: job.started,
    endedAt: job.ended,
    code: job.code,
    message: job.message,
    progress: job.rest.progress,
    node: "",
  };
}
