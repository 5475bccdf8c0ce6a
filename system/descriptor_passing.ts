/**
 * A descriptor that goes to another process along with bytes, over a unix socket: SCM_RIGHTS of unix(7). For 64-bit
 * Linux, where the files are that are passed.
 *
 * @module
 */

import { Bytes } from "../zmq/library.ts";
import type { Connector, Libc } from "./libc.ts";
import { Level, MessageFlag, NO_WAIT, SCM_RIGHTS } from "./numbers.ts";

/**
 * Where things stand in the one buffer that a call gets. struct msghdr: iov at 16, their number at 24, control at
 * 32, its length at 40. struct iovec: address, length. struct cmsghdr: u64 length, level at 8, type at 12, then
 * the descriptor.
 */
const IOV = 64;
const CONTROL = 80;
const CONTROL_BYTES = 24;
const DESCRIPTOR = CONTROL + 16;
const CONTENT = 128;
/** The most bytes that go along. */
export const MAX_PASSED_BYTES = 128;

/** Sends all of `bytes` with a descriptor; false: nothing was sent. */
export function passDescriptor(
  libc: Libc,
  socket: number,
  bytes: Uint8Array,
  descriptor: number,
): boolean {
  const { buffer, view } = message(libc, bytes.length);
  buffer.set(bytes, CONTENT);
  view.setBigUint64(CONTROL, BigInt(CONTROL_BYTES - 4), true);
  view.setInt32(CONTROL + 8, Level.SOCKET, true);
  view.setInt32(CONTROL + 12, SCM_RIGHTS, true);
  view.setInt32(DESCRIPTOR, descriptor, true);
  return libc.symbols.sendmsg(socket, buffer, NO_WAIT) === bytes.length;
}

/** Bytes, and the descriptor that came along; -1: none did. */
export interface Passed {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly descriptor: number;
}

/** Takes up to `MAX_PASSED_BYTES` that are here, and a descriptor; undefined: nothing is here. */
export function takeDescriptor(libc: Connector, socket: number): Passed | undefined {
  const { buffer, view } = message(libc, MAX_PASSED_BYTES);
  view.setInt32(DESCRIPTOR, -1, true);
  const size = libc.symbols.recvmsg(socket, buffer, NO_WAIT | MessageFlag.CMSG_CLOEXEC);
  if (size <= 0) return undefined;
  const hasOne = view.getInt32(CONTROL + 12, true) === SCM_RIGHTS;
  const descriptor = hasOne ? view.getInt32(DESCRIPTOR, true) : -1;
  return { bytes: buffer.slice(CONTENT, CONTENT + size), descriptor };
}

function message({ symbols }: Connector, size: number) {
  const buffer = new Bytes(CONTENT + MAX_PASSED_BYTES);
  const view = new DataView(buffer.buffer);
  const address = BigInt(symbols.addressOf(buffer, buffer, 0));
  view.setBigUint64(16, address + BigInt(IOV), true);
  view.setBigUint64(24, 1n, true);
  view.setBigUint64(32, address + BigInt(CONTROL), true);
  view.setBigUint64(40, BigInt(CONTROL_BYTES), true);
  view.setBigUint64(IOV, address + BigInt(CONTENT), true);
  view.setBigUint64(IOV + 8, BigInt(size), true);
  return { buffer, view };
}
