/**
 * What this node has seen of jobs since its start, by service. Pure.
 *
 * @module
 */

import { Histogram } from "../broker/histogram.ts";
import type { StoreFigures } from "./messages.ts";
import type { JobRecord } from "./nats_record.ts";

type Seen = Pick<
  StoreFigures["services"][string],
  "submitted" | "retried" | "ended" | "waitTime" | "totalTime"
>;

class Count {
  submitted = 0;
  retried = 0;
  readonly ended = { done: 0, failed: 0, cancelled: 0, expired: 0 };
  readonly waitTime = new Histogram();
  readonly totalTime = new Histogram();
}

/** See above. */
export class NatsCounts {
  readonly #services = new Map<string, Count>();
  /** Hints that have come again while a job had run or was running: each may be a run that was repeated. */
  repeated = 0;

  /** Services that something is known of. */
  names(): string[] {
    return [...this.#services.keys()];
  }

  /** A job was stored. */
  submitted(service: string): void {
    this.#of(service).submitted++;
  }

  /** A try follows another. */
  retried(service: string): void {
    this.#of(service).retried++;
  }

  /** A try has begun. */
  started(record: JobRecord, now: number): void {
    this.#of(record.service).waitTime.add((now - record.runAt) * 1000);
  }

  /** A job has ended. */
  ended(record: JobRecord, now: number): void {
    const count = this.#of(record.service);
    const { state } = record;
    if (state === "done" || state === "failed" || state === "cancelled" || state === "expired") {
      count.ended[state]++;
    }
    if (state === "done" || state === "failed") {
      count.totalTime.add((now - record.createdAt) * 1000);
    }
  }

  /** What was seen of a service. */
  read(service: string): Seen {
    const { submitted, retried, ended, waitTime, totalTime } = this.#of(service);
    return {
      submitted,
      retried,
      ended: { ...ended },
      waitTime: waitTime.read(),
      totalTime: totalTime.read(),
    };
  }

  #of(service: string): Count {
    let count = this.#services.get(service);
    if (count === undefined) this.#services.set(service, count = new Count());
    return count;
  }
}
