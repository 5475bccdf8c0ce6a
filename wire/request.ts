/**
 * What clients and the broker say to each other: the envelope, the status of replies to our own client, and plain
 * error replies. Parses and builds; no I/O. The header of our client's requests is in request_header.ts.
 *
 * ```text
 * plain request    [envelope…] [] [body] [body…]      0 or more envelope frames, none of them empty
 * its reply        [envelope…] [] [body] [body…]
 * its error reply  [envelope…] [] [] [<code> <message>]
 *
 * our request      [envelope…] [header] [] [body] [body…]
 * its reply        [envelope…] [header] [] [status] [body] [body…]
 * its error reply  [envelope…] [header] [] [status] [message]       and [details] if the handler gave some: JSON
 * its withdrawal   [envelope…] [header] [] []       the type says so; its own reply is the request's
 * a part           [envelope…] [header] [] [part status, more] [body] [body…]
 * progress         [envelope…] [header] [] [part status, more, progress] [f64 done, f64 total or NaN] [note]
 * the end of parts [envelope…] [header] [] [part status] []
 * ```
 *
 * The form is ZeroMQ's REQ envelope, RFC 28/REQREP. Frame by frame: docs/protocol.md.
 *
 * @module
 */

/** Maximum frames of an envelope, the empty one included. */
export const MAX_ENVELOPE_FRAMES = 16;
/** Maximum bytes of all of them. */
export const MAX_ENVELOPE_BYTES = 1024;

/** What an error reply means; the numbers are HTTP's. */
export const Code = {
  ok: 200,
  badRequest: 400,
  forbidden: 403,
  notFound: 404,
  expired: 408,
  tooLarge: 413,
  cancelled: 499,
  handlerFailed: 500,
  workerDied: 502,
  unavailable: 503,
  handlerTimeout: 504,
  loop: 508,
} as const;

/** Whether an answer would be the same if it were asked for again; others are worth another try. */
export function isFinal(code: number): boolean {
  return code < 500 && code !== Code.expired && code !== Code.cancelled;
}

/** Whether a handler may answer with this code. */
export function isErrorCode(code: unknown): code is number {
  return typeof code === "number" && Number.isInteger(code) && code >= 400 && code <= 599;
}

const STATUS_VERSION = 1;
const STATUS_BYTES = 4;

/** What a status says along with its code: bits of one byte. */
export const StatusFlag = {
  /** The request was never started, and this server starts no more: another server may answer it. */
  unstarted: 1,
  /** The answer has not ended: a part of it, or how far it is. */
  more: 2,
  /** The body is no part of the answer: it says how far the handler is. */
  progress: 4,
} as const;

/**
 * The frame ahead of a reply to our client: u8 version = 1, u8 flags (`StatusFlag`), u16 code;
 * little-endian.
 */
export function buildStatus(code: number, flags = 0): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(STATUS_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint8(0, STATUS_VERSION);
  view.setUint8(1, flags);
  view.setUint16(2, code, true);
  return bytes;
}

/** Reads a reply's code out of the first `size` bytes of `view`; undefined if they are not a status. */
export function readStatus(view: DataView, size: number): number | undefined {
  if (size !== STATUS_BYTES || view.getUint8(0) !== STATUS_VERSION) return undefined;
  return view.getUint16(2, true);
}

/** Reads the flags of a status, which `readStatus` has found to be one. Unknown bits are ignored. */
export function readStatusFlags(view: DataView): number {
  return view.getUint8(1);
}

const PART_STATUS_VERSION = 2;
/** Bytes of the status of a part. */
export const PART_STATUS_BYTES = 8;

/**
 * The frame ahead of a part, of progress, and of the end of an answer that came in parts: u8 version = 2, u8 flags
 * (`StatusFlag`), u16 code = 200, u32 number; little-endian. Parts are numbered from 0; progress has the number of
 * the next part, and the end that of all parts. An error that ends the parts has a status of 4 bytes.
 */
export function writePartStatus(view: DataView, flags: number, number: number): void {
  view.setUint8(0, PART_STATUS_VERSION);
  view.setUint8(1, flags);
  view.setUint16(2, Code.ok, true);
  view.setUint32(4, number, true);
}

/** What a message with the status of a part is. */
export interface PartStatus {
  kind: "part" | "progress" | "end";
  /** The part's number, the next part's, or how many there were. */
  number: number;
}

/** Reads a status of a part out of the first `size` bytes of `view`; undefined if they are none. */
export function readPartStatus(view: DataView, size: number): PartStatus | undefined {
  if (size !== PART_STATUS_BYTES || view.getUint8(0) !== PART_STATUS_VERSION) return undefined;
  const flags = view.getUint8(1);
  const isProgress = (flags & StatusFlag.progress) !== 0;
  const kind = isProgress ? "progress" : (flags & StatusFlag.more) !== 0 ? "part" : "end";
  return { kind, number: view.getUint32(4, true) };
}

/** Bytes of progress's first frame. */
export const PROGRESS_BYTES = 16;
/** Maximum bytes of progress's note. */
export const MAX_NOTE_BYTES = 1024;

/** Progress's first frame: f64 done, f64 total; little-endian. NaN: the total is not known. */
export function buildProgress(done: number, total: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(PROGRESS_BYTES);
  const view = new DataView(bytes.buffer);
  view.setFloat64(0, done, true);
  view.setFloat64(8, total, true);
  return bytes;
}

/** Reads progress's first frame; undefined if it is none. */
export function readProgress(frame: Uint8Array): { done: number; total: number } | undefined {
  if (frame.length !== PROGRESS_BYTES) return undefined;
  const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
  return { done: view.getFloat64(0, true), total: view.getFloat64(8, true) };
}

/** The last frame of a plain error reply. */
export function buildErrorText(code: number, message: string): Uint8Array<ArrayBuffer> {
  return encoder.encode(`${code} ${message}`);
}

/** Reads the body frames of a plain reply as an error, or undefined if they are an answer. */
export function parseErrorText(
  frames: readonly Uint8Array[],
): { code: number; message: string } | undefined {
  const [first, second] = frames;
  if (frames.length !== 2 || first?.length !== 0 || second === undefined) return undefined;
  const match = /^([45]\d\d) (.*)$/s.exec(new TextDecoder().decode(second));
  if (match === null) return undefined;
  return { code: Number(match[1]), message: match[2] ?? "" };
}

const encoder = new TextEncoder();
