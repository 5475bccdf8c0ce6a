/**
 * Each metric: its name, its unit, its labels, and where its values come from. Names and units follow Prometheus' rules.
 * A label is a service, a code, or one word of a closed list: never a client, a user, a job or a key, as a server must
 * not have as many series as others have ideas. Not here: how they are written down (metrics.ts).
 *
 * @module
 */

import type { Spread } from "../broker/histogram.ts";
import type { Stats } from "../ops/stats.ts";
import type { Status, WorkerStatus } from "../ops/status.ts";
import type { ExitReason } from "../pool/supervisor.ts";
import type { Measures, ServiceMeasures } from "../ports/measures.ts";
import type { StoreFigures } from "../store/messages.ts";
import { END_STATES, JOB_STATES } from "../wire/submission.ts";

/** What all metrics are read from, at one moment. */
export interface Snapshot {
  measures: Measures;
  status: Status;
  stats: Stats;
  /** How late timers of the server's thread were. */
  mainLag: Spread;
  /** Reloads by service and result. */
  reloads: readonly { service: string; result: ReloadResult; count: number }[];
  /** The place of a worker among those of its service, from 0: it is given again when the worker has ended. */
  placeOf(worker: WorkerStatus): number;
  process: ProcessUsage;
  build: Readonly<Record<"version" | "deno" | "v8" | "libzmq", string>>;
  /** What the store has counted; undefined: nothing was ever stored. */
  store: StoreFigures | undefined;
}

/** How a reload ended. */
export type ReloadResult = "ok" | "failed";

/** What this process uses; undefined where that can't be read. */
export interface ProcessUsage {
  cpuMs: number | undefined;
  residentBytes: number | undefined;
  openFiles: number | undefined;
  fileLimit: number | undefined;
}

/** Values of labels, by their names. */
export type Labels = Readonly<Record<string, string>>;

/** A value, or a histogram of times. */
export type Sample = { labels: Labels } & ({ value: number } | { spread: Spread });

/** One metric. */
export interface Family {
  name: string;
  type: "counter" | "gauge" | "histogram";
  /** One sentence. */
  help: string;
  labels: readonly string[];
  read(snapshot: Snapshot): Sample[];
}

/** Why workers end, and whether that is part of their life or another one is to be started in place of one that died. */
const EXIT_REASONS: Readonly<Record<ExitReason, "planned" | "restart">> = {
  stopped: "planned",
  asked: "planned",
  culled: "planned",
  recycled: "planned",
  reload: "planned",
  crashed: "restart",
  rogue: "restart",
  overran: "restart",
  failed: "restart",
  timeout: "restart",
  left: "planned",
  dequeued: "planned",
};

const RESTART_REASONS = Object.entries(EXIT_REASONS)
  .flatMap(([reason, kind]) => kind === "restart" ? [reason] : []);

const RELOAD_RESULTS: readonly ReloadResult[] = ["ok", "failed"];

// ---- rows ----

function ofServices(
  name: string,
  type: "counter" | "gauge",
  help: string,
  value: (service: ServiceMeasures) => number | undefined,
): Family {
  const read = ({ measures }: Snapshot) =>
    measures.services.flatMap((service) => sample({ service: service.name }, value(service)));
  return { name, type, help, labels: ["service"], read };
}

function times(name: string, help: string, spread: (of: ServiceMeasures) => Spread): Family {
  const read = ({ measures }: Snapshot) =>
    measures.services.map((of) => ({ labels: { service: of.name }, spread: spread(of) }));
  return { name, type: "histogram", help, labels: ["service"], read };
}

function ofServer(
  name: string,
  type: "counter" | "gauge",
  help: string,
  value: (snapshot: Snapshot) => number | undefined,
): Family {
  return { name, type, help, labels: [], read: (snapshot) => sample({}, value(snapshot)) };
}

function ofWorkers(
  name: string,
  type: "counter" | "gauge",
  help: string,
  value: (worker: WorkerStatus) => number | undefined,
): Family {
  const read = ({ status, placeOf }: Snapshot) =>
    status.workers.flatMap((worker) => {
      const labels = { service: worker.service, place: String(placeOf(worker)) };
      return sample(labels, value(worker));
    });
  return { name, type, help, labels: ["service", "place"], read };
}

function sample(labels: Labels, value: number | undefined): Sample[] {
  return value === undefined ? [] : [{ labels, value }];
}

/** A value for each of some words. */
function each<Word extends string>(
  words: readonly Word[],
  label: string,
  value: (word: Word) => number | undefined,
  others: Labels = {},
): Sample[] {
  return words.flatMap((word) => sample({ ...others, [label]: word }, value(word)));
}

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

/** Each service with its pool; the only one where none has a name. */
function pools(stats: Stats): (readonly [
  string,
  Omit<Stats["services"][string], "counters"> & {
    counters: Pick<Stats["counters"], "spawned" | "exited">;
  },
])[] {
  const named = Object.entries(stats.services);
  return named.length > 0 ? named : [["", stats]];
}

function seconds(ms: number | undefined): number | undefined {
  return ms === undefined ? undefined : ms / 1000;
}

// ---- the metrics ----

const REQUESTS: readonly Family[] = [
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

const JOBS: readonly Family[] = [
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

/** How many workers of each service are ready on each other machine. */
function joinedWorkers(workers: readonly WorkerStatus[]): Sample[] {
  const counts = new Map<string, { labels: Labels; value: number }>();
  for (const { service, host, state } of workers) {
    if (host === undefined || (state !== "idle" && state !== "busy")) continue;
    const { value = 0 } = counts.get(`${host} ${service}`) ?? {};
    counts.set(`${host} ${service}`, { labels: { service, host }, value: value + 1 });
  }
  return [...counts.values()];
}

const WORKERS: readonly Family[] = [
  {
    name: "prefork_workers",
    type: "gauge",
    help: "Worker processes by what they do: busy and idle ones are ready.",
    labels: ["service", "state"],
    read: ({ stats }) =>
      pools(stats).flatMap(([service, { workers }]) =>
        each(
          ["starting", "idle", "busy", "stopping", "dequeue"],
          "state",
          (state) => workers[state],
          { service },
        )
      ),
  },
  {
    name: "prefork_joined_workers",
    type: "gauge",
    help: "Worker processes of pools on other machines that are ready, by the machine.",
    labels: ["service", "host"],
    read: ({ status }) => joinedWorkers(status.workers),
  },
  {
    name: "prefork_workers_limit",
    type: "gauge",
    help: "How many workers a service has at least, and at most.",
    labels: ["service", "bound"],
    read: ({ stats }) =>
      pools(stats).flatMap(([service, { workers }]) =>
        each(["min", "max"], "bound", (bound) => workers[bound], { service })
      ),
  },
  {
    name: "prefork_worker_starts_total",
    type: "counter",
    help: "Worker processes that were started.",
    labels: ["service"],
    read: ({ stats }) =>
      pools(stats).flatMap(([service, { counters }]) => sample({ service }, counters.spawned)),
  },
  {
    name: "prefork_worker_exits_total",
    type: "counter",
    help: "Worker processes that have ended, by the reason.",
    labels: ["service", "reason"],
    read: ({ stats }) =>
      pools(stats).flatMap(([service, { counters: { exited } }]) => {
        const known: Record<string, number> = exited;
        return each(Object.keys(EXIT_REASONS), "reason", (reason) => known[reason] ?? 0, {
          service,
        });
      }),
  },
  {
    name: "prefork_worker_restarts_total",
    type: "counter",
    help: "Worker processes that ended without being asked to, so that others take their places.",
    labels: ["service", "reason"],
    read: ({ stats }) =>
      pools(stats).flatMap(([service, { counters: { exited } }]) => {
        const known: Record<string, number> = exited;
        return each(RESTART_REASONS, "reason", (reason) => known[reason] ?? 0, { service });
      }),
  },
  ofWorkers(
    "prefork_worker_resident_memory_bytes",
    "gauge",
    "Memory that a worker process uses (RSS), by its place in its service.",
    ({ residentBytes }) => residentBytes,
  ),
  ofWorkers(
    "prefork_worker_cpu_seconds_total",
    "counter",
    "CPU time of the worker process that has a place in its service; begins at 0 with each process.",
    ({ cpuMs }) => seconds(cpuMs),
  ),
  {
    name: "prefork_generation",
    type: "gauge",
    help: "Counts the reloads of a service, from 1.",
    labels: ["service"],
    read: ({ status }) =>
      status.services.flatMap(({ name, generation }) => sample({ service: name }, generation)),
  },
  {
    name: "prefork_reloads_total",
    type: "counter",
    help: "Reloads that have ended, by the result.",
    labels: ["service", "result"],
    read: ({ status, reloads }) =>
      status.services.flatMap(({ name: service }) =>
        each(RELOAD_RESULTS, "result", (result) => countOf(reloads, service, result), { service })
      ),
  },
  {
    name: "prefork_paused",
    type: "gauge",
    help: "Whether the jobs of a service wait because somebody has paused it: 1 or 0.",
    labels: ["service"],
    read: ({ status }) =>
      status.services.flatMap(({ name, paused }) => sample({ service: name }, Number(paused))),
  },
];

const STORED: readonly Family[] = [
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

const SERVER: readonly Family[] = [
  ofServer(
    "prefork_ready",
    "gauge",
    "Whether new requests are served, as /readyz has it: 1 or 0.",
    ({ status }) => Number(status.ready),
  ),
  ofServer(
    "prefork_clients",
    "gauge",
    "Clients that have asked something and are connected.",
    ({ status }) => status.clients,
  ),
  ofServer(
    "prefork_connections",
    "gauge",
    "Connections of clients; absent where libzmq does not report them.",
    ({ status }) => status.connections,
  ),
  ofServer(
    "prefork_connections_denied_total",
    "counter",
    "Connections that asked to be let in and were not.",
    ({ stats }) => stats.counters.denied,
  ),
  {
    name: "prefork_messages_dropped_total",
    type: "counter",
    help:
      "Messages that were not used: requests that are none (malformed), answers for clients that had left or " +
      "took none (undelivered), what came to the backend from no worker (intruder), and answers of workers for jobs " +
      "that they had not (stray) or without a valid code (invalid).",
    labels: ["reason"],
    read: ({ stats: { counters } }) =>
      each(["malformed", "undelivered", "intruder", "stray", "invalid"], "reason", (reason) => {
        const { intruders, strayReplies: stray, invalidReplies: invalid, ...rest } = counters;
        return { ...rest, intruder: intruders, stray, invalid }[reason];
      }),
  },
  ofServer(
    "prefork_events_total",
    "counter",
    "Events that were made for those who have subscribed.",
    ({ stats }) => stats.counters.events,
  ),
  ofServer(
    "prefork_events_dropped_total",
    "counter",
    "Events that a subscriber did not get, as it took too little; not known of those that libzmq serves.",
    ({ stats }) => stats.counters.eventsDropped,
  ),
  {
    name: "prefork_loop_lag_seconds",
    type: "histogram",
    help:
      "How late a thread came to what was due: the one of the sockets, or the one of all else (main).",
    labels: ["thread"],
    read: ({ measures, mainLag }) => [
      { labels: { thread: "sockets" }, spread: measures.lag },
      { labels: { thread: "main" }, spread: mainLag },
    ],
  },
  {
    name: "prefork_build_info",
    type: "gauge",
    help: "Always 1: the labels are the versions that run.",
    labels: ["version", "deno", "v8", "libzmq"],
    read: ({ build }) => [{ labels: build, value: 1 }],
  },
];

const PROCESS: readonly Family[] = [
  ofServer(
    "process_cpu_seconds_total",
    "counter",
    "CPU time of the server's process, without its workers.",
    ({ process }) => seconds(process.cpuMs),
  ),
  ofServer(
    "process_resident_memory_bytes",
    "gauge",
    "Memory of the server's process (RSS), without its workers.",
    ({ process }) => process.residentBytes,
  ),
  ofServer(
    "process_start_time_seconds",
    "gauge",
    "When the server was started, in seconds since 1970.",
    ({ status }) => status.startedAt / 1000,
  ),
  ofServer(
    "process_open_fds",
    "gauge",
    "File descriptors that the server has open.",
    ({ process }) => process.openFiles,
  ),
  ofServer(
    "process_max_fds",
    "gauge",
    "File descriptors that the server may have open.",
    ({ process }) => process.fileLimit,
  ),
];

/** All metrics, in the order in which they are written. */
export const FAMILIES: readonly Family[] = [
  ...REQUESTS,
  ...JOBS,
  ...WORKERS,
  ...STORED,
  ...SERVER,
  ...PROCESS,
];

function countOf(reloads: Snapshot["reloads"], service: string, result: ReloadResult): number {
  return reloads.find((each) => each.service === service && each.result === result)?.count ?? 0;
}
