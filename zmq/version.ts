/**
 * Which version of libzmq was opened.
 *
 * @module
 */

import type { Library } from "./library.ts";

/** Its version, such as "4.3.5". */
export function libraryVersion({ symbols }: Pick<Library, "symbols">): string {
  const parts = [new Int32Array(1), new Int32Array(1), new Int32Array(1)] as const;
  symbols.zmq_version(...parts);
  return parts.map(([part]) => part).join(".");
}
