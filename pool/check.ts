/**
 * Loads the handler once, in a worker that serves nobody, with all that a server would give it.
 *
 * @module
 */

import { type ChildSpec, DENO_FAILED, spawnChild } from "./child.ts";
import { placeConfig, type WorkerFiles } from "./child_spec.ts";
import { type CodeSettings, lateCause, MODULES_LATE } from "./handler_code.ts";
import { buildOrders, type OrderSettings, type Workshop } from "./orders.ts";
import { findRefusal, loadModules, refusalError } from "./trials.ts";

/** What a trial needs of the options. */
export type TrialSettings = CodeSettings & OrderSettings;

/**
 * Tries the handler of a service, `plain`, whose configuration is yet to be placed.
 *
 * @param say gets a remark about why it fails; the worker itself prints the rest.
 * @returns whether it loads.
 * @throws {Error} when it can't even be tried.
 */
export async function tryHandler(
  settings: TrialSettings,
  service: string,
  plain: ChildSpec,
  files: WorkerFiles,
  workshop: Workshop,
  say: (remark: string) => void,
): Promise<boolean> {
  const placed = placeConfig(plain, files, settings.handlerLock);
  const graph = placed.graph ?? await loadInTime(placed, settings.startTimeout);
  const spec = { ...placed, graph };
  const hiring = { service, purpose: "check", token: "", keys: undefined } as const;
  const child = spawnChild(spec, buildOrders(hiring, spec, settings, workshop));
  const limit = setTimeout(() => {
    say(`Cannot load the handler "${spec.handler ?? "echo"}": ${lateCause(false)}`);
    child.kill("SIGKILL");
  }, settings.startTimeout);
  const { code, signal } = await child.exited;
  clearTimeout(limit);
  if (code === DENO_FAILED && signal === null) {
    const refusal = await findRefusal(spec, workshop.library);
    if (refusal !== undefined) throw refusalError(refusal);
  }
  return code === 0;
}

async function loadInTime(spec: ChildSpec, timeout: number): Promise<ChildSpec["graph"]> {
  const signal = AbortSignal.timeout(timeout);
  try {
    return await loadModules(spec, { signal });
  } catch (error) {
    if (!signal.aborted) throw error;
    throw new Error(`Cannot load the handler "${spec.handler}": ${MODULES_LATE}`);
  }
}
