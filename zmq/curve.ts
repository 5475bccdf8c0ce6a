/**
 * CURVE and ZAP: key pairs, and the socket options that ask for keys and prove them. Knows neither files nor
 * who may connect. Keys are Z85 text, 40 characters.
 *
 * @module
 */

import { cString, lastError, type Library, Option } from "./library.ts";
import type { Socket } from "./socket.ts";

/** A secret key and the public one that belongs to it. */
export interface KeyPair {
  /** May be told to anybody. */
  publicKey: string;
  /** Is told to nobody. */
  secretKey: string;
}

/** How a socket decides who may connect: it asks the ZAP handler of its context. */
export interface ZapSettings {
  /** What the ZAP handler calls the socket. */
  domain: string;
  /** The server's secret key, where clients must prove that they have keys too. */
  secretKey?: string;
}

/** A connection whose handshake takes longer is cut, ms: also one that was denied and stays. */
export const HANDSHAKE_TIMEOUT = 10_000;
/** Bytes of a key as a C string. */
const KEY_BYTES = 41;

/**
 * Makes a key pair.
 *
 * @throws {ZmqError} when this libzmq was built without CURVE.
 */
export function makeKeyPair(library: Library): KeyPair {
  const publicKey = new Uint8Array(KEY_BYTES);
  const secretKey = new Uint8Array(KEY_BYTES);
  if (library.symbols.zmq_curve_keypair(publicKey, secretKey) !== 0) {
    throw lastError(library, "make a CURVE key pair");
  }
  return { publicKey: keyText(publicKey), secretKey: keyText(secretKey) };
}

/**
 * The public key that belongs to a secret one.
 *
 * @throws {ZmqError} when it is not a key, or this libzmq was built without CURVE.
 */
export function publicKeyOf(library: Library, secretKey: string): string {
  const publicKey = new Uint8Array(KEY_BYTES);
  if (library.symbols.zmq_curve_public(publicKey, cString(secretKey)) !== 0) {
    throw lastError(library, "use the secret key");
  }
  return keyText(publicKey);
}

/**
 * Makes a socket ask the ZAP handler before it lets anybody connect to what is bound after this. While
 * the context has no handler, nobody can connect.
 */
export function useZap(socket: Socket, { domain, secretKey }: ZapSettings): void {
  socket.setBytes(Option.ZAP_DOMAIN, new TextEncoder().encode(domain));
  // Without this libzmq lets every peer in while there is no handler.
  socket.set(Option.ZAP_ENFORCE_DOMAIN, 1);
  socket.set(Option.HANDSHAKE_IVL, HANDSHAKE_TIMEOUT);
  if (secretKey === undefined) return;
  socket.set(Option.CURVE_SERVER, 1);
  socket.setBytes(Option.CURVE_SECRETKEY, cString(secretKey));
}

/** Makes a socket prove its key, and connect only to the server of `serverKey`. */
export function prove(socket: Socket, pair: KeyPair, serverKey: string): void {
  socket.setBytes(Option.CURVE_SERVERKEY, cString(serverKey));
  socket.setBytes(Option.CURVE_PUBLICKEY, cString(pair.publicKey));
  socket.setBytes(Option.CURVE_SECRETKEY, cString(pair.secretKey));
}

/** A key that C has written, its NUL left off. */
function keyText(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes.subarray(0, KEY_BYTES - 1));
}
