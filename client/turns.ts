/**
 * Which of several endpoints is taken: the one that worked last, until it is shunned for a moment
 * because it failed; then the next in turn. Without a clock: times are ms.
 *
 * @module
 */

/** How long an endpoint that failed comes after the others, ms. */
const SHUN_TIME = 1000;

/** The endpoints' turns, by their indexes. */
export class Turns {
  /** Until when each is shunned, ms. */
  readonly #shunnedUntil: number[];
  #current = 0;

  /** Starts with the first of `count` endpoints. */
  constructor(count: number) {
    this.#shunnedUntil = new Array(count).fill(-Infinity);
  }

  /** Whether there is more than one. */
  get several(): boolean {
    return this.#shunnedUntil.length > 1;
  }

  /** The endpoint to take: the current one, or the next in turn that is not shunned. */
  next(now: number): number {
    const open = this.#inTurn().find((index) => !this.isShunned(index, now));
    return this.#current = open ?? this.#soonest();
  }

  /** An endpoint has failed. */
  shun(index: number, now: number): void {
    this.#shunnedUntil[index] = now + SHUN_TIME;
  }

  /** An endpoint works. */
  trust(index: number): void {
    this.#shunnedUntil[index] = -Infinity;
  }

  /** Whether an endpoint has failed a moment ago. */
  isShunned(index: number, now: number): boolean {
    return (this.#shunnedUntil[index] ?? 0) > now;
  }

  /** Whether some endpoint is not shunned. */
  hasOther(now: number): boolean {
    return this.otherAt(now) <= now;
  }

  /** When some endpoint is not shunned, ms. */
  otherAt(now: number): number {
    return Math.max(now, Math.min(...this.#shunnedUntil));
  }

  /** The indexes, from the current one on. */
  #inTurn(): number[] {
    const { length } = this.#shunnedUntil;
    return Array.from({ length }, (_, step) => (this.#current + step) % length);
  }

  #soonest(): number {
    return this.#shunnedUntil.indexOf(Math.min(...this.#shunnedUntil));
  }
}
