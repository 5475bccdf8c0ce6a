/**
 * Majordomo's peers on libzmq: those with keys, and all where the server is told so. What their messages mean is
 * mdp_source.ts's.
 *
 * @module
 */

import type { Scene } from "../auth/crowd.ts";
import type { Peer } from "../broker/job.ts";
import type { LogFields } from "../wire/job.ts";
import type { MessagePool } from "../zmq/message.ts";
import type { Context, Socket } from "../zmq/socket.ts";
import type { Body, BodyPool } from "./body.ts";
import type { Content } from "./content.ts";
import {
  isWorker,
  MDP_PLACES,
  type MdpLink,
  type MdpPeer,
  type MdpRouter,
  type MdpRouterEvents,
  stageAfter,
} from "./mdp_router.ts";
import type { Presence, SourceCounters } from "./source.ts";
import type { Stage } from "./stage.ts";
import type { Wrong } from "./wrongs.ts";
import { ZmqRouter, type ZmqRouterOptions } from "./zmq_router.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** A peer that has said something. */
class Link implements MdpLink {
  /** Who it is as a client, and for the socket. */
  readonly client: Peer<Body>;
  readonly address: string;
  peer: MdpPeer | undefined = undefined;

  constructor(client: Peer<Body>, address: string) {
    this.client = client;
    this.address = address;
  }

  get user(): string {
    return this.client.user;
  }

  get isThere(): boolean {
    return this.client.connected;
  }
}

/** A ROUTER of libzmq. */
export class ZmqMdpRouter implements MdpRouter, Stage {
  readonly #router: ZmqRouter;
  readonly #links = new WeakMap<Peer<Body>, Link>();
  #misspoken = 0;
  /** The last message that was malformed. */
  #lastMalformed: LogFields = {};

  /** Opens the socket; `bind` comes next. */
  constructor(
    context: Context,
    messages: MessagePool,
    bodies: BodyPool,
    options: Omit<ZmqRouterOptions, "firstPlace" | "opening">,
    events: MdpRouterEvents,
  ) {
    const bounds = { ...options, firstPlace: MDP_PLACES, opening: stageAfter };
    this.#router = new ZmqRouter(context, messages, bodies, bounds, {
      mayRead: () => events.mayRead(),
      catchUp: () => events.catchUp(),
      whole: (client, opening, body, bytes, frames) => {
        events.message(this.#linkTo(client), { opening, body, bytes, frames });
      },
      malformed: (client) => {
        // The socket has counted it.
        this.#misspoken--;
        events.unknown(this.#linkTo(client), "it is no message of Majordomo");
      },
      gone: (client) => {
        const link = this.#linkTo(client);
        client.connected = false;
        events.gone(link);
      },
      stalled: (client) => events.stalled(this.#linkTo(client)),
      isKept: (client) => isWorker(this.#links.get(client)?.peer),
    });
  }

  #linkTo(client: Peer<Body>): Link {
    const known = this.#links.get(client);
    if (known !== undefined) return known;
    const link = new Link(client, this.#router.known.addressOf(client));
    this.#links.set(client, link);
    return link;
  }

  get ports(): readonly Socket[] {
    return this.#router.ports;
  }

  get counters(): SourceCounters {
    const { counters } = this.#router;
    return { ...counters, malformed: counters.malformed + this.#misspoken };
  }

  get endpoints(): readonly string[] {
    return this.#router.endpoints;
  }

  get hasUnsent(): boolean {
    return this.#router.hasUnsent;
  }

  set unreadBytes(bytes: number) {
    this.#router.unreadBytes = bytes;
  }

  misspoke({ address }: MdpLink, reason: string): void {
    this.#misspoken++;
    this.#lastMalformed = { address, reason };
  }

  lastOf(wrong: Wrong): LogFields {
    return wrong === "malformed" ? this.#lastMalformed : this.#router.lastOf(wrong);
  }

  *clients(): Generator<Presence> {
    for (const presence of this.#router.present()) {
      if (this.#links.get(presence.peer)?.peer === presence.peer) yield presence;
    }
  }

  connections(now: number): number | undefined {
    return this.#router.connections(now);
  }

  scene(now: number): Scene {
    return this.#router.scene(now);
  }

  expect(domain: string, now: number): void {
    this.#router.expect(domain, now);
  }

  /** @throws {ZmqError} when it can't be bound. */
  bind(endpoint: string): string {
    return this.#router.bind(endpoint);
  }

  read(now: number): number {
    return this.#router.read(now);
  }

  isReadable(): boolean {
    return this.#router.isReadable();
  }

  /** libzmq has threads of its own for what is due. */
  tick(): number {
    return Infinity;
  }

  flush(now: number): void {
    this.#router.flush(now);
  }

  findGone(): void {
    this.#router.findGone();
  }

  /** The messages are given back with the sockets' own. */
  giveBackMemory(): void {}

  welcome({ client }: Link): Peer<Body> {
    return client;
  }

  linkOf(client: Peer<Body>): MdpLink | undefined {
    return client.connected ? this.#links.get(client) : undefined;
  }

  send({ client }: Link, way: readonly Bytes[], content: Content, now: number): boolean {
    return this.#router.replies.send(client, way, content, now);
  }

  hasTaken({ client }: Link): boolean {
    return !client.connected || this.#router.replies.hasTaken(client, performance.now());
  }

  isStalled({ client }: Link, now: number): boolean {
    return this.#router.isStalled(client, now);
  }

  /** What all have sent comes out of one socket. */
  pause(): boolean {
    return false;
  }

  close(lingerMs: number): Promise<void> {
    return this.#router.close(lingerMs);
  }

  closeNow(): void {
    this.#router.closeNow();
  }
}
