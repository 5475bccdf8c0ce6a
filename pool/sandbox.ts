/**
 * What decides what a handler may do, and the modules that its worker runs. Nothing that a handler brings
 * reaches the modules of the worker itself, which run before FFI is given up. What follows from it is in
 * flags.ts, environment.ts, own_config.ts and grants.ts.
 *
 * @module
 */

import type { Permissions } from "../options/settings.ts";
import type { HandlerConfig } from "./handler_config.ts";
import type { Graph } from "./modules.ts";

/** What decides what a handler may do, and which modules it is made of. */
export interface Sandbox {
  /** URL of worker.ts. */
  workerModule: string;
  /** URL or specifier of the handler module; undefined: echo. */
  handler: string | undefined;
  /** What the handler may do. */
  permissions: Permissions;
  /** Maximum bytes of JavaScript's heap; 0: as many as V8 sees fit. */
  memoryLimit: number;
  /** The configuration in the handler's folder or above; undefined: none. */
  config: HandlerConfig | undefined;
  /** The files that hold `ownConfig` and `ownMap`; undefined: workers have no configuration. */
  configFile: string | undefined;
  mapFile: string | undefined;
  /** The file that holds `ownLock`; undefined: there is no lock. */
  lockFile: string | undefined;
  /** The modules of the handler; undefined: not known yet. */
  graph: Graph | undefined;
}

/**
 * The modules that a worker runs along with the handler, by their paths from the root of this package. A
 * test holds that these are all.
 */
export const RUNTIME = [
  "worker.ts",
  "worker/handler.ts",
  "worker/request_error.ts",
  "worker/rpc.ts",
  "worker/standard_schema.ts",
  "options/errors.ts",
  "worker/job_context.ts",
  "wire/byte_cache.ts",
  "wire/call.ts",
  "wire/copy_bytes.ts",
  "worker/handler_module.ts",
  "wire/empty_frame.ts",
  "wire/event.ts",
  "wire/integers.ts",
  "wire/job.ts",
  "wire/credit.ts",
  "wire/rate.ts",
  "wire/span_words.ts",
  "wire/trace.ts",
  "wire/request.ts",
  "worker/hold.ts",
  "worker/job_spans.ts",
  "system/tracing.ts",
  "worker/lane.ts",
  "worker/parts.ts",
  "worker/answer.ts",
  "worker/questions.ts",
  "worker/stored_job.ts",
  "wire/job_terms.ts",
  "wire/stored_try.ts",
  "wire/question.ts",
  "worker/progress.ts",
  "worker/publication.ts",
  "worker/pending_jobs.ts",
  "worker/replies.ts",
  "worker/result.ts",
  "worker/service.ts",
  "worker/show.ts",
  "worker/zmq_lane.ts",
  "wire/worker_config.ts",
  "zmq/curve.ts",
  "system/bell.ts",
  "system/debugger.ts",
  "system/file_limit.ts",
  "zmq/descriptors.ts",
  "zmq/library.ts",
  "system/libc.ts",
  "system/lifeline.ts",
  "system/malloc.ts",
  "zmq/message.ts",
  "system/numbers.ts",
  "system/poller.ts",
  "system/resending.ts",
  "system/seccomp.ts",
  "zmq/monitor.ts",
  "zmq/socket.ts",
  "system/title.ts",
  "system/descriptor_passing.ts",
  "system/local_connection.ts",
  "system/shared_memory.ts",
  "wire/outgoing.ts",
  "wire/records.ts",
  "wire/ring.ts",
  "worker/record_inlet.ts",
  "worker/record_lane.ts",
  "system/socket_address.ts",
];

/**
 * The main module of a worker: it names the handler literally, so that importing it needs no read
 * permission.
 */
export function mainModule({ workerModule, handler }: Sandbox): string {
  const load = handler === undefined ? "" : `() => import(${JSON.stringify(handler)})`;
  const code = `import { main } from ${JSON.stringify(workerModule)}; await main(${load});`;
  return `data:application/typescript,${encodeURIComponent(code)}`;
}

/** A main module that loads the worker's own code and does nothing. */
export function trialModule({ workerModule }: Sandbox): string {
  return `data:application/javascript,import ${encodeURIComponent(JSON.stringify(workerModule))}`;
}
