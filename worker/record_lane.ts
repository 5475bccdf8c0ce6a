/**
 * A worker's connection to the broker of its own machine: records over a unix socket, and large bodies through
 * memory that both share. What comes and goes in one pass is one call each.
 *
 * @module
 */

import { ByteCache } from "../wire/byte_cache.ts";
import { EMPTY_FRAME } from "../wire/empty_frame.ts";
import {
  FromBroker,
  FromWorker,
  type JobClient,
  type JobHeader,
  LOG_LEVELS,
  type LogLevel,
  parseClient,
  type ReplyHeader,
} from "../wire/job.ts";
import { Outgoing } from "../wire/outgoing.ts";
import { HEAD_BYTES, Only, RecordReader, recordSize, RecordWriter, Tag } from "../wire/records.ts";
import { RingReader, RingWriter } from "../wire/ring.ts";
import { readTry } from "../wire/stored_try.ts";
import { TRACE_BYTES } from "../wire/trace.ts";
import type { WorkerConfig } from "../wire/worker_config.ts";
import { LocalConnection, type Rings } from "../system/local_connection.ts";
import { Bytes, harden, inPlainMemory, lengthOf } from "../zmq/library.ts";
import { Hold } from "./hold.ts";
import type { Introduction, Orders, Remark, WorkerLane } from "./lane.ts";

type Frame = Uint8Array<ArrayBuffer>;

/** Room for what is read at once; it grows for a head that is larger. */
const IN_BYTES = 65_536;
/** A pass is full with this many bytes in its jobs' bodies. */
const BATCH_BYTES = 262_144;
/** Reads of a pass. */
const BATCH_READS = 16;
/** Replies from this size on go through the ring; below it, a copy more costs less than the call. */
const RING_MIN = 8192;
/** Replies from this size on, without a ring, are sent from a copy of their own. */
const LARGE_BYTES = 32_768;
/** With more bytes than this that the broker has not taken, no part is asked for. */
const FULL_BYTES = 262_144;
/** How long a worker that leaves waits for its last replies to be sent. */
const LINGER_MS = 5000;

/** A large body that has not come as a whole: its frames, filled one after the other. */
interface Arrival {
  /** Undefined: it is an answer. */
  readonly header: JobHeader | undefined;
  /** The question that it answers, and how; meaningless where it is a job's. */
  readonly question: number;
  readonly code: number;
  readonly frames: readonly Frame[];
  /** The frame that is filled now, and how far it is. */
  index: number;
  filled: number;
}

/** Records to the broker and back. */
export class RecordLane implements WorkerLane {
  readonly #connection: LocalConnection;
  readonly #out = new Outgoing();
  readonly #writer = new RecordWriter(this.#out);
  readonly #reader = new RecordReader();
  readonly #hold = new Hold();
  readonly #encoder = new TextEncoder();
  readonly #clients = new ByteCache(parseClient);
  #in = new Bytes(IN_BYTES);
  #view = new DataView(this.#in.buffer);
  /** What was read and not used yet: a record of which the rest has not come. */
  #rest = 0;
  #arrival: Arrival | undefined;
  /** Bytes of bodies that this pass has brought. */
  #brought = 0;
  #memory: Rings | undefined;
  #inRing = new RingReader(0);
  #outRing = new RingWriter(0);
  #isLost = false;

  /** Connects, and says whose token it has; needs FFI until `prepare` returns. */
  constructor({ library, backend, token }: WorkerConfig) {
    this.#connection = new LocalConnection(library, backend.slice("ipc://".length));
    this.#writeToken(Only.HELLO, token, 0);
    this.#say();
  }

  /** Takes the rings, if the broker has some; from now on nothing here needs FFI. */
  prepare(): void {
    const welcome = this.#connection.welcome();
    if (welcome === undefined) return;
    const { record, take } = welcome;
    const size = record.length;
    const isOne = this.#reader.read(new DataView(record.buffer), 0, size);
    const rings = isOne && this.#reader.type === Only.WELCOME ? this.#reader.rings : 0;
    this.#memory = take(rings);
    if (this.#memory === undefined) return;
    this.#inRing = new RingReader(rings);
    this.#outRing = new RingWriter(rings);
  }

  /** Reads records; true if there may be more. */
  read(orders: Orders): boolean {
    if (this.#isLost) return false;
    if (this.#out.size > 0) this.#send();
    this.#brought = 0;
    for (let reads = 0; reads < BATCH_READS && this.#brought < BATCH_BYTES; reads++) {
      const more = this.#arrival === undefined ? this.#readSome(orders) : this.#readArrival(orders);
      if (!more) return false;
    }
    return true;
  }

  /** Nothing: `read` is called until there is nothing, and what comes then ends a wait. */
  isReadable(): boolean {
    return false;
  }

  /** Reads what has come, and takes the records in it; false: nothing more is here. */
  #readSome(orders: Orders): boolean {
    const size = this.#connection.receive(this.#in, this.#rest);
    if (size <= 0) return this.#found(size, orders);
    const end = this.#rest + size;
    const isFull = end === this.#in.length;
    const start = this.#takeAll(end, orders);
    if (start > 0 && start < end) this.#in.copyWithin(0, start, end);
    this.#rest = end - start;
    if (this.#rest > 0 && this.#arrival === undefined) this.#makeRoom();
    return isFull || this.#arrival !== undefined;
  }

  /** Nothing is here, or nothing will ever be. */
  #found(size: number, orders: Orders): false {
    if (size === 0) {
      this.#isLost = true;
      this.#connection.end();
      orders.lost();
    }
    return false;
  }

  /** Takes the records before `end`; returns where the first one starts that is not whole. */
  #takeAll(end: number, orders: Orders): number {
    let start = 0;
    while (end - start >= HEAD_BYTES) {
      const size = recordSize(this.#view, start);
      if (size > end - start) {
        return this.#begin(start, size, end) ? end : start;
      }
      if (this.#reader.read(this.#view, start, size)) this.#take(orders);
      start += size;
    }
    return start;
  }

  /** Takes the record that was read. */
  #take(orders: Orders): void {
    const { type, job, code, credit, stream } = this.#reader;
    if (credit !== undefined) this.#outRing.credit(credit);
    if (type === FromBroker.JOB) this.#takeJob(orders);
    else if (type === FromBroker.CANCEL) orders.cancel(job, code);
    else if (type === FromBroker.GRANT && stream !== undefined) orders.grant(job, stream);
    else if (type === FromBroker.ANSWER) this.#takeAnswer(orders);
    else if (type === FromBroker.STOP) orders.stop();
    else if (type === FromBroker.ASK) orders.ask();
  }

  #takeJob(orders: Orders): void {
    const reader = this.#reader;
    this.#brought += reader.bytes;
    const frames = reader.inRing ? this.#framesInRing() : this.#framesHere();
    orders.job(this.#header(), frames);
  }

  #takeAnswer(orders: Orders): void {
    const { job: question, code, inRing } = this.#reader;
    orders.answer(question, code, inRing ? this.#framesInRing() : this.#framesHere());
  }

  #header(): JobHeader {
    const { job, detail, deadline, timeLimit, frames, stream, partsSent } = this.#reader;
    const { clientStart, clientEnd, traceStart, queuedAt, storedStart, storedEnd } = this.#reader;
    const trace = traceStart === 0
      ? undefined
      : this.#in.slice(traceStart, traceStart + TRACE_BYTES);
    const client: JobClient = this.#clients.get(this.#in, clientStart, clientEnd);
    return {
      job,
      attempt: detail,
      deadline,
      requestTimeout: timeLimit,
      frames,
      stream,
      partsSent,
      trace,
      queuedAt,
      stored: storedEnd === 0 ? undefined : readTry(this.#in, storedStart, storedEnd),
      client,
    };
  }

  /** The frames of the record that was read: a handler may do with their memory what it likes. */
  #framesHere(): Frame[] {
    const { start, bytes, frames } = this.#reader;
    if (frames === 1) return [this.#in.slice(start, start + bytes)];
    const all: Frame[] = [];
    let at = start;
    for (let index = 0; index < frames; index++) {
      const size = this.#reader.sizeOf(this.#view, index);
      all.push(this.#in.slice(at, at + size));
      at += size;
    }
    return all;
  }

  /** The same of frames that lie in the ring. */
  #framesInRing(): Frame[] {
    const { start, bytes } = this.#reader;
    const frames = this.#emptyFrames();
    let at = start;
    if (!this.#inRing.take(start, bytes)) {
      throw new RangeError("Cannot read a job: it is not there");
    }
    for (const frame of frames) {
      const size = lengthOf(frame);
      if (size > 0) this.#memory?.incoming.read(at, frame, size);
      at += size;
    }
    this.#tellCredit();
    return frames;
  }

  /** Memory for the frames of the record that was read. */
  #emptyFrames(): Frame[] {
    const { bytes, frames } = this.#reader;
    if (frames === 1) return [new Bytes(bytes)];
    const all: Frame[] = [];
    for (let index = 0; index < frames; index++) {
      all.push(new Bytes(this.#reader.sizeOf(this.#view, index)));
    }
    return all;
  }

  /** Replies say how far the ring was read; if there are none for long, a record does. */
  #tellCredit(): void {
    if (this.#inRing.untold < this.#inRing.size / 2) return;
    this.#writer.open(Only.CREDIT, 0, 0, 0, 0);
    this.#writer.number(Tag.CREDIT, this.#inRing.tell());
    this.#writer.frames(0);
    this.#writer.close();
    this.#send();
  }

  // ---- bodies that come in parts ----

  /** Begins a record that has not come as a whole, if it is a job whose head is here. */
  #begin(start: number, size: number, end: number): boolean {
    if (size <= this.#in.length || !this.#reader.readHead(this.#view, start, size, end)) {
      return false;
    }
    const { type, job: question, code } = this.#reader;
    if (type !== FromBroker.JOB && type !== FromBroker.ANSWER) return false;
    this.#brought += this.#reader.bytes;
    this.#arrival = {
      header: type === FromBroker.JOB ? this.#header() : undefined,
      question,
      code,
      frames: this.#emptyFrames(),
      index: 0,
      filled: 0,
    };
    this.#fill(this.#reader.start, end);
    return true;
  }

  /** Copies what came along with the head. */
  #fill(start: number, end: number): void {
    const arrival = this.#arrival;
    while (arrival !== undefined && start < end) {
      const frame = arrival.frames[arrival.index] ?? EMPTY_FRAME;
      const size = Math.min(lengthOf(frame) - arrival.filled, end - start);
      frame.set(this.#in.subarray(start, start + size), arrival.filled);
      start += size;
      this.#filled(arrival, size);
    }
  }

  /** Reads what has come of a body; false: nothing more is here. */
  #readArrival(orders: Orders): boolean {
    const arrival = this.#arrival;
    if (arrival === undefined) return true;
    // Frames of no bytes are full as they are.
    this.#filled(arrival, 0);
    const frame = arrival.frames[arrival.index];
    if (frame !== undefined) {
      const size = this.#connection.receive(frame, arrival.filled);
      if (size <= 0) return this.#found(size, orders);
      this.#filled(arrival, size);
    }
    if (arrival.index < arrival.frames.length) return true;
    this.#arrival = undefined;
    if (arrival.header !== undefined) orders.job(arrival.header, arrival.frames);
    else orders.answer(arrival.question, arrival.code, arrival.frames);
    return true;
  }

  /** So many bytes more are here. */
  #filled(arrival: Arrival, size: number): void {
    arrival.filled += size;
    while (arrival.index < arrival.frames.length) {
      if (arrival.filled < lengthOf(arrival.frames[arrival.index] ?? EMPTY_FRAME)) return;
      arrival.index++;
      arrival.filled = 0;
    }
  }

  /** Makes sure that there is room for more of a record's head: one with very many frames is long. */
  #makeRoom(): void {
    if (this.#rest < this.#in.length) return;
    const larger = new Bytes(2 * this.#in.length);
    larger.set(this.#in);
    this.#in = larger;
    this.#view = new DataView(larger.buffer);
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
    if (this.#inRing.untold > 0) writer.number(Tag.CREDIT, this.#inRing.tell());
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
    const memory = this.#memory?.outgoing;
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
