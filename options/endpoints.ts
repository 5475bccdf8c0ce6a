/**
 * What endpoints tell of who can reach them, and what follows for those that ask for no keys. Binds
 * nothing.
 *
 * @module
 */

/** The part of the settings that says who may connect, and where. */
interface Doors {
  frontend: readonly string[];
  curveSecretKey?: string;
  curveClients?: string;
  maxConnections?: number;
  maxConnectionsPerAddress: number;
}

/** Connections of clients on plain tcp where nobody says how many there may be. */
const PLAIN_CONNECTIONS = 1024;

/** Whether other machines may reach an endpoint. */
export function isOpenToNetwork(endpoint: string): boolean {
  return endpoint.startsWith("tcp://") &&
    !/^tcp:\/\/(127\.|localhost:|\[::1\]|\[::ffff:127\.)/.test(endpoint);
}

/**
 * How many connections clients may have; 0: any number. A hostile peer with very many can end the
 * process over tcp, so the default is a number where strangers get in.
 */
export function connectionLimit(doors: Doors): number {
  if (doors.maxConnections !== undefined) return doors.maxConnections;
  const isTcp = doors.frontend.some((each) => each.startsWith("tcp://"));
  return isTcp && letsStrangersIn(doors) ? PLAIN_CONNECTIONS : 0;
}

/** How many of them may come from one address; 0: any number. Not for those whose keys are known. */
export function addressLimit(doors: Doors): number {
  const { frontend, maxConnectionsPerAddress } = doors;
  return letsStrangersIn(doors) && frontend.some(isOpenToNetwork) ? maxConnectionsPerAddress : 0;
}

/** Anybody can make a key. */
function letsStrangersIn({ curveSecretKey, curveClients }: Doors): boolean {
  return curveSecretKey === undefined || curveClients === "any";
}
