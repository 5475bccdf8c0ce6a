/**
 * How full the store is: as NATS has said, and what came since.
 *
 * @module
 */

import type { Submission } from "./messages.ts";
import type { NatsGround } from "./nats_ground.ts";

/** How often the size of the store is asked for, ms. */
const SIZE_INTERVAL = 1000;
/** What a record weighs beside its body, about, bytes. */
const RECORD_BYTES = 1200;

/** Why a job is not taken. */
export interface Refusal {
  code: number;
  message: string;
}

/** See above. */
export class NatsCapacity {
  readonly #ground: NatsGround;
  readonly #known = { jobs: 0, bytes: 0 };
  /** Since NATS was asked, here. */
  readonly #added = { jobs: 0, bytes: 0 };
  #askedAt = -Infinity;
  #asking: Promise<void> | undefined;

  /** Asks nothing by itself. */
  constructor(ground: NatsGround) {
    this.#ground = ground;
  }

  /** Bytes that the store has, as far as is known. */
  get bytes(): number {
    return this.#known.bytes + this.#added.bytes;
  }

  /** A job was stored here, with a body of so many bytes. */
  added(bytes: number): void {
    this.#added.jobs++;
    this.#added.bytes += bytes + RECORD_BYTES;
  }

  /** A job was forgotten here. */
  removed(bytes: number): void {
    this.#added.jobs--;
    this.#added.bytes -= bytes + RECORD_BYTES;
  }

  /** Why a job has no room, by what NATS said a moment ago and what this node has added since; undefined: it has. */
  refusal({ body: { bytes: { length: bytes } } }: Submission): Refusal | undefined {
    const { config, clock } = this.#ground;
    if (clock.steady() - this.#askedAt >= SIZE_INTERVAL) void this.ask();
    const jobs = this.#known.jobs + this.#added.jobs;
    if (jobs >= config.storeJobs) {
      const text = `The store is full: it has ${jobs} jobs, and storeJobs is ${config.storeJobs}`;
      return { code: 507, message: text };
    }
    if (this.bytes + bytes <= config.storeBytes) return undefined;
    const text = `The store is full: it has ${this.bytes} bytes, this job ${bytes}, and ` +
      `storeBytes is ${config.storeBytes}`;
    return { code: 507, message: text };
  }

  /** Asks how large the store is. */
  ask(): Promise<void> {
    const { manager, names, clock } = this.#ground;
    if (manager === undefined) return Promise.resolve();
    this.#askedAt = clock.steady();
    const { jobs: addedJobs, bytes: addedBytes } = this.#added;
    const streams = [names.jobs, names.work, names.kept];
    this.#asking ??= Promise.all(streams.map((name) => manager.streams.info(name))).then(
      (infos) => {
        this.#known.jobs = infos[0]?.state.messages ?? 0;
        this.#known.bytes = infos.reduce((sum, { state }) => sum + state.bytes, 0);
        // What was added before NATS was asked is among that.
        this.#added.jobs -= addedJobs;
        this.#added.bytes -= addedBytes;
      },
    ).catch(() => {}).finally(() => this.#asking = undefined);
    return this.#asking;
  }
}
