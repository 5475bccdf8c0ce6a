/**
 * The form of services' names.
 *
 * @module
 */

/** What a service's name must be, for error messages. */
export const SERVICE_NAME_RULE = 'a name of 1 to 64 characters of A-Z, a-z, 0-9, ".", "_" and "-"';

/** Whether a text can be a service's name. */
export function isServiceName(text: string): boolean {
  return /^[A-Za-z0-9._-]{1,64}$/.test(text);
}
