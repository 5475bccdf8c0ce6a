/**
 * Who may connect, as the operator has set it: reads the keys and the list of clients, and makes the keys of
 * workers. Not here: deciding about a peer (access_control.ts).
 *
 * @module
 */

import type { WorkerKeys } from "../wire/worker_config.ts";
import { makeKeyPair, publicKeyOf } from "../zmq/curve.ts";
import type { Library } from "../zmq/library.ts";
import { type AccessRules, readRules, type RuleOptions } from "./access_control.ts";
import { readSecretKey } from "./keys.ts";

/** The options that access is made of. */
export interface AccessSettings extends RuleOptions {
  /** The endpoint for workers; undefined: one that only this machine's own users reach. */
  backend?: string;
}

/** Keys and rules, read. */
export interface Access {
  readonly rules: AccessRules;
  /** The key of the socket for clients; undefined: none is used. */
  readonly secretKey: string | undefined;
  /** The key of the socket for workers, made for this run of the server; undefined: none is used. */
  readonly backendKey: string | undefined;
  /** The public key that clients must know; undefined where none is used. */
  readonly serverKey: string | undefined;
  /** Keys for a worker that is about to be started; undefined where it needs none. */
  makeWorkerKeys(): WorkerKeys | undefined;
}

/** Whether some who reach the sockets may not connect. */
export function hasRules(settings: AccessSettings): boolean {
  const { curveSecretKey, allow, deny, maxConnections, maxConnectionsPerAddress } = settings;
  return curveSecretKey !== undefined || allow.length + deny.length > 0 ||
    maxConnections + maxConnectionsPerAddress > 0;
}

/**
 * Reads keys and rules; undefined if there are none.
 *
 * @throws {Error} when a file can't be read or is wrong.
 */
export function openAccess(settings: AccessSettings, library: Library): Access | undefined {
  if (!hasRules(settings)) return undefined;
  const { curveSecretKey: file, backend } = settings;
  const secretKey = file === undefined ? undefined : readSecretKey(file);
  const isRemote = secretKey !== undefined && backend?.startsWith("tcp://");
  const own = isRemote ? makeKeyPair(library) : undefined;
  return {
    rules: readRules(settings),
    secretKey,
    backendKey: own?.secretKey,
    serverKey: secretKey && publicKeyOf(library, secretKey),
    makeWorkerKeys: () => own && { serverKey: own.publicKey, ...makeKeyPair(library) },
  };
}
