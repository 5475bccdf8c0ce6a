/**
 * What a server is to start, as its options say: how the workers of each service are started, and where the files of
 * all of them lie. Starts nothing.
 *
 * @module
 */

import { hostedServices } from "../options/hosted.ts";
import type { Settings } from "../options/settings.ts";
import type { PremisesOptions } from "../system/premises.ts";
import { laneOf, libraryOf } from "./lanes.ts";
import { specOf } from "./service_host.ts";
import type { ServicePlan } from "./services.ts";
import type { WorkerProgram } from "./worker_program.ts";

/**
 * The services of a server, the one without a name first.
 *
 * @param workerModule What runs in workers.
 * @throws {Error} naming the service, when its workers can't be started so.
 */
export function planServices(
  settings: Settings,
  workerModule: string,
  program: WorkerProgram,
): ServicePlan[] {
  return hostedServices(settings).map(([name, own]) => (
    { name, settings: own, spec: specOf(name, own, workerModule, program) }
  ));
}

/**
 * What the premises of a server are made for.
 *
 * @param library The file of libzmq.
 */
export function placesOf(
  settings: Settings,
  plans: readonly ServicePlan[],
  library: string,
): PremisesOptions {
  const { join, backend = join, pidFile } = settings;
  // Workers of all services run as the same user.
  const [first] = plans;
  return {
    backend,
    pidFile,
    workers: first?.spec ?? { uid: undefined, gid: undefined },
    library: libraryOf(laneOf(settings), library),
  };
}
