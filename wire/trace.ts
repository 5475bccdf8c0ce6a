/**
 * The trace that a request belongs to, as W3C Trace Context has it: its text, and the 25 bytes in which it is passed
 * on from the client's header to the worker. Reads and writes; no I/O.
 *
 * ```text
 * text  00-<32 hex digits: the trace>-<16: the span that asks>-<2: flags>     https://www.w3.org/TR/trace-context/
 * bytes 16 the trace, 8 the span that asks, u8 flags
 * ```
 *
 * @module
 */

type Bytes = Uint8Array<ArrayBuffer>;

/** Bytes of a trace. */
export const TRACE_BYTES = 25;
/** Characters of its text. */
const TEXT_LENGTH = 55;
const TRACE_ID_BYTES = 16;
const SPAN_END = 24;
const DASH = 0x2d;
/** A version that no text may have. */
const NO_VERSION = 0xff;

/** As they were before a handler could replace them. */
const Room = Uint8Array;
const encoder = new TextEncoder();
const fromCodes = String.fromCharCode;

/** Reads a `traceparent`; undefined: it is none, and W3C has it ignored then. */
export function parseTrace(text: string): Bytes | undefined {
  const bytes = encoder.encode(text);
  return readTrace(bytes, 0, bytes.length);
}

/** The same of a text that lies in `bytes` from `start` up to `end`. */
export function readTrace(bytes: Uint8Array, start: number, end: number): Bytes | undefined {
  const size = end - start;
  if (size < TEXT_LENGTH) return undefined;
  const version = hexByte(bytes, start);
  if (version < 0 || version === NO_VERSION) return undefined;
  // What later versions add comes behind another dash.
  const isWhole = size === TEXT_LENGTH || version > 0 && bytes[start + TEXT_LENGTH] === DASH;
  const hasDashes = bytes[start + 2] === DASH && bytes[start + 35] === DASH &&
    bytes[start + 52] === DASH;
  if (!isWhole || !hasDashes) return undefined;
  const trace = new Room(TRACE_BYTES);
  const isRead = readHex(trace, 0, TRACE_ID_BYTES, bytes, start + 3) &&
    readHex(trace, TRACE_ID_BYTES, SPAN_END, bytes, start + 36) &&
    readHex(trace, SPAN_END, TRACE_BYTES, bytes, start + 53);
  if (!isRead || isZero(trace, 0, TRACE_ID_BYTES)) return undefined;
  return isZero(trace, TRACE_ID_BYTES, SPAN_END) ? undefined : trace;
}

/** Reads hex digits from `at` on into `trace`; false: they are none. */
function readHex(
  trace: Bytes,
  start: number,
  end: number,
  bytes: Uint8Array,
  at: number,
): boolean {
  for (let index = start; index < end; index++, at += 2) {
    const value = hexByte(bytes, at);
    if (value < 0) return false;
    trace[index] = value;
  }
  return true;
}

/** The value of two hex digits; < 0: they are none. */
function hexByte(bytes: Uint8Array, at: number): number {
  const high = hexDigit(bytes[at] ?? 0);
  const low = hexDigit(bytes[at + 1] ?? 0);
  return high < 0 || low < 0 ? -1 : high << 4 | low;
}

/** Capital letters are none: W3C has them refused. */
function hexDigit(code: number): number {
  if (code >= 0x30 && code <= 0x39) return code - 0x30;
  return code >= 0x61 && code <= 0x66 ? code - 0x57 : -1;
}

function isZero(bytes: Uint8Array, start: number, end: number): boolean {
  for (let index = start; index < end; index++) if (bytes[index] !== 0) return false;
  return true;
}

/** The `traceparent` of a trace. */
export function traceText(trace: Uint8Array): string {
  return `00-${traceIdOf(trace)}-${spanIdOf(trace)}-${hex(trace, SPAN_END, TRACE_BYTES)}`;
}

/** The trace alone, as 32 hex digits: what logs and tracing tools call it. */
export function traceIdOf(trace: Uint8Array): string {
  return hex(trace, 0, TRACE_ID_BYTES);
}

/** The span that asks, as 16 hex digits. */
export function spanIdOf(trace: Uint8Array): string {
  return hex(trace, TRACE_ID_BYTES, SPAN_END);
}

/** W3C's flags: 1 if the trace is recorded. */
export function flagsOf(trace: Uint8Array): number {
  return trace[SPAN_END] ?? 0;
}

function hex(bytes: Uint8Array, start: number, end: number): string {
  let text = "";
  for (let index = start; index < end; index++) {
    const byte = bytes[index] ?? 0;
    text += fromCodes(digit(byte >> 4), digit(byte & 15));
  }
  return text;
}

function digit(value: number): number {
  return value < 10 ? 0x30 + value : 0x57 + value;
}
