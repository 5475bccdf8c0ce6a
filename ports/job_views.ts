/**
 * Requests in memory, as a person may see them: never a body, never a key.
 *
 * @module
 */

import { oldestOf, type Row } from "../broker/by_age.ts";
import { askersOf, attemptOf, type Job } from "../broker/job.ts";
import { readClient } from "../wire/job.ts";
import type { Body } from "./body.ts";
import { traceIn } from "./error_replies.ts";
import type { Findings, Inquiries, JobView } from "./inquiry.ts";
import { listed } from "./listed.ts";
import type { Unit } from "./unit.ts";

type Question = Inquiries["jobs"];
type JobRow = Row<Job<Body>>;

/** Requests that are counted where each must be looked at for that. */
const MOST_COUNTED = 2000;

/** What tells the services of jobs apart. */
export interface JobGround {
  readonly all: readonly Unit[];
  /** The service of a number. */
  at(number: number): Unit | undefined;
}

/** Lists the oldest of the requests that are asked for; what has ended between two steps is left out. */
export function* viewJobs(
  services: JobGround,
  question: Question,
  now: number,
): Generator<void, Findings["jobs"]> {
  const { state, slowerThanMs = 0 } = question;
  const rows = rowsOf(services, state);
  const isSlow = ({ arrivedAt }: Job<Body>) => now - arrivedAt >= slowerThanMs;
  const total = slowerThanMs > 0 ? countSlow(rows, isSlow) : countOf(services, state);
  const oldest = oldestOf(rows, listed(question.limit)).filter(isSlow);
  const chosen = oldest.map((job) => [job, job.id] as const);
  const jobs: JobView[] = [];
  for (const [job, id] of chosen) {
    yield;
    // Its record may be that of another by now.
    const isThere = job.id === id && job.state !== "ended";
    if (isThere) jobs.push(viewOf(job, services.at(job.request.client.service), now));
  }
  return { total, jobs };
}

function rowsOf({ all }: JobGround, state: Question["state"]): JobRow[] {
  return all.flatMap(({ broker }) => [
    ...state === "running" ? [] : broker.overview.rows("waiting"),
    ...state === "waiting" ? [] : broker.overview.rows("running"),
  ]);
}

function countOf({ all }: JobGround, state: Question["state"]): number {
  let count = 0;
  for (const { broker: { queued, assigned } } of all) {
    count += (state === "running" ? 0 : queued) + (state === "waiting" ? 0 : assigned);
  }
  return count;
}

/** How many there are; in each row they are the first ones. */
function countSlow(rows: readonly JobRow[], isSlow: (job: Job<Body>) => boolean): number {
  let count = 0;
  for (const row of rows) {
    let job: Job<Body> | undefined = row.first;
    for (; job !== undefined && isSlow(job); job = row.next(job)) {
      if (++count === MOST_COUNTED) return count;
    }
  }
  return count;
}

function viewOf(job: Job<Body>, unit: Unit | undefined, now: number): JobView {
  const { request, worker, state } = job;
  const hasAskers = state !== "aborted";
  // Who waits now need not be who has asked first.
  const { peer } = (hasAskers ? job.asker : request).client;
  const { address, identity, user } = readClient(peer.header);
  const startedAt = unit?.broker.overview.startedAt(job);
  return {
    job: job.id,
    service: unit?.name ?? "",
    state: worker === undefined ? "waiting" : "running",
    worker: worker?.id,
    ...{ address, identity, user },
    ageMs: now - job.arrivedAt,
    // It may have started since.
    runningMs: startedAt === undefined ? undefined : Math.max(0, now - startedAt),
    attempt: attemptOf(job),
    bytes: job.bytes,
    key: request.key !== "",
    askers: hasAskers ? askersOf(job).length : 0,
    timeLeftMs: timeLeft(job, startedAt, now),
    trace: traceIn(request),
  };
}

function timeLeft(
  { deadline, request: { requestTimeout } }: Job<Body>,
  startedAt: number | undefined,
  now: number,
): number | undefined {
  const end = startedAt === undefined ? deadline : startedAt + requestTimeout;
  return end === Infinity ? undefined : end - now;
}
