/**
 * Environment variables of this process, as far as it may read them.
 *
 * @module
 */

/** An environment variable; undefined if it is not set or may not be read. Never asks for the permission. */
export function readVariable(variable: string): string | undefined {
  const { state } = Deno.permissions.querySync({ name: "env", variable });
  return state === "granted" ? Deno.env.get(variable) : undefined;
}
