/**
 * What goes together among the options for pools on other machines, and what does not. Not here: what each is
 * (settings.ts).
 *
 * @module
 */
import { isServiceName, SERVICE_NAME_CHARACTERS, whySetAside } from "../wire/service_name.ts";
import { complaint } from "./errors.ts";
import type { Settings } from "./settings.ts";

/** Options that are the joined server's: a pool has no clients of its own, and the server says how it uses workers. */
const OF_THE_SERVER: readonly string[] = [
  "frontend",
  "mdp",
  "jobs",
  "mdpWorkers",
  "events",
  "backend",
  "curveSecretKey",
  "curveClients",
  "users",
  "allow",
  "deny",
  "joinEndpoint",
  "joinClients",
  "joinSecretKey",
  "concurrency",
  "maxMessageSize",
  "maxFrames",
  "accessLog",
  "store",
  "schedules",
];

/** Options that say how a server on another machine is joined. */
const WITH_JOIN = ["joinKey", "joinServerKey", "joinService"] as const;

/**
 * Checks the options for pools on other machines.
 *
 * @param given the names of all options that were given.
 * @throws {TypeError} when one lacks another that it needs, or excludes it.
 * @throws {RangeError} when the name of a service can't be one.
 */
export function checkJoin(settings: Settings, given: ReadonlyMap<string, unknown>): void {
  if (settings.join === undefined) {
    for (const name of WITH_JOIN) need(settings, name, "join", "the endpoint of the server");
  } else checkJoiner(settings, given);
  checkJoined(settings);
}

function checkJoiner(settings: Settings, given: ReadonlyMap<string, unknown>): void {
  need(settings, "join", "joinKey", "the file with this machine's secret key");
  need(settings, "join", "joinServerKey", "the server's public key");
  for (const name of OF_THE_SERVER) {
    if (given.get(name) === undefined) continue;
    throw new TypeError(
      `Cannot start: "${name}" and "join" exclude each other: it is set at the server that is joined`,
    );
  }
  const { joinService } = settings;
  if (joinService === undefined) return;
  if (!isServiceName(joinService)) {
    const fault = complaint('"joinService"', SERVICE_NAME_CHARACTERS, joinService);
    throw new RangeError(`Cannot start: ${fault}`);
  }
  const reason = whySetAside(joinService);
  if (reason !== undefined) {
    throw new RangeError(`Cannot start: "joinService" is set aside: ${reason}`);
  }
}

function checkJoined(settings: Settings): void {
  need(settings, "joinEndpoint", "joinClients", "a file that lists the machines that may join");
  need(settings, "joinClients", "joinEndpoint", "where they join");
  need(settings, "joinSecretKey", "joinEndpoint", "where it is used");
  if (settings.curveSecretKey !== undefined) return;
  need(settings, "joinEndpoint", "joinSecretKey", "the file with its secret key");
}

function need(settings: Settings, name: Name, other: Name, what: string): void {
  if (settings[name] === undefined || settings[other] !== undefined) return;
  throw new TypeError(`Cannot start: "${name}" needs "${other}", ${what}`);
}

type Name = "join" | "joinClients" | "joinEndpoint" | "joinSecretKey" | typeof WITH_JOIN[number];
