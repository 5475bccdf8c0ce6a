/**
 * The broker's side of the clients: a ROUTER socket, the clients that are there, what they send and what
 * they get. Decides nothing about jobs.
 *
 * @module
 */

import type { Client } from "../broker/job.ts";
import type { Settings } from "../options/settings.ts";
import { EMPTY_FRAME } from "../wire/empty_frame.ts";
import { boundPort } from "../wire/endpoint.ts";
import { MAX_ENVELOPE_BYTES } from "../wire/request.ts";
import { HANDSHAKE_TIMEOUT, useZap, type ZapSettings } from "../zmq/curve.ts";
import { CONNECT_AND_DISCONNECT, Option, SocketType } from "../zmq/library.ts";
import type { MessagePool } from "../zmq/message.ts";
import type { Context, Socket } from "../zmq/socket.ts";
import { Clients, type Frames, routingKey } from "./clients.ts";
import { ReplySender } from "./reply_sender.ts";
import { type RequestEvents, RequestReader } from "./request_reader.ts";

export type { Frames };

/** What a `Frontend` reports while it reads and sends. */
export interface FrontendEvents extends RequestEvents {
  /** A client has left, or another connection has taken its identity over. */
  gone(client: Client<Frames>): void;
  /** A client takes no replies, and has half of those waiting that it may have. */
  stalled(client: Client<Frames>): void;
  /** Reads what clients have sent, as a reply must know who has left; false: nothing may be read now. */
  catchUp(): boolean;
}

/** What bounds a `Frontend`. */
export interface FrontendOptions
  extends Pick<Settings, "maxMessageSize" | "maxFrames">, Partial<Pick<Settings, "keepAlive">> {
  /** Maximum bytes of replies that clients have not taken. */
  unreadBytes: number;
  /** Whether endpoints may be IPv6. */
  ipv6: boolean;
  /** How it is decided who may connect; undefined: all may. */
  zap?: ZapSettings;
}

/** Maximum replies in libzmq's hands for one client, however small; more wait here. */
const CLIENT_HWM = 1000;
/**
 * Maximum requests of one client that libzmq reads ahead while the queue is full, however large. A window of 100
 * is as quick as with 1,000 of them; 32 cost a seventh more CPU, 8 half as much again.
 */
const READ_AHEAD = 64;
/** Probes of a silent peer's host that may go unanswered, in as much time again as the peer was silent. */
const PROBES = 3;

/** The socket that clients talk to. */
export class Frontend {
  /** The socket, to be waited for. */
  readonly socket: Socket;
  /** Whether libzmq reports connections; if not, they are not counted and a client is forgotten with its last job. */
  readonly notified: boolean;
  /** Who is there. */
  readonly clients: Clients;
  /** What they send. */
  readonly requests: RequestReader;
  /** What they get. */
  readonly replies: ReplySender;
  readonly #endpoints: string[] = [];
  readonly #ports = new Set<number>();

  /** Opens the socket; `bind` comes next. */
  constructor(
    context: Context,
    messages: MessagePool,
    options: FrontendOptions,
    events: FrontendEvents,
  ) {
    const socket = this.socket = context.socket(SocketType.ROUTER);
    socket.set(Option.ROUTER_MANDATORY, 1);
    socket.set(Option.SNDHWM, CLIENT_HWM);
    socket.set(Option.RCVHWM, READ_AHEAD);
    socket.set(Option.BACKLOG, 1024);
    // A connection that says nothing holds a file descriptor.
    socket.set(Option.HANDSHAKE_IVL, HANDSHAKE_TIMEOUT);
    if (options.ipv6) socket.set(Option.IPV6, 1);
    // A frame somewhat too large is answered 413; one far too large ends the connection.
    socket.setLong(Option.MAXMSGSIZE, options.maxMessageSize * 2 + MAX_ENVELOPE_BYTES);
    if (options.zap !== undefined) useZap(socket, options.zap);
    const notified = this.notified = socket.trySet(Option.ROUTER_NOTIFY, CONNECT_AND_DISCONNECT);
    // Else libzmq ignores the newcomer while the one before it is leaving, or is not known to have left.
    socket.set(Option.ROUTER_HANDOVER, 1);
    this.#findDeadHosts(options.keepAlive ?? 0);
    const proven = options.zap?.secretKey !== undefined;
    const clients = this.clients = new Clients(socket, context.library, { notified, proven }, {
      gone: (client) => {
        this.replies.forget(client);
        events.gone(client);
      },
      catchUp: () => events.catchUp(),
    });
    const stalled = (client: Client<Frames>) => events.stalled(client);
    const { unreadBytes } = options;
    this.replies = new ReplySender(context, socket, messages, clients, unreadBytes, stalled);
    this.requests = new RequestReader(socket, messages, clients, options, events);
    if (notified) clients.squatters.anchor(this.#learnCount(context, messages));
  }

  /** Has libzmq give a peer of our own an identity: it counts up from there. */
  #learnCount(context: Context, messages: MessagePool): string | number {
    const endpoint = `inproc://${crypto.randomUUID()}`;
    const id = new Uint8Array(5);
    const rest = messages.take();
    this.socket.bind(endpoint);
    const peer = context.socket(SocketType.DEALER);
    peer.connect(endpoint);
    peer.sendLast(EMPTY_FRAME);
    const size = this.socket.receiveInto(id);
    this.socket.receive(rest);
    messages.release(rest);
    peer.close(0);
    return size < 0 ? "" : routingKey(id, size);
  }

  /**
   * Has the system find hosts that are gone, which nothing else reports. libzmq's heartbeats are not used: it
   * aborts when one is due on a connection that broke while nothing more was read from it.
   */
  #findDeadHosts(keepAlive: number): void {
    if (keepAlive === 0) return;
    const idle = Math.max(1, Math.round(keepAlive / 1000));
    const interval = Math.max(1, Math.round(idle / PROBES));
    this.socket.set(Option.TCP_KEEPALIVE, 1);
    this.socket.set(Option.TCP_KEEPALIVE_IDLE, idle);
    this.socket.set(Option.TCP_KEEPALIVE_INTVL, interval);
    this.socket.set(Option.TCP_KEEPALIVE_CNT, PROBES);
    // The system does not probe while what it has sent is not acknowledged.
    this.socket.set(Option.TCP_MAXRT, (idle + interval * PROBES) * 1000);
  }

  /** The endpoints really bound. */
  get endpoints(): readonly string[] {
    return this.#endpoints;
  }

  /** The addresses of all tcp peers, also those that were not let in. */
  peers(): Iterable<Uint8Array> {
    return this.clients.peers(this.#ports);
  }

  /**
   * Listens at one more endpoint, and returns the one really bound.
   *
   * @throws {ZmqError} when it can't be bound.
   */
  bind(endpoint: string): string {
    const bound = this.socket.bind(endpoint);
    this.#endpoints.push(bound);
    const port = boundPort(bound);
    if (port !== undefined) this.#ports.add(port);
    return bound;
  }

  /** Closes; replies are still delivered for up to `lingerMs`. */
  close(lingerMs: number): void {
    this.socket.close(lingerMs);
  }
}
