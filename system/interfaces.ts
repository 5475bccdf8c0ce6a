/**
 * The address that the host of a tcp endpoint stands for when it is bound: that of an interface by its name, the one
 * that is written there, or that of a host by its name. It is found as libzmq finds it, so that an endpoint means the same to both.
 *
 * @module
 */

import { Bytes, cString, Errno } from "../zmq/library.ts";
import { DOUBTS, errnoOf, type Libc, systemError, textAt } from "./libc.ts";
import { Family } from "./numbers.ts";
import { familyOf, inetAddress, setScope, sizeOf } from "./socket_address.ts";

const darwin = Deno.build.os === "darwin";

const SYMBOLS = {
  getifaddrs: { parameters: ["buffer"], result: "i32" },
  freeifaddrs: { parameters: ["usize"], result: "void" },
  getaddrinfo: { parameters: ["buffer", "usize", "buffer", "buffer"], result: "i32" },
  freeaddrinfo: { parameters: ["usize"], result: "void" },
  if_nametoindex: { parameters: ["buffer"], result: "u32" },
  if_indextoname: { parameters: ["u32", "buffer"], result: "usize" },
} as const;

/** struct ifaddrs: the next one, its name, u32 flags, its address at 24. */
const INTERFACE_BYTES = 32;
const INTERFACE_ADDRESS_AT = 24;
/** struct addrinfo: i32 flags, family at 4, type at 8, protocol at 12, u32 length at 16, then pointers. */
const HINT_BYTES = 48;
const FOUND_ADDRESS_AT = darwin ? 32 : 24;
/** netdb.h: an address to bind, and an IPv4 one may stand for an IPv6 one. */
const AI_PASSIVE = 1;
const AI_V4MAPPED = darwin ? 0x800 : 8;
/** net/if.h, with the 0 at its end. */
const NAME_BYTES = 16;

/** Finds addresses of this machine. */
export class Interfaces {
  readonly #libc: Libc;
  readonly #symbols: Deno.DynamicLibrary<typeof SYMBOLS>["symbols"];

  /** Opens nothing but the library. */
  constructor(libc: Libc) {
    this.#libc = libc;
    this.#symbols = Deno.dlopen(libc.path, SYMBOLS).symbols;
  }

  /**
   * The struct sockaddr of a host, with port 0.
   *
   * @param host Without brackets: `*`, an address, an address and a scope behind `%`, an interface, or the name of
   * a host, which is looked up: this waits for DNS.
   * @param ipv6 Whether it is to be an IPv6 address; an IPv4 one is then mapped.
   * @throws {SystemError} when it is none of this.
   */
  find(host: string, ipv6: boolean): Uint8Array<ArrayBuffer> {
    const [, name = "", scopeName] = /^(.*?)(?:%([^%]*))?$/s.exec(host) ?? [];
    const scope = scopeName === undefined ? 0 : this.#scopeOf(scopeName);
    if (scope === undefined) throw systemError(this.#libc, "find an address", Errno.EINVAL);
    const address = this.#findHost(name, ipv6);
    setScope(address, scope);
    return address;
  }

  /** The name of the interface of a scope; its number, if it has none. */
  scopeName(scope: number): string {
    const name = new Bytes(NAME_BYTES);
    const found = BigInt(this.#symbols.if_indextoname(scope, name)) !== 0n;
    return found ? new TextDecoder().decode(name.subarray(0, name.indexOf(0))) : `${scope}`;
  }

  #findHost(host: string, ipv6: boolean): Uint8Array<ArrayBuffer> {
    if (host === "*") return inetAddress(new Bytes(ipv6 ? 16 : 4));
    const family = ipv6 ? Family.INET6 : Family.INET;
    return this.#ofInterface(host, family) ?? this.#ofText(host, family);
  }

  #scopeOf(text: string): number | undefined {
    const number = /^[a-z]/i.test(text)
      ? this.#symbols.if_nametoindex(cString(text))
      : Number.parseInt(text, 10) >>> 0;
    return number === 0 ? undefined : number;
  }

  /** The first address of that family that an interface has. */
  #ofInterface(name: string, family: number): Uint8Array<ArrayBuffer> | undefined {
    const list = this.#list();
    try {
      for (let at = list; at !== 0n;) {
        const view = new DataView(this.#copy(at, INTERFACE_BYTES).buffer);
        const addressAt = view.getBigUint64(INTERFACE_ADDRESS_AT, true);
        const address = addressAt === 0n ? undefined : this.#addressAt(addressAt);
        const isOfFamily = address !== undefined && familyOf(address) === family;
        if (isOfFamily && textAt(this.#libc, view.getBigUint64(8, true)) === name) return address;
        at = view.getBigUint64(0, true);
      }
      return undefined;
    } finally {
      if (list !== 0n) this.#symbols.freeifaddrs(list);
    }
  }

  /** Where the list of this machine's addresses begins. */
  #list(): bigint {
    const list = new BigUint64Array(1);
    for (let attempt = 0; attempt < DOUBTS; attempt++) {
      if (this.#symbols.getifaddrs(new Bytes(list.buffer)) === 0) return list[0] ?? 0n;
    }
    throw systemError(this.#libc, "list the interfaces", errnoOf(this.#libc));
  }

  #ofText(host: string, family: number): Uint8Array<ArrayBuffer> {
    const { getaddrinfo, freeaddrinfo } = this.#symbols;
    const { STREAM } = { STREAM: 1 };
    const mapped = family === Family.INET6 ? AI_V4MAPPED : 0;
    const hint = new Int32Array(HINT_BYTES / 4);
    hint.set([AI_PASSIVE | mapped, family, STREAM]);
    const found = new BigUint64Array(1);
    const [hints, result] = [new Bytes(hint.buffer), new Bytes(found.buffer)];
    const at = getaddrinfo(cString(host), 0n, hints, result) === 0 ? found[0] ?? 0n : 0n;
    if (at === 0n) throw systemError(this.#libc, "find an address", Errno.ENODEV);
    const info = new DataView(this.#copy(at, HINT_BYTES).buffer);
    const address = this.#addressAt(info.getBigUint64(FOUND_ADDRESS_AT, true));
    freeaddrinfo(at);
    return address;
  }

  /** Copies a struct sockaddr; one of a family that is not known here has nothing but the family. */
  #addressAt(at: bigint): Uint8Array<ArrayBuffer> {
    const start = this.#copy(at, 2);
    const size = sizeOf(start);
    return size === 0 ? start : this.#copy(at, size);
  }

  #copy(at: bigint, size: number): Uint8Array<ArrayBuffer> {
    const bytes = new Bytes(size);
    this.#libc.symbols.copyOut(bytes, at, size);
    return bytes;
  }
}
