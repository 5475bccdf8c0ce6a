/**
 * The list of clients that may connect: a line for each, `NAME KEY`, the key its public one. Empty lines
 * and those that start with # count as nothing.
 *
 * ```text
 * # the billing department
 * alice   Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID
 * bob     rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7
 * ```
 *
 * @module
 */

import { isKey } from "./z85.ts";
import { requireText } from "../system/files.ts";

/** Names of clients by their public keys. */
export type ClientList = ReadonlyMap<string, string>;

/** What a name must be. It is told to handlers, and a JOB header has 255 bytes for it. */
export const NAME_RULE = "1 to 64 letters, digits, or any of . _ @ + -";

/** Whether a text can be a client's name. */
export function isName(text: string): boolean {
  return /^[\p{L}\p{N}._@+-]{1,64}$/u.test(text) && new TextEncoder().encode(text).length <= 255;
}

/**
 * Reads the file of a client list.
 *
 * @throws {Error} when it can't be read or a line of it is wrong; the message names the line.
 */
export function readClientList(path: string): ClientList {
  return parseClientList(requireText(path, `the client list "${path}"`), path);
}

/**
 * Reads a client list.
 *
 * @param path what errors call it.
 * @throws {Error} when a line is wrong, or repeats a name or a key.
 */
export function parseClientList(text: string, path: string): ClientList {
  const names = new Map<string, string>();
  const lines = new Map<string, number>();
  text.split("\n").forEach((line, index) => {
    const words = line.trim();
    if (words === "" || words.startsWith("#")) return;
    const [name, key] = readLine(words, `${path}:${index + 1}`);
    for (const each of [`name ${name}`, `key ${key}`]) {
      const before = lines.get(each);
      if (before !== undefined) {
        throw fault(`${path}:${index + 1}`, `the ${each} is in line ${before} already`);
      }
      lines.set(each, index + 1);
    }
    names.set(key, name);
  });
  return names;
}

function readLine(line: string, place: string): [name: string, key: string] {
  const [name = "", key = "", ...rest] = line.split(/\s+/);
  if (rest.length > 0 || key === "") throw fault(place, "it must be a name and a key");
  if (!isName(name)) throw fault(place, `a name must have ${NAME_RULE}: this one is "${name}"`);
  if (!isKey(key)) throw fault(place, "a key must be 40 characters of Z85 text");
  return [name, key];
}

function fault(place: string, rule: string): Error {
  return new Error(`Cannot use the client list, ${place}: ${rule}`);
}
