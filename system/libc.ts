/**
 * The C library's own sockets, files and memory, bound through FFI: out of a library that is linked to it, or by
 * its own path. Nothing here is cached in the module, as in zmq/library.ts, and for the same reason.
 *
 * Memory at an address is read and written by copying: `Deno.UnsafePointerView` takes the right to open any
 * library. Addresses are BigInt: a number makes a call six times as long.
 *
 * @module
 */

import { Bytes, cString, Errno } from "../zmq/library.ts";
import { Control, SocketKind } from "./numbers.ts";

const darwin = Deno.build.os === "darwin";

/** What moves bytes over descriptors that are open already, and waits for them. */
const TRANSFER = {
  recv: { parameters: ["i32", "buffer", "u32", "i32"], result: "i32" },
  send: { parameters: ["i32", "buffer", "u32", "i32"], result: "i32" },
  /** Into memory at an address. */
  recvInto: { name: "recv", parameters: ["i32", "usize", "u32", "i32"], result: "i32" },
  /** From memory at an address. */
  sendFrom: { name: "send", parameters: ["i32", "usize", "u32", "i32"], result: "i32" },
  read: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  write: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  close: { parameters: ["i32"], result: "i32" },
  poll: { parameters: ["buffer", "u32", "i32"], result: "i32" },
  poll_async: {
    name: "poll",
    parameters: ["buffer", "u32", "i32"],
    result: "i32",
    nonblocking: true,
  },
  sched_yield: { parameters: [], result: "i32" },
  /** Out of memory at an address, into a buffer. */
  copyOut: { name: "memcpy", parameters: ["buffer", "usize", "u32"], result: "void" },
  /** Out of a buffer, into memory at an address. */
  copyIn: { name: "memcpy", parameters: ["usize", "buffer", "u32"], result: "void" },
  /** Given the same buffer twice, and 0: its address. */
  addressOf: { name: "memcpy", parameters: ["buffer", "buffer", "u32"], result: "usize" },
} as const;

/** What reaches somebody who listens, and shares memory with him. */
const CONNECTOR = {
  /** Where this thread's errno is: glibc, musl. */
  errno_linux: { name: "__errno_location", parameters: [], result: "usize", optional: true },
  /** The same: macOS. */
  errno_darwin: { name: "__error", parameters: [], result: "usize", optional: true },
  strerror: { parameters: ["i32"], result: "usize" },
  strlen: { parameters: ["usize"], result: "u32" },
  copyOut: TRANSFER.copyOut,
  addressOf: TRANSFER.addressOf,
  socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
  connect: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  close: TRANSFER.close,
  setsockopt: { parameters: ["i32", "i32", "i32", "buffer", "u32"], result: "i32" },
  getsockopt: { parameters: ["i32", "i32", "i32", "buffer", "buffer"], result: "i32" },
  /** With a struct msghdr. */
  recvmsg: { parameters: ["i32", "buffer", "i32"], result: "i32" },
  pipe: { parameters: ["buffer"], result: "i32" },
  /** macOS has none of these two. */
  pipe2: { parameters: ["buffer", "i32"], result: "i32", optional: true },
  eventfd: { parameters: ["u32", "i32"], result: "i32", optional: true },
  /** It takes what follows the first two as variable arguments: see `control`. */
  fcntl: { parameters: ["i32", "i32", "i32"], result: "i32" },
  fcntl_stacked: {
    name: "fcntl",
    parameters: ["i32", "i32", "i64", "i64", "i64", "i64", "i64", "i64", "i64"],
    result: "i32",
  },
  mmap: { parameters: ["usize", "usize", "i32", "i32", "i32", "i64"], result: "usize" },
  munmap: { parameters: ["usize", "usize"], result: "i32" },
  madvise: { parameters: ["usize", "usize", "i32"], result: "i32" },
} as const;

const SYMBOLS = {
  ...TRANSFER,
  ...CONNECTOR,
  bind: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  listen: { parameters: ["i32", "i32"], result: "i32" },
  accept: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
  /** macOS has none. */
  accept4: { parameters: ["i32", "buffer", "buffer", "i32"], result: "i32", optional: true },
  unlink: { parameters: ["buffer"], result: "i32" },
  shutdown: { parameters: ["i32", "i32"], result: "i32" },
  getsockname: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
  getpeername: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
  /** With a struct msghdr. */
  sendmsg: { parameters: ["i32", "buffer", "i32"], result: "i32" },
  /** macOS has none of these four. */
  epoll_create1: { parameters: ["i32"], result: "i32", optional: true },
  epoll_ctl: { parameters: ["i32", "i32", "i32", "buffer"], result: "i32", optional: true },
  epoll_wait: { parameters: ["i32", "buffer", "i32", "i32"], result: "i32", optional: true },
  memfd_create: { parameters: ["buffer", "u32"], result: "i32", optional: true },
  ftruncate: { parameters: ["i32", "i64"], result: "i32" },
  dlsym: { parameters: ["isize", "buffer"], result: "usize", optional: true },
  dladdr: { parameters: ["usize", "buffer"], result: "i32", optional: true },
} as const;

/** The C functions that `openTransfer` binds. */
export type TransferSymbols = Deno.DynamicLibrary<typeof TRANSFER>["symbols"];

/** The C functions that `openConnector` binds. */
export type ConnectorSymbols = Deno.DynamicLibrary<typeof CONNECTOR>["symbols"];

/** The C functions that `openLibc` binds. */
export type LibcSymbols = Deno.DynamicLibrary<typeof SYMBOLS>["symbols"];

/**
 * As little of the C library as serves connections that are open already. It is what a worker keeps: nothing in
 * it opens a file or a socket, or maps memory.
 */
export interface Transfer {
  readonly path: string;
  readonly symbols: TransferSymbols;
}

/** What a process needs of the C library to connect, until it gives FFI up. */
export interface Connector {
  readonly path: string;
  readonly symbols: ConnectorSymbols;
}

/** An opened C library: all that is used of it. */
export interface Libc {
  /** The file that it was opened from: its own, or one that is linked to it. */
  readonly path: string;
  readonly symbols: LibcSymbols;
}

/**
 * Binds the C library's functions: some 10 ms, as the runtime writes machine code for each. A process that must
 * start soon binds the two smaller sets.
 *
 * @param path A library that is linked to the C library, or the C library: see `libcPath`.
 * @throws {Error} when the file can't be opened or lacks a function, with the loader's own message.
 */
export function openLibc(path: string): Libc {
  return { path, symbols: Deno.dlopen(path, SYMBOLS).symbols };
}

/** The same of those that connect. */
export function openConnector(path: string): Connector {
  return { path, symbols: Deno.dlopen(path, CONNECTOR).symbols };
}

/** The same of those that move bytes. */
export function openTransfer(path: string): Transfer {
  return { path, symbols: Deno.dlopen(path, TRANSFER).symbols };
}

/** A C call that failed. */
export class SystemError extends Error {
  override readonly name = "SystemError";
  /** The C errno. */
  readonly errno: number;

  /** Describes the failure of `what` by the system's own text for `errno`. */
  constructor(what: string, errno: number, text: string) {
    super(`Cannot ${what}: ${text}`);
    this.errno = errno;
  }
}

/**
 * The errno of the call right before, on this thread. The runtime may have changed it since: a value that makes
 * no sense is to be doubted, and the call to be made again.
 */
export function errnoOf({ symbols }: Connector): number {
  const { errno_linux, errno_darwin, copyOut } = symbols;
  const address = (errno_linux ?? errno_darwin)?.();
  if (address === undefined) return 0;
  const number = new Int32Array(1);
  copyOut(new Bytes(number.buffer), BigInt(address), 4);
  return number[0] ?? 0;
}

/** The error of a C errno. */
export function systemError(libc: Connector, what: string, errno: number): SystemError {
  const text = textAt(libc, BigInt(libc.symbols.strerror(errno))) ?? `errno ${errno}`;
  return new SystemError(what, errno, text);
}

/** The C string at an address; undefined: the address is 0. */
export function textAt({ symbols }: Strings, address: bigint): string | undefined {
  if (address === 0n) return undefined;
  const bytes = new Bytes(symbols.strlen(address));
  if (bytes.length > 0) symbols.copyOut(bytes, address, bytes.length);
  return new TextDecoder().decode(bytes);
}

/** Where a buffer's memory begins. It stays there as long as the buffer lives. */
export function addressOf({ symbols }: Transfer, buffer: Uint8Array<ArrayBuffer>): bigint {
  return BigInt(symbols.addressOf(buffer, buffer, 0));
}

/** On Apple's arm64 the first eight words of arguments lie in registers, but variable ones never do. */
const STACKED = darwin && Deno.build.arch === "aarch64";

/** fcntl(2) with a number; < 0: it failed. */
export function control(
  { symbols }: Connector,
  fd: number,
  command: number,
  value: number,
): number {
  if (!STACKED) return symbols.fcntl(fd, command, value);
  return symbols.fcntl_stacked(fd, command, 0n, 0n, 0n, 0n, 0n, 0n, BigInt(value));
}

/** Makes a descriptor one that never waits and that programs do not inherit, where its maker could not. */
export function setFlags(libc: Connector, fd: number): void {
  control(libc, fd, Control.SETFL, control(libc, fd, Control.GETFL, 0) | Control.O_NONBLOCK);
  control(libc, fd, Control.SETFD, Control.FD_CLOEXEC);
}

/**
 * Opens a stream socket that never waits and that programs do not inherit.
 *
 * @throws {SystemError} when the system has no file descriptor left, or knows no such family.
 */
export function openStream(libc: Connector, family: number): number {
  const type = SocketKind.STREAM | SocketKind.NONBLOCK | SocketKind.CLOEXEC;
  for (let attempt = 0;; attempt++) {
    const fd = libc.symbols.socket(family, type, 0);
    if (fd >= 0) {
      if (SocketKind.NONBLOCK === 0) setFlags(libc, fd);
      return fd;
    }
    const errno = errnoOf(libc);
    if (attempt >= DOUBTS || OPEN_FAILURES.has(errno)) {
      throw systemError(libc, "open a socket", errno);
    }
  }
}

/** How often a call is tried again whose errno makes no sense. */
export const DOUBTS = 10;

/** Why no socket can be opened. */
const OPEN_FAILURES: ReadonlySet<number> = new Set([
  Errno.EMFILE,
  Errno.ENFILE,
  Errno.ENOBUFS,
  Errno.ENOMEM,
  Errno.EACCES,
  Errno.EAFNOSUPPORT,
]);

/** Sets a socket option of C type int; returns whether the system has it. */
export function setOption(
  { symbols }: Connector,
  fd: number,
  level: number,
  option: number,
  value: number,
): boolean {
  if (option < 0) return false;
  const bytes = new Bytes(new Int32Array([value]).buffer);
  return symbols.setsockopt(fd, level, option, bytes, bytes.length) === 0;
}

/** What tells where the C library is. */
const FINDER = {
  dlsym: SYMBOLS.dlsym,
  dladdr: SYMBOLS.dladdr,
  strlen: SYMBOLS.strlen,
  copyOut: SYMBOLS.copyOut,
} as const;

/** The same as `libcPath`, for who has bound nothing else of `library`, which is linked to the C library. */
export function findLibc(library: string): string | undefined {
  return libcPath(Deno.dlopen(library, FINDER));
}

type Strings = { readonly symbols: Pick<ConnectorSymbols, "strlen" | "copyOut"> };
type Finder = Pick<Deno.DynamicLibrary<typeof FINDER>, "symbols">;

/** The C library's own file, by which a program opens it that may open no other; undefined: it can't be told. */
export function libcPath(libc: Finder): string | undefined {
  // All of macOS's system libraries are behind this one, which is in no file.
  if (darwin) return "/usr/lib/libSystem.B.dylib";
  const { dlsym, dladdr } = libc.symbols;
  const RTLD_DEFAULT = 0n;
  const address = dlsym?.(RTLD_DEFAULT, cString("recv")) ?? 0n;
  // struct Dl_info: the address of the file's path comes first.
  const found = new BigUint64Array(4);
  if (BigInt(address) === 0n || !dladdr?.(BigInt(address), new Bytes(found.buffer))) {
    return undefined;
  }
  return textAt(libc, found[0] ?? 0n);
}
