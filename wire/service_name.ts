/**
 * The form of services' names.
 *
 * @module
 */

/** What a service's name has, for error messages. */
export const SERVICE_NAME_CHARACTERS = '1 to 64 characters of A-Z, a-z, 0-9, ".", "_" and "-"';

/** What a service's name must be, for error messages. */
export const SERVICE_NAME_RULE = `a name of ${SERVICE_NAME_CHARACTERS}`;

/** Names that others have given a meaning, by what they start with, and which. */
const SET_ASIDE: readonly (readonly [prefix: string, meaning: string])[] = [
  ["job.", "jobs that are stored (docs/jobs.md)"],
  ["mmi.", "the Majordomo Management Interface (ZeroMQ RFC 8)"],
  ["titanic.", "the Titanic Service Protocol (ZeroMQ RFC 9)"],
];

/** Whether a text can be a service's name. */
export function isServiceName(text: string): boolean {
  return /^[A-Za-z0-9._-]{1,64}$/.test(text);
}

/** Why no server may give a service a name, as the rest of a sentence; undefined: it may. */
export function whySetAside(name: string): string | undefined {
  const [prefix, meaning] = SET_ASIDE.find(([prefix]) => name.startsWith(prefix)) ?? [];
  return prefix && `names that start with "${prefix}" belong to ${meaning}`;
}
