/**
 * Replies that clients have not taken yet: those that libzmq holds, as far as is known, and those that
 * wait here for a slow client. Bounds them all together, and each client's by what is left. Sends
 * nothing itself.
 *
 * @module
 */

import type { Asker, Peer } from "../broker/job.ts";
import type { Marks } from "../zmq/mark.ts";
import type { Message } from "../zmq/message.ts";
import type { Body } from "./body.ts";

/** What the record of a reply that waits takes, bytes. */
const RECORD_WEIGHT = 512;
/** Bytes of replies between two marks: libzmq is asked how far it has come at each. */
const MARK_BYTES = 65_536;
/** Maximum bytes in libzmq's hands for one client; more wait here. */
const PIPE_BYTES = 4 * 1024 ** 2;
/** A client that takes nothing for this long loses the replies that wait for it, ms. */
const SLOW_CLIENT_TIMEOUT = 30_000;
/** A client that has taken nothing for this long, and has much to take, is stalled, ms. */
const STALL_TIME = 1000;
/** Time between two counts of what all clients have taken, ms. */
const COUNT_INTERVAL = 100;

/** A reply that waits. */
export interface Reply {
  to: Readonly<Asker<Body>>;
  code: number;
  /** `StatusFlag`s. */
  flags: number;
  /** The number in the status of a part; undefined: it is a whole answer. */
  part: number | undefined;
  frames: Message[];
  /** What it weighs in libzmq's hands. */
  bytes: number;
  /** Whether its envelope is all that goes ahead of the frames: no delimiter, and no status. @default {false} */
  isBare?: boolean;
}

/** What one client has not taken. */
export class Outbox {
  /** Replies that libzmq is to be given next. */
  readonly waiting: Reply[] = [];
  /** Marks under way, and what was sent up to each. */
  readonly marks: { mark: number; bytes: number }[] = [];
  /** Bytes that were sent since the last mark; they are not counted as unread. */
  loose = 0;
  /** Bytes up to the last mark, and of what waits. */
  unread = 0;
  /** Bytes of the replies that wait. */
  waitingBytes = 0;
  /** When the client last took something that was counted, ms. */
  progressAt = 0;
}

/** What all clients have not taken. */
export class Outboxes {
  readonly #marks: Pick<Marks, "set" | "passed">;
  readonly #outboxes = new Map<Peer<Body>, Outbox>();
  /** Outboxes in which replies wait. */
  readonly #slow = new Set<Outbox>();
  /** Outboxes of clients that have left, whose marks have not come back yet. */
  #left: Outbox[] = [];
  #unread = 0;
  #countedAt = -Infinity;
  /** Maximum bytes unread in all, one reply for each client aside. */
  limit: number;

  /** Knows no client yet. */
  constructor(marks: Pick<Marks, "set" | "passed">, limit: number) {
    this.#marks = marks;
    this.limit = limit;
  }

  /** Outboxes in which replies wait. */
  get slow(): ReadonlySet<Outbox> {
    return this.#slow;
  }

  /** Replies that wait here. */
  get waiting(): number {
    let replies = 0;
    for (const { waiting } of this.#slow) replies += waiting.length;
    return replies;
  }

  /** Bytes that are known not to have been taken. */
  get unread(): number {
    return this.#unread;
  }

  /** The same of one client. */
  unreadOf(client: Peer<Body>): number {
    return this.#outboxes.get(client)?.unread ?? 0;
  }

  /** A client's outbox, an empty one if it is new. */
  of(client: Peer<Body>): Outbox {
    const known = this.#outboxes.get(client);
    if (known !== undefined) return known;
    const outbox = new Outbox();
    this.#outboxes.set(client, outbox);
    return outbox;
  }

  /** Whether libzmq may be given one more reply. */
  isOpen(outbox: Outbox, now: number): boolean {
    if (outbox.marks.length === 0) return true;
    this.#countTaken(outbox, now);
    const handed = outbox.unread - outbox.waitingBytes;
    return handed === 0 || handed < Math.min(PIPE_BYTES, this.limit - this.#unread);
  }

  /**
   * Counts a reply that libzmq is given; returns whether `message` was made a mark, to be sent with it: an empty frame,
   * or one of `byte`.
   */
  handOver(outbox: Outbox, bytes: number, message: Message, now: number, byte?: number): boolean {
    outbox.loose += bytes;
    if (outbox.loose < MARK_BYTES) return false;
    const mark = this.#marks.set(message, byte);
    outbox.marks.push({ mark, bytes: outbox.loose });
    this.#grow(outbox, outbox.loose, now);
    outbox.loose = 0;
    return true;
  }

  /** Keeps a reply until libzmq may be given it; false: the client has no room left for it. */
  keep(outbox: Outbox, reply: Reply, now: number): boolean {
    const bytes = reply.bytes + RECORD_WEIGHT;
    if (outbox.unread + bytes > this.#room(now) && outbox.unread > 0) return false;
    outbox.waiting.push(reply);
    outbox.waitingBytes += bytes;
    this.#grow(outbox, bytes, now);
    this.#slow.add(outbox);
    return true;
  }

  /** Takes the first `count` replies out that wait. */
  take(outbox: Outbox, count: number): Reply[] {
    const taken = outbox.waiting.splice(0, count);
    const bytes = taken.reduce((sum, reply) => sum + reply.bytes + RECORD_WEIGHT, 0);
    outbox.waitingBytes -= bytes;
    outbox.unread -= bytes;
    this.#unread -= bytes;
    if (outbox.waiting.length === 0) this.#slow.delete(outbox);
    return taken;
  }

  /** Whether a client has taken nothing for so long that what waits for it is to be given up. */
  isLost(outbox: Outbox, now: number): boolean {
    return now - outbox.progressAt > SLOW_CLIENT_TIMEOUT;
  }

  /**
   * Whether a client does not read, and has half of what it may have unread: it would only lose the
   * answers to what it asks.
   */
  isStalled(client: Peer<Body>, now: number): boolean {
    const outbox = this.#outboxes.get(client);
    if (outbox === undefined || outbox.unread <= this.#half(now)) return false;
    this.#countTaken(outbox, now);
    return now - outbox.progressAt > STALL_TIME && outbox.unread > this.#half(now);
  }

  /** A client has left; returns what waited for it. */
  forget(client: Peer<Body>): Reply[] {
    const outbox = this.#outboxes.get(client);
    if (outbox === undefined) return [];
    this.#outboxes.delete(client);
    // What libzmq had for the client is freed with its connection: then the marks come back.
    if (outbox.marks.length > 0) this.#left.push(outbox);
    return this.take(outbox, Infinity);
  }

  /** What one client may have unread, bytes: what the unread replies of all have left of the limit. */
  #room(now: number): number {
    if (now - this.#countedAt >= COUNT_INTERVAL) {
      this.#countedAt = now;
      for (const outbox of this.#outboxes.values()) this.#countTaken(outbox, now);
      for (const outbox of this.#left) this.#countTaken(outbox, now);
      this.#left = this.#left.filter(({ marks }) => marks.length > 0);
    }
    return this.limit - this.#unread;
  }

  /** Half of the room, and never less than 0: a client that has read everything is never stalled. */
  #half(now: number): number {
    return Math.max(0, this.#room(now) / 2);
  }

  #grow(outbox: Outbox, bytes: number, now: number): void {
    if (outbox.unread === 0) outbox.progressAt = now;
    outbox.unread += bytes;
    this.#unread += bytes;
  }

  /** Counts what a client has taken, by the marks that have come back. */
  #countTaken(outbox: Outbox, now: number): void {
    let done = 0;
    for (const { mark, bytes } of outbox.marks) {
      if (!this.#marks.passed(mark)) break;
      outbox.unread -= bytes;
      this.#unread -= bytes;
      done++;
    }
    if (done === 0) return;
    outbox.marks.splice(0, done);
    outbox.progressAt = now;
  }
}
