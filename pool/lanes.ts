/**
 * How a server and its workers speak: which lane it is, and what workers open for it.
 *
 * @module
 */

import type { Settings } from "../options/settings.ts";
import { findLibc } from "../system/libc.ts";
import type { WorkerConfig } from "../wire/worker_config.ts";

/** What workers speak: records where they are on this machine for certain, and ZeroMQ elsewhere or where it is asked for. */
export function laneOf(
  { backend, transport, join }: Pick<Settings, "backend" | "transport" | "join">,
): WorkerConfig["lane"] {
  if (join !== undefined) return "zmq";
  if (backend === undefined) return "records";
  return backend.startsWith("ipc:") && transport === "native" ? "records" : "zmq";
}

/** The file that workers open through FFI; `library`: that of libzmq. */
export function libraryOf(lane: WorkerConfig["lane"], library: string): string {
  // What is linked to the C library gives its functions, too.
  return lane === "records" ? findLibc(library) ?? library : library;
}
