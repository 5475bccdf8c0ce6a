/**
 * The folder that the server was started in, which its workers start in too. It may be removed while the
 * server runs: then they start in the root folder, and relative paths keep their meaning.
 *
 * @module
 */

import type { Permissions } from "../options/settings.ts";

/** Where workers start. */
export interface Start {
  /** Their current folder; undefined: the server's. */
  readonly cwd: string | undefined;
  /** What the handler may do. */
  readonly permissions: Permissions;
}

const ROOT = "/";
/** What is granted by paths, as Deno reads them. */
const KINDS = ["read", "write", "run"] as const;

/** Knows the folder, as long as it could be found out once. */
export class StartFolder {
  readonly #find: () => string | undefined;
  readonly #path: string | undefined;

  /** `find` gives the path of the current folder; undefined: it is gone. */
  constructor(find: () => string | undefined) {
    this.#find = find;
    this.#path = find();
  }

  /** Its path; undefined where it was gone from the start. */
  get path(): string | undefined {
    return this.#path;
  }

  /** Whether it was removed. */
  get isGone(): boolean {
    return this.#find() === undefined;
  }

  /** Where workers start now, and what their handler may do there. */
  startOf(permissions: Permissions): Start {
    if (!this.isGone) return { cwd: undefined, permissions };
    return { cwd: ROOT, permissions: anchor(permissions, this.#path ?? ROOT) };
  }
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
