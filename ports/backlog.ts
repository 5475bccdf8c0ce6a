/**
 * What one slow peer has not taken: messages as they go over the wire, one behind the other. Those that are small
 * lie together, so that much of them goes out at once. Sends nothing itself.
 *
 * @module
 */

import { FrameHead } from "../wire/zmtp.ts";
import type { Body, BodyPool } from "./body.ts";

/** Small messages lie together in as much memory as waits already, within these bounds, bytes. */
const LEAST_TOGETHER = 4096;
const MOST_TOGETHER = 65_536;

/** Bytes that lie together. */
interface Parcel {
  readonly body: Body;
  /** What was not taken: from `from` up to `end`. */
  from: number;
  end: number;
  /** whole: messages, one behind the other; begun: the last one's rest is the next parcel; rest: that rest */
  kind: "whole" | "begun" | "rest";
}

/** Messages that wait for one peer. */
export class Backlog {
  readonly #bodies: BodyPool;
  #parcels: Parcel[] = [];

  /** Is empty; its memory is of `bodies`. */
  constructor(bodies: BodyPool) {
    this.#bodies = bodies;
  }

  /** Whether nothing waits. */
  get isEmpty(): boolean {
    return this.#parcels.length === 0;
  }

  /** The bytes that go out next. */
  get first(): Uint8Array<ArrayBuffer> | undefined {
    const [parcel] = this.#parcels;
    return parcel?.body.bytes.subarray(parcel.from, parcel.end);
  }

  /** So many of the bytes that `first` gives were taken. */
  took(count: number): void {
    const [parcel] = this.#parcels;
    if (parcel === undefined) return;
    parcel.from += count;
    if (parcel.from < parcel.end) return;
    this.#parcels.shift();
    this.#bodies.release(parcel.body);
  }

  /** Room for a message of `size` bytes behind all others, to be written at once: memory, and where it begins. */
  add(size: number): { bytes: Uint8Array<ArrayBuffer>; at: number } {
    const last = this.#parcels.at(-1);
    if (last?.kind === "whole" && last.body.bytes.length - last.end >= size) {
      const at = last.end;
      last.end += size;
      return { bytes: last.body.bytes, at };
    }
    const room = last === undefined ? LEAST_TOGETHER : Math.min(MOST_TOGETHER, 2 * last.end);
    const body = this.#bodies.take(Math.max(size, room));
    this.#parcels.push({ body, from: 0, end: size, kind: "whole" });
    return { bytes: body.bytes, at: 0 };
  }

  /**
   * Copies what is left of messages that were written from the start of `bytes` up to `end`, of which `taken` bytes
   * were taken. "begun": the rest of the last message comes next, by `addRest`.
   */
  addWritten(bytes: Uint8Array, taken: number, end: number, kind: "whole" | "begun"): void {
    const start = scan(bytes, taken, end).start;
    const body = this.#bodies.take(end - start);
    body.bytes.set(bytes.subarray(start, end));
    this.#parcels.push({ body, from: taken - start, end: end - start, kind });
  }

  /** Takes the rest of a message: its beginning was taken, or waits as the last. The body is given away. */
  addRest(body: Body): void {
    this.#parcels.push({ body, from: 0, end: body.size, kind: "rest" });
  }

  /**
   * Drops the messages of which nothing was taken: how many, and their bytes. One of which something was taken
   * stays, as the connection would be of no use without its rest.
   */
  dropWhole(): Dropped {
    const dropped = { messages: 0, bytes: 0 };
    const [first, ...others] = this.#parcels;
    if (first === undefined) return dropped;
    const end = first.kind === "rest" ? first.end : endOfBegun(first);
    const keepsNext = end > first.end;
    this.#parcels = keepsNext ? [first, ...others.splice(0, 1)] : end > first.from ? [first] : [];
    if (!keepsNext) this.#discard(first, end, dropped);
    for (const parcel of others) this.#discard(parcel, parcel.from, dropped);
    return dropped;
  }

  /** Gives all up: how many messages were not taken whole, and their bytes. */
  clear(): Dropped {
    const dropped = { messages: 0, bytes: 0 };
    for (const parcel of this.#parcels) this.#discard(parcel, parcel.from, dropped);
    this.#parcels = [];
    return dropped;
  }

  /** Counts what a parcel has behind `from`, and cuts it there; one of which nothing is left is given back. */
  #discard(parcel: Parcel, from: number, dropped: Dropped): void {
    const { body: { bytes }, end, kind } = parcel;
    dropped.bytes += end - from;
    if (kind !== "rest") {
      dropped.messages += scan(bytes, end, end).messages - scan(bytes, from, end).messages;
    } else if (from < end) dropped.messages++;
    if (from === parcel.from) return this.#bodies.release(parcel.body);
    parcel.end = from;
    if (kind === "begun") parcel.kind = "whole";
  }
}

/** What was dropped. */
export interface Dropped {
  messages: number;
  bytes: number;
}

/** Where the message ends of which the peer has taken something: `from` if there is none, Infinity: in the next parcel. */
function endOfBegun({ body: { bytes }, from, end }: Parcel): number {
  const { start, next } = scan(bytes, from, end);
  return start === from ? from : next;
}

const head = new FrameHead();

/**
 * Reads messages that were written here from the start of `bytes` up to `end`, until the one that `until` lies in:
 * where that starts, where the next one does, Infinity if behind `end`, and how many messages come before it.
 * Commands count as none.
 */
function scan(
  bytes: Uint8Array,
  until: number,
  end: number,
): { start: number; next: number; messages: number } {
  let start = 0;
  let messages = 0;
  for (let at = 0; at !== until || at !== start;) {
    const size = head.read(bytes, at, end);
    at += size + head.size;
    if (size <= 0 || at > end) return { start, next: Infinity, messages };
    if (head.more) continue;
    if (at > until) return { start, next: at, messages };
    start = at;
    if (!head.isCommand) messages++;
  }
  return { start, next: start, messages };
}
