/**
 * The metrics of requests, and of the jobs that they are in the server.
 *
 * @module
 */

import { type Family, ofServer, ofServices, seconds, times } from "./family.ts";

/** The metrics of requests. */
export const REQUESTS: readonly Family[] = [
  ofServices(
    "prefork_requests_total",
    "counter",
    "Requests that were well formed and for a service that there is.",
    ({ counters }) => counters.requests,
  ),
  {
    name: "prefork_replies_total",
    type: "counter",
    help:
      "Requests that have ended, by the code of the answer, whether or not the client was still there.",
    labels: ["service", "code"],
    read: ({ measures }) =>
      measures.services.flatMap(({ name, replies }) =>
        Object.entries({ 200: 0, ...replies })
          .map(([code, value]) => ({ labels: { service: name, code }, value }))
      ),
  },
  ofServer(
    "prefork_requests_unaddressed_total",
    "counter",
    "Requests for a service that there is not.",
    ({ measures }) => measures.unaddressed,
  ),
  ofServices(
    "prefork_requests_refused_total",
    "counter",
    "Requests that were answered 503: the queue is full, the client does not read, or the server is stopping.",
    ({ counters }) => counters.refused,
  ),
  ofServices(
    "prefork_requests_rejected_total",
    "counter",
    "Requests that were answered 4xx before they were given to anybody.",
    ({ counters }) => counters.rejected,
  ),
  ofServices(
    "prefork_requests_cancelled_total",
    "counter",
    "Requests that their clients took back.",
    ({ counters }) => counters.cancelled,
  ),
  ofServices(
    "prefork_requests_abandoned_total",
    "counter",
    "Requests whose clients left first.",
    ({ counters }) => counters.abandoned,
  ),
  ofServices(
    "prefork_requests_joined_total",
    "counter",
    "Requests that were answered together with an earlier one of the same key.",
    ({ counters }) => counters.joined,
  ),
  ofServices(
    "prefork_requests_cached_total",
    "counter",
    "Requests that were answered by the kept answer to an earlier one of the same key.",
    ({ counters }) => counters.cached,
  ),
  ofServices(
    "prefork_received_bytes_total",
    "counter",
    "Bytes of the bodies of requests.",
    ({ bytesIn }) => bytesIn,
  ),
  ofServices(
    "prefork_sent_bytes_total",
    "counter",
    "Bytes of the bodies of answers and of their parts.",
    ({ bytesOut }) => bytesOut,
  ),
];

/** The metrics of jobs. */
export const JOBS: readonly Family[] = [
  ofServices(
    "prefork_queue_jobs",
    "gauge",
    "Jobs that wait for a worker.",
    ({ queued }) => queued,
  ),
  ofServices(
    "prefork_queue_bytes",
    "gauge",
    "Bytes that the jobs which wait for a worker take in memory.",
    ({ queuedBytes }) => queuedBytes,
  ),
  ofServices(
    "prefork_queue_oldest_seconds",
    "gauge",
    "How long the job has waited that waits longest; 0 if none waits.",
    ({ oldestMs }) => seconds(oldestMs ?? 0),
  ),
  ofServices(
    "prefork_jobs_running",
    "gauge",
    "Jobs that workers have.",
    ({ running }) => running,
  ),
  ofServices(
    "prefork_job_attempts_total",
    "counter",
    "Times a job was given to a worker.",
    ({ attempts }) => attempts,
  ),
  ofServices(
    "prefork_job_redeliveries_total",
    "counter",
    "Times a job was given to a worker that another had before.",
    ({ redelivered }) => redelivered,
  ),
  ofServices(
    "prefork_jobs_returned_total",
    "counter",
    "Times a job went back to the queue.",
    ({ counters }) => counters.returned,
  ),
  ofServices(
    "prefork_jobs_expired_total",
    "counter",
    "Jobs that were answered 408, as their deadline passed before they were started.",
    ({ counters }) => counters.expired,
  ),
  ofServices(
    "prefork_jobs_lost_total",
    "counter",
    "Jobs that were answered 502, as too many workers died on them.",
    ({ counters }) => counters.lost,
  ),
  ofServices(
    "prefork_jobs_overran_total",
    "counter",
    "Jobs that were answered 504, as their handlers ran past their limit and did not stop.",
    ({ counters }) => counters.overran,
  ),
  times(
    "prefork_job_queue_seconds",
    "Time from the arrival of a job until the worker got it that ended it, or until its deadline.",
    ({ waiting }) => waiting,
  ),
  times(
    "prefork_job_handler_seconds",
    "Time that the handler took, by the worker's clock, of jobs that a worker answered.",
    ({ handling }) => handling,
  ),
  times(
    "prefork_job_duration_seconds",
    "Time from the arrival of a job until its answer; refused and cancelled requests have none.",
    ({ total }) => total,
  ),
];
