/**
 * Deno's debugger. From version 2.9.2 on Deno opens it when SIGUSR1 comes, whoever else listens for that
 * signal: on port 9229 of loopback, where every user of the machine can run code in this process.
 *
 * @module
 */

/** Deno opens it on a thread of its own, within this after the signal, ms. */
const OPENING_TIME = 2000;

/**
 * Makes ready to close the debugger; an operator's own, open already, is left alone.
 *
 * @returns A function to be called at each SIGUSR1; undefined if this process may not close it, which
 * takes `--allow-sys`.
 */
export async function guardDebugger(): Promise<(() => Promise<void>) | undefined> {
  if (Deno.permissions.querySync({ name: "sys" }).state !== "granted") return undefined;
  const inspector = await import("node:inspector");
  const isWanted = inspector.url() !== undefined;
  return async () => {
    const end = performance.now() + OPENING_TIME;
    while (!isWanted && performance.now() < end) {
      if (inspector.url() !== undefined) return inspector.close();
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  };
}
