/**
 * What comes over a worker's connection to the broker of its own machine: takes records apart, and puts together the
 * bodies of those that come in parts. What goes the other way is record_lane.ts's business.
 *
 * @module
 */

import type { LocalConnection, Rings } from "../system/local_connection.ts";
import { ByteCache } from "../wire/byte_cache.ts";
import { EMPTY_FRAME } from "../wire/empty_frame.ts";
import { FromBroker, type JobClient, type JobHeader, parseClient } from "../wire/job.ts";
import { HEAD_BYTES, RecordReader, recordSize } from "../wire/records.ts";
import { RingReader } from "../wire/ring.ts";
import { readTry } from "../wire/stored_try.ts";
import { TRACE_BYTES } from "../wire/trace.ts";
import { Bytes, harden, lengthOf } from "../zmq/library.ts";
import type { Orders } from "./lane.ts";

type Frame = Uint8Array<ArrayBuffer>;

/** Room for what is read at once; it grows for a head that is larger. */
const IN_BYTES = 65_536;
/** A pass is full with this many bytes in its jobs' bodies. */
const BATCH_BYTES = 262_144;
/** Reads of a pass. */
const BATCH_READS = 16;

/** What a `RecordInlet` reports. */
export interface InletEvents {
  /** The broker has read so much of what the worker has put into the ring. */
  credited(bytes: number): void;
  /** Much was read of the ring, and the broker was not told of it for long. */
  creditDue(): void;
}

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

/** Records from the broker. */
export class RecordInlet {
  readonly #connection: LocalConnection;
  readonly #reader = new RecordReader();
  readonly #events: InletEvents;
  readonly #clients = new ByteCache(parseClient);
  #in = new Bytes(IN_BYTES);
  #view = new DataView(this.#in.buffer);
  /** What was read and not used yet: a record of which the rest has not come. */
  #rest = 0;
  #arrival: Arrival | undefined;
  /** Bytes of bodies that this pass has brought. */
  #brought = 0;
  #memory: Rings["incoming"] | undefined;
  #ring = new RingReader(0);
  #isLost = false;

  /** Has no ring. */
  constructor(connection: LocalConnection, events: InletEvents) {
    this.#connection = connection;
    this.#events = events;
  }

  /** Reads large bodies from a ring of this size, which lies in memory that both share. */
  openRing(size: number, memory: Rings["incoming"]): void {
    this.#memory = memory;
    this.#ring = new RingReader(size);
  }

  /** What was read of the ring, as far as the broker is to be told of it. */
  get ring(): RingReader {
    return this.#ring;
  }

  /** Whether the broker is gone. */
  get isLost(): boolean {
    return this.#isLost;
  }

  /** Reads records; true if there may be more. */
  read(orders: Orders): boolean {
    this.#brought = 0;
    for (let reads = 0; reads < BATCH_READS && this.#brought < BATCH_BYTES; reads++) {
      const more = this.#arrival === undefined ? this.#readSome(orders) : this.#readArrival(orders);
      if (!more) return false;
    }
    return true;
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
    if (credit !== undefined) this.#events.credited(credit);
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
    if (!this.#ring.take(start, bytes)) {
      throw new RangeError("Cannot read a job: it is not there");
    }
    for (const frame of frames) {
      const size = lengthOf(frame);
      if (size > 0) this.#memory?.read(at, frame, size);
      at += size;
    }
    if (this.#ring.untold >= this.#ring.size / 2) this.#events.creditDue();
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
}

harden(RecordInlet);
