/**
 * Keeps a process from filling disks: the system refuses each write to a file, whoever asks for it and
 * however the file was opened. Pipes and sockets are no files here.
 *
 * @module
 */

/** signal.h and sys/resource.h, alike on Linux and macOS. */
const SIGXFSZ = 25;
const SIG_IGN = 1n;
const RLIMIT_FSIZE = 1;

/**
 * Refuses all writes to files from now on, for good, also to those that are open already: Deno's own
 * databases, which grow by what code imports and stores. Needs FFI for `library` until it returns.
 *
 * @throws {Error} when the system can't do it.
 */
export function forbidFileWrites(library: string): void {
  const { symbols } = Deno.dlopen(library, {
    signal: { parameters: ["i32", "usize"], result: "usize" },
    setrlimit: { parameters: ["i32", "buffer"], result: "i32" },
  });
  // Else the first refused write would end the process.
  symbols.signal(SIGXFSZ, SIG_IGN);
  // struct rlimit: the limit now, and the highest that it can be raised to, bytes.
  const limits = new BigUint64Array(2);
  if (symbols.setrlimit(RLIMIT_FSIZE, limits) === 0) return;
  throw new Error("Cannot limit the size of files: the system refused");
}
