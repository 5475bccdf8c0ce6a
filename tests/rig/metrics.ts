/** Metrics as a foreign parser reads them. */

import { FAMILIES } from "../../admin/families.ts";
import { path } from "./checkout.ts";
import { PYTHON } from "./mdp_workers.ts";

import { bytes, text } from "./text.ts";

/** A metric as Prometheus' Python client has read it. */
export interface ReadFamily {
  name: string;
  type: string;
  help: string;
  samples: [name: string, labels: Record<string, string>, value: string][];
}

/** Whether the Python of this machine has a parser of metrics. */
export function hasParser(): boolean {
  try {
    const args = ["-c", "import prometheus_client.openmetrics.parser"];
    return new Deno.Command(PYTHON, { args }).outputSync().success;
  } catch {
    return false;
  }
}

/** Reads metrics by Prometheus' Python client; its parser of OpenMetrics is strict. */
export async function parse(
  format: "openmetrics" | "text",
  metrics: string,
): Promise<ReadFamily[]> {
  const child = new Deno.Command(PYTHON, {
    args: [path("tests/foreign/metrics.py"), format],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(bytes(metrics));
  await writer.close();
  const { success, stdout, stderr } = await child.output();
  if (!success) throw new Error(text(stderr));
  return JSON.parse(text(stdout));
}

/** The value of each series, by its name and its labels: `name{label="value"}`. */
export function seriesOf(families: readonly ReadFamily[]): Map<string, number> {
  return new Map(families.flatMap(({ samples }) =>
    samples.map(([name, labels, value]) => {
      const written = Object.entries(labels).map(([label, value]) => `${label}="${value}"`);
      return [`${name}{${written.join(",")}}`, Number(value)] as const;
    })
  ));
}

/** The names of all series that a scrape has, as queries name them. */
export function queryNames(): Set<string> {
  return new Set(
    FAMILIES.flatMap(({ name, type }) =>
      type === "histogram" ? [`${name}_bucket`, `${name}_sum`, `${name}_count`] : [name]
    ),
  );
}
