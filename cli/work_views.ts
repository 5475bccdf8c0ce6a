/**
 * What the control command shows of requests and of who has sent them.
 *
 * @module
 */

import type { ClientView, JobView } from "../ports/inquiry.ts";
import { type Column, type Sheet, table } from "./table.ts";
import { bytesOf, showBytes, showSpan, spanOf } from "./units.ts";

/** Some of many requests. */
export interface Jobs {
  total: number;
  jobs: readonly JobView[];
}

/** Some of many clients. */
export interface Clients {
  total: number;
  clients: readonly ClientView[];
}

/** `ctl jobs`: a line for each request in memory. */
export function jobsView({ total, jobs }: Jobs, sheet: Sheet): string[] {
  return [...table(jobs, JOB_COLUMNS, sheet), ...rest(total, jobs.length)];
}

const JOB_COLUMNS: readonly Column<JobView>[] = [
  { title: "JOB", side: "right", cell: ({ job }) => job },
  { title: "SERVICE", cell: ({ service }) => service, least: 7, rare: true },
  {
    title: "STATE",
    cell: ({ state }) => state,
    tone: ({ state }) => state === "running" ? "good" : "warn",
  },
  { title: "AGE", side: "right", cell: ({ ageMs }) => showSpan(ageMs) },
  { title: "RUNNING", side: "right", cell: ({ runningMs }) => spanOf(runningMs), rare: true },
  {
    title: "LEFT",
    side: "right",
    cell: ({ timeLeftMs }) => spanOf(timeLeftMs),
    rare: true,
    leaves: 3,
  },
  { title: "WORKER", side: "right", cell: ({ worker }) => worker, rare: true },
  {
    title: "TRY",
    side: "right",
    cell: ({ attempt }) => attempt,
    tone: ({ attempt }) => attempt > 1 ? "warn" : undefined,
    leaves: 2,
  },
  {
    title: "ASKERS",
    side: "right",
    cell: ({ askers }) => askers > 1 ? askers : undefined,
    rare: true,
    leaves: 5,
  },
  { title: "SIZE", side: "right", cell: ({ bytes }) => showBytes(bytes), leaves: 4 },
  { title: "KEY", cell: ({ key }) => key ? "yes" : undefined, rare: true, leaves: 1 },
  { title: "CLIENT", cell: ({ address }) => address, least: 8 },
  { title: "USER", cell: ({ user }) => user, least: 5, rare: true },
];

/** `ctl clients`: a line for each that is connected and has asked something. */
export function clientsView({ total, clients }: Clients, sheet: Sheet): string[] {
  return [...table(clients, CLIENT_COLUMNS, sheet), ...rest(total, clients.length)];
}

const CLIENT_COLUMNS: readonly Column<ClientView>[] = [
  { title: "ADDRESS", cell: ({ address }) => address, least: 12 },
  { title: "IDENTITY", cell: ({ identity }) => identity, least: 10 },
  { title: "USER", cell: ({ user }) => user, least: 8, rare: true },
  { title: "JOBS", side: "right", cell: ({ live }) => live },
  { title: "UNREAD", side: "right", cell: ({ unreadBytes }) => bytesOf(unreadBytes), rare: true },
  { title: "SERVICES", cell: servicesOf, least: 8, rare: true },
];

function servicesOf({ services }: ClientView): string {
  return services.filter((name) => name !== "").join(",");
}

function rest(total: number, shown: number): string[] {
  return total > shown ? [`${shown} of ${total} shown: --limit shows more`] : [];
}
