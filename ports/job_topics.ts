/**
 * What becomes of the jobs of a service, for those who have subscribed to it. While nobody has, each job costs one look
 * at `wanted`.
 *
 * @module
 */

import { attemptOf, type Job } from "../broker/job.ts";
import { JOB_WORDS, type JobWord } from "../wire/event.ts";
import { Code } from "../wire/request.ts";
import type { Body } from "./body.ts";
import type { Topic } from "./event_batch.ts";

/** What topics are made of, and where their events go. */
export interface TopicGround {
  /** A topic that is there to stay. */
  topic(name: string): Topic;
  /** Whether somebody has subscribed to a topic. */
  isWanted(topic: Topic): boolean;
  /** Makes an event. */
  publish(topic: Topic, json: string): void;
  /** Topics that `topic` has made are not used any more. */
  forget(topics: readonly Topic[]): void;
}

/** It is to be found out what is wanted. */
const STALE = 1 << JOB_WORDS.length;

/** The topics of one service. */
export class JobTopics {
  /** A bit for each of `JOB_WORDS` that somebody wants; 0: nobody wants any. */
  wanted = 0;
  /** What was wanted when an event was there last. */
  #before = 0;
  readonly #ground: TopicGround | undefined;
  readonly #service: string;
  readonly #topics: readonly Topic[];

  /** Those of a service; without ground they are never wanted. */
  constructor(service: string, ground: TopicGround | undefined) {
    this.#ground = ground;
    this.#service = JSON.stringify(service);
    this.#topics = ground === undefined
      ? []
      : JOB_WORDS.map((word) => ground.topic(`job.${word}.${service}`));
  }

  /** Others may be wanted from now on; `some`: whether anything is. */
  refresh(some: boolean): void {
    this.wanted = some ? STALE : 0;
    if (!some) this.#before = 0;
  }

  /** A request has become a job, with so many bytes. */
  queued({ id }: Job<Body>, bytes: number): void {
    this.#publish("queued", () => `"job":${id},"service":${this.#service},"bytes":${bytes}`);
  }

  /** A worker gets a job. */
  started(job: Job<Body>, worker: number): void {
    this.#publish("started", () => this.#wordsOf(job, worker));
  }

  /** A worker has answered. */
  answered(job: Job<Body>, worker: number, code: number, micros: number): void {
    this.#publish(code === Code.ok ? "done" : "failed", () => {
      const ms = Math.round(micros) / 1000;
      return `${this.#wordsOf(job, worker)},"code":${code},"ms":${ms}`;
    });
  }

  /** The broker has answered by itself. */
  ended(job: Job<Body>, code: number, attempt: number): void {
    const word = code === Code.workerDied ? "lost" : code === Code.expired ? "expired" : "failed";
    this.#publish(word, () => `${this.#wordsOf(job, undefined, attempt)},"code":${code}`);
  }

  #wordsOf(job: Job<Body>, worker: number | undefined, attempt = attemptOf(job)): string {
    const by = worker === undefined ? "" : `,"worker":${worker}`;
    return `"job":${job.id},"service":${this.#service}${by},"attempt":${attempt}`;
  }

  #publish(word: JobWord, words: () => string): void {
    if (this.wanted === STALE) this.#look();
    const index = JOB_WORDS.indexOf(word);
    const topic = this.#topics[index];
    if ((this.wanted & 1 << index) === 0 || topic === undefined) return;
    this.#ground?.publish(topic, `{${words()}}`);
  }

  /** Finds out what is wanted. What was not for a while has a gap in its numbers. */
  #look(): void {
    let wanted = 0;
    for (const [index, topic] of this.#topics.entries()) {
      if (!this.#ground?.isWanted(topic)) continue;
      wanted |= 1 << index;
      if ((this.#before & 1 << index) === 0) topic.sequence++;
    }
    this.wanted = this.#before = wanted;
  }

  /** The service is gone. */
  close(): void {
    this.wanted = 0;
    this.#ground?.forget(this.#topics);
  }
}
