/**
 * What an operator should know of a server that has just started.
 *
 * @module
 */

import { connectionLimit } from "../options/connection_limits.ts";
import { allEndpoints, hostedServices } from "../options/hosted.ts";
import type { Settings } from "../options/settings.ts";
import { isOpenToNetwork } from "../wire/endpoint.ts";
import type { Events } from "./events.ts";
import type { Fields, Log } from "./log.ts";

/** The kernel does not filter what workers call. */
export const UNFILTERED =
  "this kernel can't filter system calls: only Deno's own sandbox confines handlers";

/** The data plane has no thread of its own. */
export const NO_THREAD =
  "the sockets have no thread of their own: they share one with all else that this process does";

/** Somebody has opened the debugger. */
export const DEBUGGER_OPEN =
  "Deno's debugger is open on port 9229: every user of this machine can run code in this process";

/** What became of the options. */
export interface Started {
  /** The endpoints really bound for clients of any service. */
  endpoints: readonly string[];
  /** The public key that clients must know; undefined: none is used. */
  serverKey: string | undefined;
  /** Whether connections of clients can be counted. */
  countsConnections: boolean;
  /** Whether the CPU time of workers can be read. */
  readsCpuTime: boolean;
  /** Whether this process traces, and can't have its workers do so. */
  keepsTracing: boolean;
}

/** Logs what is open to everybody, what clients need, and which options have no effect. */
export function logRemarks(log: Log, settings: Settings, started: Started): void {
  const warn = (message: string, fields?: Fields) => log.warn(message, fields);
  const { curveClients = "any", allow } = settings;
  const isOpen = curveClients === "any" && allow.length === 0;
  for (const endpoint of isOpen ? started.endpoints.filter(isOpenToNetwork) : []) {
    warn("anybody who reaches this endpoint can use it", { endpoint });
  }
  const { serverKey } = started;
  if (serverKey !== undefined) log.info("clients need the server's key", { serverKey });
  if (
    connectionLimit({ ...settings, frontend: allEndpoints(settings) }) > 0 &&
    !started.countsConnections
  ) {
    warn('"maxConnections" has no effect: this libzmq does not report connections');
  }
  const babysits = hostedServices(settings).some(([, own]) => own.babysitInterval > 0);
  if (babysits && !started.readsCpuTime) {
    warn('"babysitInterval" has no effect: it needs Linux and -A');
  }
  if (started.keepsTracing) {
    warn("workers are not traced: run again with --allow-env=OTEL_*");
  }
}

/** Where clients and workers connect. */
export interface Endpoints {
  readonly frontend: readonly string[];
  readonly mdp: readonly string[];
  readonly jobs: readonly string[];
  readonly events: readonly string[];
  readonly backend: string;
  /** Those of one service alone. */
  of(service: string): readonly string[];
}

/** Says where clients connect, and which services they find. */
export function tellEndpoints(
  log: Log,
  events: Pick<Events, "emit">,
  settings: Settings,
  { of, ...endpoints }: Endpoints,
): void {
  const hosted = hostedServices(settings);
  const services = hosted.filter(([name]) => name !== "").map(([service, own]) => ({
    service,
    handler: own.handler ?? "",
    frontend: of(service),
  }));
  const handler = services.length < hosted.length ? settings.handler ?? "echo" : undefined;
  events.emit("listening", { ...endpoints, handler, services });
  for (const { service, handler, frontend } of services) {
    const own = frontend.length === 0 ? undefined : frontend.join(",");
    log.info("serving", { service, handler, frontend: own });
  }
}

/** Says which server a pool works for, and with what. */
export function tellJoining(log: Log, settings: Settings): void {
  for (const [name, { handler = "echo" }] of hostedServices(settings)) {
    const service = (name === "" ? settings.joinService : name) || undefined;
    log.info("joining", { server: settings.join, service, handler });
  }
}
