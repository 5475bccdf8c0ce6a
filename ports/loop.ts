/**
 * The loop between the sockets and the broker (../broker.ts): owns the sockets, reads and sends what can
 * be, and waits. Decides nothing about jobs, and knows no processes. The server and the loop speak by
 * messages (messages.ts).
 *
 * @module
 */

import type { ClientList } from "../auth/client_list.ts";
import { Histogram } from "../broker/histogram.ts";
import type { Worker } from "../broker/job.ts";
import { JobNumbers } from "../broker/job_records.ts";
import { Ticks } from "../system/ticks.ts";
import { Code } from "../wire/request.ts";
import type { Library } from "../zmq/library.ts";
import { Answers } from "./answers.ts";
import type { Body } from "./body.ts";
import { viewClients } from "./client_views.ts";
import { MemoryContent } from "./content.ts";
import { Doorkeeper } from "./doorkeeper.ts";
import { EventQueue } from "./event_queue.ts";
import { type Answerers, type Hearer, Inquirer } from "./inquirer.ts";
import type { Findings, Inquiries, InquiryKind } from "./inquiry.ts";
import { viewJobs } from "./job_views.ts";
import type { Lane, LaneEvents } from "./lane.ts";
import { LoopOrders, unreadBytes } from "./loop_orders.ts";
import { LoopView, stateOf } from "./loop_view.ts";
import type { Measures } from "./measures.ts";
import type { Look, LoopCommand, LoopEvent, ServiceSetup } from "./messages.ts";
import { MadeServices } from "./made_services.ts";
import type { Directory } from "./mmi.ts";
import type { Audience } from "./audience.ts";
import { Publisher } from "./publisher.ts";
import { Questions } from "./questions.ts";
import { Reception } from "./reception.ts";
import { JOBS_ALONE, JOBS_BINDING, numberServices, Services } from "./services.ts";
import {
  type AccessOptions,
  type JoinSocketOptions,
  type SocketEvents,
  type SocketOptions,
  Sockets,
} from "./sockets.ts";
import type { Source, SourceEvents } from "./source.ts";
import { Tidying } from "./tidying.ts";
import type { Unit } from "./unit.ts";
import { OWN_VERSION } from "./words.ts";
import { StoreSide } from "../sources/store_side.ts";
import { StoredJobs } from "../sources/stored_jobs.ts";
import { StoreWire } from "./store_wire.ts";
import { Workers } from "./workers.ts";
import { Wrongs } from "./wrongs.ts";

export type { AccessOptions };

/** What a `BrokerLoop` is made of. */
export interface LoopOptions extends SocketOptions {
  /** All services: one at least. */
  services: readonly ServiceSetup[];
  /** Endpoints where plain clients speak of stored jobs alone. @default {[]} */
  jobs?: readonly string[];
  /** Whether "visits" are told: there is an access log. */
  visits?: boolean;
  /** Whether it is told why jobs went to their workers: the log takes lines of level debug. */
  traces?: boolean;
  /**
   * Minimum time between two "worked" events, ms: nothing that the server does on them is more urgent.
   * @default {2}
   */
  workedInterval?: number;
  /** Where pools on other machines join, and the names of those that may, by their public keys. */
  joinable?: JoinSocketOptions & { readonly names: ClientList } | undefined;
}

/** Maximum questions whether a peer may connect that are answered before jobs have their turn. */
const QUESTIONS = 50;
/** Rounds of reading and sending before signals and timers have their turn. */
const ROUNDS = 4;
/** Time between two tries to send a slow client what waits for it, ms. */
const SLOW_CLIENT_RETRY = 5;
/** With no more jobs at workers than this there are cores to spare: each job keeps about two busy. */
const QUIET_JOBS = navigator.hardwareConcurrency > 1 ? navigator.hardwareConcurrency / 2 : -1;
const VERSION = new MemoryContent().set(OWN_VERSION, 0, OWN_VERSION.length);
/** Time between two checks of clients' connections while a full queue keeps their messages unread, ms. */
const GONE_INTERVAL = 500;

/** The loop between the sockets and the brokers of all services. */
export class BrokerLoop {
  readonly #services: Services;
  readonly #events: EventQueue;
  readonly #sockets: Sockets;
  readonly #source: Source;
  readonly #lane: Lane;
  /** Undefined where nobody can subscribe to events. */
  readonly #audience: Audience | undefined;
  readonly #publisher: Publisher | undefined;
  readonly #doorkeeper: Doorkeeper;
  readonly #reception: Reception;
  readonly #questions: Questions;
  /** The way to the store of jobs. */
  readonly store: StoreWire;
  readonly #stored: StoreSide;
  readonly #workers: Workers;
  /** Undefined where no worker may speak Majordomo. */
  readonly #made: MadeServices | undefined;
  readonly #orders: LoopOrders;
  readonly #view: LoopView;
  readonly #tidying: Tidying;
  readonly #ticks: Ticks;
  readonly #inquirer = new Inquirer(this.#answerers());
  /** When the present pass started, ms. */
  #now = performance.now();
  /** open → stopped: `run` returns → closed: so are the sockets; abandoned: closed, and `run` never returns */
  #state: "open" | "stopped" | "closed" | "abandoned" = "open";
  /** Something was done to the broker since the pass started: another pass follows at once. */
  #again = false;
  readonly #workedInterval: number;
  /** When the next "worked" event may be told, ms, and whether one is to be. */
  #workedAt = 0;
  /** Messages that were read since the start. */
  #messages = 0;
  #hasWorked = false;
  #hasToldUnheard = false;
  /** When something was last read from clients, ms. */
  #readAt = -Infinity;
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
    const events = this.#events = new EventQueue(listener);
    const doorkeeper = this.#doorkeeper = new Doorkeeper(options, events, () => this.#audience);
    const { access, joinAccess } = doorkeeper;
    const numbered = numberServices(options.services);
    const jobCounter = { name: JOBS_BINDING, number: JOBS_ALONE, frontend: options.jobs ?? [] };
    const bounds = { ...options, bindings: [...numbered, jobCounter] };
    const sockets = this.#sockets = new Sockets(library, bounds, unreadBytes(numbered), {
      source: this.#sourceEvents(),
      lane: this.#laneEvents(),
      decide: (request, stage) => doorkeeper.decide(request, stage, this.#now),
      decideJoiner: (request, isTold) => doorkeeper.decideJoiner(request, isTold, this.#now),
      joiners: {
        said: (joiner, name, address, text) => {
          events.add({ type: "joinerSaid", joiner, name, address, text });
          this.#worked();
        },
        gone: (joiner) => {
          events.add({ type: "joinerGone", joiner });
          this.#worked();
        },
        opened: (connection, isNamedByUs) => doorkeeper.joinerOpened(connection, isNamedByUs),
        closed: (connection) => joinAccess?.closed(connection),
      },
      refusal: (address, open) => access?.refusal(address, open),
      directory: this.#directory(),
      mdpWorkers: this.#mdpWorkerEvents(),
      subscribed: () => {
        this.#publisher?.changed();
        this.#again = true;
      },
    });
    const audience = this.#audience = sockets.audience;
    const hasKeys = options.access?.secretKey !== undefined;
    const publisher = this.#publisher = audience &&
      new Publisher(audience, events, () => stateOf(this.look()), hasKeys);
    const { bodies } = sockets;
    const source = this.#source = sockets.source;
    const lane = this.#lane = sockets.lane;
    const { visits = false, traces = false } = options;
    const questions = this.#questions = new Questions({
      lane,
      bodies,
      limits: options,
      reception: () => this.#reception,
    });
    const wire = this.store = new StoreWire({
      wanted: () => events.add({ type: "storeWanted" }),
      came: () => this.#sockets.wake(),
    });
    const jobs = new StoredJobs({
      services: () => this.#services,
      bodies,
      say: (message) => wire.say(message),
      parcel: wire.parcel,
    });
    const answers = new Answers(source, questions, jobs);
    const ground = {
      source: answers,
      stored: jobs,
      lane,
      bodies,
      events,
      numbers: new JobNumbers(),
      visits,
      traces,
      publisher,
    };
    const services = this.#services = new Services(ground);
    for (const setup of numbered) services.add(setup, setup.number);
    const { majordomo } = options;
    this.#made = majordomo && new MadeServices({ services, events }, majordomo);
    const stored = this.#stored = new StoreSide({
      ...{ wire, services, source: answers, bodies, events, visits },
      askingJob: (peer) => questions.jobOf(peer),
      over: (job) => publisher?.over(job),
    }, jobs);
    const { counter } = stored;
    this.#reception = new Reception({ services, source: answers, bodies, events, visits, counter });
    const workers = this.#workers = new Workers({
      ...{ services, lane, events, questions, access, joinAccess },
    });
    this.#view = new LoopView({
      ...{ services, source, lane, workers, audience, publisher },
      reception: this.#reception,
    });
    this.#tidying = new Tidying(services, {
      messages: () => this.#messages,
      hasUnsent: () => this.#source.hasUnsent,
      giveBack: () => this.#giveBackMemory(),
    });
    this.#orders = new LoopOrders({
      ...{ services, sockets, source, lane, workers, doorkeeper, stored, publisher, events },
      made: this.#made,
      stop: () => {
        if (this.#state === "open") this.#stop("stopped");
      },
    });
    this.#ticks = this.#listTicks();
    this.#workedInterval = options.workedInterval ?? 2;
  }

  #directory(): Directory {
    return {
      workersOf: (name) => {
        const unit = this.#services.named(name);
        return unit?.isAwaited ? undefined : unit?.broker.workers.size;
      },
      expect: (name) => this.#made?.expect(name, this.#now),
    };
  }

  #mdpWorkerEvents(): SocketEvents["mdpWorkers"] {
    return {
      join: (name, address, user) => {
        this.#worked();
        return this.#made?.join(name, address, user, this.#now) ?? "nobody may be a worker";
      },
      reply: (worker, reply, content) => {
        this.#unitOf(worker).replies.take(worker, reply, content, this.#now);
      },
      part: (worker, job, content) => {
        return this.#unitOf(worker).parts.offer(worker, job, content, this.#now);
      },
      giveUp: (worker, job, message) => {
        this.#unitOf(worker).parts.giveUp(worker, job, message, this.#now);
      },
      alive: (worker) => this.#unitOf(worker).dispatcher.sendProven(worker, this.#now),
      gone: (worker, end, reason) => {
        this.#made?.gone(worker, end, reason, this.#now);
        this.#worked();
      },
    };
  }

  #sourceEvents(): SourceEvents {
    return {
      mayRead: () => !this.#services.isBlocked,
      roomFor: (service) => this.#services.roomFor(service),
      request: (peer, request) => this.#reception.request(peer, request, this.#now),
      cancel: (peer, requestId, envelope) => {
        this.#reception.cancel(peer, requestId, envelope, this.#now);
      },
      credit: (peer, requestId, envelope, credit) => {
        this.#reception.credit(peer, requestId, envelope, credit);
      },
      asksForVersion: (from) => this.#source.reply(from, Code.ok, 0, VERSION, this.#now),
      gone: (peer) => {
        this.#reception.gone(peer, this.#now);
        // It may be all that was read, and counts as no message.
        this.#worked();
      },
      stalled: (peer) => this.#reception.stalled(peer),
      catchUp: () => {
        const hasRead = this.#readSource() > 0;
        this.#again ||= hasRead;
        return hasRead;
      },
    };
  }

  #laneEvents(): LaneEvents {
    return {
      expects: (token, pid) => this.#workers.expects(token, pid),
      loaded: (token, pid) => this.#workers.loaded(token, pid),
      failed: (token, message, pid) => this.#workers.failed(token, message, pid),
      admit: (token, pid) => this.#workers.admit(token, this.#now, pid),
      reply: (worker, reply, content) => {
        this.#unitOf(worker).replies.take(worker, reply, content, this.#now);
      },
      question: (worker, job, content) => {
        this.#questions.ask(worker, job, content, this.#now);
      },
      publish: (worker, content, retain) => {
        if (this.#publisher === undefined) this.#tellUnheard(worker);
        else this.#publisher.relay(worker.id, content, retain, this.#now);
      },
      withdrawn: (worker, question) => this.#questions.withdraw(worker, question, this.#now),
      part: (worker, job, content) => {
        this.#unitOf(worker).parts.take(worker, job, content, this.#now);
      },
      progress: (worker, job, content) => {
        this.#unitOf(worker).parts.progress(worker, job, content, this.#now);
      },
      alive: (worker) => this.#unitOf(worker).dispatcher.sendProven(worker, this.#now),
      returned: (worker, job) =>
        this.#unitOf(worker).broker.workforce.giveBack(worker, job, this.#now),
      memory: (worker, bytes) => this.#workers.memory(worker, bytes),
      mayLog: (worker, bytes) => this.#workers.mayLog(worker, bytes, this.#now),
      log: (worker, line) => this.#workers.log(worker, line),
      retiring: (worker) => this.#workers.leaving(worker),
      gone: (worker, end) => {
        this.#workers.gone(worker, end, this.#now);
        this.#worked();
      },
    };
  }

  /** Said once: a handler may publish in each job. */
  #tellUnheard(worker: Worker<Body>): void {
    if (this.#hasToldUnheard) return;
    this.#hasToldUnheard = true;
    const message = 'a handler publishes events that nobody can hear: "events" has no endpoint';
    this.#events.add({ type: "log", level: "info", message, fields: { worker: worker.id } });
  }

  #unitOf(worker: Worker<Body>): Unit {
    return this.#services.of(worker);
  }

  #listTicks(): Ticks {
    const view = this.#view;
    return new Ticks([
      { tick: (now) => this.#tickBrokers(now) },
      { tick: (now) => this.#tickWorkers(now) },
      { tick: (now) => this.#made?.tick(now) ?? Infinity },
      { tick: (now) => this.#findGone(now) },
      { tick: (now) => this.#tickReplies(now) },
      { tick: (now) => this.#stored.counter.tick(now) },
      this.#doorkeeper,
      this.#tidying,
      new Wrongs(() => view.wrongs, (wrong) => view.lastOf(wrong), this.#events),
      { tick: (now) => this.#tellWorked(now) },
    ]);
  }

  // ---- what the server says and asks ----

  /** The endpoints really bound for clients. */
  get frontend(): readonly string[] {
    return this.#sockets.frontend;
  }

  /** The same of those for clients that speak Majordomo. */
  get mdp(): readonly string[] {
    return this.#sockets.mdp;
  }

  /** The same of those for SUB sockets. */
  get events(): readonly string[] {
    return this.#sockets.events;
  }

  /** The same of those services that have endpoints of their own, by their names. */
  get serviceFrontends(): Readonly<Record<string, readonly string[]>> {
    return this.#sockets.serviceFrontends;
  }

  /** The endpoint really bound for workers. */
  get backend(): string {
    return this.#sockets.backend;
  }

  /** The same for pools on other machines; undefined: none can join. */
  get join(): string | undefined {
    return this.#sockets.join;
  }

  /** What ends a wait of `runAlone` when another thread rings it: see system/bell.ts. */
  get bell(): number {
    return this.#sockets.bell;
  }

  /** Whether V8 has memory to give back, for which the event loop must have turns. */
  get isSettling(): boolean {
    return this.#tidying.isSettling;
  }

  /** How things are now. */
  look(): Look {
    return this.#view.look(this.#readAt, performance.now());
  }

  /** The store was started: its end of the way, and where it counts what it has sent. */
  joinStore(port: MessagePort, counter?: SharedArrayBuffer): undefined {
    this.#stored.join(port, counter);
    this.#publisher?.attachStore((isOn) => {
      this.store.say({ type: "watch", isOn });
      this.#again = true;
    });
    this.#worked();
    this.#sockets.wake();
  }

  /** What was measured since the start. */
  measure(): Measures {
    return { ...this.#view.measure(performance.now()), lag: this.#lag.read() };
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
    if (this.#state === "open") this.#sockets.wake();
  }

  #answerers(): Answerers {
    return {
      jobs: (question, now) => viewJobs(this.#services, question, now),
      clients: (question) => viewClients(this.#source, this.#services, question),
      measures: () => this.measure(),
      pulse: () => ({}),
      cancelJob: ({ job }, now) => ({ outcome: this.#cancelJob(job, now) }),
    };
  }

  #cancelJob(id: number, now: number): Findings["cancelJob"]["outcome"] {
    for (const { broker, dispatcher } of this.#services.all) {
      const job = broker.overview.find(id);
      if (job === undefined) continue;
      const running = broker.cancellations.cancelForAll(job, now);
      if (running !== undefined) dispatcher.cancel(running);
      this.#worked();
      return "cancelled";
    }
    return "unknown";
  }

  /** Obeys a command before it returns; the events that follow from it are told later. */
  send(command: LoopCommand): void {
    this.#orders.obey(command);
    this.#again = true;
    // It comes every second, and mostly finds nothing to do: a server at rest is not told of that.
    if (command.type !== "mend") this.#worked();
    this.#sockets.wake();
  }

  /**
   * Closes all at once, on this thread, for a program that ends or starts again: `run` never returns then,
   * and replies that are on their way are lost.
   */
  abandon(): void {
    if (this.#isClosed) return;
    this.#stop("abandoned");
    this.#sockets.closeNow();
  }

  /** Closes the sockets after `run` has ended; replies are delivered for up to `lingerMs`. */
  async close(lingerMs: number): Promise<void> {
    if (this.#isClosed) return;
    this.#stop("closed");
    this.#source.flush(performance.now());
    await this.#sockets.close(lingerMs);
  }

  #stop(state: "stopped" | "abandoned" | "closed"): void {
    this.#state = state;
    if (state === "abandoned") this.store.lose();
    else this.#stored.leave(performance.now());
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
      const rest = this.#sockets.rest(sleepMs, this.#cores, this.#clients);
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
      else this.#sockets.restSync(sleepMs, this.#cores, this.#clients);
    }
    if (this.#state === "abandoned") await new Promise(() => {});
  }

  get #cores(): "spare" | "taken" {
    return this.#services.running <= QUIET_JOBS ? "spare" : "taken";
  }

  get #clients(): "read" | "unread" {
    return this.#services.isBlocked ? "unread" : "read";
  }

  /** Takes the next turn, noting how late it comes; returns ms until another is due. */
  #nextTurn(): number {
    this.#now = performance.now();
    // Sooner than it was due, something has come: that is not late.
    if (this.#now >= this.#turnAt) this.#lag.add((this.#now - this.#turnAt) * 1000);
    const sleepMs = this.#turn();
    this.#turnAt = this.#now + sleepMs;
    return sleepMs;
  }

  /** Does all that can be done now, and what is due; returns ms until something is, 0 if there is more. */
  #turn(): number {
    this.#again = false;
    const hasMore = this.#pass();
    let sleepMs = this.#ticks.tick(this.#now);
    // Jobs of workers that have died may be free to be sent only now.
    if (this.#dispatch() > 0) this.#again = true;
    this.#events.handOver();
    sleepMs = Math.min(sleepMs, this.#source.tick(this.#now));
    this.#source.flush(this.#now);
    this.#stored.flush();
    if (this.#publisher !== undefined) sleepMs = Math.min(sleepMs, this.#publish(this.#publisher));
    if (this.#inquirer.goOn(this.#now)) this.#again = true;
    // Asked last, after all that was sent: a send can eat a socket's wake-up.
    if (hasMore || this.#again || this.#isReadable()) return 0;
    return this.#source.hasUnsent ? Math.min(sleepMs, SLOW_CLIENT_RETRY) : sleepMs;
  }

  /** Reads and sends all that can be now, up to a bound; true if there is more. */
  #pass(): boolean {
    for (let round = 0; round < ROUNDS; round++) {
      const read = this.#readLane() + this.#readSource() + this.#answerQuestions() +
        this.#stored.hear(this.#now);
      this.#messages += read;
      if (read > 0 || this.#source.hasUnsent) this.#worked();
      // What came of the rounds before was sent; that somebody has gone is seen to by what ticks.
      else if (round > 0) return false;
      // Told before jobs are sent: a server on this thread retires a worker that is late before it gets one.
      this.#events.handOver();
      this.#sendEnded();
      this.#dispatch();
      this.#lane.flush();
      this.#source.flush(this.#now);
      if (read === 0) return false;
    }
    return true;
  }

  #isReadable(): boolean {
    if (this.#lane.isReadable()) return true;
    // Asked even while the broker takes nothing: news that are not taken in would end each wait at once.
    if (this.#source.isReadable() && !this.#services.isBlocked) return true;
    if (this.#audience?.isReadable()) return true;
    return this.#sockets.hasQuestion;
  }

  /** Reads who subscribes, and tells those who have; returns ms until it must run again. */
  #publish(publisher: Publisher): number {
    this.#audience?.read(this.#now);
    return publisher.pass(this.#now);
  }

  #readLane(): number {
    return this.#lane.read(this.#now);
  }

  #readSource(): number {
    const read = this.#source.read(this.#now);
    if (read > 0) this.#readAt = this.#now;
    return read;
  }

  #answerQuestions(): number {
    let read = 0;
    while (read < QUESTIONS && this.#sockets.answerQuestion()) read++;
    return read;
  }

  #sendEnded(): void {
    for (const { replies } of this.#services.all) {
      if (replies.sendEnded(this.#now)) this.#worked();
    }
  }

  /** Sends what can be sent to workers; returns how many jobs that was. */
  #dispatch(): number {
    let jobs = 0;
    for (const { dispatcher } of this.#services.all) jobs += dispatcher.sendAll(this.#now);
    if (jobs > 0) this.#worked();
    this.#sendEnded();
    return jobs;
  }

  // ---- what is due ----

  /** Notes that something has changed: all that ticks is asked again, and "worked" is told. */
  #worked(): void {
    this.#hasWorked = true;
    this.#ticks.touch();
  }

  #tellWorked(now: number): number {
    if (!this.#hasWorked) return Infinity;
    if (now < this.#workedAt) return this.#workedAt - now;
    this.#workedAt = now + this.#workedInterval;
    this.#hasWorked = false;
    this.#events.add({ type: "worked" });
    return Infinity;
  }

  #tickBrokers(now: number): number {
    let sleepMs = Infinity;
    for (const { broker } of this.#services.all) sleepMs = Math.min(sleepMs, broker.tick(now));
    this.#sendEnded();
    this.#workers.endOverruns();
    return sleepMs;
  }

  #tickReplies(now: number): number {
    let sleepMs = Infinity;
    for (const { replies } of this.#services.all) sleepMs = Math.min(sleepMs, replies.tick(now));
    return sleepMs;
  }

  #tickWorkers(now: number): number {
    const told = this.#events.size;
    const sleepMs = this.#workers.tick(now);
    if (this.#events.size > told) this.#worked();
    return sleepMs;
  }

  /** Finds clients that have left while nothing is read from any; returns ms until it must run again. */
  #findGone(now: number): number {
    if (!this.#services.isBlocked) {
      this.#goneAt = now + GONE_INTERVAL;
      return Infinity;
    }
    if (now >= this.#goneAt) {
      this.#source.findGone();
      this.#goneAt = now + GONE_INTERVAL;
      this.#worked();
    }
    return this.#goneAt - now;
  }

  #giveBackMemory(): void {
    for (const { broker } of this.#services.all) broker.dropSpares();
    this.#sockets.giveBackMemory();
  }
}
