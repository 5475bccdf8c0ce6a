/**
 * Services that the server was not given: workers that speak Majordomo make them, by the name that they say READY with,
 * and clients that speak it may wait for one. Such a service ends some time after its last worker has left.
 *
 *     (absent) ─a client asks→ awaited ─READY→ served ⇄ deserted
 *                                 └── expiry: 404 ──┴──→ (absent)
 *
 * @module
 */

import type { Worker } from "../broker/job.ts";
import { Code } from "../wire/request.ts";
import { isServiceName, SERVICE_NAME_RULE, whySetAside } from "../wire/service_name.ts";
import type { Body } from "./body.ts";
import { type EventQueue, serviceField } from "./event_queue.ts";
import type { LoopLimits, MadeChange, MdpWorkersRule } from "./messages.ts";
import type { Services } from "./services.ts";
import type { Unit } from "./unit.ts";

/** How services are made. */
export interface MadeOptions extends MadeChange {
  /** How long one without workers lives, ms. */
  expiry: number;
}

/** What services are made with. */
export interface MadeGround {
  services: Services;
  events: EventQueue;
}

interface Made {
  readonly unit: Unit;
  /** Since when it has had no worker, ms; undefined: it has one. */
  emptySince: number | undefined;
}

/** Maximum services that are made, and of these that are only awaited. */
const MOST = 1000;
const MOST_AWAITED = 500;

/** The services that were made. */
export class MadeServices {
  readonly #services: Services;
  readonly #events: EventQueue;
  readonly #expiry: number;
  #limits: LoopLimits;
  #workers: MdpWorkersRule;
  readonly #all = new Map<string, Made>();
  /** Numbers of these workers are negative: those of processes are not. */
  #lastNumber = 0;
  #isOpen = true;

  /** Has made none yet. */
  constructor({ services, events }: MadeGround, options: MadeOptions) {
    this.#services = services;
    this.#events = events;
    this.#expiry = options.expiry;
    this.#limits = single(options.limits);
    this.#workers = options.workers;
  }

  /** Makes services by other bounds, and for other workers, from now on. */
  configure({ limits, workers }: MadeChange): void {
    this.#limits = single(limits);
    this.#workers = workers;
    for (const { unit } of this.#all.values()) unit.configure(this.#limits);
  }

  /** A worker is ready for a service: returns it, or why it may not be one. `user`: see `MdpLink`. */
  join(name: string, address: string, user: string, now: number): Worker<Body> | string {
    const unit = this.#unitFor(name, user, now);
    if (typeof unit === "string") return unit;
    const worker = unit.broker.workforce.add(--this.#lastNumber, now, "one");
    unit.foreign++;
    const fields = { worker: worker.id, address, ...(user !== "" && { user }) };
    this.#log("info", "Majordomo's worker is ready", unit, fields);
    return worker;
  }

  /** The service that a user's worker joins, or why it may not. */
  #unitFor(name: string, user: string, now: number): Unit | string {
    const known = this.#all.get(name);
    const hosted = known === undefined ? this.#services.named(name) : undefined;
    if (hosted !== undefined) {
      return hosted.admitsWorker(user) ? hosted : whyNot(this.#workers, user);
    }
    if (!this.#admits(user)) return whyNot(this.#workers, user);
    const fault = isServiceName(name) ? whySetAside(name) : `it must serve ${SERVICE_NAME_RULE}`;
    if (fault !== undefined) return fault;
    const made = known ?? this.#make(name, MOST, now);
    if (typeof made === "string") return made;
    made.emptySince = undefined;
    made.unit.isAwaited = false;
    return made.unit;
  }

  /** Whether some may be workers. */
  get admitsWorkers(): boolean {
    return this.#workers !== "none";
  }

  #admits(user: string): boolean {
    const rule = this.#workers;
    return rule === "any" || (rule !== "none" && rule.includes(user));
  }

  /** A client asks a service: if there is none, one is waited for. */
  expect(name: string, now: number): void {
    if (this.#workers === "none") return;
    if (this.#services.named(name) !== undefined || !isServiceName(name)) return;
    if (whySetAside(name) !== undefined) return;
    const made = this.#make(name, MOST_AWAITED, now);
    if (typeof made === "object") made.unit.isAwaited = true;
  }

  /** Makes no more: the server stops. */
  close(): void {
    this.#isOpen = false;
  }

  #make(name: string, most: number, now: number): Made | string {
    if (!this.#isOpen) return "the server stops";
    if (this.#all.size >= most) return `there are ${this.#all.size} services of workers already`;
    const limits = this.#limits;
    const made: Made = {
      unit: this.#services.add({ name, limits, users: undefined }),
      emptySince: now,
    };
    this.#all.set(name, made);
    return made;
  }

  /** A worker is gone. */
  gone(worker: Worker<Body>, end: "left" | "died", reason: string, now: number): void {
    const unit = this.#services.of(worker);
    const level = end === "died" ? "warn" : "info";
    this.#log(level, "Majordomo's worker is gone", unit, { worker: worker.id, reason });
    unit.foreign--;
    unit.broker.workforce.processEnded(worker.id, worker, "itself", now);
    unit.broker.workforce.remove(worker, end, now);
    const made = this.#all.get(unit.name);
    if (made !== undefined && unit.broker.workers.size === 0) made.emptySince = now;
  }

  #log(
    level: "info" | "warn",
    message: string,
    { name }: Unit,
    fields: Record<string, string | number>,
  ): void {
    this.#events.add({
      ...{ type: "log", level, message },
      fields: { ...serviceField(name), ...fields },
    });
  }

  /** Ends services that have had no worker for too long; returns ms until it must run again. */
  tick(now: number): number {
    let wait = Infinity;
    for (const made of this.#all.values()) {
      if (made.emptySince === undefined) continue;
      const left = made.emptySince + this.#expiry - now;
      wait = Math.min(wait, left > 0 || !this.#end(made.unit, now) ? Math.max(1, left) : Infinity);
    }
    return wait;
  }

  /** Answers 404 to all that wait, and takes the service out; false: it can't be yet. */
  #end(unit: Unit, now: number): boolean {
    const { name, broker, replies } = unit;
    broker.rejectWaiting(Code.notFound, noWorker(name));
    replies.sendEnded(now);
    if (!broker.idle) return false;
    this.#all.delete(name);
    this.#services.remove(unit);
    return true;
  }
}

/** Workers that speak Majordomo run one job at a time. */
function single(limits: LoopLimits): LoopLimits {
  return { ...limits, concurrency: 1, prefetch: 1 };
}

function whyNot(rule: MdpWorkersRule, user: string): string {
  if (rule === "any") {
    return "the service has a handler, and the worker is none of those that may join";
  }
  return user === ""
    ? "nobody may be a worker without a key that is listed for it"
    : `the user ${JSON.stringify(user)} may not be a worker of it`;
}

function noWorker(name: string): string {
  return `The server has no service ${JSON.stringify(name)}: no worker came for it in time`;
}
