/**
 * How a server did over the last minutes: what the page plots, and the rates of its state. Works out what came
 * between two readings of counters that only grow. Knows no clock and no timer: recorder.ts feeds it.
 *
 * @module
 */

import {
  countOf,
  difference,
  noSpread,
  quantile,
  type Spread,
  together,
} from "../broker/histogram.ts";
import type { Rates } from "../ops/status.ts";
import type { Measures, ServiceMeasures } from "../ports/measures.ts";

/** The last minutes in steps of a second, the oldest first; all lists are of one length. */
export interface HistoryView {
  /** Time between two steps, ms. */
  stepMs: number;
  /** When the last step ended, ms since 1970. */
  until: number;
  /** Requests that were answered in each second. */
  requests: number[];
  /** Those of them that were answered with an error of the server or of its handler (5xx). */
  errors: number[];
  /** The time that half of the requests took at most, from arrival to answer, ms; null where there were none. */
  p50Ms: (number | null)[];
  /** The time that 99 of 100 requests took at most, likewise. */
  p99Ms: (number | null)[];
  /** Requests that waited for a worker at the end of each step. */
  queue: number[];
  /** Requests that workers had then. */
  running: number[];
  /** Workers that were in service then. */
  workers: number[];
}

/** What is read once in a step. */
export interface Reading {
  /** When, monotonic ms. */
  at: number;
  /** The same, ms since 1970. */
  time: number;
  measures: Measures;
}

/** Time between two steps, ms. */
export const STEP_MS = 1000;
/** Steps that are kept: 15 minutes. */
const STEPS = 900;
/** Steps that the times of `Rates` are taken from where there were no requests in the last one. */
const RECENT_STEPS = 10;
const SERVER_ERROR = 500;
const NO_RATES: Rates = { requests: 0, errors: 0, p50Ms: undefined, p99Ms: undefined };

/** What came between two readings. */
interface Step {
  requests: number;
  errors: number;
  total: Spread;
}

/** The last minutes of a server, and the last seconds of each service. */
export class History {
  #last: Reading | undefined;
  /** How long the last step took, ms. */
  #elapsedMs = STEP_MS;
  #recent: Step[] = [];
  #recentOf = new Map<string, Step[]>();
  readonly #lists: Omit<HistoryView, "stepMs" | "until"> = {
    requests: [],
    errors: [],
    p50Ms: [],
    p99Ms: [],
    queue: [],
    running: [],
    workers: [],
  };

  /** Takes the next reading in. The first one says nothing of what came before it. */
  add(reading: Reading): void {
    const last = this.#last;
    this.#last = reading;
    if (last === undefined) return;
    this.#elapsedMs = Math.max(1, reading.at - last.at);
    const steps = stepsOf(reading.measures, last.measures);
    const all = [...steps.values()].reduce(joined, NOTHING);
    this.#recent = recent(this.#recent, all);
    this.#recentOf = new Map(
      [...steps].map(([name, step]) => [name, recent(this.#recentOf.get(name) ?? [], step)]),
    );
    this.#note(all, reading);
  }

  #note({ requests, errors, total }: Step, { measures: { services } }: Reading): void {
    const lists = this.#lists;
    // Where readings came late, the steps that were missed had the same rate.
    const missed = Math.min(STEPS, Math.max(1, Math.round(this.#elapsedMs / STEP_MS)));
    for (let step = 0; step < missed; step++) {
      put(lists.requests, this.#perSecond(requests));
      put(lists.errors, this.#perSecond(errors));
      put(lists.p50Ms, millis(quantile(total, 0.5)) ?? null);
      put(lists.p99Ms, millis(quantile(total, 0.99)) ?? null);
      put(lists.queue, services.reduce((sum, { queued }) => sum + queued, 0));
      put(lists.running, services.reduce((sum, { running }) => sum + running, 0));
      put(lists.workers, services.reduce((sum, { workers }) => sum + workers, 0));
    }
  }

  #perSecond(count: number): number {
    return rounded(count * 1000 / this.#elapsedMs);
  }

  /** How many requests a service answers, and how quickly; all services together if none is named. */
  rates(service?: string): Rates {
    const steps = service === undefined ? this.#recent : this.#recentOf.get(service) ?? [];
    const last = steps.at(-1);
    if (last === undefined) return NO_RATES;
    const total = countOf(last.total) > 0
      ? last.total
      : steps.reduce((sum, { total }) => together(sum, total), noSpread());
    return {
      requests: this.#perSecond(last.requests),
      errors: this.#perSecond(last.errors),
      p50Ms: millis(quantile(total, 0.5)),
      p99Ms: millis(quantile(total, 0.99)),
    };
  }

  /** All steps. */
  read(): HistoryView {
    return { stepMs: STEP_MS, until: this.#last?.time ?? 0, ...this.#lists };
  }
}

const NOTHING: Step = { requests: 0, errors: 0, total: noSpread() };

/** What came of each service. One that was not there before has begun at 0, and one that is gone has no step. */
function stepsOf(later: Measures, earlier: Measures): Map<string, Step> {
  const before = new Map(earlier.services.map((service) => [service.name, service]));
  return new Map(later.services.map((service) => [
    service.name,
    stepOf(service, before.get(service.name)),
  ]));
}

function stepOf(later: ServiceMeasures, earlier: ServiceMeasures | undefined): Step {
  const now = countsOf(later);
  const then = earlier === undefined ? NOTHING : countsOf(earlier);
  // One that has less was taken out and added again: it has begun at 0.
  if (now.requests < then.requests) return now;
  return {
    requests: now.requests - then.requests,
    errors: now.errors - then.errors,
    total: difference(now.total, then.total),
  };
}

function countsOf({ replies, total }: ServiceMeasures): Step {
  let requests = 0;
  let errors = 0;
  for (const [code, count] of Object.entries(replies)) {
    requests += count;
    if (Number(code) >= SERVER_ERROR) errors += count;
  }
  return { requests, errors, total };
}

function joined(one: Step, other: Step): Step {
  return {
    requests: one.requests + other.requests,
    errors: one.errors + other.errors,
    total: together(one.total, other.total),
  };
}

function recent(steps: readonly Step[], next: Step): Step[] {
  return [...steps.slice(1 - RECENT_STEPS), next];
}

function put<T>(list: T[], value: T): void {
  list.push(value);
  if (list.length > STEPS) list.shift();
}

function millis(micros: number | undefined): number | undefined {
  return micros === undefined ? undefined : rounded(micros / 1000);
}

/** To three digits after the point: more would be no news, and twice the text. */
function rounded(value: number): number {
  return Math.round(value * 1000) / 1000;
}
