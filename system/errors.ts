/**
 * The message of whatever was thrown.
 *
 * @module
 */

/** The message of an error; of anything else that was thrown, its text. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** This process lacks a permission, as the message says. */
export class NoGrant extends Error {
  /** Always `NoGrant`. */
  override readonly name = "NoGrant";
}
