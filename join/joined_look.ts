/**
 * How the workers of a pool are that has joined a server, as this tells: what the loop of the server's own workers tells
 * at home. All requests are at the server, so little is known of them here.
 *
 * @module
 */

import { newCounters } from "../broker/counters.ts";
import { noSpread } from "../broker/histogram.ts";
import type { Answerers } from "../ports/inquirer.ts";
import type { Look, ServiceLook, WorkerLook } from "../ports/messages.ts";
import type { ToJoiner } from "../wire/join.ts";

/** The workers in service, and when they were given jobs. */
export class JoinedLooks {
  /** The server's names of services, by what they are called here. */
  readonly #services: ReadonlyMap<string, string>;
  readonly #workers = new Map<number, WorkerLook>();
  /** When jobs of each of the server's services were given last, ms. */
  readonly #lastJobAt = new Map<string, number>();

  /** No worker is in service. */
  constructor(services: ReadonlyMap<string, string>) {
    this.#services = services;
  }

  /** A worker is in service since now. */
  enter(worker: number, now: number): void {
    const nothing = { firstJob: undefined, firstJobAt: undefined };
    this.#workers.set(worker, { jobs: 0, answered: 0, ...nothing, spareSince: now });
  }

  /** A worker is not in service any more. */
  leave(worker: number): void {
    this.#workers.delete(worker);
  }

  /** None is. */
  clear(): void {
    this.#workers.clear();
  }

  /** Takes note of what the server tells. */
  learn({ workers, services }: Extract<ToJoiner, { type: "look" }>, now: number): void {
    for (const { worker, jobs, answered, firstJob, firstJobMs, spareMs } of workers) {
      if (!this.#workers.has(worker)) continue;
      const at = (passed: number | undefined) => passed === undefined ? undefined : now - passed;
      const [firstJobAt, spareSince] = [at(firstJobMs), at(spareMs)];
      this.#workers.set(worker, { jobs, answered, firstJob, firstJobAt, spareSince });
    }
    for (const [name, passed] of Object.entries(services)) this.#lastJobAt.set(name, now - passed);
  }

  /** How things are here, as far as is known; `jobs`: whether those count that workers have. */
  look(jobs: "counted" | "left out"): Look {
    const services = [...this.#services].map(([own, name]) => [own, this.#lookOf(name)] as const);
    let running = 0;
    for (const { jobs } of this.#workers.values()) running += jobs;
    return {
      ...{ ...NO_JOBS, clients: 0, connections: undefined, hasUnsent: false, readAt: -Infinity },
      running: jobs === "counted" ? running : 0,
      lastJobAt: Math.max(0, ...services.map(([, { lastJobAt }]) => lastJobAt)),
      workers: new Map([...this.#workers].map(([worker, look]) => [worker, { ...look }])),
      services: new Map(services),
      counters: { ...newCounters(), ...NO_SOCKETS },
    };
  }

  #lookOf(name: string): ServiceLook {
    const lastJobAt = this.#lastJobAt.get(name) ?? 0;
    const counters = newCounters();
    return { ...NO_JOBS, lastJobAt, counters, paused: false, oldestAt: undefined };
  }
}

const NO_JOBS = {
  ...{ queued: 0, queuedBytes: 0, running: 0, foreign: 0, lastJobAt: 0 },
  serviceTime: undefined,
};

const NO_SOCKETS = {
  ...{ malformed: 0, undelivered: 0, intruders: 0, denied: 0, takeovers: 0, squatters: 0 },
  ...{ invalidReplies: 0, lostJobs: 0, events: 0, eventsDropped: 0 },
};

/** There is nothing to be asked about: all requests are at the server. */
export const NOTHING_TO_ASK: Answerers = {
  jobs: () => ({ total: 0, jobs: [] }),
  clients: () => ({ total: 0, clients: [] }),
  measures: () => ({ services: [], unaddressed: 0, lag: noSpread() }),
  pulse: () => ({}),
  cancelJob: () => ({ outcome: "unknown" }),
};
