/**
 * The configuration of our own that workers get in place of the handler's: an import map, a deno.json and
 * a lock, as texts. Not here: where they are put.
 *
 * @module
 */

import type { HandlerConfig, Lock } from "./handler_config.ts";
import type { ImportMap, Names } from "./import_map.ts";
import { mainModule, RUNTIME, type Sandbox, trialModule } from "./sandbox.ts";

/**
 * The import map that workers get in place of the handler's: its names, and above them, for each module
 * of ours, that our modules are what they are. Deno asks the scope with the longest URL first.
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

/** The configuration that workers get in place of the handler's: what neither resolves nor runs anything. */
export function ownConfig({ compilerOptions, nodeModules }: HandlerConfig): string {
  return JSON.stringify({ compilerOptions, nodeModulesDir: nodeModules ? "manual" : "none" });
}

/**
 * The lock that workers get in place of the handler's: the same versions, and what our own configuration
 * depends on, as Deno refuses a lock that names other dependencies.
 */
export function ownLock({ compilerOptions }: HandlerConfig, { text }: Lock): string {
  // All else stays as it is, to the letter: Deno compares texts.
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
