/**
 * What bounds what workers say, whichever lane brings it.
 *
 * @module
 */

/** Maximum bytes of a message or an error's text; the rest is cut. */
export const MAX_LOG_BYTES = 8192;
/** Maximum bytes of a log line's fields; the rest is cut. */
export const MAX_FIELDS_BYTES = 49_152;
/** Room for texts, whatever the limit of bodies is. */
export const TEXT_BYTES = 65_536;

/** The limits of replies. */
export interface WorkerBounds {
  readonly maxMessageSize: number;
  readonly maxFrames: number;
}
