/** The side of a service manager: hears what a server says by sd_notify(3). */

import { openLibc } from "../../system/libc.ts";
import { Family, NO_WAIT, SocketKind } from "../../system/numbers.ts";
import { unixAddress } from "../../system/socket_address.ts";
import { locateLibrary } from "../../zmq/locate.ts";
import { until } from "./wait.ts";

const DATAGRAM = 2;

/** A datagram socket at a path, or at a name behind `@`. */
export class NotifyListener {
  readonly address: string;
  /** All messages so far. */
  readonly heard: string[] = [];
  readonly #libc = openLibc(locateLibrary(Deno.env.get("ZMQ_LIBRARY")).path);
  readonly #fd: number;

  constructor(address: string) {
    this.address = address;
    const bytes = unixAddress(address);
    if (bytes === undefined) throw new Error(`${address} is too long`);
    const { symbols } = this.#libc;
    const kind = DATAGRAM | SocketKind.CLOEXEC | SocketKind.NONBLOCK;
    this.#fd = symbols.socket(Family.UNIX, kind, 0);
    if (symbols.bind(this.#fd, bytes, bytes.length) !== 0) throw new Error("It can't be bound");
  }

  /** Takes what has come. */
  hear(): readonly string[] {
    const bytes = new Uint8Array(65_536);
    for (;;) {
      const size = this.#libc.symbols.recv(this.#fd, bytes, bytes.length, NO_WAIT);
      if (size <= 0) return this.heard;
      this.heard.push(new TextDecoder().decode(bytes.subarray(0, size)));
    }
  }

  /** Waits for a message after the first `from`, and gives how many there were up to it. */
  async message(wanted: string | RegExp, from = 0): Promise<number> {
    const fits = (text: string) => typeof wanted === "string" ? text === wanted : wanted.test(text);
    const index = await until(`"${wanted}" is heard`, () => {
      const found = this.hear().findIndex((text, at) => at >= from && fits(text));
      return found < 0 ? undefined : found;
    });
    return index + 1;
  }

  [Symbol.dispose](): void {
    this.#libc.symbols.close(this.#fd);
  }
}
