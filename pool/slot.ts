/**
 * One worker's life, from the decision to start it until its process has ended: where it is, since when,
 * why it leaves, and how long it may stay where it is. Not here: which worker that happens to.
 *
 * @module
 */

import type { Settings } from "../options/settings.ts";
import type { ExitReason } from "../wire/exit_reasons.ts";

/** What a worker is for: clients' jobs, or one round of the handler's own backlog. */
export type Purpose = "serve" | "dequeue";

/** Which limit a recycled worker has reached: answered jobs, memory or age. */
export type WearCause = "requests" | "memory" | "age";

/** What a worker can be sent, the gentlest first. */
export type KillSignal = "SIGINT" | "SIGTERM" | "SIGKILL";

/**
 * Where a worker is in its life. A dequeue worker is "ready" from its start, because it has no jobs to wait for.
 *
 *     start → starting ─ready→ ready ─leaves, or is to leave──────→ stopping ─KILL→ killed → (exit)
 *                 │               └─its handler hangs→ isolated ──────────┘
 *                 └─TERM, failed, too slow────────────────────────────────┘
 *
 * An "isolated" worker still has jobs apart from the one that does not stop, and is ended when they have
 * ended. From any state its process may exit.
 */
export type SlotState = "starting" | "ready" | "isolated" | "stopping" | "killed";

/** A worker as others see it: live, so copy what is to be kept. */
export interface WorkerView {
  /** Its id, of which no other worker of the server ever has the same. */
  readonly worker: number;
  /** What it is for. */
  readonly purpose: Purpose;
  /** The generation it was started in. */
  readonly generation: number;
  /** Where it is in its life. */
  readonly state: SlotState;
  /** When its process was made; until then, when that was decided. */
  readonly spawnedAt: number;
  /** Why it is stopping; "rogue" also while it is ready and was interrupted. */
  readonly reason: ExitReason | undefined;
  /** The limit for which it is recycled; undefined until that was decided. */
  readonly wear: WearCause | undefined;
}

/** What the broker knows of the workers; read at each tick, so tell the broker of a worker first. */
export interface Load {
  /** When the last job was given to a worker. */
  lastJobAt: number;
  /** Since when `worker` has had no job; undefined while it has one. */
  idleSince(worker: number): number | undefined;
  /** Jobs that `worker` has answered. */
  answered(worker: number): number;
  /** Whether `worker` has a job. */
  busy(worker: number): boolean;
}

/** How long a worker may take for what. */
export type SlotLimits = Pick<Settings, "startTimeout" | "stopTimeout" | "abortGrace"> & {
  /** Time for a process to end after its last message. @default {1000} */
  readonly leftGrace?: number;
};

/** Gives times that were overslept their later place. */
export type Postpone = (time: number) => number;

/** A worker that lives so long after it was ready, or answers a job, has proved itself. */
const PROBATION_MS = 1_000;
/** Time for a process to end after its last message; without a job, also where others wait for its place. */
const LEFT_GRACE_MS = 1_000;

/** What is known of a worker when it is to be started. */
type Start = Pick<WorkerView, "worker" | "purpose" | "generation"> & {
  /** The ready worker whose place it is to take; undefined: a place of its own. */
  readonly replaces: number | undefined;
};

/** A worker's life. Each method that changes it is one arrow of `SlotState`, and ignores the others. */
export class Slot implements WorkerView {
  readonly worker: number;
  readonly purpose: Purpose;
  readonly generation: number;
  /** The ready worker whose place it is to take; undefined: a place of its own. */
  readonly replaces: number | undefined;
  /** The limit for which it is to be recycled. */
  wear: WearCause | undefined;
  #state: SlotState;
  /** When it came into its state, moved on by what was overslept. */
  #since: number;
  #spawnedAt: number;
  #reason: ExitReason | undefined;
  /** The last one sent. */
  #signal: KillSignal | undefined;
  #isProven = false;
  /** When it was asked to leave, or gave reason to be asked; Infinity: not yet. */
  #dismissedAt = Infinity;
  /** When it sent its last message; Infinity: not yet. */
  #leftAt = Infinity;

  /** A worker whose process is about to be made. */
  constructor({ worker, purpose, generation, replaces }: Start, now: number) {
    this.worker = worker;
    this.purpose = purpose;
    this.generation = generation;
    this.replaces = replaces;
    this.#state = purpose === "serve" ? "starting" : "ready";
    this.#since = this.#spawnedAt = now;
  }

  get state(): SlotState {
    return this.#state;
  }

  get spawnedAt(): number {
    return this.#spawnedAt;
  }

  get reason(): ExitReason | undefined {
    return this.#reason;
  }

  /** The last signal it was sent. */
  get signal(): KillSignal | undefined {
    return this.#signal;
  }

  /** Whether it has answered a job or lived long enough, so that its death is not a failed start. */
  get isProven(): boolean {
    return this.#isProven;
  }

  /** Whether it was asked to leave, leaves by itself, or is being ended. */
  get isLeaving(): boolean {
    return this.#state !== "starting" && this.#state !== "ready";
  }

  /** Whether it serves clients' jobs, or will when it has started. */
  get isServing(): boolean {
    return this.purpose === "serve" && !this.isLeaving;
  }

  /** Whether it is ready and has no job. */
  isIdle(load: Load): boolean {
    return this.#state === "ready" && load.idleSince(this.worker) !== undefined;
  }

  /** Time since it came into its state, ms. */
  age(now: number): number {
    return now - this.#since;
  }

  /** Its process exists: its `startTimeout` counts from now. */
  spawned(now: number): void {
    this.#spawnedAt = now;
    if (this.#state === "starting") this.#since = now;
  }

  /** starting → ready. */
  becomeReady(now: number): void {
    this.#state = "ready";
    this.#since = now;
  }

  /** Whether it proves itself now, and had not yet. */
  proves(load: Load, now: number): boolean {
    if (this.#isProven || this.#state !== "ready" || this.purpose !== "serve") return false;
    this.#isProven = this.age(now) >= PROBATION_MS || load.answered(this.worker) > 0;
    return this.#isProven;
  }

  /** Whether to end now is to have failed to start. */
  isEarly(now: number): boolean {
    if (this.#state === "ready") return !this.#isProven && this.age(now) < PROBATION_MS;
    return this.#state === "starting";
  }

  /** starting or ready → stopping; what made it stop first stays its reason. */
  stop(reason: ExitReason, now: number): void {
    if (this.isLeaving) return;
    this.#state = "stopping";
    this.#reason = reason;
    this.#since = this.#dismissedAt = now;
  }

  /** ready → isolated. */
  isolate(now: number): void {
    if (this.#state !== "ready") return;
    this.stop("overran", now);
    this.#state = "isolated";
  }

  /**
   * Anything but killed → stopping, if its handler's `abortGrace` is over sooner than its other time. An isolated
   * worker is always stopped, and no later than it had to leave before.
   */
  overrun(limits: SlotLimits, now: number): void {
    const grace = abortTime(limits);
    const deadline = this.deadline(limits);
    if (this.#state !== "isolated" && now + grace >= deadline) return;
    this.#state = "stopping";
    this.#reason = "overran";
    this.#since = Math.min(now, deadline - grace);
    this.#dismissedAt = Math.min(this.#dismissedAt, now);
  }

  /** It has sent its last message: its process has only to end. */
  left(now: number): void {
    this.#leftAt = Math.min(this.#leftAt, now);
  }

  /** It is recycled and still has jobs: its `stopTimeout` counts from its last one. */
  finishJobs(now: number): void {
    this.#since = now;
  }

  /** Its job uses too much CPU time; it may still recover. */
  suspect(): void {
    this.#reason = "rogue";
  }

  /** It has recovered. */
  clear(): void {
    if (this.#state === "ready") this.#reason = this.#signal = undefined;
  }

  /** Takes note of a signal that it is sent; stopping, isolated → killed. */
  sent(signal: KillSignal): void {
    this.#signal = signal;
    if (signal === "SIGKILL") this.#state = "killed";
  }

  /** When it must have left its state; Infinity: never. */
  deadline(limits: SlotLimits): number {
    const { startTimeout, stopTimeout, leftGrace = LEFT_GRACE_MS } = limits;
    if (this.#state === "ready" || this.#state === "killed") return Infinity;
    if (this.#state === "starting") return this.#since + startTimeout;
    const grace = this.#reason === "overran" ? abortTime(limits) : stopTimeout;
    const time = this.#state === "isolated" ? stopTimeout + LEFT_GRACE_MS + grace : grace;
    return Math.min(this.#since + time, this.#leftAt + leftGrace);
  }

  /** Whether it takes longer to leave than it may while others wait for its place. */
  isInTheWay(load: Load, { stopTimeout }: SlotLimits, now: number): boolean {
    if (this.#leftAt <= now) return true;
    const finishes = load.busy(this.worker) && this.#state !== "isolated";
    return now >= this.#dismissedAt + (finishes ? stopTimeout : LEFT_GRACE_MS);
  }

  /** Orders leaving workers by who left first, then by who was asked first: negative if that is this one. */
  compareDeparture(other: Slot): number {
    return this.#leftAt - other.#leftAt || this.#dismissedAt - other.#dismissedAt;
  }

  /** Moves its times on, because the worker slept with this process. */
  postpone(later: Postpone): void {
    this.#since = later(this.#since);
    if (this.#leftAt < Infinity) this.#leftAt = later(this.#leftAt);
    if (this.#dismissedAt < Infinity) this.#dismissedAt = later(this.#dismissedAt);
  }
}

/** The time of a handler that does not stop. */
function abortTime({ abortGrace, stopTimeout }: SlotLimits): number {
  return abortGrace > 0 ? abortGrace : stopTimeout;
}
