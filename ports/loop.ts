/**
 * The loop between the sockets and the broker (../broker.ts): owns the sockets, reads and sends what can
 * be, and waits. Decides nothing about jobs, and knows no processes. The server and the loop speak by
 * messages (messages.ts).
 *
 * @module
 */

import { Histogram } from "../broker/histogram.ts";
import type { Library } from "../zmq/library.ts";
import { viewClients } from "./client_views.ts";
import { type Answerers, type Hearer, Inquirer } from "./inquirer.ts";
import type { Findings, Inquiries, InquiryKind } from "./inquiry.ts";
import { viewJobs } from "./job_views.ts";
import { LoopOrders } from "./loop_orders.ts";
import { LoopParts, type PartsOptions } from "./loop_parts.ts";
import type { Measures } from "./measures.ts";
import type { Look, LoopCommand, LoopEvent } from "./messages.ts";
import type { Publisher } from "./publisher.ts";
import type { AccessOptions } from "./socket_options.ts";
import type { StoreWire } from "./store_wire.ts";
import { Tidying } from "./tidying.ts";
import { Turn } from "./turn.ts";
import { Wrongs } from "./wrongs.ts";

export type { AccessOptions };

/** What a `BrokerLoop` is made by. */
export interface LoopOptions extends PartsOptions {
  /**
   * Minimum time between two "worked" events, ms: nothing that the server does on them is more urgent.
   * @default {2}
   */
  workedInterval?: number;
}

/** Maximum questions whether a peer may connect that are answered before jobs have their turn. */
const QUESTIONS = 50;
/** Rounds of reading and sending before signals and timers have their turn. */
const ROUNDS = 4;
/** Time between two tries to send a slow client what waits for it, ms. */
const SLOW_CLIENT_RETRY = 5;
/** With no more jobs at workers than this there are cores to spare: each job keeps about two busy. */
const QUIET_JOBS = navigator.hardwareConcurrency > 1 ? navigator.hardwareConcurrency / 2 : -1;
/** Time between two checks of clients' connections while a full queue keeps their messages unread, ms. */
const GONE_INTERVAL = 500;

/** The loop between the sockets and the brokers of all services. */
export class BrokerLoop {
  readonly #turn = new Turn();
  readonly #parts: LoopParts;
  /** The way to the store of jobs. */
  readonly store: StoreWire;
  readonly #orders: LoopOrders;
  readonly #tidying: Tidying;
  readonly #inquirer = new Inquirer(this.#answerers());
  /** open → stopped: `run` returns → closed: so are the sockets; abandoned: closed, and `run` never returns */
  #state: "open" | "stopped" | "closed" | "abandoned" = "open";
  readonly #workedInterval: number;
  /** When the next "worked" event may be told, ms. */
  #workedAt = 0;
  /** Messages that were read since the start. */
  #messages = 0;
  /** When the next turn is due: at once where one has left something, ms. */
  #turnAt = Infinity;
  readonly #lag = new Histogram();
  /** When clients' connections are checked next, if nothing is read until then, ms. */
  #goneAt = 0;

  /**
   * Binds both sockets.
   *
   * @param listener is told what happens, in order and never within `send`; must not throw.
   * @throws {ZmqError} when an endpoint can't be bound.
   */
  constructor(library: Library, options: LoopOptions, listener: (event: LoopEvent) => void) {
    const parts = this.#parts = new LoopParts(library, options, listener, this.#turn);
    this.store = parts.wire;
    this.#tidying = new Tidying(parts.services, {
      messages: () => this.#messages,
      hasUnsent: () => parts.source.hasUnsent,
      giveBack: () => this.#giveBackMemory(),
    });
    this.#orders = new LoopOrders(parts, () => {
      if (this.#state === "open") this.#stop("stopped");
    });
    this.#workedInterval = options.workedInterval ?? 2;
    this.#listTicks();
  }

  #listTicks(): void {
    const { doorkeeper, events, made, stored, view } = this.#parts;
    this.#turn.ticks.add(
      { tick: (now) => this.#tickBrokers(now) },
      { tick: (now) => this.#tickWorkers(now) },
      { tick: (now) => made?.tick(now) ?? Infinity },
      { tick: (now) => this.#findGone(now) },
      { tick: (now) => this.#tickReplies(now) },
      { tick: (now) => stored.counter.tick(now) },
      doorkeeper,
      this.#tidying,
      new Wrongs(() => view.wrongs, (wrong) => view.lastOf(wrong), events),
      { tick: (now) => this.#tellWorked(now) },
    );
  }

  // ---- what the server says and asks ----

  /** The endpoints really bound for clients. */
  get frontend(): readonly string[] {
    return this.#parts.sockets.frontend;
  }

  /** The same of those for clients that speak Majordomo. */
  get mdp(): readonly string[] {
    return this.#parts.sockets.mdp;
  }

  /** The same of those for SUB sockets. */
  get events(): readonly string[] {
    return this.#parts.sockets.events;
  }

  /** The same of those services that have endpoints of their own, by their names. */
  get serviceFrontends(): Readonly<Record<string, readonly string[]>> {
    return this.#parts.sockets.serviceFrontends;
  }

  /** The endpoint really bound for workers. */
  get backend(): string {
    return this.#parts.sockets.backend;
  }

  /** The same for pools on other machines; undefined: none can join. */
  get join(): string | undefined {
    return this.#parts.sockets.join;
  }

  /** What ends a wait of `runAlone` when another thread rings it: see system/bell.ts. */
  get bell(): number {
    return this.#parts.sockets.bell;
  }

  /** Whether V8 has memory to give back, for which the event loop must have turns. */
  get isSettling(): boolean {
    return this.#tidying.isSettling;
  }

  /** How things are now. */
  look(): Look {
    return this.#parts.look();
  }

  /** The store was started: its end of the way, and where it counts what it has sent. */
  joinStore(port: MessagePort, counter?: SharedArrayBuffer): undefined {
    this.#parts.stored.join(port, counter);
    this.#parts.publisher?.attachStore((isOn) => {
      this.store.say({ type: "watch", isOn });
      this.#turn.again = true;
    });
    this.#turn.worked();
    this.#parts.sockets.wake();
  }

  /** What was measured since the start. */
  measure(): Measures {
    return { ...this.#parts.view.measure(performance.now()), lag: this.#lag.read() };
  }

  /** Asks something, which is answered between two passes: see `DataPlane`. */
  ask<Kind extends InquiryKind>(kind: Kind, question: Inquiries[Kind]): Promise<Findings[Kind]> {
    return new Promise((found, failed) => this.inquire(kind, question, { found, failed }));
  }

  /** The same for one who must be told at once, on a thread where promises get no turn. */
  inquire<Kind extends InquiryKind>(
    kind: Kind,
    question: Inquiries[Kind],
    hearer: Hearer<Findings[Kind]>,
  ): void {
    this.#inquirer.add(kind, question, hearer);
    if (this.#state === "open") this.#parts.sockets.wake();
  }

  #answerers(): Answerers {
    return {
      jobs: (question, now) => viewJobs(this.#parts.services, question, now),
      clients: (question) => viewClients(this.#parts.source, this.#parts.services, question),
      measures: () => this.measure(),
      pulse: () => ({}),
      cancelJob: ({ job }, now) => ({ outcome: this.#cancelJob(job, now) }),
    };
  }

  #cancelJob(id: number, now: number): Findings["cancelJob"]["outcome"] {
    for (const { broker, dispatcher } of this.#parts.services.all) {
      const job = broker.overview.find(id);
      if (job === undefined) continue;
      const running = broker.cancellations.cancelForAll(job, now);
      if (running !== undefined) dispatcher.cancel(running);
      this.#turn.worked();
      return "cancelled";
    }
    return "unknown";
  }

  /** Obeys a command before it returns; the events that follow from it are told later. */
  send(command: LoopCommand): void {
    this.#orders.obey(command);
    this.#turn.again = true;
    // It comes every second, and mostly finds nothing to do: a server at rest is not told of that.
    if (command.type !== "mend") this.#turn.worked();
    this.#parts.sockets.wake();
  }

  /**
   * Closes all at once, on this thread, for a program that ends or starts again: `run` never returns then,
   * and replies that are on their way are lost.
   */
  abandon(): void {
    if (this.#isClosed) return;
    this.#stop("abandoned");
    this.#parts.sockets.closeNow();
  }

  /** Closes the sockets after `run` has ended; replies are delivered for up to `lingerMs`. */
  async close(lingerMs: number): Promise<void> {
    if (this.#isClosed) return;
    this.#stop("closed");
    this.#parts.source.flush(performance.now());
    await this.#parts.sockets.close(lingerMs);
  }

  #stop(state: "stopped" | "abandoned" | "closed"): void {
    this.#state = state;
    if (state === "abandoned") this.store.lose();
    else this.#parts.stored.leave(performance.now());
    this.#inquirer.close();
  }

  get #isClosed(): boolean {
    return this.#state === "closed" || this.#state === "abandoned";
  }

  // ---- the loop ----

  /** Serves until it is told to stop. */
  async run(): Promise<void> {
    while (this.#state === "open") {
      const sleepMs = this.#nextTurn();
      if (this.#state !== "open") break;
      const rest = this.#parts.sockets.rest(sleepMs, this.#cores, this.#clients);
      if (rest !== undefined) await rest;
    }
    // A caller that waits for this would use sockets that are closed.
    if (this.#state === "abandoned") await new Promise(() => {});
  }

  /**
   * The same on a thread that it has for itself: it waits there, where `bell` ends a wait. `pause` is called before
   * each wait; a promise that it returns is waited for, and the only time in which others have their turn.
   */
  async runAlone(pause: () => Promise<void> | undefined): Promise<void> {
    while (this.#state === "open") {
      const sleepMs = this.#nextTurn();
      const others = pause();
      if (others !== undefined) await others;
      else this.#parts.sockets.restSync(sleepMs, this.#cores, this.#clients);
    }
    if (this.#state === "abandoned") await new Promise(() => {});
  }

  get #cores(): "spare" | "taken" {
    return this.#parts.services.running <= QUIET_JOBS ? "spare" : "taken";
  }

  get #clients(): "read" | "unread" {
    return this.#parts.services.isBlocked ? "unread" : "read";
  }

  /** Takes the next turn, noting how late it comes; returns ms until another is due. */
  #nextTurn(): number {
    const now = this.#turn.now = performance.now();
    // Sooner than it was due, something has come: that is not late.
    if (now >= this.#turnAt) this.#lag.add((now - this.#turnAt) * 1000);
    const sleepMs = this.#takeTurn(now);
    this.#turnAt = now + sleepMs;
    return sleepMs;
  }

  /** Does all that can be done now, and what is due; returns ms until something is, 0 if there is more. */
  #takeTurn(now: number): number {
    const { events, publisher, source, stored } = this.#parts;
    const turn = this.#turn;
    turn.again = false;
    const hasMore = this.#pass(now);
    let sleepMs = turn.ticks.tick(now);
    // Jobs of workers that have died may be free to be sent only now.
    if (this.#dispatch(now) > 0) turn.again = true;
    events.handOver();
    sleepMs = Math.min(sleepMs, source.tick(now));
    source.flush(now);
    stored.flush();
    if (publisher !== undefined) sleepMs = Math.min(sleepMs, this.#publish(publisher, now));
    if (this.#inquirer.goOn(now)) turn.again = true;
    // Asked last, after all that was sent: a send can eat a socket's wake-up.
    if (hasMore || turn.again || this.#isReadable()) return 0;
    return source.hasUnsent ? Math.min(sleepMs, SLOW_CLIENT_RETRY) : sleepMs;
  }

  /** Reads and sends all that can be now, up to a bound; true if there is more. */
  #pass(now: number): boolean {
    const { events, lane, source } = this.#parts;
    for (let round = 0; round < ROUNDS; round++) {
      const read = this.#read(now);
      this.#messages += read;
      if (read > 0 || source.hasUnsent) this.#turn.worked();
      // What came of the rounds before was sent; that somebody has gone is seen to by what ticks.
      else if (round > 0) return false;
      // Told before jobs are sent: a server on this thread retires a worker that is late before it gets one.
      events.handOver();
      this.#sendEnded(now);
      this.#dispatch(now);
      lane.flush();
      source.flush(now);
      if (read === 0) return false;
    }
    return true;
  }

  /** Reads some of what has come from everywhere; returns how much that was. */
  #read(now: number): number {
    const parts = this.#parts;
    return parts.lane.read(now) + parts.readSource() + this.#answerQuestions() +
      parts.stored.hear(now);
  }

  #answerQuestions(): number {
    const { sockets } = this.#parts;
    let read = 0;
    while (read < QUESTIONS && sockets.answerQuestion()) read++;
    return read;
  }

  #isReadable(): boolean {
    const { audience, lane, services, sockets, source } = this.#parts;
    if (lane.isReadable()) return true;
    // Asked even while the broker takes nothing: news that are not taken in would end each wait at once.
    if (source.isReadable() && !services.isBlocked) return true;
    if (audience?.isReadable()) return true;
    return sockets.hasQuestion;
  }

  /** Reads who subscribes, and tells those who have; returns ms until it must run again. */
  #publish(publisher: Publisher, now: number): number {
    this.#parts.audience?.read(now);
    return publisher.pass(now);
  }

  #sendEnded(now: number): void {
    for (const { replies } of this.#parts.services.all) {
      if (replies.sendEnded(now)) this.#turn.worked();
    }
  }

  /** Sends what can be sent to workers; returns how many jobs that was. */
  #dispatch(now: number): number {
    let jobs = 0;
    for (const { dispatcher } of this.#parts.services.all) jobs += dispatcher.sendAll(now);
    if (jobs > 0) this.#turn.worked();
    this.#sendEnded(now);
    return jobs;
  }

  // ---- what is due ----

  #tellWorked(now: number): number {
    if (!this.#turn.hasWorked) return Infinity;
    if (now < this.#workedAt) return this.#workedAt - now;
    this.#workedAt = now + this.#workedInterval;
    this.#turn.hasWorked = false;
    this.#parts.events.add({ type: "worked" });
    return Infinity;
  }

  #tickBrokers(now: number): number {
    let sleepMs = Infinity;
    for (const { broker } of this.#parts.services.all) {
      sleepMs = Math.min(sleepMs, broker.tick(now));
    }
    this.#sendEnded(now);
    this.#parts.workers.endOverruns();
    return sleepMs;
  }

  #tickReplies(now: number): number {
    let sleepMs = Infinity;
    for (const { replies } of this.#parts.services.all) {
      sleepMs = Math.min(sleepMs, replies.tick(now));
    }
    return sleepMs;
  }

  #tickWorkers(now: number): number {
    const told = this.#parts.events.size;
    const sleepMs = this.#parts.workers.tick(now);
    if (this.#parts.events.size > told) this.#turn.worked();
    return sleepMs;
  }

  /** Finds clients that have left while nothing is read from any; returns ms until it must run again. */
  #findGone(now: number): number {
    if (!this.#parts.services.isBlocked) {
      this.#goneAt = now + GONE_INTERVAL;
      return Infinity;
    }
    if (now >= this.#goneAt) {
      this.#parts.source.findGone();
      this.#goneAt = now + GONE_INTERVAL;
      this.#turn.worked();
    }
    return this.#goneAt - now;
  }

  #giveBackMemory(): void {
    for (const { broker } of this.#parts.services.all) broker.dropSpares();
    this.#parts.sockets.giveBackMemory();
  }
}
