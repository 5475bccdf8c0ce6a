/**
 * All metrics: here those of the server and its process, beside those of requests, workers and stored jobs. Not here:
 * what a metric is (family.ts), and how they are written down (metrics.ts).
 *
 * @module
 */

import { each, type Family, ofServer, seconds } from "./family.ts";
import { JOBS, REQUESTS } from "./request_families.ts";
import { STORED } from "./stored_families.ts";
import { WORKERS } from "./worker_families.ts";

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
