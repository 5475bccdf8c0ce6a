/**
 * How long jobs take: their running mean, and what the slowest of them take. Knows no clock.
 *
 * @module
 */

/** Weight of one observation in the running mean. */
const WEIGHT = 1 / 16;
/** One job in so many takes longer than `tail`. */
const RARE = 200;
/** The tail is found again after so many observations. */
const LOOK_INTERVAL = 32;
/** After so many observations, all that were counted before weigh half: those some thousands ago hardly count. */
const FADE_INTERVAL = 1024;
/** Times are counted by their power of two, from 1 µs to half an hour. */
const POWERS = 32;

/** Running estimates of service times, ms. */
export class ServiceTimes {
  /** Infinity before the first observation: a field that is always a number is written in place. */
  #mean = Infinity;
  #tail = 0;
  readonly #counts = new Float64Array(POWERS);
  #count = 0;
  #observed = 0;

  /** The mean of the last times; undefined before the first. */
  get mean(): number | undefined {
    return this.#mean === Infinity ? undefined : this.#mean;
  }

  /** The same; Infinity before the first. */
  get expected(): number {
    return this.#mean;
  }

  /** What all but one in 200 of the last thousands stay below, to a factor of two. */
  get tail(): number {
    return this.#tail;
  }

  /** A worker's first job has taken so long, ms. That says little, as its code was just loaded. */
  guess(time: number): void {
    if (this.#mean === Infinity) this.#mean = time;
  }

  /** A job has taken so long, ms. */
  observe(time: number): void {
    if (this.#mean === Infinity) this.#mean = time;
    this.#mean += (time - this.#mean) * WEIGHT;
    const power = powerOf(Math.round(time * 1000) + 1);
    this.#counts[power] = (this.#counts[power] ?? 0) + 1;
    this.#count++;
    this.#observed++;
    if (this.#observed % FADE_INTERVAL === 0) this.#fade();
    if (this.#observed % LOOK_INTERVAL === 0) this.#tail = this.#look();
  }

  /** The upper bound of the slowest times that are not rare. */
  #look(): number {
    let slower = 0;
    for (let power = POWERS - 1; power > 0; power--) {
      slower += this.#counts[power] ?? 0;
      if (slower * RARE > this.#count) return (2 ** (power + 1) - 1) / 1000;
    }
    return 0;
  }

  #fade(): void {
    for (let power = 0; power < POWERS; power++) {
      this.#counts[power] = (this.#counts[power] ?? 0) / 2;
    }
    this.#count /= 2;
  }
}

/** The power of two that a number of µs has reached. `Math.log2` would be a call into C. */
function powerOf(micros: number): number {
  return POWERS - 1 - Math.clz32(Math.min(micros, 2 ** (POWERS - 1)));
}
