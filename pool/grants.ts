/**
 * What a handler's grants come to: FFI, files, and what the kernel lets its worker do.
 *
 * @module
 */

import type { Permissions } from "../options/settings.ts";
import type { CallGrants, GivenUp } from "../wire/worker_config.ts";

/** A permission of which a handler may be given all. */
type Kind = "read" | "write" | "net" | "env" | "run" | "sys" | "ffi" | "import";

/** Whether this process has all of a permission itself: it can't give more than it has. */
export function mayGiveAll(name: Kind): boolean {
  return Deno.permissions.querySync({ name }).state === "granted";
}

/** Whether the handler may use FFI: only if it may do everything, and so may this process. */
export function mayUseFfi({ all }: Permissions): boolean {
  return all === true && mayGiveAll("ffi");
}

/**
 * Whether a worker needs to write to files at all: for its handler, for programs that the handler starts, or
 * for what Deno caches of imports while the handler runs.
 */
export function mayWriteFiles({ all, write, run, import: hosts }: Permissions): boolean {
  return all === true || gives(write) || gives(run) || gives(hosts);
}

/**
 * The calls that the kernel's filter lets a worker make; undefined: the worker has no filter. Programs would
 * inherit the filter and could not do their work, so a handler that may start any has full trust.
 */
export function callGrants({ all, run, net, sys }: Permissions): CallGrants | undefined {
  if (all === true || gives(run)) return undefined;
  return { net: gives(net), sys: gives(sys) };
}

const GIVEN_UP = ["read", "write", "net", "env", "run", "sys"] as const;

/** Kinds of permission of which a handler is granted nothing. */
export function ungranted(permissions: Permissions): GivenUp[] {
  if (permissions.all === true) return [];
  return GIVEN_UP.filter((kind) => !gives(permissions[kind]));
}

/** Whether a grant gives anything. */
function gives(grant: boolean | string[] | undefined): boolean {
  return Array.isArray(grant) ? grant.length > 0 : grant === true;
}
