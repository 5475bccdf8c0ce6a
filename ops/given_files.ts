/**
 * Files that an operator has named: checked before anything is opened, bound or started. A file that this
 * process may not read is not checked; opening it fails later.
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import { hostedServices } from "../options/hosted.ts";
import type { Settings } from "../options/settings.ts";
import { isNamedPipe, mayRead, typeOf } from "../system/files.ts";

/**
 * Makes sure that the local handlers of all services are there.
 *
 * @throws {RangeError} when one is not, or is not a file.
 */
export function requireHandlers(settings: Settings): void {
  for (const [name, { handler }] of hostedServices(settings)) {
    requireHandler(name === "" ? '"handler"' : `"services.${name}.handler"`, handler);
  }
}

function requireHandler(subject: string, handler: string | undefined): void {
  if (!handler?.startsWith("file:")) return;
  const path = fileURLToPath(handler);
  const fault = mayRead(path) ? faultOf(path) : undefined;
  if (fault === undefined) return;
  throw new RangeError(
    `Cannot start: ${subject} must be a file that can be read: "${path}" ${fault}`,
  );
}

function faultOf(path: string): string | undefined {
  try {
    const found = Deno.statSync(path);
    if (!found.isFile) return `is a ${typeOf(found)}`;
    Deno.readFileSync(path);
  } catch (error) {
    const isAbsent = error instanceof Deno.errors.NotFound;
    return isAbsent ? "is not there" : "may not be read by this user";
  }
}

/**
 * Makes sure that the log and the keys are not named pipes.
 *
 * @throws {Error} when one of them is.
 */
export function requirePlainFiles(settings: Settings): void {
  const { logFile, curveSecretKey, joinClients, joinSecretKey, joinKey } = settings;
  const accessLog = settings.accessLog === "off" ? undefined : settings.accessLog;
  const curveClients = settings.curveClients === "any" ? undefined : settings.curveClients;
  const keys = { curveSecretKey, curveClients, joinClients, joinSecretKey, joinKey };
  const files = { logFile, accessLog, ...keys };
  for (const [name, path] of Object.entries(files)) {
    if (path === undefined || !mayRead(path) || !isNamedPipe(path)) continue;
    throw new Error(`Cannot use "${path}" as "${name}": it is a named pipe`);
  }
}
