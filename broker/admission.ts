/**
 * Whether a request is let in: the bounds of the queue, each client's share of it, and the end of service.
 *
 * @module
 */

import type { Client } from "./job.ts";
import type { BrokerLimits } from "./limits.ts";
import type { Roster } from "./roster.ts";
import type { Starving } from "./stream.ts";
import type { Waiting } from "./waiting.ts";

/** What an `Admission` goes by. */
export type AdmissionLimits = Pick<
  BrokerLimits,
  "queueLimit" | "queueBytes" | "overflow" | "maxQueuePerClient"
>;

/** The bounds for what waits. */
export class Admission<B> {
  #limits: AdmissionLimits;
  readonly #waiting: Pick<Waiting<B>, "size" | "bytes" | "stored" | "storedBytes">;
  readonly #roster: Pick<Roster<B>, "bytes">;
  readonly #starving: Pick<Starving, "areThere">;
  /** open → serving: only what waits is served → refusing: nothing is started any more */
  #phase: "open" | "serving" | "refusing" = "open";
  #isHeld = false;

  /** Lets requests in by what waits, and by what workers hold. */
  constructor(
    limits: AdmissionLimits,
    waiting: Pick<Waiting<B>, "size" | "bytes" | "stored" | "storedBytes">,
    roster: Pick<Roster<B>, "bytes">,
    starving: Pick<Starving, "areThere">,
  ) {
    this.#limits = limits;
    this.#waiting = waiting;
    this.#roster = roster;
    this.#starving = starving;
  }

  /** Applies other limits from now on. */
  configure(limits: AdmissionLimits): void {
    this.#limits = limits;
  }

  /** Lets no more requests in; what waits is served, or nothing is started any more. */
  drain(waiting: "serve" | "refuse"): void {
    this.#phase = waiting === "serve" ? "serving" : "refusing";
  }

  /** Whether requests are let in, where there is room. */
  get isOpen(): boolean {
    return this.#phase === "open";
  }

  /** Whether what waits is started, if it is not paused. */
  get isServing(): boolean {
    return this.#phase !== "refusing";
  }

  /** Starts nothing before `resume`: what comes waits. */
  pause(): void {
    this.#isHeld = true;
  }

  /** Starts what waits again. */
  resume(): void {
    this.#isHeld = false;
  }

  /** Whether nothing is started for now. The end of service ends a pause, too: what waits must come to its end. */
  get isPaused(): boolean {
    return this.#isHeld && this.isOpen;
  }

  /**
   * Whether what waits is at one of its bounds. The bytes of what workers have count too: they are held until
   * the answer is there.
   */
  get isFull(): boolean {
    const { queueLimit, queueBytes } = this.#limits;
    return this.#requests >= queueLimit || this.#bytes >= queueBytes;
  }

  /** Requests that wait: the store bounds its jobs itself. */
  get #requests(): number {
    return this.#waiting.size - this.#waiting.stored;
  }

  get #bytes(): number {
    return this.#waiting.bytes - this.#waiting.storedBytes + this.#roster.bytes;
  }

  /**
   * Whether the frontend should not be read now. It is read as long as an answer in parts waits for its client: what
   * the client takes stands behind the requests, and the queue may be full because no worker gets on.
   */
  get isBlocked(): boolean {
    return this.isOpen && this.#limits.overflow === "block" && this.isFull &&
      !this.#starving.areThere;
  }

  /** For how many more requests there is room, where the frontend is not read without; Infinity: they need none. */
  get room(): number {
    if (!this.isOpen || this.#limits.overflow !== "block") return Infinity;
    // What they take more stands behind requests, also in connections that are not read.
    if (this.#starving.areThere) return Infinity;
    return this.isFull ? 0 : this.#limits.queueLimit - this.#requests;
  }

  /** Whether what waits is at twice one of its bounds: so it may be where not all is left unread that finds it full. */
  get isOverfull(): boolean {
    const { queueLimit, queueBytes } = this.#limits;
    return this.#requests >= 2 * queueLimit || this.#bytes >= 2 * queueBytes;
  }

  /** Why a request of a client is refused now though there is service; undefined: it is let in. */
  refusal({ line }: Client<B>): string | undefined {
    const { overflow, maxQueuePerClient } = this.#limits;
    if (overflow === "reject" && this.isFull) return "The queue is full";
    // It is read only because an answer in parts waits.
    if (this.#starving.areThere && this.isOverfull) return "The queue is full";
    if (maxQueuePerClient === 0 || line.size < maxQueuePerClient) return undefined;
    return `The client has ${maxQueuePerClient} requests waiting, which is the limit`;
  }
}
