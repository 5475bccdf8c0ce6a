/**
 * Where a peer is, as addresses and endpoints say it.
 *
 * @module
 */

/** Whether an IP address is this machine's own loopback. */
export function isLoopback(address: string): boolean {
  return /^(127\.|::1$|::ffff:127\.)/.test(address);
}

/** Whether an endpoint, as it was bound, listens at every interface. */
export function isWildcard(endpoint: string): boolean {
  return /^tcp:\/\/(\*|0\.0\.0\.0|\[::\]):/.test(endpoint);
}
