/**
 * A bell that ends a wait early: a descriptor that is readable once it was rung, from this thread or another.
 *
 * @module
 */

import { Bytes } from "../zmq/library.ts";
import { type Connector, errnoOf, setFlags, systemError, type Transfer } from "./libc.ts";
import { EventFlag } from "./numbers.ts";

/** The two ends of a bell; for an eventfd they are one. */
export interface Bell {
  /** Readable once it was rung. */
  readonly readEnd: number;
  /** What `ring` takes. */
  readonly writeEnd: number;
}

/**
 * Opens a bell: an eventfd, or a pipe where there is none.
 *
 * @throws {SystemError} when the system has no file descriptor left.
 */
export function openBell(
  libc: Connector,
  by: "eventfd" | "pipe" = libc.symbols.eventfd ? "eventfd" : "pipe",
): Bell {
  const ends = new Int32Array(2);
  const { NONBLOCK, CLOEXEC } = EventFlag;
  if (by === "eventfd") ends.fill(libc.symbols.eventfd?.(0, NONBLOCK | CLOEXEC) ?? -1);
  else if (libc.symbols.pipe(new Bytes(ends.buffer)) !== 0) ends.fill(-1);
  const [readEnd = -1, writeEnd = -1] = ends;
  if (readEnd < 0) throw systemError(libc, "wait for sockets", errnoOf(libc));
  if (by === "pipe") { for (const fd of ends) setFlags(libc, fd); }
  return { readEnd, writeEnd };
}

/** What an eventfd takes for one, u64; of a pipe it is as good as anything. */
const ONE = new Bytes(new BigUint64Array([1n]).buffer);

/** Rings a bell, given its `writeEnd`. A bell that was rung and not heard yet stays rung. */
export function ring({ symbols }: Transfer, writeEnd: number): void {
  symbols.write(writeEnd, ONE, ONE.length);
}

/** Closes a bell. */
export function closeBell({ symbols }: Transfer, { readEnd, writeEnd }: Bell): void {
  symbols.close(readEnd);
  if (writeEnd !== readEnd) symbols.close(writeEnd);
}
