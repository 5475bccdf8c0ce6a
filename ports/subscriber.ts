/**
 * Somebody who has subscribed to something, over a connection of our own: what that is. Sends nothing.
 *
 * @module
 */

import type { Topic } from "./event_batch.ts";
import { Prefixes } from "./prefixes.ts";

/** What a subscriber wants of a topic. */
const Verdict = { unknown: 0, no: 1, yes: 2 } as const;
const FEW_TOPICS = 32;

/** A subscriber. */
export class Subscriber {
  readonly prefixes = new Prefixes();
  /** Bytes of these. */
  bytes = 0;
  /** Those of which it was not given yet what is kept. */
  readonly fresh = new Set<string>();
  /** Events that it did not get. */
  dropped = 0;
  /** Of topics that are there to stay, by their indexes. */
  #verdicts = new Uint8Array(FEW_TOPICS);

  /** One more. */
  add(prefix: string): void {
    this.bytes += prefix.length;
    this.prefixes.add(prefix);
    this.fresh.add(prefix);
    this.forgetTopics();
  }

  /** One less; false: there was none. */
  remove(prefix: string): boolean {
    if (!this.prefixes.remove(prefix)) return false;
    this.bytes -= prefix.length;
    this.fresh.delete(prefix);
    this.forgetTopics();
    return true;
  }

  /** It is to be found out anew which topics it wants. */
  forgetTopics(): void {
    this.#verdicts.fill(Verdict.unknown);
  }

  /** Whether it gets the events of a topic. */
  wants({ key, index }: Topic): boolean {
    if (index < 0) return this.prefixes.match(key);
    if (index >= this.#verdicts.length) this.#grow(index);
    const known = this.#verdicts[index];
    if (known !== Verdict.unknown) return known === Verdict.yes;
    const isWanted = this.prefixes.match(key);
    this.#verdicts[index] = isWanted ? Verdict.yes : Verdict.no;
    return isWanted;
  }

  #grow(index: number): void {
    const verdicts = new Uint8Array(2 * index);
    verdicts.set(this.#verdicts);
    this.#verdicts = verdicts;
  }
}
