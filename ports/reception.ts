/**
 * What clients ask comes in here: finds the service, and sees whether the client may ask it, whether the request can
 * be served, and whether it was answered before. All else is the service's.
 *
 * @module
 */

import { type Client, clientIn, clientsOf, type Peer } from "../broker/job.ts";
import { newCounters } from "../broker/counters.ts";
import { readClient } from "../wire/job.ts";
import type { StreamCredit } from "../wire/credit.ts";
import { Code } from "../wire/request.ts";
import { type Body, type BodyPool, weigh } from "./body.ts";
import { traceIn } from "./error_replies.ts";
import type { EventQueue } from "./event_queue.ts";
import { MDP_PLACES } from "./mdp_router.ts";
import { isQuestioner } from "./questions.ts";
import { JOBS_ALONE, type Services } from "./services.ts";
import type { AnswerWay, ClientRequest } from "./source.ts";
import type { Unit } from "./unit.ts";

/** What a `Reception` works with. */
export interface ReceptionGround {
  services: Services;
  source: AnswerWay;
  bodies: BodyPool;
  events: EventQueue;
  /** Whether there is an access log. */
  visits: boolean;
  /** Where jobs are stored. */
  counter: StoreCounter;
}

/** What asks the store; see sources/job_counter.ts. */
export interface StoreCounter {
  /** Whether it has the service of this name. */
  serves(name: string): boolean;
  /** A request to one of its services. The body is given away. */
  request(peer: Peer<Body>, request: ClientRequest, now: number): void;
  /** A request whose first frame says which. */
  command(peer: Peer<Body>, request: ClientRequest, now: number): void;
  /** A request to a service that has all its requests stored. */
  store(unit: Unit, peer: Peer<Body>, request: ClientRequest, now: number): void;
  /** A client takes a request back; false: it is none of these. */
  cancel(peer: Peer<Body>, requestId: number): boolean;
  /** A client has left. */
  gone(peer: Peer<Body>): void;
}

/** What requests of a client that does not read its replies are answered. */
const STALLED = "The client does not take its replies";
/** The same where a full queue must not keep other services from being asked. */
const FULL = "The queue is full";
const NO_PLAIN_SERVICE = "The server has no service without a name, and the request names none";

/** The way of requests to their services. */
export class Reception {
  readonly #services: Services;
  readonly #source: AnswerWay;
  readonly #bodies: BodyPool;
  readonly #events: EventQueue;
  readonly #visits: boolean;
  readonly #counter: StoreCounter;
  /** What was asked of no service. */
  readonly #counters = newCounters();

  /** Has taken nothing in yet. */
  constructor({ services, source, bodies, events, visits, counter }: ReceptionGround) {
    this.#services = services;
    this.#source = source;
    this.#bodies = bodies;
    this.#events = events;
    this.#visits = visits;
    this.#counter = counter;
  }

  /** Requests that no service was there for. */
  get unaddressed(): number {
    return this.#counters.rejected;
  }

  /** A client asks something: it is answered as before, refused, or becomes a job. */
  request(peer: Peer<Body>, request: ClientRequest, now: number): void {
    const { service } = request;
    const unit = service === "" ? this.#services.at(peer.home.service) : this.#named(peer, service);
    if (unit === undefined) return this.#askStore(peer, request, now);
    if (peer.home.service !== unit.number) request.client = clientIn(peer, unit.number);
    this.#take(unit, peer, request, now);
  }

  /** What no service of a handler's is asked for may be for the store. */
  #askStore(peer: Peer<Body>, request: ClientRequest, now: number): void {
    if (request.service === "" && peer.bound === JOBS_ALONE) {
      this.#counter.command(peer, request, now);
    } else if (this.#counter.serves(request.service)) this.#counter.request(peer, request, now);
    else this.#turnAway(request, now);
  }

  /** The service that a request names; undefined: it is not to be had where the request came in. */
  #named({ bound, place }: Peer<Body>, name: string): Unit | undefined {
    const unit = this.#services.named(name);
    if (unit?.isAwaited && place < MDP_PLACES) return undefined;
    return bound === undefined || bound === unit?.number ? unit : undefined;
  }

  #take(unit: Unit, peer: Peer<Body>, request: ClientRequest, now: number): void {
    const { broker, replies } = unit;
    const { body, bytes, excess, fault } = request;
    broker.meter.bytesIn += bytes;
    // Parts are sent as they come, to one client alone.
    if (request.stream !== undefined && request.stream.parts > 0) request.key = "";
    // A key belongs to its user: nobody gets another user's answer.
    if (request.key !== "") request.key = `${peer.user}\0${request.key}`;
    request.requestTimeout = broker.timeLimit(request.requestTimeout);
    request.bytes = weigh(bytes, body.frames - 1);
    if (fault !== "") {
      broker.reject({ ...request, bytes: 0 }, Code.badRequest, fault);
    } else if (!unit.admits(peer.user)) {
      broker.reject({ ...request, bytes: 0 }, Code.forbidden, notAllowed(peer, unit));
    } else if (excess !== undefined) {
      broker.reject({ ...request, bytes: 0 }, Code.tooLarge, excess);
    } else if (this.#source.isStalled(peer, now)) {
      // The requests that it has waiting would be run for nothing, too.
      this.stalled(peer);
      broker.refuse({ ...request, key: "" }, STALLED);
    } else if (unit.isDurable) {
      this.#counter.store(unit, peer, request, now);
    } else if (request.key !== "" && replies.sendKept(request, now)) {
      return;
    } else if (this.#isCrowded(unit, peer) && !this.#hasPlace(unit, peer)) {
      broker.refuse({ ...request, key: "" }, FULL);
    } else {
      // If an earlier job of the same key answers this request too, its body is not needed.
      const taken = broker.submit(request, now);
      if (taken.request.body !== body) this.#bodies.release(body);
      else {
        unit.book?.arrived(taken, bytes, now);
        if (unit.topics.wanted !== 0 && taken.state === "queued") unit.topics.queued(taken, bytes);
      }
    }
  }

  /** Whether the queue is full, and more comes in all the same: others are read on, or workers are. */
  #isCrowded(unit: Unit, peer: Peer<Body>): boolean {
    return this.#services.isCrowded(unit) || isQuestioner(peer) && unit.broker.admission.isBlocked;
  }

  /**
   * Whether one more request may wait though the queue is full: nothing more is read of its client until there is
   * room, and what others have sent to other services is.
   */
  #hasPlace({ broker, number }: Unit, peer: Peer<Body>): boolean {
    return !broker.admission.isOverfull && this.#source.pause(peer, number);
  }

  /** Answers a request for which there is no service. */
  #turnAway(request: ClientRequest, now: number): void {
    const { client, body, bytes, service, fault } = request;
    this.#counters.requests++;
    this.#counters.rejected++;
    const code = fault === "" ? Code.notFound : Code.badRequest;
    const message = fault !== "" ? fault : service === "" ? NO_PLAIN_SERVICE : noService(service);
    if (this.#visits) {
      const size = { in: bytes, out: message.length };
      this.#tellVisit(client, service, code, size, traceIn(request));
    }
    this.#source.replyError(request, code, 0, message, now);
    this.#bodies.release(body);
  }

  #tellVisit(
    { peer }: Client<Body>,
    service: string,
    code: number,
    bytes: { in: number; out: number },
    trace: string | undefined,
  ): void {
    this.#events.addVisit({
      job: undefined,
      id: undefined,
      service,
      client: readClient(peer.header),
      code,
      attempt: undefined,
      queued: 0,
      handler: undefined,
      total: 0,
      ...bytes,
      shared: undefined,
      trace,
    });
  }

  /** A client takes a request back. */
  cancel(
    peer: Peer<Body>,
    requestId: number,
    envelope: ClientRequest["envelope"],
    now: number,
  ): void {
    if (this.#counter.cancel(peer, requestId)) return;
    for (const client of clientsOf(peer)) {
      const unit = this.#services.at(client.service);
      const job = unit?.broker.cancellations.cancel(client, requestId, envelope, now);
      if (job !== undefined) unit?.dispatcher.cancel(job);
    }
  }

  /** A client takes more of an answer that comes in parts. */
  credit(
    peer: Peer<Body>,
    requestId: number,
    envelope: ClientRequest["envelope"],
    credit: StreamCredit,
  ): void {
    for (const client of clientsOf(peer)) {
      this.#services.at(client.service)?.parts.grant(client, requestId, envelope, credit);
    }
  }

  /** A client has left. */
  gone(peer: Peer<Body>, now: number): void {
    peer.connected = false;
    this.#counter.gone(peer);
    for (const client of clientsOf(peer)) {
      const unit = this.#services.at(client.service);
      for (const job of unit?.broker.cancellations.disconnect(client, now) ?? []) {
        unit?.dispatcher.cancel(job);
      }
    }
  }

  /** A client takes no replies: what it has waiting would be run for nothing. */
  stalled(peer: Peer<Body>): void {
    for (const client of clientsOf(peer)) {
      this.#services.at(client.service)?.broker.cancellations.refuseWaiting(client, STALLED);
    }
  }
}

function noService(name: string): string {
  return `The server has no service ${JSON.stringify(name)}`;
}

function notAllowed({ user }: Peer<Body>, { name }: Unit): string {
  const service = name === ""
    ? "the service without a name"
    : `the service ${JSON.stringify(name)}`;
  return `The user ${JSON.stringify(user)} may not ask ${service}`;
}
