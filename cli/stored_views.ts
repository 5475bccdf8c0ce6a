/**
 * What the control command shows of stored jobs and their store.
 *
 * @module
 */

import type { JobStatus, ScheduleStatus, StoredServiceStatus, StoreStatus } from "../ops/stored.ts";
import { printable, type Tone } from "./paint.ts";
import { type Column, type Pair, pairs, type Sheet, table } from "./table.ts";
import { showBytes, showRate, showSpan, spanOf } from "./units.ts";

/** Some of many stored jobs. */
export interface StoredPage {
  /** The server's time, ms since 1970. */
  now: number;
  total: number;
  jobs: readonly JobStatus[];
}

/** A frame as the server gives it. */
interface Frame {
  bytes: number;
  text?: string;
  base64?: string;
  isCut?: boolean;
}

/** A stored job, with its body where that was asked for. */
export interface JobRecord extends JobStatus {
  body?: readonly Frame[];
  result?: readonly Frame[];
}

/** `ctl job list`: a line for each. */
export function storedView({ now, total, jobs }: StoredPage, sheet: Sheet): string[] {
  const lines = table(jobs, columnsAt(now), sheet);
  const last = jobs.at(-1);
  if (last === undefined || jobs.length >= total) return lines;
  return [...lines, `${jobs.length} of ${total} shown: --after ${last.id} shows what follows`];
}

function columnsAt(now: number): readonly Column<JobStatus>[] {
  return [
    { title: "ID", cell: ({ id }) => id },
    { title: "STATE", cell: ({ state }) => state, tone: stateTone },
    { title: "SERVICE", cell: ({ service }) => service, least: 7, rare: true, leaves: 6 },
    { title: "TRY", side: "right", cell: triesText, tone: triesTone, leaves: 5 },
    { title: "AGE", side: "right", cell: ({ createdAt }) => spanOf(since(createdAt, now)) },
    { title: "DUE", side: "right", cell: (job) => dueText(job, now), rare: true, leaves: 2 },
    { title: "CODE", side: "right", cell: ({ code }) => code, rare: true, leaves: 3 },
    { title: "SIZE", side: "right", cell: ({ bytes }) => showBytes(bytes), leaves: 1 },
    {
      title: "MESSAGE",
      cell: ({ message }) => message,
      tone: () => "bad",
      least: 8,
      rare: true,
      leaves: 4,
    },
  ];
}

function since(moment: number, now: number): number {
  return Math.max(0, now - moment);
}

/** Those that run first have begun one of their tries. */
function triesText({ attempt, retries }: JobStatus): string {
  return `${attempt}/${retries + 1}`;
}

function triesTone({ attempt }: JobStatus): Tone | undefined {
  return attempt > 1 ? "warn" : undefined;
}

/** When one may run that has to wait for that. */
function dueText({ state, runAt }: JobStatus, now: number): string | undefined {
  return state === "scheduled" && runAt > now ? showSpan(runAt - now) : undefined;
}

function stateTone({ state }: JobStatus): Tone | undefined {
  if (state === "failed" || state === "expired") return "bad";
  if (state === "running" || state === "done") return "good";
  return state === "waiting" ? "warn" : undefined;
}

/** `ctl job show`: all that is known of one. */
export function jobRecordView(job: JobRecord, sheet: Sheet): string[] {
  const lines = pairs(rowsOf(job), sheet);
  return [...lines, ...framesView("body", job.body), ...framesView("result", job.result)];
}

function rowsOf(job: JobRecord): Pair[] {
  const { progress, after } = job;
  return [
    ["job", job.id],
    ["state", job.state, stateTone(job)],
    ["service", named(job.service) ?? "-"],
    ["user", named(job.user)],
    ["key", named(job.key)],
    ["group", named(job.group)],
    ["priority", String(job.priority)],
    ["tries", `${job.attempt} of ${job.retries + 1}`, triesTone(job)],
    ["after", after.length === 0 ? undefined : after.join(" ")],
    ["size", showBytes(job.bytes)],
    ["submitted", timeText(job.createdAt)],
    ["due", timeText(job.runAt)],
    ["started", timeText(job.startedAt)],
    ["ended", timeText(job.endedAt)],
    ["ran on", named(job.node)],
    ["progress", progress === undefined || progress === null ? undefined : progressText(progress)],
    ["code", job.code === undefined || job.code === null ? undefined : String(job.code)],
    ["message", job.message ?? undefined, "bad"],
  ];
}

function named(text: string): string | undefined {
  return text === "" ? undefined : text;
}

function progressText({ done, total, note }: NonNullable<JobStatus["progress"]>): string {
  const share = total === undefined || total === null ? String(done) : `${done} of ${total}`;
  return note === "" ? share : `${share}: ${note}`;
}

/** A time in UTC, as the log has it. */
function timeText(moment: number | null | undefined): string | undefined {
  if (moment === undefined || moment === null) return undefined;
  const date = new Date(moment);
  return Number.isNaN(date.getTime()) ? String(moment) : date.toISOString();
}

/** Each frame under a line that says how long it is. */
function framesView(what: string, frames: readonly Frame[] | undefined): string[] {
  return (frames ?? []).flatMap(({ bytes, text, base64, isCut }, index) => {
    const number = frames?.length === 1 ? "" : ` ${index + 1} of ${frames?.length}`;
    const form = text === undefined ? ", base64" : "";
    const cut = isCut ? ", cut" : "";
    const content = (text ?? base64 ?? "").split("\n").map(printable);
    return ["", `${what}${number} (${showBytes(bytes)}${form}${cut}):`, ...content];
  });
}

/** `ctl store`: how it is, and a line for each service. */
export function storeView({ store, trouble, bytes, services }: StoreStatus, sheet: Sheet) {
  const lines = pairs([
    ["store", store],
    ["state", trouble === undefined || trouble === null ? "takes jobs" : trouble, toneOf(trouble)],
    ["size", showBytes(bytes)],
  ], sheet);
  if (services.length === 0) return [...lines, "", "no job is stored"];
  return [...lines, "", ...table(services, SERVICE_COLUMNS, sheet)];
}

function toneOf(trouble: string | null | undefined): Tone {
  return trouble === undefined || trouble === null ? "good" : "bad";
}

const SERVICE_COLUMNS: readonly Column<StoredServiceStatus>[] = [
  { title: "SERVICE", cell: ({ name }) => name, least: 8 },
  {
    title: "STATE",
    cell: ({ paused }) => paused ? "paused" : "running",
    tone: ({ paused }) => paused ? "warn" : "good",
    leaves: 8,
  },
  { title: "SCHED", side: "right", cell: ({ states }) => states.scheduled },
  { title: "WAIT", side: "right", cell: ({ states }) => states.waiting },
  { title: "OLDEST", side: "right", cell: ({ oldestMs }) => spanOf(oldestMs), leaves: 7 },
  { title: "RUN", side: "right", cell: ({ states }) => states.running },
  { title: "DONE", side: "right", cell: ({ states }) => states.done, leaves: 5 },
  {
    title: "DEAD",
    side: "right",
    cell: ({ states }) => states.failed,
    tone: ({ states }) => states.failed > 0 ? "bad" : undefined,
  },
  { title: "CANC", side: "right", cell: ({ states }) => states.cancelled, leaves: 1 },
  { title: "EXP", side: "right", cell: ({ states }) => states.expired, leaves: 2 },
  { title: "IN/S", side: "right", cell: ({ rates }) => showRate(rates.submitted), leaves: 4 },
  { title: "END/S", side: "right", cell: ({ rates }) => showRate(rates.ended), leaves: 3 },
];

/** `ctl schedules`: a line for each. */
export function schedulesView({ schedules }: StoreStatus, sheet: Sheet): string[] {
  return table(schedules, SCHEDULE_COLUMNS, sheet);
}

const SCHEDULE_COLUMNS: readonly Column<ScheduleStatus>[] = [
  { title: "SCHEDULE", cell: ({ name }) => name, least: 8 },
  { title: "SERVICE", cell: ({ service }) => service, least: 7, rare: true, leaves: 3 },
  { title: "CRON", cell: ({ cron }) => cron, least: 9 },
  { title: "ZONE", cell: ({ timeZone }) => timeZone, least: 6, rare: true, leaves: 2 },
  { title: "NEXT", cell: ({ nextAt }) => secondsText(nextAt) },
  { title: "LAST", cell: ({ lastAt }) => secondsText(lastAt), leaves: 1 },
];

function secondsText(moment: number | null | undefined): string | undefined {
  return timeText(moment)?.replace(/\.\d{3}Z$/, "Z");
}

/** What waits and runs in all services, in one line; undefined: nothing was ever stored. */
export function storedText(
  stored: Omit<StoreStatus, "schedules"> | undefined,
): string | undefined {
  if (stored === undefined || stored === null) return undefined;
  const { services, trouble } = stored;
  const sum = (value: (service: StoredServiceStatus) => number) =>
    services.reduce((total, service) => total + value(service), 0);
  const counts = [
    [sum(({ states }) => states.waiting), "waiting"],
    [sum(({ states }) => states.scheduled), "scheduled"],
    [sum(({ states }) => states.running), "running"],
    [sum(({ states }) => states.failed), "dead"],
  ] as const;
  const rate = sum(({ rates }) => rates.ended);
  const text = `${counts.map(([number, word]) => `${number} ${word}`).join(", ")}; ${
    showRate(rate)
  }/s end`;
  return trouble === undefined || trouble === null ? text : `${trouble} (${text})`;
}

/** Red where the store is in trouble, amber where there are dead jobs. */
export function storedTone(stored: Omit<StoreStatus, "schedules"> | undefined): Tone | undefined {
  if (stored?.trouble) return "bad";
  return stored?.services.some(({ states }) => states.failed > 0) ? "warn" : undefined;
}
