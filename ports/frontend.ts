/**
 * The broker's side of the clients: a ROUTER socket, its requests and its replies. Reads and writes
 * frames; decides nothing about jobs.
 *
 * @module
 */

import type { Asker, Client, JobRequest } from "../broker/job.ts";
import type { Settings } from "../options/settings.ts";
import { boundPort } from "../wire/endpoint.ts";
import {
  buildErrorText,
  buildStatus,
  Code,
  DELIMITER,
  MAX_ENVELOPE_BYTES,
  MAX_ENVELOPE_FRAMES,
  parseRequestHeader,
} from "../wire/request.ts";
import { Arena } from "../zmq/arena.ts";
import { HANDSHAKE_TIMEOUT, useZap, type ZapSettings } from "../zmq/curve.ts";
import { Option, SocketType } from "../zmq/library.ts";
import { Marks } from "../zmq/mark.ts";
import type { Message, MessagePool } from "../zmq/message.ts";
import type { Context, Sent, Socket } from "../zmq/socket.ts";
import { Clients, type Frames, routingKey, type Takeover } from "./clients.ts";
import { type Outbox, Outboxes, type Reply, weigh } from "./outbox.ts";
import type { Squatters } from "./squatters.ts";
import { Surplus } from "./surplus.ts";

export type { Frames };

/**
 * What a client asks, as it came: `bytes` are those of all that came, `requestTimeout` is 0 where the client
 * did not say, `body` has no frames when they are too large.
 */
export interface Request extends JobRequest<Frames> {
  /** Why the body is too large; undefined: it is not. */
  excess: string | undefined;
}

/** Where a reply goes. */
export type Address = Readonly<Asker<Frames>>;

/** What a `Frontend` tells of while it reads. */
export interface FrontendEvents {
  /** A well-formed request. The record is the listener's now. */
  request(client: Client<Frames>, request: Request): void;
  /** A client takes a request back. */
  cancel(client: Client<Frames>, requestId: number, envelope: Request["envelope"]): void;
  /** A client has left, or another connection has taken its identity over. */
  gone(client: Client<Frames>): void;
  /** A client takes no replies, and has half of those waiting that it may have. */
  stalled(client: Client<Frames>): void;
  /** Reads what clients have sent, as a reply must know who has left; false: nothing may be read now. */
  catchUp(): boolean;
}

/** What a `Frontend` goes by. */
export interface FrontendOptions
  extends Pick<Settings, "maxMessageSize" | "maxFrames">, Partial<Pick<Settings, "keepAlive">> {
  /** Bytes of replies that clients have not taken, at most. */
  unreadBytes: number;
  /** Whether endpoints may be IPv6. */
  ipv6: boolean;
  /** Who may come in; undefined: all. */
  zap?: ZapSettings;
}

/** Replies in libzmq's hands for one client, however small; more wait here. */
const CLIENT_HWM = 1000;
/**
 * Requests of one client that libzmq reads ahead while the queue is full, however large. A window of 100
 * is as quick as with 1,000 of them; 32 cost a seventh more CPU, 8 half as much again.
 */
const READ_AHEAD = 64;
const CONNECT_AND_DISCONNECT = 3;
/** How often what has just come is read before one reply, as more may come meanwhile. */
const LEARN_TURNS = 10;
/** Replies in a row that go by what was found out for the first of them: they take 0.1 ms. */
const SURE_REPLIES = 16;
/** Probes of a silent peer's host that may go unanswered: as many as fit into the time that it was silent for. */
const PROBES = 3;
const OK_STATUS = buildStatus(Code.ok);
const NO_FRAMES: readonly Uint8Array<ArrayBuffer>[] = [];
/** What a plain request says of itself. */
const PLAIN = { id: undefined, timeout: 0, requestTimeout: 0, key: "" };

/** The socket that clients talk to. */
export class Frontend {
  readonly #socket: Socket;
  readonly #messages: MessagePool;
  readonly #scratch: Message;
  readonly #maxMessageSize: number;
  readonly #maxFrames: number;
  readonly #events: FrontendEvents;
  readonly #clients: Clients;
  readonly #outboxes: Outboxes;
  /** What envelopes are cut from. */
  readonly #arena = new Arena();
  /** What becomes a mark. */
  readonly #mark: Message;
  readonly #surplus: Surplus;
  readonly #id = new Uint8Array(256);
  readonly #endpoints: string[] = [];
  readonly #ports = new Set<number>();
  /** Whether libzmq tells of clients that leave; if not, one is forgotten with its last job. */
  readonly #notified: boolean;
  /** Whether it reads on behalf of a reply. */
  #learning = false;
  /** When it reads, ms. */
  #now = 0;
  /** The pass in which it was found out who has left, ms: libzmq has taken in nothing since. */
  #sureAt = -Infinity;
  /** Replies that may yet go by that. */
  #sure = 0;
  /** Messages that were no requests. */
  malformed = 0;
  /** Replies for clients that had left, or took none for too long. */
  undelivered = 0;

  /** Opens the socket; `bind` comes next. */
  constructor(
    context: Context,
    messages: MessagePool,
    options: FrontendOptions,
    events: FrontendEvents,
  ) {
    this.#socket = context.socket(SocketType.ROUTER);
    this.#messages = messages;
    this.#scratch = messages.take();
    this.#surplus = new Surplus(this.#socket, this.#scratch);
    this.#mark = messages.take();
    this.#outboxes = new Outboxes(new Marks(context.library), options.unreadBytes);
    this.#events = events;
    this.#maxMessageSize = options.maxMessageSize;
    this.#maxFrames = options.maxFrames;
    this.#socket.set(Option.ROUTER_MANDATORY, 1);
    this.#socket.set(Option.SNDHWM, CLIENT_HWM);
    this.#socket.set(Option.RCVHWM, READ_AHEAD);
    this.#socket.set(Option.BACKLOG, 1024);
    // Who connects and says nothing holds a file descriptor.
    this.#socket.set(Option.HANDSHAKE_IVL, HANDSHAKE_TIMEOUT);
    if (options.ipv6) this.#socket.set(Option.IPV6, 1);
    // A frame somewhat too large is answered 413; one far too large ends the connection.
    this.#socket.setLong(Option.MAXMSGSIZE, this.#maxMessageSize * 2 + MAX_ENVELOPE_BYTES);
    if (options.zap !== undefined) useZap(this.#socket, options.zap);
    this.#notified = this.#socket.trySet(Option.ROUTER_NOTIFY, CONNECT_AND_DISCONNECT);
    // Else libzmq ignores the newcomer while the one before it is leaving, or is not known to have left.
    this.#socket.set(Option.ROUTER_HANDOVER, 1);
    this.#findDeadHosts(options.keepAlive ?? 0);
    const { library } = context;
    const proven = options.zap?.secretKey !== undefined;
    this.#clients = new Clients(
      this.#socket,
      library,
      { notified: this.#notified, proven },
      (client) => this.#gone(client),
    );
    if (this.#notified) this.#clients.squatters.anchor(this.#learnCount(context));
  }

  /** Has libzmq name a peer of our own: it counts on from there. */
  #learnCount(context: Context): string | number {
    const endpoint = `inproc://${crypto.randomUUID()}`;
    this.#socket.bind(endpoint);
    const peer = context.socket(SocketType.DEALER);
    peer.connect(endpoint);
    peer.sendLast(DELIMITER);
    const size = this.#socket.receiveInto(this.#id);
    this.#socket.receive(this.#scratch);
    peer.close(0);
    return size < 0 ? "" : routingKey(this.#id, size);
  }

  /**
   * Has the system find out which peers' hosts are gone, as nobody says so. Not libzmq's heartbeats: it
   * aborts when one is due on a connection that broke while nothing more was read from it.
   */
  #findDeadHosts(keepAlive: number): void {
    if (keepAlive === 0) return;
    const idle = Math.max(1, Math.round(keepAlive / 1000));
    const interval = Math.max(1, Math.round(idle / PROBES));
    this.#socket.set(Option.TCP_KEEPALIVE, 1);
    this.#socket.set(Option.TCP_KEEPALIVE_IDLE, idle);
    this.#socket.set(Option.TCP_KEEPALIVE_INTVL, interval);
    this.#socket.set(Option.TCP_KEEPALIVE_CNT, PROBES);
    // Nobody is probed while what was sent is not acknowledged.
    this.#socket.set(Option.TCP_MAXRT, (idle + interval * PROBES) * 1000);
  }

  /** The socket, to be waited for. */
  get socket(): Socket {
    return this.#socket;
  }

  /** The endpoints really bound. */
  get endpoints(): readonly string[] {
    return this.#endpoints;
  }

  /** Clients known. */
  get clients(): number {
    return this.#clients.size;
  }

  /** Identities that another connection has taken over, and the last of them. */
  get takeovers(): { count: number; last: Takeover } {
    return { count: this.#clients.takeovers, last: this.#clients.lastTakeover };
  }

  /** Peers that have named themselves as only libzmq names peers, and whether one is there. */
  get squatters(): Pick<Squatters, "count" | "isPresent"> {
    return this.#clients.squatters;
  }

  /** The addresses of clients known, and how many of each. */
  get speakers(): Iterable<readonly [address: string, count: number]> {
    return this.#clients.speakers;
  }

  /** The addresses of all tcp peers, also those who are not let in. */
  peers(): Iterable<Uint8Array> {
    return this.#clients.peers(this.#ports);
  }

  /** Whether libzmq tells of connections, so that they can be counted. */
  get notified(): boolean {
    return this.#notified;
  }

  /** Connections, those of clients that were let in and are about to come included. */
  connections(now: number): number {
    return this.#clients.connections(now);
  }

  /** A client was let in: its connection counts from now on. */
  expect(now: number): void {
    this.#clients.expect(now);
  }

  /** Whether replies wait for slow clients. */
  get blocked(): boolean {
    return this.#outboxes.slow.size > 0;
  }

  /** Replies that wait for slow clients. */
  get waiting(): number {
    return this.#outboxes.waiting;
  }

  /** Bytes of replies that clients are known not to have taken. */
  get unread(): number {
    return this.#outboxes.unread;
  }

  /** Clients may leave so many bytes of replies unread from now on. */
  set unreadBytes(bytes: number) {
    this.#outboxes.limit = bytes;
  }

  /** Whether a client takes no replies, and has half of those waiting that it may have. */
  isStalled(client: Client<Frames>, now: number): boolean {
    return this.#outboxes.isStalled(client, now);
  }

  /**
   * Listens at one more endpoint, and returns the one really bound.
   *
   * @throws {ZmqError} when it can't be bound.
   */
  bind(endpoint: string): string {
    const bound = this.#socket.bind(endpoint);
    this.#endpoints.push(bound);
    const port = boundPort(bound);
    if (port !== undefined) this.#ports.add(port);
    return bound;
  }

  /** Closes; replies are still delivered for up to `linger` ms. */
  close(linger: number): void {
    this.#socket.close(linger);
  }

  /** Reads one message; false when there is none, or when the rest of a long one is for later. */
  read(now: number): boolean {
    this.#now = now;
    this.#sureAt = -Infinity;
    if (this.#surplus.pending) {
      this.#surplus.resume();
      return !this.#surplus.pending;
    }
    const idSize = this.#socket.receiveInto(this.#id);
    if (idSize < 0) {
      this.#clients.caughtUp(now);
      return false;
    }
    const envelope = this.#readEnvelope(idSize, now);
    if (envelope !== undefined) this.#readBody(idSize, envelope);
    return !this.#surplus.pending;
  }

  /**
   * Sends a reply whose frames weigh so much (`weigh`), or keeps it until the client takes it, if that has
   * room left. The frames are the frontend's now.
   */
  reply(
    to: Address,
    code: number,
    frames: Frames,
    weight: number,
    now: number,
    flags = 0,
  ): void {
    const reaches = this.#reaches(to.client, now);
    const outbox = this.#outboxes.of(to.client);
    const free = outbox.waiting.length === 0 && this.#outboxes.isOpen(outbox, now);
    const sent = !reaches
      ? "gone"
      : free
      ? this.#send(to, code, frames, flags, outbox, weight, now)
      : "full";
    if (sent === "full") this.#postpone(outbox, { to, code, flags, frames, bytes: weight }, now);
    else this.#finish(frames, sent);
    const isIdle = outbox.waiting.length === 0 && this.#clients.forgetIdle(to.client);
    if (sent === "gone" || isIdle) this.#drop(this.#outboxes.forget(to.client));
  }

  /** Sends an error reply that the broker made, with `StatusFlag`s. */
  replyError(to: Address, code: number, message: string, now: number, flags = 0): void {
    const text = new TextEncoder().encode(message);
    this.reply(to, code, [this.#messages.from(text)], weigh(text.length, 1), now, flags);
  }

  /**
   * Whether what is sent to a client's identity next can reach that client only: all that others have sent
   * was read, and so the notices of those who have taken one over.
   */
  #reaches(client: Client<Frames>, now: number): boolean {
    const clients = this.#clients;
    if (!clients.isNamed(client)) return true;
    if (!this.#notified) return clients.isOpen(client);
    if (now === this.#sureAt && this.#sure-- > 0) return clients.isKnown(client);
    for (let turn = 0; clients.hasNews(); turn++) {
      if (this.#learning || turn === LEARN_TURNS || !this.#learn()) return clients.isOpen(client);
    }
    this.#sure = SURE_REPLIES - 1;
    this.#sureAt = now;
    return clients.isKnown(client);
  }

  #learn(): boolean {
    this.#learning = true;
    const hasRead = this.#events.catchUp();
    this.#learning = false;
    return hasRead;
  }

  /** Finds clients that have hung up, while nothing is read that would say so. */
  findGone(): void {
    this.#clients.findGone();
  }

  /** Sends what slow clients take by now. */
  flush(now: number): void {
    for (const outbox of this.#outboxes.slow) {
      this.#flushOutbox(outbox, now);
      if (this.#outboxes.isLost(outbox, now)) this.#drop(this.#outboxes.take(outbox, Infinity));
      const client = outbox.waiting[0]?.to.client;
      if (client !== undefined && this.isStalled(client, now)) this.#events.stalled(client);
    }
  }

  /** The envelope frames, or undefined if this is no request; then nothing of it is left to be read. */
  #readEnvelope(idSize: number, now: number): Request["envelope"] | undefined {
    let envelope: Request["envelope"] = NO_FRAMES;
    let bytes = 0;
    for (;;) {
      const size = this.#socket.receive(this.#scratch);
      const more = this.#scratch.more;
      if (size === 0 && more) return envelope;
      bytes += size;
      const fits = envelope.length < MAX_ENVELOPE_FRAMES - 1 && bytes <= MAX_ENVELOPE_BYTES;
      if (!more || !fits) {
        if (more) this.#surplus.skip();
        else if (size === 0 && envelope.length === 0 && !this.#scratch.fromPeer) {
          this.#clients.notice(this.#id, idSize, now);
          return undefined;
        }
        this.malformed++;
        return undefined;
      }
      const frame = this.#arena.take(size);
      this.#scratch.copyTo(frame, size);
      envelope = envelope.length === 0 ? [frame] : [...envelope, frame];
    }
  }

  /** The rest of a request. A body that is too large is given up as it comes. */
  #readBody(idSize: number, envelope: Request["envelope"]): void {
    let frame = this.#messages.take();
    let bytes = this.#socket.receive(frame);
    const client = this.#clients.sender(this.#id, idSize, frame);
    // Not empty at first: an array that grows takes room for many.
    const body = [frame];
    let { more } = frame;
    while (more && bytes <= this.#maxMessageSize && body.length < this.#maxFrames) {
      frame = this.#messages.take();
      bytes += this.#socket.receive(frame);
      body.push(frame);
      more = frame.more;
    }
    const frames = body.length;
    if (more || bytes > this.#maxMessageSize) this.#messages.releaseAll(body.splice(0));
    if (!more) return this.#announce(client, envelope, body, bytes, frames);
    this.#surplus.skip((rest) => {
      this.#announce(client, envelope, body, bytes + rest.bytes, frames + rest.frames);
    });
  }

  /** A request has come whole. */
  #announce(
    client: Client<Frames>,
    envelope: Request["envelope"],
    body: Frames,
    bytes: number,
    frames: number,
  ): void {
    if (!client.connected) return this.#messages.releaseAll(body);
    const header = envelope.length > 0
      ? parseRequestHeader(envelope.at(-1) ?? DELIMITER)
      : undefined;
    if (header?.type === "cancel") {
      this.#messages.releaseAll(body);
      return this.#events.cancel(client, header.id, envelope);
    }
    const { id: requestId, timeout, requestTimeout, key } = header ?? PLAIN;
    const deadline = timeout > 0 ? this.#now + timeout : Infinity;
    const excess = this.#excess(bytes, frames);
    const request = {
      client,
      envelope,
      requestId,
      deadline,
      requestTimeout,
      key,
      body,
      bytes,
      excess,
    };
    this.#events.request(client, request);
  }

  #excess(bytes: number, frames: number): string | undefined {
    if (bytes > this.#maxMessageSize) {
      return `The body must have at most ${this.#maxMessageSize} bytes: it has ${bytes}`;
    }
    if (frames <= this.#maxFrames) return undefined;
    return `The body must have at most ${this.#maxFrames} frames: it has ${frames}`;
  }

  /** A client has left: nothing that waits is for it any more. */
  #gone(client: Client<Frames>): void {
    this.#drop(this.#outboxes.forget(client));
    this.#events.gone(client);
  }

  /** All that is made for a message is made before its first frame is sent. */
  #send(
    to: Address,
    code: number,
    frames: Frames,
    flags: number,
    outbox: Outbox,
    weight: number,
    now: number,
  ): Sent {
    const socket = this.#socket;
    const last = frameAt(frames, frames.length - 1);
    const isPlain = to.requestId === undefined;
    const errorText = isPlain && code !== Code.ok ? errorTextOf(code, frames) : undefined;
    const status = code === Code.ok ? OK_STATUS : buildStatus(code, flags);
    const sent = socket.sendMore(to.client.routingId);
    if (sent !== "sent") return sent;
    for (const frame of to.envelope) socket.sendMore(frame);
    // The delimiter, now and then one that tells when libzmq has sent it.
    if (this.#outboxes.handOver(outbox, weight, this.#mark, now)) socket.moveMore(this.#mark);
    else socket.sendMore(DELIMITER);
    if (!isPlain) socket.sendMore(status);
    if (errorText !== undefined) return this.#sendPlainError(errorText, frames);
    for (let index = 0; index < frames.length - 1; index++) socket.moveMore(frameAt(frames, index));
    socket.moveLast(last);
    return "sent";
  }

  #sendPlainError(text: Uint8Array<ArrayBuffer>, frames: Frames): Sent {
    this.#socket.sendMore(DELIMITER);
    this.#socket.sendLast(text);
    for (const frame of frames) frame.clear();
    return "sent";
  }

  #finish(frames: Frames, sent: Sent): void {
    if (sent === "sent") {
      for (const frame of frames) this.#messages.putBack(frame);
      return;
    }
    this.undelivered++;
    this.#messages.releaseAll(frames);
  }

  #postpone(outbox: Outbox, reply: Reply, now: number): void {
    // Not the job itself, which has a body too.
    const { client, envelope, requestId } = reply.to;
    const kept = { ...reply, to: { client, envelope, requestId } };
    if (!this.#outboxes.keep(outbox, kept, now)) this.#finish(reply.frames, "full");
  }

  #flushOutbox(outbox: Outbox, now: number): void {
    for (;;) {
      const [first] = outbox.waiting;
      if (first === undefined || !this.#outboxes.isOpen(outbox, now)) return;
      const { client } = first.to;
      if (!this.#reaches(client, now)) return this.#drop(this.#outboxes.forget(client));
      // It may have been found out just now that the client has left.
      if (outbox.waiting[0] !== first) return;
      // Of a client that may lose its identity to another, each reply is checked alone.
      const most = this.#clients.isNamed(client) ? 1 : outbox.waiting.length;
      if (this.#flushFirst(outbox, most, now) < most) return;
    }
  }

  /** Sends the first replies that wait; how many libzmq has taken. */
  #flushFirst(outbox: Outbox, most: number, now: number): number {
    let done = 0;
    for (const { to, code, flags, frames, bytes } of outbox.waiting.slice(0, most)) {
      if (!this.#outboxes.isOpen(outbox, now)) break;
      const sent = this.#send(to, code, frames, flags, outbox, bytes, now);
      if (sent === "full") break;
      this.#finish(frames, sent);
      done++;
    }
    if (done === 0) return 0;
    this.#outboxes.take(outbox, done);
    outbox.progressAt = now;
    return done;
  }

  #drop(replies: readonly Reply[]): void {
    for (const { frames } of replies) this.#finish(frames, "gone");
  }
}

function frameAt(frames: Frames, index: number): Message {
  const frame = frames[index];
  if (frame === undefined) throw new RangeError(`Cannot send a reply without frames`);
  return frame;
}

function errorTextOf(code: number, frames: Frames): Uint8Array<ArrayBuffer> {
  return buildErrorText(code, new TextDecoder().decode(frameAt(frames, 0).bytes()));
}
