/**
 * What has happened in the loop and the server was not told yet. It is told between the steps of a pass,
 * so that nothing the server does in return changes the broker in the middle of one.
 *
 * @module
 */

import type { LoopEvent, Visit } from "./messages.ts";

/** Events in the order in which they happened. */
export class EventQueue {
  readonly #listener: (event: LoopEvent) => void;
  #events: LoopEvent[] = [];
  /** Requests that have ended: one event for all of a step. */
  #visits: Visit[] = [];

  /** Makes an empty queue; `handOver` gives all events to `listener`. */
  constructor(listener: (event: LoopEvent) => void) {
    this.#listener = listener;
  }

  /** Events that were not told yet. */
  get size(): number {
    return this.#events.length;
  }

  /** Something has happened. */
  add(event: LoopEvent): void {
    this.#events.push(event);
  }

  /** A request has ended. */
  addVisit(visit: Visit): void {
    this.#visits.push(visit);
  }

  /** Tells all events, also those that come of what the listener does. */
  handOver(): void {
    if (this.#visits.length > 0) {
      this.#events.push({ type: "visits", visits: this.#visits });
      this.#visits = [];
    }
    while (this.#events.length > 0) {
      const events = this.#events;
      this.#events = [];
      for (const event of events) this.#listener(event);
    }
  }
}

/** Fields of a log line that say which service it is of: none for the one without a name. */
export function serviceField(service: string): { service?: string } {
  return service === "" ? {} : { service };
}
