/**
 * What a handler asks another service of its server, on the way from its worker to the broker and back: the first
 * frame of a QUESTION. Builds and reads; no I/O.
 *
 * ```text
 * at  0  u64  the worker's own number for the question, from 1
 *     8  u64  when nobody waits any more, ms since 1970; 0: with the job that asks
 *    16  u32  how long the handler may run, ms; 0: as long as the server lets it
 *    20  u8   bytes of the key
 *    21  u8   bytes of the service's name, and 128 if the question belongs to a trace
 *    22       the key, the name, both UTF-8; the 25 bytes of trace.ts
 * ```
 *
 * Numbers are little-endian. Docs: docs/protocol.md.
 *
 * @module
 */

import { readWide, writeWide } from "./integers.ts";
import { TRACE_BYTES } from "./trace.ts";

/** What a handler asks, but for the body. */
export interface QuestionHead {
  /** The worker's own number for it. */
  number: number;
  /** Ms since 1970; 0: as long as its job. */
  deadline: number;
  /** Ms; 0: as long as the server lets it. */
  requestTimeout: number;
  /** "": none. */
  key: string;
  /** "": the service without a name. */
  service: string;
  /** The trace that it belongs to; undefined: none. */
  trace: Uint8Array<ArrayBuffer> | undefined;
}

/** Bytes of a head without key and name. */
const FIXED_BYTES = 22;
/** Maximum bytes of UTF-8 in a key, and in a service's name. */
const MAX_KEY_BYTES = 128;
const MAX_SERVICE_BYTES = 64;
/** Maximum bytes of a head. */
export const MAX_QUESTION_BYTES = FIXED_BYTES + MAX_KEY_BYTES + MAX_SERVICE_BYTES +
  TRACE_BYTES;
const HAS_TRACE = 0x80;
const MAX_UINT32 = 0xffffffff;

/** As they were before a handler could replace them. */
const Bytes = Uint8Array;
const View = DataView;
const encoder = new TextEncoder();
const decoder = new TextDecoder();

/**
 * Builds a head.
 *
 * @throws {RangeError} when the key or the name is too long.
 */
export function buildQuestion(head: QuestionHead): Uint8Array<ArrayBuffer> {
  const key = encode("key", head.key, MAX_KEY_BYTES);
  const service = encode("service", head.service, MAX_SERVICE_BYTES);
  const traceAt = FIXED_BYTES + key.length + service.length;
  const bytes = new Bytes(head.trace === undefined ? traceAt : traceAt + TRACE_BYTES);
  const view = new View(bytes.buffer);
  writeWide(view, 0, head.number);
  writeWide(view, 8, Math.ceil(head.deadline));
  view.setUint32(16, Math.min(Math.ceil(head.requestTimeout), MAX_UINT32), true);
  view.setUint8(20, key.length);
  view.setUint8(21, service.length | (head.trace === undefined ? 0 : HAS_TRACE));
  bytes.set(key, FIXED_BYTES);
  bytes.set(service, FIXED_BYTES + key.length);
  if (head.trace !== undefined) bytes.set(head.trace, traceAt);
  return bytes;
}

function encode(name: string, value: string, most: number): Uint8Array<ArrayBuffer> {
  const bytes = encoder.encode(value);
  if (bytes.length <= most) return bytes;
  throw new RangeError(
    `Cannot ask: "${name}" must have at most ${most} bytes: it has ${bytes.length}`,
  );
}

/** Reads the head that lies in `bytes` from `start` up to `end`; undefined: there is none. */
export function readQuestion(
  bytes: Uint8Array<ArrayBuffer>,
  start: number,
  end: number,
): QuestionHead | undefined {
  const size = end - start;
  if (size < FIXED_BYTES || size > MAX_QUESTION_BYTES || end > bytes.length) return undefined;
  const view = new View(bytes.buffer, bytes.byteOffset + start, size);
  const keySize = view.getUint8(20);
  const nameSize = view.getUint8(21) & ~HAS_TRACE;
  const traceSize = view.getUint8(21) === nameSize ? 0 : TRACE_BYTES;
  if (keySize > MAX_KEY_BYTES || nameSize > MAX_SERVICE_BYTES) return undefined;
  if (size !== FIXED_BYTES + keySize + nameSize + traceSize) return undefined;
  const nameAt = start + FIXED_BYTES + keySize;
  const nameEnd = nameAt + nameSize;
  return {
    number: readWide(view, 0),
    deadline: readWide(view, 8),
    requestTimeout: view.getUint32(16, true),
    key: decoder.decode(bytes.subarray(start + FIXED_BYTES, nameAt)),
    service: decoder.decode(bytes.subarray(nameAt, nameEnd)),
    trace: traceSize === 0 ? undefined : bytes.slice(nameEnd, end),
  };
}
