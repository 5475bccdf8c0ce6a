/**
 * Pulls hints from the work queue, as many as the local workers have room for and no more. A lane is what waits of one
 * service with one priority, and a durable consumer of NATS that all nodes share.
 *
 * A service with one lane has a standing request for its whole room. Where there are several, the lanes are asked in
 * the order of their priorities, each for what is left of the room; what has waited counts more, so that low ones have
 * their turns. Once all are empty, each has a standing request, and what then comes beyond the room is given back.
 *
 * @module
 */

import type { NatsGround } from "./nats_ground.ts";
import type { NatsMessage } from "./nats_library.ts";
import type { LaneName } from "./nats_names.ts";
import type { KnownNames } from "./taken_names.ts";

/** A job that has waited for so long counts as one of the next priority, ms. */
export const AGE_STEP = 10_000;
const TOP = 9;
/** How long a request stands, ms; and how often its server says that it does. */
const STANDING = 20_000;
const BEAT = 500;
/** A request whose server has said nothing for so long is lost, as those of a leader that was replaced are, ms. */
const SILENCE = 1600;
const SWEEP_INTERVAL = 500;
/** Lanes that others have made are looked for so often, ms. */
const REFRESH_INTERVAL = 10_000;
/** Hints that are out and not acknowledged, those that are to come later included. */
const MAX_OUT = 100_000;
/** Most of one request. */
const MAX_BATCH = 1000;
const NANOS = 1e6;

interface Request {
  left: number;
  isStanding: boolean;
  /** By the steady clock. */
  heardAt: number;
}

/** See above. */
export class Lane {
  readonly name: LaneName;
  readonly service: string;
  readonly priority: number;
  /** What comes for it comes there. */
  readonly inbox: string;
  /** Its requests by number. */
  readonly requests = new Map<number, Request>();
  /**
   * Since when its first job may have waited, ms since 1970: since the job before it was stored, or since it was empty
   * last. A lane that nobody asks is so asked in the end, whether something waits there or not.
   */
  waitingSince: number;
  /** When something came of it last: the number of that. */
  servedLast = 0;

  /** Nothing is asked. */
  constructor(name: LaneName, inbox: string, now: number) {
    this.waitingSince = now;
    this.name = name;
    this.service = name.service;
    this.priority = name.priority;
    this.inbox = inbox;
  }

  /** What was asked and has not come. */
  get asked(): number {
    let sum = 0;
    for (const { left } of this.requests.values()) sum += left;
    return sum;
  }
}

/** How urgent a lane is: by priority, and by how long its first job has waited. */
export function rankOf({ priority, waitingSince }: Lane, now: number): number {
  const aged = Math.floor(Math.max(0, now - waitingSince) / AGE_STEP);
  return Math.min(TOP, priority + aged);
}

/** The order in which lanes are asked: the most urgent first; of those that are as urgent, by turns. */
export function inOrder(lanes: readonly Lane[], now: number): Lane[] {
  return [...lanes].sort((one, other) =>
    rankOf(other, now) - rankOf(one, now) || one.servedLast - other.servedLast
  );
}

/** What pulling needs to know. */
export interface Puller {
  /** How many jobs of a service may come now: those that there is room for, and a few that will have it soon. */
  wanted(service: string): number;
  /** A hint has come. */
  hint(lane: Lane, message: NatsMessage): void;
}

/** The lanes of one service. */
interface Track {
  lanes: Lane[];
  /** Lanes that are still to be asked in this round, by turns; undefined: no round goes on. */
  round: Lane[] | undefined;
}

/** See above. */
export class NatsLanes implements KnownNames {
  readonly #ground: NatsGround;
  readonly #puller: Puller;
  readonly #inbox: string;
  readonly #tracks = new Map<string, Track>();
  /** Consumers that are known to be there, by name. */
  readonly #known = new Set<string>();
  /** Those that are being made, or could not be. */
  readonly #wanted = new Map<string, LaneName>();
  readonly #making = new Set<string>();
  #lastRequest = 0;
  #lastLane = 0;
  #served = 0;
  #isStopped = false;
  #timers: (() => void)[] = [];

  /** `inbox`: a subject of its own. */
  constructor(ground: NatsGround, puller: Puller, inbox: string) {
    this.#ground = ground;
    this.#puller = puller;
    this.#inbox = inbox;
    ground.link.subscribe(ground.names.lanes, ({ data }) => {
      const lane = ground.names.parseLane(new TextDecoder().decode(data));
      if (lane !== undefined) this.#add(lane);
    });
    this.#repeat(SWEEP_INTERVAL, () => this.#sweep());
    this.#repeat(REFRESH_INTERVAL, () => void this.refresh());
  }

  /** Whether a service has lanes, as far as is known. */
  has(service: string): boolean {
    return this.#tracks.has(service);
  }

  /** How many services have some, or will. */
  get size(): number {
    return this.#tracks.size + this.#wanted.size;
  }

  /** Sees to it that what is submitted there will be pulled. */
  need(lane: LaneName): void {
    const name = this.#ground.names.lane(lane);
    if (this.#known.has(name) || this.#wanted.has(name)) return;
    this.#wanted.set(name, lane);
    void this.#make(name);
  }

  /** Asks for what there is room for. */
  pull(service: string): void {
    const track = this.#tracks.get(service);
    if (track === undefined || this.#isStopped || !this.#ground.link.isUp) return;
    const [first, second] = track.lanes;
    if (first === undefined) return;
    if (second === undefined) {
      const count = this.#puller.wanted(service) - first.asked;
      if (count > 0) this.#ask(first, count, true);
    } else if (track.round === undefined) {
      this.#startRound(service, track);
    }
  }

  /** Looks for lanes that others have made, and makes those that could not be made. */
  async refresh(): Promise<void> {
    const { manager, names, link } = this.#ground;
    if (manager === undefined || !link.isUp || this.#isStopped) return;
    try {
      for await (const { name } of manager.consumers.list(names.work)) {
        const lane = names.parseLane(name);
        if (lane !== undefined) this.#add(lane);
      }
    } catch {
      // nobody leads now: the next time
    }
  }

  /** After a reconnect: requests that were made before are lost. */
  restart(): void {
    for (const [service, track] of this.#tracks) {
      for (const lane of track.lanes) lane.requests.clear();
      track.round = undefined;
      this.pull(service);
    }
    void this.refresh();
  }

  /** Asks for nothing any more; fulfilled once all hints that were under way have come. What is given back goes to others. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    for (const cancel of this.#timers) cancel();
    const lanes = [...this.#tracks.values()].flatMap(({ lanes }) => lanes);
    await Promise.all(lanes.map(({ inbox }) => this.#ground.link.drain(`${inbox}.*`)));
  }

  #repeat(ms: number, what: () => void): void {
    const index = this.#timers.length;
    const again = () => {
      what();
      if (!this.#isStopped) this.#timers[index] = this.#ground.clock.after(ms, again);
    };
    this.#timers.push(this.#ground.clock.after(ms, again));
  }

  async #make(name: string): Promise<void> {
    const { maker, names, link, ackWait } = this.#ground;
    const lane = this.#wanted.get(name);
    if (maker === undefined || !link.isUp || lane === undefined || this.#making.has(name)) return;
    this.#making.add(name);
    try {
      await maker.consumers.add(names.work, {
        durable_name: name,
        ack_policy: "explicit",
        ack_wait: ackWait * NANOS,
        // Tries are counted in the record: after a bound of NATS' a job would stay for ever.
        max_deliver: -1,
        max_ack_pending: MAX_OUT,
        deliver_policy: "all",
        filter_subject: names.laneFilter(lane),
      });
    } catch {
      return; // nobody leads yet: again with the next sweep
    } finally {
      this.#making.delete(name);
    }
    this.#add(lane);
    link.publish(names.lanes, name);
  }

  #add(laneName: LaneName): void {
    const { service } = laneName;
    const name = this.#ground.names.lane(laneName);
    this.#wanted.delete(name);
    if (this.#known.has(name)) return;
    this.#known.add(name);
    const now = this.#ground.clock.now();
    const lane = new Lane(laneName, `${this.#inbox}.${++this.#lastLane}`, now);
    const hear = (message: NatsMessage) => this.#hear(lane, message);
    this.#ground.link.subscribe(`${lane.inbox}.*`, hear);
    let track = this.#tracks.get(service);
    if (track === undefined) this.#tracks.set(service, track = { lanes: [], round: undefined });
    track.lanes.push(lane);
    // What stood for the only lane must not go on standing for the whole room.
    track.round = undefined;
    this.pull(service);
  }

  #ask(lane: Lane, count: number, isStanding: boolean): void {
    const { names, link, clock } = this.#ground;
    const number = ++this.#lastRequest;
    const batch = Math.min(count, MAX_BATCH);
    const words = isStanding
      ? { batch, expires: STANDING * NANOS, idle_heartbeat: BEAT * NANOS }
      : { batch, no_wait: true };
    const consumer = names.lane(lane.name);
    const reply = `${lane.inbox}.${number}`;
    const subject = `$JS.API.CONSUMER.MSG.NEXT.${names.work}.${consumer}`;
    if (!link.publish(subject, JSON.stringify(words), { reply })) return;
    lane.requests.set(number, { left: batch, isStanding, heardAt: clock.steady() });
  }

  #hear(lane: Lane, message: NatsMessage): void {
    if (message.subject.startsWith(lane.inbox)) {
      return this.#hearStatus(lane, Number(message.subject.slice(lane.inbox.length + 1)), message);
    }
    lane.waitingSince = storedAt(message.reply) ?? this.#ground.clock.now();
    lane.servedLast = ++this.#served;
    this.#count(lane);
    this.#puller.hint(lane, message);
    this.#goOn(lane);
  }

  /** A hint does not say which request it answers: the oldest has it. */
  #count(lane: Lane): void {
    for (const [number, request] of lane.requests) {
      request.heardAt = this.#ground.clock.steady();
      if (--request.left === 0) lane.requests.delete(number);
      return;
    }
  }

  #hearStatus(lane: Lane, number: number, { headers }: NatsMessage): void {
    const request = lane.requests.get(number);
    const code = headers?.code ?? 0;
    if (code === 100) {
      if (request !== undefined) request.heardAt = this.#ground.clock.steady();
      return;
    }
    lane.requests.delete(number);
    const isEmpty = code === 404 || code === 408;
    if (isEmpty && lane.asked === 0) lane.waitingSince = this.#ground.clock.now();
    // Nobody leads, or the consumer is gone: the sweep asks again.
    if (isEmpty) this.#goOn(lane);
  }

  #goOn(lane: Lane): void {
    const track = this.#tracks.get(lane.service);
    if (track?.round === undefined) return this.pull(lane.service);
    if (!hasOpen(track)) this.#nextOfRound(lane.service, track);
  }

  #startRound(service: string, track: Track): void {
    if (this.#puller.wanted(service) <= 0 || hasOpen(track)) return;
    track.round = inOrder(track.lanes, this.#ground.clock.now());
    this.#nextOfRound(service, track);
  }

  #nextOfRound(service: string, track: Track): void {
    const room = this.#puller.wanted(service);
    const lane = track.round?.shift();
    if (room <= 0) {
      track.round = undefined;
    } else if (lane !== undefined) {
      // Lanes that are as urgent have equal parts of the room.
      const now = this.#ground.clock.now();
      const rank = rankOf(lane, now);
      const equals = track.round?.filter((other) => rankOf(other, now) === rank).length ?? 0;
      this.#ask(lane, Math.ceil(room / (1 + equals)), false);
    } else {
      track.round = undefined;
      const each = Math.max(1, Math.floor(room / track.lanes.length));
      for (const one of track.lanes) if (one.asked === 0) this.#ask(one, each, true);
    }
  }

  #sweep(): void {
    for (const name of this.#wanted.keys()) void this.#make(name);
    const before = this.#ground.clock.steady() - SILENCE;
    for (const [service, track] of this.#tracks) {
      for (const { requests } of track.lanes) {
        for (const [number, { heardAt }] of requests) if (heardAt < before) requests.delete(number);
      }
      if (track.round !== undefined && !hasOpen(track)) this.#nextOfRound(service, track);
      this.pull(service);
    }
  }
}

/** Whether a request of a round is not answered yet. */
function hasOpen({ lanes }: Track): boolean {
  return lanes.some(({ requests }) => [...requests.values()].some(({ isStanding }) => !isStanding));
}

/** What the reply of a hint tells of it. */
export interface Delivery {
  /** 1: it comes for the first time. */
  count: number;
  /** Its place in the stream. */
  seq: number;
  /** When it was stored, ms since 1970 by NATS. */
  storedAt: number;
}

/**
 * Reads `$JS.ACK.STREAM.CONSUMER.DELIVERED.STREAM_SEQ.CONSUMER_SEQ.NANOS.PENDING`, or the form with a domain and the
 * hash of an account in front of the stream, and a token behind; undefined: it is neither.
 */
export function parseDelivery(reply: string | undefined): Delivery | undefined {
  const tokens = reply?.split(".") ?? [];
  const first = tokens.length === 9 ? 4 : tokens.length >= 11 ? 6 : -1;
  const count = Number(tokens[first]);
  const nanos = Number(tokens[first + 3]);
  if (!Number.isSafeInteger(count) || !Number.isFinite(nanos)) return undefined;
  return { count, seq: Number(tokens[first + 1]), storedAt: nanos / NANOS };
}

function storedAt(reply: string | undefined): number | undefined {
  return parseDelivery(reply)?.storedAt;
}
