/**
 * How soon the system sends again what was lost on a TCP connection. It waits twice as long each time: so a link that
 * was down for 4 s is used again up to 3 s after it has come back, and one that goes up and down may not be used at
 * all, though much would get through. Who gives a silent connection up after some seconds wants it sooner.
 *
 * @module
 */

import { Bytes, harden } from "../zmq/library.ts";
import type { Connector, ConnectorSymbols } from "./libc.ts";
import { Level, TcpOption } from "./numbers.ts";

/** The least that the system takes, ms. */
const LONGEST_WAIT = 1000;

/** Sets how soon that is. It is kept by workers, which must be able to do nothing else with it. */
export class Resending {
  readonly #setsockopt: ConnectorSymbols["setsockopt"];
  readonly #longest = bytesOf(LONGEST_WAIT);
  readonly #isEven = bytesOf(1);

  constructor({ symbols }: Connector) {
    this.#setsockopt = symbols.setsockopt;
  }

  /**
   * Has a connection, or those that a socket accepts from now on, send again at least each second. Linux 6.15 can do
   * that; earlier ones do so at even intervals the first six times, unless their congestion control is BBR.
   */
  soon(fd: number): void {
    this.#set(fd, TcpOption.RTO_MAX_MS, this.#longest);
    this.#set(fd, TcpOption.THIN_LINEAR_TIMEOUTS, this.#isEven);
  }

  #set(fd: number, option: number, value: Uint8Array<ArrayBuffer>): void {
    if (option >= 0) this.#setsockopt(fd, Level.TCP, option, value, INT_BYTES);
  }
}

const INT_BYTES = 4;

function bytesOf(value: number): Uint8Array<ArrayBuffer> {
  return new Bytes(new Int32Array([value]).buffer);
}

harden(Resending);
