/**
 * How long starts rest after workers failed to start, and after workers were harmed before they had proved
 * themselves.
 *
 * @module
 */

import type { Postpone } from "./slot.ts";

/** The first rest after a worker that failed to start; each further one doubles it. */
const START_REST_MS = 100;
/** The first rest after a process that could not be made. */
const SPAWN_REST_MS = 1_000;
const MAX_REST_MS = 30_000;
/** The rest after workers were harmed a second time; the first time there is none. */
const HARM_REST_MS = 50;
const MAX_HARM_REST_MS = 500;
/** Workers that are harmed within this time are harmed by the same. */
const HARM_WAVE_MS = 100;

/** Two back-offs: one for starts that failed, and a shorter one for workers that others have harmed. */
export class BackOff {
  readonly #random: () => number;
  /** Rest after the failures in a row, before its jitter, ms; 0: the last start was good. */
  #delay = 0;
  /** Time from `#failedAt` to the next start, ms. */
  #rest = 0;
  #failedAt = -Infinity;
  /** Time from `#harmedAt` to the next start, ms. */
  #harmRest = 0;
  #harmedAt = -Infinity;

  /** @param random gives numbers from 0 to 1, for the jitter. */
  constructor(random: () => number) {
    this.#random = random;
  }

  /** Whether the last start failed: the next worker starts alone. */
  get isWary(): boolean {
    return this.#delay > 0;
  }

  /** Whether no worker may be started now. */
  isResting(now: number): boolean {
    return now < this.#harmedAt + this.#harmRest || this.isWary && this.#isLate(now);
  }

  /** When each rest is over. */
  get ends(): number[] {
    return [this.#failedAt + this.#rest, this.#harmedAt + this.#harmRest];
  }

  /** A worker failed to start: rest for 100 ms, doubled up to 30 s, less up to half of that by jitter. */
  startFailed(now: number): void {
    this.#fail(START_REST_MS, 0.5 + this.#random() / 2, now);
  }

  /** A process could not be made, as the system lacks something: the same, from 1 s, without jitter. */
  spawnFailed(now: number): void {
    this.#fail(SPAWN_REST_MS, 1, now);
  }

  #fail(first: number, jitter: number, now: number): void {
    // Workers fail in waves; a wave counts once.
    if (this.#isLate(now) && this.#delay >= first) return;
    this.#delay = Math.min(MAX_REST_MS, Math.max(first, this.#delay * 2));
    this.#rest = this.#delay * jitter;
    this.#failedAt = now;
  }

  #isLate(now: number): boolean {
    return now < this.#failedAt + this.#rest;
  }

  /** A worker of proven code was harmed before it had proved itself. */
  harmed(now: number): void {
    if (now < this.#harmedAt + HARM_WAVE_MS) return;
    const next = Math.max(HARM_REST_MS, 2 * this.#harmRest);
    this.#harmRest = this.#harmedAt > -Infinity ? Math.min(MAX_HARM_REST_MS, next) : 0;
    this.#harmedAt = now;
  }

  /** A worker has proved itself: what happened before its start is over. */
  proved(spawnedAt: number): void {
    if (spawnedAt >= this.#failedAt) this.#delay = 0;
    if (spawnedAt >= this.#harmedAt) this.#harmedAt = -Infinity;
  }

  /** What made starts fail may be over: the next one need not rest. */
  forgive(): void {
    this.#delay = 0;
  }

  /** Moves its times on, because no worker could be started while this process slept. */
  postpone(later: Postpone): void {
    this.#failedAt = later(this.#failedAt);
    this.#harmedAt = later(this.#harmedAt);
  }
}
