/**
 * What a metric is, what all are read from, and how those are made that have a value for each service or one for the
 * server. Names and units follow Prometheus' rules. A label is a service, a code, or one word of a closed list: never a
 * client, a user, a job or a key, as a server must not have as many series as others have ideas. Not here: the metrics
 * (families.ts).
 *
 * @module
 */

import type { Spread } from "../broker/histogram.ts";
import type { Stats } from "../ops/stats.ts";
import type { Status, WorkerStatus } from "../ops/status.ts";
import type { Measures, ServiceMeasures } from "../ports/measures.ts";
import type { StoreFigures } from "../store/messages.ts";
import type { JoinedCounts } from "./joined_counts.ts";

/** What all metrics are read from, at one moment. */
export interface Snapshot {
  measures: Measures;
  status: Status;
  stats: Stats;
  /** How late timers of the server's thread were. */
  mainLag: Spread;
  /** Reloads by service and result. */
  reloads: readonly { service: string; result: ReloadResult; count: number }[];
  /** Pools on other machines and their workers, as they come and go. */
  joined: Pick<JoinedCounts, "of">;
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

/** A metric that has a value for each service. */
export function ofServices(
  name: string,
  type: "counter" | "gauge",
  help: string,
  value: (service: ServiceMeasures) => number | undefined,
): Family {
  const read = ({ measures }: Snapshot) =>
    measures.services.flatMap((service) => sample({ service: service.name }, value(service)));
  return { name, type, help, labels: ["service"], read };
}

/** A metric of times, for each service. */
export function times(name: string, help: string, spread: (of: ServiceMeasures) => Spread): Family {
  const read = ({ measures }: Snapshot) =>
    measures.services.map((of) => ({ labels: { service: of.name }, spread: spread(of) }));
  return { name, type: "histogram", help, labels: ["service"], read };
}

/** A metric of the whole server. */
export function ofServer(
  name: string,
  type: "counter" | "gauge",
  help: string,
  value: (snapshot: Snapshot) => number | undefined,
): Family {
  return { name, type, help, labels: [], read: (snapshot) => sample({}, value(snapshot)) };
}

/** A value; none where it is not known. */
export function sample(labels: Labels, value: number | undefined): Sample[] {
  return value === undefined ? [] : [{ labels, value }];
}

/** A value for each of some words. */
export function each<Word extends string>(
  words: readonly Word[],
  label: string,
  value: (word: Word) => number | undefined,
  others: Labels = {},
): Sample[] {
  return words.flatMap((word) => sample({ ...others, [label]: word }, value(word)));
}

/** The same in the unit of metrics. */
export function seconds(ms: number | undefined): number | undefined {
  return ms === undefined ? undefined : ms / 1000;
}
