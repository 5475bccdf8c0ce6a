/**
 * Which services a server has, and what each goes by. Not here: what may be said of a service (services.ts).
 *
 * @module
 */
import type { Settings } from "./settings.ts";

/** The services that a server has, each with its settings; "" is the one without a name. */
export function hostedServices(settings: Settings): [name: string, settings: Settings][] {
  const named = Object.entries(settings.services);
  const isPlain = settings.handler !== undefined || named.length === 0;
  return isPlain ? [["", settings], ...named] : named;
}

/** The settings of a service; "": those of the server, which are also those of the service without a name. */
export function settingsOf(settings: Settings, service: string): Settings | undefined {
  if (service === "") return settings;
  return Object.hasOwn(settings.services, service) ? settings.services[service] : undefined;
}

/** Where clients connect, all services together, that of stored jobs included. */
export function allEndpoints(settings: Settings): string[] {
  const of = [settings, ...Object.values(settings.services)].flatMap(({ frontend }) => frontend);
  return [...of, ...settings.jobs];
}

/** Whether a value is a service's handler alone. */
export function isHandlerAlone(value: unknown): value is string | URL {
  return typeof value === "string" || value instanceof URL;
}
