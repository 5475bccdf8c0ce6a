/**
 * Addresses of sockets as the C library has them, struct sockaddr, and as text. Asks the system nothing.
 *
 * @module
 */

import { Family } from "./numbers.ts";

const darwin = Deno.build.os === "darwin";

/** Bytes of a struct sockaddr of any family, struct sockaddr_storage. */
export const ADDRESS_BYTES = 128;
/** Bytes of `sun_path`, sys/un.h. */
export const UNIX_PATH_BYTES: number = darwin ? 104 : 108;
/** Where the family is: one byte of two, the other of which is 0, or on macOS the length. */
const FAMILY_AT = darwin ? 1 : 0;
/** struct sockaddr_in: u16 port at 2, 4 bytes of address at 4. */
const INET_BYTES = 16;
/** struct sockaddr_in6: u16 port at 2, u32 flow at 4, 16 bytes of address at 8, u32 scope at 24. */
const INET6_BYTES = 28;
const SCOPE_AT = 24;

/** What a struct sockaddr says. */
export type SocketAddress =
  | {
    readonly family: "inet" | "inet6";
    /** 4 or 16 bytes. */
    readonly ip: Uint8Array<ArrayBuffer>;
    readonly port: number;
    /** The number of the interface that a link-local IPv6 address belongs to; 0: none. */
    readonly scope: number;
  }
  /** A path that starts with `@` is a name in Linux's abstract namespace; "": the socket has no name. */
  | { readonly family: "unix"; readonly path: string };

/** A struct sockaddr_in or sockaddr_in6, by the length of the address. The port and the scope are 0. */
export function inetAddress(ip: Uint8Array): Uint8Array<ArrayBuffer> {
  const isV4 = ip.length === 4;
  const address = empty(isV4 ? INET_BYTES : INET6_BYTES, isV4 ? Family.INET : Family.INET6);
  address.set(ip, isV4 ? 4 : 8);
  return address;
}

/**
 * A struct sockaddr_un; undefined: the path is too long. It is as long as what it says: the bytes of an abstract
 * name are all that are there.
 */
export function unixAddress(path: string): Uint8Array<ArrayBuffer> | undefined {
  const name = new TextEncoder().encode(path);
  if (name.length >= UNIX_PATH_BYTES) return undefined;
  const address = empty(2 + name.length, Family.UNIX);
  address.set(name, 2);
  if (path.startsWith("@")) address[2] = 0;
  return address;
}

/** The port of a struct sockaddr_in or sockaddr_in6 is another one. */
export function setPort(address: Uint8Array<ArrayBuffer>, port: number): void {
  address[2] = port >> 8;
  address[3] = port & 0xff;
}

/** The scope of a struct sockaddr_in6 is another one; nothing happens to others. */
export function setScope(address: Uint8Array<ArrayBuffer>, scope: number): void {
  if (familyOf(address) !== Family.INET6) return;
  new DataView(address.buffer, address.byteOffset).setUint32(SCOPE_AT, scope, true);
}

/** The family of a struct sockaddr. */
export function familyOf(address: Uint8Array): number {
  return address[FAMILY_AT] ?? 0;
}

/** Bytes of the struct sockaddr that begins in `address`; 0: its family is not known here. */
export function sizeOf(address: Uint8Array): number {
  const family = familyOf(address);
  return family === Family.INET ? INET_BYTES : family === Family.INET6 ? INET6_BYTES : 0;
}

/** Reads the first `size` bytes of `address`; undefined: its family is not known here, or it is too short. */
export function readAddress(address: Uint8Array, size: number): SocketAddress | undefined {
  const family = familyOf(address);
  if (size < 2) return undefined;
  if (family === Family.UNIX) return { family: "unix", path: readPath(address.subarray(2, size)) };
  if (sizeOf(address) === 0 || size < sizeOf(address)) return undefined;
  const port = (address[2] ?? 0) * 256 + (address[3] ?? 0);
  if (family === Family.INET) return { family: "inet", ip: address.slice(4, 8), port, scope: 0 };
  const scope = new DataView(address.buffer, address.byteOffset).getUint32(SCOPE_AT, true);
  return { family: "inet6", ip: address.slice(8, 24), port, scope };
}

/** A name that begins with 0 is abstract; a path ends where there is a 0. */
function readPath(name: Uint8Array): string {
  const decoder = new TextDecoder();
  if (name.length > 1 && name[0] === 0) return "@" + decoder.decode(name.subarray(1));
  const end = name.indexOf(0);
  return decoder.decode(end < 0 ? name : name.subarray(0, end));
}

/**
 * An IP address as text, as inet_ntop(3) writes it. Of 16 bytes, the longest run of zeros is left out, and an
 * IPv4 address in it is written as such.
 */
export function ipText(ip: Uint8Array): string {
  return ip.length === 4 ? ip.join(".") : ipv6Text(ip);
}

function ipv6Text(ip: Uint8Array): string {
  const words = Array.from({ length: 8 }, (_, i) => (ip[2 * i] ?? 0) * 256 + (ip[2 * i + 1] ?? 0));
  const { start, size } = longestZeros(words);
  const hasV4 = start === 0 && (size === 6 || (size === 5 && words[5] === 0xffff));
  const texts = words.map((word) => word.toString(16));
  if (hasV4) texts.splice(6, 2, ip.subarray(12).join("."));
  if (size < 2) return texts.join(":");
  return `${texts.slice(0, start).join(":")}::${texts.slice(start + size).join(":")}`;
}

/** The first of the longest runs of zeros. */
function longestZeros(words: readonly number[]): { start: number; size: number } {
  const longest = { start: 0, size: 0 };
  for (let start = 0; start < words.length; start++) {
    let size = 0;
    while (words[start + size] === 0) size++;
    if (size > longest.size) Object.assign(longest, { start, size });
    start += size;
  }
  return longest;
}

/** The IPv4 address that an IPv6 one stands for; any other address is returned as it is. */
export function unmapped(ip: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const isMapped = ip.length === 16 && ip[10] === 0xff && ip[11] === 0xff &&
    ip.subarray(0, 10).every((byte) => byte === 0);
  return isMapped ? ip.slice(12) : ip;
}

function empty(size: number, family: number): Uint8Array<ArrayBuffer> {
  const address = new Uint8Array(size);
  if (darwin) address[0] = size;
  address[FAMILY_AT] = family;
  return address;
}
