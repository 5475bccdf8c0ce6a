/**
 * The texts of our own that workers get in place of the handler's import map, deno.json and lock. Not here:
 * where they are put.
 *
 * @module
 */

import type { HandlerConfig, Lock } from "./handler_config.ts";
import type { ImportMap, Names } from "./import_map.ts";
import { mainModule, RUNTIME, type Sandbox, trialModule } from "./sandbox.ts";

/**
 * The import map that workers get in place of the handler's. It has the handler's names, and for each module
 * of ours a scope in which our modules stand for themselves. Deno asks the scope with the longest URL first.
 */
export function ownMap(sandbox: Sandbox, { imports, scopes }: ImportMap): string {
  const root = new URL(".", sandbox.workerModule).href;
  const same: Names = { [root]: root };
  const pins = Object.fromEntries(RUNTIME.map((path) => [new URL(path, root).href, same]));
  const handler = sandbox.handler ?? "";
  return JSON.stringify({
    imports,
    scopes: {
      ...scopes,
      [root]: { ...scopes[root], ...same },
      ...pins,
      [trialModule(sandbox)]: same,
      [mainModule(sandbox)]: { ...same, [handler]: handler },
    },
  });
}

/** The deno.json that workers get in place of the handler's: only fields that resolve and run nothing. */
export function ownConfig({ compilerOptions, nodeModules }: HandlerConfig): string {
  return JSON.stringify({ compilerOptions, nodeModulesDir: nodeModules ? "manual" : "none" });
}

/**
 * The lock that workers get in place of the handler's. It has the same versions, but the dependencies of
 * `ownConfig`, because Deno refuses a lock that names others.
 */
export function ownLock({ compilerOptions }: HandlerConfig, { text }: Lock): string {
  // Deno compares texts, so the rest must stay the same to the letter.
  const rest = text.replace(/,\n {2}"workspace": \{[^]*\n {2}\}(?=\n\}\s*$)/, "");
  const name = requirement(String(compilerOptions.jsxImportSource));
  if (name === undefined) return rest;
  const own = `"workspace": {\n    "dependencies": [\n      ${JSON.stringify(name)}\n    ]\n  }`;
  return rest.replace(/\n\}\s*$/, `,\n  ${own}\n}\n`);
}

/** The package and versions that an npm: or jsr: specifier asks for, as a lock has them. */
function requirement(specifier: string): string | undefined {
  const pattern = /^(npm|jsr):\/?((?:@[^/@]+\/)?[^/@]+)(?:@([^/]+))?/;
  const [, scheme, name, versions = "*"] = pattern.exec(specifier) ?? [];
  return scheme && `${scheme}:${name}@${decodeURIComponent(versions)}`;
}
