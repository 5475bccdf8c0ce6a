/**
 * What is asked about jobs that are stored: the JSON in the first frame of `job.submit`, `job.status`, `job.result`,
 * `job.cancel` and `job.forget`. Reads and builds; no I/O. What comes from a peer is checked here in full. What is
 * answered is job_status.ts's.
 *
 * ```text
 * job.submit   [options] [body…]   →  [{"id":"j-…","isNew":true}]
 * job.status   [question]          →  [status]
 * job.result   [question]          →  [status] [result…]
 * job.cancel   [question]          →  [status]
 * job.forget   [question]          →  [status]: what is known no more from then on
 * ```
 *
 * Docs: docs/jobs.md.
 *
 * @module
 */

import { isRecord, parseJson } from "./json_object.ts";
import { MemberReader, type Members, type Read } from "./member_reader.ts";
import { MAX_KEY_BYTES } from "./request_header.ts";
import { isServiceName, SERVICE_NAME_CHARACTERS } from "./service_name.ts";

/** What the names of these services begin with; each is asked as any service is. */
export const JOB_PREFIX = "job.";
/** What can be asked, behind the prefix, and as a command at an endpoint for plain clients. */
export const JOB_COMMANDS = ["submit", "status", "result", "cancel", "forget"] as const;
/** One of them. */
export type JobCommand = typeof JOB_COMMANDS[number];

/** Maximum bytes of the first frame. */
export const MAX_WORDS_BYTES = 16_384;
/** Maximum jobs that one waits for. */
export const MAX_AFTER = 100;
/** The longest time that a question waits, ms. */
export const MAX_WAIT = 3_600_000;
/** The longest delay, time to live and back-off, ms: 10 years. */
export const MAX_SPAN = 315_360_000_000;
/** The last time that a job may be due, ms since 1970: the end of the year 9999. */
const MAX_TIME = 253_402_300_799_999;
const MAX_TIMEOUT = 0xffffffff;
/** What the keys of jobs begin with that a schedule submits: nobody else's may. */
export const SCHEDULE_KEY = "schedule:";
const MAX_RETRIES = 1000;
const MAX_PRIORITY = 9;
const ID_RULE = '"j-" and 32 hex digits, lower case';

/** What `job.submit` was asked, but for what the server knows by itself: see `Submission` of store/messages.ts. */
export interface SubmissionWords {
  /** Chosen by the submitter, who may then submit again what was not answered: it is stored once. "": the store does. */
  id: string;
  /** "": the service that is asked where none is named. */
  service: string;
  /** "": none. */
  key: string;
  /** Not run before, ms since 1970; 0: at once. */
  runAt: number;
  /** Whether `runAt` came of a delay: it moves along when the clock is set. */
  isDelay: boolean;
  priority: number;
  retries: number;
  backoff: { firstMs: number; maxMs: number };
  /** Ms; 0: as long as the service lets it. */
  requestTimeout: number;
  /** Not started after that, ms since 1970; 0: at any time. */
  expiresAt: number;
  /** "": none. */
  group: string;
  after: readonly string[];
}

/** What one of the other services was asked. */
export interface JobQuestionWords {
  id: string;
  /** The version that is known already; undefined: any is news. */
  since: number | undefined;
  /** How long the answer may wait for news, ms. */
  wait: number;
}

const SUBMIT_MEMBERS = [
  "id",
  "service",
  "key",
  "delay",
  "runAt",
  "priority",
  "retries",
  "backoff",
  "requestTimeout",
  "ttl",
  "jobGroup",
  "after",
];
const QUESTION_MEMBERS: Readonly<Record<Exclude<JobCommand, "submit">, readonly string[]>> = {
  status: ["id", "since", "wait"],
  result: ["id", "wait"],
  cancel: ["id"],
  forget: ["id"],
};

const encoder = new TextEncoder();

/** Whether a text can be a job's id. */
export function isJobId(text: unknown): text is string {
  return typeof text === "string" && /^j-[0-9a-f]{32}$/.test(text);
}

/** A new id: 128 random bits. */
export function newJobId(): string {
  if (at === drawn.length) {
    crypto.getRandomValues(drawn);
    at = 0;
  }
  return `j-${drawn.subarray(at, at += ID_BYTES).toHex()}`;
}

/** Ids whose bytes are drawn at a time: one by one that takes longer than all else here. */
const DRAWN = 64;
const ID_BYTES = 16;
const drawn = new Uint8Array(DRAWN * ID_BYTES);
let at = drawn.length;

/** The command that a text is; undefined: it is none. */
export function jobCommandOf(text: string): JobCommand | undefined {
  return JOB_COMMANDS.find((command) => command === text);
}

// ---- what clients send ----

/** Reads the first frame of `job.submit`. `now`: ms since 1970. */
export function parseSubmission(frame: Uint8Array, now: number): Read<SubmissionWords> {
  const members = parseMembers(frame);
  if (typeof members === "string") return { fault: members, hasType: false };
  return readSubmission(members, now);
}

/** The same of what was parsed already; members that are undefined are not there. */
export function readSubmission(members: Members, now: number): Read<SubmissionWords> {
  const reader = new MemberReader(members, SUBMIT_MEMBERS, "option");
  const delay = reader.span("delay", 0, 0, MAX_SPAN);
  const runAt = readTime(reader, "runAt");
  if (reader.has("delay") && reader.has("runAt")) {
    reader.fail('"delay" and "runAt" exclude each other: give one of them', true);
  }
  const dueAt = runAt > 0 ? runAt : delay > 0 ? now + delay : 0;
  const ttl = reader.span("ttl", 0, 0, MAX_SPAN);
  const id = readId(reader, "id", "");
  const after = readIds(reader, "after");
  const key = readText(reader, "key");
  if (key.startsWith(SCHEDULE_KEY)) {
    reader.fail(`"key" must not start with "${SCHEDULE_KEY}": such keys belong to schedules`, true);
  }
  if (after.includes(id)) reader.fail('"after" must not have the job itself', true);
  return reader.result({
    id,
    service: readService(reader, "service"),
    key,
    runAt: dueAt,
    isDelay: delay > 0,
    priority: reader.integer("priority", 4, 0, MAX_PRIORITY),
    retries: reader.integer("retries", 4, 0, MAX_RETRIES),
    backoff: readBackoff(reader),
    requestTimeout: reader.span("requestTimeout", 0, 0, MAX_TIMEOUT),
    expiresAt: ttl === 0 ? 0 : Math.max(dueAt, now) + ttl,
    group: readText(reader, "jobGroup"),
    after,
  });
}

function readBackoff(reader: MemberReader): SubmissionWords["backoff"] {
  const inner = reader.inner("backoff", ["min", "max"]);
  const firstMs = inner.span("min", 1000, 0, MAX_SPAN);
  const maxMs = inner.span("max", Math.max(3_600_000, firstMs), 0, MAX_SPAN);
  if (maxMs < firstMs) {
    inner.fail(`"backoff.max" must be at least "backoff.min": ${maxMs} is less than ${firstMs}`);
  }
  reader.adopt(inner);
  return { firstMs, maxMs };
}

/** What can be asked of one job, by one who may. */
export type JobQuestion =
  /** `since`: the `version` that is known already: answered once it is another one, or after `waitMs`. */
  | { type: "status"; id: string; since?: number; waitMs: number }
  /** Answered once it has ended, or after `waitMs`. */
  | { type: "result"; id: string; waitMs: number }
  | { type: "cancel"; id: string }
  /** Forgets a job that has ended, and its result (TSP's close); one that has not is cancelled first. */
  | { type: "forget"; id: string };

/** The question of a command and its words; `waitMs`: how long its answer may wait for news. */
export function jobQuestion(
  command: Exclude<JobCommand, "submit">,
  { id, since }: Pick<JobQuestionWords, "id" | "since">,
  waitMs: number,
): JobQuestion {
  if (command === "cancel" || command === "forget") return { type: command, id };
  if (command === "result") return { type: command, id, waitMs };
  return since === undefined ? { type: command, id, waitMs } : { type: command, id, waitMs, since };
}

/** Reads the first frame of one of the other services. */
export function parseJobQuestion(
  command: Exclude<JobCommand, "submit">,
  frame: Uint8Array,
): Read<JobQuestionWords> {
  const members = parseMembers(frame);
  if (typeof members === "string") return { fault: members, hasType: false };
  const reader = new MemberReader(members, QUESTION_MEMBERS[command], "member");
  return reader.result({
    id: readId(reader, "id", undefined),
    since: reader.has("since") ? reader.integer("since", 0, 0, Number.MAX_SAFE_INTEGER) : undefined,
    wait: reader.span("wait", 0, 0, MAX_WAIT),
  });
}

/** The first frame of a request to one of these services; members that are undefined are left out. */
export function buildJobWords(members: Members): Uint8Array<ArrayBuffer> {
  return encoder.encode(JSON.stringify(members));
}

/** The members of a frame of JSON, or what is wrong with it. */
function parseMembers(frame: Uint8Array): Members | string {
  if (frame.length > MAX_WORDS_BYTES) {
    const most = `at most ${MAX_WORDS_BYTES} bytes`;
    return `The frame of JSON must have ${most}: it has ${frame.length}`;
  }
  const value = parseJson(frame);
  return isRecord(value) ? value : "The frame of JSON must be an object, such as {}";
}

/** A moment, ms since 1970; 0: none. */
function readTime(reader: MemberReader, name: string): number {
  const value = reader.get(name);
  if (value === undefined) return 0;
  const ms = typeof value === "string" ? parseTime(value) : value;
  if (typeof ms === "number" && ms >= 0 && ms <= MAX_TIME) return Math.round(ms);
  const rule = "ms since 1970, or a time with its zone such as 2027-01-31T03:00:00Z";
  reader.wrong(name, rule, typeof value === "string" || typeof value === "number");
  return 0;
}

/** A name that its submitter makes up; "": none. */
function readText(reader: MemberReader, name: string): string {
  const value = reader.get(name);
  if (value === undefined) return "";
  if (typeof value === "string" && isPlainText(value)) return value;
  const rule = `a text of maximum ${MAX_KEY_BYTES} bytes of UTF-8 without control characters`;
  reader.wrong(name, rule, typeof value === "string");
  return "";
}

/** The name of a service; "": none. */
function readService(reader: MemberReader, name: string): string {
  const value = reader.get(name);
  if (value === undefined || value === "") return "";
  if (typeof value === "string" && isServiceName(value)) return value;
  reader.wrong(name, `a name of ${SERVICE_NAME_CHARACTERS}`, typeof value === "string");
  return "";
}

/** A job's id. `otherwise`: what stands for none; undefined: it must be there. */
function readId(reader: MemberReader, name: string, otherwise: string | undefined): string {
  const value = reader.get(name);
  if (isJobId(value)) return value;
  if (value === undefined && otherwise !== undefined) return otherwise;
  reader.wrong(name, `a job's id, ${ID_RULE}`, typeof value === "string");
  return "";
}

/** Ids of jobs, each once. */
function readIds(reader: MemberReader, name: string): readonly string[] {
  const value = reader.get(name);
  if (value === undefined) return [];
  if (Array.isArray(value) && value.length <= MAX_AFTER && value.every(isJobId)) {
    return [...new Set(value)];
  }
  reader.wrong(name, `a list of maximum ${MAX_AFTER} ids of jobs`, Array.isArray(value));
  return [];
}

const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:\d\d)$/;

/** A time of ISO 8601 with its zone, ms since 1970; undefined: it is none. */
export function parseTime(text: string): number | undefined {
  if (!TIME.test(text) || !isDay(text.slice(0, DAY_LENGTH))) return undefined;
  const ms = Date.parse(text);
  return Number.isNaN(ms) ? undefined : ms;
}

const DAY_LENGTH = "2027-01-31".length;

/** Whether the calendar has the day: `Date.parse` takes February 30 for March 2. */
function isDay(day: string): boolean {
  const ms = Date.parse(day);
  return !Number.isNaN(ms) && new Date(ms).toISOString().startsWith(day);
}

function isPlainText(text: string): boolean {
  // deno-lint-ignore no-control-regex -- these are what is looked for.
  if (/[\u0000-\u001f\u007f-\u009f]/.test(text) || !text.isWellFormed()) return false;
  return text.length <= MAX_KEY_BYTES && encoder.encode(text).length <= MAX_KEY_BYTES;
}
