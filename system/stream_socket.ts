/**
 * Listening stream sockets, tcp and unix, and the connections that they take. Nothing here waits. What an endpoint
 * means, which one is really bound and why another can't be is as with libzmq.
 *
 * @module
 */

import { Bytes, cString, Errno, wayOut } from "../zmq/library.ts";
import { Interfaces } from "./interfaces.ts";
import { IpcPaths } from "./ipc_path.ts";
import {
  DOUBTS,
  errnoOf,
  type Libc,
  openStream,
  setFlags,
  setOption,
  SystemError,
  systemError,
  textAt,
} from "./libc.ts";
import { Family, Ipv6Option, Level, SocketKind, SocketOption, TcpOption } from "./numbers.ts";
import {
  ADDRESS_BYTES,
  familyOf,
  ipText,
  readAddress,
  setPort,
  type SocketAddress,
  unixAddress,
  unmapped,
} from "./socket_address.ts";

/** How a socket listens. */
export interface ListenOptions {
  /** Whether hosts are IPv6 addresses; IPv4 ones are then mapped. */
  ipv6: boolean;
  /** Maximum connections that wait to be accepted; by default 1024. */
  backlog?: number;
  /** How hosts are found that are gone; by default not at all. */
  probes?: Probes;
}

/** When a silent peer's host is asked whether it is there: tcp's keepalive. */
export interface Probes {
  /** Time of silence before the first one, s. */
  idle: number;
  /** Time between two, s. */
  interval: number;
  /** So many may go unanswered. */
  count: number;
}

/** A connection that was accepted. It never waits, and programs do not inherit it. */
export interface Accepted {
  readonly fd: number;
  /** The peer's IP address as text, as libzmq writes it; "" for a unix socket. */
  readonly address: string;
  /** The same as 4 or 16 bytes, an IPv4 address always as 4; undefined for a unix socket. */
  readonly ip: Uint8Array<ArrayBuffer> | undefined;
}

/** Connections that wait to be accepted. */
const BACKLOG = 1024;

/**
 * Listens at an endpoint: `tcp://host:port`, where the host is `*`, an address, an interface or a name and the port
 * may be 0 or `*`, or `ipc://path`, where the path may begin with `@`, or be `*` for a free one. Whatever lies at a
 * path is removed before.
 *
 * @throws {SystemError} when it can't be bound.
 */
export function listenAt(libc: Libc, endpoint: string, options: ListenOptions): Listener {
  try {
    return endpoint.startsWith("ipc://")
      ? listenAtPath(libc, endpoint.slice("ipc://".length), options)
      : listenAtHost(libc, endpoint.replace(/^tcp:\/\//, ""), options);
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    const { errno } = error;
    const failure = systemError(libc, `bind to "${endpoint}"`, errno);
    failure.message += wayOut(endpoint, errno);
    throw failure;
  }
}

/**
 * Listens with a socket that another process has bound, and that listens already. It stays open there: whoever comes
 * after this one was closed waits for the next who listens.
 *
 * @param fd Never waits, and programs do not inherit it.
 * @param endpoint Where it is bound.
 */
export function adoptListener(
  libc: Libc,
  fd: number,
  endpoint: string,
  probes: Probes | undefined,
): Listener {
  if (endpoint.startsWith("tcp://")) tune(libc, fd, probes);
  return new Listener(libc, fd, endpoint, probes, () => {});
}

function listenAtHost(libc: Libc, text: string, options: ListenOptions): Listener {
  const address = hostAddress(libc, text, options.ipv6);
  const { fd, bound } = openFor(libc, address, options.ipv6, text);
  try {
    setOption(libc, fd, Level.SOCKET, SocketOption.REUSEADDR, 1);
    // Some systems have IPv6 sockets take no IPv4 connections.
    if (familyOf(bound) === Family.INET6) setOption(libc, fd, Level.IPV6, Ipv6Option.V6ONLY, 0);
    tune(libc, fd, options.probes);
    bindAndListen(libc, fd, bound, options.backlog ?? BACKLOG);
    return new Listener(libc, fd, `tcp://${nameOf(libc, fd)}`, options.probes, () => {});
  } catch (error) {
    libc.symbols.close(fd);
    throw error;
  }
}

/** A socket for an address, or, where the system knows no IPv6, one for the IPv4 address of the same host. */
function openFor(libc: Libc, address: Uint8Array<ArrayBuffer>, ipv6: boolean, text: string) {
  try {
    return { fd: openStream(libc, familyOf(address)), bound: address };
  } catch (error) {
    if (!(error instanceof SystemError && error.errno === Errno.EAFNOSUPPORT && ipv6)) throw error;
    const bound = hostAddress(libc, text, false);
    return { fd: openStream(libc, familyOf(bound)), bound };
  }
}

/**
 * The struct sockaddr of `host:port`.
 *
 * @throws {SystemError} when there is no such host, or its port makes no sense.
 */
export function hostAddress(libc: Libc, text: string, ipv6: boolean): Uint8Array<ArrayBuffer> {
  const at = text.lastIndexOf(":");
  const [host, portText] = [text.slice(0, at), text.slice(at + 1)];
  const isAny = portText === "*" || portText === "0";
  const port = isAny ? 0 : Number.parseInt(portText, 10) & 0xffff;
  if (at < 0 || Number.isNaN(port) || (port === 0 && !isAny)) {
    throw systemError(libc, "find an address", Errno.EINVAL);
  }
  const address = new Interfaces(libc).find(host.replace(/^\[(.*)\]$/, "$1"), ipv6);
  setPort(address, port);
  return address;
}

function listenAtPath(libc: Libc, path: string, options: ListenOptions): Listener {
  if (path.startsWith("*")) return listenInNewFolder(libc, options);
  const address = unixAddress(path);
  if (address === undefined) throw systemError(libc, "bind", Errno.ENAMETOOLONG);
  if (path === "@") throw systemError(libc, "bind", Errno.EINVAL);
  if (!path.startsWith("@")) files(libc).unlink(cString(path));
  const fd = openStream(libc, Family.UNIX);
  try {
    bindAndListen(libc, fd, address, options.backlog ?? BACKLOG);
    return new Listener(libc, fd, `ipc://${path}`, undefined, () => {});
  } catch (error) {
    libc.symbols.close(fd);
    throw error;
  }
}

/** Listens at a path in a folder of its own, which goes with the socket. */
function listenInNewFolder(libc: Libc, options: ListenOptions): Listener {
  const { mkdtemp, unlink, rmdir } = files(libc);
  const template = cString(`${temporaryFolder(libc)}tmpXXXXXX`);
  if (BigInt(mkdtemp(template)) === 0n) throw systemError(libc, "bind", errnoOf(libc));
  const folder = new TextDecoder().decode(template.subarray(0, -1));
  const path = `${folder}/socket`;
  const remove = () => {
    unlink(cString(path));
    rmdir(cString(folder));
  };
  try {
    const { fd, endpoint } = listenAtPath(libc, path, options);
    return new Listener(libc, fd, endpoint, undefined, remove);
  } catch (error) {
    remove();
    throw error;
  }
}

/** Where libzmq makes temporary folders: the current folder, if the environment names no other. */
function temporaryFolder(libc: Libc): string {
  const { getenv } = files(libc);
  const paths = new IpcPaths(libc);
  for (const name of ["TMPDIR", "TEMPDIR", "TMP"]) {
    const folder = textAt(libc, BigInt(getenv(cString(name))));
    if (folder === undefined || paths.look(folder)?.type !== "folder") continue;
    return folder.endsWith("/") ? folder : `${folder}/`;
  }
  return "";
}

const FILES = {
  unlink: { parameters: ["buffer"], result: "i32" },
  rmdir: { parameters: ["buffer"], result: "i32" },
  mkdtemp: { parameters: ["buffer"], result: "usize" },
  getenv: { parameters: ["buffer"], result: "usize" },
} as const;

function files({ path }: Libc): Deno.DynamicLibrary<typeof FILES>["symbols"] {
  return Deno.dlopen(path, FILES).symbols;
}

function bindAndListen(
  libc: Libc,
  fd: number,
  address: Uint8Array<ArrayBuffer>,
  backlog: number,
): void {
  const { bind, listen } = libc.symbols;
  insist(libc, () => bind(fd, address, address.length));
  insist(libc, () => listen(fd, backlog));
}

/** What such a call never fails with, but the runtime's own calls do. */
const SENSELESS: ReadonlySet<number> = new Set([0, Errno.EAGAIN, Errno.EINTR, Errno.ETIMEDOUT]);

/** Makes a call that is to return 0. */
function insist(libc: Libc, call: () => number): void {
  for (let attempt = 0; call() !== 0; attempt++) {
    const errno = errnoOf(libc);
    if (attempt < DOUBTS && SENSELESS.has(errno)) continue;
    throw systemError(libc, "bind", errno);
  }
}

/** Where a socket of our own is bound; undefined: it is no socket of a family that is known here. */
export function localAddress({ symbols }: Libc, fd: number): SocketAddress | undefined {
  const address = new Bytes(ADDRESS_BYTES);
  const size = new Uint32Array([ADDRESS_BYTES]);
  if (symbols.getsockname(fd, address, new Bytes(size.buffer)) !== 0) return undefined;
  return readAddress(address, size[0] ?? 0);
}

/** `host:port` of a socket of our own. */
function nameOf(libc: Libc, fd: number): string {
  const name = localAddress(libc, fd);
  if (name === undefined || name.family === "unix") return "";
  const { ip, port, scope } = name;
  const zone = scope === 0 ? "" : `%${new Interfaces(libc).scopeName(scope)}`;
  const host = ipText(ip) + zone;
  return `${ip.length === 4 ? host : `[${host}]`}:${port}`;
}

/** What each connection has. Where the system can, they take it over from the socket that accepts them. */
function tune(libc: Libc, fd: number, probes: Probes | undefined): void {
  setOption(libc, fd, Level.TCP, TcpOption.NODELAY, 1);
  if (probes === undefined) return;
  const { idle, interval, count } = probes;
  setOption(libc, fd, Level.SOCKET, SocketOption.KEEPALIVE, 1);
  setOption(libc, fd, Level.TCP, TcpOption.KEEPIDLE, idle);
  setOption(libc, fd, Level.TCP, TcpOption.KEEPINTVL, interval);
  setOption(libc, fd, Level.TCP, TcpOption.KEEPCNT, count);
  // The system does not probe while what it has sent is not acknowledged.
  setOption(libc, fd, Level.TCP, TcpOption.USER_TIMEOUT, (idle + interval * count) * 1000);
}

/** accept(2) fails with what a connection has died of, and with what the system lacks. */
const LACKS: ReadonlySet<number> = new Set([
  Errno.EMFILE,
  Errno.ENFILE,
  Errno.ENOBUFS,
  Errno.ENOMEM,
]);

/** A socket that listens. */
export class Listener {
  /** Readable when somebody wants to connect. */
  readonly fd: number;
  /** The endpoint really bound. */
  readonly endpoint: string;
  readonly #libc: Libc;
  readonly #probes: Probes | undefined;
  readonly #remove: () => void;
  readonly #address = new Bytes(ADDRESS_BYTES);
  readonly #size = new Uint32Array(1);
  readonly #sizeBytes = new Bytes(this.#size.buffer);
  #interfaces: Interfaces | undefined;
  #isOpen = true;

  /** For `listenAt` only. */
  constructor(
    libc: Libc,
    fd: number,
    endpoint: string,
    probes: Probes | undefined,
    remove: () => void,
  ) {
    this.#libc = libc;
    this.fd = fd;
    this.endpoint = endpoint;
    this.#probes = probes;
    this.#remove = remove;
  }

  /**
   * Takes a connection. "none": nobody waits. "exhausted": the system has no file descriptor or no memory for one;
   * whoever waits keeps `fd` readable, so it is not to be asked for a while.
   */
  accept(): Accepted | "none" | "exhausted" {
    for (let attempt = 0; attempt < DOUBTS; attempt++) {
      const fd = this.#take();
      if (fd >= 0) return this.#describe(fd);
      const errno = errnoOf(this.#libc);
      if (errno === Errno.EAGAIN) return "none";
      if (LACKS.has(errno)) return "exhausted";
    }
    // It fails, and why makes no sense: asking at once again would make a loop of it.
    return "exhausted";
  }

  /** Closes it. What was accepted stays open, and the file of an ipc endpoint stays where it is. */
  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#libc.symbols.close(this.fd);
    this.#remove();
  }

  #take(): number {
    const { accept, accept4 } = this.#libc.symbols;
    this.#size[0] = ADDRESS_BYTES;
    if (accept4 !== null) {
      const flags = SocketKind.NONBLOCK | SocketKind.CLOEXEC;
      return accept4(this.fd, this.#address, this.#sizeBytes, flags);
    }
    const fd = accept(this.fd, this.#address, this.#sizeBytes);
    if (fd < 0) return fd;
    setFlags(this.#libc, fd);
    setOption(this.#libc, fd, Level.SOCKET, SocketOption.NOSIGPIPE, 1);
    if (familyOf(this.#address) !== Family.UNIX) tune(this.#libc, fd, this.#probes);
    return fd;
  }

  #describe(fd: number): Accepted {
    const name = readAddress(this.#address, this.#size[0] ?? 0);
    if (name === undefined || name.family === "unix") return { fd, address: "", ip: undefined };
    const { ip, scope } = name;
    return { fd, address: ipText(ip) + this.#zone(scope), ip: unmapped(ip) };
  }

  #zone(scope: number): string {
    if (scope === 0) return "";
    this.#interfaces ??= new Interfaces(this.#libc);
    return `%${this.#interfaces.scopeName(scope)}`;
  }
}

/** Who is at the other end of a unix socket, as the system knows it. */
export interface PeerProcess {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

/** The process that has connected, or that listened when it was connected to; undefined: it can't be told. */
export function peerProcess(libc: Libc, fd: number): PeerProcess | undefined {
  return SocketOption.PEERCRED < 0 ? peerOnDarwin(libc, fd) : peerOnLinux(libc, fd);
}

/** struct ucred: u32 process, user, group. */
function peerOnLinux(libc: Libc, fd: number): PeerProcess | undefined {
  const words = readOption(libc, fd, Level.SOCKET, SocketOption.PEERCRED, 3);
  const [pid = 0, uid = 0, gid = 0] = words ?? [];
  return words === undefined || pid === 0 ? undefined : { pid, uid, gid };
}

/** struct xucred, sys/ucred.h: u32 version, u32 user, i16 count of groups, and these from 12 on, u32 each. */
function peerOnDarwin(libc: Libc, fd: number): PeerProcess | undefined {
  const { LOCAL, PEERCRED, PEERPID } = { LOCAL: 0, PEERCRED: 1, PEERPID: 2 }; // sys/un.h
  const [, uid, , gid] = readOption(libc, fd, LOCAL, PEERCRED, 19) ?? [];
  const [pid] = readOption(libc, fd, LOCAL, PEERPID, 1) ?? [];
  return pid === undefined || uid === undefined || gid === undefined
    ? undefined
    : { pid, uid, gid };
}

/** An option of so many u32. */
function readOption(
  { symbols }: Libc,
  fd: number,
  level: number,
  option: number,
  words: number,
): Uint32Array | undefined {
  const value = new Uint32Array(words);
  const size = new Bytes(new Uint32Array([4 * words]).buffer);
  const result = symbols.getsockopt(fd, level, option, new Bytes(value.buffer), size);
  return result === 0 ? value : undefined;
}
