/**
 * Sends to many peers over stream sockets that never wait. What is small is collected, and goes out with one call
 * for each peer at the end of a pass; what is large is sent from where it lies. What a peer does not take waits in
 * its backlog, within bounds. Knows no messages' meaning.
 *
 * @module
 */

import type { Streams } from "../system/streams.ts";
import { Backlog } from "./backlog.ts";
import type { BodyPool } from "./body.ts";
import type { Content } from "./content.ts";
import type { Share, Unread } from "./unread.ts";

/** A peer, as far as it is sent to. */
export interface Outlet extends Share {
  readonly fd: number;
  /** What was written to it in this pass: the first `used` bytes of memory that it has for the pass. */
  chunk: Uint8Array<ArrayBuffer> | undefined;
  used: number;
  /** What it has not taken; undefined: it takes all. */
  backlog: Backlog | undefined;
  /** Whether `Outlets` is to flush it. */
  isDirty: boolean;
}

/** Memory for what one peer is sent in a pass, bytes. */
const CHUNK_BYTES = 32_768;
/** Memory of that kind that is kept to be used again. */
const MAX_SPARES = 64;

/** Peers that are sent to. */
export class Outlets<T extends Outlet> {
  readonly #sender: Pick<Streams, "send">;
  readonly #bodies: BodyPool;
  readonly #unread: Unread;
  readonly #becameSlow: (outlet: T) => void;
  readonly #spares: Uint8Array<ArrayBuffer>[] = [];
  #dirty: T[] = [];
  /** Those that have a backlog. */
  readonly slow = new Set<T>();
  /** Where `open` says that is written. */
  bytes: Uint8Array<ArrayBuffer> = new Uint8Array(0);
  at = 0;

  /** `becameSlow` is told of each that takes no more for now: `drain` is to be called once it does. */
  constructor(
    sender: Pick<Streams, "send">,
    bodies: BodyPool,
    unread: Unread,
    becameSlow: (outlet: T) => void,
  ) {
    this.#sender = sender;
    this.#bodies = bodies;
    this.#unread = unread;
    this.#becameSlow = becameSlow;
  }

  /** Makes room for a message of `size` bytes, to be written into `bytes` at `at`; false: there is none. */
  open(outlet: T, size: number, now: number): boolean {
    if (this.openInChunk(outlet, size, now)) return true;
    const backlog = outlet.backlog ?? this.#newBacklog(outlet, now);
    if (!this.#unread.hasRoom(outlet, size)) return false;
    ({ bytes: this.bytes, at: this.at } = backlog.add(size));
    this.#unread.add(outlet, size, now);
    return true;
  }

  /** The same of a small message, or of the beginning of one whose last frame comes with `sendContent`. */
  openInChunk(outlet: T, size: number, now: number): boolean {
    if (outlet.backlog !== undefined || size > CHUNK_BYTES) return false;
    if (outlet.used + size > CHUNK_BYTES) {
      this.#sendChunk(outlet, now);
      if (outlet.backlog !== undefined) return false;
    }
    this.bytes = outlet.chunk ??= this.#spares.pop() ?? new Uint8Array(CHUNK_BYTES);
    this.at = outlet.used;
    outlet.used += size;
    this.#soil(outlet);
    return true;
  }

  #soil(outlet: T): void {
    if (outlet.isDirty) return;
    outlet.isDirty = true;
    this.#dirty.push(outlet);
  }

  /**
   * Sends a message's last frame, a large one, whose head and all that comes before it were written just now, where
   * `openInChunk` had room for it.
   */
  sendContent(outlet: T, content: Content, now: number): void {
    const sent = this.#sendChunk(outlet, now, "more") ? this.#sendDirectly(outlet, content) : 0;
    const rest = content.size - sent;
    if (rest === 0) return;
    const body = this.#bodies.take(rest);
    content.copyTo(body.bytes, 0, sent, rest);
    const backlog = outlet.backlog ?? this.#newBacklog(outlet, now);
    backlog.addRest(body);
    this.#unread.add(outlet, rest, now);
  }

  #sendDirectly({ fd }: T, content: Content): number {
    const { bytes, start, size } = content;
    let sent = 0;
    while (sent < size) {
      const taken = bytes === undefined
        ? content.send(fd, sent, size - sent)
        : this.#sender.send(fd, bytes, start + sent, size - sent, "last");
      if (taken <= 0) break;
      sent += taken;
    }
    return sent;
  }

  /** Sends what was written in this pass; false: the peer has not taken all. */
  #sendChunk(outlet: T, now: number, followed: "last" | "more" = "last"): boolean {
    const { chunk, used } = outlet;
    if (chunk === undefined) return true;
    outlet.chunk = undefined;
    outlet.used = 0;
    const taken = used === 0
      ? 0
      : Math.max(0, this.#sender.send(outlet.fd, chunk, 0, used, followed));
    if (taken < used) {
      const backlog = this.#newBacklog(outlet, now);
      backlog.addWritten(chunk, taken, used, followed === "more" ? "begun" : "whole");
      this.#unread.add(outlet, used - taken, now);
    }
    if (this.#spares.length < MAX_SPARES) this.#spares.push(chunk);
    return taken === used;
  }

  #newBacklog(outlet: T, now: number): Backlog {
    // What was written before goes first.
    if (
      outlet.chunk !== undefined && !this.#sendChunk(outlet, now) && outlet.backlog !== undefined
    ) {
      return outlet.backlog;
    }
    const backlog = outlet.backlog = new Backlog(this.#bodies);
    this.slow.add(outlet);
    this.#soil(outlet);
    return backlog;
  }

  /** Sends what was written since the last call. */
  flush(now: number): void {
    if (this.#dirty.length === 0) return;
    const all = this.#dirty;
    this.#dirty = [];
    for (const outlet of all) {
      if (!outlet.isDirty) continue;
      outlet.isDirty = false;
      if (outlet.backlog === undefined) this.#sendChunk(outlet, now);
      else this.drain(outlet, now);
      if (outlet.backlog !== undefined) this.#becameSlow(outlet);
    }
  }

  /** The same for one peer. */
  flushOne(outlet: T, now: number): void {
    if (outlet.backlog === undefined) this.#sendChunk(outlet, now);
  }

  /** Sends what a slow peer takes by now; returns whether that was all. */
  drain(outlet: T, now: number): boolean {
    const { backlog } = outlet;
    if (backlog === undefined) return true;
    for (let bytes = backlog.first; bytes !== undefined; bytes = backlog.first) {
      const taken = this.#sender.send(outlet.fd, bytes, 0, bytes.length, "last");
      if (taken <= 0) return false;
      backlog.took(taken);
      this.#unread.took(outlet, taken, now);
    }
    this.#forgetBacklog(outlet);
    return true;
  }

  /** Gives up what waits and was not begun; returns how many messages that was. */
  dropWhole(outlet: T, now: number): number {
    outlet.droppedAt = now;
    const { messages, bytes } = outlet.backlog?.dropWhole() ?? NOTHING;
    this.#unread.drop(outlet, bytes);
    if (outlet.backlog?.isEmpty) this.#forgetBacklog(outlet);
    return messages;
  }

  /** A peer is gone: returns how many messages it has not taken whole. */
  forget(outlet: T): number {
    const { messages, bytes } = outlet.backlog?.clear() ?? NOTHING;
    this.#unread.drop(outlet, bytes);
    this.#forgetBacklog(outlet);
    if (outlet.chunk !== undefined) this.#spares.push(outlet.chunk);
    outlet.chunk = undefined;
    outlet.used = 0;
    outlet.isDirty = false;
    return messages;
  }

  #forgetBacklog(outlet: T): void {
    outlet.backlog = undefined;
    this.slow.delete(outlet);
  }

  /** Gives memory back that is not in use. */
  dropSpares(): void {
    this.#spares.length = 0;
  }
}

const NOTHING = { messages: 0, bytes: 0 };
