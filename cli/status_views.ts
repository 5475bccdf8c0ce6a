/**
 * What the control command shows of a server, its services and its workers.
 *
 * @module
 */

import type { Rates, ServiceStatus, Status, WorkerStatus } from "../ops/status.ts";
import type { Tone } from "./paint.ts";
import { storedText, storedTone } from "./stored_views.ts";
import { type Column, type Pair, pairs, type Sheet, table } from "./table.ts";
import { bytesOf, count, showBytes, showRate, showSpan, spanOf } from "./units.ts";

/** `ctl status`: the server at a glance, and its services. */
export function statusView(status: Status, sheet: Sheet): string[] {
  return [...pairs(summary(status), sheet), "", ...servicesView(status.services, sheet)];
}

function summary(status: Status): Pair[] {
  const { endpoints, reasons, ready } = status;
  return [
    ["server", `${status.name}, version ${status.version}, pid ${status.pid}`],
    ["state", ready ? `${status.phase}, ready` : status.phase, ready ? "good" : "bad"],
    ...reasons.map((reason): Pair => ["not ready", reason, "bad"]),
    ["up", `${showSpan(status.uptime)}, since ${timeText(status.startedAt)}`],
    ["load", ratesText(status.rates), errorTone(status.rates)],
    ["queue", queueText(status.services)],
    ["stored", storedText(status.stored), storedTone(status.stored)],
    ["workers", workersText(status.workers)],
    ["clients", clientsText(status)],
    ["frontend", listOf(endpoints.frontend)],
    ["majordomo", listOf(endpoints.mdp)],
    ["events", listOf(endpoints.events)],
    ["joined at", endpoints.join],
    ["http", endpoints.http],
    ["log level", status.logLevel],
  ];
}

/** How many clients on how many connections; the latter is not always known. */
export function clientsText({ clients, connections }: Status): string {
  return connections === undefined || connections === null
    ? String(clients)
    : `${clients} on ${count(connections, "connection")}`;
}

/** A time of day in UTC, as the log has it. */
function timeText(epochMs: number): string {
  return `${new Date(epochMs).toISOString().slice(0, 19)}Z`;
}

/** Figures of the last second in one line. */
export function ratesText({ requests, errors, p50Ms, p99Ms }: Rates): string {
  const times = [["p50", spanOf(p50Ms)], ["p99", spanOf(p99Ms)]] as const;
  const shown = times.flatMap(([name, span]) => span === undefined ? [] : [`${name} ${span}`]);
  return [`${showRate(requests)} requests/s`, `${showRate(errors)} errors/s`, ...shown].join(", ");
}

/** What waits and runs in all services. */
export function queueText(services: readonly ServiceStatus[]): string {
  const sum = (value: (service: ServiceStatus) => number) =>
    services.reduce((total, service) => total + value(service), 0);
  const oldest = services.reduce((most, { queue }) => Math.max(most, queue.oldestMs ?? -1), -1);
  const age = oldest < 0 ? "" : `, the oldest for ${showSpan(oldest)}`;
  const bytes = showBytes(sum(({ queue }) => queue.bytes));
  const waiting = `${sum(({ queue }) => queue.jobs)} waiting (${bytes})`;
  return `${waiting}${age}; ${sum(({ running }) => running)} running`;
}

/** How many workers do what. */
export function workersText(workers: readonly WorkerStatus[]): string {
  const states = new Map<string, number>();
  for (const { state } of workers) states.set(state, (states.get(state) ?? 0) + 1);
  const parts = [...states].map(([state, number]) => `${number} ${state}`);
  return parts.length === 0 ? "none" : `${workers.length}: ${parts.join(", ")}`;
}

function listOf(endpoints: readonly string[]): string | undefined {
  return endpoints.length === 0 ? undefined : endpoints.join(" ");
}

/** Red where there are errors. */
export function errorTone({ errors }: Rates): Tone | undefined {
  return errors > 0 ? "bad" : undefined;
}

/** `ctl services`: a line for each. */
export function servicesView(services: readonly ServiceStatus[], sheet: Sheet): string[] {
  return table(services, SERVICE_COLUMNS, sheet);
}

const SERVICE_COLUMNS: readonly Column<ServiceStatus>[] = [
  { title: "SERVICE", cell: ({ name }) => name, least: 8 },
  { title: "STATE", cell: serviceState, tone: serviceTone },
  { title: "WORKERS", cell: poolText, leaves: 8 },
  { title: "BUSY", side: "right", cell: ({ workers }) => workers.busy, leaves: 5 },
  { title: "QUEUE", side: "right", cell: ({ queue }) => queue.jobs },
  { title: "OLDEST", side: "right", cell: ({ queue }) => spanOf(queue.oldestMs), leaves: 4 },
  { title: "RUN", side: "right", cell: ({ running }) => running, leaves: 1 },
  { title: "REQ/S", side: "right", cell: ({ rates }) => showRate(rates.requests) },
  {
    title: "ERR/S",
    side: "right",
    cell: ({ rates }) => showRate(rates.errors),
    tone: ({ rates }) => errorTone(rates),
    leaves: 6,
  },
  { title: "P50", side: "right", cell: ({ rates }) => spanOf(rates.p50Ms), leaves: 3 },
  { title: "P99", side: "right", cell: ({ rates }) => spanOf(rates.p99Ms), leaves: 7 },
];

function serviceState({ paused, reloading, workers }: ServiceStatus): string {
  if (paused) return "paused";
  if (reloading) return "reloading";
  return workers.idle + workers.busy > 0 ? "serving" : "no worker";
}

function serviceTone(service: ServiceStatus): Tone | undefined {
  const state = serviceState(service);
  if (state === "no worker") return "bad";
  return state === "serving" ? "good" : "warn";
}

/** `4 of 1-8`: those that are there, and the bounds. */
function poolText({ workers }: ServiceStatus): string {
  const { starting, idle, busy, stopping, min, max } = workers;
  return `${starting + idle + busy + stopping} of ${min === max ? max : `${min}-${max}`}`;
}

/** `ctl workers`: a line for each. */
export function workersView(workers: readonly WorkerStatus[], sheet: Sheet): string[] {
  return table(workers, WORKER_COLUMNS, sheet);
}

/** What is shown of a worker. */
export const WORKER_COLUMNS: readonly Column<WorkerStatus>[] = [
  { title: "WORKER", side: "right", cell: ({ worker }) => worker },
  { title: "PID", side: "right", cell: ({ pid }) => pid, leaves: 5 },
  { title: "HOST", cell: ({ host }) => host, least: 6, rare: true },
  { title: "SERVICE", cell: ({ service }) => service, least: 7, rare: true },
  { title: "STATE", cell: ({ state }) => state, tone: workerTone },
  { title: "JOBS", side: "right", cell: ({ jobs }) => jobs, leaves: 4 },
  { title: "JOB", side: "right", cell: ({ job }) => job, rare: true, leaves: 6 },
  { title: "FOR", side: "right", cell: ({ jobMs }) => spanOf(jobMs), rare: true },
  { title: "ANSWERED", side: "right", cell: ({ answered }) => answered, leaves: 3 },
  {
    title: "MEMORY",
    side: "right",
    cell: ({ residentBytes }) => bytesOf(residentBytes),
    rare: true,
  },
  { title: "CPU", side: "right", cell: ({ cpuMs }) => spanOf(cpuMs), rare: true, leaves: 7 },
  { title: "AGE", side: "right", cell: ({ ageMs }) => showSpan(ageMs), leaves: 8 },
  { title: "RESTARTS", side: "right", cell: ({ restarts }) => restarts, leaves: 1 },
  { title: "GEN", side: "right", cell: ({ generation }) => generation, leaves: 2 },
];

/** The colour of a worker's state. */
export function workerTone({ state }: WorkerStatus): Tone | undefined {
  if (state === "busy") return "good";
  return state === "starting" || state === "stopping" ? "warn" : undefined;
}
