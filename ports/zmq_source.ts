/**
 * The source on libzmq: what clients with keys send and get, and all clients where the server is told so. Its socket is
 * zmq_router.ts's.
 *
 * @module
 */

import type { Scene } from "../auth/crowd.ts";
import type { Peer } from "../broker/job.ts";
import type { LogFields } from "../wire/job.ts";
import type { MessagePool } from "../zmq/message.ts";
import type { Context, Socket } from "../zmq/socket.ts";
import type { Body, BodyPool } from "./body.ts";
import type { Clients } from "./clients.ts";
import type { Content } from "./content.ts";
import type { MessageReader } from "./message_reader.ts";
import type { ReplySender } from "./reply_sender.ts";
import { RequestReader } from "./request_reader.ts";
import type { Address, Presence, Source, SourceCounters, SourceEvents } from "./source.ts";
import type { Stage } from "./stage.ts";
import type { Wrong } from "./wrongs.ts";
import type { ZapHandler } from "./zap_handler.ts";
import { ZmqRouter, type ZmqRouterOptions } from "./zmq_router.ts";

/** What bounds a `ZmqSource`. */
export type ZmqSourceOptions = Omit<ZmqRouterOptions, "firstPlace" | "opening">;

/** The source on libzmq. */
export class ZmqSource implements Source, Stage {
  readonly #router: ZmqRouter;

  /** Opens the socket; `bind` comes next. */
  constructor(
    context: Context,
    messages: MessagePool,
    bodies: BodyPool,
    options: ZmqSourceOptions,
    events: SourceEvents,
  ) {
    const requests = new RequestReader(bodies, options, events);
    this.#router = new ZmqRouter(context, messages, bodies, options, {
      mayRead: () => events.mayRead(),
      gone: (peer) => events.gone(peer),
      stalled: (peer) => events.stalled(peer),
      catchUp: () => events.catchUp(),
      whole: (peer, envelope, body, bytes, frames, now) => {
        requests.take(peer, envelope, body, bytes, frames, now);
      },
    });
  }

  /** What is waited for. */
  get port(): Socket {
    return this.#router.port;
  }

  get ports(): readonly Socket[] {
    return this.#router.ports;
  }

  /** Who is there. */
  get known(): Clients {
    return this.#router.known;
  }

  /** What they send. */
  get requests(): Pick<MessageReader, "read" | "malformed"> {
    return this.#router.incoming;
  }

  /** What they get. */
  get replies(): ReplySender {
    return this.#router.replies;
  }

  /** Whether libzmq reports connections. */
  get notified(): boolean {
    return this.#router.notified;
  }

  /** The one who decides who may connect; undefined: all may. */
  set zap(zap: ZapHandler) {
    this.#router.zap = zap;
  }

  get endpoints(): readonly string[] {
    return this.#router.endpoints;
  }

  get counters(): SourceCounters {
    return this.#router.counters;
  }

  get clients(): number {
    return this.known.size;
  }

  present(): Iterable<Presence> {
    return this.#router.present();
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

  /** One client alone can't be left unread: what all have sent comes out of one socket. */
  pause(): boolean {
    return false;
  }

  /** libzmq has threads of its own for what is due. */
  tick(): number {
    return Infinity;
  }

  isReadable(): boolean {
    return this.#router.isReadable();
  }

  set unreadBytes(bytes: number) {
    this.#router.unreadBytes = bytes;
  }

  get hasUnsent(): boolean {
    return this.#router.hasUnsent;
  }

  reply(to: Address, code: number, flags: number, content: Content, now: number): void {
    this.replies.reply(to, code, flags, content, now);
  }

  part(to: Address, flags: number, number: number, content: Content, now: number): boolean {
    return this.replies.part(to, flags, number, content, now);
  }

  replyError(to: Address, code: number, flags: number, message: string, now: number): void {
    this.replies.replyError(to, code, flags, message, now);
  }

  flush(now: number): void {
    this.#router.flush(now);
  }

  isStalled(client: Peer<Body>, now: number): boolean {
    return this.#router.isStalled(client, now);
  }

  findGone(): void {
    this.#router.findGone();
  }

  lastOf(wrong: Wrong): LogFields {
    return this.#router.lastOf(wrong);
  }

  /** The messages are given back with the sockets' own. */
  giveBackMemory(): void {}

  close(lingerMs: number): Promise<void> {
    return this.#router.close(lingerMs);
  }

  closeNow(): void {
    this.#router.closeNow();
  }
}
