/**
 * How many connections clients may have, where the options don't say it themselves: that depends on who
 * can reach the endpoints, and with which keys.
 *
 * @module
 */

import { isOpenToNetwork, isTcp } from "../wire/endpoint.ts";
import type { Settings } from "./settings.ts";

/** The part of the settings that says who may connect, and where. */
type Access = Pick<
  Settings,
  "frontend" | "curveSecretKey" | "curveClients" | "maxConnections" | "maxConnectionsPerAddress"
>;

/** Connections of clients on plain tcp where nobody says how many there may be. */
const PLAIN_CONNECTIONS = 1024;

/**
 * How many connections clients may have; 0: any number. A hostile peer with very many can end the
 * process over tcp, so the default is a number where strangers get in.
 */
export function connectionLimit(settings: Access): number {
  if (settings.maxConnections !== undefined) return settings.maxConnections;
  return settings.frontend.some(isTcp) && letsStrangersIn(settings) ? PLAIN_CONNECTIONS : 0;
}

/** How many of them may come from one address; 0: any number. Not for those whose keys are known. */
export function addressLimit(settings: Access): number {
  const { frontend, maxConnectionsPerAddress } = settings;
  return letsStrangersIn(settings) && frontend.some(isOpenToNetwork) ? maxConnectionsPerAddress : 0;
}

/** Anybody can make a key. */
function letsStrangersIn({ curveSecretKey, curveClients }: Access): boolean {
  return curveSecretKey === undefined || curveClients === "any";
}
