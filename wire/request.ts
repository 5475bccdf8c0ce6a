/**
 * What clients and the broker say to each other: the envelope, the header of our own client's
 * requests, the status of their replies, and plain error replies. Parses and builds; no I/O.
 *
 * ```text
 * plain request    [envelope…] [] [body] [body…]      0 or more envelope frames, none of them empty
 * its reply        [envelope…] [] [body] [body…]
 * its error reply  [envelope…] [] [] [<code> <message>]
 *
 * our request      [envelope…] [header] [] [body] [body…]
 * its reply        [envelope…] [header] [] [status] [body] [body…]
 * its error reply  [envelope…] [header] [] [status] [message]
 * its withdrawal   [envelope…] [header] [] []       the type says so; its own reply is the request's
 * ```
 *
 * The form is ZeroMQ's REQ envelope, RFC 28/REQREP. Frame by frame: docs/protocol.md.
 *
 * @module
 */

import { EMPTY_FRAME } from "./empty_frame.ts";
import { readWide, writeWide } from "./integers.ts";

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
} as const;

/** Whether an answer would be the same if it were asked for again; others are worth another try. */
export function isFinal(code: number): boolean {
  return code < 500 && code !== Code.expired && code !== Code.cancelled;
}

/** Whether a handler may answer with this code. */
export function isErrorCode(code: unknown): code is number {
  return typeof code === "number" && Number.isInteger(code) && code >= 400 && code <= 599;
}

/** What our client says ahead of a request's body. */
export interface RequestHeader {
  /** Ask, or have an earlier request of this connection ended. */
  type: "request" | "cancel";
  /** The client's own number for the request, 0 to 2^53 − 1; the reply carries it back. */
  id: number;
  /** How long the client will wait from now, ms; 0: it does not say. */
  timeout: number;
  /** How long the handler may run, ms; 0: as long as the server lets it. */
  requestTimeout: number;
  /** Requests of the same key are answered together, "" if it has none. */
  key: string;
}

/** What a request asks for besides its body; a plain one has no number. */
export type RequestTerms = Omit<RequestHeader, "type" | "id"> & { id: number | undefined };

/** The terms of a request that has no header. */
export const NO_HEADER: RequestTerms = { id: undefined, timeout: 0, requestTimeout: 0, key: "" };

/** Maximum bytes of UTF-8 in a key. */
export const MAX_KEY_BYTES = 128;

/**
 * The last envelope frame of our client's requests, 24 bytes and the key, little-endian:
 * `00 'Z' 'P' 'F'`, u8 version = 1, u8 type (1 request, 2 cancel), u8 length of the key, u8 0,
 * u32 id low, u32 id high, u32 timeout in ms, u32 requestTimeout in ms, the key.
 */
export const HEADER_BYTES = 24;
const MAGIC = 0x46505a00;
const VERSION = 1;
const TYPE_REQUEST = 1;
const TYPE_CANCEL = 2;

/**
 * Builds a request's header; what is left out is not said.
 *
 * @throws {RangeError} when the key is too long.
 */
export function buildRequestHeader(
  { type = "request", id, timeout = 0, requestTimeout = 0, key = "" }:
    & Pick<RequestHeader, "id">
    & Partial<RequestHeader>,
): Uint8Array<ArrayBuffer> {
  const keyBytes = encodeKey(key);
  const bytes = new Uint8Array(HEADER_BYTES + keyBytes.length);
  const view = new DataView(bytes.buffer);
  writeRequestHeader(view, { id, timeout, requestTimeout });
  view.setUint8(5, type === "request" ? TYPE_REQUEST : TYPE_CANCEL);
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
  view.setUint8(4, VERSION);
  view.setUint8(5, TYPE_REQUEST);
  view.setUint16(6, 0);
  writeWide(view, 8, id);
  view.setUint32(16, milliseconds(timeout), true);
  view.setUint32(20, milliseconds(requestTimeout), true);
}

function encodeKey(key: string): Uint8Array {
  if (key === "") return EMPTY_FRAME;
  const bytes = encoder.encode(key);
  if (bytes.length <= MAX_KEY_BYTES) return bytes;
  throw new RangeError(
    `Cannot build a request: "key" must have at most ${MAX_KEY_BYTES} bytes: it has ${bytes.length}`,
  );
}

function milliseconds(duration: number): number {
  return Math.min(Math.max(0, Math.ceil(duration)), 0xffffffff);
}

/** Reads a request's header, or undefined if `frame` is some other envelope frame. */
export function parseRequestHeader(frame: Uint8Array): RequestHeader | undefined {
  if (frame.length < HEADER_BYTES) return undefined;
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  const type = TYPES[view.getUint8(5)];
  const id = readRequestId(view, frame.length);
  if (type === undefined || id === undefined) return undefined;
  return {
    type,
    id,
    timeout: view.getUint32(16, true),
    requestTimeout: view.getUint32(20, true),
    key: view.getUint8(6) === 0 ? "" : new TextDecoder().decode(frame.subarray(HEADER_BYTES)),
  };
}

/**
 * Reads the request's number out of a header of `size` bytes, of which `view` has `HEADER_BYTES` at
 * least; undefined if it is some other envelope frame.
 */
export function readRequestId(view: DataView, size: number): number | undefined {
  if (view.getUint32(0, true) !== MAGIC || view.getUint8(4) !== VERSION) return undefined;
  const keySize = view.getUint8(6);
  if (keySize > MAX_KEY_BYTES || size !== HEADER_BYTES + keySize) return undefined;
  if (TYPES[view.getUint8(5)] === undefined) return undefined;
  return readWide(view, 8);
}

const TYPES: Record<number, RequestHeader["type"]> = {
  [TYPE_REQUEST]: "request",
  [TYPE_CANCEL]: "cancel",
};

const STATUS_BYTES = 4;

/** What a status says along with its code: bits of one byte. */
export const StatusFlag = {
  /** The request was never started, and this server starts no more: another server may answer it. */
  unstarted: 1,
} as const;

/**
 * The frame ahead of a reply to our client: u8 version = 1, u8 flags (`StatusFlag`), u16 code;
 * little-endian.
 */
export function buildStatus(code: number, flags = 0): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(STATUS_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint8(0, VERSION);
  view.setUint8(1, flags);
  view.setUint16(2, code, true);
  return bytes;
}

/** Reads a reply's code out of the first `size` bytes of `view`; undefined if they are not a status. */
export function readStatus(view: DataView, size: number): number | undefined {
  if (size !== STATUS_BYTES || view.getUint8(0) !== VERSION) return undefined;
  return view.getUint16(2, true);
}

/** Reads the flags of a status, which `readStatus` has found to be one. Unknown bits are ignored. */
export function readStatusFlags(view: DataView): number {
  return view.getUint8(1);
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
