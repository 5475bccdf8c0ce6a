/**
 * Which of the server's endpoints the sockets are for that a service manager has passed on.
 *
 * @module
 */

import { allEndpoints } from "../options/hosted.ts";
import type { Settings } from "../options/settings.ts";
import type { SocketOptions } from "../ports/socket_options.ts";
import type { PassedListener } from "../system/passed_listeners.ts";

type Passed = NonNullable<SocketOptions["passed"]>;

/**
 * The sockets by the endpoints that they are for.
 *
 * @throws {Error} when one is for no endpoint: whoever connects there would never be answered.
 */
export function assignSockets(
  settings: Settings,
  listeners: readonly PassedListener[],
): Passed {
  const endpoints = [...allEndpoints(settings), ...settings.mdp, ...settings.events];
  const assigned = new Map<string, { fd: number; endpoint: string }>();
  for (const { fd, endpoint, isAt } of listeners) {
    const meant = endpoints.find((each) => !assigned.has(each) && isAt(each));
    if (meant === undefined) {
      throw new Error(
        `The socket at "${endpoint}" that LISTEN_FDS passes must be one of "frontend", "mdp", "jobs" or "events": ` +
          `current ones are ${endpoints.map((each) => `"${each}"`).join(", ")}`,
      );
    }
    assigned.set(meant, { fd, endpoint });
  }
  return assigned;
}
