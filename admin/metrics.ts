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
import { cpuTime, fileLimit, openFiles, residentMemory } from "../system/proc.ts";
import {
  FAMILIES,
  type Family,
  type Labels,
  type ReloadResult,
  type Sample,
  type Snapshot,
} from "./families.ts";
import { LoopLag } from "./loop_lag.ts";
import { Places } from "./places.ts";

/** What metrics are read from. */
export interface Scraped extends Pick<Operated, "status" | "stats"> {
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

  // What prom-client awaits.
  // deno-lint-ignore require-await
  async get() {
    const { name, type, help } = this;
    return { name, type, help, values: this.#samples.flatMap((each) => linesOf(name, each)) };
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
    const [measures, status] = await Promise.all([this.#server.measures(), this.#server.status()]);
    return {
      measures,
      status,
      stats: this.#server.stats(),
      mainLag: this.#lag.read(),
      reloads: [...this.#reloads.values()],
      placeOf: this.#placesOf(status),
      process: {
        cpuMs: cpuTime(Deno.pid),
        residentBytes: residentMemory(Deno.pid),
        openFiles: openFiles(),
        fileLimit: fileLimit(),
      },
      build: this.#server.build,
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

async function newRegistry(format: Format): Promise<Formatter> {
  const { Registry } = await import("prom-client");
  if (format === "text") return new Registry();
  const registry = new Registry<typeof Registry.OPENMETRICS_CONTENT_TYPE>();
  registry.setContentType(Registry.OPENMETRICS_CONTENT_TYPE);
  return registry;
}
