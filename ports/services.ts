/**
 * The services of a server, by their names and by their numbers, and what is to be known of all of them together.
 * Decides nothing about jobs.
 *
 * @module
 */

import { type BrokerCounters, newCounters } from "../broker/counters.ts";
import { NAMELESS } from "../broker/job.ts";
import type { JobsLook, Look, ServiceLook, ServiceSetup } from "./messages.ts";
import { Unit, type UnitGround } from "./unit.ts";

/** What a look has of all services together. */
export type ServicesLook = JobsLook & Pick<Look, "services">;

/** Numbers the services that there are from the start. */
export function numberServices<T extends { name: string }>(
  services: readonly T[],
): (T & { number: number })[] {
  let last = NAMELESS;
  return services.map((each) => ({ ...each, number: each.name === "" ? NAMELESS : ++last }));
}

/** In place of a service's number at endpoints where plain clients speak of stored jobs alone: no service gets there. */
export const JOBS_ALONE = 2 ** 31 - 1;
/** What such endpoints are called among those of services. */
export const JOBS_BINDING = "job.";

/** The services. */
export class Services {
  readonly #ground: UnitGround;
  /** All of them, in the order in which they came. */
  readonly #all: Unit[] = [];
  /** The only one; undefined: there are several, or none. */
  #only: Unit | undefined;
  readonly #byName = new Map<string, Unit>();
  /** By their numbers; what has asked one that is gone waits for nothing, and so its number can be used again. */
  readonly #byNumber: (Unit | undefined)[] = [];
  /** Whether workers are read where clients are: then these are read whatever is full. */
  isReadForWorkers = false;
  /** What services that are gone have counted. */
  readonly #former = newCounters();

  /** Has none yet. */
  constructor(ground: UnitGround) {
    this.#ground = ground;
  }

  /** All of them. */
  get all(): readonly Unit[] {
    return this.#all;
  }

  /**
   * Adds a service; `number`: one that no service has.
   *
   * @throws {RangeError} when there is one of this name.
   */
  add(setup: Omit<ServiceSetup, "frontend">, number = this.#numberFor(setup.name)): Unit {
    const { name } = setup;
    if (this.#byName.has(name)) {
      throw new RangeError(`Cannot add the service ${JSON.stringify(name)}: there is one already`);
    }
    const unit = new Unit(setup, number, this.#ground);
    this.#all.push(unit);
    this.#noteOnly();
    this.#byName.set(name, unit);
    this.#byNumber[unit.number] = unit;
    return unit;
  }

  /** A number that no service has; one of them is only for the service without a name. */
  #numberFor(name: string): number {
    if (name === "") return NAMELESS;
    const free = this.#byNumber.indexOf(undefined, NAMELESS + 1);
    return free > 0 ? free : Math.max(NAMELESS + 1, this.#byNumber.length);
  }

  /**
   * Takes a service out: it has no workers.
   *
   * @throws {RangeError} when it has jobs.
   */
  remove(unit: Unit): void {
    const { name, number, broker, topics } = unit;
    if (!broker.idle) {
      throw new RangeError(`Cannot remove the service ${JSON.stringify(name)}: it has jobs`);
    }
    this.#all.splice(this.#all.indexOf(unit), 1);
    this.#noteOnly();
    this.#byName.delete(name);
    this.#byNumber[number] = undefined;
    addCounters(this.#former, broker.counters);
    this.#ground.publisher?.remove(topics);
  }

  #noteOnly(): void {
    this.#only = this.#all.length === 1 ? this.#all[0] : undefined;
  }

  /** The service of a name. */
  named(name: string): Unit | undefined {
    return this.#byName.get(name);
  }

  /** The service that has a number. */
  at(number: number): Unit | undefined {
    return this.#byNumber[number];
  }

  /** The service of a client, a worker or the like, which is there as long as they are. */
  of({ service }: { readonly service: number }): Unit {
    const unit = this.#byNumber[service];
    if (unit === undefined) throw new RangeError(`There is no service with number ${service}`);
    return unit;
  }

  /** Whether nothing is to be read: there is one service, and its queue is full. */
  get isBlocked(): boolean {
    // Asked before each message that is read.
    const only = this.#only;
    return only !== undefined && only.broker.admission.isBlocked && !this.isReadForWorkers;
  }

  /** Whether the queue of a service is full and clients of others are to be read on. */
  isCrowded({ broker }: Unit): boolean {
    return (this.#only === undefined || this.isReadForWorkers) && broker.admission.isBlocked;
  }

  /** For how many more requests the queue of a service has room. */
  roomFor(number: number): number {
    return this.#byNumber[number]?.broker.admission.room ?? Infinity;
  }

  /** Jobs that wait for a worker. */
  get queued(): number {
    return this.#sum(({ queued }) => queued);
  }

  /** Their bytes. */
  get queuedBytes(): number {
    return this.#sum(({ queuedBytes }) => queuedBytes);
  }

  /** Jobs that workers have. */
  get running(): number {
    // Asked before each wait.
    let running = 0;
    for (const { broker } of this.#all) running += broker.assigned;
    return running;
  }

  /** Answers of workers that had no valid code. */
  get invalidReplies(): number {
    return this.#all.reduce((sum, { replies, parts }) => sum + replies.replaced + parts.invalid, 0);
  }

  /** What was counted since the start, all services together. */
  get counters(): BrokerCounters {
    const counters = { ...this.#former };
    for (const { broker } of this.#all) addCounters(counters, broker.counters);
    return counters;
  }

  /** How things are. */
  look(): ServicesLook {
    const there = this.#all.filter(({ isAwaited }) => !isAwaited);
    const services = new Map(there.map((unit) => [unit.name, unit.look()]));
    const looks = [...services.values()];
    return {
      queued: this.queued,
      queuedBytes: this.queuedBytes,
      running: this.running,
      foreign: looks.reduce((sum, { foreign }) => sum + foreign, 0),
      lastJobAt: looks.reduce((last, { lastJobAt }) => Math.max(last, lastJobAt), 0),
      serviceTime: meanOf(looks),
      services,
      counters: this.counters,
    };
  }

  #sum(of: (broker: Unit["broker"]) => number): number {
    let sum = 0;
    for (const { broker } of this.#all) sum += of(broker);
    return sum;
  }
}

function addCounters(to: BrokerCounters, from: BrokerCounters): void {
  to.requests += from.requests;
  to.answered += from.answered;
  to.failed += from.failed;
  to.refused += from.refused;
  to.rejected += from.rejected;
  to.expired += from.expired;
  to.abandoned += from.abandoned;
  to.returned += from.returned;
  to.lost += from.lost;
  to.overran += from.overran;
  to.displaced += from.displaced;
  to.cancelled += from.cancelled;
  to.joined += from.joined;
  to.cached += from.cached;
  to.strayReplies += from.strayReplies;
}

/** What handlers take, ms: each service counts by the jobs that it has answered; undefined: none has. */
function meanOf(looks: readonly ServiceLook[]): number | undefined {
  let sum = 0;
  let jobs = 0;
  for (const { serviceTime, counters: { answered } } of looks) {
    if (serviceTime === undefined || answered === 0) continue;
    sum += serviceTime * answered;
    jobs += answered;
  }
  return jobs === 0 ? undefined : sum / jobs;
}
