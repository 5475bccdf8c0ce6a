/** Where the files of this project are. */

export const ROOT = new URL("../..", import.meta.url);

/** The path of a file, given relative to the project's root. */
export function path(relative: string): string {
  return decodeURIComponent(new URL(relative, ROOT).pathname);
}

/** URL of worker.ts, for handlers that import its helpers. */
export const WORKER_MODULE = new URL("worker.ts", ROOT).href;
