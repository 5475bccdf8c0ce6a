/**
 * The services of a server as whoever has started it sees them: each with its endpoints, its figures, and what can
 * be done to it alone.
 *
 * @module
 */

import type { ServiceOptions } from "../options/settings.ts";
import type { ServiceHost } from "../pool/service_host.ts";
import type { Look } from "../ports/messages.ts";
import type { RunningService } from "./server.ts";
import { type Reports, type ServiceStats, serviceStats, type WorkerStats } from "./stats.ts";

/** What a view asks of the server. */
export interface Viewed {
  frontendOf(service: string): readonly string[];
  /** How things are now. */
  look(): Look;
  /** Workers of a service on other machines. */
  joined(service: string, look: Look): WorkerStats[];
  resize(bounds: { min?: number; max?: number }, service: string): void;
  reload(service: string, options?: Partial<ServiceOptions>): Promise<void>;
}

/** The services that have names, by these. */
export function viewServices(
  hosts: Iterable<ServiceHost>,
  server: Viewed,
): Readonly<Record<string, RunningService>> {
  const views = [...hosts].filter(({ name }) => name !== "").map((host) => {
    const { name } = host;
    const view: RunningService = {
      frontend: server.frontendOf(name),
      stats: () => {
        const look = server.look();
        return statsOfService(host, look, server.joined(name, look));
      },
      resize: (bounds) => server.resize(bounds, name),
      reload: (options) => server.reload(name, options),
    };
    return [name, Object.freeze(view)] as const;
  });
  return Object.freeze(Object.fromEntries(views));
}

/** A look at one service, with its workers on other machines. */
export function statsOfService(
  host: ServiceHost,
  look: Look,
  joined: readonly WorkerStats[],
): ServiceStats {
  const report = withJoined(host.report(look), joined);
  return serviceStats(report, look.services.get(host.name) ?? look);
}

/** Adds workers on other machines to what this one reports. */
export function withJoined(report: Reports, joined: readonly WorkerStats[]): Reports {
  return { ...report, processes: [...report.processes, ...joined] };
}
