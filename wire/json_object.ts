/**
 * A value that is read from JSON, or given by others' code, before its members are read.
 *
 * @module
 */

/** Whether a value has members by their names: it is an object, and no list. */
export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

const strictDecoder = new TextDecoder("utf-8", { fatal: true });

/** The value of a frame of JSON; undefined: it is none. */
export function parseJson(frame: Uint8Array): unknown {
  try {
    return JSON.parse(strictDecoder.decode(frame));
  } catch {
    return undefined;
  }
}
