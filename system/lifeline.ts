/**
 * Ties the life of this process to its parent's, even while JavaScript is in a busy loop: the system's
 * own means on Linux, elsewhere a thread that watches.
 *
 * @module
 */

/**
 * Ends this process by SIGKILL soon after `parent` has ended. Needs FFI for `library` until it returns.
 *
 * @param mode "kernel" is Linux's PR_SET_PDEATHSIG; "thread" a Web Worker that looks three times a second.
 * @throws {Error} when the library can't be opened.
 */
export async function dieWithParent(
  library: string,
  parent: number,
  mode: "kernel" | "thread",
): Promise<void> {
  if (mode === "thread") return await watchFromThread(library, parent);
  const PR_SET_PDEATHSIG = 1;
  const SIGKILL = 9n;
  const { symbols } = Deno.dlopen(library, {
    prctl: { parameters: ["i32", "usize", "usize", "usize", "usize"], result: "i32" },
    getppid: { parameters: [], result: "i32" },
  });
  symbols.prctl(PR_SET_PDEATHSIG, SIGKILL, 0n, 0n, 0n);
  // It may have ended before it could be tied to.
  if (symbols.getppid() !== parent) Deno.exit(1);
}

/** As text: a worker process may read no file, not even its own modules a second time. */
const THREAD = `
  self.onmessage = ({ data: { library, parent } }) => {
    const { symbols } = Deno.dlopen(library, {
      getppid: { parameters: [], result: "i32" },
      getpid: { parameters: [], result: "i32" },
      kill: { parameters: ["i32", "i32"], result: "i32" },
    });
    const SIGKILL = 9;
    setInterval(() => {
      if (symbols.getppid() !== parent) symbols.kill(symbols.getpid(), SIGKILL);
    }, 300);
    self.postMessage("tied");
  };`;

/** Settles once the thread has opened the library: from then on it needs no permission. */
async function watchFromThread(library: string, parent: number): Promise<void> {
  const url = `data:application/javascript,${encodeURIComponent(THREAD)}`;
  const thread = new Worker(url, { type: "module" });
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  thread.addEventListener("message", () => resolve());
  thread.addEventListener("error", (event) => reject(new Error(event.message)));
  thread.postMessage({ library, parent });
  await promise;
}
