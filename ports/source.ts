/**
 * Where requests come from and answers go: the seam between the broker's loop and the sockets that clients talk to.
 * Types only. Behind it stands zmq_source.ts.
 *
 * @module
 */

import type { Asker, JobRequest, Peer } from "../broker/job.ts";
import type { LogFields } from "../wire/job.ts";
import type { Pollable } from "../system/poller.ts";
import type { StreamCredit } from "../wire/credit.ts";
import type { Body } from "./body.ts";
import type { Content } from "./content.ts";
import type { Wrong } from "./wrongs.ts";

/** Where an answer goes. */
export type Address = Readonly<Asker<Body>>;

/**
 * A request as it came. `client` is its peer in the service that it asks if it names none, `bytes` counts the whole body as it came, `requestTimeout` is 0 where the client set none,
 * and `body` is empty when it was too large.
 */
export interface ClientRequest extends JobRequest<Body> {
  /** Why the body is too large; undefined: it is not. */
  excess: string | undefined;
  /** The service that is asked; "": the one of the endpoint. */
  service: string;
  /** Why the header can't be served; "": it can. */
  fault: string;
}

/** A client that is there. */
export interface Presence {
  readonly peer: Peer<Body>;
  /** Bytes of answers that it is known not to have taken; undefined: that is not known. */
  readonly unreadBytes: number | undefined;
}

/** What a source reports while it is read. */
export interface SourceEvents {
  /** Whether another message may be read now: asked before each, as one may have filled the queue. */
  mayRead(): boolean;
  /** For how many more requests the queue of a service has room: asked where clients are paused. */
  roomFor(service: number): number;
  /** A well-formed request. The record is valid during the call only, and may be changed; its parts are given away. */
  request(peer: Peer<Body>, request: ClientRequest): void;
  /** A client takes a request back. */
  cancel(peer: Peer<Body>, requestId: number, envelope: ClientRequest["envelope"]): void;
  /** A client takes more of an answer that comes in parts. */
  credit(
    peer: Peer<Body>,
    requestId: number,
    envelope: ClientRequest["envelope"],
    credit: StreamCredit,
  ): void;
  /** A client asks which version of the header is known. */
  asksForVersion(from: Address): void;
  /** A client has left, or another connection has taken its identity over. */
  gone(peer: Peer<Body>): void;
  /** A client takes no replies, and has half of those waiting that it may have. */
  stalled(peer: Peer<Body>): void;
  /** Reads what clients have sent, as a reply must know who has left; false: nothing may be read now. */
  catchUp(): boolean;
}

/** What a source has counted since the start. */
export interface SourceCounters {
  /** Messages that were not requests. */
  readonly malformed: number;
  /** Replies for clients that had left or took none. */
  readonly undelivered: number;
  /** Connections that asked to be let in and were not. */
  readonly denied: number;
  /** Identities that another connection has taken over while their holder was there, as far as known. */
  readonly takeovers: number;
  /** Peers that named themselves as only libzmq names peers. */
  readonly squatters: number;
}

/** The way of answers. */
export type AnswerWay = Pick<
  Source,
  "endpoints" | "reply" | "replyError" | "part" | "isStalled" | "pause"
>;

/** The way to the clients. */
export interface Source {
  /** What is to be waited for. It ends no wait while the queue is full. */
  readonly ports: readonly Pollable[];
  readonly counters: SourceCounters;
  /** The endpoints really bound. */
  readonly endpoints: readonly string[];
  /** Clients that have asked something and are connected. */
  readonly clients: number;
  /** These clients, each once. None may come or leave meanwhile. */
  present(): Iterable<Presence>;
  /** Connections; undefined where they are not known. */
  connections(now: number): number | undefined;
  /**
   * Listens at one more endpoint, and returns the one really bound.
   *
   * @param bound the number of the service that alone can be asked there; undefined: all can.
   * @throws {Error} when it can't be bound.
   */
  bind(endpoint: string, bound?: number): string;
  /** Does what is due, called in each pass; returns ms until something is. */
  tick(now: number): number;
  /** Reads some of what has come, up to a bound; returns how many messages that was. */
  read(now: number): number;
  /** Whether something is to be read now. Asked last before a wait. */
  isReadable(): boolean;
  /**
   * Reads nothing more of a client until `roomFor` says that a service has room; false: it can't be kept from
   * being read, or is gone.
   */
  pause(peer: Peer<Body>, service: number): boolean;
  /** Clients may leave so many bytes of replies unread from now on, all together. */
  unreadBytes: number;
  /** Whether replies wait for slow clients. */
  readonly hasUnsent: boolean;
  /** Sends an answer, with `StatusFlag`s, or keeps it until the client takes it, if that has room left. */
  reply(to: Address, code: number, flags: number, content: Content, now: number): void;
  /** The same of an error that the broker made. */
  replyError(to: Address, code: number, flags: number, message: string, now: number): void;
  /**
   * Sends a part of an answer, progress, or the end of parts, with the status of wire/request.ts; false: its client
   * has left, or has no room left for it. Only for requests that have a number.
   */
  part(to: Address, flags: number, number: number, content: Content, now: number): boolean;
  /** Sends what was not taken so far; called at the end of each pass. */
  flush(now: number): void;
  /** Whether a client takes no replies, and has half of those waiting that it may have. */
  isStalled(peer: Peer<Body>, now: number): boolean;
  /** Finds clients that have hung up while nothing is read from any. */
  findGone(): void;
  /** Log fields about the latest occurrence of a wrong. */
  lastOf(wrong: Wrong): LogFields;
  /** Gives memory back that is not in use. */
  giveBackMemory(): void;
  /** Takes no more connections and reads no more; resolves once all replies are taken, or after `lingerMs`. */
  close(lingerMs: number): Promise<void>;
  /** Closes all at once; replies that are on their way are lost. */
  closeNow(): void;
}
