/**
 * The generations of code that workers run: a reload starts the next one. Not here: which worker is
 * replaced when.
 *
 * @module
 */

/** Which code new workers run, which is old, and which is known to start. */
export class Generations {
  #current = 1;
  /** A reload is under way to replace the generations below this; 0: none is. */
  #oldBelow = 0;
  /** The last generation of which a worker was ready; 0: none ever was. */
  #proven = 0;

  /** The code that new workers run: 1, and one more with each reload. */
  get current(): number {
    return this.#current;
  }

  /** Whether older workers are being replaced. */
  get isReloading(): boolean {
    return this.#oldBelow > 0;
  }

  /** Whether any worker ever became ready. */
  get hasProven(): boolean {
    return this.#proven > 0;
  }

  /** Starts the next generation, which is to replace all others. */
  reload(): void {
    this.#oldBelow = ++this.#current;
  }

  /** Ends a reload: workers of whatever generation stay. */
  endReload(): void {
    this.#oldBelow = 0;
  }

  /** A worker of `generation` is ready. */
  prove(generation: number): void {
    this.#proven = Math.max(this.#proven, generation);
  }

  /** Whether its workers are to be replaced. */
  isOld(generation: number): boolean {
    return generation < this.#oldBelow;
  }

  /** Whether its code is known to start: a worker of it, or of a later one, was ready. */
  isProven(generation: number): boolean {
    return generation <= this.#proven;
  }
}
