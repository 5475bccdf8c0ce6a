/**
 * How the store is, for all who look: it is asked once a second at most, and one that is slow holds up nobody: then
 * there is what it has said last. Not here: what can be done with it (stored_desk.ts).
 *
 * @module
 */

import type { StoreFigures } from "../store/messages.ts";
import { messageOf } from "../system/errors.ts";
import type { StoreLink } from "./store_link.ts";
import type { StoredServiceStatus, StoreStatus } from "./stored.ts";

/** Time between two questions, ms. */
const INTERVAL = 900;
/** What those who look wait for an answer, ms. */
const PATIENCE = 250;
/** A store that has not answered for so long is in trouble, ms. */
const LATE_AFTER = 10_000;

/** What the store has said last. */
interface Reading {
  readonly at: number;
  readonly figures: StoreFigures;
}

/** Watches one store. */
export class StoreGauge {
  readonly #link: Pick<StoreLink, "store" | "isUsed" | "trouble" | "operate">;
  readonly #now: () => number;
  #last: Reading | undefined;
  /** By service: how many were submitted and have ended in a second. */
  #rates = new Map<string, StoredServiceStatus["rates"]>();
  /** Why the last question had no answer. */
  #fault: string | undefined;
  #asking: { readonly since: number; readonly done: Promise<void> } | undefined;

  /** @param now a clock that never goes back, ms. */
  constructor(
    link: Pick<StoreLink, "store" | "isUsed" | "trouble" | "operate">,
    now = () => performance.now(),
  ) {
    this.#link = link;
    this.#now = now;
  }

  /** What it has counted; undefined: nothing was ever stored, or it has not answered yet. */
  async figures(): Promise<StoreFigures | undefined> {
    if (!this.#link.isUsed) return undefined;
    await this.#refresh();
    const figures = this.#last?.figures;
    const trouble = this.#trouble(figures);
    if (figures !== undefined) return { ...figures, trouble };
    // One that can't even be opened has something to say.
    if (trouble === undefined) return undefined;
    return { store: this.#link.store, trouble, bytes: 0, services: {} };
  }

  /** How it is, also where nothing was ever stored. */
  async status(): Promise<StoreStatus> {
    const figures = await this.figures();
    if (figures !== undefined) return this.#statusOf(figures);
    const { store, trouble } = this.#link;
    return { store, trouble, bytes: 0, services: [], schedules: [] };
  }

  /** The same; undefined where nothing was ever stored and nothing is wrong. */
  async glance(): Promise<Omit<StoreStatus, "schedules"> | undefined> {
    if (!this.#link.isUsed) return undefined;
    const { schedules: _, ...status } = await this.status();
    return status;
  }

  #trouble(figures: StoreFigures | undefined): string | undefined {
    if (!this.#link.isUsed) return undefined;
    if (this.#fault !== undefined) return this.#fault;
    const silence = this.#asking === undefined ? 0 : this.#now() - this.#asking.since;
    if (silence < LATE_AFTER) return figures?.trouble ?? this.#link.trouble;
    return `the store has not answered for ${Math.round(silence / 1000)} s`;
  }

  async #refresh(): Promise<void> {
    const isFresh = this.#last !== undefined && this.#now() - this.#last.at < INTERVAL;
    if (isFresh && this.#fault === undefined) return;
    this.#asking ??= {
      since: this.#now(),
      done: this.#ask().finally(() => this.#asking = undefined),
    };
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, PATIENCE);
    await Promise.race([this.#asking.done, promise]);
    clearTimeout(timer);
  }

  async #ask(): Promise<void> {
    try {
      const answer = await this.#link.operate({ type: "figures" });
      if (answer.type === "figures") this.#take({ at: this.#now(), figures: answer.figures });
      this.#fault = undefined;
    } catch (error) {
      this.#fault = messageOf(error);
    }
  }

  #take(reading: Reading): void {
    const before = this.#last;
    this.#last = reading;
    if (before === undefined) return;
    const seconds = (reading.at - before.at) / 1000;
    if (seconds <= 0) return;
    this.#rates = new Map(
      Object.entries(reading.figures.services).map(([name, now]) => {
        const then = before.figures.services[name];
        const rate = (count: number, of: number) => Math.max(0, count - of) / seconds;
        return [name, {
          submitted: rate(now.submitted, then?.submitted ?? 0),
          ended: rate(sumOf(now.ended), then === undefined ? 0 : sumOf(then.ended)),
        }];
      }),
    );
  }

  #statusOf({ store, trouble, bytes, services, schedules = {} }: StoreFigures): StoreStatus {
    return {
      ...{ store, trouble, bytes },
      services: Object.entries(services).sort(byName).map(([name, service]) => {
        const { paused, states, oldestMs, submitted, retried, ended } = service;
        const rates = this.#rates.get(name) ?? { submitted: 0, ended: 0 };
        return { name, paused, states, oldestMs, submitted, retried, ended, rates };
      }),
      schedules: Object.entries(schedules).sort(byName).map(([name, each]) => ({ name, ...each })),
    };
  }
}

function byName([one]: readonly [string, unknown], [other]: readonly [string, unknown]): number {
  return one < other ? -1 : 1;
}

function sumOf(counts: Readonly<Record<string, number>>): number {
  return Object.values(counts).reduce((sum, count) => sum + count, 0);
}
