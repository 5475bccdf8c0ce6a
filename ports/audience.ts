/**
 * The seam between what is published and the socket that those who have subscribed connect to. Types only. Two kinds
 * stand behind it: native_audience.ts on sockets of our own, and zmq_audience.ts on libzmq's XPUB.
 *
 * @module
 */

import type { Scene } from "../auth/crowd.ts";
import type { Pollable } from "../system/poller.ts";
import type { EventBatch } from "./event_batch.ts";
import type { Prefixes } from "./prefixes.ts";

/** What an audience reports while it is read. */
export interface AudienceEvents {
  /** Subscriptions came or went. */
  changed(): void;
}

/** What was counted since the start. */
export interface AudienceCounters {
  /** Events that a subscriber did not get as it takes too little; not known of libzmq. */
  dropped: number;
  /** Connections that broke the protocol or a bound. */
  malformed: number;
  /** Connections that were not let in; libzmq's are counted by those who answer its questions. */
  denied: number;
}

/** The last connection that broke a rule, or was not let in. */
export interface LastWrong {
  /** "" over ipc, and as long as there was none. */
  address: string;
  reason: string;
}

/** Puts what is kept of topics that begin so into a batch. */
export type Find = (prefix: string, into: EventBatch) => void;

/** Those who have subscribed. */
export interface Audience {
  /** What is to be waited for. */
  readonly ports: readonly Pollable[];
  /** What they have subscribed to, all together. */
  readonly subscriptions: Pick<Prefixes, "match" | "size">;
  /** Connections of those who have subscribed to something. */
  readonly subscribers: number;
  /** Maximum bytes of an event. */
  readonly maxEventBytes: number;
  readonly counters: AudienceCounters;
  readonly lastMalformed: LastWrong;
  readonly lastDenial: LastWrong;
  /** What counts when it is decided whether one more may connect; undefined: it is counted with clients' connections. */
  readonly scene: Pick<Scene, "connections" | "peers"> | undefined;
  /** A connection was let in, where that is decided elsewhere. */
  expect(): void;
  /**
   * Listens at one more endpoint, or anew at one whose file is gone, and returns the one really bound.
   *
   * @throws {Error} when it can't be bound.
   */
  bind(endpoint: string): string;
  /** Reads what has come. */
  read(now: number): void;
  /** Whether something is to be read now. Asked last before a wait. */
  isReadable(): boolean;
  /** Topics get indexes that others have had. */
  forgetTopics(): void;
  /**
   * Gives each event to all who have subscribed to it, some of them at a time; false: there are more, and the same batch
   * is to be given again.
   */
  publish(batch: EventBatch, now: number): boolean;
  /** Gives some of those who have just subscribed what is kept of their topics; returns whether there are more. */
  welcome(find: Find, now: number): boolean;
  /** Sends what it can. */
  flush(now: number): void;
  /** Does what is due; returns ms until something is. */
  tick(now: number): number;
  /** Gives memory back that is not in use. */
  giveBackMemory(): void;
  /** Closes all; what libzmq has is sent for up to `lingerMs` more. */
  close(lingerMs: number): void;
}
