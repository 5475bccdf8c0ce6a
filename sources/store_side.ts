/**
 * The data plane's side of the store: what clients and handlers ask about stored jobs, what the store gives to be run,
 * and the way between the two threads. Nothing of it costs a request anything.
 *
 * @module
 */

import type { Job, Peer } from "../broker/job.ts";
import type { Body, BodyPool } from "../ports/body.ts";
import type { EventQueue } from "../ports/event_queue.ts";
import type { Services } from "../ports/services.ts";
import type { AnswerWay } from "../ports/source.ts";
import type { StoreWire } from "../ports/store_wire.ts";
import type { FromStore } from "../store/messages.ts";
import { Code } from "../wire/request.ts";
import { JobCounter } from "./job_counter.ts";
import { StoredJobs } from "./stored_jobs.ts";

/** What a `StoreSide` works with. */
export interface StoreSideGround {
  wire: StoreWire;
  services: Services;
  source: AnswerWay;
  bodies: BodyPool;
  events: EventQueue;
  /** Whether there is an access log. */
  visits: boolean;
  /** The job on behalf of which a worker asks. */
  askingJob(peer: Peer<Body>): Job<Body> | undefined;
  /** A stored job has ended; said only while somebody wants to hear it. */
  over(job: Extract<FromStore, { type: "over" }>): void;
}

/** The store, as the data plane has to do with it. */
export class StoreSide {
  readonly #wire: StoreWire;
  readonly counter: JobCounter;
  readonly #jobs: StoredJobs;
  readonly #over: StoreSideGround["over"];

  /** There is no store yet. */
  constructor({ askingJob, over, ...ground }: StoreSideGround, jobs: StoredJobs) {
    const { wire } = ground;
    this.#over = over;
    this.#wire = wire;
    this.#jobs = jobs;
    this.counter = new JobCounter({
      ...ground,
      say: (message) => wire.say(message),
      parcel: wire.parcel,
      runOf: (peer) => jobs.runOf(askingJob(peer)),
      kept: (run, value) => jobs.keep(run, value),
    });
  }

  /** Takes what the store has said; returns how many words that was. */
  hear(now: number): number {
    const messages = this.#wire.take();
    for (const message of messages) this.#take(message, now);
    return messages.length;
  }

  #take(message: FromStore, now: number): void {
    if (message.type === "job") this.#jobs.start(message.run, now);
    else if (message.type === "cancelRun") this.#jobs.cancel(message.run, now);
    else if (message.type === "over") this.#over(message);
    else this.counter.hear(message);
  }

  /** Tells the store what a pass has brought. */
  flush(): void {
    if (!this.#wire.isJoined) return;
    this.#jobs.tell();
    this.#wire.flush();
  }

  /** The store was started; see `StoreWire.join`. */
  join(port: MessagePort, counter: SharedArrayBuffer | undefined): void {
    this.#wire.join(port, counter);
  }

  /** The store can't be had, or is gone. */
  lose(message: string, now: number): void {
    this.#wire.lose();
    this.#jobs.lose(now);
    this.counter.fail(INSUFFICIENT_STORAGE, message, now);
  }

  /** The server stops. */
  drain(now: number): void {
    this.counter.drain(now);
  }

  /** The last word: all that the plane has taken in has ended. */
  leave(now: number): void {
    this.flush();
    this.counter.fail(Code.unavailable, "The server is shutting down", now);
    this.#wire.leave();
  }
}

/** HTTP's number for a store that has no room, or none that can be written to. */
const INSUFFICIENT_STORAGE = 507;
