/**
 * Whether file descriptors are left. libzmq ends the process when it gets none for what it needs inside,
 * so it is asked before; and a server that has none left should say so.
 *
 * @module
 */

import type { Library } from "./library.ts";

/** sys/socket.h, alike on all systems that libzmq is opened on. */
const AF_UNIX = 1;
const SOCK_STREAM = 1;

/**
 * Whether this process can open `count` more files. It opens as many sockets and closes them again, which
 * takes no permission but that for libzmq, and some microseconds.
 */
export function canOpen({ symbols }: Library, count: number): boolean {
  const opened: number[] = [];
  for (let number = 0; number < count; number++) {
    const fd = symbols.socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0) break;
    opened.push(fd);
  }
  for (const fd of opened) symbols.close(fd);
  return opened.length === count;
}
