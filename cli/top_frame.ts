/**
 * The picture of `ctl top`: what is known of a server, as lines of a window. Pure: it is told the time.
 *
 * @module
 */

import type { Rates, ServiceStatus, Status, WorkerStatus } from "../ops/status.ts";
import { cutEnd, padEnd, type Paint, printable, type Tone, widthOf } from "./paint.ts";
import {
  clientsText,
  errorTone,
  queueText,
  ratesText,
  servicesView,
  WORKER_COLUMNS,
  workersText,
} from "./status_views.ts";
import { storedText, storedTone } from "./stored_views.ts";
import { type Column, type Sheet, table } from "./table.ts";
import { showRate, showSpan, spanOf } from "./units.ts";

/** How the workers are sorted, and what that is called. */
export const SORTINGS = ["time of job", "memory", "CPU", "number"] as const;

/** One of them. */
export type Sorting = typeof SORTINGS[number];

/** All that the picture shows. */
export interface TopState {
  /** What the server has said last; undefined: nothing yet. */
  status: Status | undefined;
  /** How old that is, ms. */
  silenceMs: number;
  /** Whether there is no connection any more. */
  isLost: boolean;
  /** Requests each second, the latest last. */
  loads: readonly number[];
  /** p99 of each second, ms; null: no requests. */
  p99s: readonly (number | null)[];
  /** The share of a core that each worker uses, by its number; 1 is a whole one. */
  cpu: ReadonlyMap<number, number>;
  sorting: Sorting;
  /** How many workers are scrolled past. */
  offset: number;
}

/** A window. */
export interface Window {
  columns: number;
  rows: number;
  paint: Paint;
}

/** A server says something each second; after this it is late, ms. */
const LATE_AFTER = 3500;

const LABEL_WIDTH = 9;
/** A window that has fewer columns shows less of each line. */
const NARROW = 60;

/** Lines for a window: no more than it has, and none wider. */
export function frame(state: TopState, window: Window): string[] {
  const { columns: width, rows, paint } = window;
  const { status } = state;
  const foot = footLine(state, window);
  const head = status === undefined ? [] : headLines(status, state, window);
  const alert = alertOf(state);
  if (alert !== undefined) head.splice(1, 0, paint(cutEnd(printable(alert), width), "bad"));
  const room = rows - 1 - head.length;
  const body = status === undefined ? [] : bodyLines(status, state, window, room);
  const lines = [...head, ...body].slice(0, rows - 1);
  while (lines.length < rows - 1) lines.push("");
  return [...lines, foot];
}

function alertOf({ status, isLost, silenceMs }: TopState): string | undefined {
  if (isLost) return "the server has gone: trying again each second";
  if (status === undefined) return "waiting for the server";
  if (silenceMs > LATE_AFTER) return `no news for ${showSpan(silenceMs)}: the server may be stuck`;
  const [reason] = status.reasons;
  return reason === undefined ? undefined : `not ready: ${reason}`;
}

/** The server in a few lines. */
function headLines(status: Status, state: TopState, window: Window): string[] {
  const { columns: width, paint } = window;
  const labelled = (label: string, text: string, tone?: Tone) =>
    paint(padEnd(label, LABEL_WIDTH), "title") +
    paint(cutEnd(printable(text), width - LABEL_WIDTH), tone);
  const { rates, services, workers } = status;
  const stored = storedText(status.stored);
  return [
    titleLine(status, window),
    labelled("load", width < NARROW ? fewRates(rates) : ratesText(rates), errorTone(rates)),
    labelled("queue", queueText(services)),
    ...stored === undefined ? [] : [labelled("stored", stored, storedTone(status.stored))],
    labelled("workers", workersText(workers)),
    ...window.rows >= 16 ? [labelled("clients", clientsText(status))] : [],
    labelled("req/s", plot(state.loads, width - LABEL_WIDTH, showRate), "good"),
    ...window.rows >= 16
      ? [labelled("p99", plot(state.p99s, width - LABEL_WIDTH, showSpan), "warn")]
      : [],
    "",
  ];
}

/** `NAME VERSION`, and how it is on the right. */
function titleLine({ name, version, phase, ready, uptime, pid }: Status, window: Window): string {
  const { columns: width, paint } = window;
  const right = `${ready ? phase : `${phase}, not ready`}  up ${showSpan(uptime)}`;
  const left = cutEnd(printable(`${name}  ${version}  pid ${pid}`), width - widthOf(right) - 2);
  const blanks = " ".repeat(Math.max(1, width - widthOf(left) - widthOf(right)));
  return paint(left, "title") + blanks + paint(right, ready ? "good" : "bad");
}

function fewRates({ requests, errors, p99Ms }: Rates): string {
  const p99 = spanOf(p99Ms);
  return `${showRate(requests)}/s, ${showRate(errors)} err/s${
    p99 === undefined ? "" : `, p99 ${p99}`
  }`;
}

const BARS = "▁▂▃▄▅▆▇█";

/** The latest values as bars, and the greatest of them: `▁▂▇█▃ max 1200`. */
function plot(
  values: readonly (number | null)[],
  width: number,
  show: (value: number) => string,
): string {
  const label = (most: number) => ` max ${show(most)}`;
  const shown = values.slice(-Math.max(1, width - label(0).length - 5));
  const most = shown.reduce((max: number, value) => Math.max(max, value ?? 0), 0);
  const bars = shown.map((value) => {
    if (value === null) return " ";
    const height = most === 0 ? 0 : Math.ceil(value / most * (BARS.length - 1));
    return BARS[height] ?? " ";
  });
  return bars.join("") + label(most);
}

/** Services and workers, as many as have room. */
function bodyLines(status: Status, state: TopState, window: Window, room: number): string[] {
  const sheet = { width: window.columns, paint: window.paint };
  const least = status.services.length > 1 ? 16 : 20;
  const share = window.rows < least ? 0 : Math.max(2, Math.floor(room / 3));
  const services = share === 0 ? [] : [...serviceLines(status.services, share, sheet), ""];
  const rest = room - services.length;
  return [...services, ...workerLines(status.workers, state, sheet, rest)];
}

function serviceLines(services: readonly ServiceStatus[], room: number, sheet: Sheet): string[] {
  const fits = services.length + 1 <= room;
  const shown = fits ? services : [...services].sort(byTrouble).slice(0, Math.max(1, room - 2));
  const lines = servicesView(shown, sheet);
  return fits ? lines : [...lines, more(services.length - shown.length, "service", sheet)];
}

/** Those first that have most to do. */
function byTrouble(a: ServiceStatus, b: ServiceStatus): number {
  return b.queue.jobs - a.queue.jobs || b.rates.requests - a.rates.requests;
}

function workerLines(
  workers: readonly WorkerStatus[],
  state: TopState,
  sheet: Sheet,
  room: number,
): string[] {
  if (room < 2) return [];
  const sorted = [...workers].sort(sorter(state));
  const start = scrollStart(state.offset, workers.length, room);
  const fits = sorted.length - start + 1 <= room;
  const shown = sorted.slice(start, start + (fits ? room - 1 : room - 2));
  const lines = table(shown, columnsOf(workers, state.cpu), sheet);
  return fits ? lines : [...lines, more(sorted.length - start - shown.length, "worker", sheet)];
}

/** The first worker that is shown: the last page is a full one. */
export function scrollStart(offset: number, workers: number, room: number): number {
  return Math.max(0, Math.min(offset, workers - (room - 1)));
}

function more(number: number, noun: string, { paint }: Sheet): string {
  return paint(`… ${number} more ${noun}${number === 1 ? "" : "s"}`, "dim");
}

/** The CPU time is shown as a share of a core, wherever it is known at all. */
function columnsOf(
  workers: readonly WorkerStatus[],
  cpu: ReadonlyMap<number, number>,
): Column<WorkerStatus>[] {
  const rare = workers.every(({ cpuMs }) => cpuMs === undefined || cpuMs === null);
  const cell = ({ worker }: WorkerStatus) => {
    const share = cpu.get(worker);
    return share === undefined ? undefined : `${Math.round(share * 100)}%`;
  };
  return WORKER_COLUMNS.map((column) =>
    column.title === "CPU" ? { ...column, rare, cell } : column
  );
}

function sorter({ sorting, cpu }: TopState): (a: WorkerStatus, b: WorkerStatus) => number {
  const value = ({ worker, jobMs, jobs, residentBytes }: WorkerStatus) => {
    switch (sorting) {
      case "time of job":
        return jobMs ?? -1 / (1 + jobs);
      case "memory":
        return residentBytes ?? 0;
      case "CPU":
        return cpu.get(worker) ?? 0;
      case "number":
        return 0;
    }
  };
  return (a, b) => value(b) - value(a) || a.worker - b.worker;
}

function footLine({ sorting }: TopState, { columns, paint }: Window): string {
  return paint(cutEnd(`q leaves  s sorts (${sorting})  ↑ ↓ scroll`, columns), "dim");
}
