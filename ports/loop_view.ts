/**
 * How things are in the loop, of all its parts together. Changes nothing.
 *
 * @module
 */

import type { LogFields } from "../wire/job.ts";
import type { Audience } from "./audience.ts";
import type { Lane } from "./lane.ts";
import type { Measures } from "./measures.ts";
import type { Look, SocketCounters } from "./messages.ts";
import type { Publisher } from "./publisher.ts";
import type { Reception } from "./reception.ts";
import type { Services } from "./services.ts";
import type { Source } from "./source.ts";
import type { Workers } from "./workers.ts";
import type { Wrong, WrongCounts } from "./wrongs.ts";

/** What is looked at. */
export interface ViewedParts {
  readonly services: Services;
  readonly source: Source;
  readonly lane: Lane;
  readonly workers: Workers;
  /** Undefined where nobody can subscribe to events. */
  readonly audience: Audience | undefined;
  readonly publisher: Publisher | undefined;
  readonly reception: Reception;
}

const NO_EVENTS = { events: 0, eventsDropped: 0 };

/** The parts of one loop. */
export class LoopView {
  readonly #parts: ViewedParts;
  /** What subscribers had done wrong when the last of that was asked for. */
  readonly #told = { denied: 0, malformed: 0 };

  /** Looks at nothing yet. */
  constructor(parts: ViewedParts) {
    this.#parts = parts;
  }

  /** How things are now; `readAt`: when something was last read from clients, ms. */
  look(readAt: number, now: number): Look {
    const { services, source, workers, audience, reception } = this.#parts;
    const { counters, ...jobs } = services.look();
    const { unaddressed } = reception;
    return {
      ...jobs,
      clients: source.clients,
      connections: sum(source.connections(now), audience?.scene?.connections),
      subscribers: audience?.subscribers,
      hasUnsent: source.hasUnsent,
      readAt,
      workers: workers.look(now),
      counters: {
        ...counters,
        requests: counters.requests + unaddressed,
        rejected: counters.rejected + unaddressed,
        ...this.#counters,
      },
    };
  }

  /** What was measured since the start. */
  measure(now: number): Omit<Measures, "lag"> {
    const { services, reception } = this.#parts;
    return {
      services: services.all.map((unit) => unit.measure(now)),
      unaddressed: reception.unaddressed,
    };
  }

  /** How often peers have done what they should not. */
  get wrongs(): WrongCounts {
    return { ...this.#counters, strayReplies: this.#parts.services.counters.strayReplies };
  }

  /** More about the last one of a wrong, whoever did it. */
  lastOf(wrong: Wrong): LogFields {
    const { audience, source } = this.#parts;
    const isTheirs = wrong === "denied" || wrong === "malformed";
    if (audience === undefined || !isTheirs) return source.lastOf(wrong);
    const count = audience.counters[wrong];
    const isNew = count > this.#told[wrong];
    this.#told[wrong] = count;
    if (!isNew) return source.lastOf(wrong);
    return { ...wrong === "denied" ? audience.lastDenial : audience.lastMalformed };
  }

  get #counters(): SocketCounters {
    const { services, source, lane, workers, audience, publisher } = this.#parts;
    const { counters } = source;
    const { denied = 0, malformed = 0 } = audience?.counters ?? {};
    return {
      ...counters,
      denied: counters.denied + denied,
      malformed: counters.malformed + malformed,
      ...publisher?.counters ?? NO_EVENTS,
      intruders: lane.intruders,
      invalidReplies: services.invalidReplies,
      lostJobs: workers.lostJobs,
    };
  }
}

/** What those who have subscribed to "state" are told. */
export function stateOf({ workers, services, lastJobAt: _, readAt: __, ...rest }: Look): object {
  const named = [...services].map(([name, { lastJobAt: _, ...look }]) => [name, look]);
  return { ...rest, workers: workers.size, services: Object.fromEntries(named) };
}

function sum(connections: number | undefined, others = 0): number | undefined {
  return connections === undefined ? undefined : connections + others;
}
