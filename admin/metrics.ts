/**
 * Writes all metrics down, as Prometheus' text or as OpenMetrics. prom-client knows the formats, and is loaded when
 * the first scrape comes; nothing is counted by it.
 *
 * @module
 */

import { BUCKET_BOUNDS, buckets, type Spread } from "../broker/histogram.ts";
import type { Operated } from "./operated.ts";
import type { Status } from "../ops/status.ts";
import type { Measures } from "../ports/measures.ts";
import { messageOf } from "../system/errors.ts";
import { cpuTime, fileLimit, openFiles, residentMemory } from "../system/proc.ts";
import { FAMILIES } from "./families.ts";
import type { Family, Labels, ReloadResult, Sample, Snapshot } from "./family.ts";
import { JoinedCounts } from "./joined_counts.ts";
import { LoopLag } from "./loop_lag.ts";
import { Places } from "./places.ts";

/** What metrics are read from. */
export interface Scraped extends Pick<Operated, "status" | "stats" | "storeFigures"> {
  measures(): Promise<Measures>;
  readonly build: Snapshot["build"];
}

/** A value as prom-client takes it. */
interface Line {
  metricName: string;
  labels: Record<string, string | number>;
  value: number;
}

/** What prom-client writes: its own metrics are alike. */
interface Written {
  get(): Promise<{ name: string; help: string; values: unknown[] }>;
}

/** What prom-client gives. */
interface Formatter {
  registerMetric(metric: Written): void;
  metrics(): Promise<string>;
  readonly contentType: string;
}

/** prom-client, as far as it is used. */
interface PromClient {
  Registry: {
    new (): Formatter & { setContentType(type: string): void };
    readonly OPENMETRICS_CONTENT_TYPE: string;
  };
}

/** The library that knows the formats; deno.json pins it too. */
export const PROM_CLIENT = "npm:prom-client@15.1.3";

/** `# HELP` and `# TYPE` come from here; prom-client takes the ending off a counter's name for OpenMetrics. */
class Exposition implements Written {
  name: string;
  readonly type: Family["type"];
  readonly help: string;
  readonly #samples: readonly Sample[];

  constructor({ name, type, help }: Family, samples: readonly Sample[]) {
    this.name = name;
    this.type = type;
    this.help = help;
    this.#samples = samples;
  }

  /** What prom-client awaits. */
  get() {
    const { name, type, help } = this;
    const values = this.#samples.flatMap((each) => linesOf(name, each));
    return Promise.resolve({ name, type, help, values });
  }
}

function linesOf(name: string, sample: Sample): Line[] {
  const { labels } = sample;
  if ("spread" in sample) return bucketLines(name, labels, sample.spread);
  return [{ metricName: name, labels, value: sample.value }];
}

function bucketLines(name: string, labels: Labels, spread: Spread): Line[] {
  const { upTo, count } = buckets(spread);
  const bucket = (le: string | number, value: number) => (
    { metricName: `${name}_bucket`, labels: { ...labels, le }, value }
  );
  return [
    ...upTo.map((value, index) => bucket((BUCKET_BOUNDS[index] ?? 0) / 1e6, value)),
    bucket("+Inf", count),
    { metricName: `${name}_sum`, labels, value: spread.sum / 1e6 },
    { metricName: `${name}_count`, labels, value: count },
  ];
}

/** How metrics are written. */
export type Format = "openmetrics" | "text";

/** The format that a header `Accept` asks for; "": the header is missing. */
export function formatFor(accept: string): Format {
  return /application\/openmetrics-text/i.test(accept) ? "openmetrics" : "text";
}

/** The metrics of a server. */
export class Metrics {
  readonly #server: Scraped;
  readonly #lag = new LoopLag();
  readonly #places = new Places();
  /** What it is to be told of pools on other machines. */
  readonly joined = new JoinedCounts();
  readonly #reloads = new Map<string, Snapshot["reloads"][number]>();

  constructor(server: Scraped) {
    this.#server = server;
  }

  /** A reload has ended. */
  reloaded(service: string, result: ReloadResult): void {
    const key = `${result} ${service}`;
    const count = (this.#reloads.get(key)?.count ?? 0) + 1;
    this.#reloads.set(key, { service, result, count });
  }

  /** All metrics, and the media type of what they are written in. */
  async write(format: Format): Promise<{ text: string; contentType: string }> {
    const registry = await newRegistry(format);
    const snapshot = await this.#look();
    for (const family of FAMILIES) {
      registry.registerMetric(new Exposition(family, family.read(snapshot)));
    }
    return { text: await registry.metrics(), contentType: registry.contentType };
  }

  async #look(): Promise<Snapshot> {
    const [measures, status, store] = await Promise.all([
      this.#server.measures(),
      this.#server.status(),
      this.#server.storeFigures(),
    ]);
    return {
      measures,
      status,
      stats: this.#server.stats(),
      mainLag: this.#lag.read(),
      reloads: [...this.#reloads.values()],
      joined: this.joined,
      placeOf: this.#placesOf(status),
      process: {
        cpuMs: cpuTime(Deno.pid),
        residentBytes: residentMemory(Deno.pid),
        openFiles: openFiles(),
        fileLimit: fileLimit(),
      },
      build: this.#server.build,
      store,
    };
  }

  #placesOf({ workers }: Status): Snapshot["placeOf"] {
    this.#places.update(workers);
    return (worker) => this.#places.of(worker);
  }

  close(): void {
    this.#lag.close();
  }
}

/**
 * A registry without metrics, of a library that is fetched and loaded when it is needed first.
 *
 * @throws {Error} when that can't be had.
 */
async function newRegistry(format: Format): Promise<Formatter> {
  const { Registry } = await loadLibrary();
  const registry = new Registry();
  if (format === "openmetrics") registry.setContentType(Registry.OPENMETRICS_CONTENT_TYPE);
  return registry;
}

async function loadLibrary(): Promise<PromClient> {
  try {
    // A name that stands in the import would be fetched at the start of each server.
    return await import(PROM_CLIENT);
  } catch (error) {
    const reason = messageOf(error);
    throw new Error(`Cannot write metrics, as ${PROM_CLIENT} can't be loaded: ${reason}`);
  }
}
