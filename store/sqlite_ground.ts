/**
 * What all parts of an open store stand on: the file, what is counted, who runs, who waits for news, and the way to
 * say something.
 *
 * @module
 */

import type { StoreClock, StoreUser } from "./job_store.ts";
import type { EndState, Frames, FromStore, StoreConfig } from "./messages.ts";
import type { Batch, Ledger } from "./sqlite_ledger.ts";
import type { FilePresence } from "./sqlite_presence.ts";
import { Stage } from "./sqlite_schema.ts";
import type { FreshJobs } from "./fresh_jobs.ts";
import type { StoredService, StoredServices } from "./sqlite_services.ts";
import type { JobRow } from "./sqlite_row.ts";
import type { Ending, JobTable } from "./sqlite_table.ts";
import type { StoredRuns } from "./stored_runs.ts";
import type { Waits } from "./waits.ts";

/** The ground of an open store. */
export interface Ground {
  readonly clock: StoreClock;
  readonly table: JobTable;
  readonly ledger: Ledger;
  readonly services: StoredServices;
  readonly runs: StoredRuns;
  readonly waits: Waits;
  readonly presence: FilePresence;
  /** Jobs that will soon be started. */
  readonly fresh: FreshJobs;
  /** Jobs that have changed in this pass. */
  readonly changed: Set<number>;
  config: StoreConfig;
  /** Whether the plane hears of each end. */
  isWatched: boolean;
  /** Whether any job has ever waited for another one. */
  hasNeeds: boolean;
  say(to: StoreUser, message: FromStore): void;
}

/** Says something to the log. */
export function log(
  ground: Pick<Ground, "say">,
  level: "debug" | "info" | "warn" | "error",
  message: string,
  fields?: Record<string, string | number>,
): void {
  ground.say("server", { type: "log", level, message, fields });
}

/** A job begins to wait for a worker: it is one of those that may be chosen. Whether it will be among the next. */
export function addWaiting(ground: Ground, job: JobRow, due: number): boolean {
  const { seq, user, group, priority } = job;
  return serviceOf(ground, job).choice.add({ seq, user, group, due, priority });
}

/** The same of one that was just stored. */
export function addFresh(ground: Ground, job: JobRow, body: Frames): void {
  if (addWaiting(ground, job, job.due)) ground.fresh.add(job, body);
}

/** A job does not wait for a worker any more, or does not run: it has ended, or it is to wait for something else. */
export function removeWaiting(ground: Ground, job: JobRow): void {
  const { runs, services } = ground;
  const run = runs.ofJob(job.seq);
  if (run !== undefined) runs.disown(run);
  else ground.fresh.take(job.seq);
  services.numbered(job.service).choice.remove({ ...job }, run !== undefined);
}

const END_STATES: Record<number, EndState> = {
  [Stage.done]: "done",
  [Stage.failed]: "failed",
  [Stage.cancelled]: "cancelled",
  [Stage.expired]: "expired",
};

/** A job has ended: what is counted, and who hears of it. */
export function noteEnd(ground: Ground, job: JobRow, ending: Ending): void {
  const service = ground.services.numbered(job.service);
  const state = END_STATES[ending.stage] ?? "failed";
  service.ended[state]++;
  service.totalTime.add(1000 * (ending.ended - job.created));
  ground.changed.add(job.seq);
  if (!ground.isWatched) return;
  ground.say("plane", {
    type: "over",
    id: job.id,
    service: service.name,
    state,
    attempt: ending.tries,
    code: ending.code,
  });
}

/** Moves a job in the counts. */
export function countMove(batch: Batch, job: JobRow, stage: number, weight: number): void {
  const { service, priority } = job;
  batch.count({ service, stage: job.stage, priority }, -1, -job.weight);
  batch.count({ service, stage, priority }, 1, job.weight + weight);
}

/** A service by the number in a row. */
export function serviceOf(ground: Ground, job: JobRow): StoredService {
  return ground.services.numbered(job.service);
}
