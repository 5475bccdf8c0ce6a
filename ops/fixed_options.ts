/**
 * Options that a reload leaves as they are: those of the sockets, the process and the log.
 *
 * @module
 */

import type { Settings } from "../options/settings.ts";

const FIXED = [
  "frontend",
  "mdp",
  "backend",
  "curveSecretKey",
  "transport",
  "connectionBytes",
  "handshakeTimeout",
  "heartbeatInterval",
  "keepAlive",
  "maxConnectionRate",
  "maxMessageSize",
  "maxFrames",
  "pidFile",
  "user",
  "group",
  "background",
  "logFile",
  "logFormat",
  "logLevel",
  "accessLog",
] as const;

/** The settings to go on with after a reload; `warn` gets a remark for each change that has no effect. */
export function keepFixed(
  before: Settings,
  next: Settings,
  warn: (remark: string) => void,
): Settings {
  const kept = { ...next, handleSignals: before.handleSignals };
  for (const name of FIXED) {
    if (JSON.stringify(next[name]) !== JSON.stringify(before[name])) {
      warn(`a changed "${name}" is applied after a restart only`);
    }
    Object.assign(kept, { [name]: before[name] });
  }
  // The key stays in use, so its list of clients must too.
  if (kept.curveSecretKey !== undefined) kept.curveClients ??= before.curveClients;
  return kept;
}
