/**
 * The address of a unix socket, as the system's calls take it.
 *
 * @module
 */

import { Bytes } from "../zmq/library.ts";
import { Family } from "./numbers.ts";

const darwin = Deno.build.os === "darwin";
/** Bytes before the path. */
const PATH_AT = 2;

/**
 * struct sockaddr_un: the family, u16, on macOS u8 behind a u8 length; the path and NUL. A path that starts with `@`
 * is a name in Linux's abstract namespace: NUL stands in front of it and none behind.
 */
export function unixAddress(path: string): Uint8Array<ArrayBuffer> {
  const isAbstract = path.startsWith("@") && !darwin;
  const text = new TextEncoder().encode(isAbstract ? `\0${path.slice(1)}` : `${path}\0`);
  const address = new Bytes(PATH_AT + text.length);
  if (darwin) address.set([address.length, Family.UNIX]);
  else address[0] = Family.UNIX;
  address.set(text, PATH_AT);
  return address;
}
