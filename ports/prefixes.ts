/**
 * Subscriptions: the first bytes of topics, each counted. Bytes are written as texts of one character a byte, as
 * `keyOf` makes them.
 *
 * @module
 */

import { MAX_TOPIC_BYTES } from "../wire/event.ts";

const latin = new TextDecoder("latin1");

/** Bytes as a key: one character each, so that what begins the bytes begins the key. */
export function keyOf(bytes: Uint8Array): string {
  return latin.decode(bytes);
}

/** Subscriptions of one, or of all together. */
export class Prefixes {
  readonly #counts = new Map<string, number>();
  /** How many there are of each length. */
  readonly #lengths: number[] = [];

  /** How many different ones there are. */
  get size(): number {
    return this.#counts.size;
  }

  /** Each of them, once. */
  [Symbol.iterator](): IterableIterator<string> {
    return this.#counts.keys();
  }

  /** Whether there is this very one. */
  has(prefix: string): boolean {
    return this.#counts.has(prefix);
  }

  /** One more, of at most `MAX_TOPIC_BYTES`. */
  add(prefix: string): void {
    if (prefix.length > MAX_TOPIC_BYTES) throw new RangeError("Cannot subscribe: it is too long");
    const count = this.#counts.get(prefix) ?? 0;
    this.#counts.set(prefix, count + 1);
    if (count > 0) return;
    while (this.#lengths.length <= prefix.length) this.#lengths.push(0);
    this.#lengths[prefix.length] = (this.#lengths[prefix.length] ?? 0) + 1;
  }

  /** One less; false: there was none. */
  remove(prefix: string): boolean {
    const count = this.#counts.get(prefix);
    if (count === undefined) return false;
    if (count > 1) this.#counts.set(prefix, count - 1);
    else this.#forget(prefix);
    return true;
  }

  #forget(prefix: string): void {
    this.#counts.delete(prefix);
    this.#lengths[prefix.length] = (this.#lengths[prefix.length] ?? 1) - 1;
    while (this.#lengths.at(-1) === 0) this.#lengths.pop();
  }

  /** Whether one of them begins a topic. */
  match(topic: string): boolean {
    const last = Math.min(this.#lengths.length - 1, topic.length);
    for (let length = 0; length <= last; length++) {
      if (this.#lengths[length] !== 0 && this.#counts.has(topic.slice(0, length))) return true;
    }
    return false;
  }
}
