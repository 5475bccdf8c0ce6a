/**
 * A worker's connection to the broker of its own machine: records over a unix socket, and large bodies through
 * memory that both share. What comes and goes in one pass is one call each. Here is what is said; what comes is in
 * record_inlet.ts.
 *
 * @module
 */

import { EMPTY_FRAME } from "../wire/empty_frame.ts";
import { FromWorker, LOG_LEVELS, type LogLevel, type ReplyHeader } from "../wire/job.ts";
import { Outgoing } from "../wire/outgoing.ts";
import { Only, RecordReader, RecordWriter, Tag } from "../wire/records.ts";
import { RingWriter } from "../wire/ring.ts";
import type { WorkerConfig } from "../wire/worker_config.ts";
import { LocalConnection, type Rings } from "../system/local_connection.ts";
import { Bytes, harden, inPlainMemory, lengthOf } from "../zmq/library.ts";
import { Hold } from "./hold.ts";
import type { Introduction, Orders, Remark, WorkerLane } from "./lane.ts";
import { RecordInlet } from "./record_inlet.ts";

type Frame = Uint8Array<ArrayBuffer>;

/** Replies from this size on go through the ring; below it, a copy more costs less than the call. */
const RING_MIN = 8192;
/** Replies from this size on, without a ring, are sent from a copy of their own. */
const LARGE_BYTES = 32_768;
/** With more bytes than this that the broker has not taken, no part is asked for. */
const FULL_BYTES = 262_144;
/** How long a worker that leaves waits for its last replies to be sent. */
const LINGER_MS = 5000;

/** Records to the broker and back. */
export class RecordLane implements WorkerLane {
  readonly #connection: LocalConnection;
  readonly #out = new Outgoing();
  readonly #writer = new RecordWriter(this.#out);
  readonly #hold = new Hold();
  readonly #encoder = new TextEncoder();
  readonly #inlet: RecordInlet;
  #memory: Rings["outgoing"] | undefined;
  #outRing = new RingWriter(0);

  /** Connects, and says whose token it has; needs FFI until `prepare` returns. */
  constructor({ library, backend, token }: WorkerConfig) {
    const connection = new LocalConnection(library, backend.slice("ipc://".length));
    this.#connection = connection;
    this.#inlet = new RecordInlet(connection, {
      credited: (bytes) => this.#outRing.credit(bytes),
      creditDue: () => this.#tellCredit(),
    });
    this.#writeToken(Only.HELLO, token, 0);
    this.#say();
  }

  /** Takes the rings, if the broker has some; from now on nothing here needs FFI. */
  prepare(): void {
    const welcome = this.#connection.welcome();
    if (welcome === undefined) return;
    const { record, take } = welcome;
    const size = record.length;
    const reader = new RecordReader();
    const isOne = reader.read(new DataView(record.buffer), 0, size);
    const rings = isOne && reader.type === Only.WELCOME ? reader.rings : 0;
    const memory = take(rings);
    if (memory === undefined) return;
    this.#memory = memory.outgoing;
    this.#outRing = new RingWriter(rings);
    this.#inlet.openRing(rings, memory.incoming);
  }

  /** Reads records; true if there may be more. */
  read(orders: Orders): boolean {
    if (this.#inlet.isLost) return false;
    if (this.#out.size > 0) this.#send();
    return this.#inlet.read(orders);
  }

  /** Nothing: `read` is called until there is nothing, and what comes then ends a wait. */
  isReadable(): boolean {
    return false;
  }

  /** Replies say how far the ring was read; there were none for long, so a record does. */
  #tellCredit(): void {
    this.#writer.open(Only.CREDIT, 0, 0, 0, 0);
    this.#writer.number(Tag.CREDIT, this.#inlet.ring.tell());
    this.#writer.frames(0);
    this.#writer.close();
    this.#send();
  }

  // ---- what is said ----

  /** Writes a reply, and sends what waits unless it may go on waiting. */
  reply(
    header: ReplyHeader,
    frames: readonly Uint8Array[],
    size: number,
    mayWait: boolean,
    now: number,
  ): void {
    this.#write(FromWorker.REPLY, header, frames, size, mayWait, now);
  }

  /** The same of a part. */
  part(
    header: ReplyHeader,
    frames: readonly Uint8Array[],
    size: number,
    mayWait: boolean,
    now: number,
  ): void {
    this.#write(FromWorker.PART, header, frames, size, mayWait, now);
  }

  #write(
    type: number,
    header: ReplyHeader,
    frames: readonly Uint8Array[],
    size: number,
    mayWait: boolean,
    now: number,
  ): void {
    const { length } = frames;
    const sizes = length > 1 ? 4 * length : 0;
    const place = size >= RING_MIN ? this.#placeInRing(frames, size) : -1;
    const isApart = place < 0 && size > LARGE_BYTES;
    const body = isApart ? joined(frames, size) : undefined;
    const writer = this.#writer;
    writer.open(
      type,
      header.flags,
      header.code,
      header.job,
      sizes + (place < 0 && !isApart ? size : 0),
    );
    writer.number(Tag.MICROS, Math.min(Math.max(0, Math.round(header.micros)), 0xffffffff));
    const { ring } = this.#inlet;
    if (ring.untold > 0) writer.number(Tag.CREDIT, ring.tell());
    if (place >= 0) writer.place(place, size);
    writer.frames(length);
    if (length > 1) { for (let at = 0; at < length; at++) writer.size(sizeOf(frames, at)); }
    if (place < 0 && !isApart) {
      for (let at = 0; at < length; at++) {
        writer.copy(frames[at] ?? EMPTY_FRAME, sizeOf(frames, at));
      }
    }
    writer.close(isApart ? size : 0);
    if (body !== undefined) this.#out.push(body, size, undefined);
    if (this.#hold.add(size, mayWait, now)) this.#send();
  }

  /**
   * Copies frames into the ring; where they start, -1: there is no room.
   *
   * @throws {RangeError} when a frame has grown or shrunk.
   */
  #placeInRing(frames: readonly Uint8Array[], size: number): number {
    const memory = this.#memory;
    if (memory === undefined) return -1;
    const plain: Frame[] = [];
    let sum = 0;
    for (let index = 0; index < frames.length; index++) {
      const frame = plain[index] = inPlainMemory(frames[index] ?? EMPTY_FRAME);
      sum += lengthOf(frame);
    }
    if (sum !== size) throw new RangeError("Cannot send a reply: its size has changed");
    const place = this.#outRing.place(size);
    if (place < 0) return -1;
    let at = place;
    for (let index = 0; index < plain.length; index++) {
      const bytes = sizeOf(plain, index);
      if (bytes > 0) memory.write(at, plain[index] ?? EMPTY_FRAME, bytes);
      at += bytes;
    }
    return place;
  }

  /** Sends the replies that wait. */
  flush(): void {
    if (this.#hold.end()) this.#send();
  }

  /** Says READY or LOADED. */
  introduce(type: Introduction, token: string): void {
    this.#writeToken(type, token, 0);
    if (type === FromWorker.READY && this.#outRing.size > 0) {
      this.#writer.number(Tag.RINGS, this.#outRing.size);
    }
    this.#say();
  }

  /** Says FAILED. */
  fail(token: string, message: string): void {
    const text = this.#encoder.encode(message);
    this.#writeToken(FromWorker.FAILED, token, text.length);
    this.#say(text);
  }

  #writeToken(type: number, token: string, room: number): void {
    this.#writer.open(type, 0, 0, 0, room);
    this.#writer.text(Tag.TOKEN, this.#encoder.encode(token));
  }

  /** Says something that has nothing but a type. */
  remark(type: Remark): void {
    this.#writer.open(type, 0, 0, 0, 0);
    this.#say();
  }

  /** Says RETURN. */
  giveBack(job: number): void {
    this.#writer.open(FromWorker.RETURN, 0, 0, job, 0);
    this.#say();
  }

  /** Says QUESTION. */
  ask(job: number, frames: readonly Uint8Array[], size: number): void {
    const header = { job, code: 0, flags: 0, micros: 0, frames: frames.length };
    this.#write(FromWorker.QUESTION, header, frames, size, false, 0);
  }

  /** Says PUBLISH. */
  publish(job: number, frames: readonly Uint8Array[], size: number, retain: boolean): void {
    const header = { job, code: 0, flags: retain ? 1 : 0, micros: 0, frames: frames.length };
    this.#write(FromWorker.PUBLISH, header, frames, size, false, 0);
  }

  /** Says WITHDRAWAL. */
  withdraw(question: number): void {
    this.#writer.open(FromWorker.WITHDRAWAL, 0, 0, question, 0);
    this.#say();
  }

  /** Whether much waits until the broker reads: the next wait ends when it does. */
  get isFull(): boolean {
    return this.#out.size > FULL_BYTES;
  }

  /** Says PROGRESS. */
  progress(job: number, frames: readonly Frame[]): void {
    let room = 4 * frames.length;
    for (let index = 0; index < frames.length; index++) room += sizeOf(frames, index);
    this.#writer.open(FromWorker.PROGRESS, 0, 0, job, room);
    this.#say(...frames);
  }

  /** Says LOG. */
  log(level: LogLevel, job: number, message: string, fields: string): void {
    const texts = [this.#encoder.encode(message), this.#encoder.encode(fields)] as const;
    const room = 8 + texts[0].length + texts[1].length;
    this.#writer.open(FromWorker.LOG, LOG_LEVELS.indexOf(level), 0, job, room);
    this.#say(...texts);
  }

  /** Says MEMORY. */
  memory(bytes: number): void {
    this.#writer.open(FromWorker.MEMORY, 0, 0, 0, 0);
    this.#writer.number(Tag.MEMORY, Math.min(Math.round(bytes / 1024), 0xffffffff));
    this.#say();
  }

  /** Ends a record with these frames and sends it, behind the replies that wait. */
  #say(...frames: Frame[]): void {
    const writer = this.#writer;
    writer.frames(frames.length);
    if (frames.length > 1) { for (const { length } of frames) writer.size(length); }
    for (const frame of frames) writer.copy(frame, frame.length);
    writer.close();
    this.#hold.end();
    this.#send();
  }

  /** Sends what it can; the rest once the broker has read. */
  #send(): void {
    const isAll = this.#out.send(this.#connection);
    this.#connection.awaitRoom(!isAll);
  }

  // ---- waiting ----

  /** Whether `wait` is under way. */
  get waiting(): boolean {
    return this.#connection.waiting;
  }

  /** Waits; see `Poller`. */
  wait(timeout: number): Promise<void> {
    return this.#connection.wait(timeout);
  }

  /** Rests; see `Poller`. */
  rest(timeout: number): Promise<void> | undefined {
    return this.#connection.rest(timeout);
  }

  /** Ends a wait. */
  wake(): void {
    this.#connection.wake();
  }

  /** Sends what is left, for a while, and closes. */
  close(): void {
    const end = performance.now() + LINGER_MS;
    while (!this.#out.send(this.#connection) && performance.now() < end) {
      if (!this.#connection.waitForRoom(end - performance.now())) break;
    }
    this.#connection.close();
  }
}

function sizeOf(frames: readonly Uint8Array[], index: number): number {
  return lengthOf(frames[index] ?? EMPTY_FRAME);
}

/** A copy of frames, one behind the other. */
function joined(frames: readonly Uint8Array[], size: number): Frame {
  const all = new Bytes(size);
  let at = 0;
  for (let index = 0; index < frames.length; index++) {
    all.set(frames[index] ?? EMPTY_FRAME, at);
    at += sizeOf(frames, index);
  }
  return all;
}

harden(RecordLane);
