/**
 * Stream sockets that connect, tcp and unix, and what is done with them. Nothing here waits: names of hosts are looked
 * up on another thread. What an endpoint means is as with libzmq.
 *
 * @module
 */

import { Bytes, cString, Errno, wayOut } from "../zmq/library.ts";
import {
  type Connector,
  errnoOf,
  openStream,
  setOption,
  SystemError,
  systemError,
  type Transfer,
} from "./libc.ts";
import {
  Family,
  Level,
  NO_WAIT,
  POLL_ITEM_BYTES,
  PollEvent,
  SocketOption,
  TcpOption,
} from "./numbers.ts";
import { familyOf, inetAddress, setPort, sizeOf, unixAddress } from "./socket_address.ts";

type Frame = Uint8Array<ArrayBuffer>;

const darwin = Deno.build.os === "darwin";

const NAMES = {
  getaddrinfo: {
    parameters: ["buffer", "usize", "buffer", "buffer"],
    result: "i32",
    nonblocking: true,
  },
  freeaddrinfo: { parameters: ["usize"], result: "void" },
} as const;
const BIND = {
  bind: { parameters: ["i32", "buffer", "u32"], result: "i32" },
} as const;

/** struct addrinfo: i32 flags, family at 4, type at 8, protocol at 12, u32 length at 16, then pointers. */
const HINT_BYTES = 48;
const FOUND_ADDRESS_AT = darwin ? 32 : 24;
/** netdb.h: an IPv4 address may stand for an IPv6 one. */
const AI_V4MAPPED = darwin ? 0x800 : 8;
const STREAM = 1;
/** What libzmq takes for `host:port`, and the address to connect from ahead of it. */
const ADDRESS = /^(?:([^;/]+);)?([\da-z[:][\da-z.:%[\]_-]*):(\d+)$/i;
const IPV4 = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/;

/** The C library, as far as it connects. */
export interface DialerLibc {
  readonly connector: Connector;
  readonly transfer: Transfer;
}

/** Where an endpoint leads. */
export interface Destination {
  /** AF_UNIX, AF_INET or AF_INET6. */
  readonly family: number;
  /** The struct sockaddr; undefined: it is to be looked up, anew for each connection. */
  readonly address: Frame | undefined;
  readonly host: string;
  readonly port: number;
  /** `host:port` to connect from; "": any. */
  readonly source: string;
}

/** Connects, and moves bytes. A failure is "not now", unless it is said otherwise. */
export class Dialer {
  readonly #libc: DialerLibc;
  readonly #item = new DataView(new ArrayBuffer(POLL_ITEM_BYTES));
  readonly #itemBytes = new Bytes(this.#item.buffer);
  #names: Deno.DynamicLibrary<typeof NAMES>["symbols"] | undefined;

  /** Opens nothing. */
  constructor(libc: DialerLibc) {
    this.#libc = libc;
  }

  /**
   * Reads an endpoint to connect to: `tcp://host:port`, also `tcp://source:port;host:port`, or `ipc://path`.
   *
   * @throws {SystemError} when nobody could connect to it.
   */
  destinationOf(endpoint: string): Destination {
    const [, path] = /^ipc:\/\/(.*)$/s.exec(endpoint) ?? [];
    if (path !== undefined) return this.#destinationOfPath(endpoint, path);
    const [, source = "", text = "", portText] = ADDRESS.exec(endpoint.replace(/^tcp:\/\//, "")) ??
      [];
    if (text === "") throw this.#failure(endpoint, Errno.EINVAL);
    const host = text.replace(/^\[(.*)\]$/, "$1");
    const family = endpoint.includes("[") ? Family.INET6 : Family.INET;
    const port = Number(portText) & 0xffff;
    const address = family === Family.INET ? readIpv4(host) : undefined;
    if (address !== undefined) setPort(address, port);
    return { family, address, host, port, source };
  }

  #destinationOfPath(endpoint: string, path: string): Destination {
    const address = unixAddress(path);
    if (address === undefined) throw this.#failure(endpoint, Errno.ENAMETOOLONG);
    return { family: Family.UNIX, address, host: "", port: 0, source: "" };
  }

  #failure(endpoint: string, errno: number): SystemError {
    const failure = systemError(this.#libc.connector, `connect to "${endpoint}"`, errno);
    failure.message += wayOut(endpoint, errno);
    return failure;
  }

  /** Looks a host up on another thread; undefined: there is none of that name now. */
  async find({ host, family, port }: Destination): Promise<Frame | undefined> {
    this.#names ??= Deno.dlopen(this.#libc.connector.path, NAMES).symbols;
    const hint = new Int32Array(HINT_BYTES / 4);
    hint.set([family === Family.INET6 ? AI_V4MAPPED : 0, family, STREAM]);
    const found = new BigUint64Array(1);
    const [name, hints, result] = [cString(host), new Bytes(hint.buffer), new Bytes(found.buffer)];
    const failed = await this.#names.getaddrinfo(name, 0n, hints, result);
    // The buffers were C's until now.
    if (failed !== 0 || name.length + hints.length === 0) return undefined;
    return this.#takeAddress(found[0] ?? 0n, port);
  }

  #takeAddress(at: bigint, port: number): Frame | undefined {
    if (at === 0n) return undefined;
    const info = new DataView(this.#copy(at, HINT_BYTES).buffer);
    const addressAt = info.getBigUint64(FOUND_ADDRESS_AT, true);
    const size = sizeOf(this.#copy(addressAt, 2));
    const address = size === 0 ? undefined : this.#copy(addressAt, size);
    this.#names?.freeaddrinfo(at);
    if (address !== undefined) setPort(address, port);
    return address;
  }

  #copy(at: bigint, size: number): Frame {
    const bytes = new Bytes(size);
    this.#libc.transfer.symbols.copyOut(bytes, at, size);
    return bytes;
  }

  /**
   * Opens a socket that never waits and that programs do not inherit.
   *
   * @throws {SystemError} when the system has no file descriptor left, or the address to connect from is not its own.
   */
  open({ family, source }: Destination): number {
    const { connector } = this.#libc;
    const fd = openStream(connector, family);
    setOption(connector, fd, Level.SOCKET, SocketOption.NOSIGPIPE, 1);
    if (family === Family.UNIX) return fd;
    setOption(connector, fd, Level.TCP, TcpOption.NODELAY, 1);
    try {
      if (source !== "") this.#bind(fd, source);
      return fd;
    } catch (error) {
      this.close(fd);
      throw error;
    }
  }

  /** Connects from an address that is written as numbers. */
  #bind(fd: number, source: string): void {
    const at = source.lastIndexOf(":");
    const address = at < 0 ? readIpv4(source) : readIpv4(source.slice(0, at));
    if (address === undefined) throw this.#failure(source, Errno.EINVAL);
    if (at >= 0) setPort(address, Number(source.slice(at + 1)) & 0xffff);
    const { connector } = this.#libc;
    setOption(connector, fd, Level.SOCKET, SocketOption.REUSEADDR, 1);
    const { bind } = Deno.dlopen(connector.path, BIND).symbols;
    if (bind(fd, address, address.length) !== 0) {
      throw systemError(connector, `connect from "${source}"`, errnoOf(connector));
    }
  }

  /** Begins to connect; `outcome` says what comes of it. */
  connect(fd: number, address: Frame): "connected" | "pending" | "failed" {
    const { symbols } = this.#libc.connector;
    if (symbols.connect(fd, address, address.length) === 0) return "connected";
    // A unix socket is connected at once or not at all.
    return familyOf(address) === Family.UNIX ? "failed" : this.outcome(fd);
  }

  /** What has come of `connect`: the errno of that call may be the runtime's, so the socket is asked. */
  outcome(fd: number): "connected" | "pending" | "failed" {
    const events = this.poll(fd, PollEvent.OUT);
    if (events === 0) return "pending";
    return (events & (PollEvent.ERR | PollEvent.HUP)) === 0 ? "connected" : "failed";
  }

  /** Which of these `PollEvent`s a descriptor has, and those that are reported unasked. */
  poll(fd: number, events: number): number {
    this.#item.setInt32(0, fd, true);
    this.#item.setInt32(4, events, true); // and no revents
    const { poll } = this.#libc.transfer.symbols;
    return poll(this.#itemBytes, 1, 0) > 0 ? this.#item.getInt16(6, true) : 0;
  }

  /** Receives up to `count` bytes to `at`; returns how many, 0: the peer has hung up, < 0: none now. */
  receive(fd: number, bytes: Frame, at: number, count: number): number {
    const room = at === 0 ? bytes : bytes.subarray(at);
    const { recv } = this.#libc.transfer.symbols;
    return recv(fd, room, Math.min(count, room.length), NO_WAIT);
  }

  /** Sends `count` bytes, from the `from`th on; returns how many the system has taken, < 1: none now. */
  send(fd: number, bytes: Frame, from: number, count: number): number {
    const part = from === 0 ? bytes : bytes.subarray(from);
    const { send } = this.#libc.transfer.symbols;
    return send(fd, part, Math.min(count, part.length), NO_WAIT);
  }

  /** Closes a descriptor. */
  close(fd: number): void {
    this.#libc.transfer.symbols.close(fd);
  }
}

/** The struct sockaddr of an IPv4 address that is written as one; undefined: it is not. */
function readIpv4(text: string): Frame | undefined {
  const bytes = IPV4.exec(text)?.slice(1).map(Number);
  return bytes === undefined || bytes.some((byte) => byte > 255)
    ? undefined
    : inetAddress(Uint8Array.from(bytes));
}
