/**
 * Majordomo's peers on sockets of our own. What their messages mean is mdp_source.ts's.
 *
 * @module
 */

import { newPeer, type Peer } from "../broker/job.ts";
import type { Libc } from "../system/libc.ts";
import { copyBytes } from "../wire/copy_bytes.ts";
import { buildJobHeader, type LogFields } from "../wire/job.ts";
import { FrameFlag, headBytes, writeHead } from "../wire/zmtp.ts";
import type { Body, BodyPool } from "./body.ts";
import type { Connection } from "./connection.ts";
import type { Content } from "./content.ts";
import { framesSize, writeFrames } from "./frame_writing.ts";
import {
  isWorker,
  MDP_PLACES,
  type MdpPeer,
  type MdpRouter,
  type MdpRouterEvents,
  stageAfter,
} from "./mdp_router.ts";
import { MessageRouter, type MessageRouterOptions } from "./message_router.ts";
import type { Router } from "./router.ts";
import type { Presence, SourceCounters } from "./source.ts";
import type { Wrong } from "./wrongs.ts";

type Bytes = Uint8Array<ArrayBuffer>;
type Link = Connection<MdpPeer>;

/** Content of one frame that is sent from where it lies if it has more bytes than this. */
const DIRECT_BYTES = 16_384;
const decoder = new TextDecoder();

/** A router of our own. Its links are its connections. */
export class NativeMdpRouter implements MdpRouter {
  readonly #base: MessageRouter<MdpPeer>;
  readonly #router: Router<MdpPeer>;

  /**
   * Listens nowhere yet.
   *
   * @throws {SystemError} when the system has no file descriptor left.
   */
  constructor(
    libc: Libc,
    bodies: BodyPool,
    options: MessageRouterOptions,
    events: MdpRouterEvents,
  ) {
    this.#base = new MessageRouter<MdpPeer>(libc, bodies, options, {
      mayRead: () => events.mayRead(),
      roomFor: (service) => events.roomFor(service),
      refusal: (address, open) => events.refusal(address, open),
      plain: (link) => events.unknown(link, "it is a plain request"),
      whole: ({ connection, envelope: opening, bytes, frames }, body) => {
        events.message(connection, { opening, body, bytes, frames });
      },
      malformed: (link) => events.unknown(link, "it is no message of Majordomo"),
      gone: (link) => events.gone(link),
      stalled: (link) => events.stalled(link),
    }, stageAfter);
    this.#router = this.#base.router;
  }

  get ports(): readonly Router<MdpPeer>[] {
    return [this.#router];
  }

  get counters(): SourceCounters {
    return this.#base.counters;
  }

  get endpoints(): readonly string[] {
    return this.#base.endpoints;
  }

  get hasUnsent(): boolean {
    return this.#base.hasUnsent;
  }

  set unreadBytes(bytes: number) {
    this.#base.unreadBytes = bytes;
  }

  misspoke(link: Pick<Link, "address">, reason: string): void {
    this.#base.misspoke(link, reason);
  }

  lastOf(wrong: Wrong): LogFields {
    return this.#base.lastOf(wrong);
  }

  *clients(): Generator<Presence> {
    for (const { peer, unread: unreadBytes } of this.#router.all()) {
      if (peer !== undefined && !isWorker(peer)) yield { peer, unreadBytes };
    }
  }

  connections(): number {
    return this.#router.connections;
  }

  bind(endpoint: string): string {
    return this.#base.bind(endpoint);
  }

  read(now: number): number {
    return this.#router.read(now);
  }

  isReadable(): boolean {
    return this.#router.isReadable();
  }

  tick(now: number): number {
    return this.#router.tick(now);
  }

  flush(now: number): void {
    this.#base.flush(now);
  }

  findGone(): void {
    this.#router.findGone();
  }

  giveBackMemory(): void {
    this.#base.giveBackMemory();
  }

  welcome(link: Link): Peer<Body> {
    const { place, identity, address } = link;
    const header = buildJobHeader(decoder.decode(identity), address, "");
    return newPeer<Body>(MDP_PLACES + place, header);
  }

  linkOf(client: Peer<Body>): Link | undefined {
    const link = this.#router.at(client.place - MDP_PLACES);
    return link?.peer === client ? link : undefined;
  }

  send(link: Link, way: readonly Bytes[], content: Content, now: number): boolean {
    const isSent = link.isThere && this.#send(link, way, content, now);
    if (!isSent) this.#base.undelivered++;
    return isSent;
  }

  #send(link: Link, way: readonly Bytes[], content: Content, now: number): boolean {
    const { outlets } = this.#router;
    const { size, sizes } = content;
    const first = waySize(way);
    if (size > DIRECT_BYTES && sizes === undefined) {
      if (outlets.openInChunk(link, first + headBytes(size), now)) {
        writeHead(outlets.bytes, writeWay(outlets.bytes, outlets.at, way), size, 0);
        outlets.sendContent(link, content, now);
        return true;
      }
    }
    if (!outlets.open(link, first + framesSize(content), now)) return false;
    writeFrames(outlets.bytes, writeWay(outlets.bytes, outlets.at, way), content);
    return true;
  }

  hasTaken({ backlog, used, isThere }: Link): boolean {
    return !isThere || (backlog === undefined && used === 0);
  }

  isStalled(link: Link, now: number): boolean {
    return !isWorker(link.peer) && this.#base.isStalled(link, now);
  }

  pause(link: Link, service: number): boolean {
    this.#router.pause(link, service);
    return true;
  }

  close(lingerMs: number): Promise<void> {
    return this.#base.close(lingerMs);
  }

  closeNow(): void {
    this.#base.closeNow();
  }
}

/** Bytes over the wire of the frames ahead of an answer. */
function waySize(way: readonly Bytes[]): number {
  let size = 0;
  for (const { length } of way) size += headBytes(length) + length;
  return size;
}

/** Writes these; returns where what follows begins. */
function writeWay(bytes: Bytes, start: number, way: readonly Bytes[]): number {
  let at = start;
  for (const frame of way) {
    at = writeHead(bytes, at, frame.length, FrameFlag.MORE);
    copyBytes(bytes, at, frame, 0, frame.length);
    at += frame.length;
  }
  return at;
}
