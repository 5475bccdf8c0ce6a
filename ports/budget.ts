/**
 * How much is read from one socket before others have their turn.
 *
 * @module
 */

/** Maximum messages read from one socket in a turn. */
const BATCH = 500;
/** Maximum time one socket is read in a turn, ms: some messages take much longer. */
const BATCH_TIME_MS = 0.3;
/** Messages between two looks at the clock. */
const LOOK_EVERY = 16;

/** Reads messages as long as there are some, up to a bound; returns how many. */
export function readSome(read: () => boolean): number {
  const end = performance.now() + BATCH_TIME_MS;
  let count = 0;
  while (count < BATCH && read()) {
    count++;
    if (count % LOOK_EVERY === 0 && performance.now() >= end) break;
  }
  return count;
}
