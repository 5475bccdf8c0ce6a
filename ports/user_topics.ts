/**
 * The topics of handlers: how often each was used, and what is kept of it for those who subscribe later. Workers may be
 * hostile: what they publish is bounded, by what each says in a second, and by what is kept of all. Sends nothing.
 *
 * @module
 */

import { MAX_TOPIC_BYTES, USER_TOPICS } from "../wire/event.ts";
import { LogQuota } from "../wire/log_quota.ts";
import { Topic } from "./event_batch.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** What each worker may publish in a second. */
const QUOTA = { lines: 10_000, bytes: 16 * 1024 ** 2 };
/** Topics whose numbers are known; of more, those that were used longest ago are forgotten. */
const MOST_TOPICS = 10_000;
/** Topics of which something is kept, and the bytes of all that is. */
const MOST_KEPT = 1000;
const MOST_KEPT_BYTES = 16 * 1024 ** 2;

/** Topics that begin with `user.`. */
export class UserTopics {
  readonly #topics = new Map<string, Topic>();
  /** What is kept, as it goes over the wire; what was kept last is the last. */
  readonly #kept = new Map<Topic, Bytes>();
  #keptBytes = 0;
  readonly #quota = new LogQuota(QUOTA);
  /** A number that no topic has reached: one that was forgotten goes on from there, so that a gap shows. */
  #highest = 0;

  /** Whether a worker may publish so many bytes more; if not, that is counted. */
  admits(worker: number, bytes: number, now: number): boolean {
    return this.#quota.admits(worker, bytes, now);
  }

  /** A worker has said what it must not say: it counts as dropped. */
  refuse(worker: number, now: number): void {
    this.#quota.drop(worker, 1, now);
  }

  /** What workers have published in vain since the last report, by their numbers. */
  report(now: number): { subject: number; dropped: number }[] {
    return this.#quota.report(now);
  }

  /** ms until the next report is due. */
  wait(now: number): number {
    return this.#quota.wait(now);
  }

  /** The topic of these bytes, if a handler may have it. */
  of(bytes: Bytes): Topic | undefined {
    const topic = new Topic(bytes, -1, this.#highest);
    const { key } = topic;
    if (key.length > MAX_TOPIC_BYTES || key.length === USER_TOPICS.length) return undefined;
    if (!key.startsWith(USER_TOPICS)) return undefined;
    return this.#topics.get(key) ?? topic;
  }

  /** A topic was used: it has its next number. */
  use(topic: Topic): void {
    this.#highest = Math.max(this.#highest, ++topic.sequence);
    this.#topics.delete(topic.key);
    this.#topics.set(topic.key, topic);
    if (this.#topics.size <= MOST_TOPICS) return;
    for (const [key, oldest] of this.#topics) {
      if (this.#kept.has(oldest)) continue;
      this.#topics.delete(key);
      return;
    }
  }

  /** Whether a topic has its number: somebody has subscribed to it, or did. */
  isKnown({ key }: Topic): boolean {
    return this.#topics.has(key);
  }

  /** Keeps an event of a topic, in place of the one before; undefined: none. */
  keep(topic: Topic, wire: Bytes | undefined): void {
    this.#drop(topic);
    if (wire === undefined) return;
    this.#kept.set(topic, wire);
    this.#keptBytes += wire.length;
    for (const oldest of this.#kept.keys()) {
      if (this.#kept.size <= MOST_KEPT && this.#keptBytes <= MOST_KEPT_BYTES) return;
      this.#drop(oldest);
    }
  }

  #drop(topic: Topic): void {
    this.#keptBytes -= this.#kept.get(topic)?.length ?? 0;
    this.#kept.delete(topic);
  }

  /** What is kept of topics that begin so. */
  *kept(prefix: string): Generator<[Topic, Bytes]> {
    for (const [topic, wire] of this.#kept) if (topic.key.startsWith(prefix)) yield [topic, wire];
  }

  /** How much is kept. */
  get size(): { topics: number; kept: number; keptBytes: number } {
    return { topics: this.#topics.size, kept: this.#kept.size, keptBytes: this.#keptBytes };
  }
}
