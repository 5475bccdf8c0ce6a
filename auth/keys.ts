/**
 * Key files. A secret key's file has one line, the key. A public key's has one line too, the key or a
 * name and the key, which is also a line of a client list (client_list.ts).
 *
 * @module
 */

import { isKey } from "./z85.ts";
import { messageOf } from "../system/errors.ts";

/** More than any key file has. */
const MAX_BYTES = 4096;
/** Permission bits of everybody but the owner. */
const OTHERS = 0o077;

/**
 * Reads a secret key from its file.
 *
 * @throws {Error} when it can't be read, others than its owner may use it, or it holds no key. The
 * message never has the key.
 */
export function readSecretKey(path: string): string {
  const { text, mode } = readKeyFile(path);
  if (isLabelled(text)) {
    throw new Error(
      `Cannot use the secret key file "${path}": it has a name and a key, which is the file of a ` +
        `public key: name the file of the secret one`,
    );
  }
  if (mode !== null && (mode & OTHERS) !== 0) {
    throw new Error(
      `Cannot use the secret key file "${path}": only its owner may read or write it: ` +
        `its mode is 0${(mode & 0o777).toString(8)}, run chmod 600 "${path}"`,
    );
  }
  if (isKey(text)) return text;
  throw new Error(
    `Cannot use the secret key file "${path}": it must be one line of 40 characters`,
  );
}

/**
 * A public key: what the file of the name `source` holds; if there is none, `source` itself. In this
 * order, because a path can look like a key, while no key names a file by chance.
 *
 * @throws {Error} when it can't be read, holds no key, or holds the secret key of a pair.
 */
export function readPublicKey(source: string): string {
  if (isKey(source) && !exists(source)) return source;
  const { text } = readKeyFile(source);
  refuseSecret(source, text);
  const key = isKey(text) ? text : text.split(/\s+/)[1] ?? "";
  if (isKey(key) && !text.includes("\n")) return key;
  throw new Error(
    `Cannot use the public key file "${source}": it must be one line, a key of 40 characters or ` +
      `a name and the key`,
  );
}

/** Whether a text is a name and a key, as `keygen` writes public keys only. */
function isLabelled(text: string): boolean {
  const [, key = "", ...more] = text.split(/\s+/);
  return isKey(key) && more.length === 0;
}

/** `keygen` writes a secret key alone, and the public one of the same pair to a file next to it. */
function refuseSecret(path: string, text: string): void {
  const neighbour = `${path}.pub`;
  if (!isKey(text) || !exists(neighbour)) return;
  const { text: line } = readKeyFile(neighbour);
  if (!isLabelled(line) || line.endsWith(text)) return;
  throw new Error(
    `Cannot use the public key file "${path}": it has the secret key of a pair: name "${neighbour}"`,
  );
}

/** Asks the opened file for its mode: under its name there may soon be another. */
function readKeyFile(path: string): { text: string; mode: number | null } {
  try {
    using file = Deno.openSync(path);
    const bytes = new Uint8Array(MAX_BYTES);
    const size = file.readSync(bytes) ?? 0;
    const text = new TextDecoder().decode(bytes.subarray(0, size)).trim();
    return { text, mode: file.statSync().mode };
  } catch (error) {
    if (isKey(path)) {
      throw new Error("Cannot read a key file: this is a key, not a path: name the file instead");
    }
    const reason = messageOf(error);
    throw new Error(`Cannot read the key file "${path}": ${reason}`, { cause: error });
  }
}

/** Whether a file can be seen; without the permission to look, none is. */
function exists(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}
