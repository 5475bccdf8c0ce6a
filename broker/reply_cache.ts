/**
 * Answers kept for requests that come again under the same key: for a time, and bounded in bytes. The
 * oldest are dropped first, however often they are asked for. Takes `now`, and sees an answer's body as an
 * opaque handle.
 *
 * By hand, as both bounds change on a reload and apply to what is kept already, and as the time is the
 * broker's: npm:lru-cache fixes the bytes when it is made, and the time when an entry is.
 *
 * @module
 */

import { type Links, List, noLinks } from "./list.ts";

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
  /** Maximum bytes that are kept, the cache's own included. */
  bytes: number;
}

interface Entry<B> extends Kept<B> {
  readonly key: string;
  readonly links: Links<Entry<B>>;
  keptAt: number;
}

/** What an entry takes on top of its body and its key, about. */
const ENTRY_BYTES = 512;
/** A character of a key takes up to so many bytes. */
const CHARACTER_BYTES = 2;
const SWEEP_INTERVAL = 1000;

/** Answers by their keys. */
export class ReplyCache<B> {
  readonly #drop: (body: B) => void;
  readonly #entries = new Map<string, Entry<B>>();
  /** The same, the oldest first. The map is in that order too, but slow to say which one is first. */
  readonly #byAge = new List<Entry<B>>();
  #limits: CacheLimits = { ttl: 0, bytes: 0 };
  #bytes = 0;
  #sweepAt = 0;

  /** Makes an empty cache that keeps nothing; `drop` gets each body that is kept no longer. */
  constructor(drop: (body: B) => void) {
    this.#drop = drop;
  }

  /** Applies other limits from now on, also to what is kept. */
  configure(limits: CacheLimits): void {
    this.#limits = limits;
    this.#fit(limits.ttl === 0 ? 0 : limits.bytes);
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
  put(key: string, { code, body, bytes, weight }: Kept<B>, now: number): void {
    const before = this.#entries.get(key);
    if (before !== undefined) this.#remove(before);
    const entry = { key, code, body, bytes, weight, links: noLinks<Entry<B>>(), keptAt: now };
    this.#entries.set(key, entry);
    this.#byAge.push(entry);
    this.#bytes += sizeOf(entry);
    this.#fit(this.#limits.bytes);
  }

  /** Drops what is too old; returns ms until it must run again. */
  tick(now: number): number {
    if (this.#entries.size === 0) return Infinity;
    if (now < this.#sweepAt) return this.#sweepAt - now;
    let oldest = this.#byAge.first;
    while (oldest !== undefined && this.#isStale(oldest, now)) {
      this.#remove(oldest);
      oldest = this.#byAge.first;
    }
    this.#sweepAt = now + SWEEP_INTERVAL;
    return SWEEP_INTERVAL;
  }

  #isStale({ keptAt }: Entry<B>, now: number): boolean {
    return now >= keptAt + this.#limits.ttl;
  }

  /** Drops the oldest until no more than `limit` bytes are kept. */
  #fit(limit: number): void {
    while (this.#bytes > limit && this.#byAge.first !== undefined) this.#remove(this.#byAge.first);
  }

  #remove(entry: Entry<B>): void {
    this.#entries.delete(entry.key);
    this.#byAge.remove(entry);
    this.#bytes -= sizeOf(entry);
    this.#drop(entry.body);
  }
}

function sizeOf({ key, weight }: { key: string; weight: number }): number {
  return ENTRY_BYTES + CHARACTER_BYTES * key.length + weight;
}
