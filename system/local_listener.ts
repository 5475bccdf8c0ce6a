/**
 * The broker's end of unix stream sockets for workers of its own machine: listens, accepts, and says which process
 * is at the other end of a connection.
 *
 * @module
 */

import { Bytes, cString, harden } from "../zmq/library.ts";
import { errnoOf, type Libc, openStream, setFlags, systemError } from "./libc.ts";
import { Family, Level, NO_WAIT, SocketKind, SocketOption } from "./numbers.ts";
import { unixAddress } from "./unix_address.ts";

type Frame = Uint8Array<ArrayBuffer>;

/** Connections that wait to be accepted; the system has its own limit. */
const BACKLOG = 1024;
/** struct ucred: pid, uid, gid. */
const CREDENTIALS_BYTES = 12;
/** macOS: sys/un.h. */
const SOL_LOCAL = 0;
const LOCAL_PEERPID = 2;

/** A listening socket. */
export class LocalListener {
  readonly #libc: Libc;
  readonly fd: number;
  #isOpen = true;

  /**
   * Listens at a path. A file that lies there is removed: the caller has made sure that it may be.
   *
   * @throws {SystemError} when it can't.
   */
  constructor(libc: Libc, path: string) {
    this.#libc = libc;
    const { bind, listen, unlink, close } = libc.symbols;
    const address = unixAddress(path);
    this.fd = openStream(libc, Family.UNIX);
    if (!path.startsWith("@")) unlink(cString(path));
    if (bind(this.fd, address, address.length) === 0 && listen(this.fd, BACKLOG) === 0) return;
    const error = systemError(libc, `bind to "ipc://${path}"`, errnoOf(libc));
    close(this.fd);
    throw error;
  }

  /** Accepts a connection; undefined: none waits, or the system has no file descriptor left for it. */
  accept(): LocalPeer | undefined {
    const { accept, accept4 } = this.#libc.symbols;
    const flags = SocketKind.NONBLOCK | SocketKind.CLOEXEC;
    const fd = accept4 ? accept4(this.fd, null, null, flags) : accept(this.fd, null, null);
    if (fd < 0) return undefined;
    if (!accept4) setFlags(this.#libc, fd);
    return new LocalPeer(this.#libc, fd);
  }

  /** Closes it; connections stay. */
  close(): void {
    if (this.#isOpen) this.#libc.symbols.close(this.fd);
    this.#isOpen = false;
  }
}

/** A connection, from the broker's side. */
export class LocalPeer {
  readonly #libc: Libc;
  readonly fd: number;
  #isOpen = true;

  /** For `LocalListener` only. */
  constructor(libc: Libc, fd: number) {
    this.#libc = libc;
    this.fd = fd;
  }

  /** The process at the other end, as the system knows it; undefined: it does not say. */
  get pid(): number | undefined {
    const isLinux = SocketOption.PEERCRED >= 0;
    const answer = new Bytes(CREDENTIALS_BYTES);
    const size = new Bytes(new Uint32Array([isLinux ? CREDENTIALS_BYTES : 4]).buffer);
    const { getsockopt } = this.#libc.symbols;
    const result = isLinux
      ? getsockopt(this.fd, Level.SOCKET, SocketOption.PEERCRED, answer, size)
      : getsockopt(this.fd, SOL_LOCAL, LOCAL_PEERPID, answer, size);
    return result === 0 ? new DataView(answer.buffer).getInt32(0, true) : undefined;
  }

  /** Receives into `bytes`, from the `from`th on; returns how many came, 0: the end, < 0: none now. */
  receive(bytes: Frame, from: number): number {
    const part = from === 0 ? bytes : bytes.subarray(from);
    return this.#libc.symbols.recv(this.fd, part, part.length, NO_WAIT);
  }

  /** Sends `count` bytes from the `from`th on; returns how many were taken, < 0: none now. */
  send(bytes: Frame, from: number, count: number): number {
    const part = from === 0 ? bytes : bytes.subarray(from);
    return this.#libc.symbols.send(this.fd, part, Math.min(count, part.length), NO_WAIT);
  }

  /** Closes it. */
  close(): void {
    if (this.#isOpen) this.#libc.symbols.close(this.fd);
    this.#isOpen = false;
  }
}

harden(LocalListener, LocalPeer);
