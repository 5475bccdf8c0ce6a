/**
 * What the server says of itself to those who have subscribed: topics and JSON for those of its events that are meant
 * for them. Error texts are not: whoever reaches the endpoint hears this.
 *
 * @module
 */

import type { Events, ServerEvents } from "./events.ts";

/** What is published of an event. */
type Rows = { readonly [Name in keyof ServerEvents]?: (event: ServerEvents[Name]) => Told };

/** A topic, and what there is to say. */
interface Told {
  topic: string;
  data: object;
}

const ROWS: Rows = {
  workerSpawned: (data) => ({ topic: "worker.spawned", data }),
  workerReady: (data) => ({ topic: "worker.ready", data }),
  workerExited: (data) => ({ topic: "worker.exited", data }),
  poolJoined: ({ address: _, ...data }) => ({ topic: "pool.joined", data }),
  poolLeft: ({ address: _, ...data }) => ({ topic: "pool.left", data }),
  reloaded: (event) => ({ topic: "reload", data: { ok: true, ...event } }),
  reloadFailed: ({ message: _, ...event }) => ({ topic: "reload", data: { ok: false, ...event } }),
};

/** Has `publish` told of each later event that is meant for those who have subscribed. */
export function publishEvents(
  events: Pick<Events, "subscribe">,
  publish: (topic: string, json: string) => void,
): void {
  events.subscribe((name, event) => {
    const row: ((event: ServerEvents[typeof name]) => Told) | undefined = ROWS[name];
    const told = row?.(event);
    if (told !== undefined) publish(told.topic, JSON.stringify(told.data));
  });
}
