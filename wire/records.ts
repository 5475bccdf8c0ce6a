/**
 * What the broker and the workers of its own machine say to each other over a stream: records, one behind the
 * other. A record has the meaning of the message of the same type in job.ts. Writes and reads; no I/O.
 *
 * ```text
 * at  0  u32  bytes of the whole record, these 4 included; numbers are little-endian
 *     4  u8   type: of `FromWorker`, `FromBroker` or `Only`
 *     5  u8   JOB: attempt; REPLY, PUBLISH: flags; LOG: level; else 0
 *     6  u16  REPLY, CANCEL: code; else 0
 *     8  u64  the job; 0: of none
 *    16  u32  bytes of the fields
 *    20  u32  number of frames
 *    24       fields, each of them: u8 tag, u24 bytes of its value, the value
 *             sizes of the frames, u32 each, if there are several
 *             the frames, unless they lie in the ring
 *
 * fields   CLIENT      1  JOB: u8 length, identity, u8 length, address, u8 length, user
 *          DEADLINE    2  JOB: u64 ms since 1970; without: none
 *          TIME_LIMIT  3  JOB: u32 ms that the handler may run; without: any time
 *          MICROS      4  REPLY: u32 µs that the handler took
 *          TOKEN       5  HELLO, READY, LOADED, FAILED: text
 *          MEMORY      6  MEMORY: u32 KiB
 *          RINGS       7  WELCOME: u32 bytes of a ring, of which there is one each way; READY: the same, taken
 *          PLACE       8  JOB, REPLY, PART, QUESTION, PUBLISH, ANSWER: u32 where in the sender's ring the frames lie, u32
 *                         bytes of all of them
 *          CREDIT      9  any: u32 bytes of the receiver's ring that were read since the start, modulo 2^32
 *          PARTS_SENT 10  JOB: u32 parts that the client has got from workers that have died; without: none
 *          STREAM     11  JOB, GRANT: i32 bytes, u32 parts that may be sent, or so many more; without: no parts
 *          TRACE      12  JOB: the 25 bytes of trace.ts; without: the job belongs to none
 *          QUEUED     13  JOB: u64 µs since 1970, when its request came; only where there are traces
 *          STORED     14  JOB: what stored_try.ts has; without: it is a client's request, and no try of a stored job
 * ```
 *
 * A reader skips fields whose tags it does not know up to 127, and refuses a record with others: so a field can
 * be added that may be ignored, and one that may not.
 *
 * @module
 */

import { copyBytes, FEW_BYTES } from "./copy_bytes.ts";
import { readWide, writeWide } from "./integers.ts";
import { FromBroker, FromWorker, JOB_FIXED_BYTES } from "./job.ts";
import type { Outgoing } from "./outgoing.ts";
import { TRACE_BYTES } from "./trace.ts";
import type { StreamCredit } from "./credit.ts";

/** Types that only records have. */
export const Only = {
  /** From a worker that starts: its token. The answer is WELCOME. */
  HELLO: 11,
  /** From the broker: the rings, whose memory comes along with its first byte; without RINGS: there are none. */
  WELCOME: 20,
  /** From either side: nothing but how far the ring was read. */
  CREDIT: 32,
} as const;

/** Types of records. */
export const Type = { ...FromWorker, ...FromBroker, ...Only } as const;

/** Tags of fields. */
export const Tag = {
  CLIENT: 1,
  DEADLINE: 2,
  TIME_LIMIT: 3,
  MICROS: 4,
  TOKEN: 5,
  MEMORY: 6,
  RINGS: 7,
  PLACE: 8,
  CREDIT: 9,
  PARTS_SENT: 10,
  STREAM: 11,
  TRACE: 12,
  QUEUED: 13,
  STORED: 14,
} as const;

/** A record with a tag from here on that a reader does not know is refused. */
const MUST_KNOW = 128;

/** Bytes of a record without fields and frames. */
export const HEAD_BYTES = 24;
/** Bytes of a field without its value. */
const FIELD_BYTES = 4;
/** Bytes of the longest CLIENT. */
const MAX_CLIENT_BYTES = 3 * 256;
/** Maximum bytes of all fields that this side writes; TOKENs are shorter than CLIENTs. */
export const MAX_FIELD_BYTES = 1024;

/** The bytes of the record at `at`, as its first 4 bytes say. */
export function recordSize(view: DataView, at: number): number {
  return view.getUint32(at, true);
}

/** The parts of a record, as `RecordReader` has found them. */
export class RecordReader {
  type = 0;
  /** JOB: attempt; REPLY: flags; LOG: level. */
  detail = 0;
  code = 0;
  job = 0;
  /** How many frames it has. */
  frames = 0;
  /** Where the sizes of the frames stand, if there are several. */
  sizesAt = 0;
  /** Where the first frame starts: in the record, or in the ring if `inRing`. */
  start = 0;
  /** Bytes of all frames. */
  bytes = 0;
  inRing = false;
  /** Ms since 1970; 0: none. */
  deadline = 0;
  /** Ms; 0: none. */
  timeLimit = 0;
  micros = 0;
  memory = 0;
  /** Bytes of a ring; 0: there are none. */
  rings = 0;
  /** Undefined: the record says nothing of it. */
  credit: number | undefined;
  partsSent = 0;
  /** Undefined: the record says nothing of it. */
  stream: StreamCredit | undefined;
  /** Where CLIENT's value stands; equal: there is none. */
  clientStart = 0;
  clientEnd = 0;
  tokenStart = 0;
  tokenEnd = 0;
  /** Where TRACE's value stands; 0: there is none. */
  traceStart = 0;
  /** µs since 1970; 0: the record says nothing of it. */
  queuedAt = 0;
  /** Where STORED's value stands; equal: there is none. */
  storedStart = 0;
  storedEnd = 0;

  /**
   * Reads a record of `size` bytes at `start`, which are all in `view`; false if it is none. A known type is
   * nothing that it checks, nor a number of frames: what it holds is in the record, or said to be in the ring.
   */
  read(view: DataView, start: number, size: number): boolean {
    return this.readHead(view, start, size, start + size);
  }

  /** The same of a record of which only the bytes before `here` have come; false, too, if they are too few. */
  readHead(view: DataView, start: number, size: number, here: number): boolean {
    if (size < HEAD_BYTES || here - start < HEAD_BYTES) return false;
    this.readStart(view, start);
    const fields = view.getUint32(start + 16, true);
    const at = start + HEAD_BYTES;
    const end = start + size;
    // What is said of the whole record must hold for what is here.
    const limit = here < end ? here : end;
    if (fields > limit - at || !this.#readFields(view, at, at + fields)) return false;
    return this.#readFrames(view, at + fields, end, limit);
  }

  /** Reads what stands in the first `HEAD_BYTES`, and nothing else. */
  readStart(view: DataView, start: number): void {
    this.type = view.getUint8(start + 4);
    this.detail = view.getUint8(start + 5);
    this.code = view.getUint16(start + 6, true);
    this.job = readWide(view, start + 8);
    this.frames = view.getUint32(start + 20, true);
    this.#clear();
  }

  /** The bytes of each frame; undefined: there is at most one. */
  sizes(view: DataView): number[] | undefined {
    if (this.frames < 2) return undefined;
    const sizes: number[] = [];
    for (let index = 0; index < this.frames; index++) sizes.push(this.sizeOf(view, index));
    return sizes;
  }

  /** The bytes of one of several frames. */
  sizeOf(view: DataView, index: number): number {
    return view.getUint32(this.sizesAt + 4 * index, true);
  }

  #clear(): void {
    this.inRing = false;
    this.deadline =
      this.timeLimit =
      this.micros =
      this.memory =
      this.rings =
      this.partsSent =
      this.traceStart =
      this.queuedAt =
      this.storedStart =
      this.storedEnd =
        0;
    this.credit = undefined;
    this.stream = undefined;
    this.clientStart =
      this.clientEnd =
      this.tokenStart =
      this.tokenEnd =
        0;
  }

  #readFields(view: DataView, at: number, end: number): boolean {
    while (at < end) {
      if (end - at < FIELD_BYTES) return false;
      const head = view.getUint32(at, true);
      const size = head >>> 8;
      at += FIELD_BYTES;
      if (size > end - at || !this.#readField(view, head & 0xff, at, size)) return false;
      at += size;
    }
    return true;
  }

  #readField(view: DataView, tag: number, at: number, size: number): boolean {
    switch (tag) {
      case Tag.CLIENT:
        this.clientStart = at;
        this.clientEnd = at + size;
        return true;
      case Tag.TOKEN:
        this.tokenStart = at;
        this.tokenEnd = at + size;
        return true;
      case Tag.DEADLINE:
        if (size !== 8) return false;
        this.deadline = readWide(view, at);
        return true;
      case Tag.PLACE:
        if (size !== 8) return false;
        this.inRing = true;
        this.start = view.getUint32(at, true);
        this.bytes = view.getUint32(at + 4, true);
        return true;
      case Tag.STREAM:
        if (size !== 8) return false;
        this.stream = { bytes: view.getInt32(at, true), parts: view.getUint32(at + 4, true) };
        return true;
      case Tag.TRACE:
        if (size !== TRACE_BYTES) return false;
        this.traceStart = at;
        return true;
      case Tag.QUEUED:
        if (size !== 8) return false;
        this.queuedAt = readWide(view, at);
        return true;
      case Tag.STORED:
        this.storedStart = at;
        this.storedEnd = at + size;
        return true;
      default:
        return this.#readNumber(view, tag, at, size);
    }
  }

  /** A field of 4 bytes, or one that is not known. */
  #readNumber(view: DataView, tag: number, at: number, size: number): boolean {
    if (tag > Tag.PARTS_SENT || tag === 0) return tag < MUST_KNOW;
    if (size !== 4) return false;
    const value = view.getUint32(at, true);
    if (tag === Tag.TIME_LIMIT) this.timeLimit = value;
    else if (tag === Tag.MICROS) this.micros = value;
    else if (tag === Tag.MEMORY) this.memory = value;
    else if (tag === Tag.RINGS) this.rings = value;
    else if (tag === Tag.CREDIT) this.credit = value;
    else this.partsSent = value;
    return true;
  }

  /** Sizes and frames: they fill what is left of the record, or what the ring is said to have. */
  #readFrames(view: DataView, at: number, end: number, limit: number): boolean {
    this.sizesAt = at;
    const sizes = this.frames > 1 ? 4 * this.frames : 0;
    if (sizes > limit - at) return false;
    const rest = end - at - sizes;
    if (this.inRing) {
      if (rest !== 0) return false;
    } else {
      this.start = at + sizes;
      this.bytes = rest;
    }
    if (this.frames === 0) return this.bytes === 0;
    return this.frames === 1 || this.#sum(view) === this.bytes;
  }

  #sum(view: DataView): number {
    let sum = 0;
    for (let index = 0; index < this.frames; index++) sum += this.sizeOf(view, index);
    return sum;
  }
}

/**
 * Writes records into what is to be sent. One after the other: `open`, fields, `frames`, their bytes, `close`. A
 * record that was not closed was not written.
 */
export class RecordWriter {
  readonly #out: Outgoing;
  #view: DataView;
  #bytes: Uint8Array<ArrayBuffer>;
  #start = 0;
  #at = 0;

  /** Writes to the end of `out`. */
  constructor(out: Outgoing) {
    this.#out = out;
    this.#bytes = out.bytes;
    this.#view = out.view;
  }

  /** Starts a record; `room`: bytes that it will have beside head and fields, at most. */
  open(type: number, detail: number, code: number, job: number, room: number): void {
    this.#reserve(room);
    const start = this.#start;
    const view = this.#view;
    view.setUint8(start + 4, type);
    view.setUint8(start + 5, detail);
    view.setUint16(start + 6, code, true);
    writeWide(view, start + 8, job);
  }

  /** Starts a JOB whose client has this header of job.ts; `attempt`: up to 255. */
  openJob(header: Uint8Array<ArrayBuffer>, attempt: number, job: number, room: number): void {
    this.#reserve(room);
    const start = this.#start;
    const size = header.length - JOB_FIXED_BYTES;
    // Type, attempt, and no code.
    this.#view.setUint32(start + 4, FromBroker.JOB | attempt << 8, true);
    writeWide(this.#view, start + 8, job);
    this.#writeFieldHead(start + HEAD_BYTES, Tag.CLIENT, size);
    const at = start + HEAD_BYTES + FIELD_BYTES;
    copyBytes(this.#bytes, at, header, JOB_FIXED_BYTES, size);
    this.#at = at + size;
  }

  /** A field of 4 bytes. */
  number(tag: number, value: number): void {
    this.#writeFieldHead(this.#at, tag, 4);
    this.#view.setUint32(this.#at + FIELD_BYTES, value, true);
    this.#at += FIELD_BYTES + 4;
  }

  /** A field of an integer of 8 bytes. */
  wide(tag: number, value: number): void {
    this.#writeFieldHead(this.#at, tag, 8);
    writeWide(this.#view, this.#at + FIELD_BYTES, value);
    this.#at += FIELD_BYTES + 8;
  }

  /** Where in the ring the frames lie. */
  place(at: number, bytes: number): void {
    this.#writeFieldHead(this.#at, Tag.PLACE, 8);
    this.#view.setUint32(this.#at + FIELD_BYTES, at, true);
    this.#view.setUint32(this.#at + FIELD_BYTES + 4, bytes, true);
    this.#at += FIELD_BYTES + 8;
  }

  /** What may be sent of an answer in parts, or how much more. */
  stream({ bytes, parts }: StreamCredit): void {
    this.#writeFieldHead(this.#at, Tag.STREAM, 8);
    this.#view.setInt32(this.#at + FIELD_BYTES, bytes, true);
    this.#view.setUint32(this.#at + FIELD_BYTES + 4, parts, true);
    this.#at += FIELD_BYTES + 8;
  }

  /** The trace that a job belongs to, and when its request came, µs since 1970; 0: that is not said. */
  trace(trace: Uint8Array | undefined, queuedAt: number): void {
    if (trace !== undefined) this.text(Tag.TRACE, trace);
    if (queuedAt > 0) this.wide(Tag.QUEUED, queuedAt);
  }

  /** A field of bytes, at most `MAX_CLIENT_BYTES`. */
  text(tag: number, value: Uint8Array): void {
    if (value.length > MAX_CLIENT_BYTES) {
      throw new RangeError("Cannot write a field: it is too long");
    }
    this.#writeFieldHead(this.#at, tag, value.length);
    this.#bytes.set(value, this.#at + FIELD_BYTES);
    this.#at += FIELD_BYTES + value.length;
  }

  /** Ends the fields: so many frames follow. */
  frames(count: number): void {
    this.#view.setUint32(this.#start + 16, this.#at - this.#start - HEAD_BYTES, true);
    this.#view.setUint32(this.#start + 20, count, true);
  }

  /** The size of the next frame; only where there are several. */
  size(bytes: number): void {
    this.#view.setUint32(this.#at, bytes, true);
    this.#at += 4;
  }

  /** The bytes of a frame, copied: `size` of them, which must be all. */
  copy(bytes: Uint8Array, size: number): void {
    if (size > FEW_BYTES) this.#bytes.set(bytes, this.#at);
    else copyBytes(this.#bytes, this.#at, bytes, 0, size);
    this.#at += size;
  }

  /** The first `size` bytes of what may be longer, copied. */
  copyFirst(bytes: Uint8Array, size: number): void {
    copyBytes(this.#bytes, this.#at, bytes, 0, size);
    this.#at += size;
  }

  /** Ends the record, of which `more` bytes follow that were not copied. */
  close(more = 0): void {
    const size = this.#at - this.#start;
    this.#view.setUint32(this.#start, size + more, true);
    this.#out.wrote(size);
  }

  #reserve(room: number): void {
    const out = this.#out;
    this.#start = out.room(HEAD_BYTES + MAX_FIELD_BYTES + room);
    this.#at = this.#start + HEAD_BYTES;
    this.#bytes = out.bytes;
    this.#view = out.view;
  }

  #writeFieldHead(at: number, tag: number, size: number): void {
    this.#view.setUint32(at, (tag | size << 8) >>> 0, true);
  }
}
