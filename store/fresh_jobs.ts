/**
 * Jobs that will soon be started, so that they need not be read again: those that were just stored, and those that were
 * read to see who comes next.
 *
 * @module
 */

import { LARGE_BYTES } from "../system/parcel.ts";
import type { Frames } from "./messages.ts";
import type { JobRow } from "./sqlite_row.ts";

/** Bytes of bodies that are kept, with all that lies beside them in their memory, and jobs. */
const MOST_FRESH_BYTES = 4 * 1024 ** 2;
const MOST_FRESH = 8192;

/** Jobs as they are in the file. What changes one of them takes it out. */
export class FreshJobs {
  readonly #bySeq = new Map<number, { row: JobRow; body: Frames }>();
  /** How many bodies lie in a piece of memory: it is kept for as long as one does. */
  readonly #uses = new Map<ArrayBuffer, number>();
  #bytes = 0;

  /** Keeps one; where there is no room, others are read when it is their turn. */
  add(row: JobRow, body: Frames): void {
    this.take(row.seq);
    const { buffer } = body.bytes;
    // Large ones are handed over to the plane, and may be nobody else's then.
    if (body.bytes.length >= LARGE_BYTES || buffer.byteLength > MOST_FRESH_BYTES) return;
    const uses = this.#uses.get(buffer) ?? 0;
    const more = uses === 0 ? buffer.byteLength : 0;
    if (this.#bytes + more > MOST_FRESH_BYTES || this.#bySeq.size >= MOST_FRESH) {
      this.#clear();
      return this.add(row, body);
    }
    this.#bytes += more;
    this.#uses.set(buffer, uses + 1);
    this.#bySeq.set(row.seq, { row, body });
  }

  /** Takes one out; undefined: it is not kept. */
  take(seq: number): { row: JobRow; body: Frames } | undefined {
    const fresh = this.#bySeq.get(seq);
    if (fresh === undefined) return undefined;
    this.#bySeq.delete(seq);
    const { buffer } = fresh.body.bytes;
    const left = (this.#uses.get(buffer) ?? 1) - 1;
    if (left > 0) this.#uses.set(buffer, left);
    else {
      this.#uses.delete(buffer);
      this.#bytes -= buffer.byteLength;
    }
    return fresh;
  }

  #clear(): void {
    this.#bySeq.clear();
    this.#uses.clear();
    this.#bytes = 0;
  }
}
