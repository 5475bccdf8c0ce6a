/**
 * What a node knows of each service: the room that its plane has, the rate, and groups with what is held of them. The
 * next jobs of a full group are held in their order, and what comes beyond these is sent back.
 *
 * @module
 */

import type { StoreConfig, ToStore } from "./messages.ts";
import type { Frames } from "./messages.ts";
import type { Hint, JobRecord } from "./nats_record.ts";
import { RateLimit } from "./rate.ts";

/** A hint whose group is full: it is the next of it, and no other node's. */
export interface Held {
  hint: Hint;
  body: Frames;
  reply: string;
  storedAt: number;
}

/** Jobs of a group here. */
export interface Group {
  running: number;
  sentBack: number;
  held: Held[];
}

/** What is known of a service here. */
export class Local {
  /** What the plane has said. */
  said = 0;
  /** Jobs that it was given. */
  given = 0;
  /** How many of these it had heard of then; undefined: it does not say. */
  heard: number | undefined;
  givenThen = 0;
  /** Hints whose records are being read. */
  reading = 0;
  isPaused = false;
  rate: RateLimit;
  readonly groups = new Map<string, Group>();
  cancelWake: (() => void) | undefined;

  constructor(rate: RateLimit) {
    this.rate = rate;
  }

  get room(): number {
    return this.said - (this.given - (this.heard ?? this.givenThen)) - this.reading;
  }
}

/** All services of a node. */
export class NatsLocals {
  readonly #config: () => StoreConfig;
  readonly #steady: () => number;
  readonly #all = new Map<string, Local>();

  /** `config`: as it is now. */
  constructor(config: () => StoreConfig, steady: () => number) {
    this.#config = config;
    this.#steady = steady;
  }

  /** What is known of a service; undefined: nobody has asked for it yet. */
  find(service: string): Local | undefined {
    return this.#all.get(service);
  }

  /** All of them. */
  all(): ReadonlyMap<string, Local> {
    return this.#all;
  }

  /** What is known of a service. */
  of(service: string): Local {
    let local = this.#all.get(service);
    if (local === undefined) {
      const rule = this.#config().services[service]?.rate ?? { perSecond: 0, burst: 0 };
      local = new Local(new RateLimit(rule, this.#steady()));
      this.#all.set(service, local);
    }
    return local;
  }

  /** Rules may be others. */
  configure(): void {
    for (const [service, { rate }] of this.#all) {
      const rule = this.#config().services[service]?.rate;
      if (rule !== undefined) rate.configure(rule, this.#steady());
    }
  }

  /** What the plane has said. */
  setRoom({ service, jobs, heard }: Extract<ToStore, { type: "room" }>): void {
    const local = this.of(service);
    local.said = Math.max(0, jobs);
    local.heard = heard;
    local.givenThen = local.given;
  }

  /** All that is held. */
  *held(): Generator<Held> {
    for (const { groups } of this.#all.values()) {
      for (const { held } of groups.values()) yield* held;
    }
  }

  /** What is held of a job. */
  heldOf({ id, service, group }: JobRecord): Held | undefined {
    const known = group === "" ? undefined : this.#all.get(service)?.groups.get(group);
    return known?.held.find(({ hint }) => hint.record.id === id);
  }

  /** Whether a job must wait for its group. */
  isFull({ service, group }: JobRecord): boolean {
    const known = group === "" ? undefined : this.#all.get(service)?.groups.get(group);
    // Who comes later waits behind those that are held.
    return known !== undefined &&
      (known.running >= this.#mostOf(service) || known.held.length > 0);
  }

  /** Holds it; a number: it is not held, as so many of its group were sent back already. */
  hold(held: Held): number | undefined {
    const { service, group } = held.hint.record;
    const known = this.#groupOf(service, group);
    if (known.held.length >= this.#mostOf(service)) return ++known.sentBack;
    known.held.push(held);
    return undefined;
  }

  /** A job starts; false: its group is full. */
  enter({ service, group }: JobRecord): boolean {
    if (group === "") return true;
    const known = this.#groupOf(service, group);
    if (known.running >= this.#mostOf(service)) return false;
    known.running++;
    return true;
  }

  /** A job that has started is not running any more. */
  leave({ service, group }: JobRecord): void {
    const known = this.#all.get(service)?.groups.get(group);
    if (known === undefined) return;
    known.running--;
    known.sentBack = 0;
    this.#tidy(service, group, known);
  }

  /** Takes out those of a service that may start now, one of each group. */
  takeHeld(service: string, room: number): Held[] {
    const taken: Held[] = [];
    for (const known of this.#all.get(service)?.groups.values() ?? []) {
      if (taken.length >= room) break;
      const next = known.running < this.#mostOf(service) ? known.held.shift() : undefined;
      if (next !== undefined) taken.push(next);
    }
    return taken;
  }

  #mostOf(service: string): number {
    return this.#config().services[service]?.maxRunningPerGroup || Infinity;
  }

  #groupOf(service: string, group: string): Group {
    const { groups } = this.of(service);
    let known = groups.get(group);
    if (known === undefined) groups.set(group, known = { running: 0, sentBack: 0, held: [] });
    return known;
  }

  #tidy(service: string, group: string, known: Group): void {
    if (known.running <= 0 && known.held.length === 0) this.of(service).groups.delete(group);
  }
}
