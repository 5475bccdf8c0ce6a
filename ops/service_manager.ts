/**
 * The service manager that has started this process, such as systemd: what it has passed on, and what it wants to
 * hear. Its variables are read here alone. A server that leaves the signals to its program leaves this to it, too.
 *
 * @module
 */

import type { Settings } from "../options/settings.ts";
import { messageOf } from "../system/errors.ts";
import { openNotifySocket } from "../system/notify_socket.ts";
import { takePassedListeners } from "../system/passed_listeners.ts";
import { readVariable } from "../system/variables.ts";
import type { Log } from "./log.ts";
import { Notifier, watchdogInterval } from "./notify.ts";
import { assignSockets } from "./passed_sockets.ts";

/** The variable that names the socket of a manager that wants to hear of this process. */
export const NOTIFY_VARIABLE = "NOTIFY_SOCKET";

/**
 * Connects to a manager that wants to hear of this process; undefined: none does, or none can be told.
 *
 * @param library A library that is linked to the C library.
 */
export function openNotifier(
  { handleSignals }: Settings,
  library: string,
  log: Log,
): Notifier | undefined {
  const address = handleSignals ? readVariable(NOTIFY_VARIABLE) : undefined;
  if (address === undefined || address === "") return undefined;
  const watchdog = { usec: readVariable("WATCHDOG_USEC"), pid: readVariable("WATCHDOG_PID") };
  try {
    return new Notifier(openNotifySocket(library, address), watchdogInterval(watchdog, Deno.pid));
  } catch (error) {
    log.warn("the service manager hears nothing", { error: messageOf(error) });
    return undefined;
  }
}

/**
 * The sockets that a manager has passed to this process, by the endpoints that they are for.
 *
 * @param library A library that is linked to the C library.
 * @throws {Error} when one is not what the server can use.
 */
export function passedSockets(
  settings: Settings,
  library: string,
): ReturnType<typeof assignSockets> {
  if (!settings.handleSignals) return new Map();
  const variables = { count: readVariable("LISTEN_FDS"), pid: readVariable("LISTEN_PID") };
  return assignSockets(settings, takePassedListeners(library, variables, Deno.pid));
}
