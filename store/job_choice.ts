/**
 * Which job of a service starts next: by priority, which grows with the time that a job has waited, within the room
 * that the plane has, the limit of each group and the rate of the service. Pure: it is told the time.
 *
 * @module
 */

import { type Candidate, Lines, type WaitingJobs } from "./lines.ts";
import type { ServiceRules } from "./messages.ts";
import { RateLimit } from "./rate.ts";

/** A job that starts, with its priority. */
export interface Chosen extends Candidate {
  priority: number;
}

/** Priorities are 0 to this. */
const TOP = 9;
/** A job that has waited so long counts as one of the next priority, ms. */
const AGEING_STEP = 10_000;

/** No limits. */
const FREE: ServiceRules = { maxRunningPerGroup: 0, rate: { perSecond: 0, burst: 0 } };

/** The jobs of one service that may run. */
export class JobChoice {
  readonly #files: (priority: number) => WaitingJobs;
  readonly #lines = new Map<number, Lines>();
  /** How far each priority is from its next turn where several are as urgent. */
  readonly #credits = new Map<number, number>();
  readonly #running = new Map<string, number>();
  #rules: ServiceRules;
  #rate: RateLimit;
  /** Nothing starts before, by the steady clock. */
  #heldUntil = 0;
  /** How many more the plane takes. */
  room = 0;
  /** An operator has paused it. */
  isPaused = false;

  /** `files`: what waits, by priority; `steady` is the time by the steady clock. */
  constructor(
    files: (priority: number) => WaitingJobs,
    rules: ServiceRules | undefined,
    steady: number,
  ) {
    this.#files = files;
    this.#rules = rules ?? FREE;
    this.#rate = new RateLimit(this.#rules.rate, steady);
  }

  /** Applies other rules. */
  configure(rules: ServiceRules | undefined, steady: number): void {
    this.#rules = rules ?? FREE;
    this.#rate.configure(this.#rules.rate, steady);
    for (const lines of this.#lines.values()) lines.wake();
  }

  /** So many of a priority wait in the file that was opened. */
  begin(priority: number, waiting: number): void {
    this.#lines.set(priority, this.#newLines(priority, waiting));
  }

  /** A job waits now that did not; whether it is held, and so among the next. */
  add(job: Chosen): boolean {
    return this.#linesOf(job.priority).add(job);
  }

  /** A job has ended, or waits for its next try; `isRunning`: it was started. */
  remove(job: Chosen, isRunning: boolean): void {
    this.#linesOf(job.priority).remove(job);
    if (isRunning) this.#leaveGroup(job.group);
  }

  /** A job that was started is not run. */
  giveBack(job: Chosen): void {
    this.#linesOf(job.priority).giveBack(job);
    this.#leaveGroup(job.group);
    this.#rate.giveBack();
  }

  /** Starts nothing for a while: what was started came back. */
  hold(until: number): void {
    this.#heldUntil = until;
  }

  /** How many wait to be started. */
  get waiting(): number {
    let sum = 0;
    for (const lines of this.#lines.values()) sum += lines.waiting;
    return sum;
  }

  /** Since when the one that has waited longest may run, as far as it is known; undefined: none waits. */
  oldestDue(): number | undefined {
    let oldest: number | undefined;
    for (const lines of this.#lines.values()) {
      lines.look(0);
      const due = lines.nextDue;
      if (due !== undefined && (oldest === undefined || due < oldest)) oldest = due;
    }
    return oldest;
  }

  /** Takes the next job, which is started then; undefined: there is none, or it must not start now. */
  next(now: number, steady: number): Chosen | undefined {
    if (this.room <= 0 || this.isPaused || steady < this.#heldUntil) return undefined;
    if (this.#rate.available(steady) < 1) return undefined;
    const chosen = this.#choose(now);
    if (chosen === undefined) return undefined;
    this.room--;
    this.#rate.take(steady);
    if (chosen.group !== "") {
      this.#running.set(chosen.group, (this.#running.get(chosen.group) ?? 0) + 1);
    }
    return chosen;
  }

  /** How long until something may start that can't now, ms; Infinity: only news can change that. */
  waitMs(steady: number): number {
    if (this.room <= 0 || this.isPaused || !this.#mayHave()) return Infinity;
    if (steady < this.#heldUntil) return this.#heldUntil - steady;
    const wait = this.#rate.waitMs(steady);
    return wait === 0 ? Infinity : wait;
  }

  #mayHave(): boolean {
    for (const lines of this.#lines.values()) if (lines.mayHave) return true;
    return false;
  }

  /** The next job of the most urgent priority that has one which may start. */
  #choose(now: number): Chosen | undefined {
    let ready = this.#ready();
    while (ready.length > 0) {
      const priority = ready.length === 1 ? ready[0] ?? 0 : this.#mostUrgent(ready, now);
      const job = this.#linesOf(priority).take(this.room);
      if (job !== undefined) return { ...job, priority };
      ready = ready.filter((one) => one !== priority);
    }
    return undefined;
  }

  #ready(): number[] {
    const ready: number[] = [];
    for (const [priority, lines] of this.#lines) if (lines.mayHave) ready.push(priority);
    return ready;
  }

  #mostUrgent(ready: readonly number[], now: number): number {
    let most = -1;
    let equals: number[] = [];
    for (const priority of ready) {
      const urgency = this.#urgency(priority, now);
      if (urgency > most) equals = [];
      if (urgency >= most) equals.push(priority);
      most = Math.max(most, urgency);
    }
    return equals.length === 1 ? equals[0] ?? 0 : this.#inTurn(equals);
  }

  #urgency(priority: number, now: number): number {
    const lines = this.#linesOf(priority);
    lines.look(this.room);
    const waited = now - (lines.nextDue ?? now);
    return Math.min(TOP, priority + Math.max(0, Math.floor(waited / AGEING_STEP)));
  }

  /** Of priorities that are as urgent each has its part of the turns: 9 has a hundred times those of 0. */
  #inTurn(priorities: readonly number[]): number {
    let best = priorities[0] ?? 0;
    let sum = 0;
    for (const priority of priorities) {
      const weight = (priority + 1) ** 2;
      sum += weight;
      const credit = (this.#credits.get(priority) ?? 0) + weight;
      this.#credits.set(priority, credit);
      if (credit > (this.#credits.get(best) ?? 0)) best = priority;
    }
    this.#credits.set(best, (this.#credits.get(best) ?? 0) - sum);
    return best;
  }

  #linesOf(priority: number): Lines {
    let lines = this.#lines.get(priority);
    if (lines === undefined) this.#lines.set(priority, lines = this.#newLines(priority, 0));
    return lines;
  }

  #newLines(priority: number, waiting: number): Lines {
    return new Lines(this.#files(priority), waiting, (group) => this.#isFull(group));
  }

  #isFull(group: string): boolean {
    const most = this.#rules.maxRunningPerGroup;
    return most > 0 && group !== "" && (this.#running.get(group) ?? 0) >= most;
  }

  #leaveGroup(group: string): void {
    if (group === "") return;
    const running = (this.#running.get(group) ?? 0) - 1;
    if (running > 0) this.#running.set(group, running);
    else this.#running.delete(group);
    for (const lines of this.#lines.values()) lines.wake();
  }
}
