/**
 * A ROUTER socket of libzmq for clients with keys, and for all where the server is told so: what sources on libzmq have
 * in common. What comes is message_reader.ts's, what is sent reply_sender.ts's, and who is there clients.ts's.
 *
 * @module
 */

import type { Scene } from "../auth/crowd.ts";
import type { Peer } from "../broker/job.ts";
import type { Settings } from "../options/settings.ts";
import { boundPort } from "../wire/endpoint.ts";
import type { LogFields } from "../wire/job.ts";
import { MAX_ENVELOPE_BYTES } from "../wire/request.ts";
import { HANDSHAKE_TIMEOUT, useZap, type ZapSettings } from "../zmq/curve.ts";
import { CONNECT_AND_DISCONNECT, Option, SocketType } from "../zmq/library.ts";
import type { MessagePool } from "../zmq/message.ts";
import type { Context, Socket } from "../zmq/socket.ts";
import type { Body, BodyPool } from "./body.ts";
import { readSome } from "./budget.ts";
import { Clients } from "./clients.ts";
import type { IncomingRoom } from "./incoming.ts";
import { learnCount } from "./learn_count.ts";
import { MessageReader, type MessageReaderEvents } from "./message_reader.ts";
import { bindOrAdopt, type PassedSockets } from "./passed_sockets.ts";
import { ReplySender } from "./reply_sender.ts";
import type { Presence, SourceCounters, SourceEvents } from "./source.ts";
import type { Stage } from "./stage.ts";
import type { Wrong } from "./wrongs.ts";
import type { ZapHandler } from "./zap_handler.ts";

/** What bounds a `ZmqRouter`. */
export interface ZmqRouterOptions
  extends Pick<Settings, "maxMessageSize" | "maxFrames">, Partial<Pick<Settings, "keepAlive">> {
  /** Maximum bytes of replies that clients have not taken. */
  unreadBytes: number;
  /** Whether endpoints may be IPv6. */
  ipv6: boolean;
  /** Endpoints whose sockets another process has bound. @default {none} */
  passed?: PassedSockets;
  /** How it is decided who may connect; undefined: all may. */
  zap?: ZapSettings;
  /** The service that alone can be asked here; undefined: all can. */
  bound?: number | undefined;
  /** Places of its peers are from here on. @default {0} */
  firstPlace?: number;
  /** How messages begin, if not with an envelope: see `IncomingRoom`. */
  opening?: IncomingRoom<never>["opening"];
}

/** What a `ZmqRouter` reports, and asks. */
export interface ZmqRouterEvents
  extends MessageReaderEvents, Pick<SourceEvents, "mayRead" | "gone" | "stalled" | "catchUp"> {
  /** Whether a peer is to be known though it waits for nothing, where libzmq does not report who leaves. */
  isKept?(peer: Peer<Body>): boolean;
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

/** A ROUTER of libzmq. */
export class ZmqRouter implements Stage {
  readonly port: Socket;
  readonly ports: readonly Socket[];
  /** Who is there. */
  readonly known: Clients;
  /** The one who decides who may connect; undefined: all may. */
  zap: ZapHandler | undefined;
  /** Whether libzmq reports connections; if not, they are not counted and a client is forgotten with its last job. */
  readonly notified: boolean;
  readonly #events: Pick<SourceEvents, "mayRead">;
  /** What they send. */
  readonly incoming: MessageReader;
  /** What they get. */
  readonly replies: ReplySender;
  readonly #endpoints: string[] = [];
  readonly #passed: PassedSockets | undefined;
  readonly #ports = new Set<number>();
  readonly #domain: string | undefined;

  /** Opens the socket; `bind` comes next. */
  constructor(
    context: Context,
    messages: MessagePool,
    bodies: BodyPool,
    options: ZmqRouterOptions,
    events: ZmqRouterEvents,
  ) {
    this.#events = events;
    this.#passed = options.passed;
    const socket = this.port = context.socket(SocketType.ROUTER);
    this.ports = [socket];
    this.#domain = options.zap?.domain;
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
    const clients = this.known = new Clients(socket, context.library, {
      notified,
      proven,
      bound: options.bound,
      firstPlace: options.firstPlace ?? 0,
    }, {
      gone: (client) => {
        this.replies.forget(client);
        events.gone(client);
      },
      catchUp: () => events.catchUp(),
      isKept: (client) => events.isKept?.(client) ?? false,
    });
    const stalled = (client: Peer<Body>) => events.stalled(client);
    const { unreadBytes } = options;
    this.replies = new ReplySender(context, socket, messages, clients, unreadBytes, stalled);
    const { opening } = options;
    this.incoming = new MessageReader(socket, messages, bodies, clients, options, events, opening);
    if (notified) clients.squatters.anchor(learnCount(socket, context, messages));
  }

  /**
   * Has the system find hosts that are gone, which nothing else reports. libzmq's heartbeats are not used: it
   * aborts when one is due on a connection that broke while nothing more was read from it.
   */
  #findDeadHosts(keepAlive: number): void {
    if (keepAlive === 0) return;
    const idle = Math.max(1, Math.round(keepAlive / 1000));
    const interval = Math.max(1, Math.round(idle / PROBES));
    this.port.set(Option.TCP_KEEPALIVE, 1);
    this.port.set(Option.TCP_KEEPALIVE_IDLE, idle);
    this.port.set(Option.TCP_KEEPALIVE_INTVL, interval);
    this.port.set(Option.TCP_KEEPALIVE_CNT, PROBES);
    // The system does not probe while what it has sent is not acknowledged.
    this.port.set(Option.TCP_MAXRT, (idle + interval * PROBES) * 1000);
  }

  get endpoints(): readonly string[] {
    return this.#endpoints;
  }

  get counters(): SourceCounters {
    const { takeovers, squatters } = this.known;
    return {
      malformed: this.incoming.malformed,
      undelivered: this.replies.undelivered,
      denied: this.zap?.denied ?? 0,
      takeovers,
      squatters: squatters.count,
    };
  }

  /** All peers that have said something and are connected. */
  *present(): Generator<Presence> {
    for (const peer of this.known.all()) {
      yield { peer, unreadBytes: this.replies.unreadOf(peer) };
    }
  }

  connections(now: number): number | undefined {
    return this.notified ? this.known.connections(now) : undefined;
  }

  /** What is connected now, for the decision whether one more may be. */
  scene(now: number): Scene {
    const { known } = this;
    return {
      now,
      connections: known.connections(now),
      speakers: known.speakers,
      isAttacked: known.squatters.isPresent,
      peers: () => known.peers(this.#ports),
    };
  }

  /** A client was let in at the socket of a ZAP domain: its connection counts from now on. */
  expect(domain: string, now: number): void {
    if (domain === this.#domain) this.known.expect(now);
  }

  /** @throws {ZmqError} when it can't be bound. */
  bind(endpoint: string): string {
    const bound = bindOrAdopt(this.port, endpoint, this.#passed);
    this.#endpoints.push(bound);
    const port = boundPort(bound);
    if (port !== undefined) this.#ports.add(port);
    return bound;
  }

  read(now: number): number {
    return readSome(() => this.#events.mayRead() && this.incoming.read(now));
  }

  isReadable(): boolean {
    return this.port.readable();
  }

  set unreadBytes(bytes: number) {
    this.replies.unreadBytes = bytes;
  }

  get hasUnsent(): boolean {
    return this.replies.hasUnsent;
  }

  flush(now: number): void {
    if (this.replies.hasUnsent) this.replies.flush(now);
  }

  isStalled(client: Peer<Body>, now: number): boolean {
    return this.replies.isStalled(client, now);
  }

  findGone(): void {
    this.known.findGone();
  }

  lastOf(wrong: Wrong): LogFields {
    if (wrong === "takeovers") return { ...this.known.lastTakeover };
    if (wrong === "denied" && this.zap !== undefined) return { ...this.zap.lastRefusal };
    return {};
  }

  /** libzmq goes on sending while its context terminates. */
  close(lingerMs: number): Promise<void> {
    this.port.close(lingerMs);
    return Promise.resolve();
  }

  closeNow(): void {
    this.port.close(0);
  }
}
