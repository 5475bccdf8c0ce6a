/**
 * Requests in memory, as a person may see them: never a body, never a key.
 *
 * @module
 */

import { byAge } from "../broker/by_age.ts";
import { askersOf, attemptOf, type Job } from "../broker/job.ts";
import { readClient } from "../wire/job.ts";
import type { Body } from "./body.ts";
import { traceIn } from "./error_replies.ts";
import type { Findings, Inquiries, JobView } from "./inquiry.ts";
import { listed } from "./listed.ts";
import type { Unit } from "./unit.ts";

type Question = Inquiries["jobs"];

/** Requests that are counted beyond those that are listed, where each must be looked at for that. */
const MOST_COUNTED = 5000;

/** What tells the services of jobs apart. */
export interface JobGround {
  readonly all: readonly Unit[];
  /** The service of a number. */
  at(number: number): Unit | undefined;
}

/** Lists the oldest of the requests that are asked for. */
export function viewJobs(services: JobGround, question: Question, now: number): Findings["jobs"] {
  const { state, slowerThanMs = 0 } = question;
  const limit = listed(question.limit);
  const rows = services.all.flatMap(({ broker }) => [
    ...state === "running" ? [] : broker.rows("waiting"),
    ...state === "waiting" ? [] : broker.rows("running"),
  ]);
  const jobs: JobView[] = [];
  let slow = 0;
  for (const job of byAge(rows)) {
    const isListed = slow < limit;
    if (now - job.arrivedAt < slowerThanMs || (!isListed && slowerThanMs === 0)) break;
    if (isListed) jobs.push(viewOf(job, services.at(job.request.client.service), now));
    if (++slow >= limit + MOST_COUNTED) break;
  }
  return { total: slowerThanMs > 0 ? slow : countOf(services, state), jobs };
}

function countOf({ all }: JobGround, state: Question["state"]): number {
  let count = 0;
  for (const { broker: { queued, assigned } } of all) {
    count += (state === "running" ? 0 : queued) + (state === "waiting" ? 0 : assigned);
  }
  return count;
}

function viewOf(job: Job<Body>, unit: Unit | undefined, now: number): JobView {
  const { request, worker, state } = job;
  const hasAskers = state !== "aborted";
  // Who waits now need not be who has asked first.
  const { peer } = (hasAskers ? job.asker : request).client;
  const { address, identity, user } = readClient(peer.header);
  const startedAt = unit?.broker.startedAt(job);
  return {
    job: job.id,
    service: unit?.name ?? "",
    state: worker === undefined ? "waiting" : "running",
    worker: worker?.id,
    ...{ address, identity, user },
    ageMs: now - job.arrivedAt,
    runningMs: startedAt === undefined ? undefined : now - startedAt,
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
