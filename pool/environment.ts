/**
 * The environment that workers are started with.
 *
 * @module
 */

import type { Permissions } from "../options/settings.ts";
import { mayGiveAll } from "./grants.ts";
import { readVariable } from "../system/variables.ts";

/** What Deno itself needs to find its cache and the network; the handler can't read it. */
const NEEDED_BY_DENO = [
  "HOME",
  "PATH",
  "TMPDIR",
  "LANG",
  "TZ",
  "NO_COLOR",
  "XDG_CACHE_HOME",
  "DENO_DIR",
  "DENO_CERT",
  "DENO_TLS_CA_STORE",
  "DENO_AUTH_TOKENS",
  "SSL_CERT_FILE",
  "SSL_CERT_DIR",
  "NODE_EXTRA_CA_CERTS",
  "NPM_CONFIG_REGISTRY",
  "JSR_URL",
  "HTTP_PROXY",
  "HTTPS_PROXY",
  "NO_PROXY",
  "http_proxy",
  "https_proxy",
  "no_proxy",
];

/** What Deno's exporter of traces, metrics and logs needs; the handler can't read it either. */
const NEEDED_BY_TRACING = [
  "OTEL_DENO_CONSOLE",
  "OTEL_DENO_METRICS",
  "OTEL_DENO_TRACING",
  "OTEL_SERVICE_NAME",
  "OTEL_RESOURCE_ATTRIBUTES",
  "OTEL_PROPAGATORS",
  "OTEL_TRACES_SAMPLER",
  "OTEL_TRACES_SAMPLER_ARG",
  "OTEL_METRIC_EXPORT_INTERVAL",
  "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
  ...["BSP", "BLRP"].flatMap((queue) =>
    [
      "EXPORT_TIMEOUT",
      "MAX_CONCURRENT_EXPORTS",
      "MAX_EXPORT_BATCH_SIZE",
      "MAX_QUEUE_SIZE",
      "SCHEDULE_DELAY",
    ].map((name) => `OTEL_${queue}_${name}`)
  ),
  ...["", "TRACES_", "METRICS_", "LOGS_"].flatMap((signal) =>
    [
      "CERTIFICATE",
      "CLIENT_CERTIFICATE",
      "CLIENT_KEY",
      "COMPRESSION",
      "ENDPOINT",
      "HEADERS",
      "INSECURE",
      "PROTOCOL",
      "TIMEOUT",
    ].map((name) => `OTEL_EXPORTER_OTLP_${signal}${name}`)
  ),
];
/**
 * How long an exporter may take for one of traces, metrics and logs, unless the operator says otherwise, ms: a process
 * ends only when it has tried to get rid of all three, and a collector that does not answer must not hold it up.
 */
const EXPORT_TIMEOUT_MS = 1500;
/** What is left for that, ms: a worker that has said its last word is not killed before. */
export const EXPORT_GRACE_MS = 3 * EXPORT_TIMEOUT_MS + 1000;
/** Switches Deno's exporter on. */
const SWITCH = "OTEL_DENO";
/** What workers are called as a source of traces, unless the operator says otherwise. */
const SERVICE_NAME = "prefork-worker";

/** The variables of a worker's process: those of `environment`, and those for tracing where that is on. */
export function workerEnvironment(granted: Permissions): Record<string, string> {
  const variables = environment(granted);
  if (readVariable(SWITCH) !== "true") return variables;
  const given = NEEDED_BY_TRACING.flatMap((name) => {
    const value = readVariable(name);
    return value === undefined ? [] : [[name, value]];
  });
  const tracing: Record<string, string> = Object.fromEntries(given);
  const { OTEL_RESOURCE_ATTRIBUTES: attributes = "", OTEL_SERVICE_NAME } = tracing;
  // Each process is a source of its own.
  const instance = `service.instance.id=${crypto.randomUUID()}`;
  const named = /(^|,)\s*service\.name=/.test(attributes);
  return {
    ...variables,
    OTEL_EXPORTER_OTLP_TIMEOUT: String(EXPORT_TIMEOUT_MS),
    ...tracing,
    ...(OTEL_SERVICE_NAME === undefined && !named ? { OTEL_SERVICE_NAME: SERVICE_NAME } : {}),
    OTEL_RESOURCE_ATTRIBUTES: attributes === "" ? instance : `${attributes},${instance}`,
    [SWITCH]: "true",
  };
}

/** Whether this process traces, and can't have its workers do so, as it may not read the variables for that. */
export function keepsTracingFromWorkers(isTracing: boolean): boolean {
  return isTracing && readVariable(SWITCH) === undefined;
}

/** The variables of a run of Deno. It traces nothing: what an exporter prints would be taken for its answer. */
export function environment(granted: Permissions): Record<string, string> {
  // NODE_OPTIONS can open Deno's debugger.
  const { NODE_OPTIONS: _, [SWITCH]: __, ...variables } = grantedVariables(granted);
  return variables;
}

function grantedVariables({ all, env }: Permissions): Record<string, string> {
  // Without this variable Deno checks over the network for a newer version of itself.
  const variables: Record<string, string> = { DENO_NO_UPDATE_CHECK: "1" };
  if ((all || env === true) && mayGiveAll("env")) {
    return { ...variables, ...Deno.env.toObject() };
  }
  const granted = Array.isArray(env) ? env : [];
  for (const name of [...NEEDED_BY_DENO, ...granted.flatMap(matchingVariables)]) {
    const value = readVariable(name);
    if (value !== undefined) variables[name] = value;
  }
  return variables;
}

/** The variables that a grant stands for: as in Deno, a `*` at its end stands for anything. */
function matchingVariables(grant: string): string[] {
  if (!grant.endsWith("*")) return [grant];
  if (!mayGiveAll("env")) return [];
  const start = grant.slice(0, -1);
  return Object.keys(Deno.env.toObject()).filter((name) => name.startsWith(start));
}

/** Grants with a `*` that give no variable, because this process may not list its own. */
export function unlistedVariables({ all, env }: Permissions): string[] {
  const granted = !all && Array.isArray(env) ? env : [];
  return granted.filter((grant) => grant.endsWith("*") && !mayGiveAll("env"));
}
