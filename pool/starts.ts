/**
 * How many workers are started now, by CPUs, delays and rests, and which processes have to end to make
 * room for them. Not here: how many are missing.
 *
 * @module
 */

import type { BackOff } from "./back_off.ts";
import { inTheWay, roomFor, type SizeLimits } from "./scaling.ts";
import type { Load, Slot, SlotLimits } from "./slot.ts";
import type { Slots } from "./slots.ts";
import type { Settings } from "../options/settings.ts";

/** What bounds starts. */
export type StartLimits = SizeLimits & SlotLimits & Pick<Settings, "startDelay">;

/** What is to be started, and ended, now. */
export interface StartPlan {
  /** Leaving processes that are in the way. */
  inTheWay: Slot[];
  /** Workers with a place of their own. */
  newcomers: number;
  /** Ready workers that a new one is to replace. */
  replaced: readonly number[];
}

/** Plans starts, each at its time. */
export class Starts {
  readonly #limits: Readonly<StartLimits>;
  readonly #cpus: number;
  readonly #slots: Slots;
  readonly #backOff: BackOff;
  /** When `startDelay` counts from: the first plan, then the last start. */
  #delayedFrom: number | undefined;

  /** @param limits live: changed ones count from the next plan. */
  constructor(limits: Readonly<StartLimits>, cpus: number, slots: Slots, backOff: BackOff) {
    this.#limits = limits;
    this.#cpus = Math.max(1, cpus);
    this.#slots = slots;
    this.#backOff = backOff;
  }

  /** A worker was started. */
  started(now: number): void {
    this.#delayedFrom = now;
  }

  /** When `startDelay` is over; Infinity before the first plan. */
  get dueAt(): number {
    if (this.#delayedFrom === undefined) return Infinity;
    return this.#delayedFrom + this.#limits.startDelay;
  }

  /** Starts for workers that are `missing`, and with what is left for those that are `outgoing`. */
  plan(missing: number, outgoing: readonly number[], load: Load, now: number): StartPlan {
    const free = this.#free(now);
    const processes = this.#slots.processes();
    const room = roomFor(processes, this.#limits);
    const wanted = Math.min(free, Math.max(0, missing));
    const newcomers = Math.min(wanted, room);
    const lacking = wanted - room;
    // Workers that are replaced serve on meanwhile: there is no hurry, and requests need the CPUs too.
    const calm = Math.ceil(this.#cpus / 2) - this.#slots.starting().length - newcomers;
    const replacements = Math.max(0, Math.min(Math.min(free, room) - newcomers, calm));
    return {
      inTheWay: lacking > 0 ? inTheWay(processes, lacking, load, this.#limits, now) : [],
      newcomers,
      replaced: outgoing.slice(0, replacements),
    };
  }

  /** Starts that are allowed now: one a CPU; after a failed one, one until it has proved itself. */
  #free(now: number): number {
    const { startDelay } = this.#limits;
    this.#delayedFrom ??= now;
    if (now < this.#delayedFrom + startDelay || this.#backOff.isResting(now)) return 0;
    if (this.#backOff.isWary) {
      return this.#slots.serving().some(({ isProven }) => !isProven) ? 0 : 1;
    }
    if (startDelay > 0) return 1;
    return Math.max(0, this.#cpus - this.#slots.starting().length);
  }
}
