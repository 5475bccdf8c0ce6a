/**
 * Connections of our own, for clients without keys.
 *
 * @module
 */

import { Dialer } from "../system/dialer.ts";
import { type Habits, NativeConnection } from "./native_connection.ts";
import type { Ground, Transport } from "./transport.ts";

/** An idle client answers a server that asks whether it lives so soon, ms. */
const IDLE_INTERVAL = 250;

/** Sockets of the system, and ZMTP. */
export class NativeTransport implements Transport {
  readonly idleInterval = IDLE_INTERVAL;
  readonly #habits: Habits;
  #dialer: Dialer | undefined;

  /** Opens nothing. */
  constructor(habits: Habits) {
    this.#habits = habits;
  }

  open(endpoint: string, ground: Ground): NativeConnection {
    this.#dialer ??= new Dialer(ground.libc);
    return new NativeConnection(this.#dialer, endpoint, this.#habits, ground);
  }

  end(): Promise<void> {
    return Promise.resolve();
  }
}
