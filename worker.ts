/**
 * The life of a worker process: it reads its orders from stdin, connects to the broker, gives FFI up, loads the
 * handler, serves, and leaves. The server starts it with a main module that names the handler and calls
 * `main`. What a handler module may use is in worker/handler.ts; how jobs are served, in
 * worker/service.ts.
 *
 * @module
 */

import { shutDebugger } from "./system/debugger.ts";
import { forbidFileWrites } from "./system/file_limit.ts";
import { dieWithParent } from "./system/lifeline.ts";
import { reuseFreedMemory } from "./system/malloc.ts";
import { confine } from "./system/seccomp.ts";
import { openTracing } from "./system/tracing.ts";
import { setTitle } from "./system/title.ts";
import { LOAD_FAILED, type WorkerConfig } from "./wire/worker_config.ts";
import type { HandlerModule } from "./worker/handler.ts";
import { checkModule } from "./worker/handler_module.ts";
import type { WorkerLane } from "./worker/lane.ts";
import { JobSpans } from "./worker/job_spans.ts";
import { RecordLane } from "./worker/record_lane.ts";
import { echo, Service } from "./worker/service.ts";
import { placeOf, showMessage } from "./worker/show.ts";
import { ZmqLane } from "./worker/zmq_lane.ts";

export {
  type Answer,
  type Handler,
  type HandlerContext,
  type HandlerLog,
  type HandlerModule,
  type HandlerParts,
  type HandlerResult,
  json,
  type LogLineFields,
  procedure,
  type QuestionOptions,
  RequestError,
  rpc,
  type RpcCall,
  type RpcCalls,
  type RpcHandler,
  type RpcInput,
  type RpcIssue,
  type StandardSchema,
  type StandardSchemaIssue,
  type StandardSchemaResult,
  text,
  withContext,
} from "./worker/handler.ts";

/**
 * Runs a worker process to its end.
 *
 * @param load imports the handler module, which gets what the server calls it; without it, or where it returns nothing,
 * requests are echoed.
 */
export async function main(
  load?: (handler: string | undefined) => Promise<unknown> | undefined,
): Promise<void> {
  ignoreSignals(SERVER_SIGNALS);
  const config = await readConfig();
  ignoreSignals(config.signals);
  // As it is before the handler can replace it.
  const revoke = Deno.permissions.revokeSync.bind(Deno.permissions);
  const service = await prepare(config);
  exitWithParent();
  try {
    for (const name of config.giveUp) if (name !== "read") revoke({ name });
    const loading = load?.(config.handler);
    const module = await loading;
    for (const name of config.giveUp) revoke({ name });
    // The handler's own links, which were needed to load it.
    for (const path of config.links) revoke({ name: "read", path });
    const handler = loading === undefined ? { default: echo } : checkModule(module, config);
    if (config.purpose === "check") Deno.exit(0);
    if (handler.init !== undefined) service?.reportLoaded(config.token);
    await handler.init?.();
    if (service === undefined) await runDequeue(handler);
    else await serve(service, handler, config);
  } catch (error) {
    const name = config.handler ?? "echo";
    const message = `Cannot load the handler "${name}": ${loadError(error)}`;
    if (service === undefined) console.error(message);
    else service.reportFailure(config.token, message);
    Deno.exit(LOAD_FAILED);
  }
  Deno.exit(0);
}

/** What is wrong with a handler, and where: Deno itself names the place only of what it can't parse. */
function loadError(error: unknown): string {
  const [message, place] = [showMessage(error), placeOf(error)];
  return place === "" || message.includes(place) ? message : `${message} (${place})`;
}

/** Does all that needs FFI, then gives FFI up; returns a service if the worker is to serve. */
async function prepare(config: WorkerConfig): Promise<Service | undefined> {
  try {
    const mode = Deno.build.os === "linux" ? "kernel" : "thread";
    await dieWithParent(config.library, config.parent, mode);
    // The debugger can be open only if SIGUSR1 came while this worker was starting.
    if (shutDebugger(config.library) === "open") throw new Error("Deno's debugger is open");
    setTitle(config.library, config.title);
    reuseFreedMemory(config.library);
    const lane = config.purpose === "serve" ? openLane(config) : undefined;
    // These bind libzmq's threads too: its lane has started them.
    if (!config.mayWriteFiles) forbidFileWrites(config.library);
    if (config.callGrants !== undefined) confine(config.library, config.callGrants);
    lane?.prepare();
    if (!config.keepFfi) giveUpFfi(config.library);
    const service = lane && new Service(lane, config, openSpans(config));
    if (service !== undefined) logUncaught(service);
    return service;
  } catch (error) {
    console.error(`Cannot start a worker: ${showMessage(error)}`);
    Deno.exit(1);
  }
}

/** What makes the spans of jobs; undefined: nothing is traced. */
function openSpans({ service }: WorkerConfig): JobSpans | undefined {
  const tracing = openTracing();
  return tracing && new JobSpans(tracing, service);
}

/** Connects to the broker. */
function openLane(config: WorkerConfig): WorkerLane {
  return config.lane === "records" ? new RecordLane(config) : new ZmqLane(config);
}

/** Logs what the handler does not catch; so it ends neither the worker nor its other jobs. */
function logUncaught(service: Service): void {
  const log = (event: Event, error: unknown) => {
    event.preventDefault();
    service.log("error", `Uncaught in the handler: ${showMessage(error)}`, error);
  };
  addEventListener("unhandledrejection", (event) => log(event, event.reason));
  addEventListener("error", (event) => log(event, event.error));
}

/** Serves until the broker or a signal ends that. */
async function serve(
  service: Service,
  handler: HandlerModule,
  config: WorkerConfig,
): Promise<void> {
  Deno.addSignalListener("SIGTERM", () => service.retire());
  Deno.addSignalListener("SIGQUIT", () => service.retire());
  Deno.addSignalListener("SIGINT", () => service.interrupt());
  await service.run(handler, config);
}

/** Runs the handler's `dequeue()` once. */
async function runDequeue(handler: HandlerModule): Promise<void> {
  try {
    await handler.dequeue?.();
    await handler.finish?.();
  } catch (error) {
    console.error(`The handler's dequeue() failed: ${showMessage(error)}`);
    Deno.exit(1);
  }
}

/** The orders of the server: the first line of stdin. */
async function readConfig(): Promise<WorkerConfig> {
  const chunk = new Uint8Array(4096);
  const decoder = new TextDecoder();
  let line = "";
  while (!line.endsWith("\n")) {
    const size = await Deno.stdin.read(chunk);
    if (size === null) throw new Error("Cannot start a worker by hand: only the server can");
    line += decoder.decode(chunk.subarray(0, size), { stream: true });
  }
  return JSON.parse(line);
}

/** From here on no code in this process can open a library or make a pointer. */
function giveUpFfi(library: string): void {
  Deno.permissions.revokeSync({ name: "ffi", path: library });
  Deno.permissions.revokeSync({ name: "ffi" });
}

/** Signals that mean something to the server; sent to the whole cgroup, they come to workers too. */
const SERVER_SIGNALS = ["SIGHUP", "SIGUSR2", "SIGTTIN", "SIGTTOU", "SIGALRM"] as const;

/** Makes signals harmless for a worker whose handler does not listen for them. */
function ignoreSignals(signals: readonly Deno.Signal[]): void {
  for (const signal of signals) Deno.addSignalListener(signal, () => {});
}

/** Exits when stdin ends: the server holds the other end, and is gone then. */
async function exitWithParent(): Promise<void> {
  const chunk = new Uint8Array(64);
  while (await Deno.stdin.read(chunk).catch(() => null) !== null);
  Deno.exit(1);
}
