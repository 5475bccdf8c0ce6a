/**
 * A process that joins a server on another machine, as its options say: its keys, and what its services are called
 * there.
 *
 * @module
 */

import { openJoinKeys } from "../auth/join_keys.ts";
import type { Log } from "../ops/log.ts";
import { hostedServices } from "../options/hosted.ts";
import type { Settings } from "../options/settings.ts";
import type { Library } from "../zmq/library.ts";
import { JoinedPlane, type JoinedPlaneListener } from "./joined_plane.ts";

/** How a server is joined. */
export interface Joining {
  /** Makes the way to the server, which nothing is sent over before it runs. */
  open(listener: JoinedPlaneListener): JoinedPlane;
}

/**
 * Reads the keys; undefined: no server is to be joined.
 *
 * @throws {Error} when a key can't be read or is wrong.
 */
export function openJoining(settings: Settings, library: Library, log: Log): Joining | undefined {
  const { join: endpoint, joinService = "" } = settings;
  const own = openJoinKeys(settings, library);
  if (endpoint === undefined || own === undefined) return undefined;
  const { serverKey, keys } = own;
  const services = new Map(
    hostedServices(settings).map(([name]) => [name, name === "" ? joinService : name]),
  );
  const { hardwareConcurrency: cpus } = navigator;
  const options = { endpoint, serverKey, keys, services, log, cpus };
  return { open: (listener) => new JoinedPlane(library, options, listener) };
}
