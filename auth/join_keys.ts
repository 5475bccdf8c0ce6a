/**
 * The keys of pools on other machines, as operators have set them: those of a server that lets such pools in, and those
 * of a process that joins one. Not here: deciding about a peer (join_access.ts).
 *
 * @module
 */

import type { Settings } from "../options/settings.ts";
import { type KeyPair, makeKeyPair, publicKeyOf } from "../zmq/curve.ts";
import type { Library } from "../zmq/library.ts";
import { type ClientList, readClientList } from "./client_list.ts";
import { readPublicKey, readSecretKey } from "./keys.ts";

/** Where pools on other machines join, and which may. */
export interface Joinable {
  readonly endpoint: string;
  readonly secretKey: string;
  /** The public key that they must know. */
  readonly publicKey: string;
  /** Names of machines, by their public keys. */
  readonly names: ClientList;
}

/** Keys for a worker on another machine. */
export function makeJoinedKeys(library: Library): KeyPair {
  return makeKeyPair(library);
}

/**
 * Reads key and list of a server; undefined: no other machine can join.
 *
 * @throws {Error} when a file can't be read or is wrong.
 */
export function openJoinable(
  { joinEndpoint: endpoint, joinClients, joinSecretKey, curveSecretKey }: Settings,
  library: Library,
): Joinable | undefined {
  const file = joinSecretKey ?? curveSecretKey;
  if (endpoint === undefined || joinClients === undefined || file === undefined) return undefined;
  const secretKey = readSecretKey(file);
  const publicKey = publicKeyOf(library, secretKey);
  return { endpoint, secretKey, publicKey, names: readClientList(joinClients) };
}

/** What a process proves itself by that joins a server. */
export interface JoinKeys {
  readonly serverKey: string;
  readonly keys: KeyPair;
}

/**
 * Reads the keys of a process that joins; undefined: it joins no server.
 *
 * @throws {Error} when a file can't be read or is wrong.
 */
export function openJoinKeys(
  { joinKey: file, joinServerKey: server }: Pick<Settings, "joinKey" | "joinServerKey">,
  library: Library,
): JoinKeys | undefined {
  if (file === undefined || server === undefined) return undefined;
  const secretKey = readSecretKey(file);
  const serverKey = readPublicKey(server);
  return { serverKey, keys: { secretKey, publicKey: publicKeyOf(library, secretKey) } };
}
