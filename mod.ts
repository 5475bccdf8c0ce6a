/**
 * A preforking ZeroMQ job server: {@linkcode serve} runs a load-balancing broker in this process and
 * keeps a pool of worker processes alive that answer requests with your handler module.
 *
 * ```ts
 * import { serve } from "jsr:@zmq/prefork";
 *
 * await using server = serve({
 *   handler: new URL("./handler.ts", import.meta.url),
 *   handleSignals: true, // TERM and INT let running jobs end; without it they end the process
 * });
 * await server.finished;
 * ```
 *
 * Importing this does nothing; run directly, it hands itself to cli/serve.ts. What a server is made of is in
 * server.ts.
 *
 * @module
 */

import { openAccess } from "./auth/access.ts";
import { openJoinable, openJoinKeys } from "./auth/join_keys.ts";
import { requireHandlers, requirePlainFiles } from "./ops/given_files.ts";
import { accessOf } from "./ops/loop_options.ts";
import type { Finished } from "./ops/outcome.ts";
import type { RunningServer } from "./ops/running_server.ts";
import type { RunningService, Server } from "./ops/server.ts";
import type { ServiceStats, Stats, WorkerStats } from "./ops/stats.ts";
import { resolveOptions } from "./options/resolve.ts";
import type { ServeOptions, Settings } from "./options/settings.ts";
import { tryHandler } from "./pool/check.ts";
import { laneOf } from "./pool/lanes.ts";
import { placesOf, planServices } from "./pool/plans.ts";
import { inService, subfolderOf } from "./pool/service_host.ts";
import { ownProgram } from "./pool/worker_program.ts";
import type { BrokerCounters, SocketCounters } from "./ports/messages.ts";
import { type OptionReader, PreforkServer, WORKER_MODULE } from "./server.ts";
import { shutDebugger } from "./system/debugger.ts";
import { Premises } from "./system/premises.ts";
import { canConfine } from "./system/seccomp.ts";
import { readVariable } from "./system/variables.ts";
import type { ExitReason } from "./wire/exit_reasons.ts";
import { WORKER_ARGUMENT } from "./wire/worker_config.ts";
import { locateLibrary } from "./zmq/locate.ts";

export type {
  ConnectionOptions,
  Hooks,
  Level,
  ListenEvent,
  LogFormat,
  Permissions,
  PoolOptions,
  ReloadEvent,
  RequestErrorEvent,
  ResizeEvent,
  ScheduleOptions,
  ServeOptions,
  ServiceOption,
  ServiceOptions,
  StopEvent,
  StoredJobOptions,
  WorkerEvent,
  WorkerExitEvent,
} from "./options/settings.ts";
export type {
  BrokerCounters,
  ExitReason,
  Finished,
  RunningService,
  Server,
  ServiceStats,
  SocketCounters,
  Stats,
  WorkerStats,
};
export type {
  ClientList,
  ClientView,
  ConfigEntry,
  JobFilter,
  JobList,
  JobView,
  LogLine,
  LogOptions,
  Rates,
  ServerPhase,
  ServiceStatus,
  Status,
  WorkerStatus,
} from "./ops/status.ts";
export type {
  AskedJob,
  EndState,
  JobState,
  JobStatus,
  OwnSubmitOptions,
  RequestBody,
  ScheduleStatus,
  StoredFilter,
  StoredJob,
  StoredJobs,
  StoredList,
  StoredServiceStatus,
  StoreStatus,
  SubmitOptions,
  Submitted,
} from "./ops/stored.ts";
export type {
  Answer,
  Handler,
  HandlerContext,
  HandlerLog,
  HandlerModule,
  HandlerParts,
  HandlerResult,
  JobTerms,
  JobTry,
  LogLineFields,
  QuestionOptions,
  SubmissionOptions,
  SubmittedJob,
} from "./worker/handler.ts";

/**
 * Starts a server. The sockets are bound when this returns; workers come up behind it.
 *
 * @throws {TypeError} when an option has a wrong type or no such option exists.
 * @throws {RangeError} when an option's value breaks its rule.
 * @throws {Error} when an endpoint can't be bound, libzmq can't be opened, or the pid file is taken.
 */
export function serve(options: ServeOptions = {}): Server {
  return start(options, { reread: () => undefined, sources: () => undefined });
}

/** `operator` gives the options that a HUP is to apply. */
function start(
  options: ServeOptions,
  operator: Pick<OptionReader, "reread" | "sources">,
): RunningServer {
  warmUp();
  const settings = resolve(options);
  requireHandlers(settings);
  const parent = new PreforkServer(settings, options, { ...operator, resolve });
  const { running } = parent;
  const abandon = () => parent.abandon();
  const abort = () => running.stop("refuse", "abort");
  addEventListener("unload", abandon);
  options.signal?.addEventListener("abort", abort, { once: true });
  parent.ended.then(() => {
    removeEventListener("unload", abandon);
    options.signal?.removeEventListener("abort", abort);
  });
  parent.begin();
  if (options.signal?.aborted) abort();
  return running;
}

/**
 * Options with all defaults.
 *
 * @throws {TypeError | RangeError} when one breaks its rule.
 */
function resolve(options: ServeOptions): Settings {
  return resolveOptions(options, { cpus: navigator.hardwareConcurrency, cwd: () => Deno.cwd() });
}

/**
 * Deno opens files when it reads a stack or listens for a signal for the first time, and ends the process
 * if it can't: both are done before file descriptors may run out.
 */
function warmUp(): void {
  String(new Error().stack);
  const listener = () => {};
  Deno.addSignalListener("SIGCONT", listener);
  Deno.removeSignalListener("SIGCONT", listener);
}

/** Loads each handler once, in a worker, with all that a server would give it; false: one has said why not. */
async function check(settings: Settings, say: (remark: string) => void): Promise<boolean> {
  const plans = planServices(settings, WORKER_MODULE, ownProgram());
  for (const { spec } of plans) spec.config?.notes.forEach(say);
  const library = locateLibrary(readVariable("ZMQ_LIBRARY"));
  shutDebugger(library.path);
  requirePlainFiles(settings);
  openAccess(accessOf(settings), library);
  openJoinable(settings, library);
  openJoinKeys(settings, library);
  // It needs no socket and claims no pid file.
  const places = { ...placesOf(settings, plans, library.path), backend: "", pidFile: undefined };
  const premises = new Premises(library, places, { warn: () => {}, error: () => {} });
  try {
    premises.handOver("");
    const confines = canConfine(library.path);
    const lane = laneOf(settings);
    const workshop = { backend: "", lane, library: premises.library, canConfine: confines };
    const outcomes: boolean[] = [];
    for (const [index, { name, settings: own, spec }] of plans.entries()) {
      const files = premises.filesIn(subfolderOf(name, index));
      const trying = tryHandler(own, name, spec, files, workshop, say);
      outcomes.push(await trying.catch((error) => Promise.reject(inService(name, error))));
    }
    return outcomes.every(Boolean);
  } finally {
    premises.remove();
  }
}

if (import.meta.main && Deno.args[0] === WORKER_ARGUMENT) {
  // A server loads nothing of this.
  const { work } = await import(new URL("./worker/compiled.ts", import.meta.url).href);
  await work((handler: string) => import(handler));
} else if (import.meta.main) {
  // Whoever imports this module needs no command line.
  const { main } = await import("./cli/serve.ts");
  Deno.exit(await main(Deno.args, { url: import.meta.url, resolve, start, check }));
}
