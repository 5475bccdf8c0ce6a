/**
 * Ties the life of this process to its parent's, even while JavaScript is in a busy loop: the system's
 * own means on Linux, elsewhere a thread that watches.
 *
 * @module
 */

/**
 * Ends this process by SIGKILL soon after `parent` has ended. Needs FFI for `library`, now.
 *
 * @param mode "kernel" is Linux's PR_SET_PDEATHSIG; "thread" a Web Worker that looks twice a second.
 */
export function dieWithParent(library: string, parent: number, mode: "kernel" | "thread"): void {
  if (mode === "thread") {
    const watcher = new Worker(new URL("./lifeline_thread.ts", import.meta.url), {
      type: "module",
    });
    watcher.postMessage({ library, parent });
    return;
  }
  const PR_SET_PDEATHSIG = 1;
  const SIGKILL = 9;
  const { symbols } = Deno.dlopen(library, {
    prctl: { parameters: ["i32", "usize", "usize", "usize", "usize"], result: "i32" },
    getppid: { parameters: [], result: "i32" },
  });
  symbols.prctl(PR_SET_PDEATHSIG, BigInt(SIGKILL), 0n, 0n, 0n);
  // It may have ended before it could be tied to.
  if (symbols.getppid() !== parent) Deno.exit(1);
}
