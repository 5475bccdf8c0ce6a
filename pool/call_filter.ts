/**
 * Which workers have the kernel filter what they ask of it, and what it lets through.
 *
 * @module
 */

import type { Permissions } from "../options/settings.ts";
import type { CallGrants } from "../wire/worker_config.ts";

/**
 * What the filter of a worker lets through; undefined: it has none. Programs would inherit it, and could
 * not do what they are there for: whose handler may start any, has full trust.
 */
export function callGrants({ all, run, net, sys }: Permissions): CallGrants | undefined {
  if (all === true || isGranted(run)) return undefined;
  return { net: isGranted(net), sys: isGranted(sys) };
}

function isGranted(grant: boolean | string[] | undefined): boolean {
  return Array.isArray(grant) ? grant.length > 0 : grant === true;
}
