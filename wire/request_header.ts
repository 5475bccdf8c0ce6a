/**
 * The header of our own client's requests: the last frame of their envelope. Builds and reads; no I/O.
 *
 * ```text
 * at  0  4 bytes  00 'Z' 'P' 'F'
 *     4  u8       version: 1 or 2
 *     5  u8       type: 1 request, 2 withdrawal; version 2 alone: 3 credit
 *     6           version 1: u8 bytes of the key, u8 0; version 2: u16 bytes of all fields
 *     8  u64      the client's own number for the request
 *    16  u32      how long the client will wait from now, ms; 0: it does not say
 *    20  u32      how long the handler may run, ms; 0: as long as the server lets it
 *    24           version 1: the key; version 2: fields, each of them u8 tag, u16 bytes of its value, the value
 *
 * fields  KEY            1  UTF-8, at most 128 bytes
 *         TRACEPARENT    2  text of W3C Trace Context, at most 128 bytes; one that is none is ignored
 *         SERVICE      128  the name of a service, at most 64 bytes
 *         STREAM       129  u32 bytes, u16 parts: what the server may send of an answer before more is granted
 *         RESUMABLE    130  no value: a stream may be run again after its worker has died
 * ```
 *
 * Numbers are little-endian. A field whose tag is not known is skipped up to 127; from 128 on the request is answered
 * with code 400, as nobody may get another answer than the one that he asked for. Version 1 is sent where it can say
 * all, so that older servers understand it. Docs: docs/protocol.md.
 *
 * @module
 */

import type { StreamCredit } from "./credit.ts";
import { ByteCache } from "./byte_cache.ts";
import { EMPTY_FRAME } from "./empty_frame.ts";
import { readWide, writeWide } from "./integers.ts";
import { readTrace, traceText } from "./trace.ts";

export type { StreamCredit };

/** What our client says ahead of a request's body. */
export interface RequestHeader {
  /** Ask, have an earlier request of this connection ended, or grant more of its answer. */
  type: "request" | "cancel" | "credit";
  /** The client's own number for the request, 0 to 2^53 − 1; the reply carries it back. */
  id: number;
  /** How long the client will wait from now, ms; 0: it does not say. */
  timeout: number;
  /** How long the handler may run, ms; 0: as long as the server lets it. */
  requestTimeout: number;
  /** Requests of the same key are answered together, "" if it has none. */
  key: string;
  /** The service that is asked; "": the one of the endpoint. */
  service: string;
  /** The trace that the request belongs to, of trace.ts; undefined: none. */
  trace: Uint8Array<ArrayBuffer> | undefined;
  /** What may be sent of an answer in parts; undefined: the client takes no parts. */
  stream: StreamCredit | undefined;
  /** Whether an answer in parts may be begun again after its worker has died. */
  resumable: boolean;
  /** Why the request can't be served though it has a header; "": it can. */
  fault: string;
}

/** What a request asks for besides its body; a plain one has no number. */
export type RequestTerms = Omit<RequestHeader, "type" | "id"> & { id: number | undefined };

/** What a header says unless it says something else. */
const SILENT = {
  timeout: 0,
  requestTimeout: 0,
  key: "",
  service: "",
  trace: undefined,
  stream: undefined,
  resumable: false,
  fault: "",
} as const;

/** The terms of a request that has no header. */
export const NO_HEADER: RequestTerms = { id: undefined, ...SILENT };

/** Maximum bytes of UTF-8 in a key. */
export const MAX_KEY_BYTES = 128;
/** Maximum bytes of a service's name. */
export const MAX_SERVICE_BYTES = 64;
/** Maximum bytes of a `traceparent`. */
const MAX_TRACEPARENT_BYTES = 128;

/** Bytes of a header without key and fields. */
export const HEADER_BYTES = 24;
/** Bytes of the longest header that this client writes. */
export const MAX_HEADER_BYTES = HEADER_BYTES + 512;
const FIELD_BYTES = 3;
const MAGIC = 0x46505a00;
/** The version that all servers of this kind know. */
const FIRST_VERSION = 1;
/** The highest version that is known here: a server says it when it is asked. */
export const HEADER_VERSION = 2;

const Type = { request: 1, cancel: 2, credit: 3 } as const;
const TYPES: Readonly<Record<number, RequestHeader["type"]>> = {
  [Type.request]: "request",
  [Type.cancel]: "cancel",
  [Type.credit]: "credit",
};

/** Tags of fields. */
const Tag = { KEY: 1, TRACEPARENT: 2, SERVICE: 128, STREAM: 129, RESUMABLE: 130 } as const;
/** A field with a tag from here on must be known. */
const MUST_KNOW = 128;
const STREAM_BYTES = 6;

/**
 * The body of a withdrawal that withdraws nothing and asks which version of the header the server knows. The answer
 * is `[u8 version]`; servers that know only version 1 give none.
 */
export const VERSION_QUESTION = new TextEncoder().encode("version?");

/** Whether the first `size` bytes of a withdrawal's body are that question. */
export function asksForVersion(bytes: Uint8Array, size: number): boolean {
  return size === VERSION_QUESTION.length &&
    VERSION_QUESTION.every((byte, index) => bytes[index] === byte);
}

/** What `buildRequestHeader` is told; what is left out is not said. */
export type HeaderWords = Pick<RequestHeader, "id"> & Partial<Omit<RequestHeader, "fault">>;

/** Whether only a server that knows version 2 can be asked this. */
export function needsFields(
  { type, service = "", trace, stream, resumable = false }: Partial<RequestHeader>,
): boolean {
  return type === "credit" || service !== "" || trace !== undefined || stream !== undefined ||
    resumable;
}

/**
 * Builds a header, of version 1 if that can say all.
 *
 * @throws {RangeError} when the key or a field is too long.
 */
export function buildRequestHeader(words: HeaderWords): Uint8Array<ArrayBuffer> {
  return needsFields(words) ? buildWithFields(words) : buildFirst(words);
}

function buildFirst(
  { type = "request", id, timeout = 0, requestTimeout = 0, key = "" }: HeaderWords,
): Uint8Array<ArrayBuffer> {
  const keyBytes = encode("key", key, MAX_KEY_BYTES);
  const bytes = new Uint8Array(HEADER_BYTES + keyBytes.length);
  const view = new DataView(bytes.buffer);
  writeRequestHeader(view, { id, timeout, requestTimeout });
  view.setUint8(5, Type[type]);
  view.setUint8(6, keyBytes.length);
  bytes.set(keyBytes, HEADER_BYTES);
  return bytes;
}

/** Writes the header of a request without a key into `view`, of `HEADER_BYTES`. */
export function writeRequestHeader(
  view: DataView,
  { id, timeout, requestTimeout }: Pick<RequestHeader, "id" | "timeout" | "requestTimeout">,
): void {
  view.setUint32(0, MAGIC, true);
  view.setUint8(4, FIRST_VERSION);
  view.setUint8(5, Type.request);
  view.setUint16(6, 0);
  writeWide(view, 8, id);
  view.setUint32(16, milliseconds(timeout), true);
  view.setUint32(20, milliseconds(requestTimeout), true);
}

function buildWithFields(words: HeaderWords): Uint8Array<ArrayBuffer> {
  const { type = "request", id, timeout = 0, requestTimeout = 0 } = words;
  const fields = fieldsOf(words);
  const size = fields.reduce((sum, [, value]) => sum + FIELD_BYTES + value.length, 0);
  const bytes = new Uint8Array(HEADER_BYTES + size);
  const view = new DataView(bytes.buffer);
  writeRequestHeader(view, { id, timeout, requestTimeout });
  view.setUint8(4, HEADER_VERSION);
  view.setUint8(5, Type[type]);
  view.setUint16(6, size, true);
  let at = HEADER_BYTES;
  for (const [tag, value] of fields) {
    view.setUint8(at, tag);
    view.setUint16(at + 1, value.length, true);
    bytes.set(value, at + FIELD_BYTES);
    at += FIELD_BYTES + value.length;
  }
  return bytes;
}

function fieldsOf(
  { key = "", service = "", trace, stream, resumable = false }: HeaderWords,
): [number, Uint8Array][] {
  const fields: [number, Uint8Array][] = [];
  if (key !== "") fields.push([Tag.KEY, encode("key", key, MAX_KEY_BYTES)]);
  if (trace !== undefined) {
    fields.push([Tag.TRACEPARENT, encode("trace", traceText(trace), MAX_TRACEPARENT_BYTES)]);
  }
  if (service !== "") fields.push([Tag.SERVICE, encode("service", service, MAX_SERVICE_BYTES)]);
  if (stream !== undefined) fields.push([Tag.STREAM, creditBytes(stream)]);
  if (resumable) fields.push([Tag.RESUMABLE, EMPTY_FRAME]);
  return fields;
}

function creditBytes({ bytes, parts }: StreamCredit): Uint8Array {
  const value = new Uint8Array(STREAM_BYTES);
  const view = new DataView(value.buffer);
  view.setUint32(0, Math.min(bytes, 0xffffffff), true);
  view.setUint16(4, Math.min(parts, 0xffff), true);
  return value;
}

function encode(name: string, text: string, most: number): Uint8Array {
  if (text === "") return EMPTY_FRAME;
  const bytes = new TextEncoder().encode(text);
  if (bytes.length <= most) return bytes;
  throw new RangeError(
    `Cannot build a request: "${name}" must have at most ${most} bytes: it has ${bytes.length}`,
  );
}

function milliseconds(duration: number): number {
  return Math.min(Math.max(0, Math.ceil(duration)), 0xffffffff);
}

/** Reads a header, or undefined if `frame` is some other envelope frame. */
export function parseRequestHeader(frame: Uint8Array): RequestHeader | undefined {
  if (frame.length < HEADER_BYTES) return undefined;
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  const id = readRequestId(view, frame.length);
  if (id === undefined) return undefined;
  const header: RequestHeader = {
    type: TYPES[view.getUint8(5)] ?? "request",
    id,
    timeout: view.getUint32(16, true),
    requestTimeout: view.getUint32(20, true),
    key: "",
    service: "",
    trace: undefined,
    stream: undefined,
    resumable: false,
    fault: "",
  };
  if (view.getUint8(4) > FIRST_VERSION) readFields(header, frame, view);
  else if (frame.length > HEADER_BYTES) header.key = textOf(frame, HEADER_BYTES, frame.length);
  return header;
}

/**
 * Reads the request's number out of a header of `size` bytes, of which `view` has `HEADER_BYTES` at
 * least; undefined if it is some other envelope frame.
 */
export function readRequestId(view: DataView, size: number): number | undefined {
  if (view.getUint32(0, true) !== MAGIC) return undefined;
  const version = view.getUint8(4);
  if (version === 0) return undefined;
  // Whatever a later version says, it has the fixed part, and its size in the same place.
  return version === FIRST_VERSION ? readFirst(view, size) : readLater(view, size);
}

function readFirst(view: DataView, size: number): number | undefined {
  const keySize = view.getUint8(6);
  if (keySize > MAX_KEY_BYTES || size !== HEADER_BYTES + keySize) return undefined;
  const type = view.getUint8(5);
  return type === Type.request || type === Type.cancel ? readWide(view, 8) : undefined;
}

function readLater(view: DataView, size: number): number | undefined {
  return size === HEADER_BYTES + view.getUint16(6, true) ? readWide(view, 8) : undefined;
}

/** Reads the fields of a header of version 2 or later, or says what is wrong with it. */
function readFields(header: RequestHeader, frame: Uint8Array, view: DataView): void {
  if (TYPES[view.getUint8(5)] === undefined) {
    header.fault = `The header's type ${view.getUint8(5)} is not known`;
  }
  let at = HEADER_BYTES;
  while (at < frame.length && header.fault === "") {
    const size = at + FIELD_BYTES <= frame.length ? view.getUint16(at + 1, true) : Infinity;
    const start = at + FIELD_BYTES;
    if (size > frame.length - start) header.fault = "The header's fields do not fit their sizes";
    else readField(header, frame, view, view.getUint8(at), start, size);
    at = start + size;
  }
}

function readField(
  header: RequestHeader,
  frame: Uint8Array,
  view: DataView,
  tag: number,
  start: number,
  size: number,
): void {
  const most = MOST_BYTES[tag];
  if (most === undefined) {
    if (tag >= MUST_KNOW) header.fault = `The header's field ${tag} is not known`;
  } else if (size > most || (tag === Tag.STREAM && size < most)) {
    header.fault = `The header's field ${tag} has a wrong size`;
  } else if (tag === Tag.KEY) header.key = textOf(frame, start, start + size);
  else if (tag === Tag.TRACEPARENT) header.trace = readTrace(frame, start, start + size);
  else if (tag === Tag.SERVICE) header.service = SERVICES.get(frame, start, start + size);
  else if (tag === Tag.RESUMABLE) header.resumable = true;
  else {
    const bytes = view.getUint32(start, true);
    header.stream = { bytes, parts: view.getUint16(start + 4, true) };
  }
}

/** Maximum bytes of each known field. */
const MOST_BYTES: Readonly<Record<number, number>> = {
  [Tag.KEY]: MAX_KEY_BYTES,
  [Tag.TRACEPARENT]: MAX_TRACEPARENT_BYTES,
  [Tag.SERVICE]: MAX_SERVICE_BYTES,
  [Tag.STREAM]: STREAM_BYTES,
  [Tag.RESUMABLE]: 0,
};

/** The same few names come with every request. */
const SERVICES = new ByteCache((bytes) => new TextDecoder().decode(bytes));

function textOf(frame: Uint8Array, start: number, end: number): string {
  return new TextDecoder().decode(frame.subarray(start, end));
}
