/**
 * Orphans: where this process is the first one of a container, it inherits all processes whose parents have ended,
 * and they stay in the system's table until it waits for them. Linux only.
 *
 * @module
 */

/** For waitid(2), sys/wait.h: any child; one that has ended; do not wait; leave it as it is. */
const P_ALL = 0;
const WEXITED = 4;
const WNOHANG = 1;
const WNOWAIT = 0x1000000;
/** struct siginfo_t, and where the process number is in it. */
const SIGINFO_BYTES = 128;
const PID_AT = 16;

/**
 * Waits for orphans that have ended, until it finds none or a process that others wait for. Needs FFI for `library`
 * when it is made.
 *
 * @param isOwn Whether a process was started by this program itself, which waits for it.
 * @returns Does it; returns how many there were.
 */
export function makeReaper(library: string, isOwn: (pid: number) => boolean): () => number {
  const { symbols } = Deno.dlopen(library, {
    waitid: { parameters: ["i32", "u32", "buffer", "i32"], result: "i32" },
    waitpid: { parameters: ["i32", "buffer", "i32"], result: "i32" },
  });
  const found = new Uint8Array(SIGINFO_BYTES);
  const status = new Uint8Array(4);
  return () => {
    for (let count = 0;; count++) {
      found.fill(0);
      if (symbols.waitid(P_ALL, 0, found, WEXITED | WNOHANG | WNOWAIT) !== 0) return count;
      const pid = new DataView(found.buffer).getInt32(PID_AT, true);
      // A child of ours stands in front: the runtime is about to wait for it, and others come later.
      if (pid === 0 || isOwn(pid)) return count;
      symbols.waitpid(pid, status, WNOHANG);
    }
  };
}
