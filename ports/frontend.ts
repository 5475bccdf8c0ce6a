/**
 * The broker's side of the clients: a ROUTER socket, its requests and its replies. Reads and writes
 * frames; decides nothing about jobs.
 *
 * @module
 */

import { type Asker, type Client, newClient } from "../queue/job.ts";
import { ByteCache } from "../wire/byte_cache.ts";
import { buildJobHeader } from "../wire/job.ts";
import {
  buildErrorText,
  buildStatus,
  Code,
  DELIMITER,
  MAX_ENVELOPE_BYTES,
  MAX_ENVELOPE_FRAMES,
  parseRequestHeader,
} from "../wire/request.ts";
import { type Demand, demand, HANDSHAKE_TIMEOUT } from "../zmq/curve.ts";
import { cString, Option, SocketType } from "../zmq/library.ts";
import type { Message, MessagePool } from "../zmq/message.ts";
import type { Context, Sent, Socket } from "../zmq/socket.ts";
import { Census } from "./census.ts";

/** A body: frames that libzmq holds. */
export type Frames = Message[];

/** What a client asks. */
export interface Request {
  /** The envelope between the routing id and the empty frame. */
  envelope: readonly Uint8Array<ArrayBuffer>[];
  /** The number that our own client gave it: the reply carries a status; undefined: a plain one. */
  requestId: number | undefined;
  /** How long the client waits, ms; 0: it did not say. */
  timeout: number;
  /** How long the handler may run, ms; 0: it did not say. */
  requestTimeout: number;
  /** Requests of the same key are answered together, "" if it has none. */
  key: string;
  /** Its body frames; none when they are too large. */
  body: Frames;
  /** Bytes of all that came. */
  bytes: number;
  /** Why the body is too large; undefined: it is not. */
  excess: string | undefined;
}

/** Where a reply goes. */
export type Address = Readonly<Asker<Frames>>;

/** What a `Frontend` tells of while it reads. */
export interface FrontendEvents {
  /** A well-formed request. */
  request(client: Client<Frames>, request: Request): void;
  /** A client takes a request back. */
  cancel(client: Client<Frames>, requestId: number, envelope: Request["envelope"]): void;
  /** A client has left. */
  gone(client: Client<Frames>): void;
  /** Replies began (positive) or ceased (negative) to wait for a slow client. */
  unsent(replies: number, bytes: number): void;
}

interface Reply {
  to: Address;
  code: number;
  /** `StatusFlag`s. */
  flags: number;
  frames: Frames;
  bytes: number;
}

interface Outbox {
  replies: Reply[];
  /** When the client last took something, ms. */
  progressAt: number;
}

/** Replies in libzmq's hands for one client at most; more wait here, where they are counted. */
const CLIENT_HWM = 1000;
/** A client that takes nothing for so long loses the replies that wait for it, ms. */
const SLOW_CLIENT_TIMEOUT = 30_000;
const CONNECT_AND_DISCONNECT = 3;
const OK_STATUS = buildStatus(Code.ok);
const NO_FRAMES: readonly Uint8Array<ArrayBuffer>[] = [];
/** What a plain request says of itself. */
const PLAIN = { id: undefined, timeout: 0, requestTimeout: 0, key: "" };
const PEER_ADDRESS = cString("Peer-Address");
const USER_ID = cString("User-Id");
/** A peer that was let in has come by then, ms: its handshake is over or cut off. */
const ARRIVAL_TIME = HANDSHAKE_TIMEOUT + 1000;

/** The socket that clients talk to. */
export class Frontend {
  readonly #socket: Socket;
  readonly #messages: MessagePool;
  readonly #scratch: Message;
  readonly #maxMessageSize: number;
  readonly #maxFrames: number;
  readonly #events: FrontendEvents;
  readonly #clients = new Map<string | number, Client<Frames>>();
  /** Envelopes of one frame to be used again, by its size. */
  readonly #spare = new Map<number, Request["envelope"][]>();
  /** Bodies of one frame to be used again. */
  #bodies: Frames[] = [];
  readonly #outboxes = new Map<Client<Frames>, Outbox>();
  readonly #id = new Uint8Array(256);
  readonly #endpoints: string[] = [];
  readonly #census = new Census();
  /** Whether libzmq tells of clients that leave; if not, one is forgotten with its last job. */
  readonly #notified: boolean;
  /** Messages that were no requests. */
  malformed = 0;
  /** Replies for clients that had left, or took none for too long. */
  undelivered = 0;

  /** Opens the socket; `bind` comes next. */
  constructor(
    context: Context,
    messages: MessagePool,
    options: { maxMessageSize: number; maxFrames: number; ipv6: boolean; demand?: Demand },
    events: FrontendEvents,
  ) {
    this.#socket = context.socket(SocketType.ROUTER);
    this.#messages = messages;
    this.#scratch = messages.take();
    this.#events = events;
    this.#maxMessageSize = options.maxMessageSize;
    this.#maxFrames = options.maxFrames;
    this.#socket.set(Option.ROUTER_MANDATORY, 1);
    this.#socket.set(Option.SNDHWM, CLIENT_HWM);
    this.#socket.set(Option.RCVHWM, CLIENT_HWM);
    this.#socket.set(Option.BACKLOG, 1024);
    // Who connects and says nothing holds a file descriptor.
    this.#socket.set(Option.HANDSHAKE_IVL, HANDSHAKE_TIMEOUT);
    if (options.ipv6) this.#socket.set(Option.IPV6, 1);
    // A frame somewhat too large is answered 413; one far too large ends the connection.
    this.#socket.setLong(Option.MAXMSGSIZE, this.#maxMessageSize * 2 + MAX_ENVELOPE_BYTES);
    if (options.demand !== undefined) demand(this.#socket, options.demand);
    this.#notified = this.#socket.trySet(Option.ROUTER_NOTIFY, CONNECT_AND_DISCONNECT);
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

  /** Whether libzmq tells of connections, so that they can be counted. */
  get notified(): boolean {
    return this.#notified;
  }

  /** Connections, those of clients that were let in and are about to come included. */
  connections(now: number): number {
    this.#check(now);
    return this.#census.size;
  }

  /** A client was let in: its connection counts from now on. */
  expect(now: number): void {
    if (this.#notified) this.#census.expect(now + ARRIVAL_TIME);
  }

  /** Whether replies wait for slow clients. */
  get blocked(): boolean {
    return this.#outboxes.size > 0;
  }

  /**
   * Listens at one more endpoint, and returns the one really bound.
   *
   * @throws {ZmqError} when it can't be bound.
   */
  bind(endpoint: string): string {
    const bound = this.#socket.bind(endpoint);
    this.#endpoints.push(bound);
    return bound;
  }

  /** Closes; replies are still delivered for up to `linger` ms. */
  close(linger: number): void {
    this.#socket.close(linger);
  }

  /** Reads one message; false when there is none. */
  read(now: number): boolean {
    const idSize = this.#socket.receiveInto(this.#id);
    if (idSize < 0) {
      this.#census.caughtUp(now);
      this.#check(now);
      return false;
    }
    const envelope = this.#readEnvelope(idSize);
    if (envelope === undefined) return true;
    const header = envelope.length > 0
      ? parseRequestHeader(envelope.at(-1) ?? DELIMITER)
      : undefined;
    this.#readBody(idSize, envelope, header);
    return true;
  }

  /** Sends a reply, or keeps it until the client takes it. The frames are the frontend's now. */
  reply(to: Address, code: number, frames: Frames, now: number, flags = 0): void {
    const outbox = this.#outboxes.get(to.client);
    if (outbox === undefined) {
      const sent = this.#send(to, code, frames, flags);
      if (sent === "full") this.#postpone(to, code, frames, now, flags);
      else this.#finish(frames, sent);
    } else {
      this.#postpone(to, code, frames, now, flags);
    }
    if (!this.#notified) this.#forgetIdle(to.client);
  }

  /** Sends an error reply that the broker made, with `StatusFlag`s. */
  replyError(to: Address, code: number, message: string, now: number, flags = 0): void {
    this.reply(to, code, [this.#messages.from(new TextEncoder().encode(message))], now, flags);
  }

  /** Sends what slow clients take by now. */
  flush(now: number): void {
    for (const [client, outbox] of this.#outboxes) {
      const before = outbox.replies.length;
      this.#flushOutbox(outbox);
      if (outbox.replies.length < before) outbox.progressAt = now;
      if (now - outbox.progressAt > SLOW_CLIENT_TIMEOUT) this.#dropOutbox(outbox);
      if (outbox.replies.length === 0) this.#outboxes.delete(client);
    }
  }

  /** The envelope frames, or undefined if this is no request; then nothing of it is left unread. */
  #readEnvelope(idSize: number): Request["envelope"] | undefined {
    let envelope: Request["envelope"] = NO_FRAMES;
    let bytes = 0;
    for (;;) {
      const size = this.#socket.receive(this.#scratch);
      const more = this.#scratch.more;
      if (size === 0 && more) return envelope;
      bytes += size;
      const fits = envelope.length < MAX_ENVELOPE_FRAMES - 1 && bytes <= MAX_ENVELOPE_BYTES;
      if (!more || !fits) {
        if (more) this.#skip();
        else if (size === 0 && envelope.length === 0 && !this.#scratch.fromPeer) {
          this.#notice(idSize);
          return undefined;
        }
        this.malformed++;
        return undefined;
      }
      envelope = envelope.length === 0
        ? this.#envelopeOf(size)
        : [...envelope, this.#scratch.bytes(size)];
    }
  }

  /** An envelope of the frame just received: mostly it has no other. */
  #envelopeOf(size: number): Request["envelope"] {
    const spare = this.#spare.get(size)?.pop();
    const [frame] = spare ?? NO_FRAMES;
    if (spare === undefined || frame === undefined) return [this.#scratch.bytes(size)];
    this.#scratch.copyTo(frame, size);
    return spare;
  }

  /** Takes back what a request was made of, which nobody looks at any more; the body's frames are not its own. */
  recycle({ envelope, body }: Pick<Request, "envelope" | "body">): void {
    if (body.length === 1) this.#bodies.push(body);
    const [frame] = envelope;
    if (frame === undefined || envelope.length > 1) return;
    const spare = this.#spare.get(frame.length);
    if (spare === undefined) this.#spare.set(frame.length, [envelope]);
    else spare.push(envelope);
  }

  /** Forgets the envelopes that are not needed now. */
  shrink(): void {
    this.#spare.clear();
    this.#bodies = [];
  }

  /** The rest of a request. A body that is too large is given up as it comes. */
  #readBody(
    idSize: number,
    envelope: Request["envelope"],
    header: ReturnType<typeof parseRequestHeader>,
  ): void {
    let frame = this.#messages.take();
    let bytes = this.#socket.receive(frame);
    const client = this.#client(idSize, frame);
    const body = this.#bodyOf(frame);
    let frames = 1;
    for (;; frames++) {
      const { more } = frame;
      if (bytes > this.#maxMessageSize || frames > this.#maxFrames) this.#release(body.splice(0));
      if (!more) break;
      frame = this.#messages.take();
      bytes += this.#socket.receive(frame);
      body.push(frame);
    }
    if (header?.type === "cancel") {
      this.#release(body);
      this.#events.cancel(client, header.id, envelope);
    } else {
      const { id: requestId, timeout, requestTimeout, key } = header ?? PLAIN;
      const excess = this.#excess(bytes, frames);
      const request = { envelope, requestId, timeout, requestTimeout, key, body, bytes, excess };
      this.#events.request(client, request);
    }
  }

  /** Not empty at first: an array that grows takes room for many. */
  #bodyOf(frame: Message): Frames {
    const body = this.#bodies.pop();
    if (body === undefined) return [frame];
    body[0] = frame;
    return body;
  }

  #excess(bytes: number, frames: number): string | undefined {
    if (bytes > this.#maxMessageSize) {
      return `The body must have at most ${this.#maxMessageSize} bytes: it has ${bytes}`;
    }
    if (frames <= this.#maxFrames) return undefined;
    return `The body must have at most ${this.#maxFrames} frames: it has ${frames}`;
  }

  #skip(): void {
    do this.#socket.receive(this.#scratch); while (this.#scratch.more);
    this.#scratch.clear();
  }

  /** libzmq tells of a peer that came, which says nothing yet, or one that left. */
  #notice(idSize: number): void {
    const key = this.#key(idSize);
    this.#census.notice(key, this.#id.slice(0, idSize));
    this.#forget(key);
  }

  /** Finds clients that have left without a notice. */
  #check(now: number): void {
    const gone = this.#census.check(now, (id) => this.#socket.hasPeer(id) ?? true);
    for (const key of gone) this.#forget(key);
  }

  /** A client has left, if one was known by this key. */
  #forget(key: string | number): void {
    const client = this.#clients.get(key);
    if (client === undefined) return;
    this.#clients.delete(key);
    const outbox = this.#outboxes.get(client);
    if (outbox !== undefined) this.#dropOutbox(outbox);
    this.#outboxes.delete(client);
    this.#events.gone(client);
  }

  #client(idSize: number, frame: Message): Client<Frames> {
    const key = this.#key(idSize);
    const known = this.#clients.get(key);
    if (known !== undefined) return known;
    const routingId = this.#id.slice(0, idSize);
    // libzmq's own identities begin with a zero byte, and a client's may not.
    const identity = routingId[0] === 0 ? "" : new TextDecoder().decode(routingId);
    const user = frame.property(USER_ID) ?? "";
    const header = buildJobHeader(identity, addressOf(frame), user);
    const client = newClient<Frames>(routingId, header, user);
    this.#clients.set(key, client);
    return client;
  }

  #forgetIdle(client: Client<Frames>): void {
    if (client.live > 0 || this.#outboxes.has(client)) return;
    this.#id.set(client.routingId);
    this.#clients.delete(this.#key(client.routingId.length));
  }

  #key(idSize: number): string | number {
    return routingKey(this.#id, idSize);
  }

  #send(to: Address, code: number, frames: Frames, flags: number): Sent {
    const socket = this.#socket;
    const sent = socket.sendMore(to.client.routingId);
    if (sent !== "sent") return sent;
    for (const frame of to.envelope) socket.sendMore(frame);
    socket.sendMore(DELIMITER);
    if (to.requestId !== undefined) {
      socket.sendMore(code === Code.ok ? OK_STATUS : buildStatus(code, flags));
    } else if (code !== Code.ok) return this.#sendPlainError(code, frames);
    const last = frames.length - 1;
    for (let index = 0; index < last; index++) socket.moveMore(frameAt(frames, index));
    socket.moveLast(frameAt(frames, last));
    return "sent";
  }

  #sendPlainError(code: number, frames: Frames): Sent {
    const message = new TextDecoder().decode(frameAt(frames, 0).bytes());
    this.#socket.sendMore(DELIMITER);
    this.#socket.sendLast(buildErrorText(code, message));
    for (const frame of frames) frame.clear();
    return "sent";
  }

  #finish(frames: Frames, sent: Sent): void {
    if (sent === "sent") {
      for (const frame of frames) this.#messages.putBack(frame);
      return;
    }
    this.undelivered++;
    this.#release(frames);
  }

  #release(frames: Frames): void {
    for (const frame of frames) this.#messages.release(frame);
  }

  #postpone(to: Address, code: number, frames: Frames, now: number, flags: number): void {
    const bytes = frames.reduce((sum, frame) => sum + frame.size, 0);
    const outbox = this.#outboxes.get(to.client) ?? { replies: [], progressAt: now };
    // The records of an ended job are used again, which may be before the client takes this.
    const { client, requestId } = to;
    const envelope = to.envelope.map((frame) => frame.slice());
    outbox.replies.push({ to: { client, envelope, requestId }, code, flags, frames, bytes });
    this.#outboxes.set(to.client, outbox);
    this.#events.unsent(1, bytes);
  }

  #flushOutbox(outbox: Outbox): void {
    let done = 0;
    for (const { to, code, flags, frames, bytes } of outbox.replies) {
      const sent = this.#send(to, code, frames, flags);
      if (sent === "full") break;
      this.#finish(frames, sent);
      this.#events.unsent(-1, -bytes);
      done++;
    }
    outbox.replies.splice(0, done);
  }

  #dropOutbox(outbox: Outbox): void {
    for (const { frames, bytes } of outbox.replies.splice(0)) {
      this.#finish(frames, "gone");
      this.#events.unsent(-1, -bytes);
    }
  }
}

/** A routing id as a key: libzmq's own, five bytes of which the first is 0, is a number. */
export function routingKey(id: Uint8Array, size: number): string | number {
  if (size === 5 && id[0] === 0) {
    return (id[1] ?? 0) + (id[2] ?? 0) * 2 ** 8 + (id[3] ?? 0) * 2 ** 16 + (id[4] ?? 0) * 2 ** 24;
  }
  return KEYS.get(id, 0, size);
}

const KEYS = new ByteCache((id) => String.fromCharCode(...id));

/** The network address that a frame came from; "" over ipc, where libzmq tells of a process. */
function addressOf(frame: Message): string {
  const address = frame.property(PEER_ADDRESS) ?? "";
  return address.startsWith("localhost:") ? "" : address;
}

function frameAt(frames: Frames, index: number): Message {
  const frame = frames[index];
  if (frame === undefined) throw new RangeError(`Cannot send a reply without frames`);
  return frame;
}
