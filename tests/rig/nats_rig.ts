/** NATS for the cases of every store: a real server, an installation for each case, and the machine's clock. */

import type { JobStore, StoreUser } from "../../store/job_store.ts";
import type { FromStore, StoreConfig } from "../../store/messages.ts";
import { openStore } from "../../store/nats_store.ts";
import { SYSTEM_CLOCK } from "../../store/thread.ts";
import type { StoreRig } from "./store_world.ts";
import { pause } from "./wait.ts";

let installations = 0;

/** An installation that no other case shares. */
export class NatsRig implements StoreRig {
  readonly isDriven = false;
  readonly slackMs = 100;
  readonly #url: string;
  readonly #prefix = `case${++installations}`;

  constructor(url: string) {
    this.#url = url;
  }

  now(): number {
    return Date.now();
  }

  async pass(ms: number): Promise<void> {
    await pause(ms);
  }

  async open(
    config: StoreConfig,
    emit: (to: StoreUser, messages: FromStore[]) => void,
  ): Promise<JobStore> {
    const nats = {
      ...{ credentials: undefined, nkey: undefined, tls: undefined },
      ...{ prefix: this.#prefix, ackWait: 5000 },
    };
    return await openStore({ store: this.#url, config, nats, clock: SYSTEM_CLOCK, emit });
  }

  dispose(): Promise<void> {
    return Promise.resolve();
  }
}
