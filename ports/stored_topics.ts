/**
 * What becomes of stored jobs, for those who have subscribed to it. The store says it of each job that has ended, and
 * only while somebody wants to hear it.
 *
 * @module
 */

import type { EndState, FromStore } from "../store/messages.ts";
import type { Topic } from "./event_batch.ts";
import type { TopicGround } from "./job_topics.ts";

const END_STATES: readonly EndState[] = ["done", "failed", "cancelled", "expired"];

/** A job that has ended. */
export type EndedJob = Extract<FromStore, { type: "over" }>;

/** The topics of all services. */
export class StoredTopics {
  readonly #ground: TopicGround;
  readonly #topics = new Map<string, readonly Topic[]>();
  /** Whether ids are told: where clients have no keys, whoever knows an id may ask for the job's result. */
  readonly #tellsIds: boolean;
  /** Tells the store whether to say what ends; undefined: there is no store. */
  #watch: ((isOn: boolean) => void) | undefined;
  #isWatching = false;
  #services: ReadonlySet<string> = new Set();

  /** There is no store yet. */
  constructor(ground: TopicGround, tellsIds: boolean) {
    this.#ground = ground;
    this.#tellsIds = tellsIds;
  }

  /** A store has come, which says nothing before it is told to, or has gone. */
  attach(watch: ((isOn: boolean) => void) | undefined): void {
    this.#watch = watch;
    this.#isWatching = false;
  }

  /** Others may be wanted from now on, or there are other services; `some`: whether anything is wanted. */
  refresh(services: Iterable<string>, some: boolean): void {
    if (this.#watch === undefined) return;
    this.#services = new Set(services);
    for (const [service, topics] of this.#topics) {
      if (this.#services.has(service)) continue;
      this.#topics.delete(service);
      this.#ground.forget(topics);
    }
    const isWanted = some && [...this.#services].some((service) => this.#isWanted(service));
    if (isWanted === this.#isWatching) return;
    this.#isWatching = isWanted;
    this.#watch(isWanted);
    // What was not wanted for a while has a gap in its numbers.
    if (isWanted) { for (const topics of this.#topics.values()) topics.forEach(skip); }
  }

  #isWanted(service: string): boolean {
    return this.#topicsOf(service).some((topic) => this.#ground.isWanted(topic));
  }

  #topicsOf(service: string): readonly Topic[] {
    const known = this.#topics.get(service);
    if (known !== undefined) return known;
    const topics = END_STATES.map((state) => this.#ground.topic(`stored.${state}.${service}`));
    this.#topics.set(service, topics);
    return topics;
  }

  /** A job has ended; one of a service that there is not any more is not told. */
  over({ id, service, state, attempt, code }: EndedJob): void {
    if (!this.#services.has(service)) return;
    const topic = this.#topicsOf(service)[END_STATES.indexOf(state)];
    if (topic === undefined) return;
    if (!this.#ground.isWanted(topic)) return skip(topic);
    const told = { ...this.#tellsIds ? { id } : {}, service, attempt, code };
    this.#ground.publish(topic, JSON.stringify(told));
  }
}

function skip(topic: Topic): void {
  topic.sequence++;
}
