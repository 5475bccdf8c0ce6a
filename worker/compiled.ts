/**
 * For programs that are made by `deno compile`: there is no Deno then that could run workers, so the program itself is
 * started once more, and becomes one.
 *
 * ```ts
 * import { serve } from "jsr:@zmq/prefork";
 * import { isWorker, work } from "jsr:@zmq/prefork/compiled";
 *
 * if (isWorker()) await work(() => import("./handler.ts"));
 *
 * const handler = new URL("./handler.ts", import.meta.url);
 * await serve({ handler, handleSignals: true }).finished;
 * ```
 *
 * @module
 */

import { WORKER_ARGUMENT } from "../wire/worker_config.ts";
import { main } from "../worker.ts";

/** Whether this process was started to be a worker: its first argument is `--worker`. */
export function isWorker(): boolean {
  return Deno.args[0] === WORKER_ARGUMENT;
}

/**
 * Makes this process a worker, and ends it when the worker has ended.
 *
 * @param load imports the handler's module; gets what the server calls it, a URL. An `import` of a literal puts the
 * module into the program; what is imported otherwise has to be put there by `deno compile --include`. Not called
 * where the server has no handler.
 * @throws {Error} (the promise is rejected) when no server has started this process.
 */
export async function work(load: (handler: string) => Promise<unknown>): Promise<never> {
  await main((handler) => handler === undefined ? undefined : load(handler));
  Deno.exit(0);
}
