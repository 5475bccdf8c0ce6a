/**
 * The metrics of stored jobs, and of the store that keeps them.
 *
 * @module
 */

import type { Spread } from "../broker/histogram.ts";
import type { StoreFigures } from "../store/messages.ts";
import { END_STATES, JOB_STATES } from "../wire/job_status.ts";
import { each, type Family, ofServer, sample, type Snapshot } from "./family.ts";

/** The metrics of stored jobs. */
export const STORED: readonly Family[] = [
  {
    name: "prefork_stored_jobs",
    type: "gauge",
    help: "Stored jobs by their state; failed ones are the dead set.",
    labels: ["service", "state"],
    read: ({ store }) =>
      storedServices(store).flatMap(([service, { states }]) =>
        each(JOB_STATES, "state", (state) => states[state], { service })
      ),
  },
  ofStored(
    "prefork_stored_submitted_total",
    "counter",
    "Jobs that were stored since the start of this server.",
    ({ submitted }) => submitted,
  ),
  {
    name: "prefork_stored_ended_total",
    type: "counter",
    help:
      "Stored jobs that have ended since the start of this server, by the state that they ended in.",
    labels: ["service", "outcome"],
    read: ({ store }) =>
      storedServices(store).flatMap(([service, { ended }]) =>
        each(END_STATES, "outcome", (outcome) => ended[outcome], { service })
      ),
  },
  ofStored(
    "prefork_stored_retried_total",
    "counter",
    "Tries of stored jobs that failed, and after which the jobs wait for another one.",
    ({ retried }) => retried,
  ),
  ofStored(
    "prefork_stored_oldest_seconds",
    "gauge",
    "How long the stored job has waited that could have run for longest; 0 if none waits.",
    ({ oldestMs }) => (oldestMs ?? 0) / 1000,
  ),
  ofStored(
    "prefork_stored_paused",
    "gauge",
    "Whether the stored jobs of a service wait because somebody has paused them: 1 or 0.",
    ({ paused }) => Number(paused),
  ),
  storedTimes(
    "prefork_stored_start_delay_seconds",
    "Time from when a try of a stored job was due until a worker got it.",
    ({ waitTime }) => waitTime,
  ),
  storedTimes(
    "prefork_stored_duration_seconds",
    "Time from the submission of a stored job until its end.",
    ({ totalTime }) => totalTime,
  ),
  ofServer(
    "prefork_store_up",
    "gauge",
    "Whether the store takes jobs: 1 or 0; absent where nothing was ever stored.",
    ({ store }) => store && Number(store.trouble === undefined),
  ),
  ofServer(
    "prefork_store_bytes",
    "gauge",
    "What the store takes on disk.",
    ({ store }) => store?.bytes,
  ),
];

/** A value of each service that has stored jobs. */
function ofStored(
  name: string,
  type: "counter" | "gauge",
  help: string,
  value: (of: StoreFigures["services"][string]) => number,
): Family {
  const read = ({ store }: Snapshot) =>
    storedServices(store).flatMap(([service, of]) => sample({ service }, value(of)));
  return { name, type, help, labels: ["service"], read };
}

function storedTimes(
  name: string,
  help: string,
  spread: (of: StoreFigures["services"][string]) => Spread,
): Family {
  const read = ({ store }: Snapshot) =>
    storedServices(store).map(([service, of]) => ({ labels: { service }, spread: spread(of) }));
  return { name, type: "histogram", help, labels: ["service"], read };
}

function storedServices(store: StoreFigures | undefined) {
  return Object.entries(store?.services ?? {});
}
