/**
 * How many connections clients may have, unless the options say it: that depends on where the endpoints
 * can be reached from, and on keys.
 *
 * @module
 */

import { isOpenToNetwork, isTcp } from "../wire/endpoint.ts";
import type { Settings } from "./settings.ts";

/** The part of the settings that says who may connect, and where. */
type Access = Pick<
  Settings,
  | "frontend"
  | "mdp"
  | "events"
  | "curveSecretKey"
  | "curveClients"
  | "maxConnections"
  | "maxConnectionsPerAddress"
>;

/** The default of `maxConnections` where strangers can connect over tcp. */
const PLAIN_CONNECTIONS = 1024;

/**
 * How many connections clients may have; 0: any number. A hostile peer with very many can end the
 * process over tcp, so the default is a number where strangers get in.
 */
export function connectionLimit(settings: Access): number {
  if (settings.maxConnections !== undefined) return settings.maxConnections;
  return endpointsOf(settings).some(isTcp) && letsStrangersIn(settings) ? PLAIN_CONNECTIONS : 0;
}

/** How many of them may come from one address; 0: any number. Not for those whose keys are known. */
export function addressLimit(settings: Access): number {
  const isOpen = letsStrangersIn(settings) && endpointsOf(settings).some(isOpenToNetwork);
  return isOpen ? settings.maxConnectionsPerAddress : 0;
}

function endpointsOf({ frontend, mdp, events }: Access): string[] {
  return [...frontend, ...mdp, ...events];
}

/** Whether clients without a listed key may connect: a key of one's own is easily made. */
function letsStrangersIn({ curveSecretKey, curveClients }: Access): boolean {
  return curveSecretKey === undefined || curveClients === "any";
}
