/**
 * The hints that come: which of them start now, are held, or go back to other nodes. The order of what is stored and
 * what is acknowledged is told in nats_record.ts.
 *
 * The first try of a job trusts its hint, which names the record's revision. Every other hint has its record read first.
 *
 * @module
 */

import type { Frames, ToStore } from "./messages.ts";
import type { NatsCounts } from "./nats_counts.ts";
import { type NatsGround, type Read, STOP_DELAY } from "./nats_ground.ts";
import { type Lane, parseDelivery, type Puller } from "./nats_lanes.ts";
import type { NatsMessage } from "./nats_library.ts";
import type { Held, Local, NatsLocals } from "./nats_locals.ts";
import {
  changed,
  type Hint,
  isExpired,
  type JobRecord,
  judge,
  LONGEST_NAK,
  parseHint,
} from "./nats_record.ts";
import type { NatsRuns } from "./nats_runs.ts";

/** What is ready goes to others when it was not started within this time, as when all workers have long jobs, ms. */
const READY_LIMIT = 1000;
/** A job whose group is full comes again after that, ms, times how many of the group have been sent back. */
const GROUP_DELAY = 200;

/** See above. */
export class NatsHints implements Puller {
  readonly #ground: NatsGround;
  readonly #counts: NatsCounts;
  readonly #locals: NatsLocals;
  readonly #runs: NatsRuns;
  readonly #pull: (service: string) => void;
  #isStopped = false;
  #cancelBeat: (() => void) | undefined;
  #cancelReady: (() => void) | undefined;

  /** `pull`: there may be room for more of a service. */
  constructor(
    ground: NatsGround,
    counts: NatsCounts,
    locals: NatsLocals,
    runs: NatsRuns,
    pull: (service: string) => void,
  ) {
    this.#ground = ground;
    this.#counts = counts;
    this.#locals = locals;
    this.#runs = runs;
    this.#pull = pull;
    this.#beat();
  }

  /** Rules may be others. */
  configure(): void {
    this.#locals.configure();
    for (const service of this.#locals.all().keys()) this.freed(service);
  }

  /** Starts nothing of it, until it is taken back. */
  setPaused(services: ReadonlySet<string>): void {
    for (const service of services) {
      this.#locals.of(service).isPaused = true;
      this.#giveBackReady(service);
    }
    for (const [service, local] of this.#locals.all()) {
      if (!local.isPaused || services.has(service)) continue;
      local.isPaused = false;
      this.freed(service);
    }
  }

  /** What the plane has said. */
  setRoom(message: Extract<ToStore, { type: "room" }>): void {
    this.#locals.setRoom(message);
    this.freed(message.service);
  }

  /** There may be room: those that are held come first. */
  freed(service: string): void {
    for (const held of this.#locals.takeHeld(service, this.room(service))) this.#look(held);
    const { clock, link, ackWait } = this.#ground;
    const { ready } = this.#locals.of(service);
    while (ready.length > 0 && link.isUp && this.room(service) > 0) {
      const next = ready.shift();
      // Others have what this node was silent about, as when it was stopped for a while.
      if (next !== undefined && clock.steady() - next.sureAt < ackWait) this.#take(next);
    }
    this.#pull(service);
  }

  #giveBackReady(service?: string): void {
    for (const { reply } of this.#locals.takeReady(service)) {
      this.#ground.giveBack(reply, STOP_DELAY);
    }
  }

  /** See {@linkcode Puller}. */
  room(service: string): number {
    const local = this.#locals.find(service);
    if (local === undefined || local.isPaused || this.#isStopped) return 0;
    const now = this.#ground.clock.steady();
    const room = Math.min(local.room, local.rate.available(now));
    if (room <= 0 && local.room > 0) this.#wakeLater(service, local, local.rate.waitMs(now));
    return room;
  }

  /** See {@linkcode Puller}. */
  wanted(service: string): number {
    const room = this.room(service);
    const local = this.#locals.find(service);
    if (local === undefined || local.isPaused || this.#isStopped) return 0;
    return Math.max(0, Math.max(0, room) + this.#ahead(local) - local.ready.length);
  }

  /** A service with a rate has nothing ready: what it may start is known. */
  #ahead(local: Local): number {
    const now = this.#ground.clock.steady();
    return local.rate.available(now) === Infinity ? local.ahead(now) : 0;
  }

  /** See {@linkcode Puller}. */
  hint(lane: Lane, { data, reply = "" }: NatsMessage): void {
    const read = parseHint(data);
    const delivery = parseDelivery(reply);
    if (read === undefined || delivery === undefined) {
      this.#ground.log("warn", "a message of the work queue is none of a job: it is removed");
      this.#ground.link.publish(reply, "+TERM");
      return;
    }
    const { hint, body } = read;
    if (this.#runs.comeAgain(hint.record.id, reply)) return;
    const isFirst = delivery.count === 1;
    const sureAt = this.#ground.clock.steady();
    const known = isFirst ? undefined : this.#locals.heldOf(hint.record);
    if (known !== undefined) return void Object.assign(known, { reply, sureAt });
    const held = {
      ...{ hint, body, reply, storedAt: delivery.storedAt, isFirst, sureAt },
      heldAt: sureAt,
    };
    const local = this.#locals.of(lane.service);
    if (this.room(lane.service) > 0) return this.#take(held);
    const isWanted = local.ready.length < this.#ahead(local) && !local.isPaused && !this.#isStopped;
    if (!isWanted) return this.#ground.giveBack(reply, 0);
    local.ready.push(held);
    this.#watchReady();
  }

  #watchReady(): void {
    const { clock } = this.#ground;
    this.#cancelReady ??= clock.after(READY_LIMIT, () => {
      this.#cancelReady = undefined;
      const late = this.#locals.takeReadySince(clock.steady() - READY_LIMIT);
      for (const { reply } of late) this.#ground.giveBack(reply, 0);
      if (this.#locals.hasReady) this.#watchReady();
    });
  }

  /** There is room for it. */
  #take(held: Held): void {
    const { hint: { record, revision }, body, reply, isFirst } = held;
    if (this.#locals.isFull(record)) return this.#hold(held);
    const isSure = isFirst && revision > 0 && !this.#runs.wasCancelled(record.id) &&
      !isExpired(record, this.#ground.clock.now());
    if (isSure) return this.#start(record, revision, body, reply);
    this.#look(held);
  }

  /** The more of a group are sent back, the later they come again, so that others are not held up. */
  #hold(held: Held): void {
    const sentBack = this.#locals.hold(held);
    if (sentBack === undefined) return;
    this.#ground.giveBack(held.reply, Math.min(LONGEST_NAK, GROUP_DELAY * sentBack));
  }

  /** After a reconnect, and now and then: hints must not come to others. */
  renew(): void {
    const { link, clock, ackWait } = this.#ground;
    const now = clock.steady();
    this.#locals.dropStale(now - ackWait);
    this.#runs.renew();
    for (const held of this.#locals.held()) {
      if (link.publish(held.reply, "+WPI")) held.sureAt = now;
    }
    for (const service of this.#locals.all().keys()) this.freed(service);
  }

  /** Starts nothing any more. */
  stop(): void {
    this.#isStopped = true;
    this.#giveBackReady();
  }

  /** Lets go of all that is held. */
  close(): void {
    this.#isStopped = true;
    this.#cancelBeat?.();
    this.#cancelReady?.();
    for (const local of this.#locals.all().values()) local.cancelWake?.();
    for (const { reply } of this.#locals.held()) this.#ground.giveBack(reply, STOP_DELAY);
  }

  #beat(): void {
    this.#cancelBeat = this.#ground.clock.after(this.#ground.ackWait / 3, () => {
      this.renew();
      this.#beat();
    });
  }

  #wakeLater(service: string, local: Local, ms: number): void {
    local.cancelWake ??= this.#ground.clock.after(ms, () => {
      local.cancelWake = undefined;
      this.freed(service);
    });
  }

  /** Reads the record, as the hint alone is not enough. */
  #look({ hint, body, reply, storedAt }: Held): void {
    const { service } = hint.record;
    const local = this.#locals.of(service);
    local.reading++;
    this.#ground.read(hint.record.id, this.#ground.ackWait, (read) => {
      local.reading--;
      if (read === undefined) return; // it comes again
      const ageMs = this.#ground.clock.now() - storedAt;
      this.#decide(read, hint, body, reply, ageMs);
      this.freed(service);
    });
  }

  #decide(read: Read, hint: Hint, body: Frames, reply: string, ageMs: number): void {
    const { record, revision } = read;
    const verdict = judge(record, hint, ageMs, this.#ground.clock.now());
    if (this.#runs.has(hint.record.id)) return;
    if (verdict.what === "later") return this.#ground.giveBack(reply, verdict.ms);
    if (verdict.what === "drop") return this.#runs.ends.drop(record, body, reply, verdict.keep);
    if (record === undefined) return;
    if (verdict.what === "run") {
      if (record.state !== "running") return this.#start(record, revision, body, reply);
      // Its node has died, or lost NATS: that was no try.
      this.#counts.repeated++;
      const again = { ...record, attempt: record.attempt - 1, deaths: (record.deaths ?? 0) + 1 };
      return this.#start(again, revision, body, reply);
    }
    const end = verdict.what === "expire"
      ? changed(record, { state: "expired", endedAt: this.#ground.clock.now(), place: "kept" })
      : changed(record, {
        state: "failed",
        code: 502,
        message: "The servers that ran it have died, each time",
        endedAt: this.#ground.clock.now(),
        place: "kept",
      });
    this.#runs.ends.endUnstarted(end, revision, body, reply);
  }

  #start(record: JobRecord, revision: number, body: Frames, reply: string): void {
    const local = this.#locals.of(record.service);
    if (this.#isStopped) return this.#ground.giveBack(reply, 0);
    if (!this.#locals.enter(record)) return this.#ground.giveBack(reply, GROUP_DELAY);
    if (!local.rate.take(this.#ground.clock.steady())) {
      this.#locals.leave(record);
      return this.#ground.giveBack(reply, local.rate.waitMs(this.#ground.clock.steady()));
    }
    this.#runs.start(record, revision, body, reply);
  }
}
