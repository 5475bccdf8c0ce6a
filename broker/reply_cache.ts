/**
 * Answers kept for requests that come again under the same key: for a time, and bounded in bytes. The
 * oldest are dropped first. Has no clock; sees an answer's body as an opaque handle.
 *
 * @module
 */

/** An answer that is kept. */
export interface Kept<B> {
  code: number;
  body: B;
  /** Bytes of the body. */
  bytes: number;
  /** What the body takes in memory, bytes. */
  weight: number;
}

/** What bounds a cache. */
export interface CacheLimits {
  /** How long an answer is kept, ms; 0: not at all. */
  ttl: number;
  /** Bytes kept at most, the cache's own included. */
  bytes: number;
}

interface Entry<B> extends Kept<B> {
  keptAt: number;
}

/** What an entry takes beside its body and its key, about. */
const ENTRY_BYTES = 512;
/** A character of a key takes up to so many bytes. */
const CHARACTER_BYTES = 2;
const SWEEP_INTERVAL = 1000;

/** Answers by their keys. */
export class ReplyCache<B> {
  readonly #drop: (body: B) => void;
  /** The oldest first. */
  readonly #entries = new Map<string, Entry<B>>();
  #limits: CacheLimits = { ttl: 0, bytes: 0 };
  #bytes = 0;
  #sweepAt = 0;

  /** Makes an empty cache that keeps nothing; `drop` gets each body that is kept no longer. */
  constructor(drop: (body: B) => void) {
    this.#drop = drop;
  }

  /** Answers kept. */
  get size(): number {
    return this.#entries.size;
  }

  /** Their bytes. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Works by other bounds from now on. */
  configure(limits: CacheLimits): void {
    this.#limits = limits;
    this.#shrink(limits.ttl === 0 ? 0 : limits.bytes);
  }

  /** Whether anything is kept at all. */
  get enabled(): boolean {
    return this.#limits.ttl > 0;
  }

  /** The answer to an earlier request of this key; still the cache's own. */
  get(key: string, now: number): Kept<B> | undefined {
    const entry = this.#entries.get(key);
    return entry === undefined || this.#isStale(entry, now) ? undefined : entry;
  }

  /** Keeps an answer; its body is the cache's now. */
  put(key: string, kept: Kept<B>, now: number): void {
    this.#remove(key);
    this.#entries.set(key, { ...kept, keptAt: now });
    this.#bytes += sizeOf(key, kept);
    this.#shrink(this.#limits.bytes);
  }

  /** Drops what is too old; returns ms until it must run again. */
  tick(now: number): number {
    if (this.#entries.size === 0) return Infinity;
    if (now < this.#sweepAt) return this.#sweepAt - now;
    for (const [key, entry] of this.#entries) {
      if (!this.#isStale(entry, now)) break;
      this.#remove(key);
    }
    this.#sweepAt = now + SWEEP_INTERVAL;
    return SWEEP_INTERVAL;
  }

  #isStale({ keptAt }: Entry<B>, now: number): boolean {
    return now >= keptAt + this.#limits.ttl;
  }

  #shrink(limit: number): void {
    for (const key of this.#entries.keys()) {
      if (this.#bytes <= limit) return;
      this.#remove(key);
    }
  }

  #remove(key: string): void {
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    this.#entries.delete(key);
    this.#bytes -= sizeOf(key, entry);
    this.#drop(entry.body);
  }
}

function sizeOf(key: string, { weight }: { weight: number }): number {
  return ENTRY_BYTES + CHARACTER_BYTES * key.length + weight;
}
