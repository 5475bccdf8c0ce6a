/**
 * What the programs of this package say of themselves: their version, and the command that runs them.
 *
 * @module
 */

export { VERSION } from "../system/version.ts";

/**
 * The command that starts a program, for its help: the task of a checkout if the module is a file, else a
 * command that names where the module came from.
 *
 * @param url the `import.meta.url` of the program's main module.
 * @param local the command in a checkout, such as `deno task client`.
 * @param entry the program's name among the package's exports; "" for the main one.
 */
export function commandName(url: string, local: string, entry: string): string {
  if (url.startsWith("file:")) return local;
  const [, name] = /^https:\/\/jsr\.io\/(@[^/]+\/[^/]+)\//.exec(url) ?? [];
  if (name === undefined) return `deno run -A ${url}`;
  return `deno run -A jsr:${name}${entry === "" ? "" : `/${entry}`}`;
}
