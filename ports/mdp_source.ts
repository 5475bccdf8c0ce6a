/**
 * The source of clients that speak Majordomo, in both of its versions, on sockets of our own; what workers say there is
 * passed on to mdp_workers.ts. What the frames are is in wire/mdp.ts. Decides nothing about jobs; questions after the
 * services themselves (8/MMI) it answers by itself.
 *
 * @module
 */

import { newPeer, type Peer } from "../broker/job.ts";
import type { Libc } from "../system/libc.ts";
import type { Pollable } from "../system/poller.ts";
import { copyBytes } from "../wire/copy_bytes.ts";
import type { StreamCredit } from "../wire/credit.ts";
import { buildJobHeader, type LogFields } from "../wire/job.ts";
import { type MdpOpening, partialWay, readOpening } from "../wire/mdp.ts";
import {
  buildErrorText,
  Code,
  MAX_ENVELOPE_BYTES,
  MAX_ENVELOPE_FRAMES,
  StatusFlag,
} from "../wire/request.ts";
import { FrameFlag, headBytes, MAX_HEAD_BYTES, writeHead } from "../wire/zmtp.ts";
import { type Body, type BodyPool, excessOf } from "./body.ts";
import type { Connection } from "./connection.ts";
import { type Content, MemoryContent, textOf } from "./content.ts";
import { framesSize, writeFrames } from "./frame_writing.ts";
import { Incoming, type IncomingRoom } from "./incoming.ts";
import { Intake } from "./intake.ts";
import { answerMmi, type Directory, MMI } from "./mmi.ts";
import {
  isWorker,
  type MdpPeer,
  type MdpWorkerEvents,
  type MdpWorkerOptions,
  MdpWorkers,
} from "./mdp_workers.ts";
import type { NativeSourceEvents, NativeSourceOptions } from "./native_source.ts";
import { Router, type RouterEvents } from "./router.ts";
import type { Address, ClientRequest, Source, SourceCounters } from "./source.ts";
import type { Wrong } from "./wrongs.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** What a `MdpSource` reports, and asks. */
export interface MdpSourceEvents extends NativeSourceEvents {
  /** What services there are. */
  readonly directory: Directory;
  readonly workers: Omit<MdpWorkerEvents, "wrong">;
}

/** What bounds a `MdpSource`. */
export interface MdpSourceOptions extends NativeSourceOptions {
  /** How workers are kept; undefined: nobody may be one. */
  workers: Pick<MdpWorkerOptions, "heartbeat"> | undefined;
}

/** Places of this source's peers are from here on: those of another source are below. */
export const MDP_PLACES = 2 ** 30;
/** The longest name of a service, bytes. */
const MAX_NAME_BYTES = 64;
const NAME_RULE = `The service's name must have at most ${MAX_NAME_BYTES} bytes`;
/** Content of one frame that is sent from where it lies if it has more bytes than this. */
const DIRECT_BYTES = 16_384;
/** Time between two looks whether slow clients take something, ms. */
const JUDGE_INTERVAL = 100;
/** Time between two tries to send slow clients what is left for them at the end, ms. */
const LINGER_INTERVAL = 5;
/** A message of so many frames is always read to its end, so that 413 can be told. */
const LEAST_WIRE_FRAMES = 100_000;
/** Messages in the making that are kept to be used again. */
const MAX_SPARES = 64;
/** What a client of 0.2 is sent of an answer in parts before it has taken some of it, bytes and parts. */
const STREAM: StreamCredit = { bytes: 262_144, parts: 16 };
const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Clients that speak Majordomo. */
export class MdpSource implements Source {
  readonly #router: Router<MdpPeer>;
  readonly #bodies: BodyPool;
  readonly #events: MdpSourceEvents;
  readonly #room: IncomingRoom<MdpPeer>;
  readonly #spares: Incoming<MdpPeer>[] = [];
  readonly #endpoints: string[] = [];
  readonly #own = new MemoryContent();
  /** Parts that were sent: more may be once the client has taken them. */
  #untaken: Untaken[] = [];
  /** The number of the last request whose answer may come in parts. */
  #lastId = 0;
  /** Workers that are here; undefined: nobody may be one. */
  readonly workers: MdpWorkers | undefined;
  /** When it reads, ms. */
  #now = 0;
  #clients = 0;
  #malformed = 0;
  #undelivered = 0;
  /** The last message that was malformed, or connection that was closed for what came over it. */
  #lastMalformed: LogFields = {};
  /** When slow clients are judged next, ms. */
  #judgeAt = 0;
  #isClosed = false;

  /**
   * Listens nowhere yet.
   *
   * @throws {SystemError} when the system has no file descriptor left.
   */
  constructor(
    libc: Libc,
    bodies: BodyPool,
    options: MdpSourceOptions,
    events: MdpSourceEvents,
  ) {
    const { maxMessageSize, maxFrames, unreadBytes } = options;
    const maxFrameBytes = 2 * maxMessageSize + MAX_ENVELOPE_BYTES;
    const maxWireBytes = maxFrameBytes + MAX_ENVELOPE_BYTES + MAX_HEAD_BYTES * maxFrames;
    const maxWireFrames = MAX_ENVELOPE_FRAMES + Math.max(2 * maxFrames, LEAST_WIRE_FRAMES);
    this.#room = {
      bodies,
      intake: new Intake(Math.max(unreadBytes, 2 * maxMessageSize)),
      limits: { maxMessageSize, maxFrames, maxFrameBytes, maxWireBytes, maxWireFrames },
      opening: stageAfter,
      events: {
        whole: (message, body) => this.#whole(message, body),
        malformed: (connection) => this.#unknown(connection, "it is no message of Majordomo"),
        broken: (connection, reason) => this.#router.breakOff(connection, reason),
        done: (message) => {
          if (this.#spares.length < MAX_SPARES) this.#spares.push(message);
        },
      },
    };
    this.#bodies = bodies;
    this.#events = events;
    this.#router = new Router("ROUTER", libc, bodies, options, this.#routerEvents());
    if (options.workers === undefined) return;
    const bounds = { ...options.workers, maxMessageSize, maxFrames };
    this.workers = new MdpWorkers((...message) => this.#send(...message), bodies, bounds, {
      ...events.workers,
      wrong: (connection, reason) => this.#misspoke(connection, reason),
    });
  }

  #routerEvents(): RouterEvents<MdpPeer> {
    return {
      mayRead: () => this.#events.mayRead(),
      roomFor: (service) => this.#events.roomFor(service),
      plain: (connection) => this.#unknown(connection, "it is a plain request"),
      inlet: (connection) => {
        const spare = this.#spares.pop();
        spare?.renew(connection);
        return spare ?? new Incoming(this.#room, connection);
      },
      refusal: (address, open) => this.#events.refusal(address, open),
      makeRoom: () => this.#room.intake.giveUpOldest(),
      broken: (connection, reason) => this.#misspoke(connection, reason),
      gone: (connection, undelivered) => this.#gone(connection, undelivered),
    };
  }

  #misspoke({ address }: Connection<MdpPeer>, reason: string): void {
    this.#malformed++;
    this.#lastMalformed = { address, reason };
  }

  /** What came is nothing that is said here: a worker that says so is to start anew. */
  #unknown(connection: Connection<MdpPeer>, reason: string): void {
    const { peer } = connection;
    if (isWorker(peer)) this.workers?.refuse(peer, reason, this.#now);
    else this.#misspoke(connection, reason);
  }

  // ---- what clients send ----

  get ports(): readonly Pollable[] {
    return [this.#router];
  }

  read(now: number): number {
    this.#now = now;
    if (this.#untaken.length > 0) this.#grantTaken();
    return this.#router.read(now);
  }

  isReadable(): boolean {
    return this.#router.isReadable() || this.#untaken.some(isTaken);
  }

  /** What a client has taken gives room for as much more: the protocol has no word for that. */
  #grantTaken(): void {
    const all = this.#untaken;
    this.#untaken = all.filter((part) => !isTaken(part));
    for (const { connection, peer, id, way, bytes } of all.filter(isTaken)) {
      if (connection.peer === peer) this.#events.credit(peer, id, way, { bytes, parts: 1 });
    }
  }

  pause(peer: Peer<Body>, service: number): boolean {
    const connection = this.#connectionOf(peer);
    if (connection !== undefined) this.#router.pause(connection, service);
    return connection !== undefined;
  }

  #whole(message: Incoming<MdpPeer>, body: Body): void {
    const { connection, envelope, frames, bytes } = message;
    const opening = readOpening(envelope, frames > 0);
    const isWhole = typeof opening === "object" && hasBody(opening) === frames > 0;
    if (isWhole && opening.kind !== "request" && this.workers !== undefined) {
      return this.workers.hear(connection, opening, { body, bytes, frames }, this.#now);
    }
    if (isWhole && opening.kind === "request" && !isWorker(connection.peer)) {
      const excess = excessOf(bytes, frames, this.#room.limits);
      return this.#take(connection, opening, body, bytes, excess);
    }
    this.#bodies.release(body);
    this.#unknown(connection, isWhole ? "only clients may speak here" : "it lacks a part");
  }

  /** A client's request. */
  #take(
    connection: Connection<MdpPeer>,
    { version, service, way }: Extract<MdpOpening, { kind: "request" }>,
    body: Body,
    bytes: number,
    excess: string | undefined,
  ): void {
    const known = connection.peer;
    const peer = known === undefined || isWorker(known) ? this.#welcome(connection) : known;
    const isName = service.length <= MAX_NAME_BYTES;
    const name = isName ? decoder.decode(service) : "";
    const request: ClientRequest = {
      client: peer.home,
      envelope: way,
      requestId: version === "0.2" ? ++this.#lastId : undefined,
      stream: version === "0.2" ? STREAM : undefined,
      deadline: Infinity,
      requestTimeout: 0,
      key: "",
      body,
      bytes,
      excess,
      service: name,
      fault: isName ? "" : NAME_RULE,
    };
    if (name.startsWith(MMI)) return this.#answer(request, name);
    this.#events.directory.expect(name);
    this.#events.request(peer, request);
  }

  /** Answers a question after the services. */
  #answer(request: ClientRequest, name: string): void {
    const { body } = request;
    const about = decoder.decode(body.bytes.subarray(0, body.sizes?.[0] ?? body.size));
    const answer = encoder.encode(answerMmi(name, about, this.#events.directory));
    this.reply(request, Code.ok, 0, this.#own.set(answer, 0, answer.length), this.#now);
    this.#bodies.release(body);
  }

  // ---- who is there ----

  /** A peer's first request. */
  #welcome(connection: Connection<MdpPeer>): Peer<Body> {
    const { place, identity, address } = connection;
    const header = buildJobHeader(decoder.decode(identity), address, "");
    const peer = newPeer<Body>(MDP_PLACES + place, header);
    connection.peer = peer;
    this.#clients++;
    return peer;
  }

  #gone({ peer }: Connection<MdpPeer>, undelivered: number): void {
    this.#undelivered += undelivered;
    if (peer === undefined || this.#isClosed) return;
    if (isWorker(peer)) return this.workers?.lost(peer);
    this.#clients--;
    this.#events.gone(peer);
  }

  /** The connection of a client; undefined: it is gone. */
  #connectionOf(peer: Peer<Body>): Connection<MdpPeer> | undefined {
    const connection = this.#router.at(peer.place - MDP_PLACES);
    return connection?.peer === peer ? connection : undefined;
  }

  get counters(): SourceCounters {
    const { denied, takeovers, squatters } = this.#router;
    return {
      malformed: this.#malformed,
      undelivered: this.#undelivered,
      denied,
      takeovers,
      squatters,
    };
  }

  lastOf(wrong: Wrong): LogFields {
    if (wrong === "takeovers") return { ...this.#router.lastTakeover };
    if (wrong === "denied") return { ...this.#router.lastDenial };
    return wrong === "malformed" ? this.#lastMalformed : {};
  }

  get clients(): number {
    return this.#clients;
  }

  connections(): number {
    return this.#router.connections;
  }

  findGone(): void {
    this.#router.findGone();
  }

  get endpoints(): readonly string[] {
    return this.#endpoints;
  }

  /** @throws {SystemError} when it can't be bound. */
  bind(endpoint: string): string {
    const bound = this.#router.bind(endpoint);
    if (!this.#endpoints.includes(bound)) this.#endpoints.push(bound);
    return bound;
  }

  tick(now: number): number {
    return Math.min(this.#router.tick(now), this.workers?.tick(now) ?? Infinity);
  }

  giveBackMemory(): void {
    this.#spares.length = 0;
    this.#router.outlets.dropSpares();
  }

  async close(lingerMs: number): Promise<void> {
    this.workers?.dismissAll(performance.now());
    this.#router.stopListening();
    const end = performance.now() + lingerMs;
    this.#router.flush(performance.now());
    while (this.hasUnsent && performance.now() < end) {
      await new Promise((resolve) => setTimeout(resolve, LINGER_INTERVAL));
      this.#router.flush(performance.now());
    }
    this.closeNow();
  }

  closeNow(): void {
    this.#isClosed = true;
    this.#router.closeAll();
  }

  // ---- what clients get ----

  reply(to: Address, code: number, flags: number, content: Content, now: number): void {
    if (code !== Code.ok) {
      return this.replyError(to, code, flags, textOf(content, 0, content.size), now);
    }
    const connection = this.#connectionOf(to.client.peer);
    if (connection === undefined || !this.#send(connection, to.envelope, content, now)) {
      this.#undelivered++;
    }
  }

  /** PARTIAL, or FINAL at the end: its frame is an empty one then. There is no word for progress. */
  part(to: Address, flags: number, _number: number, content: Content, now: number): boolean {
    if ((flags & StatusFlag.progress) !== 0) return true;
    const { client: { peer }, envelope, requestId } = to;
    const connection = this.#connectionOf(peer);
    const isLast = (flags & StatusFlag.more) === 0;
    const way = isLast ? envelope : partialWay(envelope);
    if (connection === undefined || !this.#send(connection, way, content, now)) {
      this.#undelivered++;
      return false;
    }
    if (!isLast && requestId !== undefined) {
      const bytes = content.size;
      this.#untaken.push({ connection, peer, id: requestId, way: envelope, bytes });
    }
    return true;
  }

  /** An error is an empty frame, and one with the code and the message, as for plain clients: the protocol has none. */
  replyError(to: Address, code: number, _flags: number, message: string, now: number): void {
    const text = buildErrorText(code, message);
    this.reply(to, Code.ok, 0, this.#own.set(text, 0, text.length, [0, text.length]), now);
  }

  /** Sends an answer; false: the client has no room left for it. */
  #send(
    connection: Connection<MdpPeer>,
    way: readonly Bytes[],
    content: Content,
    now: number,
  ): boolean {
    const { outlets } = this.#router;
    const { size, sizes } = content;
    const first = waySize(way);
    if (size > DIRECT_BYTES && sizes === undefined) {
      if (outlets.openInChunk(connection, first + headBytes(size), now)) {
        writeHead(outlets.bytes, writeWay(outlets.bytes, outlets.at, way), size, 0);
        outlets.sendContent(connection, content, now);
        return true;
      }
    }
    if (!outlets.open(connection, first + framesSize(content), now)) return false;
    writeFrames(outlets.bytes, writeWay(outlets.bytes, outlets.at, way), content);
    return true;
  }

  get hasUnsent(): boolean {
    return this.#router.outlets.slow.size > 0;
  }

  set unreadBytes(bytes: number) {
    this.#router.unread.limit = bytes;
    this.#room.intake.limit = Math.max(bytes, 2 * this.#room.limits.maxMessageSize);
  }

  flush(now: number): void {
    this.#router.flush(now);
    if (!this.hasUnsent || now < this.#judgeAt) return;
    this.#judgeAt = now + JUDGE_INTERVAL;
    for (const connection of this.#router.outlets.slow) this.#judge(connection, now);
  }

  /** Gives up what waits for a client that takes nothing for too long, and reports one that is stalled. */
  #judge(connection: Connection<MdpPeer>, now: number): void {
    const { outlets, unread } = this.#router;
    if (unread.isLost(connection, now)) this.#undelivered += outlets.dropWhole(connection, now);
    const { peer } = connection;
    if (peer === undefined || isWorker(peer)) return;
    if (unread.isStalled(connection, now)) this.#events.stalled(peer);
  }

  isStalled(peer: Peer<Body>, now: number): boolean {
    const connection = this.#connectionOf(peer);
    if (connection === undefined || connection.backlog === undefined) return false;
    return this.#router.unread.isStalled(connection, now);
  }
}

/** A part that was sent. */
interface Untaken {
  readonly connection: Connection<MdpPeer>;
  readonly peer: Peer<Body>;
  readonly id: number;
  readonly way: readonly Bytes[];
  readonly bytes: number;
}

/** Whether its client has taken it, or never will. */
function isTaken({ connection: { backlog, used, isThere } }: Untaken): boolean {
  return !isThere || (backlog === undefined && used === 0);
}

/** Whether a body comes behind an opening. */
function hasBody({ kind }: MdpOpening): boolean {
  return kind === "request" || kind === "partial" || kind === "final";
}

/** What comes after the first frames of a message. */
function stageAfter(frames: readonly Bytes[], more: boolean): "envelope" | "body" | "malformed" {
  const opening = readOpening(frames, more);
  if (opening === "more") return "envelope";
  return opening === "wrong" ? "malformed" : "body";
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
