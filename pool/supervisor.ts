/**
 * Decides how many workers live: starts, scales, recycles, reloads, watches and stops them. A pure
 * state machine: it is told what happened and answers with actions; it owns no process, clock or job.
 *
 * @module
 */

import type { ExitReason } from "../wire/exit_reasons.ts";
import { BackOff } from "./back_off.ts";
import { Culling, type CullingLimits } from "./culling.ts";
import { type Departure, Departures } from "./departures.ts";
import { type DequeueLimits, DequeueRounds } from "./dequeue_rounds.ts";
import { Generations } from "./generations.ts";
import { type CpuReading, type RogueLimits, Rogues } from "./rogues.ts";
import { aboveMax, checkSize, countMissing } from "./scaling.ts";
import type { KillSignal, Load, Purpose, Slot, SlotLimits, WorkerView } from "./slot.ts";
import { Slots } from "./slots.ts";
import { type StartLimits, type StartPlan, Starts } from "./starts.ts";
import { type MemoryReading, Wear, type WearLimits } from "./wear.ts";

export type { CpuReading, KillSignal, Load, MemoryReading, Purpose, WorkerView };

/** What bounds a pool. Intervals, timeouts, ages and CPU times are milliseconds. */
export type Limits =
  & CullingLimits
  & DequeueLimits
  & RogueLimits
  & SlotLimits
  & StartLimits
  & WearLimits;

/**
 * How a process ended: with code 0, as one that broke, or by what was not the fault of its start: a signal
 * from outside, or a job that it had.
 */
export type Ending = "ok" | "broken" | "harmed";

/** What is to be done now. */
export type Action =
  | Departure
  | { type: "spawn"; worker: number; purpose: Purpose }
  | { type: "reloaded" }
  | { type: "reloadFailed"; message: string };

/** The load changes without a message to the supervisor, so it checks the load this often. */
const HEARTBEAT_MS = 1_000;
/** A tick that comes later than this was not merely late: the machine slept, and the workers with it. */
const OVERSLEPT_MS = 5_000;

/**
 * The pool's mind. Tell it what happened, call `tick`, then do what `takeActions` gives, in order.
 *
 * @example
 * ```ts
 * const pool = new Supervisor(limits, { cpus: navigator.hardwareConcurrency });
 * const wait = pool.tick(performance.now(), load);
 * for (const action of pool.takeActions()) perform(action);
 * ```
 */
export class Supervisor {
  /** All parts below read their limits here, at each use. */
  readonly #limits: Limits;
  readonly #slots: Slots;
  readonly #generations = new Generations();
  readonly #backOff: BackOff;
  readonly #wear: Wear;
  readonly #rogues: Rogues;
  readonly #starts: Starts;
  readonly #culling: Culling;
  readonly #dequeueRounds: DequeueRounds;
  readonly #departures: Departures;
  #actions: Action[] = [];
  /** There was a time without any worker, on purpose: to have none is no failure. */
  #wasUnmanned = false;
  /** When the last tick asked to be called. */
  #wakeAt = Infinity;

  /**
   * Makes an empty pool; the first tick starts workers, `cpus` at a time.
   *
   * @param options `random`: gives numbers from 0 to 1; by default `Math.random`. `nextWorker`: numbers the workers
   * where several pools share their numbers; by default they count from 1.
   * @throws {RangeError} for the reasons of `checkSize`.
   */
  constructor(
    limits: Limits,
    options: { cpus: number; random?: () => number; nextWorker?: () => number },
  ) {
    checkSize(limits);
    const { cpus, random = Math.random, nextWorker = countFromOne() } = options;
    this.#limits = { ...limits };
    this.#wasUnmanned = limits.maxWorkers === 0;
    this.#slots = new Slots(nextWorker);
    this.#backOff = new BackOff(random);
    this.#wear = new Wear(this.#limits, random);
    this.#rogues = new Rogues(this.#limits);
    this.#starts = new Starts(this.#limits, cpus, this.#slots, this.#backOff);
    this.#culling = new Culling(this.#limits);
    this.#dequeueRounds = new DequeueRounds(this.#limits);
    const decided = (departure: Departure) => this.#actions.push(departure);
    this.#departures = new Departures(this.#limits, this.#slots, decided);
  }

  // ---- what others ask ----

  /** The number of the code that new workers run: 1, and one more with each reload. */
  get generation(): number {
    return this.#generations.current;
  }

  /** Whether older workers are being replaced. */
  get reloading(): boolean {
    return this.#generations.isReloading;
  }

  /** Whether any worker ever became ready, or none had to. */
  get everReady(): boolean {
    return this.#generations.hasProven || this.#wasUnmanned;
  }

  /** Whether it was told to stop, or to kill everybody: it starts nothing more. */
  get isHalted(): boolean {
    return this.#departures.isHalted;
  }

  /** Whether it was told to stop and no worker is left. */
  get stopped(): boolean {
    return this.isHalted && this.#slots.size === 0;
  }

  /** Whether a worker had to be killed (SIGKILL) in order to stop. */
  get forced(): boolean {
    return this.#departures.isForced;
  }

  /** A worker that has not exited. */
  worker(id: number): WorkerView | undefined {
    return this.#slots.get(id);
  }

  /** Workers for clients' jobs by their state, and dequeue workers of any state. */
  counts(): Record<"starting" | "ready" | "stopping" | "dequeue", number> {
    return this.#slots.counts();
  }

  /** Takes the actions decided so far. */
  takeActions(): Action[] {
    const actions = this.#actions;
    this.#actions = [];
    return actions;
  }

  // ---- a worker's life: it starts ----

  #spawn(purpose: Purpose, replaces: number | undefined, now: number): void {
    const generation = this.#generations.current;
    const { worker } = this.#slots.add({ purpose, generation, replaces }, now);
    if (purpose === "serve") {
      this.#starts.started(now);
      this.#culling.started(now);
    }
    this.#actions.push({ type: "spawn", worker, purpose });
  }

  /** The process of `id` exists; its `startTimeout` counts from now. */
  spawned(id: number, now: number): void {
    this.#slots.get(id)?.spawned(now);
  }

  /** The process of `id` could not be made: the system lacks something, so try again in 1 s or more. */
  spawnFailed(id: number, now: number): void {
    const slot = this.#slots.get(id);
    if (slot === undefined) return;
    this.#forget(slot);
    if (slot.purpose === "dequeue") return;
    this.#backOff.spawnFailed(now);
    this.#failReload(slot, "its process could not be made", now);
  }

  /** What kept processes from being made is over: the next start need not wait. */
  forgiveStarts(): void {
    this.#backOff.forgive();
  }

  /** `id` could not load its handler, as `message` says, and will exit by itself. */
  loadFailed(id: number, message: string, now: number): void {
    const slot = this.#slots.get(id);
    if (slot === undefined || slot.isLeaving) return;
    slot.stop("failed", now);
    this.#startFailed(slot, message, now);
  }

  /** `id` is ready to serve; false if it is not expected to: unknown, ready already, or stopping. */
  ready(id: number, now: number): boolean {
    const slot = this.#slots.get(id);
    if (slot?.state !== "starting") return false;
    slot.becomeReady(now);
    this.#wear.draw(id);
    this.#generations.prove(slot.generation);
    const old = this.#slots.get(slot.replaces ?? 0);
    if (old !== undefined) {
      this.#departures.dismiss(old, this.#isOld(old) ? "reload" : "recycled", now);
    }
    return true;
  }

  // ---- a worker's life: its jobs use it up, or hang ----

  /** Whether `memoryReadings` wants to be told again. */
  memoryDue(now: number): boolean {
    return this.#wear.isDue(now);
  }

  /** Takes note of the memory that workers have. */
  memoryReadings(readings: readonly MemoryReading[], now: number): void {
    const known = readings.filter(({ worker }) => this.#slots.get(worker) !== undefined);
    this.#wear.read(known, now);
  }

  /** Whether `rogueReadings` wants to be told again. */
  babysitDue(now: number): boolean {
    return this.#rogues.isDue(now);
  }

  /** Judges what the workers' jobs have used: INT for a rogue, TERM the next time, then KILL. */
  rogueReadings(readings: readonly CpuReading[], now: number): void {
    this.#rogues.read(now);
    for (const reading of readings) {
      const slot = this.#slots.get(reading.worker);
      const signal = slot && this.#rogues.judge(slot, reading, now);
      if (slot && signal) this.#departures.kill(slot, signal);
    }
  }

  /** The handler of `id` does not stop, but other jobs run with it: `overran` comes when they have ended. */
  isolated(id: number, now: number): void {
    this.#slots.get(id)?.isolate(now);
  }

  /** The handler of `id` does not stop: TERM, and KILL after `abortGrace`. */
  overran(id: number, now: number): void {
    const slot = this.#slots.get(id);
    if (slot === undefined || slot.state === "killed") return;
    slot.overrun(this.#limits, now);
    this.#departures.kill(slot, "SIGTERM");
  }

  // ---- a worker's life: it leaves, and its process ends ----

  /** Has `id` leave, as an operator wants; another one takes its place. False: there is no such worker. */
  dismiss(id: number, now: number): boolean {
    const slot = this.#slots.get(id);
    if (slot !== undefined) this.#departures.dismiss(slot, "asked", now);
    return slot !== undefined;
  }

  /** `id` is being killed, as an operator wants: that is not the fault of its handler. */
  slain(id: number, now: number): void {
    const slot = this.#slots.get(id);
    slot?.stop("asked", now);
    slot?.sent("SIGKILL");
  }

  /** `id` says that it leaves, unasked. */
  leaving(id: number, now: number): void {
    const slot = this.#slots.get(id);
    if (slot === undefined || slot.isLeaving) return;
    const isEarly = slot.isEarly(now);
    slot.stop("left", now);
    if (isEarly) this.#startFailed(slot, "it left at once", now);
  }

  /** `id` has sent its last message: nothing is left for its process but to end, and soon. */
  left(id: number, now: number): void {
    this.leaving(id, now);
    this.#slots.get(id)?.left(now);
  }

  /** The process of `id` ended. Returns why; undefined if there was no such worker. */
  exited(id: number, now: number, ending: Ending = "ok"): ExitReason | undefined {
    const slot = this.#slots.get(id);
    if (slot === undefined) return undefined;
    this.#forget(slot);
    if (this.isHalted) return "stopped";
    if (slot.purpose === "dequeue") {
      return slot.reason ?? (ending === "ok" ? "dequeued" : "crashed");
    }
    if (slot.isEarly(now)) this.#endedEarly(slot, ending, now);
    return slot.reason ?? (slot.state === "starting" ? "failed" : "crashed");
  }

  #forget({ worker }: Slot): void {
    this.#slots.remove(worker);
    this.#wear.forget(worker);
    this.#rogues.forget(worker);
  }

  /** To be harmed says nothing of the handler, if that is known to start. */
  #endedEarly(slot: Slot, ending: Ending, now: number): void {
    const isExcused = ending === "harmed" && this.#generations.isProven(slot.generation);
    if (isExcused) this.#backOff.harmed(now);
    else this.#startFailed(slot, "it ended at once", now);
  }

  #startFailed(slot: Slot, why: string, now: number): void {
    if (slot.purpose === "dequeue") return; // its interval is its back-off
    this.#backOff.startFailed(now);
    this.#failReload(slot, why, now);
  }

  // ---- the pool's life ----

  /**
   * Changes how many workers there may be; those above `max` are retired, idle ones first.
   *
   * @throws {RangeError} for the reasons of `checkSize`.
   */
  resize(min: number, max: number, now: number): void {
    this.configure({ ...this.#limits, minWorkers: min, maxWorkers: max }, now);
  }

  /**
   * Changes all limits. A new `maxRequests`, `maxMemory` or `maxAge` is for workers that become ready later.
   *
   * @throws {RangeError} for the reasons of `checkSize`.
   */
  configure(limits: Limits, now: number): void {
    checkSize(limits);
    const isNewInterval = limits.dequeueInterval !== this.#limits.dequeueInterval;
    Object.assign(this.#limits, limits);
    this.#wasUnmanned ||= limits.maxWorkers === 0;
    if (isNewInterval) this.#dequeueRounds.restart(now);
  }

  /** Replaces all workers by new ones, without being short of any; ends in "reloaded" or "reloadFailed". */
  reload(now: number): void {
    if (this.isHalted) return;
    this.#generations.reload();
    this.#backOff.forgive(); // the new code may be the cure
    this.#departures.dismissStarting(now);
  }

  /** Ends a reload when all that is ready is new. */
  #finishReload(): void {
    if (!this.reloading) return;
    const ready = this.#slots.ready();
    const isShort = ready.length === 0 && this.#limits.maxWorkers > 0;
    if (isShort || ready.some((slot) => this.#isOld(slot))) return;
    this.#generations.endReload();
    this.#actions.push({ type: "reloaded" });
  }

  /** Stays with the workers there are, of whatever generation. */
  #failReload({ worker, generation }: Slot, why: string, now: number): void {
    if (!this.reloading || generation < this.generation) return;
    this.#generations.endReload();
    this.#departures.dismissStarting(now);
    const message = `Cannot reload: worker ${worker} failed to start: ${why}`;
    this.#actions.push({ type: "reloadFailed", message });
  }

  #isOld({ generation }: Slot): boolean {
    return this.#generations.isOld(generation);
  }

  /** Lets workers finish and leave; one that takes longer than `stopTimeout` is killed. */
  stop(now: number): void {
    this.#generations.endReload();
    this.#departures.stopAll(now);
  }

  /** Kills all workers at once. */
  killAll(now: number): void {
    this.#generations.endReload();
    this.#departures.killAll(now);
  }

  // ---- what is due ----

  /** Does what is due at `now`; returns ms until it must run again, Infinity when all is over. */
  tick(now: number, load: Load): number {
    this.#forgiveOversleep(now);
    this.#killOverdue(now, load);
    if (!this.isHalted) this.#steer(now, load);
    const wait = this.stopped ? Infinity : this.#nextDue(now) - now;
    this.#wakeAt = now + wait;
    return wait;
  }

  /** If this process slept too long (a suspended machine, a debugger), so did the workers. */
  #forgiveOversleep(now: number): void {
    const late = now - this.#wakeAt;
    if (late <= OVERSLEPT_MS) return;
    // What happened after it woke, but before this tick, must not end up in the future.
    const later = (time: number) => Math.min(now, time + late);
    for (const slot of this.#slots) slot.postpone(later);
    this.#backOff.postpone(later);
    this.#rogues.postpone(later);
    this.#dequeueRounds.postpone(later);
    this.#culling.postpone(later, now);
  }

  #killOverdue(now: number, load: Load): void {
    this.#departures.killOverdue(now, load, (slot) => {
      const why = `it was not ready within ${this.#limits.startTimeout} ms`;
      this.#startFailed(slot, why, now);
    });
  }

  #steer(now: number, load: Load): void {
    this.#noteProven(now, load);
    this.#fitMax(now, load);
    const members = this.#slots.members();
    const missing = countMissing(members, load, this.#limits);
    if (missing <= 0 && !this.reloading) {
      for (const slot of this.#culling.check(members, load, now)) {
        this.#departures.dismiss(slot, "culled", now);
      }
    }
    this.#start(this.#starts.plan(missing, this.#outgoing(load, now), load, now), now);
    this.#finishReload();
    if (this.#dequeueRounds.starts(this.counts().dequeue, now)) {
      this.#spawn("dequeue", undefined, now);
    }
  }

  /** A worker that was started after the last failure, and has proved itself, ends the back-off. */
  #noteProven(now: number, load: Load): void {
    for (const slot of this.#slots) {
      if (slot.proves(load, now)) this.#backOff.proved(slot.spawnedAt);
    }
  }

  /** Retires what a new `maxWorkers` has no place for: starting ones, then idle, then busy ones. */
  #fitMax(now: number, load: Load): void {
    const excess = aboveMax(this.#slots.members(), load, this.#limits);
    if (excess.length === 0) return;
    for (const slot of excess) this.#departures.dismiss(slot, "culled", now);
    this.#fitMax(now, load); // what was to replace one of them is a member now
  }

  /** Workers to start replacements for: all that are old, else one that is worn. `ready` retires them. */
  #outgoing(load: Load, now: number): number[] {
    const serving = this.#slots.serving();
    const replaced = new Set(this.#slots.starting().map(({ replaces }) => replaces));
    const ready = this.#slots.ready().filter(({ worker }) => !replaced.has(worker));
    if (this.reloading) {
      return ready.filter((slot) => this.#isOld(slot)).map(({ worker }) => worker);
    }
    if (serving.some((slot) => this.#slots.isReplacement(slot))) return []; // one at a time
    for (const slot of ready) {
      slot.wear = this.#wear.causeFor(slot, load, now);
      if (slot.wear !== undefined) return [slot.worker];
    }
    return [];
  }

  #start({ inTheWay, newcomers, replaced }: StartPlan, now: number): void {
    for (const slot of inTheWay) this.#departures.clear(slot);
    for (let count = 0; count < newcomers; count++) this.#spawn("serve", undefined, now);
    for (const worker of replaced) this.#spawn("serve", worker, now);
  }

  #nextDue(now: number): number {
    const times = [
      now + HEARTBEAT_MS,
      ...this.#backOff.ends,
      this.#culling.dueAt,
      this.#rogues.dueAt,
      this.#dequeueRounds.dueAt,
      this.#starts.dueAt,
    ];
    for (const slot of this.#slots) times.push(slot.deadline(this.#limits));
    // What is past was done, or waits for an event.
    return Math.min(...times.filter((time) => time > now));
  }
}

/** 1, 2, 3 and so on, one at each call. */
export function countFromOne(): () => number {
  let last = 0;
  return () => ++last;
}
