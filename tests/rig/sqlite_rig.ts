/** SQLite in a folder of its own, with a clock that is driven. */

import type { JobStore, StoreUser } from "../../store/job_store.ts";
import type { FromStore, StoreConfig } from "../../store/messages.ts";
import { openStore } from "../../store/sqlite_store.ts";
import type { DrivenClock } from "./driven_clock.ts";
import type { Folder } from "./folder.ts";
import type { StoreRig } from "./store_world.ts";

/** A place for a file of jobs. */
export class SqliteRig implements StoreRig {
  readonly isDriven = true;
  readonly slackMs = 0;
  readonly #folder: Folder;
  readonly #clock: DrivenClock;

  constructor(folder: Folder, clock: DrivenClock) {
    this.#folder = folder;
    this.#clock = clock;
  }

  now(): number {
    return this.#clock.now();
  }

  async pass(ms: number): Promise<void> {
    await this.#clock.pass(ms);
  }

  async open(
    config: StoreConfig,
    emit: (to: StoreUser, messages: FromStore[]) => void,
  ): Promise<JobStore> {
    const store = `sqlite:${this.#folder.path}/jobs.db`;
    return await openStore({ store, config, nats: undefined, clock: this.#clock, emit });
  }

  dispose(): Promise<void> {
    this.#folder[Symbol.dispose]();
    return Promise.resolve();
  }
}
