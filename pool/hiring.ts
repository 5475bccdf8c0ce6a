/**
 * Starts worker processes: gives each its token, its keys and its orders.
 *
 * @module
 */

import type { OpenFiles } from "../ops/open_files.ts";
import type { NewProcess } from "../ports/messages.ts";
import type { WorkerKeys } from "../wire/worker_config.ts";
import { type Child, spawnRecruit } from "./child.ts";
import type { HandlerCode } from "./handler_code.ts";
import { buildOrders, type OrderSettings, type Workshop } from "./orders.ts";
import type { PrintedLines } from "./printed_lines.ts";
import type { Recruits } from "./recruits.ts";
import type { Purpose } from "./supervisor.ts";

/** What workers are started with. */
export interface HiringParts {
  /** The service that the workers serve; "": the one without a name. */
  readonly service: string;
  readonly code: HandlerCode;
  readonly files: Pick<OpenFiles, "require">;
  /** Takes what workers print. */
  readonly prints: PrintedLines;
  /** Processes that wait for orders. */
  readonly recruits: Recruits;
  /** The options of now. */
  settings(): OrderSettings;
  /** What workers are told of the server, as it is now. */
  workshop(): Workshop;
  /** Token and keys of a worker, which has no keys where it needs none. */
  credentialsOf(worker: number): { readonly token: string; readonly keys: WorkerKeys | undefined };
}

/** A process that was started. */
export interface Hired {
  readonly child: Child;
  /** What the loop must know of it before it connects. */
  readonly expected: NewProcess;
}

/**
 * Starts a worker.
 *
 * @param starting How many others are starting.
 * @throws {Error} when the system can't start a process.
 */
export function hire(
  worker: number,
  purpose: Purpose,
  starting: number,
  { service, code, files, prints, recruits, settings, workshop, credentialsOf }: HiringParts,
): Hired {
  // First of all: whoever gives it learns by it that a worker is started, or not after all.
  const { token, keys: own } = credentialsOf(worker);
  files.require(starting);
  const keys = purpose === "serve" ? own : undefined;
  const { spec, cwd } = code.placed;
  // Its orders name what was granted, and `spec` what that means where it starts.
  const orders = buildOrders({ service, purpose, token, keys }, code.spec, settings(), workshop());
  const { library } = orders;
  const recruit = recruits.take(code.spec, library) ?? spawnRecruit(spec, library, cwd, "piped");
  const child = recruit.enlist(orders, (from, stream) => prints.read(worker, from, stream));
  return { child, expected: { worker, token, publicKey: keys?.publicKey, pid: child.pid } };
}
