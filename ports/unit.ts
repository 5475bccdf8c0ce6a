/**
 * What one service has in the loop: a broker with its queue, the ways of its jobs and of its answers, and who may ask
 * it. The sockets are all services'.
 *
 * @module
 */

import { Broker } from "../broker.ts";
import type { JobNumbers } from "../broker/job_records.ts";
import { OrderWatch } from "../broker/order.ts";
import { AccessBook } from "./access_book.ts";
import type { Body, BodyPool } from "./body.ts";
import { Dispatcher } from "./dispatcher.ts";
import type { EventQueue } from "./event_queue.ts";
import { JobTopics } from "./job_topics.ts";
import type { Lane } from "./lane.ts";
import type { ServiceMeasures } from "./measures.ts";
import type {
  LoopLimits,
  MdpWorkersRule,
  ServiceChange,
  ServiceLook,
  ServiceSetup,
} from "./messages.ts";
import { PartReplies } from "./part_replies.ts";
import type { Publisher } from "./publisher.ts";
import { Replies } from "./replies.ts";
import type { AnswerWay } from "./source.ts";
import type { StoredWay } from "./answers.ts";

/** What all services share. */
export interface UnitGround {
  source: AnswerWay;
  /** Where answers to tries of stored jobs go. */
  stored: StoredWay;
  lane: Lane;
  bodies: BodyPool;
  events: EventQueue;
  numbers: JobNumbers;
  /** Whether there is an access log. */
  visits: boolean;
  /** Whether it is told why jobs went to their workers. */
  traces: boolean;
  /** Undefined where nobody can subscribe to what happens. */
  publisher?: Publisher | undefined;
}

/** A service in the loop. */
export class Unit {
  /** "": the service without a name. */
  readonly name: string;
  /** What its clients and workers know it by. */
  readonly number: number;
  readonly broker: Broker<Body>;
  readonly replies: Replies;
  /** The same of answers that come in parts. */
  readonly parts: PartReplies;
  readonly dispatcher: Dispatcher;
  /** Undefined where there is no access log. */
  readonly book: AccessBook | undefined;
  /** What becomes of its jobs, for those who have subscribed. */
  readonly topics: JobTopics;
  /** Watches its workers, where each runs one job at a time. */
  readonly order = new OrderWatch<Body>();
  /** Whether it has never had a worker: only clients that speak Majordomo wait for the first one. */
  isAwaited = false;
  /** Whether all its requests are stored, and answered when their jobs are done. */
  isDurable = false;
  /** Undefined: all may ask. */
  #users: ReadonlySet<string> | undefined;
  #limits: LoopLimits;
  /** Users whose workers may join that speak Majordomo. */
  #mdpWorkers: ReadonlySet<string>;
  /** Workers that speak Majordomo. */
  foreign = 0;

  /** Has no worker yet. */
  constructor(setup: Omit<ServiceSetup, "frontend">, number: number, ground: UnitGround) {
    const { name, limits, users, mdpWorkers = "none" } = setup;
    const { source, stored, lane, bodies, events, numbers, visits, traces, publisher } = ground;
    this.name = name;
    this.number = number;
    this.#limits = limits;
    this.#users = users && new Set(users);
    this.#mdpWorkers = listed(mdpWorkers);
    const book = visits ? new AccessBook(name, (visit) => events.addVisit(visit)) : undefined;
    this.book = book;
    const topics = this.topics = publisher?.jobsOf(name) ?? new JobTopics(name, undefined);
    const broker = this.broker = new Broker<Body>(limits, { service: number, numbers });
    const dispatcher = new Dispatcher(name, broker, lane, events, { book, traces, topics });
    this.dispatcher = dispatcher;
    const parts = this.parts = new PartReplies({ broker, dispatcher, lane, source });
    this.replies = new Replies({
      name,
      broker,
      source,
      stored,
      bodies,
      events,
      book,
      parts,
      topics,
    });
    this.isDurable = limits.durable === true;
    this.replies.configure(limits);
  }

  /** The limits of now. */
  get limits(): LoopLimits {
    return this.#limits;
  }

  /** Works by other limits, and for other users, from now on. */
  configure({ users, mdpWorkers, ...limits }: ServiceChange): void {
    if (mdpWorkers !== undefined) this.#mdpWorkers = listed(mdpWorkers);
    if (users !== undefined) this.#users = users === "all" ? undefined : new Set(users);
    this.#limits = limits;
    this.isDurable = limits.durable === true;
    this.broker.configure(limits);
    this.replies.configure(limits);
  }

  /** Whether a user may ask it. */
  admits(user: string): boolean {
    return this.#users === undefined || this.#users.has(user);
  }

  /** Whether there is a user whose workers may join that speak Majordomo. */
  get admitsWorkers(): boolean {
    return this.#mdpWorkers.size > 0;
  }

  /** Whether a user's worker that speaks Majordomo may join. */
  admitsWorker(user: string): boolean {
    return this.#mdpWorkers.has(user);
  }

  /** How things are. */
  look(): ServiceLook {
    const { queued, queuedBytes, assigned: running, lastJobAt, times, counters } = this.broker;
    const { isPaused: paused, oldestArrival: oldestAt } = this.broker;
    const { foreign } = this;
    return {
      ...{ queued, queuedBytes, running, foreign, lastJobAt, paused, oldestAt },
      serviceTime: times.mean,
      counters: { ...counters },
    };
  }

  /** What was measured since the start. */
  measure(now: number): ServiceMeasures {
    const { name, broker } = this;
    const { queued, queuedBytes, assigned: running, oldestArrival, counters, meter } = broker;
    const oldestMs = oldestArrival === undefined ? undefined : now - oldestArrival;
    const state = { queued, queuedBytes, running, oldestMs, workers: broker.workers.size };
    return { name, ...state, counters: { ...counters }, ...meter.read() };
  }
}

/** "any" are users whom nobody has listed. */
function listed(rule: MdpWorkersRule): ReadonlySet<string> {
  return new Set(typeof rule === "string" ? [] : rule);
}
