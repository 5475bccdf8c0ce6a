/**
 * Sockets that listen already, because another process has bound them and passed them on.
 *
 * @module
 */

import { Option } from "../zmq/library.ts";
import type { Socket } from "../zmq/socket.ts";

/** A socket that listens already. It never waits, and programs do not inherit it. */
export interface PassedSocket {
  readonly fd: number;
  /** Where it is bound. */
  readonly endpoint: string;
}

/** Such sockets, by the endpoints that they are for, as the options have them. */
export type PassedSockets = ReadonlyMap<string, PassedSocket>;

/**
 * Binds a socket of libzmq, or has it listen with one that was passed on; returns the endpoint really bound.
 *
 * @throws {ZmqError} when it can't be bound.
 */
export function bindOrAdopt(socket: Socket, endpoint: string, passed?: PassedSockets): string {
  const given = passed?.get(endpoint);
  if (given === undefined) return socket.bind(endpoint);
  socket.set(Option.USE_FD, given.fd);
  socket.bind(given.endpoint);
  socket.set(Option.USE_FD, -1);
  return given.endpoint;
}
