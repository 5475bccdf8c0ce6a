/**
 * What an operator should know of a server that has just started.
 *
 * @module
 */

import { connectionLimit } from "../options/connection_limits.ts";
import { allEndpoints, hostedServices } from "../options/hosted.ts";
import type { Settings } from "../options/settings.ts";
import type { ServiceHost } from "../pool/service_host.ts";
import { cpuTime } from "../system/proc.ts";
import { isOpenToNetwork } from "../wire/endpoint.ts";
import { type Events, ofService } from "./events.ts";
import type { Log } from "./log.ts";
import type { Server } from "./server.ts";

/** The kernel does not filter what workers call. */
export const UNFILTERED =
  "this kernel can't filter system calls: only Deno's own sandbox confines handlers";

/** The data plane has no thread of its own. */
export const NO_THREAD =
  "the sockets have no thread of their own: they share one with all else that this process does";

/** Somebody has opened the debugger. */
export const DEBUGGER_OPEN =
  "Deno's debugger is open on port 9229: every user of this machine can run code in this process";

/** The server that has started. */
export interface StartedServer
  extends Pick<Server, "frontend" | "mdp" | "jobEndpoints" | "events" | "backend"> {
  readonly log: Log;
  readonly news: Pick<Events, "emit">;
  /** The file of libzmq. */
  readonly library: string;
  /** The endpoints really bound for a service alone. */
  frontendOf(service: string): readonly string[];
}

/** What became of the options. */
export interface Started {
  /** The pools of workers, by the names of their services. */
  readonly pools: Iterable<Pick<ServiceHost, "name" | "bounds">>;
  /** The public key that clients must know; undefined: none is used. */
  readonly serverKey: string | undefined;
  /** Whether connections of clients can be counted. */
  readonly countsConnections: boolean;
  /** Whether this process traces, and can't have its workers do so. */
  readonly keepsTracing: boolean;
}

/** Logs where the server serves, what is open to everybody, what clients need, and which options have no effect. */
export function tellStart(server: StartedServer, settings: Settings, started: Started): void {
  const { log, library } = server;
  if (settings.join === undefined) tellEndpoints(server, settings);
  else tellJoining(log, settings);
  for (const { name, bounds } of started.pools) {
    log.debug("pool", { ...bounds, library, ...ofService(name) });
  }
  tellAccess(server, settings, started);
  tellEffects(log, settings, started);
}

/** Where clients connect, and which services they find. */
function tellEndpoints(server: StartedServer, settings: Settings): void {
  const { log, news, frontend, mdp, jobEndpoints: jobs, events, backend } = server;
  const hosted = hostedServices(settings);
  const services = hosted.filter(([name]) => name !== "").map(([service, own]) => ({
    service,
    handler: own.handler ?? "",
    frontend: server.frontendOf(service),
  }));
  const handler = services.length < hosted.length ? settings.handler ?? "echo" : undefined;
  news.emit("listening", { frontend, mdp, jobs, events, backend, handler, services });
  for (const { service, handler, frontend } of services) {
    const own = frontend.length === 0 ? undefined : frontend.join(",");
    log.info("serving", { service, handler, frontend: own });
  }
}

/** Which server a pool works for, and with what. */
function tellJoining(log: Log, settings: Settings): void {
  for (const [name, { handler = "echo" }] of hostedServices(settings)) {
    const service = (name === "" ? settings.joinService : name) || undefined;
    log.info("joining", { server: settings.join, service, handler });
  }
}

/** Who can connect. */
function tellAccess(
  server: StartedServer,
  settings: Settings,
  { serverKey }: Pick<Started, "serverKey">,
): void {
  const { log, frontend, mdp, events, jobEndpoints } = server;
  const { curveClients = "any", allow } = settings;
  const own = hostedServices(settings).flatMap(([name]) => server.frontendOf(name));
  const isOpen = curveClients === "any" && allow.length === 0;
  const endpoints = isOpen ? [frontend, mdp, events, own, jobEndpoints].flat() : [];
  for (const endpoint of endpoints.filter(isOpenToNetwork)) {
    log.warn("anybody who reaches this endpoint can use it", { endpoint });
  }
  if (serverKey !== undefined) log.info("clients need the server's key", { serverKey });
}

/** Which options have no effect. */
function tellEffects(
  log: Log,
  settings: Settings,
  { countsConnections, keepsTracing }: Pick<Started, "countsConnections" | "keepsTracing">,
): void {
  const limit = connectionLimit({ ...settings, frontend: allEndpoints(settings) });
  if (limit > 0 && !countsConnections) {
    log.warn('"maxConnections" has no effect: this libzmq does not report connections');
  }
  const babysits = hostedServices(settings).some(([, own]) => own.babysitInterval > 0);
  if (babysits && cpuTime(Deno.pid) === undefined) {
    log.warn('"babysitInterval" has no effect: it needs Linux and -A');
  }
  if (keepsTracing) log.warn("workers are not traced: run again with --allow-env=OTEL_*");
}
