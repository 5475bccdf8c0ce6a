/** Servers in the process of the test. */

import { serve, type ServeOptions, type Server } from "../../mod.ts";

/** A server in this process, that logs nothing. */
export function serveQuietly(options: ServeOptions = {}): Server {
  return serve({ frontend: "tcp://127.0.0.1:0", logLevel: "critical", ...options });
}

/** A handler module as a URL. */
export function moduleOf(source: string): string {
  return `data:application/javascript,${encodeURIComponent(source)}`;
}

/** The first endpoint for clients. */
export function endpointOf(server: Server): string {
  return server.frontend[0] ?? "";
}
