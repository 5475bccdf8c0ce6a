/**
 * The empty frame. There is one for all, as one costs 0.3 µs to make and none has anything to change.
 *
 * @module
 */

/** A frame of no bytes: it ends an envelope, marks an error, and stands in for a body that has none. */
export const EMPTY_FRAME: Uint8Array<ArrayBuffer> = new Uint8Array(0);
