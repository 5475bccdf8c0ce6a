/**
 * Makes a CURVE key pair: `deno task keygen FILE` writes the secret key to FILE, which only its owner
 * may read, and `NAME KEY`, which is a line of a client list, to FILE.pub. NAME is FILE's own.
 *
 * @module
 */

import { commandName } from "./program.ts";
import { makeKeyPair } from "../zmq/curve.ts";
import { locateLibrary } from "../zmq/locate.ts";
import { isName, NAME_RULE } from "../auth/client_list.ts";
import { messageOf } from "../system/errors.ts";
import { readVariable } from "../system/variables.ts";

const USAGE = `Usage: ${commandName(import.meta.url, "deno task keygen", "keygen")} FILE

Makes a CURVE key pair: writes the secret key to FILE, and a line with FILE's
name and the public key to FILE.pub, and prints that line. It can be added to a
server's list of clients. Neither file may exist.
`;

/**
 * Makes a pair and writes it to two new files.
 *
 * @returns what is in FILE.pub.
 * @throws {RangeError} when the file's name can't be a client's.
 * @throws {Error} when one of the files exists or can't be written.
 */
export function writeKeyPair(path: string): string {
  const name = path.slice(path.lastIndexOf("/") + 1);
  if (!isName(name)) {
    throw new RangeError(
      `Cannot make keys: the file's name must have ${NAME_RULE}: current value is "${name}"`,
    );
  }
  const { publicKey, secretKey } = makeKeyPair(locateLibrary(readVariable("ZMQ_LIBRARY")));
  const line = `${name} ${publicKey}\n`;
  writeNew(path, `${secretKey}\n`, 0o600);
  try {
    writeNew(`${path}.pub`, line, 0o644);
  } catch (error) {
    // Half a pair is of no use, and would be in the way the next time.
    Deno.removeSync(path);
    throw error;
  }
  return line;
}

/** Never writes to a file that exists: it may be a key that is in use. */
function writeNew(path: string, text: string, mode: number): void {
  try {
    Deno.writeTextFileSync(path, text, { createNew: true, mode });
  } catch (error) {
    const reason = error instanceof Deno.errors.AlreadyExists
      ? "it exists already"
      : messageOf(error);
    throw new Error(`Cannot write the key file "${path}": ${reason}`, { cause: error });
  }
}

function main(args: readonly string[]): number {
  const [path = "", ...more] = args;
  if (path === "-h" || path === "--help") {
    console.log(USAGE);
    return 0;
  }
  if (path === "" || path.startsWith("-") || more.length > 0) {
    console.error(USAGE);
    return 2;
  }
  try {
    console.log(writeKeyPair(path).trimEnd());
    return 0;
  } catch (error) {
    console.error(`keygen: ${messageOf(error)}`);
    return error instanceof RangeError ? 2 : 1;
  }
}

if (import.meta.main) Deno.exit(main(Deno.args));
