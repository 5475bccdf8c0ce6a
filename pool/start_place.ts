/**
 * Where workers start: in the server's own folder, or in the root folder once that was removed. Relative
 * paths that the handler was granted keep their meaning.
 *
 * @module
 */

import type { Permissions } from "../options/settings.ts";
import type { StartFolder } from "../system/start_folder.ts";

/** Where workers start, and what their handler may do there. */
export interface StartPlace {
  /** Their current folder; undefined: the server's. */
  readonly cwd: string | undefined;
  readonly permissions: Permissions;
}

const ROOT = "/";
/** What is granted by paths, as Deno reads them. */
const KINDS = ["read", "write", "run"] as const;

/** Where a worker starts now. */
export function startPlace(permissions: Permissions, folder: StartFolder): StartPlace {
  if (!folder.isGone) return { cwd: undefined, permissions };
  return { cwd: ROOT, permissions: anchor(permissions, folder.path ?? ROOT) };
}

/** In place of relative paths, those that they meant in a folder. */
function anchor(permissions: Permissions, folder: string): Permissions {
  const anchored = KINDS.map((kind) => {
    const grant = permissions[kind];
    return [kind, Array.isArray(grant) ? grant.map((path) => absolute(path, folder, kind)) : grant];
  });
  return { ...permissions, ...Object.fromEntries(anchored) };
}

/** A program without a slash is looked for in PATH. */
function absolute(path: string, folder: string, kind: typeof KINDS[number]): string {
  const isName = kind === "run" && !path.includes("/");
  return path.startsWith("/") || isName ? path : `${folder}/${path}`;
}
