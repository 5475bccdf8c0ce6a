/**
 * What the data plane has measured: the answer to a question of the server's. Plain data that can be cloned. Types
 * only.
 *
 * @module
 */

import type { Spread } from "../broker/histogram.ts";
import type { Metered } from "../broker/meter.ts";
import type { BrokerCounters } from "./messages.ts";

/** What was measured since the start. */
export interface Measures {
  /** Each service that there is, the one without a name included. */
  services: readonly ServiceMeasures[];
  /** Requests for services that there are not. */
  unaddressed: number;
  /** How late the loop of the sockets came to what was due, or to what it had left for its next turn. */
  lag: Spread;
}

/** The same of one service. */
export interface ServiceMeasures extends Metered {
  /** "": the service without a name. */
  name: string;
  counters: BrokerCounters;
  /** Jobs that wait for a worker, and their bytes. */
  queued: number;
  queuedBytes: number;
  /** How long the oldest of them has waited, ms; undefined: none waits. */
  oldestMs: number | undefined;
  /** Jobs that workers have. */
  running: number;
  /** Workers in service. */
  workers: number;
}
