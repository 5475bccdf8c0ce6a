/**
 * Whose jobs are stored: those of the services that the options name, and of others where Majordomo's workers may make
 * them. The same for every store. Pure.
 *
 * @module
 */

import type { StoreConfig } from "./messages.ts";

/** The most names of services in a store to which others than the options may add some: names are never forgotten. */
const MOST_NAMES = 1000;

/** Names that a store has. */
export interface KnownNames {
  has(name: string): boolean;
  /** How many there are. */
  readonly size: number;
}

/** Whether jobs of a service are taken. */
export function takesJobs(
  { services, anyService }: StoreConfig,
  name: string,
  known: KnownNames,
): boolean {
  if (Object.hasOwn(services, name)) return true;
  return anyService === true && (known.has(name) || known.size < MOST_NAMES);
}
