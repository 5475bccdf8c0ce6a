/**
 * One connection of the record lane: what is to be sent over it, what came and is not whole yet, and the memory
 * that both sides share. Knows nothing of what is said.
 *
 * @module
 */

import type { Worker } from "../broker/job.ts";
import type { LocalPeer } from "../system/local_peer.ts";
import type { OwnMemory, SharedMemory } from "../system/shared_memory.ts";
import { Outgoing } from "../wire/outgoing.ts";
import { RecordWriter } from "../wire/records.ts";
import { RingReader, RingWriter } from "../wire/ring.ts";
import type { Body } from "./body.ts";
import type { Content } from "./content.ts";

/** Rings, as the broker has them: what it writes lies in the first half of the memory. */
export class Rings {
  readonly #own: OwnMemory;
  readonly size: number;
  readonly outgoing: SharedMemory;
  readonly incoming: SharedMemory;
  readonly writer: RingWriter;
  readonly reader: RingReader;
  /** Whether there is something in it that takes memory. */
  isUsed = false;

  /** @param own memory of two times `size` bytes. */
  constructor(own: OwnMemory, size: number) {
    this.#own = own;
    this.size = size;
    this.outgoing = own.memory.part(0, size);
    this.incoming = own.memory.part(size, size);
    this.writer = new RingWriter(size);
    this.reader = new RingReader(size);
  }

  /** Gives the memory back that bodies lay in. Nothing may be under way in it. */
  empty(): void {
    if (this.isUsed) this.#own.punch(0, 2 * this.size);
    this.isUsed = false;
  }

  /** Gives it up. */
  release(): void {
    this.#own.release();
  }
}

/** A connection of the record lane. */
export class LocalWorker {
  readonly peer: LocalPeer;
  /** Its number among the connections. */
  readonly index: number;
  /** When it came, ms. */
  readonly since: number;
  readonly out = new Outgoing();
  readonly writer = new RecordWriter(this.out);
  /** Undefined: it has not shown that it is ready. */
  worker: Worker<Body> | undefined;
  /** Whether it has shown a worker's token. */
  isKnown = false;
  /** Undefined: there are none, or not yet. */
  rings: Rings | undefined;
  /** Whether the worker has taken them. */
  usesRings = false;
  isOpen = true;
  /** Whether a wait ends when it takes more. */
  isBlocked = false;
  /** Whether something was written that `flush` is to send. */
  isDirty = false;
  /** The start of a record that is not whole. */
  rest: Uint8Array<ArrayBuffer> | undefined;
  /** The same of a large one, in memory for all of it, and how much of it is here. */
  large: Body | undefined;
  filled = 0;
  /** Bytes of a record that is not wanted, and yet to come. */
  skip = 0;

  constructor(peer: LocalPeer, index: number, since: number) {
    this.peer = peer;
    this.index = index;
    this.since = since;
  }
}

/** The content of a reply that lies in a ring. */
export class RingContent implements Content {
  readonly bytes = undefined;
  readonly start = 0;
  size = 0;
  sizes: readonly number[] | undefined;
  #memory: SharedMemory | undefined;
  #at = 0;

  /** Becomes `size` bytes at `at`. */
  set(memory: SharedMemory, at: number, size: number, sizes: readonly number[] | undefined): this {
    this.#memory = memory;
    this.#at = at;
    this.size = size;
    this.sizes = sizes;
    return this;
  }

  /** Copies some of it. */
  copyTo(target: Uint8Array<ArrayBuffer>, at: number, from: number, count: number): void {
    const part = at === 0 ? target : target.subarray(at);
    this.#memory?.read(this.#at + from, part, count);
  }

  /** Sends some of it. */
  send(fd: number, from: number, count: number): number {
    return this.#memory?.send(fd, this.#at + from, count) ?? -1;
  }
}
