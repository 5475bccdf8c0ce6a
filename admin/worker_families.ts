/**
 * The metrics of workers, of their pools, and of reloads, which replace them.
 *
 * @module
 */

import type { Stats } from "../ops/stats.ts";
import type { WorkerStatus } from "../ops/status.ts";
import { EXIT_REASONS } from "../wire/exit_reasons.ts";
import {
  each,
  type Family,
  type Labels,
  type ReloadResult,
  type Sample,
  sample,
  seconds,
  type Snapshot,
} from "./family.ts";

const RESTART_REASONS = Object.entries(EXIT_REASONS)
  .flatMap(([reason, kind]) => kind === "restart" ? [reason] : []);

const RELOAD_RESULTS: readonly ReloadResult[] = ["ok", "failed"];

/** The metrics of workers. */
export const WORKERS: readonly Family[] = [
  {
    name: "prefork_workers",
    type: "gauge",
    help: "Worker processes by what they do, on whatever machine: busy and idle ones are ready.",
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
    name: "prefork_joined_worker_starts_total",
    type: "counter",
    help: "Worker processes that pools on other machines have started, by the machine.",
    labels: ["service", "host"],
    read: ({ joined }) => joined.of("starts"),
  },
  {
    name: "prefork_joined_worker_exits_total",
    type: "counter",
    help:
      "Those of them that have ended, by the reason; lost: their machine, or the way there, is gone.",
    labels: ["service", "host", "reason"],
    read: ({ joined }) => joined.of("exits"),
  },
  {
    name: "prefork_pools_joined_total",
    type: "counter",
    help: "Times that a pool of a machine has joined.",
    labels: ["host"],
    read: ({ joined }) => joined.of("poolsJoined"),
  },
  {
    name: "prefork_pools_lost_total",
    type: "counter",
    help: "Times that a pool of a machine was lost: it has not said that it leaves.",
    labels: ["host"],
    read: ({ joined }) => joined.of("poolsLost"),
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

function countOf(reloads: Snapshot["reloads"], service: string, result: ReloadResult): number {
  return reloads.find((each) => each.service === service && each.result === result)?.count ?? 0;
}
