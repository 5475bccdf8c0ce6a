/**
 * Listening sockets that a service manager has opened for this process and passed on, as sd_listen_fds(3) has it. Not
 * here: which endpoint of the server one is for by its options.
 *
 * @module
 */

import { Bytes } from "../zmq/library.ts";
import { type Libc, openLibc, setFlags } from "./libc.ts";
import { Level } from "./numbers.ts";
import { ipText, readAddress, type SocketAddress, unmapped } from "./socket_address.ts";
import { hostAddress, localAddress } from "./stream_socket.ts";

/** What the environment says of such sockets. */
export interface PassedVariables {
  /** LISTEN_FDS: how many there are. */
  readonly count: string | undefined;
  /** LISTEN_PID: the process that they are for. */
  readonly pid: string | undefined;
}

/** A listening socket that was passed on. It never waits, and programs do not inherit it. */
export interface PassedListener {
  readonly fd: number;
  /** Where it listens, as an endpoint. */
  readonly endpoint: string;
  /** Whether an endpoint, as a user wrote it, is where it listens. */
  isAt(endpoint: string): boolean;
}

/** The first one is this descriptor: SD_LISTEN_FDS_START. */
const FIRST = 3;
/** No more are believed. */
const MOST = 1024;
/** Options of `Level.SOCKET`, asm-generic/socket.h. */
const TYPE = 3;
const ACCEPTCONN = 30;
const STREAM = 1;

/**
 * Takes the sockets that were passed to the process `own`. None where the variables are not set, or are for another
 * process.
 *
 * @param library A library that is linked to the C library.
 * @throws {Error} when one is not a stream socket that listens, or the variables make no sense.
 */
export function takePassedListeners(
  library: string,
  { count, pid }: PassedVariables,
  own: number,
): PassedListener[] {
  if (count === undefined || Number(pid) !== own) return [];
  const size = Number(count);
  if (!Number.isInteger(size) || size < 0 || size > MOST) {
    throw new Error(`LISTEN_FDS must be a number up to ${MOST}: current one is "${count}"`);
  }
  if (size === 0) return [];
  const libc = openLibc(library);
  return Array.from({ length: size }, (_, index) => take(libc, FIRST + index));
}

function take(libc: Libc, fd: number): PassedListener {
  const address = localAddress(libc, fd);
  const listens = readInt(libc, fd, ACCEPTCONN) === 1 && readInt(libc, fd, TYPE) === STREAM;
  if (!listens || address === undefined) {
    throw new Error(
      `The descriptor ${fd} that LISTEN_FDS passes must be a listening tcp or unix stream socket`,
    );
  }
  setFlags(libc, fd);
  return { fd, endpoint: endpointOf(address), isAt: (text) => isAt(libc, text, address) };
}

function readInt({ symbols }: Libc, fd: number, option: number): number | undefined {
  const value = new Int32Array(1);
  const size = new Bytes(new Uint32Array([4]).buffer);
  const result = symbols.getsockopt(fd, Level.SOCKET, option, new Bytes(value.buffer), size);
  return result === 0 ? value[0] : undefined;
}

function endpointOf(address: SocketAddress): string {
  if (address.family === "unix") return `ipc://${address.path}`;
  const { ip, port } = address;
  return ip.length === 4 ? `tcp://${ipText(ip)}:${port}` : `tcp://[${ipText(ip)}]:${port}`;
}

/** A wildcard as well as a host has an address of each family. */
function isAt(libc: Libc, endpoint: string, address: SocketAddress): boolean {
  if (address.family === "unix") return endpoint === `ipc://${address.path}`;
  if (!endpoint.startsWith("tcp://")) return false;
  return [false, true].some((ipv6) => {
    const found = hostAddressOf(libc, endpoint.slice("tcp://".length), ipv6);
    return found !== undefined && found.family !== "unix" && found.port === address.port &&
      ipText(unmapped(found.ip)) === ipText(unmapped(address.ip));
  });
}

/** Undefined: the host has no address of this family. */
function hostAddressOf(libc: Libc, text: string, ipv6: boolean): SocketAddress | undefined {
  try {
    const address = hostAddress(libc, text, ipv6);
    return readAddress(address, address.length);
  } catch {
    return undefined;
  }
}
