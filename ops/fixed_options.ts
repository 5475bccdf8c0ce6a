/**
 * Options that a reload leaves as they are: those of the sockets, the process and the log, and which services
 * there are.
 *
 * @module
 */

import { hostedServices, settingsOf } from "../options/hosted.ts";
import type { Settings } from "../options/settings.ts";

/** Options of the whole server; a service has the same values. */
const OF_SERVER = [
  "mdp",
  "jobs",
  "events",
  "mdpHeartbeat",
  "mdpExpiry",
  "backend",
  "curveSecretKey",
  "joinEndpoint",
  "joinSecretKey",
  "join",
  "joinKey",
  "joinServerKey",
  "joinService",
  "transport",
  "connectionBytes",
  "handshakeTimeout",
  "heartbeatInterval",
  "keepAlive",
  "maxConnectionRate",
  "maxMessageSize",
  "maxFrames",
  "pidFile",
  "user",
  "group",
  "background",
  "control",
  "http",
  "httpToken",
  "logFile",
  "logFormat",
  "logLevel",
  "accessLog",
  "store",
  "natsCredentials",
  "natsNkey",
  "natsCa",
  "natsCert",
  "natsKey",
  "natsPrefix",
  "natsAckWait",
] as const;

/** Gets a remark for each change that has no effect. */
type Warn = (remark: string) => void;

/** The settings to go on with after a reload. */
export function keepFixed(before: Settings, next: Settings, warn: Warn): Settings {
  const kept = { ...next, handleSignals: before.handleSignals };
  keep(OF_SERVER, before, kept, (name) => `a changed "${name}"`, warn);
  keep(ofEach(before), before, kept, (name) => `a changed "${name}"`, warn);
  // The key stays in use, so its list of clients must too.
  if (kept.curveSecretKey !== undefined) kept.curveClients ??= before.curveClients;
  if (kept.joinEndpoint !== undefined) kept.joinClients ??= before.joinClients;
  tellOfServices(before, next, warn);
  const hosted = new Map(hostedServices(before));
  if (!hosted.has("")) kept.handler = undefined;
  else if (!hostedServices(next).some(([name]) => name === "")) kept.handler = before.handler;
  keepSchedules(kept, new Set(hosted.keys()), warn);
  const services = Object.entries(before.services).map(([name, own]) =>
    [name, keepService(name, own, settingsOf(next, name) ?? own, kept, warn)] as const
  );
  return { ...kept, services: Object.fromEntries(services) };
}

/** Takes away the schedules of services that a restart alone adds. */
function keepSchedules(kept: Settings, hosted: ReadonlySet<string>, warn: Warn): void {
  const all = Object.entries(kept.schedules);
  for (const [name, { service }] of all) {
    if (!hosted.has(service)) warn(`the schedule "${name}" is added after a restart only`);
  }
  kept.schedules = Object.fromEntries(all.filter(([, { service }]) => hosted.has(service)));
}

/** The settings of a service; `around` are those of the server. */
function keepService(
  name: string,
  before: Settings,
  next: Settings,
  around: Settings,
  warn: Warn,
): Settings {
  const kept = { ...next };
  keep(ofEach(before), before, kept, (option) => `a changed "services.${name}.${option}"`, warn);
  keep(OF_SERVER, around, kept, () => "", () => {});
  return kept;
}

/** Options that each service has. Without keys nobody has a name, so no user can be told from another. */
function ofEach({ curveSecretKey }: Settings): (keyof Settings)[] {
  return curveSecretKey === undefined ? ["frontend", "users"] : ["frontend"];
}

/** Puts the values of before in place of those that a restart alone applies. */
function keep(
  names: readonly (keyof Settings)[],
  before: Settings,
  kept: Settings,
  what: (name: string) => string,
  warn: Warn,
): void {
  for (const name of names) {
    if (JSON.stringify(kept[name]) !== JSON.stringify(before[name])) {
      warn(`${what(name)} is applied after a restart only`);
    }
    Object.assign(kept, { [name]: before[name] });
  }
}

/** Says which services are new, and which are not there any more. */
function tellOfServices(before: Settings, next: Settings, warn: Warn): void {
  const [old, now] = [before, next].map((settings) =>
    hostedServices(settings).map(([name]) => name)
  );
  const added = now?.filter((name) => !old?.includes(name)) ?? [];
  const removed = old?.filter((name) => !now?.includes(name)) ?? [];
  for (const name of added) warn(`${called(name)} is added after a restart only`);
  for (const name of removed) warn(`${called(name)} is removed after a restart only`);
}

function called(service: string): string {
  return service === "" ? "the service without a name" : `the service "${service}"`;
}
