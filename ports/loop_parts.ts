/**
 * What the loop is made of, and which part hears what another one says. Not here: when each has its turn (loop.ts).
 *
 * @module
 */

import type { ClientList } from "../auth/client_list.ts";
import type { Worker } from "../broker/job.ts";
import { JobNumbers } from "../broker/job_records.ts";
import { StoredJobs } from "../sources/stored_jobs.ts";
import { StoreSide } from "../sources/store_side.ts";
import { Code } from "../wire/request.ts";
import type { Library } from "../zmq/library.ts";
import { Answers } from "./answers.ts";
import type { Audience } from "./audience.ts";
import type { Body } from "./body.ts";
import { MemoryContent } from "./content.ts";
import { Doorkeeper } from "./doorkeeper.ts";
import { EventQueue } from "./event_queue.ts";
import type { Lane, LaneEvents } from "./lane.ts";
import { unreadBytes } from "./loop_orders.ts";
import { LoopView, stateOf } from "./loop_view.ts";
import { MadeServices } from "./made_services.ts";
import type { Look, LoopEvent, ServiceSetup } from "./messages.ts";
import type { Directory } from "./mmi.ts";
import { Publisher } from "./publisher.ts";
import { Questions } from "./questions.ts";
import { Reception } from "./reception.ts";
import { JOBS_ALONE, JOBS_BINDING, numberServices, Services } from "./services.ts";
import type { JoinSocketOptions, SocketEvents, SocketOptions } from "./socket_options.ts";
import { Sockets } from "./sockets.ts";
import type { Source, SourceEvents } from "./source.ts";
import { StoreWire } from "./store_wire.ts";
import type { Turn } from "./turn.ts";
import type { Unit } from "./unit.ts";
import { OWN_VERSION } from "./words.ts";
import { Workers } from "./workers.ts";

/** What a loop is made by. */
export interface PartsOptions extends SocketOptions {
  /** All services: one at least. */
  services: readonly ServiceSetup[];
  /** Endpoints where plain clients speak of stored jobs alone. @default {[]} */
  jobs?: readonly string[];
  /** Whether "visits" are told: there is an access log. */
  visits?: boolean;
  /** Whether it is told why jobs went to their workers: the log takes lines of level debug. */
  traces?: boolean;
  /** Where pools on other machines join, and the names of those that may, by their public keys. */
  joinable?: JoinSocketOptions & { readonly names: ClientList } | undefined;
}

const VERSION = new MemoryContent().set(OWN_VERSION, 0, OWN_VERSION.length);

/** The parts of one loop, tied together. */
export class LoopParts {
  readonly #turn: Turn;
  readonly services: Services;
  readonly events: EventQueue;
  readonly sockets: Sockets;
  readonly source: Source;
  readonly lane: Lane;
  /** Undefined where nobody can subscribe to events. */
  readonly audience: Audience | undefined;
  readonly publisher: Publisher | undefined;
  readonly doorkeeper: Doorkeeper;
  readonly reception: Reception;
  readonly #questions: Questions;
  /** The way to the store of jobs. */
  readonly wire: StoreWire;
  readonly stored: StoreSide;
  readonly workers: Workers;
  /** Undefined where no worker may speak Majordomo. */
  readonly made: MadeServices | undefined;
  readonly view: LoopView;
  #hasToldUnheard = false;

  /**
   * Makes them all, and binds the sockets.
   *
   * @param turn is told what happens, and knows the time.
   * @throws {ZmqError} when an endpoint can't be bound.
   */
  constructor(
    library: Library,
    options: PartsOptions,
    listener: (event: LoopEvent) => void,
    turn: Turn,
  ) {
    this.#turn = turn;
    const events = this.events = new EventQueue(listener);
    const doorkeeper = this.doorkeeper = new Doorkeeper(options, events, () => this.audience);
    const numbered = numberServices(options.services);
    const jobCounter = { name: JOBS_BINDING, number: JOBS_ALONE, frontend: options.jobs ?? [] };
    const bounds = { ...options, bindings: [...numbered, jobCounter] };
    const unread = unreadBytes(numbered);
    const sockets = this.sockets = new Sockets(library, bounds, unread, this.#socketEvents());
    const audience = this.audience = sockets.audience;
    const hasKeys = options.access?.secretKey !== undefined;
    const publisher = this.publisher = audience &&
      new Publisher(audience, events, () => stateOf(this.look()), hasKeys);
    const { bodies } = sockets;
    const source = this.source = sockets.source;
    const lane = this.lane = sockets.lane;
    const { visits = false, traces = false } = options;
    const questions = this.#questions = new Questions({
      lane,
      bodies,
      limits: options,
      reception: () => this.reception,
    });
    const wire = this.wire = new StoreWire({
      wanted: () => events.add({ type: "storeWanted" }),
      came: () => this.sockets.wake(),
    });
    const jobs = new StoredJobs({
      services: () => this.services,
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
    const services = this.services = new Services(ground);
    for (const setup of numbered) services.add(setup, setup.number);
    const { majordomo } = options;
    this.made = majordomo && new MadeServices({ services, events }, majordomo);
    const stored = this.stored = new StoreSide({
      ...{ wire, services, source: answers, bodies, events, visits },
      askingJob: (peer) => questions.jobOf(peer),
      over: (job) => publisher?.over(job),
    }, jobs);
    const { counter } = stored;
    this.reception = new Reception({ services, source: answers, bodies, events, visits, counter });
    const { access, joinAccess } = doorkeeper;
    const workers = this.workers = new Workers({
      ...{ services, lane, events, questions, access, joinAccess },
    });
    this.view = new LoopView({
      ...{ services, source, lane, workers, audience, publisher },
      reception: this.reception,
    });
  }

  /** How things are now. */
  look(): Look {
    return this.view.look(this.#turn.readAt, performance.now());
  }

  /** Reads from clients; returns how many messages that was. */
  readSource(): number {
    const read = this.source.read(this.#turn.now);
    if (read > 0) this.#turn.readAt = this.#turn.now;
    return read;
  }

  #socketEvents(): SocketEvents {
    const { doorkeeper } = this;
    const turn = this.#turn;
    return {
      source: this.#sourceEvents(),
      lane: this.#laneEvents(),
      decide: (request, stage) => doorkeeper.decide(request, stage, turn.now),
      decideJoiner: (request, isTold) => doorkeeper.decideJoiner(request, isTold, turn.now),
      joiners: this.#joinerEvents(),
      refusal: (address, open) => doorkeeper.access?.refusal(address, open),
      directory: this.#directory(),
      mdpWorkers: this.#mdpWorkerEvents(),
      subscribed: () => {
        this.publisher?.changed();
        turn.again = true;
      },
    };
  }

  #joinerEvents(): SocketEvents["joiners"] {
    const { doorkeeper, events } = this;
    return {
      said: (joiner, name, address, text) => {
        events.add({ type: "joinerSaid", joiner, name, address, text });
        this.#turn.worked();
      },
      gone: (joiner) => {
        events.add({ type: "joinerGone", joiner });
        this.#turn.worked();
      },
      opened: (connection, isNamedByUs) => doorkeeper.joinerOpened(connection, isNamedByUs),
      closed: (connection) => doorkeeper.joinAccess?.closed(connection),
    };
  }

  #directory(): Directory {
    return {
      workersOf: (name) => {
        const unit = this.services.named(name);
        return unit?.isAwaited ? undefined : unit?.broker.workers.size;
      },
      expect: (name) => this.made?.expect(name, this.#turn.now),
    };
  }

  #mdpWorkerEvents(): SocketEvents["mdpWorkers"] {
    return {
      join: (name, address, user) => {
        this.#turn.worked();
        return this.made?.join(name, address, user, this.#turn.now) ?? "nobody may be a worker";
      },
      reply: (worker, reply, content) => {
        this.#unitOf(worker).replies.take(worker, reply, content, this.#turn.now);
      },
      part: (worker, job, content) => {
        return this.#unitOf(worker).parts.offer(worker, job, content, this.#turn.now);
      },
      giveUp: (worker, job, message) => {
        this.#unitOf(worker).parts.giveUp(worker, job, message, this.#turn.now);
      },
      alive: (worker) => this.#unitOf(worker).dispatcher.sendProven(worker, this.#turn.now),
      gone: (worker, end, reason) => {
        this.made?.gone(worker, end, reason, this.#turn.now);
        this.#turn.worked();
      },
    };
  }

  #sourceEvents(): SourceEvents {
    return {
      mayRead: () => !this.services.isBlocked,
      roomFor: (service) => this.services.roomFor(service),
      request: (peer, request) => this.reception.request(peer, request, this.#turn.now),
      cancel: (peer, requestId, envelope) => {
        this.reception.cancel(peer, requestId, envelope, this.#turn.now);
      },
      credit: (peer, requestId, envelope, credit) => {
        this.reception.credit(peer, requestId, envelope, credit);
      },
      asksForVersion: (from) => this.source.reply(from, Code.ok, 0, VERSION, this.#turn.now),
      gone: (peer) => {
        this.reception.gone(peer, this.#turn.now);
        // It may be all that was read, and counts as no message.
        this.#turn.worked();
      },
      stalled: (peer) => this.reception.stalled(peer),
      catchUp: () => {
        const hasRead = this.readSource() > 0;
        this.#turn.again ||= hasRead;
        return hasRead;
      },
    };
  }

  #laneEvents(): LaneEvents {
    return {
      expects: (token, pid) => this.workers.expects(token, pid),
      loaded: (token, pid) => this.workers.loaded(token, pid),
      failed: (token, message, pid) => this.workers.failed(token, message, pid),
      admit: (token, pid) => this.workers.admit(token, this.#turn.now, pid),
      reply: (worker, reply, content) => {
        this.#unitOf(worker).replies.take(worker, reply, content, this.#turn.now);
      },
      question: (worker, job, content) => {
        this.#questions.ask(worker, job, content, this.#turn.now);
      },
      publish: (worker, content, retain) => {
        if (this.publisher === undefined) this.#tellUnheard(worker);
        else this.publisher.relay(worker.id, content, retain, this.#turn.now);
      },
      withdrawn: (worker, question) => this.#questions.withdraw(worker, question, this.#turn.now),
      part: (worker, job, content) => {
        this.#unitOf(worker).parts.take(worker, job, content, this.#turn.now);
      },
      progress: (worker, job, content) => {
        this.#unitOf(worker).parts.progress(worker, job, content, this.#turn.now);
      },
      alive: (worker) => this.#unitOf(worker).dispatcher.sendProven(worker, this.#turn.now),
      returned: (worker, job) =>
        this.#unitOf(worker).broker.workforce.giveBack(worker, job, this.#turn.now),
      memory: (worker, bytes) => this.workers.memory(worker, bytes),
      mayLog: (worker, bytes) => this.workers.mayLog(worker, bytes, this.#turn.now),
      log: (worker, line) => this.workers.log(worker, line),
      retiring: (worker) => this.workers.leaving(worker),
      gone: (worker, end) => {
        this.workers.gone(worker, end, this.#turn.now);
        this.#turn.worked();
      },
    };
  }

  /** Said once: a handler may publish in each job. */
  #tellUnheard(worker: Worker<Body>): void {
    if (this.#hasToldUnheard) return;
    this.#hasToldUnheard = true;
    const message = 'a handler publishes events that nobody can hear: "events" has no endpoint';
    this.events.add({ type: "log", level: "info", message, fields: { worker: worker.id } });
  }

  #unitOf(worker: Worker<Body>): Unit {
    return this.services.of(worker);
  }
}
