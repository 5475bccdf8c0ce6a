/**
 * The audience on sockets of our own: SUB and XSUB sockets connect to it as to an XPUB. What they have subscribed to
 * and what waits for each is bounded, whatever they do.
 *
 * ```text
 * SUBSCRIBE, CANCEL    commands of ZMTP 3.1
 * [01 topic]           a message of one frame, in all versions: libzmq sends these to peers of 2.0 and 3.0
 * [00 topic]           the same, to take it back
 * ```
 *
 * @module
 */

import type { Arrivals } from "../auth/arrivals.ts";
import type { Libc } from "../system/libc.ts";
import type { Pollable } from "../system/poller.ts";
import { MAX_TOPIC_BYTES } from "../wire/event.ts";
import type { Audience, AudienceCounters, AudienceEvents, Find, LastWrong } from "./audience.ts";
import type { BodyPool } from "./body.ts";
import type { Connection, Inlet } from "./connection.ts";
import { EventBatch } from "./event_batch.ts";
import { keyOf, Prefixes } from "./prefixes.ts";
import { Router, type RouterEvents, type RouterOptions } from "./router.ts";
import { Subscriber } from "./subscriber.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** What waits for one subscriber, bytes; more is dropped. */
export const QUEUE_BYTES = 1024 ** 2;
/** The same of all together. */
const ALL_QUEUES_BYTES = 64 * 1024 ** 2;
/** Maximum subscriptions of one connection, and the bytes of all of them. */
const MOST_EACH = 1000;
const MOST_BYTES_EACH = 32_768;
/** Maximum subscriptions of all connections. */
const MOST = 100_000;
/** Events that go to one subscriber at once have at most so many bytes, one event aside. */
const RUN_BYTES = 16_384;
/** Time that subscribers are given events before requests have their turn, ms. */
const TURN_MS = 0.5;
/** New subscriptions that are welcomed at a time. */
const WELCOMES = 32;

const SUBSCRIBE = 1;
const CANCEL = 0;
const NO_SUBSCRIPTION = "it is no subscription";

type Place = Connection<Subscriber>;

/** What bounds a `NativeAudience`. */
export type NativeAudienceOptions = Omit<RouterOptions, "connectionBytes" | "unreadBytes">;

/** What a `NativeAudience` reports, and asks. */
export interface NativeAudienceEvents extends AudienceEvents {
  /** Why no other peer may connect from an address, "" over ipc; undefined: one may. */
  refusal(address: string, open: Arrivals): string | undefined;
}

/** Subscribers, over sockets of our own. */
export class NativeAudience implements Audience {
  readonly #router: Router<Subscriber>;
  readonly #events: NativeAudienceEvents;
  readonly subscriptions = new Prefixes();
  /** Subscriptions of all, each of them counted. */
  #count = 0;
  readonly #places = new Set<Place>();
  /** Those who get the batch that is being given; undefined: none is. */
  #round: Iterator<Place> | undefined;
  /** Those who have subscribed a moment ago. */
  readonly #fresh = new Set<Place>();
  readonly #greeting = new EventBatch(QUEUE_BYTES);
  readonly maxEventBytes = QUEUE_BYTES;
  readonly scene = undefined;
  #dropped = 0;
  #malformed = 0;
  lastMalformed: LastWrong = { address: "", reason: "" };
  #isClosed = false;

  /**
   * Listens nowhere yet.
   *
   * @throws {SystemError} when the system has no file descriptor left.
   */
  constructor(
    libc: Libc,
    bodies: BodyPool,
    options: NativeAudienceOptions,
    events: NativeAudienceEvents,
  ) {
    this.#events = events;
    const bounds = { ...options, connectionBytes: QUEUE_BYTES, unreadBytes: ALL_QUEUES_BYTES };
    this.#router = new Router("XPUB", libc, bodies, bounds, this.#routerEvents());
  }

  #routerEvents(): RouterEvents<Subscriber> {
    return {
      mayRead: () => true,
      roomFor: () => Infinity,
      plain: (connection) => this.#misspoke(connection, NO_SUBSCRIPTION),
      inlet: (connection) => this.#inlet(connection),
      subscription: (connection, name, topic) => {
        this.#subscribe(connection, name === "SUBSCRIBE", topic);
      },
      refusal: (address, open) => this.#events.refusal(address, open),
      makeRoom: () => {},
      broken: (connection, reason) => this.#misspoke(connection, reason),
      gone: (connection) => this.#gone(connection),
    };
  }

  #misspoke({ address }: Place, reason: string): void {
    this.#malformed++;
    this.lastMalformed = { address, reason };
  }

  // ---- what they want ----

  /** A message begins: a subscription is one short frame, and nothing is kept of anything else. */
  #inlet(connection: Place): Inlet {
    let isFirst = true;
    const refuse = () => this.#misspoke(connection, NO_SUBSCRIPTION);
    return {
      frame: (bytes, start, end, more) => {
        const kind = bytes[start];
        const isOne = isFirst && !more && end > start && (kind === SUBSCRIBE || kind === CANCEL);
        isFirst = false;
        if (isOne) this.#subscribe(connection, kind === SUBSCRIBE, bytes.subarray(start + 1, end));
        else if (!more) refuse();
      },
      begin: (_size, more) => {
        isFirst = false;
        if (!more) refuse();
      },
      space: () => undefined,
      received: () => {},
      mayGrow: () => true,
      drop: () => {},
    };
  }

  #subscribe(connection: Place, isNew: boolean, topic: Uint8Array): void {
    if (topic.length <= MAX_TOPIC_BYTES) {
      if (isNew) this.#add(connection, keyOf(topic));
      else this.#remove(connection, keyOf(topic));
    } else if (isNew) this.#breakOff(connection, `of at most ${MAX_TOPIC_BYTES} bytes each`);
  }

  #breakOff(connection: Place, rule: string): void {
    this.#router.breakOff(connection, `its subscriptions must be ${rule}`);
  }

  #add(connection: Place, prefix: string): void {
    const subscriber = connection.peer ??= new Subscriber();
    const { prefixes, bytes } = subscriber;
    // As with libzmq: it has it, whether it says so once or twice.
    if (prefixes.has(prefix)) return;
    if (prefixes.size >= MOST_EACH || bytes + prefix.length > MOST_BYTES_EACH) {
      return this.#breakOff(connection, `at most ${MOST_EACH}, with ${MOST_BYTES_EACH} bytes`);
    }
    if (this.#count >= MOST) {
      return this.#breakOff(connection, `at most ${MOST} with those of others`);
    }
    this.#count++;
    subscriber.add(prefix);
    this.subscriptions.add(prefix);
    this.#places.add(connection);
    this.#fresh.add(connection);
    this.#events.changed();
  }

  #remove(connection: Place, prefix: string): void {
    const subscriber = connection.peer;
    if (subscriber === undefined || !subscriber.remove(prefix)) return;
    this.#count--;
    this.subscriptions.remove(prefix);
    if (subscriber.prefixes.size === 0) this.#places.delete(connection);
    this.#events.changed();
  }

  #gone(connection: Place): void {
    const subscriber = connection.peer;
    this.#fresh.delete(connection);
    this.#places.delete(connection);
    if (subscriber === undefined || this.#isClosed) return;
    connection.peer = undefined;
    this.#count -= subscriber.prefixes.size;
    for (const prefix of subscriber.prefixes) this.subscriptions.remove(prefix);
    this.#events.changed();
  }

  forgetTopics(): void {
    for (const { peer } of this.#places) peer?.forgetTopics();
  }

  // ---- what they get ----

  publish(batch: EventBatch, now: number): boolean {
    // A round that was begun with it would be gone on with when the next one is given.
    if (batch.isEmpty) return true;
    const round = this.#round ??= this.#places.values();
    const end = performance.now() + TURN_MS;
    for (let next = round.next(); !next.done; next = round.next()) {
      this.#send(next.value, batch, now);
      this.#router.outlets.flushOne(next.value, now);
      if (performance.now() >= end) return false;
    }
    this.#round = undefined;
    return true;
  }

  /** Copies runs of events that it wants, each with one call. */
  #send(connection: Place, { entries, bytes }: EventBatch, now: number): void {
    const subscriber = connection.peer;
    if (subscriber === undefined) return;
    let from = 0;
    let to = 0;
    let events = 0;
    for (const { topic, end } of entries) {
      const isWanted = subscriber.wants(topic);
      if (events > 0 && (!isWanted || end - from > RUN_BYTES)) {
        if (!this.#write(connection, bytes, from, to, now)) this.#lose(subscriber, events);
        events = 0;
        from = to;
      }
      if (isWanted) events++;
      else from = end;
      to = end;
    }
    if (events > 0 && !this.#write(connection, bytes, from, to, now)) {
      this.#lose(subscriber, events);
    }
  }

  #write(connection: Place, bytes: Bytes, from: number, to: number, now: number): boolean {
    const { outlets } = this.#router;
    if (!outlets.open(connection, to - from, now)) return false;
    outlets.bytes.set(bytes.subarray(from, to), outlets.at);
    return true;
  }

  #lose(subscriber: Subscriber, events: number): void {
    this.#dropped += events;
    subscriber.dropped += events;
  }

  welcome(find: Find, now: number): boolean {
    let left = WELCOMES;
    for (const connection of this.#fresh) {
      const fresh = connection.peer?.fresh;
      for (const prefix of fresh ?? []) {
        if (left-- === 0) return true;
        fresh?.delete(prefix);
        find(prefix, this.#greeting);
        this.#send(connection, this.#greeting, now);
        this.#greeting.clear();
      }
      this.#fresh.delete(connection);
    }
    return false;
  }

  flush(now: number): void {
    this.#router.flush(now);
  }

  // ---- who is there ----

  get ports(): readonly Pollable[] {
    return [this.#router];
  }

  get subscribers(): number {
    return this.#places.size;
  }

  get counters(): AudienceCounters {
    return { dropped: this.#dropped, malformed: this.#malformed, denied: this.#router.denied };
  }

  get lastDenial(): LastWrong {
    return this.#router.lastDenial;
  }

  /** Events that each of those who are connected did not get. */
  get losses(): { address: string; dropped: number }[] {
    return [...this.#places].map(({ address, peer }) => ({ address, dropped: peer?.dropped ?? 0 }));
  }

  expect(): void {}

  /** @throws {SystemError} when it can't be bound. */
  bind(endpoint: string): string {
    return this.#router.bind(endpoint);
  }

  read(now: number): void {
    this.#router.read(now);
  }

  isReadable(): boolean {
    return this.#router.isReadable();
  }

  tick(now: number): number {
    return this.#router.tick(now);
  }

  giveBackMemory(): void {
    this.#router.outlets.dropSpares();
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#router.flush(performance.now());
    this.#router.closeAll();
  }
}
