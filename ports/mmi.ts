/**
 * What 8/MMI of rfc.zeromq.org answers: questions of Majordomo's clients after the services. Types and functions.
 *
 * @module
 */

import { JOB_PREFIX, jobCommandOf } from "../wire/submission.ts";
import { tspServiceOf } from "../wire/tsp.ts";

const encoder = new TextEncoder();

/** What services there are. */
export interface Directory {
  /** How many workers a service has that are ready or busy; undefined: there is no such service. */
  workersOf(service: string): number | undefined;
  /** A client of Majordomo is about to ask a service: one that is not there may be waited for. */
  expect(service: string): void;
}

/** What the names of these questions begin with. */
export const MMI = "mmi.";

/**
 * The answer, one frame: "200" or "404" to `mmi.service`; a number in digits to `mmi.workers`, 0 where there is no such
 * service; "501" to all else.
 *
 * @param about The service that is asked about: the first frame of the body.
 */
export function answerMmi(question: string, about: string, directory: Directory): string {
  const workers = directory.workersOf(about);
  const isThere = workers !== undefined || isOfJobs(about);
  if (question === `${MMI}service`) return isThere ? "200" : "404";
  return question === `${MMI}workers` ? String(workers ?? 0) : "501";
}

/** Whether the server itself is the service, as it is all those of stored jobs: they have no workers of their own. */
function isOfJobs(name: string): boolean {
  if (tspServiceOf(encoder.encode(name)) !== undefined) return true;
  return name.startsWith(JOB_PREFIX) && jobCommandOf(name.slice(JOB_PREFIX.length)) !== undefined;
}
