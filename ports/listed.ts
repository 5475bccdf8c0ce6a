/**
 * How many of something are listed for one who asks: the loop serves nobody while it makes a list.
 *
 * @module
 */

/** Maximum number of things that are listed: making the list takes about 1 ms. */
export const MOST_LISTED = 1000;

/** How many are listed if so many are wanted. */
export function listed(wanted: number): number {
  return wanted > 0 ? Math.min(MOST_LISTED, Math.floor(wanted)) : 0;
}
