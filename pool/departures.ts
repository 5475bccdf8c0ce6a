/**
 * How workers are made to leave: they are asked to, told by signals, and killed when they take too long; and the end of
 * all of them. Not here: which one is to leave when, and what its end says of its start (supervisor.ts).
 *
 * @module
 */

import type { ExitReason } from "../wire/exit_reasons.ts";
import type { KillSignal, Load, Slot, SlotLimits } from "./slot.ts";
import type { Slots } from "./slots.ts";

/** What is to be done now; "retire" asks a worker to finish its jobs and leave, "evict" ends an isolated one. */
export type Departure =
  | { type: "retire"; worker: number }
  | { type: "evict"; worker: number }
  | { type: "kill"; worker: number; signal: KillSignal };

/** Has workers leave. */
export class Departures {
  readonly #limits: Readonly<SlotLimits>;
  readonly #slots: Slots;
  readonly #decided: (departure: Departure) => void;
  #isHalted = false;
  #isForced = false;

  /**
   * @param limits live: changed ones count from the next call.
   * @param decided is told what is to be done, in order.
   */
  constructor(
    limits: Readonly<SlotLimits>,
    slots: Slots,
    decided: (departure: Departure) => void,
  ) {
    this.#limits = limits;
    this.#slots = slots;
    this.#decided = decided;
  }

  /** Whether all were told to leave: there is to be no other. */
  get isHalted(): boolean {
    return this.#isHalted;
  }

  /** Whether a worker had to be killed (SIGKILL) then. */
  get isForced(): boolean {
    return this.#isForced;
  }

  /** Has a worker leave: politely if clients' jobs may be in its hands. */
  dismiss(slot: Slot, reason: ExitReason, now: number): void {
    if (slot.isLeaving) return;
    const serves = slot.state === "ready" && slot.purpose === "serve";
    slot.stop(reason, now);
    if (serves) this.#decided({ type: "retire", worker: slot.worker });
    else this.kill(slot, "SIGTERM");
  }

  /** Has those leave that are not ready: their code is not to be run any more. */
  dismissStarting(now: number): void {
    for (const slot of this.#slots.starting()) this.dismiss(slot, "reload", now);
  }

  /** Sends a signal. */
  kill(slot: Slot, signal: KillSignal): void {
    slot.sent(signal);
    if (this.#isHalted && signal === "SIGKILL") this.#isForced = true;
    this.#decided({ type: "kill", worker: slot.worker, signal });
  }

  /** Ends a leaving worker at once, whose place another one is to have. */
  clear(slot: Slot): void {
    if (slot.state === "isolated") this.#decided({ type: "evict", worker: slot.worker });
    else this.kill(slot, "SIGKILL");
  }

  /** Kills those that have taken too long; `notReady` is told of each that should have been ready by now. */
  killOverdue(now: number, load: Load, notReady: (slot: Slot) => void): void {
    for (const slot of this.#slots) {
      if (this.#finishesJobs(slot, load)) slot.finishJobs(now);
      if (now < slot.deadline(this.#limits)) continue;
      const wasStarting = slot.state === "starting";
      slot.stop("timeout", now);
      this.kill(slot, "SIGKILL");
      if (wasStarting) notReady(slot);
    }
  }

  /** Whether it is recycled and still has jobs: to be worn is no reason to cut them short. */
  #finishesJobs({ worker, state, reason }: Slot, load: Load): boolean {
    return !this.#isHalted && state === "stopping" && reason === "recycled" && load.busy(worker);
  }

  /** Lets all finish and leave; one that takes longer than `stopTimeout` is killed. */
  stopAll(now: number): void {
    this.#isHalted = true;
    for (const slot of this.#slots) this.dismiss(slot, "stopped", now);
  }

  /** Kills all at once. */
  killAll(now: number): void {
    this.#isHalted = true;
    for (const slot of this.#slots) {
      slot.stop("stopped", now);
      if (slot.state !== "killed") this.kill(slot, "SIGKILL");
    }
  }
}
