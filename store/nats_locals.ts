/**
 * What a node knows of each service: the room that its plane has, the rate, and groups with what is held of them. The
 * next jobs of a full group are held in their order, and what comes beyond these is sent back.
 *
 * A hint takes a while from NATS to here. So a few more are asked for than there is room for, as many as are likely to
 * have room when they are here: they are ready, and the first of them starts as soon as a job ends. Where no job ends
 * for a while, others may have them.
 *
 * @module
 */

import type { StoreConfig, ToStore } from "./messages.ts";
import type { Frames } from "./messages.ts";
import type { Hint, JobRecord } from "./nats_record.ts";
import { RateLimit } from "./rate.ts";

/** Hints that would be started within this time are asked for before there is room, ms; and so many at most. */
const AHEAD_MS = 50;
const MOST_AHEAD = 200;
/** Starts are counted for so long, ms. */
const COUNT_MS = 1000;

/** A hint that is this node's, and has not started: its group is full, or it is the next. */
export interface Held {
  hint: Hint;
  body: Frames;
  reply: string;
  storedAt: number;
  isFirst: boolean;
  /** When NATS has heard of it last, by the steady clock. */
  sureAt: number;
  /** When it came, by the steady clock. */
  heldAt: number;
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
  /** Hints that start as soon as there is room, in their order. */
  ready: Held[] = [];
  #starts = 0;
  #startsSince = 0;
  #perSecond = 0;

  constructor(rate: RateLimit) {
    this.rate = rate;
  }

  get room(): number {
    return this.said - (this.given - (this.heard ?? this.givenThen)) - this.reading;
  }

  /** A job has started. */
  started(now: number): void {
    this.#count(now);
    this.#starts++;
  }

  /** How many hints may be ready: what is started in a moment. */
  ahead(now: number): number {
    this.#count(now);
    return Math.min(MOST_AHEAD, Math.floor(this.#perSecond * AHEAD_MS / 1000));
  }

  #count(now: number): void {
    const ms = now - this.#startsSince;
    if (ms < COUNT_MS) return;
    this.#perSecond = this.#starts * 1000 / ms;
    this.#starts = 0;
    this.#startsSince = now;
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

  /** All that is held, or ready. */
  *held(): Generator<Held> {
    for (const { groups, ready } of this.#all.values()) {
      yield* ready;
      for (const { held } of groups.values()) yield* held;
    }
  }

  /** What is held of a job, or ready. */
  heldOf({ id, service, group }: JobRecord): Held | undefined {
    const isIt = ({ hint }: Held) => hint.record.id === id;
    const local = this.#all.get(service);
    const known = group === "" ? undefined : local?.groups.get(group);
    return known?.held.find(isIt) ?? local?.ready.find(isIt);
  }

  /** Takes out what is ready of a service, or of all. */
  takeReady(service?: string): Held[] {
    const locals = service === undefined ? this.#all.values() : [this.of(service)];
    const taken: Held[] = [];
    for (const local of locals) {
      taken.push(...local.ready);
      local.ready = [];
    }
    return taken;
  }

  /** Whether something is ready. */
  get hasReady(): boolean {
    return this.#all.values().some(({ ready }) => ready.length > 0);
  }

  /** Takes out what has been ready since before. */
  takeReadySince(before: number): Held[] {
    const taken: Held[] = [];
    for (const local of this.#all.values()) {
      if (!local.ready.some(({ heldAt }) => heldAt <= before)) continue;
      taken.push(...local.ready.filter(({ heldAt }) => heldAt <= before));
      local.ready = local.ready.filter(({ heldAt }) => heldAt > before);
    }
    return taken;
  }

  /** Drops what NATS has heard nothing of for so long that others have it. */
  dropStale(before: number): void {
    for (const local of this.#all.values()) {
      local.ready = local.ready.filter(({ sureAt }) => sureAt > before);
    }
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
