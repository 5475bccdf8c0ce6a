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
 * ```
 *
 * The form is ZeroMQ's REQ envelope, RFC 28/REQREP. Frame by frame: docs/protocol.md.
 *
 * @module
 */

/** At most this many frames, the empty one included. */
export const MAX_ENVELOPE_FRAMES = 16;
/** At most this many bytes in all of them. */
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

/** The empty frame that ends an envelope. */
export const DELIMITER: Uint8Array<ArrayBuffer> = new Uint8Array(0);

/** What our client says ahead of a request's body. */
export interface RequestHeader {
  /** The client's own number for the request, 0 to 2^53 − 1; the reply carries it back. */
  id: number;
  /** How long the client will wait from now, ms; 0: it does not say. */
  timeout: number;
}

/**
 * The last envelope frame of our client's requests, 20 bytes, little-endian:
 * `00 'Z' 'P' 'F'`, u8 version = 1, u8 type = 1, u16 0, u32 id low, u32 id high, u32 timeout in ms.
 */
const HEADER_BYTES = 20;
const MAGIC = 0x46505a00;
const VERSION = 1;
const TYPE_REQUEST = 1;

/** Builds a request's header. */
export function buildRequestHeader({ id, timeout }: RequestHeader): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(HEADER_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, MAGIC, true);
  view.setUint8(4, VERSION);
  view.setUint8(5, TYPE_REQUEST);
  view.setUint32(8, id >>> 0, true);
  view.setUint32(12, Math.floor(id / 2 ** 32), true);
  view.setUint32(16, Math.min(Math.max(0, Math.ceil(timeout)), 0xffffffff), true);
  return bytes;
}

/** Reads a request's header, or undefined if `frame` is some other envelope frame. */
export function parseRequestHeader(frame: Uint8Array): RequestHeader | undefined {
  if (frame.length !== HEADER_BYTES) return undefined;
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  if (view.getUint32(0, true) !== MAGIC) return undefined;
  if (view.getUint8(4) !== VERSION || view.getUint8(5) !== TYPE_REQUEST) return undefined;
  const id = view.getUint32(8, true) + view.getUint32(12, true) * 2 ** 32;
  return { id, timeout: view.getUint32(16, true) };
}

/** The frame ahead of a reply to our client: u8 version = 1, u8 0, u16 code; little-endian. */
export function buildStatus(code: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(4);
  const view = new DataView(bytes.buffer);
  view.setUint8(0, VERSION);
  view.setUint16(2, code, true);
  return bytes;
}

/** Reads a reply's code, or undefined if `frame` is no status. */
export function parseStatus(frame: Uint8Array): number | undefined {
  if (frame.length !== 4 || frame[0] !== VERSION) return undefined;
  return new DataView(frame.buffer, frame.byteOffset, frame.byteLength).getUint16(2, true);
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
