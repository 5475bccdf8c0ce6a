/**
 * What is known of a value that was read from JSON, or given by others' code, before its members are read.
 *
 * @module
 */

/** Whether a value has members by their names: it is an object, and no list. */
export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
