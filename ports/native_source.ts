/**
 * The source on sockets of our own: what clients send and get, over a router's connections. Decides nothing about
 * jobs.
 *
 * @module
 */

import { newPeer, type Peer } from "../broker/job.ts";
import type { Arrivals } from "../auth/arrivals.ts";
import type { Libc } from "../system/libc.ts";
import type { Pollable } from "../system/poller.ts";
import { copyBytes } from "../wire/copy_bytes.ts";
import { buildJobHeader, type LogFields } from "../wire/job.ts";
import {
  buildErrorText,
  buildStatus,
  Code,
  PART_STATUS_BYTES,
  writePartStatus,
} from "../wire/request.ts";
import { NO_HEADER, parseRequestHeader, type RequestTerms } from "../wire/request_header.ts";
import {
  FrameFlag,
  headBytes,
  MAX_SHORT_BYTES,
  SHORT_HEAD_BYTES,
  writeHead,
} from "../wire/zmtp.ts";
import { type Body, type BodyPool, excessOf } from "./body.ts";
import type { Connection } from "./connection.ts";
import { type Content, MemoryContent, textOf } from "./content.ts";
import { copyContent, framesSize, writeFrames } from "./frame_writing.ts";
import type { Incoming } from "./incoming.ts";
import { MessageRouter, type MessageRouterOptions } from "./message_router.ts";
import type { Router } from "./router.ts";
import type {
  Address,
  ClientRequest,
  Presence,
  Source,
  SourceCounters,
  SourceEvents,
} from "./source.ts";
import { passOnWord } from "./words.ts";
import type { Wrong } from "./wrongs.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** What bounds a `NativeSource`. */
export type NativeSourceOptions = MessageRouterOptions;

/** What a `NativeSource` reports, and asks. */
export interface NativeSourceEvents extends SourceEvents {
  /** Why no other client may connect from an address, "" over ipc; undefined: one may. */
  refusal(address: string, open: Arrivals): string | undefined;
}

const NO_FRAMES: readonly Bytes[] = [];
const OK_STATUS = buildStatus(Code.ok);
const encoder = new TextEncoder();
/** Bytes of an empty frame, and of the head of a short one. */
const BARE_HEAD_BYTES = 2 * SHORT_HEAD_BYTES;
/** Content of one frame that is sent from where it lies if it has more bytes than this. */
const DIRECT_BYTES = 16_384;

/** The source on sockets of our own. */
export class NativeSource implements Source {
  readonly #base: MessageRouter<Peer<Body>>;
  readonly #router: Router<Peer<Body>>;
  readonly #bodies: BodyPool;
  readonly #events: NativeSourceEvents;
  readonly #error = new MemoryContent();
  /** The status of the part that is sent. */
  readonly #partStatus = new Uint8Array(PART_STATUS_BYTES);
  readonly #partView = new DataView(this.#partStatus.buffer);
  /** The request that is told of: one record for all. */
  #request: ClientRequest | undefined;
  /** When it reads, ms. */
  #now = 0;
  #clients = 0;

  /**
   * Listens nowhere yet.
   *
   * @throws {SystemError} when the system has no file descriptor left.
   */
  constructor(
    libc: Libc,
    bodies: BodyPool,
    options: NativeSourceOptions,
    events: NativeSourceEvents,
  ) {
    this.#bodies = bodies;
    this.#events = events;
    this.#base = new MessageRouter(libc, bodies, options, {
      mayRead: () => events.mayRead(),
      roomFor: (service) => events.roomFor(service),
      plain: (connection, bytes, start, end) => this.#plain(connection, bytes, start, end),
      refusal: (address, open) => events.refusal(address, open),
      whole: (message, body) => this.#whole(message, body),
      malformed: (connection) => {
        this.#base.misspoke(connection, "no empty frame ends its envelope");
      },
      gone: (connection) => this.#gone(connection),
      stalled: ({ peer }) => {
        if (peer !== undefined) events.stalled(peer);
      },
    });
    this.#router = this.#base.router;
  }

  // ---- what clients send ----

  get ports(): readonly Pollable[] {
    return [this.#router];
  }

  read(now: number): number {
    this.#now = now;
    return this.#router.read(now);
  }

  isReadable(): boolean {
    return this.#router.isReadable();
  }

  pause(peer: Peer<Body>, service: number): boolean {
    const connection = this.#connectionOf(peer);
    if (connection !== undefined) this.#router.pause(connection, service);
    return connection !== undefined;
  }

  /** A request without a header, whose body is one frame. */
  #plain(connection: Connection<Peer<Body>>, bytes: Bytes, start: number, end: number): void {
    const size = end - start;
    const excess = excessOf(size, 1, this.#base.limits);
    const body = this.#bodies.take(excess === undefined ? size : 0);
    copyBytes(body.bytes, 0, bytes, start, body.size);
    const peer = connection.peer ?? this.#welcome(connection);
    this.#announce(peer, NO_FRAMES, NO_HEADER, body, size, excess);
  }

  #whole({ connection, envelope, bytes, frames }: Incoming<Peer<Body>>, body: Body): void {
    const peer = connection.peer ?? this.#welcome(connection);
    const last = envelope.at(-1);
    const header = last && parseRequestHeader(last);
    if (header !== undefined && header.type !== "request" && header.fault === "") {
      passOnWord(this.#events, peer, header, envelope, body);
      return this.#bodies.release(body);
    }
    const excess = excessOf(bytes, frames, this.#base.limits);
    this.#announce(peer, envelope, header ?? NO_HEADER, body, bytes, excess);
  }

  #announce(
    peer: Peer<Body>,
    envelope: ClientRequest["envelope"],
    { id, timeout, requestTimeout, key, service, stream, resumable, trace, fault }: RequestTerms,
    body: Body,
    bytes: number,
    excess: string | undefined,
  ): void {
    const deadline = timeout > 0 ? this.#now + timeout : Infinity;
    const request = this.#request ??= {
      client: peer.home,
      envelope,
      requestId: id,
      deadline,
      requestTimeout,
      key,
      stream,
      resumable,
      trace,
      body,
      bytes,
      excess,
      service,
      fault,
    };
    request.client = peer.home;
    request.envelope = envelope;
    request.requestId = id;
    request.deadline = deadline;
    request.requestTimeout = requestTimeout;
    request.key = key;
    request.stream = stream;
    request.resumable = resumable;
    request.trace = trace;
    request.body = body;
    request.bytes = bytes;
    request.excess = excess;
    request.service = service;
    request.fault = fault;
    this.#events.request(peer, request);
  }

  // ---- who is there ----

  /** A peer's first request. */
  #welcome(connection: Connection<Peer<Body>>): Peer<Body> {
    const { place, identity, address, bound } = connection;
    const name = new TextDecoder().decode(identity);
    const peer = newPeer<Body>(place, buildJobHeader(name, address, ""), "", bound);
    connection.peer = peer;
    this.#clients++;
    return peer;
  }

  #gone({ peer }: Connection<Peer<Body>>): void {
    if (peer === undefined) return;
    this.#clients--;
    this.#events.gone(peer);
  }

  /** The connection of a client; undefined: it is gone. */
  #connectionOf(peer: Peer<Body>): Connection<Peer<Body>> | undefined {
    const connection = this.#router.at(peer.place);
    return connection?.peer === peer ? connection : undefined;
  }

  get counters(): SourceCounters {
    return this.#base.counters;
  }

  lastOf(wrong: Wrong): LogFields {
    return this.#base.lastOf(wrong);
  }

  get clients(): number {
    return this.#clients;
  }

  *present(): Generator<Presence> {
    for (const { peer, unread: unreadBytes } of this.#router.all()) {
      if (peer !== undefined) yield { peer, unreadBytes };
    }
  }

  connections(): number {
    return this.#router.connections;
  }

  findGone(): void {
    this.#router.findGone();
  }

  get endpoints(): readonly string[] {
    return this.#base.endpoints;
  }

  /** @throws {SystemError} when it can't be bound. */
  bind(endpoint: string, service?: number): string {
    return this.#base.bind(endpoint, service);
  }

  tick(now: number): number {
    return this.#router.tick(now);
  }

  giveBackMemory(): void {
    this.#base.giveBackMemory();
  }

  close(lingerMs: number): Promise<void> {
    return this.#base.close(lingerMs);
  }

  closeNow(): void {
    this.#base.closeNow();
  }

  // ---- what clients get ----

  reply(to: Address, code: number, flags: number, content: Content, now: number): void {
    const connection = this.#connectionOf(to.client.peer);
    const isSent = connection !== undefined &&
      (to.requestId === undefined && code !== Code.ok
        ? this.#sendPlainError(connection, to, code, textOf(content, 0, content.size), now)
        : this.#send(connection, to, statusOf(code, flags), content, now));
    if (!isSent) this.#base.undelivered++;
  }

  part(to: Address, flags: number, number: number, content: Content, now: number): boolean {
    const connection = this.#connectionOf(to.client.peer);
    writePartStatus(this.#partView, flags, number);
    const isSent = connection !== undefined &&
      this.#send(connection, to, this.#partStatus, content, now);
    if (!isSent) this.#base.undelivered++;
    return isSent;
  }

  replyError(to: Address, code: number, flags: number, message: string, now: number): void {
    const connection = this.#connectionOf(to.client.peer);
    const isPlain = to.requestId === undefined;
    const isSent = connection !== undefined &&
      (isPlain ? this.#sendPlainError(connection, to, code, message, now) : this.#send(
        connection,
        to,
        statusOf(code, flags),
        this.#contentOf(encoder.encode(message)),
        now,
      ));
    if (!isSent) this.#base.undelivered++;
  }

  #contentOf(bytes: Bytes, sizes?: readonly number[]): Content {
    return this.#error.set(bytes, 0, bytes.length, sizes);
  }

  /** An error as plain clients get it: an empty frame, and one with the code and the message. */
  #sendPlainError(
    connection: Connection<Peer<Body>>,
    to: Address,
    code: number,
    message: string,
    now: number,
  ): boolean {
    const text = buildErrorText(code, message);
    return this.#send(connection, to, OK_STATUS, this.#contentOf(text, [0, text.length]), now);
  }

  /** Sends an answer, with a status unless it is a plain one; false: the client has no room left for it. */
  #send(
    connection: Connection<Peer<Body>>,
    to: Address,
    status: Bytes,
    content: Content,
    now: number,
  ): boolean {
    const { outlets } = this.#router;
    const { size, sizes } = content;
    if (size <= MAX_SHORT_BYTES && sizes === undefined && isBare(to)) {
      if (!outlets.open(connection, BARE_HEAD_BYTES + size, now)) return false;
      writeBare(outlets.bytes, outlets.at, content);
      return true;
    }
    const first = headSize(to, status);
    if (size > DIRECT_BYTES && sizes === undefined) {
      if (outlets.openInChunk(connection, first + headBytes(size), now)) {
        writeHead(outlets.bytes, this.#writeFirst(to, status), size, 0);
        outlets.sendContent(connection, content, now);
        return true;
      }
    }
    if (!outlets.open(connection, first + framesSize(content), now)) return false;
    writeFrames(outlets.bytes, this.#writeFirst(to, status), content);
    return true;
  }

  /** Writes what comes before the content where the router has made room; returns where that begins. */
  #writeFirst({ envelope, requestId }: Address, status: Bytes): number {
    const { bytes, at: start } = this.#router.outlets;
    let at = start;
    for (const frame of envelope) {
      at = writeHead(bytes, at, frame.length, FrameFlag.MORE);
      copyBytes(bytes, at, frame, 0, frame.length);
      at += frame.length;
    }
    at = writeHead(bytes, at, 0, FrameFlag.MORE);
    if (requestId === undefined) return at;
    at = writeHead(bytes, at, status.length, FrameFlag.MORE);
    copyBytes(bytes, at, status, 0, status.length);
    return at + status.length;
  }

  get hasUnsent(): boolean {
    return this.#base.hasUnsent;
  }

  set unreadBytes(bytes: number) {
    this.#base.unreadBytes = bytes;
  }

  flush(now: number): void {
    this.#base.flush(now);
  }

  isStalled(peer: Peer<Body>, now: number): boolean {
    return this.#base.isStalled(this.#connectionOf(peer), now);
  }
}

/** Whether nothing but an empty frame goes before the content: so it is with nearly all answers. */
function isBare({ envelope, requestId }: Address): boolean {
  return requestId === undefined && envelope.length === 0;
}

/** Writes an empty frame, and content of one frame, which is short. */
function writeBare(bytes: Bytes, at: number, content: Content): void {
  const { size } = content;
  bytes[at] = FrameFlag.MORE;
  bytes[at + 1] = bytes[at + 2] = 0;
  bytes[at + 3] = size;
  copyContent(bytes, at + BARE_HEAD_BYTES, content, 0, size);
}

function statusOf(code: number, flags: number): Bytes {
  return code === Code.ok ? OK_STATUS : buildStatus(code, flags);
}

/** Bytes over the wire of all that comes before the content. */
function headSize({ envelope, requestId }: Address, status: Bytes): number {
  let size = SHORT_HEAD_BYTES;
  if (requestId !== undefined) size += SHORT_HEAD_BYTES + status.length;
  for (const frame of envelope) size += headBytes(frame.length) + frame.length;
  return size;
}
