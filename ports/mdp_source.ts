/**
 * The source of clients that speak Majordomo, in both of its versions; what workers say there is passed on to
 * mdp_workers.ts. What the frames are is in wire/mdp.ts, and what they come over is mdp_router.ts's. Decides nothing
 * about jobs; questions after the services themselves (8/MMI) it answers by itself, and those of Titanic (9/TSP) it
 * brings to the services for stored jobs.
 *
 * @module
 */

import type { Peer } from "../broker/job.ts";
import type { Settings } from "../options/settings.ts";
import type { Pollable } from "../system/poller.ts";
import { ByteCache } from "../wire/byte_cache.ts";
import type { StreamCredit } from "../wire/credit.ts";
import type { LogFields } from "../wire/job.ts";
import { type MdpOpening, partialWay, readOpening } from "../wire/mdp.ts";
import type { TspService } from "../wire/tsp.ts";
import { buildErrorText, Code, StatusFlag } from "../wire/request.ts";
import { type Body, type BodyPool, excessOf } from "./body.ts";
import { type Content, MemoryContent, textOf } from "./content.ts";
import {
  isWorker,
  type MdpLink,
  type MdpMessage,
  type MdpRouter,
  type MdpRouterEvents,
} from "./mdp_router.ts";
import { askStore, contentOf, targetOf, titanicContent, titanicOf } from "./titanic.ts";
import { answerMmi, type Directory, MMI } from "./mmi.ts";
import { type MdpWorkerEvents, type MdpWorkerOptions, MdpWorkers } from "./mdp_workers.ts";
import type { NativeSourceEvents } from "./native_source.ts";
import type { Address, ClientRequest, Presence, Source, SourceCounters } from "./source.ts";
import type { Wrong } from "./wrongs.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** What a `MdpSource` reports, and asks. */
export interface MdpSourceEvents extends NativeSourceEvents {
  /** What services there are. */
  readonly directory: Directory;
  readonly workers: Omit<MdpWorkerEvents, "wrong">;
}

/** What bounds a `MdpSource`. */
export interface MdpSourceOptions extends Pick<Settings, "maxMessageSize" | "maxFrames"> {
  /** How workers are kept; undefined: nobody may be one. */
  workers: Pick<MdpWorkerOptions, "heartbeat"> | undefined;
}

/** The longest name of a service, bytes. */
const MAX_NAME_BYTES = 64;
const NAME_RULE = `The service's name must have at most ${MAX_NAME_BYTES} bytes`;
/** What a client of 0.2 is sent of an answer in parts before it has taken some of it, bytes and parts. */
const STREAM: StreamCredit = { bytes: 262_144, parts: 16 };
const encoder = new TextEncoder();
const decoder = new TextDecoder();
const NAMES = new ByteCache((name) => decoder.decode(name));

/** Clients that speak Majordomo. */
export class MdpSource implements Source {
  readonly #router: MdpRouter;
  readonly #bodies: BodyPool;
  readonly #events: MdpSourceEvents;
  readonly #limits: Pick<Settings, "maxMessageSize" | "maxFrames">;
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
  /** Answers whose clients had left. */
  #tooLate = 0;

  /**
   * Listens nowhere yet; `open` makes the router.
   *
   * @throws {Error} when the system has no file descriptor left.
   */
  constructor(
    open: (events: MdpRouterEvents) => MdpRouter,
    bodies: BodyPool,
    options: MdpSourceOptions,
    events: MdpSourceEvents,
  ) {
    const { maxMessageSize, maxFrames } = options;
    this.#limits = { maxMessageSize, maxFrames };
    this.#bodies = bodies;
    this.#events = events;
    const router = this.#router = open(this.#routerEvents());
    if (options.workers === undefined) return;
    const bounds = { ...options.workers, maxMessageSize, maxFrames };
    this.workers = new MdpWorkers((...message) => router.send(...message), bodies, bounds, {
      ...events.workers,
      wrong: (link, reason) => router.misspoke(link, reason),
    });
  }

  #routerEvents(): MdpRouterEvents {
    const { mayRead, roomFor, refusal, catchUp } = this.#events;
    return {
      ...{ mayRead, roomFor, refusal, catchUp },
      message: (link, message) => this.#hear(link, message),
      unknown: (link, reason) => this.#unknown(link, reason),
      gone: (link) => this.#gone(link),
      stalled: ({ peer }) => {
        if (peer !== undefined && !isWorker(peer)) this.#events.stalled(peer);
      },
    };
  }

  /** What came is nothing that is said here: a worker that says so is to start anew. */
  #unknown(link: MdpLink, reason: string): void {
    const { peer } = link;
    if (isWorker(peer)) this.workers?.refuse(peer, reason, this.#now);
    else this.#router.misspoke(link, reason);
  }

  // ---- what clients send ----

  get ports(): readonly Pollable[] {
    return this.#router.ports;
  }

  read(now: number): number {
    this.#now = now;
    if (this.#untaken.length > 0) this.#grantTaken();
    return this.#router.read(now);
  }

  isReadable(): boolean {
    return this.#router.isReadable() || this.#untaken.some((part) => this.#isTaken(part));
  }

  /** Whether a part was taken by its client, or never will be. */
  #isTaken({ link }: Untaken): boolean {
    return this.#router.hasTaken(link);
  }

  /** What a client has taken gives room for as much more: the protocol has no word for that. */
  #grantTaken(): void {
    const all = this.#untaken;
    this.#untaken = all.filter((part) => !this.#isTaken(part));
    const left = new Set(this.#untaken);
    for (const part of all) {
      const { link, peer, id, way, bytes } = part;
      if (left.has(part) || link.peer !== peer) continue;
      this.#events.credit(peer, id, way, { bytes, parts: 1 });
    }
  }

  pause(peer: Peer<Body>, service: number): boolean {
    const link = this.#router.linkOf(peer);
    return link !== undefined && this.#router.pause(link, service);
  }

  #hear(link: MdpLink, { opening: first, body, bytes, frames }: MdpMessage): void {
    const opening = readOpening(first, frames > 0);
    const isWhole = typeof opening === "object" && hasBody(opening) === frames > 0;
    if (isWhole && opening.kind !== "request" && this.workers !== undefined) {
      return this.workers.hear(link, opening, { body, bytes, frames }, this.#now);
    }
    if (isWhole && opening.kind === "request" && !isWorker(link.peer)) {
      const excess = excessOf(bytes, frames, this.#limits);
      return this.#take(link, opening, body, bytes, excess);
    }
    this.#bodies.release(body);
    this.#unknown(link, isWhole ? "only clients may speak here" : "it lacks a part");
  }

  /** A client's request. */
  #take(
    link: MdpLink,
    { version, service, way }: Extract<MdpOpening, { kind: "request" }>,
    body: Body,
    bytes: number,
    excess: string | undefined,
  ): void {
    const known = link.peer;
    const peer = known === undefined || isWorker(known) ? this.#welcome(link) : known;
    const isName = service.length <= MAX_NAME_BYTES;
    const name = isName ? NAMES.get(service, 0, service.length) : "";
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
    const titanic = titanicOf(request);
    if (titanic !== undefined) return this.#askStore(peer, request, titanic);
    this.#events.directory.expect(name);
    this.#events.request(peer, request);
  }

  /** A client has something stored, or asks about that. */
  #askStore(peer: Peer<Body>, request: ClientRequest, service: TspService): void {
    const { body } = request;
    if (service === "titanic.request") this.#events.directory.expect(targetOf(body));
    const fault = askStore(service, request, this.#bodies);
    this.#bodies.release(body);
    if (fault === undefined) return this.#events.request(peer, request);
    this.#send(request, request.envelope, contentOf(fault), this.#now);
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
  #welcome(link: MdpLink): Peer<Body> {
    const peer = this.#router.welcome(link);
    link.peer = peer;
    this.#clients++;
    return peer;
  }

  #gone({ peer }: MdpLink): void {
    if (peer === undefined) return;
    if (isWorker(peer)) return this.workers?.lost(peer);
    this.#clients--;
    this.#events.gone(peer);
  }

  get counters(): SourceCounters {
    const { counters } = this.#router;
    return { ...counters, undelivered: counters.undelivered + this.#tooLate };
  }

  lastOf(wrong: Wrong): LogFields {
    return this.#router.lastOf(wrong);
  }

  get clients(): number {
    return this.#clients;
  }

  present(): Iterable<Presence> {
    return this.#router.clients();
  }

  connections(now: number): number | undefined {
    return this.#router.connections(now);
  }

  findGone(): void {
    this.#router.findGone();
  }

  get endpoints(): readonly string[] {
    return this.#router.endpoints;
  }

  /** @throws {Error} when it can't be bound. */
  bind(endpoint: string): string {
    return this.#router.bind(endpoint);
  }

  tick(now: number): number {
    return Math.min(this.#router.tick(now), this.workers?.tick(now) ?? Infinity);
  }

  giveBackMemory(): void {
    this.#router.giveBackMemory();
  }

  close(lingerMs: number): Promise<void> {
    this.workers?.dismissAll(performance.now());
    return this.#router.close(lingerMs);
  }

  closeNow(): void {
    this.#router.closeNow();
  }

  // ---- what clients get ----

  reply(to: Address, code: number, flags: number, content: Content, now: number): void {
    const titanic = titanicOf(to);
    if (titanic !== undefined) {
      this.#send(to, to.envelope, titanicContent(titanic, code, content), now);
    } else if (code !== Code.ok) {
      this.replyError(to, code, flags, textOf(content, 0, content.size), now);
    } else this.#send(to, to.envelope, content, now);
  }

  /** Sends something to a client; the link that it went over, undefined: it is lost. */
  #send(
    to: Address,
    way: readonly Bytes[],
    content: Content,
    now: number,
  ): MdpLink | undefined {
    const link = this.#router.linkOf(to.client.peer);
    if (link === undefined) this.#tooLate++;
    return link !== undefined && this.#router.send(link, way, content, now) ? link : undefined;
  }

  /** PARTIAL, or FINAL at the end: its frame is an empty one then. There is no word for progress. */
  part(to: Address, flags: number, _number: number, content: Content, now: number): boolean {
    if ((flags & StatusFlag.progress) !== 0) return true;
    const { client: { peer }, envelope, requestId } = to;
    const isLast = (flags & StatusFlag.more) === 0;
    const link = this.#send(to, isLast ? envelope : partialWay(envelope), content, now);
    if (link === undefined) return false;
    if (!isLast && requestId !== undefined) {
      this.#untaken.push({ link, peer, id: requestId, way: envelope, bytes: content.size });
    }
    return true;
  }

  /** An error is an empty frame, and one with the code and the message, as for plain clients: the protocol has none. */
  replyError(to: Address, code: number, flags: number, message: string, now: number): void {
    if (titanicOf(to) !== undefined) {
      const words = encoder.encode(message);
      return this.reply(to, code, flags, this.#own.set(words, 0, words.length), now);
    }
    const text = buildErrorText(code, message);
    this.reply(to, Code.ok, 0, this.#own.set(text, 0, text.length, [0, text.length]), now);
  }

  get hasUnsent(): boolean {
    return this.#router.hasUnsent;
  }

  set unreadBytes(bytes: number) {
    this.#router.unreadBytes = bytes;
  }

  flush(now: number): void {
    this.#router.flush(now);
  }

  isStalled(peer: Peer<Body>, now: number): boolean {
    const link = this.#router.linkOf(peer);
    return link !== undefined && this.#router.isStalled(link, now);
  }
}

/** A part that was sent. */
interface Untaken {
  readonly link: MdpLink;
  readonly peer: Peer<Body>;
  readonly id: number;
  readonly way: readonly Bytes[];
  readonly bytes: number;
}

/** Whether a body comes behind an opening. */
function hasBody({ kind }: MdpOpening): boolean {
  return kind === "request" || kind === "partial" || kind === "final";
}
