/**
 * How often pools on other machines have joined and were lost, and their workers have started and ended, by machine: made
 * of what happens. Machines are those of the server's list, so there are as many series as it has names.
 *
 * @module
 */

import type { Listeners } from "../ops/events.ts";
import type { Labels } from "./family.ts";

/** What is counted. */
export type JoinedCount = "poolsJoined" | "poolsLost" | "starts" | "exits";

/** A value by its labels. */
export interface JoinedSample {
  readonly labels: Labels;
  readonly value: number;
}

/** Counts since the start. */
export class JoinedCounts {
  readonly #counts: Readonly<Record<JoinedCount, Map<string, JoinedSample>>> = {
    poolsJoined: new Map(),
    poolsLost: new Map(),
    starts: new Map(),
    exits: new Map(),
  };

  /** What is to be listened to. */
  readonly listeners: Listeners = {
    poolJoined: ({ host }) => this.#add("poolsJoined", { host }),
    poolLeft: ({ host, lost }) => {
      if (lost) this.#add("poolsLost", { host });
    },
    workerSpawned: ({ host, service = "" }) => {
      if (host !== undefined) this.#add("starts", { service, host });
    },
    workerExited: ({ host, service = "", reason }) => {
      if (host !== undefined) this.#add("exits", { service, host, reason });
    },
  };

  /** Each value. */
  of(count: JoinedCount): JoinedSample[] {
    return [...this.#counts[count].values()];
  }

  #add(count: JoinedCount, labels: Labels): void {
    const key = Object.values(labels).join(" ");
    const { value = 0 } = this.#counts[count].get(key) ?? {};
    this.#counts[count].set(key, { labels, value: value + 1 });
  }
}
