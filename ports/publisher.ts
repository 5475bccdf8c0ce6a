/**
 * What happens in a server, for those who have subscribed to it: makes events of what somebody wants, and hands them
 * over to the audience. Events give way to requests: they are sent for half a millisecond at a time, and after that there
 * is a pause of four times as long; what does not fit in is dropped for all, which the numbers of the events show.
 *
 * @module
 */

import type { Audience } from "./audience.ts";
import type { Content } from "./content.ts";
import { EventBatch, eventBytes, Topic } from "./event_batch.ts";
import type { EventQueue } from "./event_queue.ts";
import { JobTopics, type TopicGround } from "./job_topics.ts";
import { type EndedJob, StoredTopics } from "./stored_topics.ts";
import { UserTopics } from "./user_topics.ts";

/** What is kept to be sent at the end of a pass, bytes. */
const BATCH_BYTES = 1024 ** 2;
/** Time between two events of the topic "state", ms. */
const STATE_INTERVAL = 1000;
/** The pause after sending, in times of what sending took; and at most, ms. */
const PAUSE_FACTOR = 4;
const MAX_PAUSE = 20;
/** Room for what most events say, bytes. */
const TEXT_BYTES = 1024;

const NOTHING = new Uint8Array(0);
const encoder = new TextEncoder();

/** What was counted since the start. */
export interface EventCounters {
  /** Events that were made. */
  events: number;
  /** Events that a subscriber did not get as it takes too little, or nobody did; the first is not known of libzmq. */
  eventsDropped: number;
}

/** Makes events. */
export class Publisher implements TopicGround {
  readonly #audience: Audience;
  readonly #log: Pick<EventQueue, "add">;
  /** How things are, for the topic "state". */
  readonly #state: () => object;
  /** What has happened, and what is being sent: one becomes the other. */
  #batch = new EventBatch(BATCH_BYTES);
  #outgoing = new EventBatch(BATCH_BYTES);
  readonly #text = new Uint8Array(TEXT_BYTES);
  readonly #users = new UserTopics();
  /** Where an event is made that is kept. */
  readonly #scratch = new EventBatch(BATCH_BYTES);
  /** The names of services by the topics of their jobs. */
  readonly #services = new Map<JobTopics, string>();
  readonly #stored: StoredTopics;
  /** Topics of the server itself, by their names. */
  readonly #own = new Map<string, Topic>();
  readonly #stateTopic: Topic;
  /** The last event of that topic as it went over the wire; undefined: none is that new. */
  #lastState: Uint8Array<ArrayBuffer> | undefined;
  #stateAt = 0;
  /** Indexes that topics had which are not used any more; of those just freed, events may still be on their way. */
  readonly #free: number[] = [];
  #freed: number[] = [];
  #freedBefore: number[] = [];
  #indexes = 0;
  /** Subscriptions have changed since that was last looked at. */
  #hasChanged = false;
  /** Whether those who have subscribed a moment ago are to be welcomed. */
  #hasGuests = false;
  /** When events may be sent again, ms. */
  #sendAt = 0;
  #events = 0;
  #dropped = 0;

  /** Has published nothing yet; `tellsIds`: whether those who have subscribed may know the ids of stored jobs. */
  constructor(
    audience: Audience,
    log: Pick<EventQueue, "add">,
    state: () => object,
    tellsIds: boolean,
  ) {
    this.#audience = audience;
    this.#stored = new StoredTopics(this, tellsIds);
    this.#log = log;
    this.#state = state;
    this.#stateTopic = this.topic("state");
  }

  /** What was counted since the start. */
  get counters(): EventCounters {
    const { dropped } = this.#audience.counters;
    return { events: this.#events, eventsDropped: this.#dropped + dropped };
  }

  // ---- topics ----

  topic(name: string): Topic {
    return new Topic(encoder.encode(name), this.#free.pop() ?? this.#indexes++);
  }

  forget(topics: readonly Topic[]): void {
    for (const { index } of topics) this.#freed.push(index);
  }

  isWanted({ key }: Topic): boolean {
    return this.#audience.subscriptions.match(key);
  }

  /** The topics of a service's jobs. */
  jobsOf(service: string): JobTopics {
    const topics = new JobTopics(service, this);
    topics.refresh(this.#audience.subscriptions.size > 0);
    this.#services.set(topics, service);
    this.#hasChanged = true;
    return topics;
  }

  /** A service is gone. */
  remove(topics: JobTopics): void {
    this.#services.delete(topics);
    this.#hasChanged = true;
    topics.close();
  }

  /** A store has come, which is told by `watch` whether to say what ends; undefined: it has gone. */
  attachStore(watch: ((isOn: boolean) => void) | undefined): void {
    this.#stored.attach(watch);
    this.#hasChanged = true;
  }

  /** A stored job has ended. */
  over(job: EndedJob): void {
    this.#stored.over(job);
  }

  /** Subscriptions came or went. */
  changed(): void {
    this.#hasChanged = this.#hasGuests = true;
  }

  // ---- events ----

  publish(topic: Topic, json: string): void {
    const { read, written } = encoder.encodeInto(json, this.#text);
    if (read === json.length) this.#add(topic, this.#text, written);
    else {
      const bytes = encoder.encode(json);
      this.#add(topic, bytes, bytes.length);
    }
  }

  #add(topic: Topic, text: Uint8Array<ArrayBuffer>, size: number): void {
    topic.sequence++;
    this.#events++;
    if (!this.#batch.addText(topic, Date.now(), text, size)) this.#dropped++;
  }

  /** Something that the server says of itself, which happens seldom. */
  tell(name: string, json: string): void {
    const topic = this.#own.get(name) ?? this.topic(name);
    this.#own.set(name, topic);
    // Counted whether somebody hears it or not: there are few of them.
    if (this.isWanted(topic)) this.publish(topic, json);
    else topic.sequence++;
  }

  /** A worker publishes: the first frame is the topic. */
  relay(worker: number, content: Content, retain: boolean, now: number): void {
    const [bytes = NOTHING, ...frames] = framesOfContent(content);
    const topic = this.#users.of(bytes);
    const isSound = topic !== undefined &&
      eventBytes(topic, frames) <= this.#audience.maxEventBytes;
    if (!isSound) return this.#users.refuse(worker, now);
    if (!this.#users.admits(worker, content.size, now)) return;
    const isWanted = this.isWanted(topic);
    if (!isWanted && !retain) {
      // A topic that nobody has ever had needs no number.
      if (this.#users.isKnown(topic)) this.#users.use(topic);
      return;
    }
    this.#users.use(topic);
    if (retain) this.#retain(topic, frames);
    if (!isWanted) return;
    this.#events++;
    if (!this.#batch.addFrames(topic, Date.now(), frames)) this.#dropped++;
  }

  /** One without frames takes back what is kept. */
  #retain(topic: Topic, frames: readonly Uint8Array<ArrayBuffer>[]): void {
    if (frames.length === 0) return this.#users.keep(topic, undefined);
    this.#scratch.addFrames(topic, Date.now(), frames);
    this.#users.keep(topic, this.#scratch.last());
    this.#scratch.clear();
  }

  // ---- at the end of each pass ----

  /** Sends what there is, and does what is due; returns ms until something is. */
  pass(now: number): number {
    if (this.#hasChanged) this.#refresh();
    const stateMs = this.#tellState(now);
    const sendMs = this.#send(now);
    this.#audience.flush(now);
    return Math.min(stateMs, sendMs, this.#reportDropped(now), this.#audience.tick(now));
  }

  #reportDropped(now: number): number {
    const wait = this.#users.wait(now);
    if (wait > 0) return wait;
    const message = "events of a worker were dropped: it publishes too much, or what it must not";
    for (const { subject: worker, dropped } of this.#users.report(now)) {
      this.#log.add({ type: "log", level: "warn", message, fields: { worker, dropped } });
    }
    return this.#users.wait(now);
  }

  #refresh(): void {
    this.#hasChanged = false;
    const some = this.#audience.subscriptions.size > 0;
    for (const topics of this.#services.keys()) topics.refresh(some);
    this.#stored.refresh(this.#services.values(), some);
  }

  #tellState(now: number): number {
    if (this.#audience.subscriptions.size === 0 || !this.isWanted(this.#stateTopic)) {
      this.#lastState = undefined;
      return Infinity;
    }
    if (now >= this.#stateAt || this.#lastState === undefined) {
      this.#stateAt = now + STATE_INTERVAL;
      this.#makeState();
    }
    return this.#stateAt - now;
  }

  #makeState(): void {
    const dropped = this.#dropped;
    this.publish(this.#stateTopic, JSON.stringify(this.#state()));
    if (this.#dropped === dropped) this.#lastState = this.#batch.last();
  }

  #send(now: number): number {
    if (this.#batch.isEmpty && this.#outgoing.isEmpty && !this.#hasGuests) return Infinity;
    if (now < this.#sendAt) return this.#sendAt - now;
    const start = performance.now();
    // Those who have just come get what is kept, and then what is new.
    if (this.#outgoing.isEmpty) {
      if (this.#hasGuests) this.#hasGuests = this.#welcome(now);
      this.#closeBatch();
    }
    if (this.#audience.publish(this.#outgoing, now)) this.#outgoing.clear();
    this.#audience.flush(now);
    const end = performance.now();
    this.#sendAt = end + Math.min(MAX_PAUSE, PAUSE_FACTOR * (end - start));
    const hasMore = this.#hasGuests || !this.#batch.isEmpty || !this.#outgoing.isEmpty;
    return hasMore ? this.#sendAt - now : Infinity;
  }

  /** What has happened is sent from now on. */
  #closeBatch(): void {
    if (this.#freedBefore.length > 0) this.#recycle();
    [this.#freedBefore, this.#freed] = [this.#freed, []];
    [this.#batch, this.#outgoing] = [this.#outgoing, this.#batch];
  }

  /** Gives those who have just subscribed what is kept, unless it comes anyway. */
  #welcome(now: number): boolean {
    const coming = new Set(this.#batch.entries.map(({ topic }) => topic));
    const state = this.#stateTopic;
    return this.#audience.welcome((prefix, into) => {
      const last = this.#lastState;
      if (last !== undefined && !coming.has(state) && state.key.startsWith(prefix)) {
        into.repeat(state, last);
      }
      for (const [topic, wire] of this.#users.kept(prefix)) {
        if (!coming.has(topic)) into.repeat(topic, wire);
      }
    }, now);
  }

  /** Who wants the topics that get these indexes is to be found out. */
  #recycle(): void {
    this.#free.push(...this.#freedBefore);
    this.#audience.forgetTopics();
  }
}

/** Copies of the frames of a content. */
function framesOfContent(content: Content): Uint8Array<ArrayBuffer>[] {
  let at = 0;
  return (content.sizes ?? [content.size]).map((size) => {
    const frame = new Uint8Array(size);
    content.copyTo(frame, 0, at, size);
    at += size;
    return frame;
  });
}
