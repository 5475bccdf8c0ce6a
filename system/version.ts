/**
 * The version of this package.
 *
 * @module
 */

/** The version of deno.json. */
export const VERSION = "0.9.0";
