/**
 * Events that were made and not sent yet, one behind the other, as they go over the wire of ZMTP. Sends nothing.
 *
 * @module
 */

import { copyBytes } from "../wire/copy_bytes.ts";
import { STAMP_BYTES, writeStamp } from "../wire/event.ts";
import { FrameFlag, FrameHead, headBytes, SHORT_HEAD_BYTES, writeHead } from "../wire/zmtp.ts";
import { keyOf } from "./prefixes.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** A topic. */
export class Topic {
  readonly bytes: Bytes;
  /** Its bytes, one character each. */
  readonly key: string;
  /** What tells topics that are there to stay from each other; -1: it is not one of them. */
  readonly index: number;
  /** The number of its last message. */
  sequence: number;

  /** A topic of at most 255 bytes. */
  constructor(bytes: Bytes, index = -1, sequence = 0) {
    this.bytes = bytes;
    this.key = keyOf(bytes);
    this.index = index;
    this.sequence = sequence;
  }
}

/** An event of a batch. */
export interface Entry {
  readonly topic: Topic;
  /** Where it ends in the batch; it starts where the one before it ends. */
  readonly end: number;
}

/** Memory that is kept while there is nothing in it, bytes. */
const KEPT_BYTES = 65_536;

/** Events, until they are sent. */
export class EventBatch {
  readonly #most: number;
  #bytes = new Uint8Array(KEPT_BYTES);
  #view = new DataView(this.#bytes.buffer);
  #end = 0;
  #entries: Entry[] = [];

  /** Is empty; takes `most` bytes, or one event. */
  constructor(most: number) {
    this.#most = most;
  }

  /** What there is, in order. */
  get entries(): readonly Entry[] {
    return this.#entries;
  }

  /** What there is lies at the beginning. */
  get bytes(): Bytes {
    return this.#bytes;
  }

  /** Whether there is nothing. */
  get isEmpty(): boolean {
    return this.#entries.length === 0;
  }

  /** Adds an event that has one frame more: the first `size` bytes of `text`; false: there is no room. */
  addText(topic: Topic, time: number, text: Bytes, size: number): boolean {
    if (!this.#makeRoom(firstBytes(topic) + headBytes(size) + size)) return false;
    const at = this.#writeFirst(topic, time, FrameFlag.MORE);
    this.#end = this.#write(text, size, 0, at);
    this.#entries.push({ topic, end: this.#end });
    return true;
  }

  /** Adds an event that has these frames more; false: there is no room. */
  addFrames(topic: Topic, time: number, frames: readonly Bytes[]): boolean {
    if (!this.#makeRoom(eventBytes(topic, frames))) return false;
    const last = frames.length - 1;
    let at = this.#writeFirst(topic, time, last < 0 ? 0 : FrameFlag.MORE);
    for (const [index, frame] of frames.entries()) {
      at = this.#write(frame, frame.length, index < last ? FrameFlag.MORE : 0, at);
    }
    this.#end = at;
    this.#entries.push({ topic, end: at });
    return true;
  }

  /** Adds an event again as it went over the wire before; false: there is no room. */
  repeat(topic: Topic, wire: Bytes): boolean {
    if (!this.#makeRoom(wire.length)) return false;
    this.#bytes.set(wire, this.#end);
    this.#end += wire.length;
    this.#entries.push({ topic, end: this.#end });
    return true;
  }

  /** The last one, as it goes over the wire: a copy. */
  last(): Bytes {
    return this.#bytes.slice(this.#entries.at(-2)?.end ?? 0, this.#end);
  }

  /** Has none any more. */
  clear(): void {
    this.#entries = [];
    this.#end = 0;
    if (this.#bytes.length === KEPT_BYTES) return;
    this.#bytes = new Uint8Array(KEPT_BYTES);
    this.#view = new DataView(this.#bytes.buffer);
  }

  #makeRoom(size: number): boolean {
    const end = this.#end + size;
    if (end > this.#most && this.#end > 0) return false;
    if (end <= this.#bytes.length) return true;
    const bytes = new Uint8Array(Math.max(end, 2 * this.#bytes.length));
    bytes.set(this.#bytes.subarray(0, this.#end));
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer);
    return true;
  }

  #writeFirst(topic: Topic, time: number, flags: number): number {
    const { bytes, sequence } = topic;
    const at = this.#write(bytes, bytes.length, FrameFlag.MORE, this.#end);
    const start = writeHead(this.#bytes, at, STAMP_BYTES, flags);
    writeStamp(this.#view, start, { sequence, time });
    return start + STAMP_BYTES;
  }

  #write(frame: Bytes, size: number, flags: number, at: number): number {
    const start = writeHead(this.#bytes, at, size, flags);
    copyBytes(this.#bytes, start, frame, 0, size);
    return start + size;
  }
}

/** Bytes over the wire of the first two frames of an event. */
function firstBytes({ bytes }: Topic): number {
  return SHORT_HEAD_BYTES + bytes.length + SHORT_HEAD_BYTES + STAMP_BYTES;
}

/** Bytes over the wire of an event that has these frames more. */
export function eventBytes(topic: Topic, frames: readonly Uint8Array[]): number {
  return frames.reduce((sum, { length }) => sum + headBytes(length) + length, firstBytes(topic));
}

const head = new FrameHead();

/** The frames of an event that lies in `bytes` from `start` up to `end`; they are views. */
export function framesAt(bytes: Bytes, start: number, end: number): Bytes[] {
  const frames: Bytes[] = [];
  for (let at = start; at < end;) {
    at += head.read(bytes, at, end);
    frames.push(bytes.subarray(at, at + head.size));
    at += head.size;
  }
  return frames;
}
