/**
 * How the workers of some settings are started: what their handler needs and may do, and the files that
 * configure them. Not here: the flags that follow from it (flags.ts), and what one worker is told (orders.ts).
 *
 * @module
 */

import type { Settings } from "../options/settings.ts";
import { lookupAccount } from "../system/account.ts";
import type { ChildSpec } from "./child.ts";
import { readHandlerConfig } from "./handler_config.ts";
import { NO_MODULES, scanModules } from "./modules.ts";
import { ownConfig, ownLock, ownMap } from "./own_config.ts";
import type { WorkerProgram } from "./worker_program.ts";

/** None are placed yet. */
const NO_FILES = { configFile: undefined, mapFile: undefined, lockFile: undefined };

/** Where files for workers are put. */
export interface WorkerFiles {
  /** Writes a text that workers can read and nobody can change, and gives its path. */
  place(text: string): string;
  /** Writes a file that only workers can read. */
  write(name: string, text: string): void;
}

/**
 * How workers are started; their files are yet to be placed.
 *
 * @param workerModule The URL of the module that a worker runs.
 * @throws {Error} when the account is not known, or the handler's configuration can't be read.
 * @throws {RangeError} when an option can't be kept by workers of a compiled program.
 */
export function childSpec(
  settings: Pick<Settings, "handler" | "permissions" | "memoryLimit" | "user" | "group">,
  workerModule: string,
  program: WorkerProgram,
): ChildSpec {
  const { handler, permissions, memoryLimit, user, group } = settings;
  const ownAccount = { uid: undefined, gid: undefined };
  const account = user === undefined && group === undefined
    ? ownAccount
    : lookupAccount(user, group);
  const own = { program, workerModule, handler, permissions, memoryLimit, ...NO_FILES, ...account };
  if (program.isCompiled) {
    requireCompilable(settings);
    return { ...own, config: undefined, graph: NO_MODULES };
  }
  const config = readHandlerConfig(handler);
  // Hosts can be granted only once it is known which ones the handler itself comes from.
  const needsHosts = Array.isArray(permissions.import) && permissions.import.length > 0;
  const isRemote = !workerModule.startsWith("file:");
  const graph = needsHosts || isRemote ? undefined : scanModules(handler, config);
  return { ...own, config, graph };
}

/** @throws {RangeError} when there is an option that only Deno's own flags can keep. */
function requireCompilable({ memoryLimit }: Pick<Settings, "memoryLimit">): void {
  if (memoryLimit === 0) return;
  throw new RangeError(
    '"memoryLimit" (--memory-limit) can\'t be set in a compiled program: ' +
      "compile it with --v8-flags=--max-old-space-size=MiB",
  );
}

/**
 * Puts the configuration of workers where they can read it.
 *
 * @throws {Error} when it can't be written.
 */
export function placeConfig(
  spec: ChildSpec,
  files: WorkerFiles,
  handlerLock: "frozen" | "off",
): ChildSpec {
  const { config } = spec;
  if (config === undefined) return spec;
  // Deno looks for it next to the configuration.
  if (config.npmrc !== undefined) files.write(".npmrc", config.npmrc);
  const lock = handlerLock === "off" ? undefined : config.lock;
  return {
    ...spec,
    configFile: files.place(ownConfig(config)),
    mapFile: files.place(ownMap(spec, config)),
    lockFile: lock && files.place(ownLock(config, lock)),
  };
}

/**
 * Makes sure that workers can be started at all.
 *
 * @throws {Deno.errors.NotCapable} when they can't.
 */
export function requireRun(command: string): void {
  if (Deno.permissions.querySync({ name: "run", command }).state === "granted") return;
  throw new Deno.errors.NotCapable(
    `Cannot start workers: Requires run access to "${command}", run again with --allow-run`,
  );
}
