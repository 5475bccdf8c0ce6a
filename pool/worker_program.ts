/**
 * The program that workers run in: Deno, which is given their main module; or the server's own program where that was
 * compiled (`deno compile`): there is no Deno then, and the program becomes a worker by `--worker`.
 *
 * @module
 */

/** A program that can be a worker. */
export interface WorkerProgram {
  /** Its path; asked for once, because its file may be replaced while this process runs. */
  readonly path: string;
  /** Whether it was compiled: its modules and what it may do were settled then, and all handlers are in it. */
  readonly isCompiled: boolean;
}

/** The program that workers of this process run in. */
export function ownProgram(): WorkerProgram {
  return { path: Deno.execPath(), isCompiled: Deno.build.standalone };
}
