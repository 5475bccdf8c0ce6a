/**
 * Jobs that will soon be started, so that they need not be read again: those that were just stored, and those that were
 * read to see who comes next.
 *
 * @module
 */

import type { Frames } from "./messages.ts";
import type { JobRow } from "./sqlite_table.ts";

/** Bytes of bodies that are kept, and jobs. */
const MOST_FRESH_BYTES = 4 * 1024 ** 2;
const MOST_FRESH = 8192;
/** One with so many bytes is read again: those are handed over to the plane, and may be nobody else's then. */
export const LARGE_BYTES = 16_384;

/** Jobs as they are in the file. What changes one of them takes it out. */
export class FreshJobs {
  readonly #bySeq = new Map<number, { row: JobRow; body: Frames }>();
  #bytes = 0;

  /** Keeps one; where there is no room, others are read when it is their turn. */
  add(row: JobRow, body: Frames): void {
    this.take(row.seq);
    if (body.bytes.length >= LARGE_BYTES) return;
    if (this.#bytes + row.bytes > MOST_FRESH_BYTES || this.#bySeq.size >= MOST_FRESH) this.#clear();
    this.#bytes += row.bytes;
    this.#bySeq.set(row.seq, { row, body });
  }

  /** Takes one out; undefined: it is not kept. */
  take(seq: number): { row: JobRow; body: Frames } | undefined {
    const fresh = this.#bySeq.get(seq);
    if (fresh === undefined) return undefined;
    this.#bytes -= fresh.row.bytes;
    this.#bySeq.delete(seq);
    return fresh;
  }

  #clear(): void {
    this.#bySeq.clear();
    this.#bytes = 0;
  }
}
