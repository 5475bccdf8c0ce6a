/**
 * The first line that a worker reads: its orders. Built here alone, for workers of every purpose.
 *
 * @module
 */

import type { Settings } from "../options/settings.ts";
import { residentMemory } from "../system/proc.ts";
import { shortEndpoint } from "../system/title.ts";
import type { ServiceTerms } from "../wire/join.ts";
import type { WorkerConfig, WorkerKeys } from "../wire/worker_config.ts";
import type { ChildSpec } from "./child.ts";
import { linksToRead } from "./flags.ts";
import { callGrants, mayUseFfi, mayWriteFiles, ungranted } from "./grants.ts";

/** The options that workers are told. */
export type OrderSettings = Pick<
  Settings,
  | "concurrency"
  | "dequeueInterval"
  | "maxFrames"
  | "maxMemory"
  | "maxMessageSize"
  | "signalPassthrough"
>;

/** What is the same for all workers at a time. */
export interface Workshop {
  /** The endpoint that workers connect to; "": none. */
  readonly backend: string;
  /** How workers speak there. */
  readonly lane: WorkerConfig["lane"];
  /** The file that workers open through FFI, where they can read it: see `WorkerConfig`. */
  readonly library: string;
  /** Whether the kernel can filter what workers ask of it. */
  readonly canConfine: boolean;
  /** A connection to a broker on another machine ends when it is silent for so long, ms. @default {0: never} */
  readonly heartbeatTimeout?: number;
  /** How far the clock of that machine is ahead of this one's, ms. @default {0} */
  readonly clockAhead?: number;
  /** What workers of a service are bound by where the broker, on another machine, says that. */
  termsOf?(service: string): ServiceTerms | undefined;
}

/** What one worker is started for. */
export interface Hiring {
  /** The service that it serves; "": the one without a name. */
  readonly service: string;
  readonly purpose: WorkerConfig["purpose"];
  /** Made for this worker, which shows it to the broker. */
  readonly token: string;
  readonly keys: WorkerKeys | undefined;
}

/** How often workers report their memory where this process can't see it, ms. */
const MEMORY_INTERVAL = 1000;

/** What a worker is told. */
export function buildOrders(
  { service, purpose, token, keys }: Hiring,
  spec: ChildSpec,
  settings: OrderSettings,
  { backend, lane, library, canConfine, heartbeatTimeout = 0, clockAhead = 0, termsOf }: Workshop,
): WorkerConfig {
  const { dequeueInterval, maxMemory } = settings;
  const { concurrency, maxMessageSize, maxFrames } = termsOf?.(service) ?? settings;
  const reportsMemory = maxMemory > 0 && residentMemory(Deno.pid) === undefined;
  return {
    purpose,
    service,
    token,
    backend,
    lane,
    curve: keys,
    heartbeatTimeout,
    clockAhead,
    library,
    parent: Deno.pid,
    handler: spec.handler,
    concurrency,
    maxMessageSize,
    maxFrames,
    keepFfi: mayUseFfi(spec.permissions),
    callGrants: canConfine ? callGrants(spec.permissions) : undefined,
    // What a trial prints goes where this process prints, which may be a file.
    mayWriteFiles: purpose === "check" || mayWriteFiles(spec.permissions),
    links: linksToRead(spec),
    // Deno takes the others of its own.
    giveUp: spec.program.isCompiled ? ungranted(spec.permissions) : [],
    needsDequeue: dequeueInterval > 0,
    memoryInterval: reportsMemory ? MEMORY_INTERVAL : 0,
    signals: [...settings.signalPassthrough],
    title: titleOf(service, backend),
  };
}

function titleOf(service: string, backend: string): string {
  return ["zmq worker", service, shortEndpoint(backend)].filter((part) => part !== "").join(" ");
}
