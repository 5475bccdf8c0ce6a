/**
 * What the broker and its workers say to each other. The first byte of the first frame is its
 * type; numbers are little-endian. Parses and builds; no I/O.
 *
 * ```text
 * worker → broker
 *   READY    [u8 1, token] [version]           once, first of all; the token is made for this one spawn. The version
 *            is `WORKER_PROTOCOL` as text; records have none: there both sides are of one release
 *   REPLY    [u8 2, u8 flags, u16 code, u32 job low, u32 job high, u32 µs, u32 frames] [body…]
 *            code 200: body frames; else one frame with the message, and with flag 2 one with the stack.
 *            Flag 1: the message is not meant for clients. µs: how long the handler took.
 *            Others may follow in the same message, and an empty frame behind the last one
 *   RETURN   [u8 3, u8 0, u16 0, u32 job low, u32 job high]   not started: give it to another worker
 *   RETIRE   [u8 4]                            it leaves soon: give it no more jobs
 *   LEAVING  [u8 5]                            the last message: what it has not answered was not started
 *   LOG      [u8 6, u8 level, u16 0, u32 job low, u32 job high] [message] [fields]
 *            level 0 debug, 1 info, 2 warn, 3 error; job 0: of none; fields: a JSON object, "" for none
 *   FAILED   [u8 7, token] [message]           the handler can't be loaded; it exits
 *   MEMORY   [u8 8, u8 0, u16 0, u32 KiB]      how much it has in memory, where it was told to say so
 *   ALIVE    [u8 10]                           the answer to ASK
 *   PART     [u8 12, as REPLY] [body…]         a part of the answer; REPLY with flag 8 and an empty frame ends it
 *   PROGRESS [u8 13, as REPLY] [f64 done, f64 total or NaN] [note]     how far the handler is
 *   QUESTION [u8 14, as REPLY] [head] [body…]  another service is asked on behalf of a job: question.ts has the head
 *   WITHDRAWAL  [u8 15, u8 0, u16 0, u32 question low, u32 question high]   it needs no answer any more
 *   PUBLISH  [u8 33, as REPLY] [topic] [frame…]   for those who have subscribed; flag 1: it is kept for others
 *
 * broker → worker
 *   JOB      [u8 16, u8 attempt, u16 0, u32 job low, u32 job high,
 *             u32 deadline low, u32 deadline high (ms since 1970; 0: none), u32 ms to run (0: any time),
 *             u32 frames, u8 length, identity, u8 length, address, u8 length, user] [body…]
 *            others may follow in the same message. In place of u16 0 bits say what the header ends with: 1: i32
 *            bytes and u32 parts that may be sent before GRANT, and u32 parts that were sent by workers that have
 *            died; 2: the 25 bytes of trace.ts; 4: u64 µs since 1970, when the request came; 8: what stored_try.ts has,
 *            and its bytes as a u8 behind it; in this order
 *   CANCEL   [u8 17, u8 0, u16 code, u32 job low, u32 job high]
 *   STOP     [u8 18]                           finish what came before this, then leave
 *   ASK      [u8 19]                           say that you live: a job that may end you comes next
 *   GRANT    [u8 21, u8 0, u16 0, u32 job low, u32 job high, u32 bytes, u32 parts]   more of its answer may be sent
 *   ANSWER   [u8 22, u8 0, u16 code, u32 question low, u32 question high] [body…]   as REPLY's
 * ```
 *
 * @module
 */

import { ByteCache } from "./byte_cache.ts";
import { readWide, writeWide } from "./integers.ts";
import type { StreamCredit } from "./credit.ts";
import { buildTry, MAX_TRY_BYTES, readTry, type TryWords } from "./stored_try.ts";
import { TRACE_BYTES } from "./trace.ts";

/** The version of what is said here: READY has it. Changed with whatever an older side would misunderstand. */
export const WORKER_PROTOCOL = "1";

/** Types of what a worker says. */
export const FromWorker = {
  READY: 1,
  REPLY: 2,
  RETURN: 3,
  RETIRE: 4,
  LEAVING: 5,
  LOG: 6,
  FAILED: 7,
  MEMORY: 8,
  LOADED: 9,
  ALIVE: 10,
  PART: 12,
  PROGRESS: 13,
  QUESTION: 14,
  WITHDRAWAL: 15,
  PUBLISH: 33,
} as const;

/** Types of what the broker says. */
export const FromBroker = {
  JOB: 16,
  CANCEL: 17,
  STOP: 18,
  ASK: 19,
  GRANT: 21,
  ANSWER: 22,
} as const;

/** LOG's levels, by number. */
export const LOG_LEVELS = ["debug", "info", "warn", "error"] as const;

/** A level of `LOG_LEVELS`. */
export type LogLevel = typeof LOG_LEVELS[number];

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** As it was before a handler could replace it, and so choose what is said here. */
const Bytes = Uint8Array;

/** A frame of one type byte. */
export function buildSignal(type: number): Uint8Array<ArrayBuffer> {
  const frame = new Bytes(1);
  frame[0] = type;
  return frame;
}

/** Bytes of LOG's first frame. */
export const LOG_BYTES = 12;

/** LOG's first frame; job 0: the line is of no job. */
export function buildLog(level: LogLevel, job = 0): Uint8Array<ArrayBuffer> {
  const frame = new Bytes(LOG_BYTES);
  frame[0] = FromWorker.LOG;
  frame[1] = LOG_LEVELS.indexOf(level);
  writeJobId(new DataView(frame.buffer), job);
  return frame;
}

/** What a line of the log carries along with its message. */
export type LogFields = Readonly<Record<string, string | number | boolean>>;

/** LOG's last frame, as a worker may have written it; values that are not plain are left out. */
export function parseFields(text: string): LogFields {
  const fields: Record<string, string | number | boolean> = {};
  for (const [name, value] of Object.entries(parseObject(text))) {
    if (typeof value === "string" || typeof value === "number" || typeof value === "boolean") {
      fields[name] = value;
    }
  }
  return fields;
}

function parseObject(text: string): object {
  try {
    const value: unknown = text === "" ? {} : JSON.parse(text);
    return typeof value === "object" && value !== null ? value : {};
  } catch {
    return {};
  }
}

/** Bytes of MEMORY's only frame. */
export const MEMORY_BYTES = 8;

/** MEMORY for a number of bytes. */
export function buildMemory(bytes: number): Uint8Array<ArrayBuffer> {
  const frame = new Bytes(MEMORY_BYTES);
  frame[0] = FromWorker.MEMORY;
  new DataView(frame.buffer).setUint32(4, Math.min(Math.round(bytes / 1024), 0xffffffff), true);
  return frame;
}

/** The bytes that a MEMORY reports. */
export function readMemory(view: DataView): number {
  return view.getUint32(4, true) * 1024;
}

/** REPLY's flags, bits. */
export const ReplyFlag = {
  /** The message is that of an error which nobody has worded for clients. */
  PRIVATE: 1,
  /** The last frame is not for clients: it is the error's stack, for the log. */
  STACK: 2,
  /** The second frame is for clients that take it: the error's details, JSON of at most `MAX_DETAILS_BYTES`. */
  DETAILS: 4,
  /** All parts of the answer were sent before: the body is none. */
  ENDS_PARTS: 8,
} as const;

/** Maximum bytes of an error's details. */
export const MAX_DETAILS_BYTES = 65_536;

/** REPLY's first frame. */
export interface ReplyHeader {
  /** The job that is answered. */
  job: number;
  /** 200, or what went wrong. */
  code: number;
  /** Of `ReplyFlag`. */
  flags: number;
  /** How long the handler took, µs. */
  micros: number;
  /** Body frames that follow, at least 1. */
  frames: number;
}

/** Whether a REPLY may have this code: 200, or an error's. */
export function isReplyCode(code: number): boolean {
  return code === 200 || (code >= 400 && code <= 599);
}

/** Bytes of REPLY's first frame. */
export const REPLY_BYTES = 20;

/** Writes the first frame of a REPLY, or of a PART or a PROGRESS, into `view`, of `REPLY_BYTES`. */
export function writeReply(
  view: DataView,
  { job, code, flags = 0, micros, frames }: Omit<ReplyHeader, "flags"> & { flags?: number },
  type: number = FromWorker.REPLY,
): void {
  view.setUint8(0, type);
  view.setUint8(1, flags);
  view.setUint16(2, code, true);
  writeJobId(view, job);
  view.setUint32(12, Math.min(Math.max(0, Math.round(micros)), 0xffffffff), true);
  view.setUint32(16, frames, true);
}

/** Reads REPLY's first frame, whose size was checked, into a record, and returns that. */
export function readReply(view: DataView, reply: ReplyHeader = emptyReply()): ReplyHeader {
  reply.job = readJobId(view);
  reply.code = view.getUint16(2, true);
  reply.flags = view.getUint8(1);
  reply.micros = view.getUint32(12, true);
  reply.frames = view.getUint32(16, true);
  return reply;
}

/** A record to read REPLYs into. */
export function emptyReply(): ReplyHeader {
  return { job: 0, code: 0, flags: 0, micros: 0, frames: 0 };
}

/** Bytes of RETURN's and CANCEL's only frame. */
export const JOB_SIGNAL_BYTES = 12;

/** RETURN or CANCEL for one job. */
export function buildJobSignal(type: number, job: number, code: number): Uint8Array<ArrayBuffer> {
  const bytes = new Bytes(JOB_SIGNAL_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint8(0, type);
  view.setUint16(2, code, true);
  writeJobId(view, job);
  return bytes;
}

/** The code of a RETURN or CANCEL. */
export function readCode(view: DataView): number {
  return view.getUint16(2, true);
}

/** The job of a REPLY, RETURN, CANCEL or JOB. */
export function readJobId(view: DataView): number {
  return readWide(view, 4);
}

function writeJobId(view: DataView, job: number): void {
  writeWide(view, 4, job);
}

/** Bytes of JOB's fixed part. */
export const JOB_FIXED_BYTES = 28;
/** Bytes behind the client in the header of a job that may be answered in parts. */
const STREAM_BYTES = 12;
/** Bytes of the time at which a request came. */
const QUEUED_BYTES = 8;
/** No longer than this, whatever a client's identity, address and user are. */
export const MAX_JOB_BYTES = JOB_FIXED_BYTES + 3 * 256 + STREAM_BYTES + TRACE_BYTES + QUEUED_BYTES +
  MAX_TRY_BYTES + 1;
/** In place of the code: what follows the client. */
const Has = { STREAM: 1, TRACE: 2, QUEUED: 4, STORED: 8 } as const;

/** A client's JOB header: built once, its fixed part written again for each job. */
export function buildJobHeader(
  identity: string,
  address: string,
  user: string,
): Uint8Array<ArrayBuffer> {
  const parts = [identity, address, user].map(shortText);
  const size = parts.reduce((sum, part) => sum + 1 + part.length, JOB_FIXED_BYTES);
  const bytes = new Uint8Array(size);
  let at = JOB_FIXED_BYTES;
  for (const part of parts) {
    bytes[at] = part.length;
    bytes.set(part, at + 1);
    at += 1 + part.length;
  }
  bytes[0] = FromBroker.JOB;
  return bytes;
}

/** At most 255 bytes of UTF-8, whole characters. */
function shortText(text: string): Uint8Array {
  const bytes = new Uint8Array(255);
  return bytes.subarray(0, encoder.encodeInto(text, bytes).written);
}

/** The fixed part of a JOB header. */
export interface JobOrder {
  /** The broker's number for the job. */
  job: number;
  /** 1 for the first try; more if a worker died that had the job, and may have started it. */
  attempt: number;
  /** Not to be started after this time, ms since 1970; 0: no deadline. */
  deadline: number;
  /** How long the handler may run, ms; 0: any time. */
  requestTimeout: number;
  /** Body frames that follow, at least 1. */
  frames: number;
}

/** Writes the fixed part of a JOB header. */
export function writeJob(view: DataView, order: JobOrder): void {
  const { job, attempt, deadline, requestTimeout, frames } = order;
  view.setUint8(1, Math.min(attempt, 255));
  writeJobId(view, job);
  writeWide(view, 12, Math.ceil(deadline));
  view.setUint32(20, Math.min(Math.ceil(requestTimeout), 0xffffffff), true);
  view.setUint32(24, frames, true);
}

/** What the header of a job says that most jobs have nothing of. */
export interface JobExtras {
  /** What may be sent of an answer in parts; without parts: progress alone; undefined: neither. */
  stream: StreamCredit | undefined;
  /** Parts that the client has got from workers that have died; sent along with `stream`. */
  partsSent: number;
  /** The trace that it belongs to, of trace.ts; undefined: none. */
  trace: Uint8Array<ArrayBuffer> | undefined;
  /** When its request came, µs since 1970; 0: that is not said. */
  queuedAt: number;
  /** Undefined: it is a client's request, and no try of a stored job. */
  stored?: TryWords | undefined;
}

/** A copy of a JOB header, whose fixed part was written, with what most headers have nothing of. */
export function withExtras(
  header: Uint8Array<ArrayBuffer>,
  { stream, partsSent, trace, queuedAt, stored }: JobExtras,
): Uint8Array<ArrayBuffer> {
  const traceAt = header.length + (stream === undefined ? 0 : STREAM_BYTES);
  const queuedFrom = traceAt + (trace === undefined ? 0 : TRACE_BYTES);
  const storedFrom = queuedFrom + (queuedAt === 0 ? 0 : QUEUED_BYTES);
  const attempt = stored === undefined ? undefined : buildTry(stored);
  const longer = new Uint8Array(storedFrom + (attempt === undefined ? 0 : attempt.length + 1));
  const view = new DataView(longer.buffer);
  longer.set(header);
  if (stream !== undefined) writeStream(view, header.length, stream, partsSent);
  if (trace !== undefined) longer.set(trace, traceAt);
  if (queuedAt > 0) writeWide(view, queuedFrom, queuedAt);
  if (attempt !== undefined) {
    longer.set(attempt, storedFrom);
    longer[longer.length - 1] = attempt.length;
  }
  const bits = bitsOf(stream, trace, queuedAt) | (attempt === undefined ? 0 : Has.STORED);
  view.setUint16(2, bits, true);
  return longer;
}

function writeStream(view: DataView, at: number, credit: StreamCredit, partsSent: number): void {
  view.setInt32(at, credit.bytes, true);
  view.setUint32(at + 4, credit.parts, true);
  view.setUint32(at + 8, partsSent, true);
}

function bitsOf(
  stream: JobExtras["stream"],
  trace: JobExtras["trace"],
  queuedAt: number,
): number {
  return (stream === undefined ? 0 : Has.STREAM) | (trace === undefined ? 0 : Has.TRACE) |
    (queuedAt === 0 ? 0 : Has.QUEUED);
}

/** Bytes of GRANT's only frame. */
export const GRANT_BYTES = 20;

/** GRANT for a job. */
export function buildGrant(job: number, { bytes, parts }: StreamCredit): Uint8Array<ArrayBuffer> {
  const frame = new Bytes(GRANT_BYTES);
  const view = new DataView(frame.buffer);
  view.setUint8(0, FromBroker.GRANT);
  writeJobId(view, job);
  view.setUint32(12, bytes, true);
  view.setUint32(16, parts, true);
  return frame;
}

/** What a GRANT grants. */
export function readGrant(view: DataView): StreamCredit {
  return { bytes: view.getUint32(12, true), parts: view.getUint32(16, true) };
}

/** Who asked. */
export interface JobClient {
  /** The identity that the client chose, "" if none. */
  readonly identity: string;
  /** The client's network address, "" where there is none. */
  readonly address: string;
  /** Who the client has proved to be, "" where nobody has to. */
  readonly user: string;
}

/** A JOB header as the worker reads it. */
export interface JobHeader extends JobOrder, JobExtras {
  /** Who asked; shared by the jobs of one client, and so never changed. */
  readonly client: JobClient;
}

/** Reads JOB headers into a buffer of its own. */
export class JobReader {
  /** Where a header is to be put. */
  readonly bytes: Uint8Array<ArrayBuffer> = new Uint8Array(MAX_JOB_BYTES);
  /** The same. */
  readonly view: DataView = new DataView(this.bytes.buffer);
  readonly #clients = new ByteCache(parseClient);
  readonly #clockAhead: number;

  /** @param clockAhead how far the broker's clock is ahead of this machine's, ms. */
  constructor(clockAhead = 0) {
    this.#clockAhead = clockAhead;
  }

  /** The header of `size` bytes; its deadline is by this machine's clock. */
  read(size: number): JobHeader {
    const { view } = this;
    const deadline = readWide(view, 12);
    const bits = readCode(view);
    const tryEnd = size - 1;
    const tryFrom = (bits & Has.STORED) === 0 ? size : tryEnd - (this.bytes[tryEnd] ?? 0);
    const queuedFrom = (bits & Has.QUEUED) === 0 ? tryFrom : tryFrom - QUEUED_BYTES;
    const traceAt = (bits & Has.TRACE) === 0 ? queuedFrom : queuedFrom - TRACE_BYTES;
    const hasStream = (bits & Has.STREAM) !== 0;
    const end = hasStream ? traceAt - STREAM_BYTES : traceAt;
    return {
      job: readJobId(view),
      attempt: view.getUint8(1),
      deadline: deadline === 0 ? 0 : deadline - this.#clockAhead,
      requestTimeout: view.getUint32(20, true),
      frames: view.getUint32(24, true),
      stream: hasStream
        ? { bytes: view.getInt32(end, true), parts: view.getUint32(end + 4, true) }
        : undefined,
      partsSent: hasStream ? view.getUint32(end + 8, true) : 0,
      trace: traceAt < queuedFrom ? this.bytes.slice(traceAt, queuedFrom) : undefined,
      queuedAt: queuedFrom < tryFrom ? readWide(view, queuedFrom) : 0,
      stored: tryFrom < size ? readTry(this.bytes, tryFrom, tryEnd) : undefined,
      client: this.#clients.get(this.bytes, JOB_FIXED_BYTES, end),
    };
  }
}

/** The client of a JOB header that `buildJobHeader` made. */
export function readClient(header: Uint8Array<ArrayBuffer>): JobClient {
  return parseClient(header.subarray(JOB_FIXED_BYTES));
}

/** The client of a header's bytes behind the fixed part. */
export function parseClient(bytes: Uint8Array<ArrayBuffer>): JobClient {
  const identityEnd = 1 + (bytes[0] ?? 0);
  const addressEnd = identityEnd + 1 + (bytes[identityEnd] ?? 0);
  const userEnd = addressEnd + 1 + (bytes[addressEnd] ?? 0);
  return Object.freeze({
    identity: decoder.decode(bytes.subarray(1, identityEnd)),
    address: decoder.decode(bytes.subarray(identityEnd + 1, addressEnd)),
    user: decoder.decode(bytes.subarray(addressEnd + 1, userEnd)),
  });
}
