/**
 * What a worker is told of a stored job, beside what it is told of every job. Builds and reads; no I/O.
 *
 * ```text
 * at  0  u32  which try this is, from 1
 *     4  u32  tries in all
 *     8  u8   1: the last frame of the body is what a try before has kept, and not of the job's own body
 *     9       the job's id, UTF-8, at most 64 bytes
 * ```
 *
 * Numbers are little-endian. Docs: docs/protocol.md.
 *
 * @module
 */

/** A try of a stored job. */
export interface TryWords {
  /** The job's id. */
  readonly id: string;
  /** 1 for the first try. */
  readonly attempt: number;
  /** Tries in all. */
  readonly tries: number;
  /** Whether the last frame of the body is what a try before has kept. */
  readonly hasKept: boolean;
}

const FIXED_BYTES = 9;
const MAX_ID_BYTES = 64;
/** Maximum bytes of it. */
export const MAX_TRY_BYTES = FIXED_BYTES + MAX_ID_BYTES;
const MAX_UINT32 = 0xffffffff;

/** As they were before a handler could replace them. */
const Bytes = Uint8Array;
const View = DataView;
const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Builds it; of an id that is too long the first bytes. */
export function buildTry({ id, attempt, tries, hasKept }: TryWords): Uint8Array<ArrayBuffer> {
  const bytes = new Bytes(MAX_TRY_BYTES);
  const view = new View(bytes.buffer);
  view.setUint32(0, Math.min(attempt, MAX_UINT32), true);
  view.setUint32(4, Math.min(tries, MAX_UINT32), true);
  view.setUint8(8, hasKept ? 1 : 0);
  const { written } = encoder.encodeInto(id, bytes.subarray(FIXED_BYTES));
  return bytes.subarray(0, FIXED_BYTES + written);
}

/** Reads what lies in `bytes` from `start` up to `end`; undefined: it is none. */
export function readTry(
  bytes: Uint8Array<ArrayBuffer>,
  start: number,
  end: number,
): TryWords | undefined {
  if (end - start < FIXED_BYTES || end - start > MAX_TRY_BYTES || end > bytes.length) {
    return undefined;
  }
  const view = new View(bytes.buffer, bytes.byteOffset + start, end - start);
  return {
    attempt: view.getUint32(0, true),
    tries: view.getUint32(4, true),
    hasKept: view.getUint8(8) === 1,
    id: decoder.decode(bytes.subarray(start + FIXED_BYTES, end)),
  };
}
