/**
 * How many of something are listed for one who asks.
 *
 * @module
 */

/** Maximum number of things that are listed. */
export const MOST_LISTED = 1000;

/** How many are listed if so many are wanted. */
export function listed(wanted: number): number {
  return wanted > 0 ? Math.min(MOST_LISTED, Math.floor(wanted)) : 0;
}
