/**
 * What HTTP for operators takes of this process, checked before anything is bound. Asked, or Deno would ask the user.
 *
 * @module
 */

import type { Settings } from "../options/settings.ts";
import { mayRead } from "../system/files.ts";

/**
 * Makes sure that what was asked for may be done.
 *
 * @throws {Error} naming the permission that is missing.
 */
export function requireOperatorGrants({ http, httpToken }: Settings): void {
  if (http === "off") return;
  if (httpToken !== undefined && !mayRead(httpToken)) {
    throw new Error(
      `Cannot read the token file "${httpToken}": it takes --allow-read=${httpToken}`,
    );
  }
  const host = hostOf(http);
  const { state } = Deno.permissions.querySync({ name: "net", host });
  if (state !== "granted") {
    throw new Error(`Cannot serve HTTP at "${http}": it takes --allow-net=${host}`);
  }
}

/** The address that is bound, as permissions name it. */
function hostOf(http: string): string {
  return http.replace(/^\*:/, "0.0.0.0:");
}
