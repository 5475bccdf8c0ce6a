/**
 * The server as the control API sees it. Types only.
 *
 * @module
 */

import type { Controls } from "../ops/control.ts";
import type { Events } from "../ops/events.ts";
import type { Log } from "../ops/log.ts";
import type { LogRing } from "../ops/log_ring.ts";
import type { Server } from "../ops/server.ts";
import type { Measures } from "../ports/measures.ts";
import type { StoreFigures } from "../store/messages.ts";

/** What is asked and told by operators. */
export interface Operated
  extends Controls, Pick<Server, "status" | "stats" | "config" | "jobs" | "clients" | "stored"> {
  /** Where changes are logged, with who has asked for them. */
  readonly log: Log;
  /** What happens. */
  readonly news: Pick<Events, "listen" | "subscribe">;
  /** The last lines of the log. */
  readonly ring: LogRing;
  /** What the data plane has measured since the start. */
  measures(): Promise<Measures>;
  /** What the store has counted; undefined: nothing was ever stored, or it has not answered yet. */
  storeFigures(): Promise<StoreFigures | undefined>;
  /** The version of libzmq that it runs with. */
  readonly libzmq: string;
  /** The names of its services; "": the one without a name. */
  readonly serviceNames: readonly string[];
}
