/**
 * The keys that a client's options name.
 *
 * @module
 */

import { canBePublic } from "../auth/curve25519.ts";
import { readPublicKey, readSecretKey } from "../auth/keys.ts";
import { type KeyPair, makeKeyPair, publicKeyOf } from "../zmq/curve.ts";
import type { Library } from "../zmq/library.ts";
import type { CurveOptions } from "./options.ts";

/** Keys that were read. */
export interface Keys {
  /** The client's own. */
  own: KeyPair;
  /** The server's public key. */
  server: string;
}

/**
 * Reads the keys that options name.
 *
 * @throws {Error} when a file can't be used, or a key is not of the kind that it must be.
 */
export function readKeys({ serverKey, keyFile }: CurveOptions, library: Library): Keys {
  const server = readPublicKey(serverKey);
  if (!canBePublic(server)) {
    throw new Error(
      `Cannot use "serverKey": it is not a public key: it may be the secret one, or damaged`,
    );
  }
  if (keyFile === undefined) return { own: makeKeyPair(library), server };
  const secretKey = readSecretKey(keyFile);
  const own = { secretKey, publicKey: publicKeyOf(library, secretKey) };
  refuseMixUp(own, server, keyFile);
  return { own, server };
}

/** Refuses keys that were taken for each other, as far as that shows. */
function refuseMixUp(own: KeyPair, server: string, keyFile: string): void {
  const fault = own.secretKey === server
    ? "it has the server's public key: name the file of the client's own secret key"
    : own.publicKey === server
    ? "it has the server's secret key: the client needs a key of its own"
    : undefined;
  if (fault === undefined) return;
  throw new Error(`Cannot use the client's key file "${keyFile}": ${fault}`);
}
