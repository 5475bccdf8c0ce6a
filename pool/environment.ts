/**
 * The environment that workers are started with.
 *
 * @module
 */

import type { Permissions } from "../options/settings.ts";
import { mayGiveAll } from "./grants.ts";
import { readVariable } from "../system/variables.ts";

/** What Deno itself needs to find its cache and the network; the handler can't read it. */
const NEEDED_BY_DENO = [
  "HOME",
  "PATH",
  "TMPDIR",
  "LANG",
  "TZ",
  "NO_COLOR",
  "XDG_CACHE_HOME",
  "DENO_DIR",
  "DENO_CERT",
  "DENO_TLS_CA_STORE",
  "DENO_AUTH_TOKENS",
  "SSL_CERT_FILE",
  "SSL_CERT_DIR",
  "NODE_EXTRA_CA_CERTS",
  "NPM_CONFIG_REGISTRY",
  "JSR_URL",
  "HTTP_PROXY",
  "HTTPS_PROXY",
  "NO_PROXY",
  "http_proxy",
  "https_proxy",
  "no_proxy",
];

/** The variables of a worker. */
export function environment(granted: Permissions): Record<string, string> {
  // NODE_OPTIONS can open Deno's debugger.
  const { NODE_OPTIONS: _, ...variables } = grantedVariables(granted);
  return variables;
}

function grantedVariables({ all, env }: Permissions): Record<string, string> {
  // Without this variable Deno checks over the network for a newer version of itself.
  const variables: Record<string, string> = { DENO_NO_UPDATE_CHECK: "1" };
  if ((all || env === true) && mayGiveAll("env")) {
    return { ...variables, ...Deno.env.toObject() };
  }
  const granted = Array.isArray(env) ? env : [];
  for (const name of [...NEEDED_BY_DENO, ...granted.flatMap(matchingVariables)]) {
    const value = readVariable(name);
    if (value !== undefined) variables[name] = value;
  }
  return variables;
}

/** The variables that a grant stands for: as in Deno, a `*` at its end stands for anything. */
function matchingVariables(grant: string): string[] {
  if (!grant.endsWith("*")) return [grant];
  if (!mayGiveAll("env")) return [];
  const start = grant.slice(0, -1);
  return Object.keys(Deno.env.toObject()).filter((name) => name.startsWith(start));
}

/** Grants with a `*` that give no variable, because this process may not list its own. */
export function unlistedVariables({ all, env }: Permissions): string[] {
  const granted = !all && Array.isArray(env) ? env : [];
  return granted.filter((grant) => grant.endsWith("*") && !mayGiveAll("env"));
}
