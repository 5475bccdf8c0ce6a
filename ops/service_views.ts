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
import { type ServiceStats, serviceStats } from "./stats.ts";

/** What a view asks of the server. */
export interface Viewed {
  frontendOf(service: string): readonly string[];
  /** How things are now. */
  look(): Look;
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
      stats: () => statsOfService(host, server.look()),
      resize: (bounds) => server.resize(bounds, name),
      reload: (options) => server.reload(name, options),
    };
    return [name, Object.freeze(view)] as const;
  });
  return Object.freeze(Object.fromEntries(views));
}

/** A look at one service. */
export function statsOfService(host: ServiceHost, look: Look): ServiceStats {
  return serviceStats(host.report(look), look.services.get(host.name) ?? look);
}
