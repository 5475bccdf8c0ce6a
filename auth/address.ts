/**
 * Addresses and ranges of them: IPv4, IPv6, CIDR. An IPv4 address that is written as an IPv6 one,
 * `::ffff:10.0.0.1`, is the IPv4 address; no other IPv6 address is taken for one, however it is written.
 * By hand, because ipaddr.js reads `::10.0.0.1` as 10.0.0.1 too, which would let it pass for that.
 *
 * @module
 */

/** A block of addresses: those whose first `bits` are those of `bytes`. */
export interface Range {
  /** 4 for IPv4, 16 for IPv6. */
  bytes: Uint8Array;
  bits: number;
}

/** Reads an address, `10.0.0.1` or `fe80::1%eth0`; undefined if it is not one. */
export function parseAddress(text: string): Uint8Array | undefined {
  const bytes = bytesOf(text.replace(/%.*$/, ""));
  return bytes && (isMapped(bytes) ? bytes.subarray(12) : bytes);
}

/**
 * Reads an address or a range, `10.0.0.0/8`; undefined if it is neither. The bits that don't count must
 * be 0: in `10.0.0.1/8` either the address or the number of bits is a mistake.
 */
export function parseRange(text: string): Range | undefined {
  const [, address = "", digits] = /^([^/]+)(?:\/(\d{1,3}))?$/.exec(text) ?? [];
  const bytes = bytesOf(address);
  if (bytes === undefined) return undefined;
  const bits = digits === undefined ? bytes.length * 8 : Number(digits);
  if (bits > bytes.length * 8 || !isZeroFrom(bytes, bits)) return undefined;
  return isMapped(bytes) ? { bytes: bytes.subarray(12), bits: bits - 96 } : { bytes, bits };
}

/** Whether an address is in a range. */
export function isIn(address: Uint8Array, { bytes, bits }: Range): boolean {
  if (address.length !== bytes.length) return false;
  return bytes.every((byte, index) => {
    const mask = maskOf(bits - index * 8);
    return ((address[index] ?? 0) & mask) === (byte & mask);
  });
}

/** The first `bits` bits of a byte. */
function maskOf(bits: number): number {
  return bits >= 8 ? 0xff : 0xff << (8 - Math.max(0, bits)) & 0xff;
}

function isZeroFrom(bytes: Uint8Array, bits: number): boolean {
  return bytes.every((byte, index) => (byte & ~maskOf(bits - index * 8)) === 0);
}

const MAPPED = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

/**
 * Whether bytes are an IPv4 address written as IPv6. A range whose first address is such a one has 96
 * bits or more: with fewer, the two bytes 0xff would have to be 0.
 */
function isMapped(bytes: Uint8Array): boolean {
  return bytes.length === 16 && MAPPED.every((byte, index) => bytes[index] === byte);
}

function bytesOf(text: string): Uint8Array | undefined {
  return text.includes(":") ? readIpv6(text) : readIpv4(text);
}

function readIpv4(text: string): Uint8Array | undefined {
  const parts = text.split(".");
  // No leading zeros: some read them as octal.
  const fits = parts.every((part) => /^(0|[1-9]\d{0,2})$/.test(part) && Number(part) <= 255);
  return fits && parts.length === 4 ? Uint8Array.from(parts, Number) : undefined;
}

function readIpv6(text: string): Uint8Array | undefined {
  const [head, tail, ...more] = withoutDots(text)?.split("::").map(groupsOf) ?? [];
  if (head === undefined || more.length > 0) return undefined;
  const zeros = 8 - head.length - (tail?.length ?? 0);
  if (tail === undefined ? zeros !== 0 : zeros < 1) return undefined;
  const groups = [...head, ...new Array<number>(zeros).fill(0), ...tail ?? []];
  if (groups.includes(NaN)) return undefined;
  return Uint8Array.from(groups.flatMap((group) => [group >> 8, group & 0xff]));
}

/**
 * An IPv6 address without dots: an IPv4 address at its end becomes two groups. Undefined if what is there
 * is not an IPv4 address.
 */
function withoutDots(text: string): string | undefined {
  const [, head, dotted = ""] = /^(.*:)([\d.]*\.[\d.]*)$/.exec(text) ?? [];
  if (head === undefined) return text;
  const bytes = readIpv4(dotted);
  if (bytes === undefined) return undefined;
  const [a = 0, b = 0, c = 0, d = 0] = bytes;
  return `${head}${(a * 256 + b).toString(16)}:${(c * 256 + d).toString(16)}`;
}

/** Groups of hexadecimal digits as numbers; NaN for a group that is not one. */
function groupsOf(text: string): number[] {
  if (text === "") return [];
  return text.split(":").map((group) => /^[\da-f]{1,4}$/i.test(group) ? parseInt(group, 16) : NaN);
}
