/**
 * What Deno is asked before it runs workers, by processes that run nothing of a handler: to bring the
 * handler's modules into its cache, and whether it refuses the workers' flags.
 *
 * @module
 */

import { type ChildSpec, runDeno } from "./child.ts";
import { hostOf, loadFlags, translateFlags, workerFlags } from "./flags.ts";
import { type Graph, NO_MODULES, readGraph } from "./modules.ts";
import { trialModule } from "./sandbox.ts";
import { messageOf } from "../system/errors.ts";

/** How modules are loaded. */
interface LoadOptions {
  /** Ends the process. */
  signal?: AbortSignal;
  /** The folder to start it in; undefined: this process's. */
  cwd?: string;
}

/** Maximum characters of what Deno says of a lock that does not fit. */
const LONGEST_REASON = 2000;

/**
 * Has Deno bring the modules of a handler into its cache, as the workers' user and under the workers'
 * rules of resolution, and gives what they are. Runs none of them.
 *
 * @throws {Error} naming the lock, or with Deno's own message, when they can't be loaded so.
 */
export async function loadModules(spec: ChildSpec, options: LoadOptions = {}): Promise<Graph> {
  const { handler = "", workerModule } = spec;
  if (spec.program.isCompiled) return NO_MODULES;
  if (!workerModule.startsWith("file:")) {
    const plain = { ...spec, configFile: undefined, mapFile: undefined, lockFile: undefined };
    await runLoad(spec, [...loadFlags(plain), workerModule], options);
  }
  // Deno lists nothing of these, and what they import is not known before they run.
  if (isInline(handler)) return NO_MODULES;
  try {
    return readGraph(await runLoad(spec, [...loadFlags(spec), handler], options), hostOf);
  } catch (error) {
    throw new Error(`Cannot load the handler "${handler}": ${explain(spec, error)}`);
  }
}

/**
 * Has Deno put what it makes of a handler's TypeScript into its cache. Workers write no files: what they don't find
 * there they make anew at each start, and Deno tries for 0.15 s to keep it. Runs none of the modules. Where it fails,
 * workers only start later, and say what is wrong themselves.
 */
export async function translateModules(spec: ChildSpec, options: LoadOptions): Promise<void> {
  const { handler = "data:" } = spec;
  if (isInline(handler) || spec.program.isCompiled) return;
  const args = [...translateFlags(spec), handler];
  await runDeno(spec, { args, permissions: {}, ...options }).catch(() => {});
}

function isInline(handler: string): boolean {
  return /^(data|blob):/.test(handler);
}

async function runLoad(spec: ChildSpec, args: string[], options: LoadOptions): Promise<string> {
  const { stdout, error } = await runDeno(spec, { args, permissions: {}, ...options });
  if (error !== undefined) throw new Error(shorten(error).slice(0, LONGEST_REASON));
  return stdout;
}

/** Deno's message, with the name of the user's lock if that is at fault: Deno saw a copy of it. */
function explain({ config, lockFile }: ChildSpec, error: unknown): string {
  const message = messageOf(error);
  const lock = lockFile !== undefined && message.includes("lockfile") ? config?.lock : undefined;
  return lock === undefined ? message : `"${lock.file}" does not fit it: ${message}`;
}

/** What keeps Deno from running any worker of a spec. */
export interface Refusal {
  /** Deno's own message. */
  reason: string;
  /** The permission that Deno can't grant so; undefined: a file is at fault, such as a configuration. */
  permission: string | undefined;
}

/** The error of a start that can never succeed: a grant is a matter of usage. */
export function refusalError({ reason, permission }: Refusal): Error {
  if (permission === undefined) return new Error(`Cannot start a worker: ${reason}`);
  const name = `"permissions.${permission}" (--handler-allow-${permission})`;
  return new RangeError(`Cannot start: ${name} must be what Deno can grant: ${reason}`);
}

/** Time by which a process that runs nothing is over. */
const TRIAL_LIMIT_MS = 10_000;

/** Asks Deno, by a process that loads no handler, whether it refuses to run workers at all. */
export async function findRefusal(spec: ChildSpec, library: string): Promise<Refusal | undefined> {
  if (spec.program.isCompiled) return undefined;
  const reason = await tryFlags(spec, library);
  if (reason === undefined) return undefined;
  const plain = await tryFlags({ ...spec, permissions: {} }, library);
  for (const [name, granted] of plain === undefined ? Object.entries(spec.permissions) : []) {
    const refused = await tryFlags({ ...spec, permissions: { [name]: granted } }, library);
    if (refused !== undefined) return { reason: refused, permission: name };
  }
  return { reason, permission: undefined };
}

/** Why Deno does not run the worker's own modules with these flags; undefined: it does. */
async function tryFlags(spec: ChildSpec, library: string): Promise<string | undefined> {
  const { error } = await runDeno(spec, {
    args: [...workerFlags(spec, library), trialModule(spec)],
    permissions: spec.permissions,
    signal: AbortSignal.timeout(TRIAL_LIMIT_MS),
  });
  return error && shorten(error);
}

/** Deno's message in one line, without its stack, and without a cause 0, which only repeats it. */
function shorten(message: string): string {
  return message.replace(/\s*Stack backtrace:[^]*$/, "").replace(/\s*Caused by:\s*0:[^]*$/, "")
    .replace(/^error: /, "").trim()
    .replace(/\.?\s*Caused by:\s*/, ": ").replaceAll(/\s*\n\s*/g, " ");
}
